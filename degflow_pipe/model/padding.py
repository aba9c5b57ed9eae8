"""Padding pictures of any size to the multiple that the networks need, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def _mirror(size: int, padded: int) -> Tensor:
    """Indices 0..size-1 continued by reflection about the last pixel, as often as needed."""
    period = max(2 * (size - 1), 1)
    index = torch.arange(padded) % period
    return torch.where(index < size, index, period - index)


def pad(x_bchw: Tensor, multiple: int) -> Tensor:
    """Reflect at the bottom and the right until both sides are multiples of `multiple`.

    Works for any side from 1 pixel: a short picture is reflected more than once.
    """
    for dim in (2, 3):
        size = x_bchw.shape[dim]
        padded = -(-size // multiple) * multiple
        if padded != size:
            x_bchw = x_bchw.index_select(dim, _mirror(size, padded).to(x_bchw.device))
    return x_bchw


def crop(x_bchw: Tensor, size: tuple[int, ...]) -> Tensor:
    """Undo `pad`: the top left (H, W) of (..., H', W')."""
    return x_bchw[..., : size[0], : size[1]]
