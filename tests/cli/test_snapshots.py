"""What people read, word for word: help, and the summary of each command of the main job.

`pytest tests/cli/test_snapshots.py --snapshot-update` writes them anew: read the difference.
"""

from __future__ import annotations

import re
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from PIL import Image
from skimage import data
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

from degflow_pipe.cli.app import app
from tests.cli.test_words import commands

PATHS = ["", *(name.replace("_", " ", 1) for name, _ in commands(typer.main.get_command(app)))]
VARIES = (
    (r"\b[\d.]+ s\b", "# s"),
    (r"\b[\d.]+ [kM]B\b", "# kB"),
    (r"-[0-9a-f]{8,12}\b", "-#"),
    (r"slowest (unit|block) \d+", r"slowest \1 #"),
    (r"slowest (validate/)?degflow-\d+", "slowest degflow-#"),
)
"""What differs from run to run, or from one processor to another."""
JOB = (
    "ingest photos --store made.zarr --checkpoint tiny --patch 64",
    "ingest photos --store made.zarr --checkpoint tiny --patch 64",
    "generate --store made.zarr --checkpoint tiny --t-grid x2,x4",
    "generate --store made.zarr --checkpoint tiny --t-grid x2,x4",
    "shard --store made.zarr -o shards --validate b.png",
    "shard --store made.zarr -o shards --validate b.png",
    "verify shards",
    "info made.zarr",
    "info shards",
    "info tiny",
    "export shards --to basicsr --scale 2 -o export",
    "doctor export --to basicsr",
    "info export",
    "degrade photos/a.png --checkpoint tiny --t-grid x2 -o lr",
    "preview photos/a.png --checkpoint tiny -o strip.png",
    "run quickstart photos --checkpoint tiny --t-grid x2 --keep none -o run",
    "remove a.png --store made.zarr",
)


def ran(words: str) -> str:
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 0, f"{words}: {done.output}"
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join([f"$ degflow-pipe {words}".rstrip(), *lines, ""])


@pytest.mark.skipif(
    not version("typer").startswith("0.29."), reason="another version of typer lays help out anew"
)
@pytest.mark.parametrize("path", PATHS)
def test_help(path: str, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    assert ran(f"{path} --help") == snapshot


def test_the_main_job(
    tiny: str, tmp_path: Path, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny, "tiny")
    Path("photos").mkdir()
    Image.fromarray(data.astronaut()[:256, :320]).save("photos/a.png")
    Image.fromarray(data.chelsea()[:256, :256]).convert("L").save("photos/b.png")
    Image.fromarray(data.coffee()[:32, :32]).save("photos/small.png")
    Path("photos/cut.png").write_bytes(Path("photos/a.png").read_bytes()[:9000])
    Path("photos/notes.txt").write_text("no photo")
    said = "\n".join(map(ran, JOB))
    for found, shown in VARIES:
        said = re.sub(found, shown, said)
    assert said == snapshot
