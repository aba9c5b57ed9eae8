"""A knot's noise drawn once, of which each LR is given a piece of its own.

A stock holds two independent realisations, periodic. An LR has the first, cut at a random place,
times the cosine of a random angle, and the second, cut at another, times its sine. So its noise has
the powers that the stock has, in a third of the time of drawing it. Two LR have noise in common
where both are cut at the same place of a realisation, which happens to one pair of them in S² / 2,
131,072 and more; moved against each other, they may agree in part, as they are of one stock.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from degflow_pipe.noise.numbers import raw_numbers

LEAST, MOST = 512, 1024
"""Sides of stocks in pixels. A picture longer than the larger has noise that repeats after it."""
MORE = LEAST // 2
"""Pixels: most pictures are no longer."""
A_CUT = 5
"""Raw numbers that a cut is made of."""


def gone_round(values: np.ndarray, more: int) -> np.ndarray:
    """A stock (2, ..., S, S), with `more` beyond its sides."""
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, more)] * 2, mode="wrap")


def side_for(sizes: tuple[int, int]) -> int:
    """The side of the stock for pictures of these sizes: twice the longer one, or the largest."""
    return LEAST if 2 * max(sizes) <= LEAST else MOST


def cuts_of(keys: Sequence[int], sides: Sequence[int]) -> np.ndarray:
    """Where some stocks of these sides are cut for a batch, and what the pieces are multiplied
    with: (stocks, B, 2, 3) float64, y, x and weight in both realisations.

    keys: of 64 bits, one a picture. Every place is as likely as any other, as a stock goes round.
    """
    raw = np.stack([raw_numbers(key, A_CUT * len(sides)) for key in keys])
    raw = raw.reshape(len(keys), len(sides), A_CUT).swapaxes(0, 1)
    table = np.empty((len(sides), len(keys), 2, 3))
    places = raw[..., :4] % np.array(sides, np.uint64)[:, None, None]
    table[..., :2] = places.reshape(len(sides), len(keys), 2, 2)
    angle = raw[..., 4] * (2 * np.pi / 2**64)
    table[..., 0, 2], table[..., 1, 2] = np.cos(angle), np.sin(angle)
    return table
