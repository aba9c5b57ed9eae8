"""A knot's noise as it is drawn on pictures: pieces of its stocks, weighed by what is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from degflow_pipe.noise import fields, kernels, stock
from degflow_pipe.noise.nodes import BRIGHTNESS, LENGTHS
from degflow_pipe.noise.stock import Stock

if TYPE_CHECKING:
    from degflow_pipe.noise.model import KnotNoise

GREY_LEVELS = np.arange(256)
KERNELS_SIDE = 1024
"""Pixels: the longest weights change over 64, and of fewer than so many any two would be alike."""


class Stocks(NamedTuple):
    """What is prepared of a knot, float32 on one device; see `stock`.

    flat, edge: of (3, S, S), the two fields in grey levels, at a gain and a contrast of 1. kernels:
    of (5, 3, n, n), weights, see `kernels.stock_of`, of KERNELS_SIDE pixels. deviation: (256,),
    root of the gain at whole grey levels.
    """

    flat: Stock
    edge: Stock
    kernels: Stock
    deviation: Tensor


def stocks_of(knot: KnotNoise, side: int, device: torch.device) -> Stocks:
    """side: S, pixels; see `stock.side_for`."""
    whole = stock.LEAST // 2  # of what most pictures are no longer than
    flat, edge = (
        fields.stock_of(f"{name} {knot.t}", np.asarray(power), np.asarray(axes), side)
        for name, power, axes in (
            ("flat", knot.flat, knot.flat_axes),
            ("edge", knot.edge, knot.edge_axes),
        )
    )
    variances = np.reshape(knot.kernels, (-1, len(LENGTHS), 3, 3))
    weights = kernels.stock_of(f"kernels {knot.t}", variances, KERNELS_SIDE)
    deviation = np.sqrt(np.interp(GREY_LEVELS, BRIGHTNESS, knot.gain)).astype(np.float32)
    return Stocks(
        stock.gone_round(flat, whole, device),
        stock.gone_round(edge, whole, device),
        stock.gone_round(weights, kernels.sides_of((whole, whole))[0], device),
        torch.from_numpy(deviation).to(device),
    )


class KnotDraw:
    """The share that one knot has of the noise of a batch.

    stocks: the knot's. keys: of 64 bits, one for each picture. powers: what the weights of each of
    the five derivatives are multiplied with. share: of the knot's power. brightness, contrast: of
    the pictures, see `fields.local`.
    """

    def __init__(
        self,
        stocks: Stocks,
        keys: Sequence[int],
        powers: Sequence[float],
        share: float,
        brightness: Tensor,
        contrast: Tensor,
    ) -> None:
        self._stocks, self._powers = stocks, powers
        self._sides = (brightness.shape[-2], brightness.shape[-1])
        self._cuts = stock.cuts_of(keys, (stocks.flat, stocks.edge, stocks.kernels))
        self._flat = fields.at_brightness(stocks.deviation, brightness).mul_(math.sqrt(share))
        self._edge = (contrast * share).sqrt_()

    def add_to(self, noise: Tensor, pictures: Tensor, colours: slice) -> None:
        """Add it to some of the channels of the noise, (B, C, H, W) float32, of those of pictures.

        colours: which of R, G and B these C are.
        """
        flat, edge, of_kernels = self._cuts
        for part, cuts, deviation in (
            (self._stocks.flat, flat, self._flat),
            (self._stocks.edge, edge, self._edge),
        ):
            own = part._replace(values=part.values[:, colours])
            noise.addcmul_(stock.pieces(own, self._sides, cuts), deviation)
        weighing = self._stocks.kernels
        weighing = weighing._replace(values=weighing.values[:, :, colours])
        weights = kernels.weights_of(weighing, self._sides, of_kernels)
        kernels.add_to(noise, weights, self._powers, pictures)
