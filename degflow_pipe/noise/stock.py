"""A knot's noise drawn once, of which each LR is given a piece of its own.

A stock holds two independent realisations. An LR has the first, cut at a random place, times the
cosine of a random angle, and the second, cut at another place, times its sine. So it has the powers
of the stock, and two LR have as little in common as if each were drawn for itself, in a tenth of
the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from degflow_pipe.noise.numbers import raw_numbers

LEAST, MOST = 512, 2048
"""Sides of a stock in pixels. A picture longer than the largest has noise that repeats after it."""
A_CUT = 5
"""Raw numbers that a cut is made of."""


class Cut(NamedTuple):
    """Where both realisations are cut, as (y, x), and what they are multiplied with."""

    first: tuple[int, int]
    second: tuple[int, int]
    weights: tuple[float, float]


def side_for(sides: tuple[int, int]) -> int:
    """The side of the stock for pictures of these sides: a power of two above the longer one."""
    return min(max(1 << max(sides).bit_length(), LEAST), MOST)


def cuts_of(key: int, spans: Sequence[tuple[int, int]]) -> list[Cut]:
    """One for each of some stocks, all of a key of 64 bits.

    spans: of each stock how many places there are to cut at, along y and x.
    """
    raw = raw_numbers(key, A_CUT * len(spans)).reshape(-1, A_CUT)
    found = []
    for (y0, x0, y1, x1, turn), (rows, columns) in zip(raw.tolist(), spans, strict=True):
        angle = turn * (2 * np.pi / 2**64)
        found.append(
            Cut(
                (y0 % rows, x0 % columns),
                (y1 % rows, x1 % columns),
                (float(np.cos(angle)), float(np.sin(angle))),
            )
        )
    return found


def places(stock: Tensor, sides: tuple[int, int]) -> tuple[int, int]:
    """How many places there are to cut (..., S, S) at, along y and x, for pieces of these sides."""
    side = stock.shape[-1]
    rows, columns = (side - length + 1 if length <= side else side for length in sides)
    return rows, columns


def pieces(stock: Tensor, sides: tuple[int, int], cuts: Sequence[Cut]) -> Tensor:
    """A piece for each cut, (B, C, h, w), of a stock (2, C, S, S)."""
    if max(sides) > stock.shape[-1]:
        stock = _repeated(stock, sides)
    return (_one_by_one if stock.device.type == "cpu" else _at_once)(stock, sides, cuts)


def _one_by_one(stock: Tensor, sides: tuple[int, int], cuts: Sequence[Cut]) -> Tensor:
    found = stock.new_empty((len(cuts), stock.shape[1], *sides))
    for piece, cut in zip(found, cuts, strict=True):
        first, second = (
            part[:, y : y + sides[0], x : x + sides[1]]
            for part, (y, x) in zip(stock, (cut.first, cut.second), strict=True)
        )
        torch.mul(first, cut.weights[0], out=piece)
        piece.add_(second, alpha=cut.weights[1])
    return found


def _at_once(stock: Tensor, sides: tuple[int, int], cuts: Sequence[Cut]) -> Tensor:
    """As `_one_by_one`, in a few calls for the whole batch: a GPU waits for calls, not for sums."""
    found = []
    for i in range(2):
        windows = stock[i].unfold(1, sides[0], 1).unfold(2, sides[1], 1)
        y, x = torch.tensor([cut[i] for cut in cuts], device=stock.device).unbind(1)
        weights = torch.tensor([cut.weights[i] for cut in cuts], device=stock.device)
        found.append(windows[:, y, x] * weights[:, None, None])
    return (found[0] + found[1]).transpose(0, 1)


def _repeated(stock: Tensor, sides: tuple[int, int]) -> Tensor:
    """(2, C, S, S) that goes on beyond its sides, as it is periodic."""
    side = stock.shape[-1]
    for dim, length in zip((-2, -1), sides, strict=True):
        if length > side:
            index = torch.arange(side + length, device=stock.device) % side
            stock = stock.index_select(dim, index)
    return stock
