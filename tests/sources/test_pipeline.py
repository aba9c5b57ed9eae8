"""What comes of photos in data sets is what comes of the same photos in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.errors import PhotoError
from degflow_pipe.levels import parse_t
from degflow_pipe.places import Remote
from degflow_pipe.stages.degrade import degrade
from degflow_pipe.stages.estimate import estimate_ingest
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.inspect import inspect
from degflow_pipe.store import Store
from tests.buckets import Proxy
from tests.cli.conftest import contents  # noqa: F401
from tests.conftest import PATCH
from tests.places.test_pipeline import uploaded
from tests.sources.conftest import NAMES

Tree = Callable[[Path], dict[str, bytes]]
TAR, PARQUET = "photos-000000.tar", "train-00000.parquet"
IN_TAR = [f"{TAR}::{name}" for name in NAMES]
IN_PARQUET = [f"{PARQUET}::{row}" for row in range(3)]


@pytest.fixture
def feed(tiny_model: DegFlow, tmp_path: Path) -> Callable[..., Any]:
    def run(*photos: object, name: str = "a.zarr", **options: Any) -> Any:
        options = {"patch": PATCH, "workers": 1, **options}
        return ingest([str(photo) for photo in photos], tmp_path / name, tiny_model, **options)

    return run


def arrays(files: dict[str, bytes]) -> dict[str, bytes]:
    """Those of HR and latents."""
    found = {name: data for name, data in files.items() if name.startswith(("hr/", "latents/"))}
    assert len(found) > 3
    return found


def sources_of(store: Path) -> list[str]:
    return [photo.source for photo in Store.open(store).photos().values()]


@pytest.mark.parametrize("name, names", [(TAR, IN_TAR), (PARQUET, IN_PARQUET)])
def test_the_same_patches_as_of_files(
    name: str,
    names: list[str],
    data_sets: Path,
    ready_store: Path,
    feed: Callable[..., Any],
    tmp_path: Path,
    tree: Tree,
) -> None:
    summary = feed(data_sets / name)
    assert (summary.photos, summary.patches, summary.skipped) == (3, 27, {})
    store = tmp_path / "a.zarr"
    assert sorted(sources_of(store)) == names
    assert arrays(tree(store)) == arrays(tree(ready_store))
    again = feed(data_sets / name)
    assert (again.known, again.patches) == (3, 0)
    # The same photos, wherever they lie, are in the store once.
    assert feed(data_sets).known == 6


def test_the_engine_does_not_matter(
    data_sets: Path, feed: Callable[..., Any], tmp_path: Path, tree: Tree
) -> None:
    sets = [data_sets / name for name in (PARQUET, TAR)]
    feed(*sets)
    feed(*sets, name="b.zarr", engine=run_in_processes, workers=2)
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")


def test_a_bad_member_is_skipped_by_name_and_strict_ends(
    data_sets: Path, feed: Callable[..., Any], tar_of: Callable[..., Path], pictures: list[bytes]
) -> None:
    path = tar_of(("a.png", pictures[0]), ("b.png", b"none"), ("../../x.png", pictures[1]))
    summary = feed(path)
    assert summary.photos == 1 and list(summary.skipped) == ["a.tar::b.png", "a.tar::../../x.png"]
    assert not list(path.parent.rglob("x.png"))
    with pytest.raises(PhotoError, match=r"a\.tar::b\.png: not a PNG"):
        feed(path, name="b.zarr", strict=True)


def test_limits_replacing_and_the_photos_to_look_at(
    data_sets: Path, feed: Callable[..., Any], tmp_path: Path
) -> None:
    found = inspect([str(data_sets)], tmp_path / "sheet.png")
    assert [row.photo for row in found.photos] == IN_TAR + IN_PARQUET
    assert found.left_out == {".txt": 3}
    assert feed(data_sets / TAR, max_noise=1.0, name="b.zarr").beyond == {"max_noise": 2}
    feed(data_sets / PARQUET)
    summary = feed(data_sets / PARQUET, stride=32, replace=True)
    assert (summary.replaced, summary.photos) == (3, 3)


def test_at_urls(
    bucket: Remote,
    proxy: Proxy,
    data_sets: Path,
    ready_store: Path,
    feed: Callable[..., Any],
    tmp_path: Path,
    tree: Tree,
) -> None:
    uploaded(data_sets, bucket / "sets")
    for i, source in enumerate((f"{bucket}/sets/*.tar", f"{bucket}/sets/{PARQUET}")):
        proxy.clear()
        summary = feed(source, name=f"{i}.zarr")
        assert summary.photos == 3
        # Photos are small here: a request tells what is in the tar, one or two read a photo.
        assert proxy.requests.total() <= 40
        assert arrays(tree(tmp_path / f"{i}.zarr")) == arrays(tree(ready_store))
    assert sources_of(tmp_path / "0.zarr") == IN_TAR


def test_killed_and_run_again(
    degflow: Callable[..., Any],
    begin: Callable[..., Any],
    contents: Callable[[Path], dict[str, str]],  # noqa: F811
    data_sets: Path,
    tiny: str,
    tmp_path: Path,
) -> None:
    command = ["ingest", str(data_sets / PARQUET), "--patch", "64", "--stride", "14"]
    command += ["--min-detail", "0", "--checkpoint", tiny, "--workers", "2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    degflow(*command, cwd=whole)
    process = begin(*command, cwd=killed, hold_at="degflow.zarr/done/hr/*.jsonl")
    process.until_held()
    process.kill()
    process.communicate()
    assert contents(killed) != contents(whole)
    degflow(*command, cwd=killed)
    assert contents(killed) == contents(whole)


def test_estimate(data_sets: Path, tiny_model: DegFlow, tmp_path: Path) -> None:
    for sources, known in ([TAR], 0), ([PARQUET], 0), ([TAR, PARQUET], 3):
        photos = [str(data_sets / name) for name in sources]
        found = estimate_ingest(photos, tmp_path / "a.zarr", tiny_model, workers=1, patch=PATCH)
        assert (found.photos, found.patches, found.known) == (3, 27, known)
    assert not (tmp_path / "a.zarr").exists()


def test_lr_of_whole_photos(
    data_sets: Path, tiny_model: DegFlow, tmp_path: Path, photo_folder: Path, tree: Tree
) -> None:
    grid = parse_t("1")
    degrade([str(photo_folder)], tmp_path / "files", tiny_model, grid)
    degrade([str(data_sets / TAR)], tmp_path / "tar", tiny_model, grid)
    here, there = tree(tmp_path / "files"), tree(tmp_path / "tar")
    for name in NAMES:
        other = f"{TAR}_{name.replace('/', '%2F')}_t1000.png"
        assert here[f"{name.rpartition('.')[0]}_t1000.png"] == there[other]
