"""LR of a whole photo, of any size, by overlapping tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from degflow_pipe.cameras.asked import Asked
from degflow_pipe.cameras.camera import at_whole_pixels
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.threads import in_order
from degflow_pipe.levels import Grid
from degflow_pipe.noise.drawing import noise_of
from degflow_pipe.noise.model import NoiseModel
from degflow_pipe.noise.numbers import digest_of_hr, noise_key
from degflow_pipe.pictures.arrays import as_picture, rounded, to_tensor
from degflow_pipe.pictures.sizes import Sizes, on_own_pixels, seen_by_camera, sizes_of
from degflow_pipe.pictures.tiles import Span, spans
from degflow_pipe.progress import Task

AT_ONCE = 4
"""Levels of one photo that are held in memory at once."""


@dataclass(frozen=True)
class WholePhoto:
    """One photo's LR at every level of a grid, as large as it or of its sides over sr_scale.

    hr: (H, W, 3) uint8; noise: None for none.
    """

    hr: np.ndarray
    model: DegFlow
    noise: NoiseModel | None
    seed: int
    grid: Grid
    sr_scale: float

    @property
    def tiles(self) -> int:
        """How many tiles `levels` computes."""
        if not self.sr_scale:
            return self._tiled.count * -(-len(self.grid) // AT_ONCE)
        multiple = self.model.config.side_multiple
        return sum(
            len(spans(rows.seen, multiple)) * len(spans(columns.seen, multiple))
            for rows, columns in map(self._sizes, self.grid.t)
        )

    def levels(self, workers: int, task: Task) -> Iterator[np.ndarray]:
        """The LR of each level, (h, w, 3) uint8."""
        if self.model.config.velocity.view == "global" and self.tiles > 1:
            task.note("this checkpoint sees whole pictures: tiles pass into each other, no more")
        if not self.sr_scale:
            yield from self._tiled.levels(self.grid.t, workers, task)
            return
        for level in self.grid.t:
            rows, columns = self._sizes(level)
            asked = at_whole_pixels(self.model.info, rows, self.seed)
            seen = seen_by_camera(self.hr, rows, columns)
            for expected in _Tiled(seen, self.model).levels([asked.t], workers, task):
                lr = on_own_pixels(expected, (rows.lr, columns.lr))
                if self.noise is not None:
                    lr += _noise_of(lr, self.noise, asked, digest_of_hr(seen))
                yield rounded(lr)

    @property
    def _tiled(self) -> _Tiled:
        return _Tiled(self.hr, self.model, self.noise, self.seed, np.uint8)

    def _sizes(self, t: float) -> tuple[Sizes, Sizes]:
        height, width = self.hr.shape[:2]
        info = self.model.info
        return sizes_of((height, width), self.sr_scale, info.scale_of_t(t), info.s_max)


def _noise_of(expected: np.ndarray, noise: NoiseModel, asked: Asked, digest: bytes) -> np.ndarray:
    """The noise of a whole LR on its own pixels, (h, w, 3) float32, tile by tile."""
    drawn = np.zeros_like(expected)
    for row, column in product(*(spans(length, 1) for length in expected.shape[:2])):
        part = expected[row.slice, column.slice]
        key = noise_key(asked.seed, digest, asked.t, (row.start, column.start))
        own = noise_of(part, asked.t, noise, key, asked.own)
        drawn[row.slice, column.slice] += own * _passing(row, column)
    return drawn


def _passing(row: Span, column: Span) -> np.ndarray:
    """What a tile's noise is multiplied with, (h, w, 1): it is another in each tile, so it is its
    power that passes from one to the next."""
    return np.sqrt(row.weight[:, None] * column.weight)[..., None]


class _Tiled:
    """One picture's LR, tile by tile; kind: of its numbers, uint8 or float32."""

    def __init__(
        self,
        hr: np.ndarray,
        model: DegFlow,
        noise: NoiseModel | None = None,
        seed: int = 0,
        kind: type[np.uint8 | np.float32] = np.float32,
    ) -> None:
        self.hr, self.model, self.noise, self.seed, self.kind = hr, model, noise, seed, kind
        multiple = model.config.side_multiple
        self.rows, self.columns = (spans(length, multiple) for length in hr.shape[:2])

    @property
    def count(self) -> int:
        return len(self.rows) * len(self.columns)

    def levels(self, t: Sequence[float], workers: int, task: Task) -> Iterator[np.ndarray]:
        """The LR of each level, (H, W, 3)."""
        for i in range(0, len(t), AT_ONCE):
            made = self._whole(list(t[i : i + AT_ONCE]), workers, task)
            while made:
                yield made.pop(0)  # what is handed on is not held here

    def _whole(self, levels: list[float], workers: int, task: Task) -> list[np.ndarray]:
        """Some levels, each (H, W, 3). A row of tiles is summed up at a time."""
        width = self.hr.shape[1]
        lr = [np.empty_like(self.hr, self.kind) for _ in levels]
        places = product(self.rows, self.columns)
        tiles = in_order(lambda place: self._tile(levels, *place), places, workers)
        carried = np.zeros((len(levels), 0, width, 3), np.float32)
        for i, row in enumerate(self.rows):
            sums = np.zeros((len(levels), row.end - row.start, width, 3), np.float32)
            sums[:, : carried.shape[1]] = carried
            for column in self.columns:
                sums[:, :, column.slice] += next(tiles)
                task.advance()
            below = self.rows[i + 1].start if i + 1 < len(self.rows) else row.end
            for level, ready in zip(lr, sums[:, : below - row.start], strict=True):
                level[row.start : below] = rounded(ready) if self.kind is np.uint8 else ready
            carried = sums[:, below - row.start :]
        return lr

    def _tile(self, levels: list[float], row: Span, column: Span) -> np.ndarray:
        """One tile's part of the sum, (T, h, w, 3) float32 in grey levels."""
        hr = np.ascontiguousarray(self.hr[row.slice, column.slice])
        weight, digest = (row.weight[:, None] * column.weight)[..., None], digest_of_hr(hr)
        parts, place = [], (row.start, column.start)  # parts of a photo may be alike, as sky is
        with self.model.turn:
            z, skips = self.model.encode(to_tensor(hr))
            pictures = self.model.levels(z, levels, skips).pictures
            for t, expected in zip(levels, pictures, strict=True):
                lr = expected.mul(255)
                part = as_picture(lr) * weight
                if self.noise is not None:
                    noise = self.noise.drawn(lr, t, [noise_key(self.seed, digest, t, place)])
                    part += as_picture(noise) * _passing(row, column)
                parts.append(part)
        return np.stack(parts)
