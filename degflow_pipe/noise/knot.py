"""A knot's noise, prepared to be drawn on a device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from degflow_pipe.noise import by_opencv, by_torch, fields, kernels
from degflow_pipe.noise.nodes import BRIGHTNESS, LENGTHS

if TYPE_CHECKING:
    from degflow_pipe.noise.model import KnotNoise

GREY_LEVELS = np.arange(256)
KERNELS_SIDE = 1024
"""Pixels: the longest weights change over 64, and of fewer than so many any two would be alike."""


class Made(NamedTuple):
    """What is drawn once of a knot, float32; see `stock`.

    flat, edge: (2, 3, S, S), fields in grey levels, at a gain and a contrast of 1. kernels:
    (2, 5, 3, n, n), weights, see `kernels.stock_of`, of KERNELS_SIDE pixels. deviation: (256,),
    root of the gain at whole grey levels.
    """

    flat: np.ndarray
    edge: np.ndarray
    kernels: np.ndarray
    deviation: np.ndarray

    @property
    def sides(self) -> tuple[int, int, int]:
        """S, S and n."""
        return self.flat.shape[-1], self.edge.shape[-1], self.kernels.shape[-1]


class Share(NamedTuple):
    """What a knot has in the noise of a batch.

    stocks: of the module that draws. cuts: (3, B, 2, 3) float64, where flat, edge and kernels are
    cut; see `stock.cuts_of`. factors: what the weights of each of the five derivatives are
    multiplied with. share: of its power.
    """

    stocks: Any
    cuts: np.ndarray
    factors: Sequence[float]
    share: float


def made_of(knot: KnotNoise, side: int) -> Made:
    """side: S, pixels; see `stock.side_for`.

    Other numbers are other fields, so that cameras have nothing in common in the same photos.
    """
    own = hashlib.sha256(json.dumps(asdict(knot)).encode()).hexdigest()
    flat, edge = (
        fields.stock_of(f"{name} {own}", np.asarray(power), np.asarray(axes), side)
        for name, power, axes in (
            ("flat", knot.flat, knot.flat_axes),
            ("edge", knot.edge, knot.edge_axes),
        )
    )
    variances = np.reshape(knot.kernels, (-1, len(LENGTHS), 3, 3))
    weights = kernels.stock_of(f"kernels {own}", variances, KERNELS_SIDE)
    deviation = np.sqrt(np.interp(GREY_LEVELS, BRIGHTNESS, knot.gain)).astype(np.float32)
    return Made(flat, edge, weights, deviation)


def stocks_of(
    knot: KnotNoise, side: int, device: torch.device
) -> by_opencv.Stocks | by_torch.Stocks:
    """Those of the module that draws on this device."""
    made = made_of(knot, side)
    return by_opencv.stocks_of(made) if device.type == "cpu" else by_torch.stocks_of(made, device)
