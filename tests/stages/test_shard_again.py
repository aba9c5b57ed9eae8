"""shard, run again: after a stop, over a store that grew, with other settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from degflow_pipe import folders
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.errors import FileError, ShardError
from degflow_pipe.levels import parse_scales
from degflow_pipe.shards import tars
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.shards.tars import TarJob
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.shard import shard
from degflow_pipe.store import Store
from tests.stages.stores import PowerCut, stopping

SETTINGS = ShardSettings(shard_size=7)
TARS = 8
"""27 patches at 2 levels in tars of 7: the last one holds 5."""

Tree = Callable[[Path], dict[str, bytes]]
Stamps = Callable[[Path, str], dict[str, tuple[int, int]]]


@pytest.fixture(scope="module")
def whole(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of `ready_store` made in one go. Do not write to it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    shard(ready_store, out, SETTINGS, workers=1)
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A copy of `whole` to write to."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


@pytest.mark.parametrize("workers", [2, 5])
def test_bytes_do_not_depend_on_the_number_of_workers(
    ready_store: Path, whole: Path, tmp_path: Path, tree: Tree, workers: int
) -> None:
    shard(ready_store, tmp_path / "out", SETTINGS, workers=workers)
    assert tree(tmp_path / "out") == tree(whole)


def test_bytes_are_the_same_from_photos_to_tars_whatever_the_workers_and_batch(
    photo_folder: Path, whole: Path, tiny_model: DegFlow, tmp_path: Path, tree: Tree
) -> None:
    store = tmp_path / "a.zarr"
    ingest([str(photo_folder)], store, tiny_model, patch=64, workers=2, batch=5)
    generate(store, tiny_model, parse_scales("2,4", 4.0), workers=2, batch=3)
    shard(store, tmp_path / "out", SETTINGS, workers=2)
    assert tree(tmp_path / "out") == tree(whole)


def test_the_engine_does_not_matter(
    ready_store: Path, whole: Path, tmp_path: Path, tree: Tree
) -> None:
    shard(ready_store, tmp_path / "out", SETTINGS, workers=2, engine=run_in_processes)
    assert tree(tmp_path / "out") == tree(whole)


def test_a_finished_data_set_is_not_written_to(ready_store: Path, out: Path) -> None:
    def written() -> dict[str, int]:
        return {
            path.name: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name != ".lock"
        }

    before = written()
    assert shard(ready_store, out, SETTINGS).made == 0
    assert written() == before


def test_again_leaves_the_tars_untouched_and_all_bytes_equal(
    ready_store: Path, out: Path, tree: Tree, stamps: Stamps
) -> None:
    before, written = tree(out), stamps(out, "*.tar")
    assert len(written) == TARS
    summary = shard(ready_store, out, SETTINGS)
    assert (summary.tars, summary.pairs) == (TARS, 54)
    assert stamps(out, "*.tar") == written
    assert tree(out) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_was_stopped_is_not_finished_and_goes_on_to_the_same_bytes(
    ready_store: Path,
    whole: Path,
    tmp_path: Path,
    tree: Tree,
    stamps: Stamps,
    workers: int,
) -> None:
    out = tmp_path / "out"
    with pytest.raises(PowerCut):
        shard(ready_store, out, SETTINGS, workers=workers, engine=stopping(TarJob, 3))
    for name in ("degflow.json", "degflow.sha256", "README.md"):
        assert not (out / name).exists()
    done = [f"degflow-{n:06d}.tar" for n in range(3)]
    before = stamps(out, "*.tar")
    assert shard(ready_store, out, SETTINGS, workers=workers).made == TARS - 3
    after = stamps(out, "*.tar")
    assert {name: after[name] for name in done} == {name: before[name] for name in done}
    assert tree(out) == tree(whole)


def test_a_stopped_run_over_a_finished_folder_takes_its_mark_back(
    ready_store: Path, out: Path, whole: Path, tree: Tree
) -> None:
    """Files are replaced when the new ones are whole; NAME.json alone says that all is finished."""
    (out / "degflow-000004.tar").unlink()
    before = tree(out)
    with pytest.raises(PowerCut):
        shard(ready_store, out, SETTINGS, engine=stopping(TarJob, 0))
    # The ledger takes back what it said of the tar before that is replaced.
    others = {"degflow-000004.tar", ".degflow/00000000.jsonl"}
    after = {name: data for name, data in tree(out).items() if name not in others}
    wanted = {name: data for name, data in before.items() if name not in others}
    assert after == {name: data for name, data in wanted.items() if name != "degflow.json"}
    shard(ready_store, out, SETTINGS)
    assert tree(out) == tree(whole)


def test_a_tar_that_was_cut_off_while_it_was_written_never_has_its_name(
    ready_store: Path, tmp_path: Path, whole: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, calls = tars._samples, count()

    def cut_off(batch: Any) -> Any:
        if next(calls) >= 5:  # within tar 4, which begins in block 0 and ends in block 1
            raise OSError(28, "No space left on device")
        return made(batch)

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(tars, "_samples", cut_off)
        with pytest.raises(FileError, match=r"cannot write: No space left on device"):
            shard(ready_store, out, SETTINGS, workers=1)
    assert sorted(path.name for path in out.glob("*.tar")) == [
        f"degflow-{n:06d}.tar" for n in range(4)
    ]
    assert not list(out.glob(".degflow-*.part"))
    shard(ready_store, out, SETTINGS, workers=1)
    assert tree(out) == tree(whole)


def test_tars_that_are_gone_are_made_again(
    ready_store: Path, out: Path, whole: Path, tree: Tree, stamps: Stamps
) -> None:
    (out / "degflow-000002.tar").unlink()
    (out / "degflow-000005.index.jsonl").write_bytes(b"half")
    kept = stamps(out, "*.tar")
    shard(ready_store, out, SETTINGS)
    assert tree(out) == tree(whole)
    after = stamps(out, "*.tar")
    changed = {name for name in after if kept.get(name) != after[name]}
    assert changed == {"degflow-000002.tar", "degflow-000005.tar"}


def test_a_store_that_grew_keeps_the_full_tars_of_before(
    make_store: Callable[..., Path],
    photo_folder: Path,
    tiny_model: DegFlow,
    tmp_path: Path,
    tree: Tree,
    stamps: Stamps,
) -> None:
    """18 patches are 5 full tars and one of 1; the next 9 fill it up and add 3 more."""
    store, out = tmp_path / "a.zarr", tmp_path / "out"
    make_store(store, [str(photo_folder / "astronaut.png"), str(photo_folder / "chelsea.jpg")])
    assert shard(store, out, SETTINGS).tars == 6
    before, written = tree(out), stamps(out, "*.tar")
    make_store(store, [str(photo_folder / "sub")])
    summary = shard(store, out, SETTINGS)
    assert (summary.tars, summary.pairs) == (8, 54)
    after = stamps(out, "*.tar")
    full = [f"degflow-{n:06d}.tar" for n in range(5)]
    assert {name: after[name] for name in full} == {name: written[name] for name in full}
    assert tree(out)["degflow-000005.tar"] != before["degflow-000005.tar"]
    fresh = tmp_path / "fresh"
    shard(store, fresh, SETTINGS)
    assert tree(out) == tree(fresh)


@pytest.mark.parametrize(
    "other",
    [
        ShardSettings(shard_size=10),
        ShardSettings(shard_size=7, layout="grouped"),
        ShardSettings(shard_size=7, lr_size="native"),
        ShardSettings(shard_size=7, picture_format="webp"),
    ],
)
def test_other_settings_are_refused_unless_they_may_overwrite(
    ready_store: Path, out: Path, tmp_path: Path, tree: Tree, other: ShardSettings
) -> None:
    before = tree(out)
    with pytest.raises(ShardError, match=r"made with other settings.*`out`, or `overwrite`"):
        shard(ready_store, out, other)
    assert tree(out) == before
    shard(ready_store, out, other, overwrite=True)
    fresh = tmp_path / "fresh"
    shard(ready_store, fresh, other)
    assert tree(out) == tree(fresh)  # no tar and no mark of the old data set is left


def test_another_grid_is_refused_unless_it_may_overwrite(
    make_store: Callable[..., Path], photo_folder: Path, tmp_path: Path
) -> None:
    out, photo = tmp_path / "out", [str(photo_folder / "chelsea.jpg")]
    shard(make_store(tmp_path / "a.zarr", photo, scales="4"), out)
    other = make_store(tmp_path / "b.zarr", photo, scales="2")
    with pytest.raises(ShardError, match="made with other settings"):
        shard(other, out)
    shard(other, out, overwrite=True)
    assert json.loads((out / "degflow.json").read_text())["settings"]["t"] == [0.333333333]


@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_of_another_data_set_is_refused_even_to_overwrite(
    ready_store: Path, out: Path, tree: Tree, finished: bool
) -> None:
    if not finished:
        (out / "degflow.json").unlink()
    before = tree(out)
    for name in ("second", "deg"):
        for overwrite in (False, True):
            with pytest.raises(ShardError, match=r"holds the data set degflow .*another folder"):
                shard(ready_store, out, ShardSettings(name=name), overwrite=overwrite)
    assert tree(out) == before


def test_files_of_others_in_the_folder_stay(ready_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    others = ["notes.txt", "backup.tar", "degflow-backup.tar", "degflow-1.tar", "photo.png"]
    shard(ready_store, out, SETTINGS)
    for name in others:
        (out / name).write_text("mine")
    shard(ready_store, out, ShardSettings(shard_size=30), overwrite=True)
    assert [name for name in others if (out / name).exists()] == others
    assert all((out / name).read_text() == "mine" for name in others)


def test_no_tar_of_a_larger_data_set_is_left_though_its_mark_was_never_written(
    ready_store: Path, out: Path, tmp_path: Path, tree: Tree
) -> None:
    """A process killed between a tar and its line in the ledger leaves a tar without one."""
    ledger = out / ".degflow" / "00000000.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    (out / "degflow.json").unlink()
    other = ShardSettings(shard_size=30)
    shard(ready_store, out, other, overwrite=True)
    fresh = tmp_path / "fresh"
    shard(ready_store, fresh, other)
    assert tree(out) == tree(fresh)


def test_one_writer_at_a_time(ready_store: Path, out: Path, tree: Tree) -> None:
    before = tree(out)
    with (
        folders.one_writer(out, "set of shards"),
        pytest.raises(FileError, match="another process is writing"),
    ):
        shard(ready_store, out, SETTINGS)
    assert tree(out) == before


def test_progress_counts_pairs(ready_store: Path, tmp_path: Path, recorder: Any) -> None:
    shard(ready_store, tmp_path / "out", SETTINGS, progress=recorder)
    assert recorder.tasks == [("shard", 54, 0)]
    assert recorder.advanced == 54


def test_a_tar_that_was_replaced_and_not_noted_is_made_again(
    ready_store: Path, out: Path, tiny_model: DegFlow, tmp_path: Path, tree: Tree
) -> None:
    """A run with other settings that is cut off leaves tars of theirs, maybe of the same length."""
    store = Path(shutil.copytree(ready_store, tmp_path / "a.zarr"))
    (first,) = Store.open(store).grids()
    other = generate(store, tiny_model, parse_scales("2.1,3.9", 4.0)).grid
    before = tree(out)
    with pytest.raises(PowerCut):
        shard(store, out, SETTINGS, grid=other, overwrite=True, engine=stopping(TarJob, 0))
    assert shard(store, out, SETTINGS, grid=first, overwrite=False).made == TARS
    assert tree(out) == before
