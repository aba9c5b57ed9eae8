"""Large pictures in pieces: overlapping tiles, and weights that let them pass into each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TILE = 512
"""Side of a tile in pixels."""
OVERLAP = 64
"""Pixels, at least, that neighbouring tiles share."""
RAMP = 32
"""Pixels in the middle of an overlap over which one tile passes into the next. The 16 on both sides
are those that a tile's own border reaches: with `view: local`, as in `city100-compact`, what is 16
pixels inside a tile differs from the untiled picture by one grey level at most; with `head: lens`,
whose light is that of the tile, by two or three, which change slowly."""


@dataclass(frozen=True)
class Span:
    """One tile's extent along one axis.

    start, end: pixels. weight: (end - start,) float32 in [0, 1]; those of all spans add up to 1 at
    every pixel.
    """

    start: int
    end: int
    weight: np.ndarray

    @property
    def slice(self) -> slice:
        return slice(self.start, self.end)


def spans(length: int, multiple: int) -> list[Span]:
    """Spans that cover `length` pixels, all starts multiples of `multiple`.

    One span where the length is no more than a tile; else tiles of TILE pixels, the last of up to
    `multiple` - 1 more. multiple: 1 to 64, a divisor of 64, so that the networks' strides fall on
    the same pixels as in the whole picture.
    """
    if length <= TILE:
        return [Span(0, length, np.ones(length, np.float32))]
    last = (length - TILE) // multiple * multiple
    steps = -(-last // (TILE - OVERLAP)) or 1
    starts = [i * last // steps // multiple * multiple for i in range(steps + 1)]
    ends = [start + TILE for start in starts[:-1]] + [length]
    found = []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        weight = np.ones(end - start)
        pixels = np.arange(start, end) + 0.5
        if i > 0:
            weight *= _rising(pixels, (start + ends[i - 1]) / 2)
        if i < steps:
            weight *= 1 - _rising(pixels, (starts[i + 1] + end) / 2)
        found.append(Span(start, end, weight.astype(np.float32)))
    return found


def _rising(pixels: np.ndarray, middle: float) -> np.ndarray:
    return np.clip((pixels - middle) / RAMP + 0.5, 0, 1)
