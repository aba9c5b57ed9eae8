"""run --keep: levels that go straight into the shards make the same shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from degflow_pipe import SRPairs, files, sr_pairs
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.shards.tars import TarJob
from degflow_pipe.stages import run as stage
from degflow_pipe.stages.recipe import IngestSettings, LevelSettings, RunRecipe
from degflow_pipe.stages.verify import verify
from degflow_pipe.store import Store
from tests.stages.stores import PowerCut, stopping


@pytest.fixture
def recipe(photo_folder: Path, tmp_path: Path) -> RunRecipe:
    return RunRecipe(
        photos=[str(photo_folder)],
        store=str(tmp_path / "degflow.zarr"),
        out=str(tmp_path / "shards"),
        ingest=IngestSettings(patch=64),
        generate=LevelSettings(t_grid="0.1,0.3,0.5"),
        # Tars end within patches and within units.
        shard=ShardSettings(shard_size=25),
    )


def shown(out: Path) -> dict[str, bytes]:
    """What a reader of the shards sees."""
    return {p.name: p.read_bytes() for p in sorted(out.iterdir()) if not p.name.startswith(".")}


@pytest.fixture
def wanted(recipe: RunRecipe, tiny_model: DegFlow, tmp_path: Path) -> dict[str, bytes]:
    kept = replace(recipe, store=str(tmp_path / "kept.zarr"), out=str(tmp_path / "kept"))
    stage.run(kept, tiny_model)
    return shown(tmp_path / "kept")


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_shards_are_the_same_whatever_is_kept(
    recipe: RunRecipe, tiny_model: DegFlow, tmp_path: Path, layout: str, workers: int
) -> None:
    recipe = replace(recipe, shard=ShardSettings(shard_size=25, layout=layout))
    made = {}
    for keep in ("levels", "latents", "none"):
        one = replace(recipe, keep=keep, store=str(tmp_path / f"{keep}.zarr"))
        one = replace(one, out=str(tmp_path / keep))
        summary = stage.run(one, tiny_model, workers=workers)
        assert (summary.generate is not None) == (keep == "levels")
        made[keep] = shown(tmp_path / keep)
    assert made["latents"] == made["levels"]
    assert made["none"] == made["levels"]
    assert len([name for name in made["none"] if name.endswith(".tar")]) > 1
    assert Store.open(tmp_path / "latents.zarr").grids() == []
    assert not (tmp_path / "none.zarr").exists()
    assert not list((tmp_path / "none").glob("*.zarr")) + list((tmp_path / "none").glob(".*.zarr"))


def test_a_run_that_was_stopped_goes_on_to_the_same_shards(
    recipe: RunRecipe, tiny_model: DegFlow, wanted: dict[str, bytes]
) -> None:
    one = replace(recipe, keep="none")
    with pytest.raises(PowerCut):
        stage.run(one, tiny_model, workers=1, engine=stopping(TarJob, 2))
    out = Path(recipe.out)
    assert not (out / "degflow.json").exists() and (out / stage.WORK).exists()
    assert len(list(out.glob("*.tar"))) >= 2
    summary = stage.run(one, tiny_model, workers=1)
    assert shown(out) == wanted
    patches = 27
    assert summary.shard.made == 4 - 2, "tars that were whole are not made again"
    pairs = SRPairs(out)
    assert len(pairs) == patches * 3 == sum(1 for _ in sr_pairs(out))
    assert pairs[0][0].shape == (3, 64, 64)
    assert verify(out).damage == []


def test_an_unknown_keep_is_refused(recipe: RunRecipe) -> None:
    with pytest.raises(UsageError, match="`keep` must be levels, latents or none"):
        replace(recipe, keep="some")


def test_a_run_that_keeps_none_does_not_mix_photos(
    recipe: RunRecipe, tiny_model: DegFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun with other photos and cut off, or finished with them."""
    one = replace(recipe, keep="none")
    other = replace(one, photos=[str(Path(recipe.photos[0]) / "astronaut.png")])
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(stage, "shard", interrupted)
        stage.run(one, tiny_model)
    stage.run(other, tiny_model)
    mixed = shown(Path(recipe.out))
    apart = replace(other, out=str(tmp_path / "apart"))
    stage.run(apart, tiny_model)
    assert mixed == shown(tmp_path / "apart")
    with pytest.raises(ShardError, match="not made by this run"):
        stage.run(one, tiny_model)
    assert shown(Path(recipe.out)) == mixed
    stage.run(one, tiny_model, overwrite=True)
    assert shown(Path(recipe.out)) != mixed


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_store_that_was_cut_off_while_it_went_is_no_hindrance(
    recipe: RunRecipe, tiny_model: DegFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(recipe, keep="none")
    remove = files.remove

    def half(path: Path) -> None:
        if files.is_aside(path.name) and path.exists():
            (path / "store.json").unlink()
            raise KeyboardInterrupt
        remove(path)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(files, "remove", half)
        stage.run(one, tiny_model)
    made = shown(Path(recipe.out))
    stage.run(one, tiny_model)
    assert shown(Path(recipe.out)) == made
    assert not list(Path(recipe.out).glob(".degflow.zarr*/"))
    assert not list(Path(recipe.out).glob(f"{files.ASIDE}*{files.PART}"))
