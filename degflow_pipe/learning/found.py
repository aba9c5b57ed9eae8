"""What a folder of pairs holds: its levels by the names of its files, their scales, and the split.

`SCENE_hr.png` beside `SCENE_lr.png`, `SCENE_x2.9.png`; or a training recipe that says it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degflow_pipe import files
from degflow_pipe.calibration.judging import shift_of
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.metrics.blur import BLUR_SIDE, equivalent_blur
from degflow_pipe.pairs.pairs import Pairs
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.pictures.arrays import middle
from degflow_pipe.pictures.photos import EXTENSIONS, picture_size, read_photo
from degflow_pipe.recipes import load_recipe
from degflow_pipe.stages.align import RECIPE
from degflow_pipe.stages.align_levels import validation_of
from degflow_pipe.training.recipe import train_recipe

LENS = 0.91
"""Pixels of equivalent blur over sqrt(s² - 1): see `calibration.calibrate`."""
MEASURED = 8
"""Pairs that a scale is measured on where no name says it."""
FAR = 4.0
"""Pixels of HR that the LR of a pair lies off where it is a shot that was not aligned."""
_NAME = re.compile(r"(.+)([_-])(hr|lr[\d.]*|x[\d.]+)", re.IGNORECASE)


@dataclass(frozen=True)
class _File:
    """A picture by what its name says: scene, ending such as `_lr.png`, and level."""

    scene: str
    ending: str
    level: str
    path: Path

    @property
    def is_hr(self) -> bool:
        # Not x1: so a phone calls one of its zooms.
        return self.level == "hr"


def holds_pairs(folder: Path) -> bool:
    """Whether a folder holds pairs, and not shots. Raises UsageError where its folders do."""
    if not files.is_folder(folder):
        raise UsageError(f"{folder} is no folder of shots or of pairs")
    if files.exists(folder / RECIPE) or _are_pairs(_named(folder)):
        return True
    inner = [
        name
        for name in files.names(folder)
        if files.is_folder(folder / name) and _are_pairs(_named(folder / name))
    ]
    if inner:
        raise UsageError(
            f"{folder} holds no pairs, but its folders do ({', '.join(inner[:3])}): give one of "
            f"them, or a training recipe as `recipe` that says how they lie"
        )
    return False


def _named(folder: Path) -> list[_File]:
    found = []
    for name in files.names(folder):
        path = folder / name
        match = _NAME.fullmatch(path.stem)
        if match and path.suffix.lower() in EXTENSIONS:
            ending = f"{match[2]}{match[3]}{path.suffix}"
            found.append(_File(match[1], ending, match[3].lower(), path))
    return found


def _are_pairs(found: Iterable[_File]) -> bool:
    hr = {one.scene for one in found if one.is_hr}
    return any(one.scene in hr for one in found if not one.is_hr)


def data_of_folder(folder: Path, s_max: float | None, recipe: str | None) -> DataSettings:
    """How the pairs of a folder lie: by `recipe`, the recipe in it, or the names of its files.

    s_max: SR scale of the last level, where no name says it; measured by its blur where it is None.
    Raises DataError for pairs that no pattern fits, UsageError for a wrong recipe.
    """
    beside = folder / RECIPE
    if recipe is not None or files.exists(beside):
        values = load_recipe(recipe if recipe is not None else str(beside), "train")
        return train_recipe(values).data
    every = _named(folder)
    by_ending: dict[str, list[_File]] = {}
    for one in every:
        by_ending.setdefault(one.ending, []).append(one)
    hr = [ending for ending, group in by_ending.items() if group[0].is_hr]
    if len(hr) > 1:
        raise DataError(
            f"{folder}: HR end in {' and in '.join(sorted(hr))}: give all of them one ending"
        )
    levels = _levels(by_ending, hr[0], s_max)
    most = max(levels.values())
    scenes = sorted({one.scene for one in by_ending[hr[0]]})
    return DataSettings(
        s_max=most,
        source=f"pairs of {folder.resolve().name}",
        licence="as of the pairs",
        validate=",".join(split(scenes)),
        enlarge="bicubic",
        levels=[
            {"name": "HR", "t": 0.0, "files": f"*{hr[0]}"},
            *(
                {
                    "name": by_ending[ending][0].level.upper(),
                    "t": round((scale - 1) / (most - 1), 6),
                    "files": f"*{ending}",
                }
                for ending, scale in sorted(levels.items(), key=lambda item: item[1])
            ),
        ],
    )


def _levels(by_ending: dict[str, list[_File]], hr: str, s_max: float | None) -> dict[str, float]:
    """SR scale of each ending but HR's. Raises DataError naming a file that belongs to no level."""
    pictures = {one.scene: one.path for one in by_ending[hr]}
    levels: dict[str, float] = {}
    for ending, group in by_ending.items():
        if ending == hr:
            continue
        first = group[0]
        if not any(one.scene in pictures for one in group):
            raise DataError(
                f"{first.path} has no HR beside it, {first.scene}{hr}: add it, or take the file "
                f"away"
            )
        _check_ratios(group, pictures)
        scale = _scale(group, pictures, s_max)
        for other, known in levels.items():
            one = by_ending[other][0]
            if known == scale or one.level == first.level:
                raise DataError(
                    f"{one.path} and {first.path} are of one level, x{scale:g}: give all files of "
                    f"a level one ending, in capitals or not"
                )
        levels[ending] = scale
    return levels


