"""A photo without colour gets LR without colour, noise and all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.levels import parse_t
from degflow_pipe.reading.lazy import LazyPairs
from degflow_pipe.stages.degrade import degrade
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.store import Store

GRID = parse_t("0.5,1")


@pytest.fixture(scope="module")
def camera() -> DegFlow:
    """A shipped checkpoint, whose noise was calibrated on colour photos."""
    return DegFlow.load("city100-compact", "cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same picture grey, grey as RGB, and in colour."""
    folder = tmp_path_factory.mktemp("grey")
    colour = data.astronaut()[40:168, 180:308]
    luma = np.asarray(Image.fromarray(colour).convert("L"))
    made = {"grey": luma, "rgb": np.repeat(luma[:, :, None], 3, axis=2), "colour": colour}
    for name, pixels in made.items():
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in made}


def colourful(pictures: np.ndarray) -> int:
    """The largest difference between channels, in grey levels."""
    return int(np.ptp(pictures.astype(int), axis=-1).max())


@pytest.mark.parametrize("name", ["grey", "rgb", "colour"])
@pytest.mark.parametrize("noise", ["calibrated", "none"])
def test_grey_stays_grey(
    name: str, noise: str, camera: DegFlow, photos: dict[str, Path], tmp_path: Path
) -> None:
    store = tmp_path / "a.zarr"
    ingest([str(photos[name])], store, camera, patch=64, min_detail=0)
    made = generate(store, camera, GRID, noise=noise)
    source = Store.open(store)
    levels = source.levels(source.grid(made.grid)).read(0, source.units[0])
    degrade([str(photos[name])], tmp_path / "lr", camera, GRID, noise=noise)
    whole = np.asarray(Image.open(tmp_path / "lr" / f"{name}_t1000.png").convert("RGB"))
    pairs = LazyPairs(store, "city100-compact", noise=noise)
    lazy = pairs.pair(0, 1.0)[0].mul(255).round().byte().movedim(0, -1).numpy()
    for pictures in (levels, whole, lazy):
        assert (colourful(pictures) > 20) if name == "colour" else (colourful(pictures) == 0)
        assert np.std(pictures) > 10
