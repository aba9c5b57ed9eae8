"""What the comparisons return; their JSON and figures.json have these fields by their names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

UNTOUCHED = "untouched"
"""The row of real LR as it is: enlarged by bicubic interpolation where it is smaller than HR."""
CERTAIN = 0.95
"""Probability that a gap is none of chance, from which on it is resolved."""

Figures = dict[str, float]
"""Of SR against HR: psnr and psnr_y in dB, ssim and ssim_y, and perceptual where asked for."""


@dataclass(frozen=True)
class SourceRow:
    """One source of LR with one added noise.

    added_noise: grey levels. mean, std: of each figure over the seeds. recovered: by figure, the
    share of the gap between bicubic and real, each at its best added noise, that it closes; a
    figure whose gap the seeds do not resolve is not there. Nothing is trained for `untouched`.
    """

    source: str
    added_noise: float
    mean: Figures
    std: Figures
    recovered: Figures


class LevelTable(NamedTuple):
    """The rows of one tested level; best: by source the added noise to mark, {} for no marks;
    unresolved: figures whose gap the seeds do not resolve."""

    level: str
    held_out: bool
    rows: list[SourceRow]
    best: dict[str, float]
    unresolved: list[str]


@dataclass(frozen=True)
class ProxyComparison:
    """Sources compared by a network of one scale, at one level.

    checkpoint: id. sr_scale: HR over LR, 1 for LR as large as HR. grid: levels t of `ours_grid`.
    level, t: of the real LR. scenes: held-out ones that are tested on. best: by source, the added
    noise of its highest PSNR, grey levels. unresolved: figures in which the seeds do not tell real
    from bicubic, see `source_rows`.
    """

    checkpoint: str
    grid: list[float]
    seeds: int
    level: str
    t: float
    scenes: list[str]
    network: str
    steps: int
    perceptual: str
    rows: list[SourceRow]
    best: dict[str, float]
    unresolved: list[str]
    sr_scale: int = 1

    @property
    def tables(self) -> list[LevelTable]:
        return [LevelTable(self.level, False, self.rows, self.best, self.unresolved)]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ScaleRows:
    """One level that is tested: its scale s, and whether it is no knot; unresolved: as above."""

    s: float
    held_out: bool
    rows: list[SourceRow]
    unresolved: list[str]


@dataclass(frozen=True)
class ScalesComparison:
    """Sources compared by one network for any scale.

    checkpoint: id. scales: that every source but `real` is trained at. scenes: held-out ones that
    are tested on. levels: by name.
    """

    checkpoint: str
    network: str
    scales: list[float]
    seeds: int
    steps: int
    perceptual: str
    scenes: list[str]
    levels: dict[str, ScaleRows]

    @property
    def tables(self) -> list[LevelTable]:
        return [
            LevelTable(name, found.held_out, found.rows, {}, found.unresolved)
            for name, found in self.levels.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def source_rows(
    found: dict[tuple[str, float], list[Figures]],
) -> tuple[list[SourceRow], list[str]]:
    """A row for each source and added noise, and the figures whose gap is not resolved.

    found: the figures of each seed. A gap is resolved where real is better than bicubic by more
    than chance would give once in forty times, by Student's t of the seeds of both: one seed
    resolves none.
    """
    means, stds = (
        {
            key: {figure: float(of([run[figure] for run in runs])) for figure in runs[0]}
            for key, runs in found.items()
        }
        for of in (np.mean, np.std)
    )

    def best(source: str, figure: str) -> tuple[str, float]:
        keys = [key for key in means if key[0] == source]
        choose = min if figure == "perceptual" else max
        return choose(keys, key=lambda key: means[key][figure])

    figures = next(iter(means.values()))
    ends = {figure: (best("bicubic", figure), best("real", figure)) for figure in figures}
    unresolved = []
    for figure, keys in ends.items():
        bicubic, real = ([run[figure] for run in found[key]] for key in keys)
        if not _resolved(bicubic, real, figure):
            unresolved.append(figure)
    rows = []
    for (name, noise), mean in means.items():
        recovered = {}
        for figure in mean:
            low, high = (means[key][figure] for key in ends[figure])
            if figure not in unresolved:
                recovered[figure] = (mean[figure] - low) / (high - low)
        rows.append(SourceRow(name, noise, mean, stds[name, noise], recovered))
    return rows, unresolved


def _resolved(bicubic: list[float], real: list[float], figure: str) -> bool:
    """Whether real is better by more than chance; each a value a seed, as many of both."""
    seeds = len(real)
    if seeds < 2:
        return False
    gap = float(np.mean(real) - np.mean(bicubic)) * (-1 if figure == "perceptual" else 1)
    error = float(np.sqrt((np.var(real, ddof=1) + np.var(bicubic, ddof=1)) / seeds))
    return gap > float(stdtrit(2 * seeds - 2, (1 + CERTAIN) / 2)) * error


def best_noise(rows: list[SourceRow]) -> dict[str, float]:
    """By source, the added noise of its row with the highest PSNR; of equal ones the first."""
    found: dict[str, SourceRow] = {}
    for row in (row for row in rows if row.source != UNTOUCHED):
        if row.mean["psnr"] > found.setdefault(row.source, row).mean["psnr"]:
            found[row.source] = row
    return {source: row.added_noise for source, row in found.items()}
