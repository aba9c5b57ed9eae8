"""Aligned pictures of scenes at several levels, and seeded training crops of them."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from degflow_pipe import files
from degflow_pipe.errors import DataError
from degflow_pipe.photos import read_photo
from degflow_pipe.training.recipe import DataSettings

CACHE_BYTES = 2 * 1024**3
"""Decoded pictures kept in memory; what is past it is read again when it is drawn."""


@dataclass(frozen=True)
class Scene:
    """One scene: its name and one file for each level, HR first."""

    name: str
    files: tuple[Path, ...]


def find_scenes(data: DataSettings, root: Path) -> tuple[list[Scene], list[Scene]]:
    """Match the level patterns below root; returns (training, validation) scenes sorted by name.

    Raises DataError where a level has no file, a scene lacks a level, or a split is empty.
    """
    by_level: list[dict[str, Path]] = []
    for level in data.knots:
        before, after = level.files.split("*")
        pattern = re.compile(re.escape(before) + r"([^/]+)" + re.escape(after) + r"\Z")
        found: dict[str, Path] = {}
        for path in files.matches(level.files, root):
            match = pattern.search(path.relative_to(root).as_posix())
            if match:
                found[match[1]] = path
        if not found:
            raise DataError(f"no file matches {level.files!r} (level {level.name}) below {root}")
        by_level.append(found)
    names = sorted(set().union(*by_level))
    for level, found in zip(data.knots, by_level, strict=True):
        for name in names:
            if name not in found:
                raise DataError(f"scene {name} has no file for level {level.name} below {root}")
    scenes = [Scene(name, tuple(found[name] for found in by_level)) for name in names]
    held_out = [scene for scene in scenes if _named(scene.name, data.validate)]
    train = [scene for scene in scenes if scene not in held_out]
    if not train or not held_out:
        raise DataError(
            f"data.validate = {data.validate!r} leaves {len(train)} scenes for training and "
            f"{len(held_out)} for validation; both need one at least"
        )
    return train, held_out


def _named(name: str, spec: str) -> bool:
    """Whether a scene's name is in a list of names and ranges of numbers such as `061-070`."""
    for item in (part.strip() for part in spec.split(",")):
        if name == item:
            return True
        bounds = re.fullmatch(r"(\d+)-(\d+)", item)
        if bounds and name.isdigit() and int(bounds[1]) <= int(name) <= int(bounds[2]):
            return True
    return False


class Pairs:
    """Pictures of scenes, decoded once and kept while they fit in CACHE_BYTES."""

    def __init__(self, scenes: list[Scene]) -> None:
        self.scenes = scenes
        self._cache: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._bytes = 0

    def pictures(self, scene: Scene) -> list[np.ndarray]:
        """All levels of one scene, HR first, each (H, W, 3) uint8.

        Raises DataError where the sizes of the levels differ.
        """
        pictures = [self._picture(path) for path in scene.files]
        for path, picture in zip(scene.files, pictures, strict=True):
            if picture.shape != pictures[0].shape:
                raise DataError(
                    f"{path} is {picture.shape[1]} x {picture.shape[0]}, its HR is "
                    f"{pictures[0].shape[1]} x {pictures[0].shape[0]}: pairs must have one size"
                )
        return pictures

    def _picture(self, path: Path) -> np.ndarray:
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        picture = read_photo(path).pixels
        self._cache[path] = picture
        self._bytes += picture.nbytes
        while self._bytes > CACHE_BYTES and len(self._cache) > 1:
            self._bytes -= self._cache.popitem(last=False)[1].nbytes
        return picture

    def crops(self, rng: np.random.Generator, count: int, patch: int) -> Tensor:
        """Random crops, flipped and turned alike at all levels.

        Returns (K, count, 3, patch, patch) float32 in [-1, 1], level HR first. Raises DataError
        where a scene is smaller than the patch.
        """
        batch = []
        for _ in range(count):
            scene = self.scenes[rng.integers(len(self.scenes))]
            stack = self.pictures(scene)
            height, width = stack[0].shape[:2]
            if min(height, width) < patch:
                raise DataError(f"{scene.files[0]} is smaller than the training patch {patch}")
            y, x = rng.integers(height - patch + 1), rng.integers(width - patch + 1)
            flip, turns = rng.integers(2), int(rng.integers(4))
            crops = np.stack([picture[y : y + patch, x : x + patch] for picture in stack])
            crops = np.rot90(crops[:, :, ::-1] if flip else crops, turns, axes=(1, 2))
            batch.append(np.ascontiguousarray(crops))
        tensor = torch.from_numpy(np.stack(batch, axis=1)).permute(0, 1, 4, 2, 3)
        return tensor.float().div(127.5).sub(1.0)
