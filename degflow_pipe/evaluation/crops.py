"""PSNR of each held-out scene, and pictures of some as files: HR, real LR and generated LR.

They are kept while an evaluation goes through the scenes, as these would not all fit in memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from degflow_pipe import files
from degflow_pipe.evaluation.results import OfScene
from degflow_pipe.pictures.arrays import telling_crop
from degflow_pipe.pictures.formats import parse_format

FOLDER = "crops"
SIDE = 256
"""Pixels of a crop, or what there is of them: where HR shows most detail."""
ENDS = 6
"""Scenes that are kept of either end: those with the lowest and with the highest PSNR."""
HR, LRS = "HR", ("real", "generated", "noisy")
"""What a crop is of; `noisy` is there where the checkpoint has a noise model."""


@dataclass
class Crop:
    """One scene. number: from 0. psnr: see `OfScene`. pictures: (SIDE, SIDE, 3) uint8 by level and
    what they are of; HR has no level.
    """

    number: int
    scene: str
    rows: slice
    columns: slice
    psnr: dict[str, float] = field(default_factory=dict)
    pictures: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @classmethod
    def begin(cls, number: int, scene: str, hr: np.ndarray) -> Crop:
        """hr: the whole picture, (H, W, 3) uint8."""
        crop = cls(number, scene, *telling_crop(hr, SIDE))
        crop.pictures["", HR] = hr[crop.rows, crop.columns].copy()
        return crop

    def add(self, level: str, psnr: float, lrs: Mapping[str, np.ndarray]) -> None:
        """lrs: whole pictures; those of LRS are cut, the others left."""
        self.psnr[level] = psnr
        for of in (of for of in LRS if of in lrs):
            self.pictures[level, of] = lrs[of][self.rows, self.columns].copy()

    @property
    def rank(self) -> tuple[float, int]:
        return float(np.mean([*self.psnr.values()])), self.number


class Crops:
    """Of all scenes their PSNR; of those nearest to real LR, and farthest from it, the pictures."""

    def __init__(self) -> None:
        self._scenes: list[tuple[str, dict[str, float]]] = []
        self._kept: list[Crop] = []

    def begin(self, scene: str, hr: np.ndarray) -> Crop:
        return Crop.begin(len(self._scenes), scene, hr)

    def add(self, crop: Crop) -> None:
        self._scenes.append((crop.scene, crop.psnr))
        self._kept = sorted([*self._kept, crop], key=lambda one: one.rank)
        if len(self._kept) > 2 * ENDS:
            del self._kept[ENDS]  # whatever comes, it is at neither end

    def by_scene(self, written: bool) -> list[OfScene]:
        """written: whether the crops are written somewhere."""
        at = {crop.number: [crop.rows.start, crop.columns.start] for crop in self._kept}
        return [
            OfScene(scene, psnr, at.get(number, []) if written else [])
            for number, (scene, psnr) in enumerate(self._scenes)
        ]

    def write(self, folder: Path) -> None:
        """A lossless WebP each, named by `path_of`. Raises FileError."""
        coded = parse_format("webp")
        for crop in self._kept:
            for (level, of), picture in crop.pictures.items():
                path = path_of(folder, crop.number, crop.scene, level, of)
                files.write_bytes(path, coded.encode(picture))


def path_of(folder: Path, number: int, scene: str, level: str, of: str) -> Path:
    """The file of a crop, such as `crops/03_nikon_063_x2.9_real.webp`, which counts from 1.

    folder: that of the evaluation. No scene or level names anything outside it.
    """
    plain = (re.sub(r"[^A-Za-z0-9.-]+", "_", part)[:60] for part in (scene, level, of) if part)
    return folder / FOLDER / f"{number + 1:02}_{'_'.join(plain)}.webp"
