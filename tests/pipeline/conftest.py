"""Fixtures of the pipeline's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from degflow_pipe.checkpoint import write_checkpoint
from degflow_pipe.degflow import DegFlow


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
        self.stop_at = stop_at

    @contextmanager
    def task(self, name: str, total: float | None, done: float = 0) -> Iterator[Recorder]:
        if name == "check pairs":  # goes before each training; counts for nothing here
            yield Recorder()
            return
        self.tasks.append((name, total, done))
        yield self

    def advance(self, count: float = 1) -> None:
        self.advanced += count
        if self.advanced == self.stop_at:
            raise InterruptedError("stopped from outside")

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
