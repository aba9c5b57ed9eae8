"""Several cameras, drawn levels and LR of HR / S through the stages, and into the shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from degflow_pipe import LazyPairs, SRPairs, json_files
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.cameras.making import Making
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.site import Site
from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.errors import StoreError, UsageError
from degflow_pipe.levels import Place, parse_grid
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.generate import LevelJob, generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.meant import checkpoint_of, encoders_of, levels_of
from degflow_pipe.stages.remove import remove
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import info, verify
from degflow_pipe.store import Store
from degflow_pipe.store.records import grid_fields
from tests.stages.stores import PowerCut, stopping

PATCH = 64
RANGE = parse_grid("x1.5..x2", 4.0)
OPTIONS: dict[str, Any] = {"sr_scale": 2.0, "draws": 2, "seed": 3}

Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def bank(tiny_model: DegFlow, other_checkpoint: DegFlow) -> Bank:
    return Bank(
        (Site.of(tiny_model), Site.of(other_checkpoint)),
        (2.0, 1.0),
        simulated=2,
        simulated_share=1.0,
    )


@pytest.fixture(scope="module")
def bare(photo_folder: Path, bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """27 patches, with the latents of both checkpoints. Do not write to it."""
    path = tmp_path_factory.mktemp("bank") / "a.zarr"
    assert ingest([str(photo_folder)], path, bank, patch=PATCH).encoded == 2 * 27
    return path


@pytest.fixture(scope="module")
def drawn(bare: Path, bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two realisations of a drawn level at x2. Do not write to it."""
    path = Path(shutil.copytree(bare, tmp_path_factory.mktemp("drawn") / "a.zarr"))
    generate(path, bank, RANGE, **OPTIONS)
    return path


@pytest.fixture
def patches(bare: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bare, tmp_path / "a.zarr"))


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 2, "engine": run_in_processes}])
def test_the_engine_does_not_matter(
    patches: Path, drawn: Path, bank: Bank, tree: Tree, options: dict[str, Any]
) -> None:
    generate(patches, bank, RANGE, **OPTIONS, **options)
    assert tree(patches) == tree(drawn)


def test_a_stop_does_not_matter(patches: Path, drawn: Path, bank: Bank, tree: Tree) -> None:
    with pytest.raises(PowerCut):
        generate(patches, bank, RANGE, **OPTIONS, workers=1, engine=stopping(LevelJob, 1))
    assert generate(patches, bank, RANGE, **OPTIONS).known == 2 * 16
    assert tree(patches) == tree(drawn)


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
def test_every_sample_says_its_camera_and_level(
    drawn: Path, bank: Bank, tmp_path: Path, layout: Any
) -> None:
    shard(drawn, tmp_path / "out", ShardSettings(layout=layout, shard_size=10))
    pairs = SRPairs(tmp_path / "out")
    assert len(pairs) == 2 * 27
    making = Making.of(bank, RANGE, **OPTIONS)
    cameras = set()
    for i in range(len(pairs)):
        lr, hr, info = pairs[i]
        assert lr.shape == (3, 32, 32) and hr.shape == (3, 64, 64)
        assert (info["scale"], info["effective_scale"], info["draw"]) == (2, 2, 1 + i % 2)
        assert info["lr_size"] == [32, 32] and info["level"] == f"x1_5to2_d{1 + i % 2}"
        place = Place(info["source_sha256"], info["y"], info["x"])
        camera = making.cameras[making.camera_of(place)]
        asked = making.asked_of(place)[i % 2]
        assert (info["camera"], info["noise"]) == (camera.name, camera.noise)
        assert abs(info["camera_scale"] - asked.scale) <= 1 / 32 + 1e-6
        assert info["t"] == pytest.approx(camera.t_of_scale(info["camera_scale"]), abs=1e-5)
        cameras.add(info["camera"])
    assert len(cameras) == 4
    assert verify(tmp_path / "out").whole and verify(drawn).whole
    card = (tmp_path / "out" / "README.md").read_text()
    assert "a bank of cameras" in card
    for camera, share in zip(making.cameras, making.shares, strict=True):
        assert f"- {camera.name}, share {share:g}: {camera.about}" in card


@pytest.mark.parametrize("options", [OPTIONS, {"draws": 2, "seed": 3}])
def test_shards_made_straight_are_those_of_the_store(
    patches: Path, bank: Bank, tree: Tree, tmp_path: Path, options: dict[str, Any]
) -> None:
    making = Making.of(bank, RANGE, **options)
    encoders = encoders_of(Store.open(patches), bank, making.grid)
    assert len(encoders) == (0 if options.get("sr_scale") else 2)
    shard(patches, tmp_path / "straight", maker=making, encoders=encoders, workers=2)
    generate(patches, bank, RANGE, **options)
    shard(patches, tmp_path / "stored", workers=1)
    straight, stored = tree(tmp_path / "straight"), tree(tmp_path / "stored")
    for name in straight:
        if name.endswith((".tar", ".jsonl", ".png")) and not name.startswith("."):
            assert straight[name] == stored[name], name


