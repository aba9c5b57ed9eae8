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


class Cuts(NamedTuple):
    """Of a stock, for a batch: where both realisations are cut, and what they are multiplied with.

    table: (B, 2, 3) float64, y, x and weight of each; there: the same on the stock's device.
    """

    table: np.ndarray
    there: Tensor


def side_for(sides: tuple[int, int]) -> int:
    """The side of the stock for pictures of these sides: a power of two above the longer one."""
    return min(max(1 << max(sides).bit_length(), LEAST), MOST)


def cuts_of(
    keys: Sequence[int], places: Sequence[tuple[int, int]], device: torch.device
) -> list[Cuts]:
    """One for each of some stocks, of keys of 64 bits, one a picture.

    places: of each stock how many there are to cut at, along y and x; see `places_of`.
    """
    raw = np.stack([raw_numbers(key, A_CUT * len(places)) for key in keys])
    raw = raw.reshape(len(keys), len(places), A_CUT)
    table = np.empty((len(places), len(keys), 2, 3))
    for own, stock_raw, spans in zip(table, raw.swapaxes(0, 1), places, strict=True):
        own[:, 0, :2], own[:, 1, :2] = (
            stock_raw[:, part] % np.array(spans, np.uint64) for part in (slice(2), slice(2, 4))
        )
        angle = stock_raw[:, 4] * (2 * np.pi / 2**64)
        own[:, 0, 2], own[:, 1, 2] = np.cos(angle), np.sin(angle)
    # One copy, for which a GPU need not be waited for.
    there = torch.from_numpy(table).to(device, non_blocking=True)
    return [Cuts(*own) for own in zip(table, there, strict=True)]


def places_of(stock: Tensor, sides: tuple[int, int]) -> tuple[int, int]:
    """How many places there are to cut (..., S, S) at, along y and x, for pieces of these sides."""
    side = stock.shape[-1]
    rows, columns = (side - length + 1 if length <= side else side for length in sides)
    return rows, columns


def pieces(stock: Tensor, sides: tuple[int, int], cuts: Cuts) -> Tensor:
    """A piece for each picture, (B, C, h, w), of a stock (2, C, S, S)."""
    if max(sides) > stock.shape[-1]:
        stock = _repeated(stock, sides)
    if stock.device.type == "cpu":
        return one_by_one(stock, sides, cuts)
    return at_once(stock, sides, cuts)


def one_by_one(stock: Tensor, sides: tuple[int, int], cuts: Cuts) -> Tensor:
    """`pieces`, as a CPU is quick at it."""
    found = stock.new_empty((len(cuts.table), stock.shape[1], *sides))
    for piece, own in zip(found, cuts.table.tolist(), strict=True):
        (first, weight), (second, other) = (
            (part[:, int(y) : int(y) + sides[0], int(x) : int(x) + sides[1]], weight)
            for part, (y, x, weight) in zip(stock, own, strict=True)
        )
        torch.mul(first, weight, out=piece)
        piece.add_(second, alpha=other)
    return found


def at_once(stock: Tensor, sides: tuple[int, int], cuts: Cuts) -> Tensor:
    """`pieces`, in a few calls for the whole batch: a GPU waits for calls, not for sums."""
    found = []
    for part, own in zip(stock, cuts.there.unbind(1), strict=True):
        windows = part.unfold(1, sides[0], 1).unfold(2, sides[1], 1)
        y, x = own[:, :2].long().unbind(1)
        found.append(windows[:, y, x] * own[:, 2].float()[:, None, None])
    return (found[0] + found[1]).transpose(0, 1)


def _repeated(stock: Tensor, sides: tuple[int, int]) -> Tensor:
    """(2, C, S, S) that goes on beyond its sides, as it is periodic."""
    side = stock.shape[-1]
    for dim, length in zip((-2, -1), sides, strict=True):
        if length > side:
            index = torch.arange(side + length, device=stock.device) % side
            stock = stock.index_select(dim, index)
    return stock
