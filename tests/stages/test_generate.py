"""generate: the levels of every patch, made once, equal however they were asked for."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from degflow_pipe import folders
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import read_info, write_info
from degflow_pipe.engines.engine import Engine
from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.errors import CheckpointError, FileError, StoreError, UsageError
from degflow_pipe.levels import parse_scales, parse_t
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.stages.generate import LevelJob, generate
from degflow_pipe.store import BLOCK, Store
from degflow_pipe.store.store import KIND
from tests.stages.stores import PowerCut, grid_in, levels_of, stopping

GRID = parse_scales("2,4", 4.0)
"""The grid of `ready_store`."""

Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def bare(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The patches of `ready_store` without levels. Do not write to it."""
    path = tmp_path_factory.mktemp("bare") / "a.zarr"
    shutil.copytree(ready_store, path)
    for name in ("levels", "done/levels"):
        shutil.rmtree(path / name / grid_in(ready_store, GRID).name)
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
    assert (summary.grid, summary.t) == (grid_in(few, grid).name, [0.2, 0.7, 1.0])
    assert summary.evaluations == 4 * tiny_model.config.solver.steps + 1, "of RK4"
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


def test_again_changes_nothing(few: Path, tiny_model: DegFlow, tree: Tree) -> None:
    generate(few, tiny_model, GRID)
    before = tree(few)
    summary = generate(few, tiny_model, GRID, engine=stopping(LevelJob, 0))
    assert (summary.pairs, summary.known, summary.evaluations) == (0, 12, None)
    assert tree(few) == before


@pytest.mark.parametrize("left", [None, b"half a block"])
def test_only_blocks_that_are_not_there_are_made_and_equal(
    store: Path,
    tiny_model: DegFlow,
    tree: Tree,
    stamps: Callable[[Path, str], dict[str, tuple[int, int]]],
    left: bytes | None,
) -> None:
    before = tree(store)
    data = f"levels/{grid_in(store, GRID).name}/c.{{}}.0.0.0.0"
    kept = stamps(store, data.format(0))
    assert len(kept) == 1
    file = store / data.format(1)
    file.unlink() if left is None else file.write_bytes(left)
    summary = generate(store, tiny_model, GRID)
    assert (summary.pairs, summary.known) == (2 * 11, 2 * BLOCK)
    assert tree(store) == before
    assert stamps(store, data.format(0)) == kept


def test_a_generate_that_was_stopped_ends_in_the_same_store(
    patches: Path, ready_store: Path, tiny_model: DegFlow, tree: Tree
) -> None:
    with pytest.raises(PowerCut):
        generate(patches, tiny_model, GRID, workers=1, engine=stopping(LevelJob, 1))
    source = Store.open(patches)
    assert list(source.levels(grid_in(patches, GRID)).made) == [0]
    assert generate(patches, tiny_model, GRID, workers=1).pairs == 2 * 11
    assert tree(patches) == tree(ready_store)


def test_the_engine_does_not_matter(
    patches: Path, ready_store: Path, tiny_model: DegFlow, tree: Tree
) -> None:
    generate(patches, tiny_model, GRID, workers=2, engine=run_in_processes)
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
    assert len(Store.open(few).grids()) == 2
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
    store = Store.open(few)
    made = [f"latents/{store.encoders()[0]}", f"levels/{grid_in(few, GRID).name}"]
    changed = {f"{name}/zarr.json" for name in ("hr", *made)}
    changed |= {f"done/{name}/00000000.jsonl" for name in ("hr", "photos", *made)}
    assert {name for name in before if after[name] != before[name]} == changed
    assert levels_of(few, GRID).shape[:2] == (15, 2)


def test_another_checkpoint_makes_a_grid_of_its_own(
    few: Path,
    short: Path,
    other_checkpoint: DegFlow,
    tiny_model: DegFlow,
    tmp_path: Path,
    tree: Tree,
) -> None:
    """What it lacks is encoded, and its LR are those of a store of its own."""
    generate(few, tiny_model, GRID)
    before = tree(few)
    summary = generate(few, other_checkpoint, GRID)
    assert (summary.pairs, summary.encoded) == (12, 6)
    after = tree(few)
    assert {name: after[name] for name in before} == before
    alone = Path(shutil.copytree(short, tmp_path / "alone.zarr"))
    generate(alone, other_checkpoint, GRID)
    own = tree(alone)
    assert {name: after[name] for name in own} == own
    grids = [Store.open(few).grid(name) for name in Store.open(few).grids()]
    assert {grid.checkpoint for grid in grids} == {tiny_model.info.id, other_checkpoint.info.id}


def changed_checkpoint(tiny: str, folder: Path, what: str) -> DegFlow:
    """A copy of the tiny checkpoint with one thing changed."""
    shutil.copytree(tiny, folder)
    info = read_info(folder)
    solver = replace(info.model.solver, steps=info.model.solver.steps + 2)
    changes: dict[str, dict[str, Any]] = {
        "nothing": {},
        "name": {"name": "renamed"},
        "s_max": {"s_max": 3.0},
        "solver": {"model": replace(info.model, solver=solver)},
        "training": {"training": {"note": "edited"}},
    }
    write_info(folder, replace(info, **changes[what]))
    return DegFlow.load(str(folder), "cpu")


