"""Noise as a GPU draws it: batch by batch, in few calls, without waiting for one.

Pictures are (B, 3, H, W) float32 RGB in grey levels. `by_opencv` draws the same, but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from degflow_pipe.noise.kernels import FINEST, SMOOTHING, sides_of
from degflow_pipe.noise.nodes import CONTRAST_REACH, CONTRAST_SIGMA

if TYPE_CHECKING:
    from degflow_pipe.noise.knot import Made, Share

LUMA = (0.299, 0.587, 0.114)
"""Of R, G and B (ITU-R BT.601)."""


class Stocks(NamedTuple):
    """A knot's, on its device.

    flat, edge: (2, 3, S, S) float32. kernels: (2, 15, n, n). deviation: (256,). sides: S, S and
    n.
    """

    flat: Tensor
    edge: Tensor
    kernels: Tensor
    deviation: Tensor
    sides: tuple[int, int, int]


def stocks_of(made: Made, device: torch.device) -> Stocks:
    flat, edge, weights, deviation = (
        torch.from_numpy(values).to(device)
        for values in (made.flat, made.edge, made.kernels, made.deviation)
    )
    return Stocks(flat, edge, weights.flatten(1, 2), deviation, made.sides)


def noise_of(pictures: Tensor, shares: Sequence[Share]) -> Tensor:
    """What some knots draw together: see `NoiseModel.drawn`."""
    sizes = (pictures.shape[-2], pictures.shape[-1])
    brightness, contrast = local(pictures)
    ways = derivatives(pictures)
    noise = torch.zeros_like(pictures)
    for share in shares:
        of = share.stocks
        # One copy, for which a GPU need not be waited for.
        flat, edge, weights = torch.from_numpy(share.cuts).to(pictures.device, non_blocking=True)
        root = math.sqrt(share.share)
        deviation = of.deviation[brightness.round().long()]
        noise.addcmul_(pieces(of.flat, sizes, flat), deviation, value=root)
        noise.addcmul_(pieces(of.edge, sizes, edge), contrast.sqrt(), value=root)
        nodes = pieces(of.kernels, sides_of(sizes), weights).unflatten(1, (len(ways), 3))
        for way, own, factor in zip(ways, nodes.unbind(1), share.factors, strict=True):
            noise.addcmul_(way, _enlarged(own, sizes), value=factor)
    return noise


def local(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """`by_opencv.local`, two of (B, 1, H, W) float32; brightness is kept in [0, 255]."""
    luma = luma_of(pictures)
    mean = _blurred(luma)
    rest = _blurred((luma - mean).square_())
    return mean.clamp_(0, 255), rest.clamp_(min=0).sqrt_()


def luma_of(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) RGB to (B, 1, H, W)."""
    red, green, blue = pictures.split(1, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def derivatives(pictures: Tensor) -> list[Tensor]:
    """DERIVATIVES, (B, C, H, W) float32, a grey level a pixel, squared for the second."""
    x = _mirrored(pictures)
    for dim in (-1, -2):
        before, here, after = _thirds(x, dim)
        x = (before + after).mul_(float(SMOOTHING[0])).add_(here, alpha=float(SMOOTHING[1]))
    x = _mirrored(x)
    (left, here, right), (above, middle, below) = _thirds(x, -1), _thirds(x, -2)
    slope = (right - left).mul_(0.5)
    inner, within = slice(1, -1), (..., slice(1, -1))
    dxx = (left + right).sub_(here, alpha=2)[..., inner, :]
    dyy = (above + below).sub_(middle, alpha=2)[within]
    up, _, down = _thirds(slope, -2)
    dy = (below - above).mul_(0.5)[within]
    return [slope[..., inner, :], dy, dxx, dyy, (down - up).mul_(0.5)]


def pieces(values: Tensor, sizes: tuple[int, int], cuts: Tensor) -> Tensor:
    """A piece for each picture, (B, C, h, w) of `sizes`, of a stock (2, C, S, S).

    cuts: (B, 2, 3), see `stock.cuts_of`, on the stock's device.
    """
    rows, columns = (torch.arange(size, device=values.device) for size in sizes)
    side, found = values.shape[-1], []
    for part, own in zip(values, cuts.unbind(1), strict=True):
        y, x = own[:, :2].long().unbind(1)
        y, x = (y[:, None] + rows) % side, (x[:, None] + columns) % side
        found.append(part[:, y[:, :, None], x[:, None, :]] * own[:, 2].float()[:, None, None])
    return (found[0] + found[1]).transpose(0, 1)


def _enlarged(nodes: Tensor, sizes: tuple[int, int]) -> Tensor:
    """Weights at the finest nodes, (B, 3, h, w), at the pixels of pictures of `sizes`."""
    found = F.interpolate(nodes, scale_factor=FINEST, mode="bilinear", align_corners=False)
    height, width = sizes
    return found[..., FINEST : FINEST + height, FINEST : FINEST + width]


def _thirds(x: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """What lies before each inner place along an axis, there, and after it."""
    length = x.shape[dim] - 2
    before, here, after = (x.narrow(dim, i, length) for i in range(3))
    return before, here, after


def _mirrored(x: Tensor) -> Tensor:
    """(B, C, H, W) with a pixel more on each side, mirrored about the outermost ones; repeated
    along a side of one pixel.
    """
    for pad, side in (((1, 1, 0, 0), x.shape[-1]), ((0, 0, 1, 1), x.shape[-2])):
        x = F.pad(x, pad, mode="reflect" if side > 1 else "replicate")
    return x


def _blurred(x: Tensor) -> Tensor:
    """(..., H, W) under the window of `local`: two calls keep a GPU busy."""
    rows, columns = (_window(side, x.device) for side in x.shape[-2:])
    return rows @ x @ columns.T


@lru_cache(maxsize=64)
def _window(side: int, device: torch.device) -> Tensor:
    """What blurs a line of pixels, (side, side) float32."""
    each, length = np.eye(side, dtype=np.float32), 2 * CONTRAST_REACH + 1
    border = cv2.BORDER_REFLECT_101
    blurred = cv2.GaussianBlur(each, (1, length), CONTRAST_SIGMA, borderType=border)
    return torch.from_numpy(blurred).to(device)
