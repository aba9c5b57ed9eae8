"""What the comparisons return; their JSON and figures.json have these fields by their names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

Figures = dict[str, float]
"""Of SR against HR: psnr and psnr_y in dB, ssim and ssim_y, and perceptual where asked for."""


@dataclass(frozen=True)
class SourceRow:
    """One source of LR with one added noise.

    added_noise: grey levels. mean, std: of each figure over the seeds. recovered: by figure, the
    share of the gap between bicubic and real, each at its best added noise, that it closes; a
    figure in which real is no better than bicubic has no gap, and is not there.
    """

    source: str
    added_noise: float
    mean: Figures
    std: Figures
    recovered: Figures


class LevelTable(NamedTuple):
    """The rows of one tested level; best: by source the added noise to mark, {} for no marks."""

    level: str
    held_out: bool
    rows: list[SourceRow]
    best: dict[str, float]


@dataclass(frozen=True)
class ProxyComparison:
    """Sources compared by a network of the same size, at one level.

    checkpoint: id. grid: levels t of `ours_grid`. level, t: of the real LR. scenes: held-out ones
    that are tested on. best: by source, the added noise of its highest PSNR, grey levels.
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

    @property
    def tables(self) -> list[LevelTable]:
        return [LevelTable(self.level, False, self.rows, self.best)]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ScaleRows:
    """One level that is tested: its scale s, and whether it is no knot."""

    s: float
    held_out: bool
    rows: list[SourceRow]


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
        return [LevelTable(n, found.held_out, found.rows, {}) for n, found in self.levels.items()]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def source_rows(found: dict[tuple[str, float], list[Figures]]) -> list[SourceRow]:
    """A row for each source and added noise; found: the figures of each seed."""
    means, stds = (
        {
            key: {figure: float(of([run[figure] for run in runs])) for figure in runs[0]}
            for key, runs in found.items()
        }
        for of in (np.mean, np.std)
    )

    def best(source: str, figure: str) -> float:
        values = [mean[figure] for (name, _), mean in means.items() if name == source]
        return min(values) if figure == "perceptual" else max(values)

    rows = []
    for (name, noise), mean in means.items():
        recovered = {}
        for figure, value in mean.items():
            low, high = best("bicubic", figure), best("real", figure)
            if high < low if figure == "perceptual" else high > low:
                recovered[figure] = (value - low) / (high - low)
        rows.append(SourceRow(name, noise, mean, stds[name, noise], recovered))
    return rows


def best_noise(rows: list[SourceRow]) -> dict[str, float]:
    """By source, the added noise of its row with the highest PSNR; of equal ones the first."""
    found: dict[str, SourceRow] = {}
    for row in rows:
        if row.mean["psnr"] > found.setdefault(row.source, row).mean["psnr"]:
            found[row.source] = row
    return {source: row.added_noise for source, row in found.items()}
