"""Fixtures that several folders of tests share: a tiny checkpoint, small real photos, a store."""

from __future__ import annotations

import os

# The tests have a process for each core already; read by torch when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.degflow import DegFlow
from degflow_pipe.levels import parse_scales
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest

LONGEST = ("test_readme.py", "test_distributed.py", "test_run.py")
"""Files of tests that take minutes: they go first, else one core would wait for them at the end."""
PATCH = 64
SCALES = "2,4"
"""The levels of `store`: both divide the patch, and 4 is the tiny checkpoint's s_max."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def tiny() -> str:
    """Folder of a very small checkpoint, really trained: s_max 4, side multiple 64."""
    return str(Path(__file__).parent / "data" / "tiny")


@pytest.fixture(scope="session")
def tiny_model(tiny: str) -> DegFlow:
    return DegFlow.load(tiny, "cpu")


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real photos, one in a sub folder: 12, 6 and 9 patches of 64 pixels. Do not write here.

    `astronaut.png` 208 x 150, `chelsea.jpg` 192 x 128, `sub/coffee.webp` 144 x 144.
    """
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    crops = {
        "astronaut.png": data.astronaut()[60:210, 150:358],
        "chelsea.jpg": data.chelsea()[60:188, 120:312],
        "sub/coffee.webp": data.coffee()[100:244, 200:344],
    }
    for name, crop in crops.items():
        Image.fromarray(np.ascontiguousarray(crop)).save(folder / name, quality=95)
    return folder


@pytest.fixture(scope="session")
def make_store(photo_folder: Path, tiny_model: DegFlow) -> Callable[..., Path]:
    """`make_store(path)` ingests the photos into a store at `path` and generates SCALES.

    photos: other sources; scales: other levels, None for no levels; further options go to `ingest`.
    """

    def make(
        path: Path,
        photos: list[str] | None = None,
        scales: str | None = SCALES,
        **options: Any,
    ) -> Path:
        options = {"patch": PATCH, **options}
        ingest(photos or [str(photo_folder)], path, tiny_model, **options)
        if scales is not None:
            generate(path, tiny_model, parse_scales(scales, 4.0))
        return path

    return make


@pytest.fixture(scope="session")
def ready_store(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the three photos (27 patches, 2 units) at scales 2 and 4. Do not write to it."""
    return make_store(tmp_path_factory.mktemp("ready") / "degflow.zarr")


@pytest.fixture
def store(ready_store: Path, tmp_path: Path) -> Path:
    """A copy of `ready_store` for one test, to change or damage."""
    return Path(shutil.copytree(ready_store, tmp_path / "degflow.zarr"))
