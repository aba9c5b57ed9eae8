"""Photos that were set apart are exported beside the others, and named in option files."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
import yaml

from degflow_pipe.exports.doctor import doctor
from degflow_pipe.exports.export import export
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.shard import shard


@pytest.fixture(scope="module")
def split(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("split") / "shards"
    shard(ready_store, out, ShardSettings(validate="chelsea.jpg"))
    return out


@pytest.mark.parametrize(
    ("to", "places"),
    [
        ("basicsr", ("gt", "lq")),
        ("basicsr-lmdb", ("gt.lmdb", "lq.lmdb")),
        ("neosr", ("gt", "lq")),
        ("neosr-lmdb", ("gt.lmdb", "lq.lmdb")),
        ("trainner-redux", ("gt", "lq")),
    ],
)
def test_the_option_file_names_what_was_set_apart(
    split: Path, tmp_path: Path, to: str, places: tuple[str, str]
) -> None:
    done = export(split, to, tmp_path)
    assert done.validation_pairs and done.pairs
    text = Path(done.options).read_text()
    said = tomllib.loads(text) if to.startswith("neosr") else yaml.safe_load(text)
    for place, side in zip(places, ("dataroot_gt", "dataroot_lq"), strict=True):
        named = said["datasets"]["val"][side]
        (root,) = named if isinstance(named, list) else [named]
        assert Path(root) == tmp_path / "validate" / place and Path(root).exists()
    assert said["val"]["val_freq"] > 0
    assert doctor(tmp_path, to).findings == {}
    assert doctor(tmp_path / "validate", to).findings == {}


@pytest.mark.parametrize("to", ["kair", "realesrgan"])
def test_those_without_a_section_have_the_folder(split: Path, tmp_path: Path, to: str) -> None:
    done = export(split, to, tmp_path)
    assert done.validation_pairs
    names = {path.name for path in (tmp_path / "validate").iterdir()}
    assert {"pairs.jsonl", "export.json"} <= names


def test_mmagic_and_edsr_name_it_too(split: Path, tmp_path: Path) -> None:
    export(split, "mmagic", tmp_path / "a")
    said = (tmp_path / "a/train_mmagic.py").read_text()
    assert str(tmp_path / "a/validate") in said and "val_cfg" in said
    assert doctor(tmp_path / "a", "mmagic").findings == {}
    export(split, "edsr", tmp_path / "b", scale=2)
    assert 'else "validate"' in (tmp_path / "b/train_edsr.sh").read_text()
    assert doctor(tmp_path / "b/validate", "edsr").findings == {}


def test_equal_hr_are_one_file(shards: Path, tmp_path: Path) -> None:
    done = export(shards, "basicsr", tmp_path)
    levels = len(done.t)
    assert done.linked == done.patches * (levels - 1) > 0
    inodes = {path.stat().st_ino for path in (tmp_path / "gt").iterdir()}
    assert len(inodes) == done.patches
    assert (
        done.saved_bytes
        == sum(p.stat().st_size for p in (tmp_path / "gt").iterdir()) * (levels - 1) // levels
    )
    again = export(shards, "basicsr", tmp_path)
    assert (again.written, again.linked) == (0, 0)


def test_where_there_are_no_links_hr_is_copied(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError("no links here")

    export(shards, "basicsr", tmp_path / "linked")
    monkeypatch.setattr(os, "link", none)
    done = export(shards, "basicsr", tmp_path / "copied")
    assert (done.linked, done.saved_bytes) == (0, 0)
    for path in (tmp_path / "linked" / "gt").iterdir():
        assert path.read_bytes() == (tmp_path / "copied" / "gt" / path.name).read_bytes()


def test_an_lr_below_the_cameras_pixels_is_warned_of(shards: Path, tmp_path: Path) -> None:
    done = export(shards, "basicsr", tmp_path / "same")
    assert done.warnings == []
    done = export(shards, "basicsr", tmp_path / "small", scale=4)
    assert done.warnings and all("generate(sr_scale=4)" in text for text in done.warnings)