def test_a_lazy_pair_is_the_one_of_the_shards(
    patches: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    generate(patches, tiny_model, parse_grid("0.2", 4.0), sr_scale=2.0)
    shard(patches, tmp_path / "out")
    lazy = LazyPairs(patches, str(tiny_model.folder), sr_scale=2.0)
    stored = SRPairs(tmp_path / "out")
    for i in (0, 13, 26):
        lr, hr, info = lazy.pair(i, 0.2)
        lr_there, hr_there, info_there = stored[i]
        assert lr.equal(lr_there) and hr.equal(hr_there)
        assert {key: info_there[key] for key in info} == info


def test_realisations_of_a_fixed_level_differ_in_noise_alone(
    photo_folder: Path, tmp_path: Path
) -> None:
    camera, path = DegFlow.load("city100-compact", "cpu"), tmp_path / "a.zarr"
    ingest([str(photo_folder / "chelsea.jpg")], path, camera, patch=PATCH)
    grid = parse_grid("x2", camera.info.s_max, camera.info.t_of_scale)
    made = generate(path, camera, grid, draws=3).grid
    clean = generate(path, camera, grid, noise="none").grid
    source = Store.open(path)
    lr, expected = (
        source.levels(source.grid(name)).read(0, source.units[0]).astype(float)
        for name in (made, clean)
    )
    noise = lr - expected
    for one, other in ((0, 1), (0, 2), (1, 2)):
        # Fields of so few pixels agree by chance, by 0.1 in 64 x 64; the same one agrees by 1.
        assert abs(np.corrcoef(noise[:, one].ravel(), noise[:, other].ravel())[0, 1]) < 0.3
        assert noise[:, one].std() == pytest.approx(noise[:, other].std(), rel=0.1)


def test_realisations_that_would_be_equal_are_refused(
    patches: Path, other_checkpoint: DegFlow
) -> None:
    with pytest.raises(UsageError, match="`draws`: 3 realisations would be equal"):
        generate(patches, other_checkpoint, parse_grid("0.5", 4.0), draws=3)


def test_what_was_told_moves_with_its_patches(drawn: Path, tmp_path: Path, bank: Bank) -> None:
    path = Path(shutil.copytree(drawn, tmp_path / "a.zarr"))
    remove(["astronaut.png"], path)
    assert generate(path, bank, RANGE, **OPTIONS).patches == 15
    shard(path, tmp_path / "out")
    making = Making.of(bank, RANGE, **OPTIONS)
    for _, _, said in map(SRPairs(tmp_path / "out").__getitem__, range(30)):
        place = Place(said["source_sha256"], said["y"], said["x"])
        assert said["camera"] == making.cameras[making.camera_of(place)].name


def test_a_store_says_what_it_was_asked_for(drawn: Path) -> None:
    meant = levels_of(drawn)
    assert meant is not None
    assert meant.options == {
        **{"t_grid": "x1.5..x2", "sr_scale": "2", "draws": 2},
        **{"noise": "auto", "seed": 3},
    }
    (grid,) = info(drawn).to_dict()["grids"].values()
    assert grid["levels"] == ["x1.5..x2 #1", "x1.5..x2 #2"]
    assert (grid["sr_scale"], grid["patches"]) == (2.0, 27)


def test_damage_of_what_was_told_is_named(drawn: Path, tmp_path: Path, bank: Bank) -> None:
    path = Path(shutil.copytree(drawn, tmp_path / "a.zarr"))
    (grid,) = Store.open(path).grids()
    (ledger,) = (path / "done" / "levels" / grid).glob("*.jsonl")
    before = ledger.read_bytes()
    ledger.write_bytes(before.replace(b'"simulated-', b'"simulated_', 1))
    assert ledger.read_bytes() != before
    with pytest.raises(StoreError, match=r"damaged at line 1.*`generate` again"):
        shard(path, tmp_path / "out")
    assert generate(path, bank, RANGE, **OPTIONS).pairs == 2 * 16
    shard(path, tmp_path / "out")


def test_sizes_that_patches_draw_are_not_native(
    patches: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    generate(patches, tiny_model, RANGE)
    with pytest.raises(UsageError, match=r"`lr_size` native.*`sr_scale`"):
        shard(patches, tmp_path / "out", ShardSettings(lr_size="native"))
    assert not (tmp_path / "out").exists()


def test_a_pair_is_found_by_its_key_whatever_its_level_is_called(
    patches: Path, bank: Bank, tmp_path: Path
) -> None:
    remove(["astronaut.png", "chelsea.jpg"], patches)
    generate(patches, bank, RANGE, draws=12)
    shard(patches, tmp_path / "out", ShardSettings(shard_size=5))
    pairs = SRPairs(tmp_path / "out")
    for i, key in enumerate(pairs.keys()):
        assert pairs.of_key(key)[2] == pairs[i][2]


def test_lazy_pairs_draw_levels_that_an_lr_can_be_had_of(
    patches: Path, tiny: str, other_checkpoint: DegFlow
) -> None:
    lazy = LazyPairs(patches, tiny, sr_scale=2.0)
    assert all(lazy[i][2]["camera_scale"] <= 2 for i in range(8))
    with pytest.raises(UsageError, match="x2 cannot be had of a camera's level x4"):
        LazyPairs(patches, tiny, sr_scale=2.0, t=(0.1, 1.0))
    several = LazyPairs(patches, f"{tiny},{other_checkpoint.folder}", scales=(2.0, 2.4))
    assert all(2 <= several[i][2]["camera_scale"] <= 2.4 for i in range(8))


def test_no_path_from_inside_a_store_is_followed(drawn: Path, tiny: str, tmp_path: Path) -> None:
    path = Path(shutil.copytree(drawn, tmp_path / "a.zarr"))
    source = Store.open(path)
    (name,) = source.grids()
    grid = replace(source.grid(name), checkpoint=f"{tiny}:1,{tiny}/.:2")
    json_files.write_summed(path / "done" / "levels" / name / "grid.json", grid_fields(grid))
    with pytest.raises(StoreError, match=r"was made with .*tiny among others: name their folders"):
        checkpoint_of(path)
