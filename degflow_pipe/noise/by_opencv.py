"""Noise as a CPU draws it: picture by picture, by OpenCV.

Pictures are (H, W, 3) float32 RGB in grey levels. `by_torch` draws the same, but for rounding. What
is as large as a picture is written over again and again, as new memory costs more than the sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from degflow_pipe.noise import stock
from degflow_pipe.noise.kernels import FINEST, SMOOTHING, STEPS, sides_of
from degflow_pipe.noise.nodes import CONTRAST_REACH, CONTRAST_SIGMA, DERIVATIVES
from degflow_pipe.pictures.arrays import interleaved, side_by_side

if TYPE_CHECKING:
    from degflow_pipe.noise.knot import Made, Share

BORDER = cv2.BORDER_REFLECT_101


class Stocks(NamedTuple):
    """A knot's, with `stock.MORE` beyond their sides, so that most pieces are a view.

    flat, edge: (2, S + M, S + M, 3) float32. kernels: (2, 5, n + m, n + m, 3). deviation: (256,).
    sides: S, S and n.
    """

    flat: np.ndarray
    edge: np.ndarray
    kernels: np.ndarray
    deviation: np.ndarray
    sides: tuple[int, int, int]


def stocks_of(made: Made) -> Stocks:
    more = stock.MORE
    flat, edge, weights = (
        np.ascontiguousarray(np.moveaxis(stock.gone_round(values, beyond), -3, -1))
        for values, beyond in (
            (made.flat, more),
            (made.edge, more),
            (made.kernels, sides_of((more, more))[0]),
        )
    )
    return Stocks(flat, edge, weights, made.deviation, made.sides)


def noise_of(pictures: Tensor, shares: Sequence[Share]) -> Tensor:
    """What some knots draw together: see `NoiseModel.drawn`. Colours lie side by side in memory."""
    noise = torch.zeros_like(pictures, memory_format=torch.channels_last)
    sizes, seen = (pictures.shape[-2], pictures.shape[-1]), side_by_side(interleaved(pictures))
    for i, (picture, out) in enumerate(zip(seen, side_by_side(noise), strict=True)):
        brightness, contrast = local(picture)
        whole, root = as_byte_plane(brightness), cv2.sqrt(contrast)
        drawn = []
        for share in shares:
            of, cuts, factor = share.stocks, share.cuts[:, i], math.sqrt(share.share)
            deviation = cv2.LUT(whole, of.deviation)
            fields = ((of.flat, deviation), (of.edge, root))
            for (values, plane), side, cut in zip(fields, of.sides[:2], cuts[:2], strict=True):
                field = piece(values, side, sizes, cut, factor)
                cv2.accumulateProduct(field, cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB), out)
            drawn.append(weights_of(of.kernels, of.sides[-1], sizes, cuts[-1], share.factors))
        if drawn:  # at t = 0 no knot has a share
            # Weights of all knots together, as the derivatives that they weigh are the same.
            add_kernels(out, [np.sum(parts, 0) for parts in zip(*drawn, strict=True)], picture)
    return noise


def local(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and contrast at each pixel, two of (H, W) float32: local mean and standard
    deviation of luma under a Gaussian window, borders mirrored.
    """
    luma = cv2.cvtColor(picture.astype(np.float32, copy=False), cv2.COLOR_RGB2GRAY)
    size = (2 * CONTRAST_REACH + 1,) * 2
    mean = cv2.GaussianBlur(luma, size, CONTRAST_SIGMA, borderType=BORDER)
    # Of what is left of the mean, as the square of the grey levels would cost float32 its digits.
    rest = cv2.subtract(luma, mean, dst=luma)
    rest = cv2.multiply(rest, rest, dst=rest)
    rest = cv2.GaussianBlur(rest, size, CONTRAST_SIGMA, borderType=BORDER)
    return mean, cv2.sqrt(rest, dst=rest)


def as_byte_plane(plane: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) float32 to the nearest uint8, halves to the even one, cut off at 0 and
    255."""
    return cv2.addWeighted(plane, 1.0, plane, 0.0, 0.0, dtype=cv2.CV_8U)


def derivatives(picture: np.ndarray) -> Iterator[np.ndarray]:
    """DERIVATIVES, (H, W, 3) float32, one after the other in the same memory; a grey level a pixel,
    squared for the second."""
    smooth = cv2.sepFilter2D(picture, cv2.CV_32F, SMOOTHING, SMOOTHING, borderType=BORDER)
    way = np.empty_like(smooth)
    for across, down in STEPS:
        yield cv2.sepFilter2D(smooth, cv2.CV_32F, across, down, dst=way, borderType=BORDER)


def piece(
    values: np.ndarray, side: int, sizes: tuple[int, int], cut: np.ndarray, factor: float = 1.0
) -> np.ndarray:
    """A piece of a stock, (h, w, C) float32 of `sizes`, times a factor.

    values: (2, S + M, S + M, C), which go round after S; cut: (2, 3), see `stock.cuts_of`.
    """
    first, second = (
        _at(part, side, sizes, *own[:2]) for part, own in zip(values, cut, strict=True)
    )
    return cv2.addWeighted(first, cut[0, 2] * factor, second, cut[1, 2] * factor, 0.0)


def _at(part: np.ndarray, side: int, sizes: tuple[int, int], y: float, x: float) -> np.ndarray:
    """(h, w, C) of (S + M, S + M, C), from (y, x) on."""
    starts = (int(y), int(x))
    rows, columns = (slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    if max(rows.stop, columns.stop) <= len(part):
        return part[rows, columns]
    over = [(start + np.arange(size)) % side for start, size in zip(starts, sizes, strict=True)]
    return part.take(over[0], axis=0).take(over[1], axis=1)


def weights_of(
    values: np.ndarray,
    side: int,
    sizes: tuple[int, int],
    cut: np.ndarray,
    factors: Sequence[float] = (1.0,) * len(DERIVATIVES),
) -> list[np.ndarray]:
    """Of each derivative in a picture of `sizes`, (h, w, 3) of `kernels.sides_of` it.

    values: (2, 5, n + m, n + m, 3), which go round after n; factors: what they are multiplied with.
    """
    nodes = sides_of(sizes)
    return [piece(values[:, i], side, nodes, cut, factor) for i, factor in enumerate(factors)]


def add_kernels(noise: np.ndarray, weights: Sequence[np.ndarray], picture: np.ndarray) -> None:
    """Add the difference that a random kernel at each place makes to a picture, (H, W, 3).

    weights: see `weights_of`.
    """
    height, width = picture.shape[:2]
    inside = (slice(FINEST, FINEST + height), slice(FINEST, FINEST + width))
    enlarged = np.empty((*(FINEST * side for side in weights[0].shape[:2]), 3), np.float32)
    for way, own in zip(derivatives(picture), weights, strict=True):
        cv2.resize(own, enlarged.shape[1::-1], dst=enlarged)
        cv2.accumulateProduct(way, enlarged[inside], noise)
