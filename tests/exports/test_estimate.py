"""`export --dry-run`: counts and sizes are those of the export that follows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from degflow_pipe.errors import DegflowError
from degflow_pipe.exports.estimate import estimate_export
from degflow_pipe.exports.export import export
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.shard import shard

LEVELS, PATCHES = 6, 6


def everything(folder: Path) -> dict[str, Any]:
    """All below a folder, folders too, with what changes where something is written."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_size)
        for path in [folder, *sorted(folder.rglob("*"))]
    }


def room(folder: Path) -> int:
    """Bytes that files take, a file of several names once."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum({stat.st_ino: stat.st_size for stat in found}.values())


@pytest.mark.parametrize("to", ["basicsr", "basicsr-lmdb", "kair"])
@pytest.mark.parametrize("scale", [None, 2])
def test_export(shards: Path, tmp_path: Path, to: str, scale: int | None) -> None:
    before = everything(shards) | everything(tmp_path)
    found = estimate_export(shards, to, tmp_path / "out", scale=scale, workers=2)
    assert everything(shards) | everything(tmp_path) == before
    made = export(shards, to, tmp_path / "out", scale=scale, workers=2)
    assert (found.patches, found.pairs) == (made.patches, made.pairs) == (PATCHES, 36)
    assert found.files == made.written
    # A data base has pages, of which the last of each picture is not full.
    slack = 0.15 if to != "basicsr-lmdb" else 0.5
    assert abs(found.total_bytes - room(tmp_path / "out")) < slack * room(tmp_path / "out")


@pytest.mark.parametrize("how", [{"scale": 4}, {"scales": [2, 4]}])
def test_one_hr_of_many_factors(shards: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    found = estimate_export(shards, "edsr", tmp_path / "out", **how)
    made = export(shards, "edsr", tmp_path / "out", **how)
    assert (found.files, found.pairs) == (made.written, made.pairs)
    assert abs(found.total_bytes - room(tmp_path / "out")) < 0.15 * room(tmp_path / "out")


def test_photos_that_were_set_apart(ready_store: Path, tmp_path: Path) -> None:
    shard(ready_store, tmp_path / "shards", ShardSettings(validate="chelsea.jpg"))
    found = estimate_export(tmp_path / "shards", "basicsr", tmp_path / "out")
    made = export(tmp_path / "shards", "basicsr", tmp_path / "out")
    assert found.pairs == made.pairs + made.validation_pairs == 54
    assert abs(found.total_bytes - room(tmp_path / "out")) < 0.15 * room(tmp_path / "out")


def test_what_is_there_counts_as_done(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(shards, "basicsr", out, scale=2)
    gone = sorted((out / "lq").rglob("*.png"))[:3]
    for path in gone:
        path.unlink()
    found = estimate_export(shards, "basicsr", out, scale=2)
    assert (found.pairs, found.known_pairs) == (3, 33)
    assert found.files == export(shards, "basicsr", out, scale=2).written == 3


@pytest.mark.parametrize(
    "options",
    [{"scale": 5}, {"t": [0.123]}, {"scales": []}, {"workers": -1}],
)
def test_what_an_export_refuses_is_refused_alike(
    shards: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    _refused_alike(shards, "basicsr", tmp_path / "out", tmp_path, options)


def test_folders_of_others_are_refused_alike(
    shards: Path, native: Path, make_shards: Callable[..., Path], tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "a.txt").write_text("mine")
    _refused_alike(shards, "basicsr", theirs, tmp_path, {})
    _refused_alike(shards, "nobody", tmp_path / "new", tmp_path, {})
    _refused_alike(theirs, "basicsr", tmp_path / "new", tmp_path, {})
    _refused_alike(native, "basicsr", tmp_path / "new", tmp_path, {})
    out = tmp_path / "out"
    export(shards, "basicsr", out, scale=2)
    _refused_alike(shards, "basicsr", out, tmp_path, {"scale": 4})
    before = everything(out)
    assert estimate_export(shards, "basicsr", out, scale=4, overwrite=True).pairs == 36
    assert everything(out) == before


def _refused_alike(shards: Path, to: str, out: Path, folder: Path, options: dict[str, Any]) -> None:
    before = everything(folder)
    with pytest.raises(DegflowError) as told:
        estimate_export(shards, to, out, **options)
    assert everything(folder) == before
    with pytest.raises(DegflowError) as refused:
        export(shards, to, out, **options)
    assert str(told.value) == str(refused.value)
