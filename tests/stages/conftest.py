"""A store of two units, for what happens to one of them alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

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
