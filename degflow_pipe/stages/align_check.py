"""check_pairs: what misalignment is left in pairs that are aligned already."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from degflow_pipe import defaults, files
from degflow_pipe.alignment.check import checked
from degflow_pipe.alignment.fine import NoFit
from degflow_pipe.alignment.results import CheckSummary, LevelChecked, PairChecked
from degflow_pipe.engines.engine import Engine, check_workers
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.errors import DataError, DegflowError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.pairs.pairs import find_scenes, is_sharper
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.pictures.photos import EXTENSIONS, check_max_pixels, decoded_bytes, read_photo
from degflow_pipe.progress import Progress, Silent

COPIES = 4
"""Times the memory of decoding HR that measuring a pair takes."""
WORST = 5
"""Pairs that are named, those that lie off most."""
_HR = re.compile(r"(.+)[_-](?:hr|x1)", re.IGNORECASE)
_LR = re.compile(r"(.+)[_-]((?:lr|x)[\d.]*)", re.IGNORECASE)


@dataclass(frozen=True)
class _Pair:
    level: str
    hr: Path
    lr: Path


@dataclass(frozen=True)
class _Checked:
    pair: _Pair
    found: PairChecked | None
    problem: str = ""


@dataclass(frozen=True)
class CheckJob:
    """Measures pairs: see `engines.job.Job`."""

    max_pixels: int

    @contextmanager
    def open(self) -> Iterator[Callable[[_Pair], _Checked]]:
        yield self._checked

    def bytes_of(self, pair: _Pair) -> int:
        """Memory that a pair takes while it is measured."""
        return COPIES * decoded_bytes(pair.hr, self.max_pixels)

    def _checked(self, pair: _Pair) -> _Checked:
        try:
            hr, lr = (read_photo(path, self.max_pixels).pixels for path in (pair.hr, pair.lr))
            ratio = hr.shape[0] / lr.shape[0]
            if ratio < 1 or ratio != round(ratio) or hr.shape[1] != lr.shape[1] * ratio:
                raise DataError(
                    f"{pair.lr.name} is {lr.shape[1]} x {lr.shape[0]}, HR {hr.shape[1]} x "
                    f"{hr.shape[0]}: no whole ratio"
                )
            if ratio == 1 and is_sharper(lr, hr):
                raise DataError(f"{pair.lr.name} is sharper than its HR: are their names swapped?")
            grey, grey_lr = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (hr, lr))
            return _Checked(pair, checked(grey, grey_lr, pair.hr.name, pair.lr.name))
        except (DegflowError, NoFit) as error:
            return _Checked(pair, None, printable(str(error)))


def check_pairs(
    pairs: Path,
    *,
    data: DataSettings | None = None,
    max_pixels: int = defaults.MAX_PIXELS,
    workers: int = 0,
    progress: Progress | None = None,
    engine: Engine = run_in_threads,
) -> CheckSummary:
    """Measure each pair of a folder, by folder and level.

    data: where they lie, as a training recipe says. Without it, pairs are found by names:
    `SCENE_hr.png` (or `SCENE_HR`, `SCENE_x1`) beside `SCENE_lr.png`, `SCENE_LR4.png`,
    `SCENE_x2.9.png`. LR are as large as HR, or smaller by a whole factor. max_pixels: a picture of
    more is not read. Raises UsageError where there is no pair, DataError where none can be
    measured.
    """
    workers = check_workers(workers)
    check_max_pixels(max_pixels)
    alone: list[str] = []
    found = list(_pairs(pairs, alone) if data is None else _pairs_of(data, pairs))
    if not found:
        raise UsageError(
            f"no pairs at {printable(str(pairs))}: names such as 001_hr.png and 001_lr.png, or "
            f"001_HR.png and 001_LR4.png, are looked for; a training `recipe` says others"
        )
    summary = CheckSummary(printable(str(pairs)), {}, [])
    by_level: dict[str, list[PairChecked]] = {}
    job = CheckJob(max_pixels)
    with (progress or Silent()).task("check", len(found), counts="pairs") as task:
        for one in engine(job, found, workers, job.bytes_of):
            if one.found is None:
                summary.failed[one.pair.lr.name] = one.problem
            else:
                by_level.setdefault(one.pair.level, []).append(one.found)
            task.advance()
    if not by_level:
        raise DataError(f"no pair could be measured: {next(iter(summary.failed.values()))}")
    summary.failed |= {name: "it is an HR without an LR beside it" for name in alone}
    for level, ones in sorted(by_level.items()):
        summary.levels[level] = _level(ones)
    every = sorted((one for ones in by_level.values() for one in ones), key=lambda o: -o.shift[0])
    summary.worst = every[:WORST]
    return summary


def _level(ones: list[PairChecked]) -> LevelChecked:
    shifts = np.array([one.shift for one in ones])
    gains = np.array([one.gain for one in ones if one.gain is not None])
    return LevelChecked(
        pairs=len(ones),
        shift_median=round(float(np.median(shifts[:, 0])), 3),
        shift_90=round(float(np.quantile(shifts[:, 0], 0.9)), 3),
        shift_most=round(float(shifts[:, 0].max()), 3),
        tile_90=round(float(np.median(shifts[:, 1])), 3),
        doubt_median=round(float(np.median([one.doubt for one in ones])), 3),
        gain_median=round(float(np.median(gains)), 4) if gains.size else None,
        gain_spread=round(float(np.std(gains)), 4) if gains.size else None,
        contrast_median=round(float(np.median([one.contrast for one in ones])), 4),
    )


def _pairs_of(data: DataSettings, folder: Path) -> Iterator[_Pair]:
    """As a training recipe has them."""
    for scene in chain(*find_scenes(data, folder, to_train=False)):
        for level, path in zip(data.pair_levels[1:], scene.files[1:], strict=True):
            if path is not None:
                yield _Pair(level.name, scene.hr, path)


def _pairs(folder: Path, alone: list[str]) -> Iterator[_Pair]:
    """By the names of the files. alone: takes the names of HR without any LR."""
    if not files.is_folder(folder):
        raise UsageError(f"`shots` must be a folder of pairs here: {printable(str(folder))}")
    hr: dict[tuple[Path, str], Path] = {}
    lr: list[tuple[tuple[Path, str], str, Path]] = []
    for path in files.walk(folder):
        if path.suffix.lower() not in EXTENSIONS:
            continue
        if match := _HR.fullmatch(path.stem):
            hr[path.parent, match[1]] = path
        elif match := _LR.fullmatch(path.stem):
            lr.append(((path.parent, match[1]), match[2], path))
    for key, level, path in lr:
        if key in hr:
            below = key[0].relative_to(folder).as_posix()
            yield _Pair(level if below == "." else f"{below}/{level}", hr[key], path)
    with_lr = {key for key, _, _ in lr}
    alone += [printable(path.name) for key, path in hr.items() if key not in with_lr]