@pytest.mark.parametrize(
    "what, same",
    [("nothing", True), ("name", True), ("training", True), ("s_max", False), ("solver", False)],
)
def test_what_the_lr_or_their_scales_depend_on_makes_another_grid(
    few: Path, tiny: str, tiny_model: DegFlow, tmp_path: Path, what: str, same: bool
) -> None:
    """Nothing is passed over in silence, and latents that are right are used whatever changed."""
    grid = parse_t("0.5,1")
    first = generate(few, tiny_model, grid)
    changed = changed_checkpoint(tiny, tmp_path / "changed", what)
    second = generate(few, changed, grid)
    assert (second.grid == first.grid) == same
    assert second.pairs == (0 if same else 12)
    assert second.encoded == 0, "a tuned solver and another s_max leave the latents as they are"
    scales = [Store.open(few).grid(made.grid).scales for made in (first, second)]
    assert (scales[0] != scales[1]) == (what == "s_max")


def test_precision_makes_another_grid(few: Path, tiny: str, tiny_model: DegFlow) -> None:
    first = generate(few, tiny_model, GRID)
    second = generate(few, DegFlow.load(tiny, "cpu", "bfloat16"), GRID)
    assert second.grid != first.grid and second.pairs == 12


def test_no_store_and_an_empty_one_are_refused(
    few: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="no store at"):
        generate(tmp_path / "nowhere", tiny_model, GRID)
    folders.claim(tmp_path / "empty.zarr", KIND)
    empty = Store.create(tmp_path / "empty.zarr", Store.open(few).settings)
    with pytest.raises(StoreError, match=r"holds no patches: run `ingest\(photos=...\)`"):
        generate(empty.path, tiny_model, GRID)


@pytest.mark.parametrize(
    "options, reason", [({"batch": 0}, "`batch` must be 1"), ({"workers": -2}, "`workers` must be")]
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


@pytest.mark.parametrize("gone", [False, True])
def test_damaged_patches_are_refused_by_name(
    few: Path, tiny_model: DegFlow, flip: Callable[[Path], None], gone: bool
) -> None:
    path = few / "hr" / "c.0.0.0.0"
    path.unlink() if gone else flip(path)
    with pytest.raises(StoreError, match=r"hr/c\.0\.0\.0\.0 is damaged"):
        generate(few, tiny_model, GRID)
    source = Store.open(few)
    assert source.levels(grid_in(few, GRID)).made == {}


def test_damaged_latents_are_refused_and_lost_ones_encoded(
    few: Path, short: Path, tiny_model: DegFlow, flip: Callable[[Path], None], tmp_path: Path
) -> None:
    path = few / "latents" / Store.open(few).encoders()[0] / "c.0.0.0.0"
    flip(path)
    with pytest.raises(StoreError, match=r"is damaged.*delete it and run `ingest` again"):
        generate(few, tiny_model, GRID)
    path.unlink()
    assert generate(few, tiny_model, GRID).encoded == 6
    whole = Path(shutil.copytree(short, tmp_path / "whole.zarr"))
    assert generate(whole, tiny_model, GRID).encoded == 0
    assert np.array_equal(levels_of(few, GRID), levels_of(whole, GRID))


def test_levels_of_patches_that_were_made_anew_are_made_anew(
    store: Path,
    make_store: Callable[..., Path],
    photo_folder: Path,
    tiny_model: DegFlow,
    tmp_path: Path,
) -> None:
    """The place of a lost unit 0 is taken by what these photos had in it, and by nothing else."""
    (store / "hr" / "c.0.0.0.0").unlink()
    others = [str(photo_folder / "chelsea.jpg"), str(photo_folder)]
    make_store(store, others[:1], scales=None)
    assert generate(store, tiny_model, GRID).pairs == 2 * 6
    fresh = make_store(tmp_path / "fresh.zarr", others[:1])
    assert np.array_equal(levels_of(store, GRID), levels_of(fresh, GRID))


def test_the_ledger_holds_the_digest_of_the_levels(few: Path, tiny_model: DegFlow) -> None:
    generate(few, tiny_model, GRID)
    (made,) = Store.open(few).levels(grid_in(few, GRID)).made.values()
    levels = levels_of(few, GRID)
    assert made.sha256 == (hashlib.sha256(levels.tobytes()).hexdigest(),)


def test_progress_counts_pairs(few: Path, tiny_model: DegFlow, recorder: Any) -> None:
    generate(few, tiny_model, GRID, progress=recorder)
    generate(few, tiny_model, GRID, progress=recorder)
    assert recorder.tasks == [("generate", 12, 0), ("generate", 12, 12)]
    assert recorder.advanced == 12


@pytest.mark.parametrize("engine", [run_in_threads, run_in_processes])
def test_a_damaged_checkpoint_is_told_before_anything_is_made(
    store: Path, tiny: str, tmp_path: Path, tree: Tree, engine: Engine
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "damaged"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    before, found = tree(store), Bank.find(str(folder), "cpu")
    generate(store, found, GRID, engine=engine)  # where nothing is left
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged: its SHA-256"):
        generate(store, found, parse_scales("3", 4.0), engine=engine)
    assert tree(store) == before
