"""What `info` says of an export, and of one that was not ended or is damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from degflow_pipe import export
from degflow_pipe.cli.app import app
from degflow_pipe.errors import FileError
from degflow_pipe.exports.contents import ExportContents

DONE, MARK = "export.json", ".degflow/export.json"


@pytest.fixture(scope="module")
def made(native: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("contents") / "out"
    export(native, "edsr", out, scales=[2], relative=True)
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


def test_a_whole_one(out: Path) -> None:
    found = ExportContents.of(out)
    assert (found.kind, found.trainer, found.options) == ("export", "edsr", "train_edsr.sh")
    assert found.pairs == len((out / "pairs.jsonl").read_text().splitlines())
    (level,) = found.levels
    assert (level.told, level.effective_scale) == (2, 2)
    assert [side // 2 for side in level.hr_size] == level.lr_size


def test_one_that_was_not_ended_has_no_pairs_yet(out: Path) -> None:
    (out / DONE).unlink()
    (out / "train_edsr.sh").unlink()
    found = ExportContents.of(out)
    assert (found.trainer, found.pairs, found.options) == ("edsr", None, None)
    said = CliRunner().invoke(app, ["info", str(out)], env={"COLUMNS": "300"}).stdout
    assert "an export to edsr that was not ended" in said and "run the `export`" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer", "../edsr"),
        ("trainer", ["edsr"]),
        ("pairs", "many"),
        ("pairs", -5),
        ("pairs", None),
        ("levels", []),
        ("levels", 3),
        ("levels", [{"level": "x2"}]),
        ("shards", []),
    ],
)
def test_one_whose_word_is_damaged(out: Path, key: str, value: object) -> None:
    said = json.loads((out / DONE).read_text())
    (out / DONE).write_text(json.dumps({**said, key: value}))
    with pytest.raises(FileError, match=r"export\.json is damaged: run the `export`"):
        ExportContents.of(out)


def test_one_whose_word_is_another_thing(out: Path) -> None:
    for text in ("[]", "{}", "3"):
        (out / DONE).write_text(text)
        with pytest.raises(FileError, match=r"export\.json is damaged"):
            ExportContents.of(out)
