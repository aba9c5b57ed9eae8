"""`--dry-run` at the command line: a table or JSON, and no file more than before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECIPE = """\
kind: run
photos: [PHOTOS]
checkpoint: TINY
ingest: {patch: 64}
generate: {t_grid: "x2,x4"}
"""
COMMANDS = {
    "ingest": "ingest PHOTOS --patch 64 --checkpoint TINY --store new.zarr",
    "generate": "generate --t-grid x3 --checkpoint TINY --store STORE",
    "shard": "shard --store STORE --out shards",
    "run": "run recipe.yaml --keep none",
    "export": "export SHARDS --to basicsr --out trained",
}


@pytest.fixture(scope="module")
def folder(
    degflow: Callable[..., Any],
    ready_store: Path,
    photo_folder: Path,
    tiny: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    found = tmp_path_factory.mktemp("dry")
    shutil.copytree(ready_store, found / "STORE")
    shutil.copytree(photo_folder, found / "PHOTOS")
    shutil.copytree(tiny, found / "TINY")
    (found / "recipe.yaml").write_text(RECIPE)
    degflow("shard", "--store", "STORE", "--out", "SHARDS", cwd=found)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_written_and_the_figures_are_told(
    command: str, folder: Path, degflow: Callable[..., Any]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    words = [*COMMANDS[command].split(), "--dry-run"]
    found = degflow(*words, "--json", cwd=folder).json
    assert found["command"] == command and found["patches"] == 27
    assert found["pairs"] == {"ingest": 0, "generate": 27}.get(command, 54)
    assert found["total_bytes"] > 0 and found["seconds"]["start"] > 0
    shown = degflow(*words, cwd=folder)
    assert shown.err == "" and "nothing was written" in shown.out
    assert "An estimate, from" in shown.out and "27" in shown.out
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]} == before


def test_what_is_refused_is_told_in_one_line(folder: Path, degflow: Callable[..., Any]) -> None:
    asked = ["ingest", "PHOTOS", "--patch", "128", "--checkpoint", "TINY", "--store", "STORE"]
    told = degflow(*asked, "--dry-run", cwd=folder, code=1).error
    assert told == degflow(*asked, cwd=folder, code=1).error
    assert "--patch" in told
