"""LazyPairs: the LR that generate makes, of any level, when it is asked for."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch.utils.data import DataLoader

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import write_checkpoint
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import parse_t
from degflow_pipe.model.config import ModelConfig, RAEConfig, VelocityConfig
from degflow_pipe.model.rae import RAE
from degflow_pipe.model.velocity import VelocityNet
from degflow_pipe.pictures.arrays import to_picture
from degflow_pipe.reading.lazy import LazyPairs
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.store import Store


@pytest.fixture(scope="module")
def store(
    tiny_model: DegFlow, photo_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """More than one unit of patches."""
    path = tmp_path_factory.mktemp("lazy") / "degflow.zarr"
    for photo in sorted(photo_folder.rglob("*.*")):
        ingest([str(photo)], path, tiny_model, patch=64)
    assert len(Store.open(path).units) > 1
    return path


@pytest.fixture
def pairs(store: Path, tiny: str) -> LazyPairs:
    return LazyPairs(store, tiny, seed=3)


def test_lr_is_the_one_that_generate_makes(
    store: Path, pairs: LazyPairs, tiny_model: DegFlow
) -> None:
    made = generate(store, tiny_model, parse_t("0.35,1"), seed=3)
    source = Store.open(store)
    levels = source.levels(source.grid(made.grid))
    kept = np.concatenate([levels.read(block, unit) for block, unit in source.blocks()])
    originals = np.concatenate([source.hr(unit) for unit in source.units])
    assert len(pairs) == len(kept)
    for i in (0, 11, 12, len(kept) - 1):
        for level, t in enumerate((0.35, 1.0)):
            lr, hr, info = pairs.pair(i, t)
            assert np.array_equal(to_picture(lr), kept[i, level])
            assert np.array_equal(to_picture(hr), originals[i])
            assert info["t"] == t
    record = source.patches(0)[3]
    info = pairs[3][2]
    assert (info["source"], info["y"], info["x"]) == (record.source, record.y, record.x)


def test_noise_is_that_of_generate_too(photo_folder: Path, tmp_path: Path) -> None:
    model = DegFlow.load("city100-compact", "cpu")
    store = tmp_path / "degflow.zarr"
    ingest([str(photo_folder / "chelsea.jpg")], store, model, patch=64)
    made = generate(store, model, parse_t("0.5"), seed=3)
    assert made.noise.startswith("calibrated-3-")
    source = Store.open(store)
    kept = source.levels(source.grid(made.grid)).read(0, source.units[0])
    pairs = LazyPairs(store, "city100-compact", seed=3)
    assert np.array_equal(to_picture(pairs.pair(1, 0.5)[0]), kept[1, 0])
    other = LazyPairs(store, "city100-compact", seed=4)
    assert not np.array_equal(to_picture(other.pair(1, 0.5)[0]), kept[1, 0])


def test_every_epoch_draws_other_levels_and_the_same_ones_again(pairs: LazyPairs) -> None:
    def levels(epoch: int) -> list[float]:
        pairs.set_epoch(epoch)
        return [pairs[i][2]["t"] for i in range(4)]

    first, second = levels(0), levels(1)
    assert len({*first, *second}) == 8
    assert all(0.1 <= t <= 1 for t in (*first, *second))
    assert levels(0) == first


def test_levels_may_be_asked_for_by_scale(store: Path, tiny: str) -> None:
    pairs = LazyPairs(store, tiny, scales=(2.0, 3.0))
    found = [pairs[i][2]["scale"] for i in range(4)]
    assert all(2 - 1e-5 <= s <= 3 + 1e-5 for s in found)
    assert len(set(found)) == 4


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_workers_of_a_loader_give_the_same(pairs: LazyPairs, how: str) -> None:
    some = torch.utils.data.Subset(pairs, range(4))
    loader = DataLoader(some, batch_size=2, num_workers=2, multiprocessing_context=how)
    lr = torch.cat([batch[0] for batch in loader])
    assert torch.equal(lr, torch.stack([pairs[i][0] for i in range(4)]))


def test_it_may_be_pickled_without_its_networks(pairs: LazyPairs) -> None:
    wanted = pairs[1][0]
    data = pickle.dumps(pairs)
    assert len(data) < 10_000
    assert torch.equal(pickle.loads(data)[1][0], wanted)


def test_wrong_levels_and_places_are_refused(store: Path, tiny: str, pairs: LazyPairs) -> None:
    with pytest.raises(UsageError, match=r"t must be in \[0, 1\]"):
        LazyPairs(store, tiny, t=(0.5, 1.5))
    for span in ((0.9, 0.5), (0.1,), (0.1, 0.2, 0.3), ("a", 1)):
        with pytest.raises(UsageError, match=r"`t` must be \(low, high"):
            LazyPairs(store, tiny, t=span)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`crop` must be 1 to"):
        LazyPairs(store, tiny, crop=32.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="outside the scales"):
        LazyPairs(store, tiny, scales=(2.0, 50.0))
    with pytest.raises(UsageError, match="not both"):
        LazyPairs(store, tiny, t=(0.1, 1.0), scales=(2.0, 3.0))
    with pytest.raises(UsageError, match="epoch"):
        pairs.set_epoch(-1)
    with pytest.raises(IndexError):
        pairs[len(pairs)]


def test_another_checkpoint_encodes_the_patches_itself(
    pairs: LazyPairs,
    store: Path,
    tiny: str,
    tmp_path: Path,
    tiny_model: DegFlow,
    photo_folder: Path,
) -> None:
    bare = tmp_path / "bare.zarr"
    for photo in sorted(photo_folder.rglob("*.*")):
        ingest([str(photo)], bare, tiny_model, patch=64, encode=False)
    assert torch.equal(LazyPairs(bare, tiny, seed=3).pair(5, 0.7)[0], pairs.pair(5, 0.7)[0])
    assert LazyPairs(store, "city100-compact").pair(5, 0.7)[0].shape == (3, 64, 64)


def test_a_crop_is_that_of_the_whole_patch(tiny_model: DegFlow, tmp_path: Path) -> None:
    """But for a grey level, as the networks see little beyond the margin, and where it lies."""
    photo = data.astronaut()
    Image.fromarray(photo).save(tmp_path / "astronaut.png")
    store = tmp_path / "degflow.zarr"
    ingest([str(tmp_path / "astronaut.png")], store, tiny_model, patch=192)
    whole = LazyPairs(store, "city100-compact", noise="none", seed=1)
    crops = LazyPairs(store, "city100-compact", noise="none", seed=1, crop=48)
    corners = set()
    for i in range(len(crops)):
        lr, hr, info = crops[i]
        assert lr.shape == hr.shape == (3, 48, 48)
        y, x = info["y"], info["x"]
        assert np.array_equal(to_picture(hr), photo[y : y + 48, x : x + 48])
        all_lr, _, all_info = whole.pair(i, info["t"])
        at_y, at_x = y - all_info["y"], x - all_info["x"]
        assert 0 <= at_y <= 144 and 0 <= at_x <= 144
        wanted = to_picture(all_lr[:, at_y : at_y + 48, at_x : at_x + 48])
        difference = np.abs(to_picture(lr).astype(int) - wanted)
        assert difference.max() <= 2 and (difference > 1).mean() < 0.01
        corners.add((at_y, at_x))
        assert torch.equal(crops[i][0], lr)
    assert len(corners) > 1
    first = [crops[i][2] for i in range(2)]
    crops.set_epoch(1)
    assert [crops[i][2] for i in range(2)] != first
    assert crops.pair(0, 0.5)[2]["y"] - whole.pair(0, 0.5)[2]["y"] == 72


def test_a_crop_keeps_the_strides_of_a_patch_of_another_multiple(
    tiny: str, tiny_model: DegFlow, tmp_path: Path
) -> None:
    """208 pixels are whole to the store's checkpoint, and not to the one whose levels are made."""
    info = tiny_model.info
    assert info is not None
    config = ModelConfig(RAEConfig(4, 4), VelocityConfig(8, (1, 1), 1))
    parts = {"rae": RAE(config.rae), "velocity": VelocityNet(config.velocity, config.rae)}
    weights = torch.nn.ModuleDict(parts).state_dict()
    folder = tmp_path / "shallow"
    write_checkpoint(
        folder, weights, "", name="shallow", model=config, levels=info.levels, s_max=info.s_max
    )
    Image.fromarray(data.astronaut()[:208, :208]).save(tmp_path / "astronaut.png")
    store = tmp_path / "degflow.zarr"
    shallow = DegFlow.load(str(folder), "cpu")
    ingest([str(tmp_path / "astronaut.png")], store, shallow, patch=208)
    whole = LazyPairs(store, tiny, noise="none")
    crops = LazyPairs(store, tiny, noise="none", crop=80)
    assert config.side_multiple == 16 and tiny_model.config.side_multiple == 64
    places = set()
    for epoch in range(8):
        crops.set_epoch(epoch)
        lr, _, info_of_crop = crops[0]
        y, x = info_of_crop["y"], info_of_crop["x"]
        wanted = whole.pair(0, info_of_crop["t"])[0][:, y : y + 80, x : x + 80]
        # The part that begins at a multiple of 64 and holds the crop is all of the patch.
        assert torch.equal(lr, wanted)
        places.add((y, x))
    assert max(max(place) for place in places) >= 80


@pytest.mark.parametrize("crop", [-1, 65])
def test_a_crop_must_fit_into_the_patches(store: Path, tiny: str, crop: int) -> None:
    with pytest.raises(UsageError, match="`crop` must be 1 to the patches' side, 64, or 0"):
        LazyPairs(store, tiny, crop=crop)
    with pytest.raises(UsageError, match="leave `crop` or `sr_scale` out"):
        LazyPairs(store, tiny, crop=32, sr_scale=2)


def test_a_crop_of_the_patches_side_is_the_whole_patch(
    store: Path, pairs: LazyPairs, tiny: str
) -> None:
    lr, hr, info = LazyPairs(store, tiny, seed=3, crop=64).pair(2, 0.5)
    whole_lr, whole_hr, whole_info = pairs.pair(2, 0.5)
    assert torch.equal(lr, whole_lr) and torch.equal(hr, whole_hr) and info == whole_info
