"""Fixtures that several folders of tests share: a tiny checkpoint, small real photos, a store."""

from __future__ import annotations

import os

# The tests have a process for each core already; read by torch when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import write_checkpoint
from degflow_pipe.levels import parse_scales
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from tests.buckets import bucket, memory, proxy  # noqa: F401
from tests.cli.conftest import begin, degflow, environment  # noqa: F401

# No test cuts the power, and to wait for the disk takes long.
os.fsync = lambda file: None

LONGEST = (
    *("test_resume.py", "test_commands.py", "test_errors.py", "test_proxy.py", "test_readme.py"),
    *("test_run.py", "test_calibrate.py", "test_ownership.py", "test_distributed.py"),
    *("test_ranks.py", "test_training.py", "test_joint.py", "test_remove.py", "test_keep.py"),
    *("test_tune_solver.py", "test_degrade.py", "test_gaps.py", "test_checkpoint.py"),
)
"""Files of tests that take longest, from the longest on: they go first, else one core would wait
for them at the end.
"""
PATCH = 64
SCALES = "2,4"
"""The levels of `store`: both divide the patch, and 4 is the tiny checkpoint's s_max."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


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


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """`tree(folder)`: the bytes of every file below a folder, by its path there."""

    def read(folder: Path) -> dict[str, bytes]:
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    return read


@pytest.fixture(scope="session")
def stamps() -> Callable[[Path, str], dict[str, tuple[int, int]]]:
    """`stamps(folder, glob)`: what changes of a file when it is written again, even to the same."""

    def read(folder: Path, pattern: str) -> dict[str, tuple[int, int]]:
        found = sorted(folder.glob(pattern))
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    return read


@pytest.fixture(scope="session")
def flip() -> Callable[[Path], None]:
    """`flip(path)`: change one bit in the middle of a file."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)

    return change


@pytest.fixture(scope="session")
def other_checkpoint(tiny_model: DegFlow, tmp_path_factory: pytest.TempPathFactory) -> DegFlow:
    """A checkpoint `other` of the sizes of `tiny`, with weights of its own."""
    info = tiny_model.info
    assert info is not None
    parts = torch.nn.ModuleDict({"rae": tiny_model.rae, "velocity": tiny_model.velocity})
    weights = {key: value * 0.5 for key, value in parts.state_dict().items()}
    folder = tmp_path_factory.mktemp("other")
    write_checkpoint(
        folder, weights, "", name="other", model=info.model, levels=info.levels, s_max=info.s_max
    )
    return DegFlow.load(str(folder), "cpu")


class Recorder:
    """A progress that remembers what it was told; `stop_at`: raises at that many advances."""

    def __init__(self, stop_at: float | None = None) -> None:
        self.tasks: list[tuple[str, float | None, float]] = []
        self.advanced = 0.0
        self.notes: list[str] = []
        self.shown: list[str] = []
        self.stop_at = stop_at

    @contextmanager
    def task(
        self, name: str, total: float | None, done: float = 0, counts: str = ""
    ) -> Iterator[Recorder]:
        if name == "check pairs":  # goes before each training; counts for nothing here
            yield Recorder()
            return
        self.tasks.append((name, total, done))
        yield self

    def advance(self, count: float = 1) -> None:
        self.advanced += count
        if self.advanced == self.stop_at:
            raise InterruptedError("stopped from outside")

    def show(self, text: str) -> None:
        self.shown.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def stopping() -> type[Recorder]:
    """`stopping(k)`: a progress that raises InterruptedError at the k-th advance."""
    return Recorder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes of 96 x 96 at three levels. Do not write here."""
    folder = tmp_path_factory.mktemp("scenes")
    for name in ("astronaut", "chelsea", "coffee"):
        hr = np.ascontiguousarray(getattr(data, name)()[80:176, 160:256])
        Image.fromarray(hr).save(folder / f"{name}_hr.png")
        for level, sigma in (("lr2", 0.8), ("lr4", 1.8)):
            Image.fromarray(cv2.GaussianBlur(hr, (0, 0), sigma)).save(
                folder / f"{name}_{level}.png"
            )
    return folder
