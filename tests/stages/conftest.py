"""A store of two units, for what happens to one of them alone; processes that begin at once."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from degflow_pipe.engines import processes

OVERLAPPING = 22
"""A stride at which the three photos give patches of two units, and one lies in both."""


@pytest.fixture(scope="session")
def ready_units(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos at that stride: 40 + 24 patches in unit 0, 4 + 25 in unit 1. Do not write to it.

    Made at scale 4 alone, which takes less time.
    """
    path = tmp_path_factory.mktemp("units") / "degflow.zarr"
    return make_store(path, stride=OVERLAPPING, scales="4")


@pytest.fixture
def two_units(ready_units: Path, tmp_path: Path) -> Path:
    """A copy of `ready_units` for one test, to change or damage."""
    return Path(shutil.copytree(ready_units, tmp_path / "degflow.zarr"))


@pytest.fixture(scope="module", autouse=True)
def quick_processes() -> Iterator[None]:
    """Processes of the engine begin as forks of one that has imported the large libraries, and
    nothing of ours. They are started anew in `tests/engines` and `tests/cli`.
    """
    libraries = ["cv2", "scipy.ndimage", "torch._dynamo", "torchdiffeq", "webdataset", "zarr"]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(libraries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes.multiprocessing, "get_context", lambda method: context)
        yield
