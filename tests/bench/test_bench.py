"""bench: the three things it measures are what they are called."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import webdataset as wds
from skimage import data
from torch.utils.flop_counter import FlopCounterMode

from degflow_pipe.bench.bench import bench, random_checkpoint
from degflow_pipe.bench.by_hand import by_hand
from degflow_pipe.bench.limit import convolutions, decoder_flops
from degflow_pipe.bench.published_procedure import published_patch
from degflow_pipe.bench.reading import FolderPairs, unpacked
from degflow_pipe.bench.results import BenchSettings
from degflow_pipe.calibration.tune_solver import solved
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import read_info
from degflow_pipe.cli.speed import show_bench
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
    """153 GFLOP for 256 x 256 pixels, of which 13 are not computed: the skips' halves of the
    fusions are not of a level, and enlarging and fusing are one product."""
    config = PRESETS["published"]
    rae, velocity = RAE(config.rae), VelocityNet(PRESETS["compact"].velocity, config.rae)
    model = Networks(rae, velocity, config)
    assert decoder_flops(model, HR) == pytest.approx(140e9 / 16, rel=0.01)


def test_the_limit_is_of_all_that_a_decoder_computes(tiny_model: DegFlow) -> None:
    """The convolutions that are timed alone, computed again, are its operations, each once."""
    found = convolutions(tiny_model, np.stack([HR, HR]))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made = [convolution() for convolution in found]
    assert counter.get_total_flops() == 2 * decoder_flops(tiny_model, HR)
    assert all(len(features) == 2 for features in made), "both patches at once"


@pytest.mark.parametrize("keep", ["none", "levels"])
def test_what_was_measured_is_what_was_asked_for(
    tiny_model: DegFlow, photo_folder: Path, keep: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = BenchSettings(patch=64, patches=20, compare=2, keep=keep, folder=str(photo_folder))
    found = bench([str(photo_folder)], tiny_model, LEVELS, asked, workers=2)
    assert (found.patches, found.levels, found.workers) == (20, 3, 2)
    assert found.checkpoint == found.against == tiny_model.info.id
    # Each procedure solves by its own steps, and both come near the pictures of an exact solve: the
    # tiny checkpoint has one step.
    assert found.nfe == solved(tiny_model, HR, LEVELS.t)[1] < found.published_nfe
    assert found.share_within_1 >= 0.99 and found.max_diff <= 3
    assert found.decoded == 3, "the tiny checkpoint decodes each level"
    assert found.reading.pairs == 20 * 3, "of all shards"
    assert set(found.by_hand) == {"real_esrgan_style", "bsrgan_style"}
    assert min(found.by_hand.values()) > 0
    assert found.folder_seconds == pytest.approx((12 + 6 + 9) * found.seconds.ours), "its patches"

    show_bench(found, as_json=False)
    head, *rows = capsys.readouterr().out.splitlines()
    assert f"{found.lr_a_second:.3g} LR a second" in head and "20 patches at 3 levels" in head
    said = dict(row.split(maxsplit=1) for row in rows if row[2] != " ")
    assert f"{found.speedup:.3g} times" in said["published"]
    assert said["noise"].startswith(f"takes {100 * found.noise_costs:.0f} % more")
    assert said["folder"].startswith(str(photo_folder)[:20])


@pytest.mark.parametrize("noise", ["auto", "none"])
def test_noise_is_measured_where_it_is_drawn(photo_folder: Path, noise: str) -> None:
    """Two jobs differ by some nanosecond; where both would be one it is done once."""
    asked = BenchSettings(patch=64, patches=1, compare=1, noise=noise)
    model = DegFlow.load("city100-compact", "cpu")
    found = bench([str(photo_folder)], model, parse_t("1"), asked, workers=1)
    assert found.noise_costs == found.seconds.ours / found.seconds.without_noise - 1
    assert (found.seconds.ours == found.seconds.without_noise) == (noise == "none")


def test_a_job_has_noise_unless_told() -> None:
    assert BenchSettings().noise == "auto"


def test_opencv_has_its_threads_again() -> None:
    threads = cv2.getNumThreads()
    by_hand(HR[None], 4.0, 2)
    assert cv2.getNumThreads() == threads


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
        bench([str(tmp_path)], tiny_model, LEVELS, BenchSettings(patch=64))
    with pytest.raises(UsageError, match="`patch` must be a multiple"):
        bench([str(tmp_path)], tiny_model, LEVELS, BenchSettings(patch=60))
    for wrong in ({"patches": 0}, {"compare": 0}, {"keep": "some"}, {"picture_format": "gif"}):
        with pytest.raises(UsageError, match=f"`{next(iter(wrong))}` must be"):
            BenchSettings(**wrong)


def test_a_folder_has_every_pair_of_the_shards(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path
) -> None:
    store, shards = tmp_path / "store.zarr", tmp_path / "shards"
    ingest([str(photo_folder)], store, tiny_model, patch=64)
    generate(store, tiny_model, parse_t_grid("0.5:1.0:0.5"))
    shard(store, shards, ShardSettings(shard_size=10))
    tars = [str(path) for path in sorted(shards.glob("*.tar"))]
    samples = list(wds.WebDataset(tars, shardshuffle=False))
    pairs = unpacked(shards, tmp_path / "files")
    assert len(pairs) == len(samples) > 20
    for (lr, hr), sample in zip(pairs, samples, strict=True):
        assert (lr.read_bytes(), hr.read_bytes()) == (sample["lr.png"], sample["hr.png"])


def test_lr_and_hr_of_a_folder_are_cut_and_turned_alike(tmp_path: Path) -> None:
    """Where LR is HR, as every pixel of this picture is of its own colour."""
    y, x = np.mgrid[:64, :64].astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), np.stack([y, x, y ^ x], axis=-1))
    folder = FolderPairs([(tmp_path / "a.png", tmp_path / "a.png")] * 8, 32)
    crops = []
    for i in range(8):
        lr, hr = folder[i]
        assert lr.shape == (3, 32, 32) and torch.equal(lr, hr)
        crops.append(lr.numpy().tobytes())
    assert len(set(crops)) > 4, "random places"
