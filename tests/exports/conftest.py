"""Small shards of each kind, made from real photos by the tiny checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.shard import shard

SCALES = "1.5,2,2.5,3,3.5,4"
PATCHES, LEVELS = 6, 6


@pytest.fixture(scope="session")
def store_of_six(
    make_store: Callable[..., Path], photo_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store of 6 patches of 64 pixels at the six scales of RealArbiSR."""
    path = tmp_path_factory.mktemp("six") / "a.zarr"
    return make_store(path, [str(photo_folder / "chelsea.jpg")], scales=SCALES)


@pytest.fixture(scope="session")
def make_shards(store_of_six: Path) -> Callable[..., Path]:
    """`make_shards(path, ...)`: shards of the six patches with these settings."""

    def make(path: Path, **settings: object) -> Path:
        shard(store_of_six, path, ShardSettings(**settings))  # type: ignore[arg-type]
        return path

    return make


@pytest.fixture(scope="session")
def shards(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layout pairs, LR as large as HR, PNG, in several tars. Do not write here."""
    return make_shards(tmp_path_factory.mktemp("pairs"), shard_size=10)


@pytest.fixture(scope="session")
def wide(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 6 patches of 192 pixels at the six scales, as InterFlow's reader wants them. Do not
    write here.
    """
    folder = tmp_path_factory.mktemp("wide")
    Image.fromarray(data.chelsea()[:, :450]).save(folder / "chelsea.png")
    make_store(folder / "a.zarr", [str(folder / "chelsea.png")], scales=SCALES, patch=192)
    shard(folder / "a.zarr", folder / "shards", ShardSettings())
    return folder / "shards"


@pytest.fixture(scope="session")
def native(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layout pairs, LR of HR / scale, HR cropped to fit. Do not write here."""
    return make_shards(tmp_path_factory.mktemp("native"), lr_size="native", uneven="crop")


@pytest.fixture(scope="session")
def grouped(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layout grouped, LR as large as HR. Do not write here."""
    return make_shards(tmp_path_factory.mktemp("grouped"), layout="grouped")


@pytest.fixture
def copied(exported: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """`copied(to)`: a copy of the test file's own `exported(to)`, to change."""
    return lambda to: Path(shutil.copytree(exported(to), tmp_path / "copy"))


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """`tree(folder)`: the bytes of every file below a folder but hidden ones, by its path there."""

    def read(folder: Path) -> dict[str, bytes]:
        found = {}
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and not any(part.startswith(".") for part in inside.parts):
                found[inside.as_posix()] = path.read_bytes()
        return found

    return read
