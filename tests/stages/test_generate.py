"""generate: the levels of every patch, made once, equal however they were asked for."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from degflow_pipe import folders
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import FileError, StoreError, UsageError
from degflow_pipe.levels import Grid, parse_scales, parse_t
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.stages.generate import generate
from degflow_pipe.store import UNIT, Store

GRID = parse_scales("2,4", 4.0)
"""The grid of `ready_store`."""

Tree = Callable[[Path], dict[str, bytes]]


def levels_of(store: Path, grid: Grid) -> np.ndarray:
    """LR of all patches, (N, T, P, P, 3)."""
    source = Store.open(store)
    return np.concatenate([source.levels(grid.name, unit) for unit in source.units()])


@pytest.fixture(scope="module")
def bare(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The patches of `ready_store` without levels. Do not write to it."""
    path = tmp_path_factory.mktemp("bare") / "a.zarr"
    shutil.copytree(ready_store, path)
    for name in (f"levels/{GRID.name}", f"done/{GRID.name}"):
        shutil.rmtree(path / name)
    return path


@pytest.fixture
def patches(bare: Path, tmp_path: Path) -> Path:
    """A copy of `bare` to write to."""
    return Path(shutil.copytree(bare, tmp_path / "a.zarr"))


@pytest.fixture(scope="module")
def short(
    make_store: Callable[..., Path], photo_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store of one photo, 6 patches, without levels. Do not write to it."""
    path = tmp_path_factory.mktemp("short") / "a.zarr"
    return make_store(path, [str(photo_folder / "chelsea.jpg")], scales=None)


@pytest.fixture
def few(short: Path, tmp_path: Path) -> Path:
    """A copy of `short` to write to."""
    return Path(shutil.copytree(short, tmp_path / "few.zarr"))


def test_levels_are_what_the_model_makes_of_the_patches(few: Path, tiny_model: DegFlow) -> None:
    grid = parse_t("0.2,0.7,1")
    summary = generate(few, tiny_model, grid, workers=1)
    assert (summary.patches, summary.pairs, summary.known) == (6, 18, 0)
    assert (summary.grid, summary.t) == (grid.name, [0.2, 0.7, 1.0])
    assert summary.evaluations == tiny_model.config.solver.steps + 1
    made = levels_of(few, grid)
    assert made.shape == (6, 3, 64, 64, 3)
    hr = Store.open(few).hr(0)
    asked = to_picture(tiny_model.degrade(to_tensor(hr), grid.t))
    assert np.abs(made.astype(int) - asked).max() <= 1


def test_the_farther_the_level_the_farther_from_level_0(few: Path, tiny_model: DegFlow) -> None:
    grid = parse_t("0,0.3,0.6,1")
    generate(few, tiny_model, grid)
    made = levels_of(few, grid).astype(float)
    far = [float(((made[:, i] - made[:, 0]) ** 2).mean()) for i in range(4)]
    assert 0 == far[0] < far[1] < far[2] < far[3]
    hr = Store.open(few).hr(0)
    assert min(psnr(a, b) for a, b in zip(hr, made[:, 3], strict=True)) > 20


def test_again_changes_nothing(
    few: Path, tiny_model: DegFlow, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(few, tiny_model, GRID)
    before = tree(few)
    monkeypatch.setattr(Store, "write_levels", None)
    summary = generate(few, tiny_model, GRID)
    assert (summary.pairs, summary.known, summary.evaluations) == (0, 12, None)
    assert tree(few) == before


def test_only_units_that_lack_their_mark_are_made_and_equal(
    store: Path,
    tiny_model: DegFlow,
    tree: Tree,
    stamps: Callable[[Path, str], dict[str, tuple[int, int]]],
) -> None:
    before = tree(store)
    mark = store / "done" / GRID.name / "00000001.json"
    mark.unlink()
    data = "levels/" + GRID.name + "/c/{}/0/0/0/0"
    kept = stamps(store, data.format(0))
    assert len(kept) == 1
    (store / data.format(1)).write_bytes(b"half a unit")
    summary = generate(store, tiny_model, GRID)
    assert (summary.pairs, summary.known) == (2 * 11, 2 * UNIT)
    assert tree(store) == before
    assert stamps(store, data.format(0)) == kept


def test_a_generate_that_was_stopped_ends_in_the_same_store(
    patches: Path,
    ready_store: Path,
    tiny_model: DegFlow,
    tree: Tree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = Store.write_levels

    def stop_at_1(self: Store, grid: Grid, unit: int, *rest: Any) -> None:
        if unit == 1:
            raise RuntimeError("power cut")
        write(self, grid, unit, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "write_levels", stop_at_1)
        with pytest.raises(RuntimeError, match="power cut"):
            generate(patches, tiny_model, GRID, workers=1)
    assert Store.open(patches).units(GRID.name) == [0]
    assert generate(patches, tiny_model, GRID, workers=1).pairs == 2 * 11
    assert tree(patches) == tree(ready_store)


@pytest.mark.parametrize("workers, batch", [(2, 1), (1, 16)])
def test_bytes_depend_on_neither_workers_nor_batch(
    patches: Path, ready_store: Path, tiny_model: DegFlow, tree: Tree, workers: int, batch: int
) -> None:
    generate(patches, tiny_model, GRID, workers=workers, batch=batch)
    assert tree(patches) == tree(ready_store)


def test_a_second_grid_lives_beside_the_first_with_equal_pictures(
    few: Path, tiny_model: DegFlow, tree: Tree
) -> None:
    """0.333333333 and 1 are in both grids: a level does not depend on its company."""
    other = parse_t("0.1,0.333333333,0.6,0.9,1")
    generate(few, tiny_model, GRID)
    before = tree(few)
    summary = generate(few, tiny_model, other)
    assert summary.pairs == 30
    after = tree(few)
    assert {name: after[name] for name in before} == before
    assert Store.open(few).grids() == sorted([GRID.name, other.name])
    one, two = levels_of(few, GRID), levels_of(few, other)
    assert np.array_equal(one, two[:, [1, 4]])


def test_level_0_is_the_picture_that_the_model_rebuilds(few: Path, tiny_model: DegFlow) -> None:
    grid = parse_t("0")
    generate(few, tiny_model, grid)
    hr = Store.open(few).hr(0)
    z, skips = tiny_model.encode(to_tensor(hr))
    rebuilt = to_picture(tiny_model.decode(z, skips))
    assert np.abs(levels_of(few, grid)[:, 0].astype(int) - rebuilt).max() <= 1


def test_patches_that_came_later_are_made_too(
    few: Path, tiny_model: DegFlow, make_store: Callable[..., Path], photo_folder: Path, tree: Tree
) -> None:
    generate(few, tiny_model, GRID)
    before = tree(few)
    make_store(few, [str(photo_folder / "sub")], scales=None)
    summary = generate(few, tiny_model, GRID)
    assert (summary.patches, summary.pairs, summary.known) == (15, 18, 12)
    after = tree(few)
    arrays = {"hr/zarr.json", "latents/zarr.json", f"levels/{GRID.name}/zarr.json"}
    arrays.add("done/ingest.json")
    assert {name for name in before if after[name] != before[name]} == arrays
    assert levels_of(few, GRID).shape[:2] == (15, 2)


def test_another_checkpoint_is_refused_and_nothing_changes(
    few: Path, other_checkpoint: DegFlow, tree: Tree
) -> None:
    before = tree(few)
    with pytest.raises(StoreError, match=r"of the checkpoint tiny-\w+, not of other-\w+"):
        generate(few, other_checkpoint, GRID)
    assert tree(few) == before


def test_no_store_and_an_empty_one_are_refused(
    few: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="no store at"):
        generate(tmp_path / "nowhere", tiny_model, GRID)
    empty = Store.create(tmp_path / "empty.zarr", Store.open(few).settings)
    with pytest.raises(StoreError, match=r"holds no patches: run `degflow-pipe ingest PHOTOS`"):
        generate(empty.path, tiny_model, GRID)


@pytest.mark.parametrize(
    "options, reason", [({"batch": 0}, "--batch must be 1"), ({"workers": -2}, "--workers must be")]
)
def test_wrong_options_are_refused_and_nothing_changes(
    few: Path, tiny_model: DegFlow, tree: Tree, options: dict[str, Any], reason: str
) -> None:
    before = tree(few)
    with pytest.raises(UsageError, match=reason):
        generate(few, tiny_model, GRID, **options)
    assert tree(few) == before


def test_one_writer_at_a_time(few: Path, tiny_model: DegFlow, tree: Tree) -> None:
    with (
        folders.one_writer(few, "store"),
        pytest.raises(FileError, match="another process is writing"),
    ):
        generate(few, tiny_model, GRID)
    assert Store.open(few).grids() == []


@pytest.mark.parametrize("name", ["hr", "latents"])
@pytest.mark.parametrize("gone", [False, True])
def test_damaged_patches_are_refused_by_name(
    few: Path, tiny_model: DegFlow, flip: Callable[[Path], None], name: str, gone: bool
) -> None:
    path = few / name / "c" / "0" / "0" / "0" / "0"
    if gone:
        path.unlink()
    else:
        flip(path)
    with pytest.raises(StoreError, match=f"{name} is damaged"):
        generate(few, tiny_model, GRID)
    assert Store.open(few).units(GRID.name) == []


def test_levels_of_patches_that_were_made_anew_are_made_anew(
    store: Path,
    make_store: Callable[..., Path],
    photo_folder: Path,
    tiny_model: DegFlow,
    tmp_path: Path,
) -> None:
    """The place of a lost unit 0 is taken by what these photos had in it, and by nothing else."""
    (store / "done" / "ingest" / "00000000.json").unlink()
    others = [str(photo_folder / "chelsea.jpg"), str(photo_folder)]
    make_store(store, others[:1], scales=None)
    assert generate(store, tiny_model, GRID).pairs == 2 * 4
    fresh = make_store(tmp_path / "fresh.zarr", others)
    made, wanted = ({level.tobytes() for level in levels_of(path, GRID)} for path in (store, fresh))
    assert len(made) == 15 and made < wanted


def test_the_mark_holds_the_digest_of_the_levels(few: Path, tiny_model: DegFlow) -> None:
    generate(few, tiny_model, GRID)
    mark = json.loads((few / "done" / GRID.name / "00000000.json").read_text())
    made = levels_of(few, GRID)
    assert mark["sha256"]["levels"] == hashlib.sha256(made.tobytes()).hexdigest()


def test_progress_counts_pairs(few: Path, tiny_model: DegFlow, recorder: Any) -> None:
    generate(few, tiny_model, GRID, progress=recorder)
    generate(few, tiny_model, GRID, progress=recorder)
    assert recorder.tasks == [("generate", 12, 0), ("generate", 12, 12)]
    assert recorder.advanced == 12
