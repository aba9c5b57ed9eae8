"""checkpoint tune-solver: the cheapest solver whose 8-bit LR is as good as exact."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.calibration.calibrate import calibrate
from degflow_pipe.calibration.tune_solver import tune_solver
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import find_checkpoint, read_info
from degflow_pipe.errors import PhotoError, UsageError
from degflow_pipe.levels import parse_t_grid
from degflow_pipe.model.config import SolverConfig
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.pictures.arrays import middle, to_picture, to_tensor
from degflow_pipe.pictures.photos import read_photo


@pytest.fixture
def checkpoint(tiny: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """128 x 128 pixels: whole sides of both checkpoints, as each is solved a hundred times."""
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(np.ascontiguousarray(data.astronaut()[60:188, 150:278])).save(path)
    return path


def least_share_of(model: DegFlow, photo: Path) -> Callable[[SolverConfig], float]:
    """Of pixels within one grey level of a solve at 1e-6, at the level where it is least."""
    hr = np.ascontiguousarray(middle(read_photo(photo).pixels, 256))
    z, skips = model.encode(to_tensor(hr))
    t = parse_t_grid("0.025:1.0:0.025").t

    def levels(solver: SolverConfig) -> np.ndarray:
        made = model.levels(z, t, skips, solver).pictures
        return np.stack([to_picture(lr)[0].astype(int) for lr in made])

    wanted = levels(SolverConfig("dopri5", rtol=1e-6, atol=1e-6))

    def least(solver: SolverConfig) -> float:
        return float((np.abs(levels(solver) - wanted).max(-1) <= 1).mean((1, 2)).min())

    return least


def test_it_is_kept_and_good_enough_and_one_step_fewer_is_not(
    checkpoint: Path, photo: Path
) -> None:
    before = read_info(checkpoint)
    found = tune_solver(str(checkpoint), [str(photo)], "cpu")
    info = read_info(checkpoint)
    assert info.model.solver == found.solver
    assert found.lines == max(len(info.model.solver.decode_at) - 1, 0)
    assert (info.id == before.id) == (info.model.solver == before.model.solver)
    assert (info.weights_sha256, info.calibration) == (before.weights_sha256, before.calibration)
    model = DegFlow.load(str(checkpoint), "cpu")
    least_share = least_share_of(model, photo)
    assert least_share(info.model.solver) >= 0.999
    assert found.evaluations < found.reference_evaluations
    tried = 0
    for method, each in (("euler", 1), ("midpoint", 2), ("heun2", 2), ("heun3", 3), ("rk4", 4)):
        steps = (found.evaluations - 2) // each  # the most that are cheaper
        if steps > 0:
            cheaper = SolverConfig(method, steps=min(steps, 64))
            assert least_share(cheaper) < 0.999, cheaper
            tried += 1
    assert tried or found.evaluations == 2


def test_lines_between_decoded_levels_are_as_few_as_do(photo: Path, tmp_path: Path) -> None:
    """Each is good enough, and no two of them may be one."""
    shipped = find_checkpoint("city100-compact")
    checkpoint = Path(shutil.copytree(shipped, tmp_path / "own"))
    found = tune_solver(str(checkpoint), [str(photo)], "cpu")
    solver = read_info(checkpoint).model.solver
    assert 1 < found.lines == len(solver.decode_at) - 1 <= 10
    model = DegFlow.load(str(checkpoint), "cpu")
    least_share = least_share_of(model, photo)
    assert least_share(solver) == pytest.approx(found.share_within_1)
    assert found.share_within_1 >= 0.999
    shares = []
    for i in range(1, found.lines):
        fewer = (*solver.decode_at[:i], *solver.decode_at[i + 1 :])
        shares.append(least_share(replace(solver, decode_at=fewer)))
    assert max(shares) < 0.999


def test_photos_that_cannot_be_compared_are_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    before = (checkpoint / "config.json").read_bytes()
    with pytest.raises(PhotoError, match=r"no photo to tune on: .*broken.png"):
        tune_solver(str(checkpoint), [str(tmp_path / "broken.png")], "cpu")
    assert (checkpoint / "config.json").read_bytes() == before


def test_a_shipped_checkpoint_is_not_changed() -> None:
    before = read_info(find_checkpoint("city100-compact"))
    with pytest.raises(UsageError, match="copy its folder"):
        tune_solver("city100-compact", ["photo.png"], "cpu")
    with pytest.raises(UsageError, match="copy its folder"):
        settings = DataSettings(s_max=2.9, source="", licence="", set="city100")
        calibrate("city100-compact", settings, Path("pairs"))
    assert read_info(find_checkpoint("city100-compact")) == before
