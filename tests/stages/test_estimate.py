"""`--dry-run`: counts and sizes are those of the run that follows, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from degflow_pipe import files, folders
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.site import Site
from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.errors import DegflowError
from degflow_pipe.estimates import Estimate
from degflow_pipe.levels import Grid, parse_grid, parse_scales
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.estimate import (
    estimate_generate,
    estimate_ingest,
    estimate_run,
    estimate_shard,
)
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.recipe import RunRecipe, run_recipe
from degflow_pipe.stages.run import run
from degflow_pipe.stages.shard import shard

PATCH = 64
OPTIONS: dict[str, Any] = {"patch": PATCH, "workers": 2}
SMALL = ShardSettings(shard_size=20)


@pytest.fixture
def grid() -> Grid:
    return parse_scales("1.5,2,4", 4.0)


@pytest.fixture(autouse=True)
def nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Path], dict[str, Any]]:
    """In an empty folder, where what is relative would show."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return everything


def everything(folder: Path) -> dict[str, Any]:
    """All below a folder, folders too, with what changes where something is written."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_size)
        for path in [folder, *sorted(folder.rglob("*"))]
    }


def size(*paths: Path) -> int:
    return sum(f.stat().st_size for path in paths for f in path.rglob("*") if f.is_file())


def near(estimate: Estimate, real: int) -> bool:
    return abs(estimate.total_bytes - real) <= 0.15 * real


def recipe_of(photo_folder: Path, folder: Path, **more: Any) -> RunRecipe:
    values = {
        "photos": [str(photo_folder)],
        "store": str(folder / "a.zarr"),
        "out": str(folder / "out"),
        "ingest": {"patch": PATCH, "min_detail": 0},
        "generate": {"t_grid": "x1.5,x2,x4"},
        "shard": {"shard_size": 20},
    }
    return run_recipe({**values, **more})


def test_ingest(photo_folder: Path, tiny_model: DegFlow, tmp_path: Path) -> None:
    store, before = tmp_path / "a.zarr", everything(tmp_path)
    found = estimate_ingest([str(photo_folder)], store, tiny_model, min_detail=0, **OPTIONS)
    assert everything(tmp_path) == before and not store.exists()
    made = ingest([str(photo_folder)], store, tiny_model, min_detail=0, **OPTIONS)
    assert (found.patches, found.photos, found.known) == (made.patches, 3, 0) == (27, 3, 0)
    assert near(found, size(store))
    assert set(found.bytes) == {"hr", "latents", "ledgers"}
    assert found.total_seconds > 0 and found.measured.photos == 3


def test_what_an_ingest_knows_is_not_counted_again(
    store: Path, photo_folder: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    other = tmp_path / "more"
    shutil.copytree(photo_folder, other)
    Image.fromarray(np.asarray(Image.open(other / "astronaut.png"))[:128, :64]).save(
        other / "new.png"
    )
    shutil.copy(other / "new.png", other / "twice.png")
    before = everything(store)
    found = estimate_ingest([str(other)], store, tiny_model, min_detail=1.0, **OPTIONS)
    assert everything(store) == before
    made = ingest([str(other)], store, tiny_model, min_detail=1.0, **OPTIONS)
    assert (found.photos, found.known) == (1, 4) == (made.photos, made.known)
    assert found.patches == made.patches


def test_patches_that_are_dropped_are_counted(tiny_model: DegFlow, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    busy = rng.integers(0, 255, (PATCH, PATCH, 3), np.uint8)
    flat = np.full((PATCH, PATCH, 3), 90, np.uint8)
    other = rng.integers(0, 255, (PATCH, PATCH, 3), np.uint8)
    Image.fromarray(np.hstack([busy, flat, busy, other])).save(photos / "a.png")
    Image.fromarray(np.hstack([other, flat])).save(photos / "b.png")
    (photos / "c.png").write_bytes(b"no photo")
    Image.fromarray(busy[:40]).save(photos / "small.png")
    found = estimate_ingest([str(photos)], tmp_path / "a.zarr", tiny_model, **OPTIONS)
    made = ingest([str(photos)], tmp_path / "a.zarr", tiny_model, **OPTIONS)
    assert found.patches == made.patches == 2
    assert found.skipped == made.skipped and len(found.skipped) == 2


def test_a_photo_stands_for_as_many_patches_as_it_has(tiny_model: DegFlow, tmp_path: Path) -> None:
    """More photos than are decoded, of which the small ones are flat."""
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(np.full((64, 64, 3), i, np.uint8)).save(photos / f"flat{i}.png")
        large = rng.integers(0, 60, (128, 192, 3), np.uint8)
        Image.fromarray(large).save(photos / f"large{i}.png")
    found = estimate_ingest([str(photos)], tmp_path / "a.zarr", tiny_model, **OPTIONS)
    assert found.photos == 80 and found.measured.photos < 40
    made = ingest([str(photos)], tmp_path / "a.zarr", tiny_model, encode=False, **OPTIONS)
    assert abs(found.patches - made.patches) < 0.15 * made.patches
    assert abs(found.bytes["hr"] - size(tmp_path / "a.zarr" / "hr")) < 0.15 * found.bytes["hr"]


@pytest.mark.parametrize("options", [{}, {"sr_scale": 2.0}])
def test_generate(
    make_store: Callable[..., Path],
    tiny_model: DegFlow,
    grid: Grid,
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    store = make_store(tmp_path / "a.zarr", scales=None)
    if options.get("sr_scale"):
        grid = parse_grid("x1.5..x2", 4.0)
    before, held = everything(tmp_path), size(store)
    found = estimate_generate(store, tiny_model, grid, workers=2, **options)
    assert everything(tmp_path) == before
    made = generate(store, tiny_model, grid, workers=2, **options)
    assert (found.patches, found.pairs, found.known_pairs) == (made.patches, made.pairs, 0)
    assert near(found, size(store) - held)
    again = estimate_generate(store, tiny_model, grid, workers=2, **options)
    assert (again.pairs, again.known_pairs, again.total_bytes) == (0, made.pairs, 0)


def test_a_bank_counts_each_kind_of_camera(
    make_store: Callable[..., Path], tiny_model: DegFlow, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "a.zarr", scales=None)
    bank = Bank((Site.of(tiny_model),), (1.0,), simulated=2, simulated_share=3.0)
    grid, held = parse_scales("2", 4.0), size(store)
    found = estimate_generate(store, bank, grid, workers=2)
    generate(store, bank, grid, workers=2)
    assert near(found, size(store) - held)


@pytest.mark.parametrize(
    "settings",
    [SMALL, ShardSettings(layout="grouped", shard_size=5), ShardSettings(picture_format="webp")],
)
def test_shard(ready_store: Path, tmp_path: Path, settings: ShardSettings) -> None:
    before = everything(ready_store) | everything(tmp_path)
    found = estimate_shard(ready_store, tmp_path / "out", settings, workers=2)
    assert everything(ready_store) | everything(tmp_path) == before
    made = shard(ready_store, tmp_path / "out", settings, workers=2)
    assert (found.patches, found.pairs, found.tars) == (made.patches, made.pairs, made.tars)
    assert near(found, size(tmp_path / "out"))
    assert abs(found.bytes["tars"] - made.bytes) < 0.15 * made.bytes
    again = estimate_shard(ready_store, tmp_path / "out", settings, workers=2)
    assert (again.tars, again.pairs, again.known_pairs) == (0, 0, made.pairs)


def test_tars_that_are_whole_stay(ready_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shard(ready_store, out, SMALL)
    (out / SMALL.tar(1)).unlink()
    found = estimate_shard(ready_store, out, SMALL)
    assert (found.tars, found.pairs, found.known_pairs) == (1, 20, 34)
    assert shard(ready_store, out, SMALL).made == 1


def test_photos_that_are_set_apart(ready_store: Path, tmp_path: Path) -> None:
    settings = ShardSettings(shard_size=20, validate="chelsea.jpg")
    found = estimate_shard(ready_store, tmp_path / "out", settings)
    made = shard(ready_store, tmp_path / "out", settings)
    assert made.validation is not None
    assert found.pairs == made.pairs + made.validation.pairs
    assert found.tars == made.tars + made.validation.tars
    assert near(found, size(tmp_path / "out"))


@pytest.mark.parametrize("keep", ["levels", "latents", "none"])
def test_run(photo_folder: Path, tiny_model: DegFlow, tmp_path: Path, keep: str) -> None:
    recipe = recipe_of(photo_folder, tmp_path, keep=keep)
    before = everything(tmp_path)
    found = estimate_run(recipe, tiny_model, workers=2)
    assert everything(tmp_path) == before
    made = run(recipe, tiny_model, workers=2)
    assert (found.patches, found.pairs) == (made.shard.patches, made.shard.pairs) == (27, 81)
    assert found.tars == made.shard.tars
    assert near(found, size(tmp_path / "out", tmp_path / "a.zarr"))
    assert (found.peak_bytes > found.total_bytes) == (keep == "none")
    if keep != "none":
        again = estimate_run(recipe, tiny_model, workers=2)
        assert (again.photos, again.pairs, again.total_bytes) == (0, 0, 0)


def test_processes_are_measured_too(ready_store: Path, tmp_path: Path) -> None:
    threads = estimate_shard(ready_store, tmp_path / "out", SMALL, workers=1)
    found = estimate_shard(ready_store, tmp_path / "out", SMALL, workers=1, engine=run_in_processes)
    assert found.measured.engine == "processes"
    assert found.bytes == threads.bytes


def test_what_a_run_refuses_is_refused_alike(
    store: Path, photo_folder: Path, tiny_model: DegFlow, grid: Grid, tmp_path: Path
) -> None:
    photos, model, out = [str(photo_folder)], tiny_model, tmp_path / "out"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "a.txt").write_text("mine")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "bad.png").write_bytes(b"no photo")
    other = tmp_path / "other"
    shard(store, other, ShardSettings(name="b"))
    wrong: list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
        *(
            (estimate_ingest, ingest, given, options)
            for given, options in [
                ((photos, store, model), {"patch": 65}),
                ((photos, store, model), {"patch": 128}),
                ((photos, store, model), {"patch": 64, "stride": 0}),
                ((photos, store, model), {"patch": 64, "stride": 32}),
                ((photos, store, model), {"patch": 64, "min_detail": 2.5}),
                ((photos, store, model), {"patch": 64, "min_detail": -1.0}),
                ((photos, store, model), {"patch": 64, "max_noise": -1.0}),
                ((photos, store, model), {"patch": 64, "max_pixels": 0}),
                ((photos, store, model), {"patch": 64, "workers": -1}),
                ((photos, store, model), {"patch": 64, "batch": 0}),
                ((["nowhere"], store, model), {"patch": 64}),
                ((photos, theirs, model), {"patch": 64}),
                (([str(bad)], tmp_path / "new.zarr", model), {"patch": 64}),
                (([str(bad), *photos], tmp_path / "n.zarr", model), {"patch": 64, "strict": True}),
            ]
        ),
        *(
            (estimate_generate, generate, given, options)
            for given, options in [
                ((tmp_path / "none.zarr", model, grid), {}),
                ((store, model, grid), {"noise": "calibrated"}),
                ((store, model, grid), {"sr_scale": 1.2}),
                ((store, model, grid), {"draws": 0}),
                ((store, model, grid), {"name": "-"}),
            ]
        ),
        *(
            (estimate_shard, shard, given, options)
            for given, options in [
                ((tmp_path / "none.zarr", out), {}),
                ((store, theirs), {}),
                ((store, other), {}),
                ((store, out), {"grid": "none"}),
                ((store, out, ShardSettings(validate="nobody.png")), {}),
            ]
        ),
        *(
            (estimate_run, run, (recipe_of(photo_folder, tmp_path, **more), model), {})
            for more in [
                {"photos": []},
                {"out": str(theirs)},
                {"generate": {"t_grid": "x5"}},
                {"shard": {"lr_size": "native"}},
                {"ingest": {"patch": 65}},
            ]
        ),
    ]
    for estimate, stage, given, options in wrong:
        before = everything(tmp_path)
        with pytest.raises(DegflowError) as told:
            estimate(*given, **options)
        assert everything(tmp_path) == before, (stage, options)
        with pytest.raises(DegflowError) as refused:
            stage(*given, **options)
        assert str(told.value) == str(refused.value)
        assert type(told.value) is type(refused.value)


def test_where_the_disk_cannot_be_watched_that_is_told(
    ready_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert estimate_shard(ready_store, tmp_path / "out", SMALL).measured.disk == (
        files.seconds_to_write(tmp_path, 1000) is not None
    )
    monkeypatch.delattr("os.O_TMPFILE", raising=False)
    assert files.seconds_to_write(tmp_path, 1000) is None
    assert not estimate_shard(ready_store, tmp_path / "out", SMALL).measured.disk
    assert folders.held(tmp_path) == ["here"]