def _check_ratios(group: list[_File], hr: dict[str, Path]) -> None:
    """Raises DataError for an LR that is another part of its HR than most of its level are."""
    there = [one for one in group if one.scene in hr]
    sizes = [(picture_size(hr[one.scene]), picture_size(one.path)) for one in there]
    ratios = np.array([[a / b for a, b in zip(*both, strict=True)] for both in sizes])
    # Sides are whole pixels.
    off = np.array([max(1.5 / side for side in lr) for _, lr in sizes])
    usual = np.median(ratios, axis=0)
    for one, ratio, most in zip(
        there, ratios, np.abs(ratios / usual - 1).max(1) > off, strict=True
    ):
        if most:
            raise DataError(
                f"{one.path} is 1/{ratio.max():.3g} of its HR, where most LR of its level are "
                f"1/{usual.max():.3g}: give it the size of the others, or take it away"
            )


def _scale(group: list[_File], hr: dict[str, Path], s_max: float | None) -> float:
    """Of a level: by its name, else by the sizes of its pictures, else as given or by its blur."""
    level = group[0].level
    if number := re.fullmatch(r"(?:x|lr)(\d+(?:\.\d+)?)", level):
        scale = float(number[1])
        if not 1 < scale <= 100:
            raise DataError(f"{group[0].path}: {scale:g} in its name is no SR scale above 1")
        return scale
    pairs = [(hr[one.scene], one.path) for one in group if one.scene in hr][:MEASURED]
    sizes = [max(picture_size(a)) / max(picture_size(b)) for a, b in pairs]
    if min(sizes) > 1.01:
        return round(float(np.median(sizes)), 2)
    if s_max is not None:
        return s_max
    sigmas = [
        equivalent_blur(*(middle(read_photo(path).pixels, BLUR_SIDE) for path in pair))
        for pair in pairs
    ]
    return max(round(math.sqrt(1 + (float(np.median(sigmas)) / LENS) ** 2), 1), 1.1)


def check_in_common(pairs: Pairs) -> None:
    """Look at a few pairs, evenly spread. Raises DataError where most of them are shots that were
    not aligned, or of different scenes.
    """
    apart: list[tuple[Path, Path]] = []
    looked = 0
    for scene in pairs.scenes[:: -(-len(pairs.scenes) // MEASURED)]:
        hr, *others = pairs.pictures(scene)
        assert hr is not None
        for path, lr in zip(scene.files[1:], others, strict=True):
            if path is None or lr is None:
                continue
            looked += 1
            shift = shift_of(hr, lr)
            if shift is None or shift > FAR:
                apart.append((path, scene.hr))
    if 2 * len(apart) > looked:
        lr_path, hr_path = apart[0]
        raise DataError(
            f"{lr_path} and its HR {hr_path} have little in common at the same places, as have "
            f"{len(apart)} of {looked} pairs that were looked at: run `align()` on shots first, or "
            f"give each LR the name of its own HR"
        )


def split(names: list[str]) -> list[str]:
    """The pairs to hold out, whole scenes: `SCENE-01` and `SCENE-02` are of one."""
    scenes: dict[str, list[str]] = {}
    for name in names:
        scenes.setdefault(re.sub(r"-\d\d$", "", name), []).append(name)
    return validation_of(scenes)[0]
