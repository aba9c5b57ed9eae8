"""A knot's noise drawn once, of which each LR is given a piece of its own.

A stock holds two independent realisations, periodic. An LR has the first, cut at a random place,
times the cosine of a random angle, and the second, cut at another, times its sine. So its noise has
the powers that the stock has, and at no pixel anything in common with another LR's, in a third of
the time of drawing it. Moved against each other, two LR may agree in part, as they are of one
stock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from degflow_pipe.noise.numbers import raw_numbers

LEAST, MOST = 512, 1024
"""Sides of stocks in pixels. A picture longer than the larger has noise that repeats after it."""
A_CUT = 5
"""Raw numbers that a cut is made of."""


class Stock(NamedTuple):
    """values: (2, ..., S + M, S + M) float32, periodic with side = S. For the M beyond it, most
    pieces need not be put together of several on a CPU.
    """

    values: Tensor
    side: int


def gone_round(values: np.ndarray, more: int, device: torch.device) -> Stock:
    """A stock of (2, ..., S, S), with `more` beyond its sides."""
    beyond = [(0, 0)] * (values.ndim - 2) + [(0, more)] * 2
    there = torch.from_numpy(np.pad(values, beyond, mode="wrap")).to(device)
    return Stock(there, values.shape[-1])


class Cuts(NamedTuple):
    """Of a stock, for a batch: where both realisations are cut, and what they are multiplied with.

    table: (B, 2, 3) float64, y, x and weight of each; there: the same on the stock's device.
    """

    table: np.ndarray
    there: Tensor


def side_for(sides: tuple[int, int]) -> int:
    """The side of the stock for pictures of these sides: twice the longer one, or the largest."""
    return LEAST if 2 * max(sides) <= LEAST else MOST


def cuts_of(keys: Sequence[int], stocks: Sequence[Stock]) -> list[Cuts]:
    """One for each of some stocks, of keys of 64 bits, one a picture.

    Every place is as likely as any other, as a stock goes round.
    """
    raw = np.stack([raw_numbers(key, A_CUT * len(stocks)) for key in keys])
    raw = raw.reshape(len(keys), len(stocks), A_CUT)
    table = np.empty((len(stocks), len(keys), 2, 3))
    for i, stock in enumerate(stocks):
        places = raw[:, i, :4] % np.uint64(stock.side)
        angle = raw[:, i, 4] * (2 * np.pi / 2**64)
        table[i, :, :, :2] = places.reshape(-1, 2, 2)
        table[i, :, :, 2] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # One copy, for which a GPU need not be waited for.
    there = torch.from_numpy(table).to(stocks[0].values.device, non_blocking=True)
    return [Cuts(*own) for own in zip(table, there, strict=True)]


def pieces(stock: Stock, sides: tuple[int, int], cuts: Cuts) -> Tensor:
    """A piece for each picture, (B, C, h, w), of a stock of C planes."""
    on_cpu = stock.values.device.type == "cpu"
    return (one_by_one if on_cpu else at_once)(stock, sides, cuts)


def one_by_one(stock: Stock, sides: tuple[int, int], cuts: Cuts) -> Tensor:
    """`pieces`, as a CPU is quick at it."""
    first, second = stock.values
    found = first.new_empty((len(cuts.table), len(first), *sides))
    for piece, own in zip(found, cuts.table.tolist(), strict=True):
        (y, x, weight), (other_y, other_x, other) = own
        for out, part in _parts(piece, first, stock.side, int(y), int(x)):
            torch.mul(part, weight, out=out)
        for out, part in _parts(piece, second, stock.side, int(other_y), int(other_x)):
            out.add_(part, alpha=other)
    return found


def at_once(stock: Stock, sides: tuple[int, int], cuts: Cuts) -> Tensor:
    """`pieces`, in a few calls for the whole batch: a GPU waits for calls, not for sums."""
    rows, columns = (torch.arange(length, device=stock.values.device) for length in sides)
    found = []
    for part, own in zip(stock.values, cuts.there.unbind(1), strict=True):
        y, x = own[:, :2].long().unbind(1)
        y, x = (y[:, None] + rows) % stock.side, (x[:, None] + columns) % stock.side
        found.append(part[:, y[:, :, None], x[:, None, :]] * own[:, 2].float()[:, None, None])
    return (found[0] + found[1]).transpose(0, 1)


def _parts(
    piece: Tensor, values: Tensor, side: int, y: int, x: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Parts of a piece (C, h, w), and those of a stock's values, cut at (y, x), that go there."""
    held = values.shape[-1]
    for rows, own_rows in _round(y, piece.shape[-2], side, held):
        for columns, own_columns in _round(x, piece.shape[-1], side, held):
            yield piece[:, rows, columns], values[:, own_rows, own_columns]


def _round(start: int, length: int, side: int, held: int) -> Iterator[tuple[slice, slice]]:
    """Along one axis: parts of `length` pixels, and where each lies in what goes round after
    `side` pixels, of which `held` are there.
    """
    done = 0
    while done < length:
        first = (start + done) % side
        count = min(held - first, length - done)
        yield slice(done, done + count), slice(first, first + count)
        done += count
