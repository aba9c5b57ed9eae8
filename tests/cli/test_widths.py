"""Help at any width, with and without colour, and where the terminal knows ASCII alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import typer
from PIL import Image
from rich.cells import cell_len
from rich.text import Text
from skimage import data
from typer.testing import CliRunner

from degflow_pipe.cli.app import app
from degflow_pipe.stages.shard import shard
from tests.cli.test_words import commands

PATHS = ["", *(name.replace("_", " ", 1) for name, _ in commands(typer.main.get_command(app)))]


def plain(line: str) -> str:
    return Text.from_ansi(line).plain


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_fits(width: int, colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR" if colour else "NO_COLOR", "1")
    for path in PATHS:
        done = CliRunner().invoke(app, [*path.split(), "--help"], color=colour)
        assert done.exit_code == 0 and "Usage: " in done.output, f"{path}: {done.output}"
        for line in map(plain, done.output.splitlines()):
            assert cell_len(line) <= width, f"{path} at {width}: {line}"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit(
    width: int,
    ready_store: Path,
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shards = tmp_path / "shards"
    for words in (
        ["shard", "--store", ready_store, "-o", shards, "--dry-run"],
        ["shard", "--store", ready_store, "-o", shards],
        ["info", ready_store],
        ["inspect", photo_folder, "-o", tmp_path / "sheet.png"],
        ["info", shards],
        ["verify", shards],
        ["export", shards, "--to", "basicsr", "--scale", "2", "-o", tmp_path / "export"],
        ["doctor", tmp_path / "export", "--to", "basicsr"],
    ):
        done = CliRunner().invoke(app, list(map(str, words)))
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()
        assert all(cell_len(line) <= width for line in lines), f"{words[0]} at {width}"


RECIPE = """
kind: train
name: mini
model: {preset: compact}
data:
  levels:
    - {name: HR, t: 0.0, files: "*_hr.png"}
    - {name: LR2, t: 0.33333333, files: "*_lr2.png"}
    - {name: LR4, t: 1.0, files: "*_lr4.png"}
  validate: astronaut
  s_max: 4.0
  source: photos of scikit-image, blurred
  licence: as theirs
"""


@pytest.fixture(scope="module")
def pairs(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of 256 x 256 at three levels, `recipe.yaml`, and the checkpoint `tiny`."""
    folder = tmp_path_factory.mktemp("pairs")
    for name in ("astronaut", "chelsea"):
        hr = getattr(data, name)()[:256, :256]
        Image.fromarray(hr).save(folder / f"{name}_hr.png")
        for level, sigma in (("lr2", 0.8), ("lr4", 1.8)):
            lr = cv2.GaussianBlur(hr, (0, 0), sigma)
            Image.fromarray(lr).save(folder / f"{name}_{level}.png")
    (folder / "recipe.yaml").write_text(RECIPE)
    shutil.copytree(tiny, folder / "tiny")  # what is found is put into it
    return folder


@pytest.mark.parametrize("width", [60, 80, 120])
def test_wide_tables_follow_each_other(
    width: int, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    words = [
        "evaluate",
        pairs / "tiny",
        pairs,
        "--recipe",
        pairs / "recipe.yaml",
        "--t-grid",
        "0:1:0.1",
    ]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert all(cell_len(line) <= width for line in lines)
    heads = {word for line in lines if line.startswith("┃") for word in line.split()}
    assert {"LR", "psnr", "ssim", "noise_kl", "spectrum"} <= heads
    assert sum("generated" in line for line in lines) >= 2
    assert "…" not in done.stdout  # nothing is cut off


def test_a_terminal_of_ascii_alone(
    environment: dict[str, str], ready_store: Path, tmp_path: Path
) -> None:
    shard(ready_store, tmp_path / "shards")
    ascii_alone = {
        name: value for name, value in environment.items() if name not in ("LANG", "LC_CTYPE")
    } | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "80"}
    del ascii_alone["_TYPER_FORCE_DISABLE_TERMINAL"]
    for words in (["--help"], ["info", str(tmp_path / "shards")], ["shard", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "degflow_pipe", *words],
            env=ascii_alone,
            cwd=tmp_path,
            capture_output=True,
        )
        assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
        assert done.stdout.decode("ascii")
