"""doctor: what a trainer would refuse, or pair wrongly without a word, in a folder of pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from degflow_pipe import files
from degflow_pipe.engine import check_workers, in_order
from degflow_pipe.errors import DataError, PhotoError, UsageError
from degflow_pipe.exports.findings import Found, Report
from degflow_pipe.exports.trainer import Trainer
from degflow_pipe.exports.trainers import find_trainer
from degflow_pipe.progress import Progress, Silent, Task

SAMPLE = 2000
"""Pairs whose pixels are read, by default."""
RUN = 40
"""Pairs that are sampled side by side: a shifted index shows where the photo or patch changes."""
THUMB = 16
"""Side in pixels of the grey pictures that are compared."""
FLAT = 2.0
"""Grey levels: a picture whose thumbnail varies by less says nothing."""
MARGIN = 0.05
"""By how much another HR must correlate better with an LR than its own does."""
UNLIKE = 0.5
"""Correlation with its own HR below which an LR is not of it."""


def doctor(
    folder: Path,
    to: str,
    *,
    sample: int = SAMPLE,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Pair up a folder as the trainer `to` does, and say what is wrong with that.

    Names, lists, numbers and sizes are looked at in all pairs; the pixels of `sample` of them (0:
    of all) are read, and their content compared: an LR must look more like its own HR than like
    the neighbours'. The folder need not be an export of ours.

    Returns trainer, folder, pairs, compared, ratios (HR over LR, and how many pairs have it) and
    findings: for each kind their count and the first few. Raises DataError where there is no
    folder, UsageError for a wrong argument.
    """
    trainer = find_trainer(to)
    at_once = check_workers(workers)
    if sample < 0:
        raise UsageError(f"--sample must be 0 (all pairs) or more, got {sample}")
    if not files.is_folder(folder):
        raise DataError(f"{folder}: no such folder")
    report = Report()
    found = list(trainer.pair_up(folder, report))
    if not found:
        report.add("pairs", f"{folder}: {to} finds no pairs here")
    with (progress or Silent()).task(f"doctor {to}", len(found)) as task:
        ratios, readable = _sizes(trainer, found, report, at_once, task)
    runs = list(_runs(readable, sample))
    compared = sum(min(len(run), RUN) for run in runs)
    with (progress or Silent()).task(f"compare {to}", compared) as task:
        for looks in in_order(_look, runs, at_once):
            _compare(looks, report)
            task.advance(min(len(looks), RUN))
    return {
        "trainer": to,
        "folder": str(folder),
        "pairs": len(found),
        "compared": compared,
        "ratios": {f"{ratio:g}": count for ratio, count in sorted(ratios.items())},
        "findings": report.to_dict(),
    }


def _sizes(
    trainer: Trainer, found: Sequence[Found], report: Report, workers: int, task: Task
) -> tuple[Counter[float], list[Found]]:
    """Sizes of all pairs against the trainer's rule: how many pairs have which ratio, and the pairs
    whose headers can be read.
    """
    ratios: Counter[float] = Counter()
    readable = []
    of: dict[float, list[str]] = {}

    def measure(pair: Found) -> Any:
        try:
            return pair.hr.size(), pair.lr.size()
        except PhotoError as error:
            return error

    for pair, sizes in zip(found, in_order(measure, found, workers), strict=True):
        task.advance()
        if isinstance(sizes, PhotoError):
            report.add("unreadable", str(sizes))
            continue
        readable.append(pair)
        hr, lr = sizes
        ratio = trainer.ratio(hr, lr)
        said = f"{pair.lr.name} of {lr[0]} x {lr[1]} for {pair.hr.name} of {hr[0]} x {hr[1]}"
        if ratio is None or (pair.wanted is not None and abs(ratio - pair.wanted) > 1e-9):
            wanted = f", where {pair.wanted:g} times is due" if pair.wanted else ""
            report.add("ratio", f"{said}{wanted}")
            continue
        ratios[ratio] += 1
        of.setdefault(ratio, []).append(said)
    if trainer.one_scale and len(ratios) > 1:
        most = ratios.most_common(1)[0][0]
        for ratio, pairs in of.items():
            if ratio != most:
                text = f"ratio {ratio:g}, where most pairs have {most:g}"
                report.add("mixed scales", *(f"{said}: {text}" for said in pairs))
    return ratios, readable


@dataclass(frozen=True)
class _Look:
    """A pair in small: names, and both pictures as THUMB x THUMB grey, centred; or the problem."""

    hr_name: str
    lr_name: str
    hr: np.ndarray | None = None
    lr: np.ndarray | None = None
    problem: str = ""


def _runs(found: Sequence[Found], sample: int) -> Iterator[list[Found]]:
    """The pairs to compare, in runs of RUN neighbours spread evenly over all of them, and the one
    after each run.
    """
    starts = list(range(0, len(found), RUN))
    if sample and len(found) > sample:
        count = max(sample // RUN, 1)
        step = max((len(found) - RUN) / max(count - 1, 1), 0)
        starts = [round(i * step) for i in range(count)]
    for start in starts:
        yield list(found[start : start + RUN + 1])


def _look(run: Sequence[Found]) -> list[_Look]:
    looks = []
    for pair in run:
        try:
            hr, lr = _small(pair.hr.pixels()), _small(pair.lr.pixels())
            looks.append(_Look(pair.hr.name, pair.lr.name, hr, lr))
        except PhotoError as error:
            looks.append(_Look(pair.hr.name, pair.lr.name, problem=str(error)))
    return looks


def _small(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to (THUMB, THUMB) grey levels less their mean."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(grey, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    return np.asarray(small - small.mean(), np.float64)


def _compare(looks: Sequence[_Look], report: Report) -> None:
    """Findings for pictures that cannot be read, and for LR that are of another HR."""
    for i, look in enumerate(looks[:RUN]):
        if look.hr is None or look.lr is None:
            report.add("unreadable", look.problem)
            continue
        own = _likeness(look.lr, look.hr)
        if own is None:
            continue
        others = [
            (like, other.hr_name)
            for other in _others(looks, i)
            if other.hr is not None and (like := _likeness(look.lr, other.hr)) is not None
        ]
        best, name = max(others, default=(-1.0, ""))
        if best > own + MARGIN:
            report.add(
                "content",
                f"{look.lr_name} looks like {name} ({best:.2f}), not like the {look.hr_name} "
                f"({own:.2f}) it is paired with",
            )
        elif own < UNLIKE:
            report.add("content", f"{look.lr_name} does not look like {look.hr_name} ({own:.2f})")


def _others(looks: Sequence[_Look], i: int) -> Iterator[_Look]:
    """The nearest pair on each side whose HR is another picture."""
    own = looks[i].hr
    assert own is not None
    for side in (reversed(looks[:i]), looks[i + 1 :]):
        for other in side:
            if other.hr is not None and not np.array_equal(own, other.hr):
                yield other
                break


def _likeness(a: np.ndarray, b: np.ndarray) -> float | None:
    """Correlation of two thumbnails; None where one is flat."""
    if min(a.std(), b.std()) < FLAT:
        return None
    return float((a * b).mean() / (a.std() * b.std()))
