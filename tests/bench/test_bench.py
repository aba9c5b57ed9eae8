"""bench: the three things it measures are what they are called."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from degflow_pipe.bench.bench import Asked, bench, random_checkpoint
from degflow_pipe.bench.limit import decoder_flops, level_seconds
from degflow_pipe.bench.published import published_patch
from degflow_pipe.bench.reading import _Folder, _unpacked, reading_speed
from degflow_pipe.calibration.tune_solver import solved
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import read_info
from degflow_pipe.errors import PhotoError, UsageError
from degflow_pipe.levels import parse_t, parse_t_grid
from degflow_pipe.model.config import PRESETS
from degflow_pipe.model.networks import Networks
from degflow_pipe.model.rae import RAE
from degflow_pipe.model.velocity import VelocityNet
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.shard import shard

HR = np.ascontiguousarray(data.coffee()[100:164, 200:264])
LEVELS = parse_t("0.25,0.5,1")


def test_the_published_procedure_makes_the_same_lr(tiny_model: DegFlow, tmp_path: Path) -> None:
    evaluations = published_patch(tiny_model, HR, LEVELS.t, tmp_path)
    (tmp_path / "zero").mkdir()
    published_patch(tiny_model, HR, [0.0, 0.001, 1.0], tmp_path / "zero")
    assert len(list((tmp_path / "zero").iterdir())) == 3
    ours = to_picture(tiny_model.degrade(to_tensor(HR), LEVELS.t, "none")[0]).astype(int)
    theirs = np.stack([read_photo(path).pixels for path in sorted(tmp_path.glob("*.png"))])
    assert (np.abs(ours - theirs) <= 1).mean() > 0.999
    assert evaluations > solved(tiny_model, HR, LEVELS.t)[1]


def test_flops_are_those_of_the_published_decoder() -> None:
    """153 GFLOP for 256 x 256 pixels; the skips' halves of the fusions, 2 %, are not of a level."""
    config = PRESETS["published"]
    rae, velocity = RAE(config.rae), VelocityNet(PRESETS["compact"].velocity, config.rae)
    model = Networks(rae, velocity, config)
    assert decoder_flops(model, HR) == pytest.approx(153e9 / 16, rel=0.04)


def test_a_level_takes_no_less_than_its_convolutions(tiny_model: DegFlow) -> None:
    assert 0 < level_seconds(tiny_model, HR[None], 1) < 10


@pytest.mark.parametrize("keep", ["none", "levels"])
def test_figures_belong_together(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path, keep: str
) -> None:
    asked = Asked(patch=64, patches=20, compare=2, keep=keep, folder=str(photo_folder))
    found = bench([str(photo_folder)], tiny_model, LEVELS, asked, workers=2)
    assert (found["patches"], found["levels"], found["workers"]) == (20, 3, 2)
    seconds = found["seconds"]
    assert found["speedup"] == pytest.approx(seconds["published"] / seconds["ours"])
    assert found["of_limit"] == pytest.approx(seconds["limit"] / seconds["ours"])
    assert found["lr_a_second"] == pytest.approx(3 / seconds["ours"])
    assert 1 < found["nfe"] < found["published_nfe"]
    assert found["share_within_1"] >= 0.999
    assert set(found["parts"]) == {"encode", "integrate", "decode", "noise", "code"}
    assert min(found["reading"].values()) > 0 and set(found["reading"]) == {"shards", "folder"}
    assert found["decoded"] == found["levels"], "the tiny checkpoint decodes each level"
    assert found["of_limit_decoded"] == pytest.approx(found["of_limit"])
    assert found["folder_seconds"] == pytest.approx((12 + 6 + 9) * seconds["ours"])


def test_random_weights_are_said_to_be(tmp_path: Path) -> None:
    path = random_checkpoint("compact", tmp_path)
    info = read_info(path)
    assert info.name == "random-compact"
    assert info.model == PRESETS["compact"]
    assert random_checkpoint("compact", tmp_path / "again").name == path.name
    assert read_info(tmp_path / "again" / path.name).id == info.id
    with pytest.raises(UsageError, match="`preset` must be published or compact"):
        random_checkpoint("large", tmp_path)


def test_what_cannot_be_measured_is_refused(tiny_model: DegFlow, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(PhotoError, match="no patch of 64 x 64 pixels"):
        bench([str(tmp_path)], tiny_model, LEVELS, Asked(patch=64))
    with pytest.raises(UsageError, match="`patch` must be a multiple"):
        bench([str(tmp_path)], tiny_model, LEVELS, Asked(patch=60))
    for wrong in ({"patches": 0}, {"compare": 0}, {"keep": "some"}, {"picture_format": "gif"}):
        with pytest.raises(UsageError, match=f"`{next(iter(wrong))}` must be"):
            Asked(**wrong)


def test_both_ways_of_reading_give_every_pair(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path
) -> None:
    store, shards = tmp_path / "store.zarr", tmp_path / "shards"
    ingest([str(photo_folder)], store, tiny_model, patch=64)
    pairs = generate(store, tiny_model, parse_t_grid("0.5:1.0:0.5")).pairs
    shard(store, shards, ShardSettings(shard_size=10))
    assert len(_unpacked(shards, tmp_path / "a")) == pairs
    for lr, hr in _unpacked(shards, tmp_path / "b"):
        assert cv2.imread(str(lr)).shape == cv2.imread(str(hr)).shape == (64, 64, 3)
    speed = reading_speed(shards, tmp_path / "c", 32, 2)
    assert min(speed.values()) > 0
    plain = _Folder(_unpacked(shards, tmp_path / "d"), 32)
    lr, hr = plain[0]
    assert lr.shape == hr.shape == (3, 32, 32) and (lr - hr).abs().mean() < 0.2
