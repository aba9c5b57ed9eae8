"""Gaussian fields of a given spectrum, and what their power depends on: brightness and contrast."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from degflow_pipe.model.planes import in_planes
from degflow_pipe.noise.nodes import NODES
from degflow_pipe.noise.numbers import unit_spectrum
from degflow_pipe.pictures.arrays import planes

CONTRAST_SIGMA = 2.0
"""Pixels; width of the Gaussian window of a local standard deviation."""
_LUMA = (0.299, 0.587, 0.114)
"""Of R, G and B (ITU-R BT.601)."""


def hats(values: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """How much each of K nodes counts at N values, (N, K), where straight lines join the nodes."""
    return np.stack([np.interp(values, nodes, node) for node in np.eye(len(nodes))], axis=-1)


def stock_of(name: str, power: np.ndarray, axes: np.ndarray, side: int) -> np.ndarray:
    """Two realisations of a coloured field, (2, 3, side, side) float32, periodic.

    name: another name, another field. power: (3, K²), in squared units of the field, at the K NODES
    of vertical frequency and, for each of these, the K of horizontal frequency, along each of the
    `axes`, rows of (3, 3), unit colours.
    """
    vertical, horizontal = (
        hats(np.abs(frequency), NODES)
        for frequency in (np.fft.fftfreq(side), np.fft.rfftfreq(side))
    )
    surfaces = np.sqrt(vertical @ power.reshape(-1, len(NODES), len(NODES)) @ horizontal.T)
    found = np.zeros((2, 3, side, side), np.float32)
    for realisation, own in enumerate(found):
        for part, (surface, colours) in enumerate(zip(surfaces, axes, strict=True)):
            white = unit_spectrum(f"{name} {realisation} {part}", (side, side))
            plain = np.fft.irfft2(white * surface, (side, side)).astype(np.float32)
            for plane, share in zip(own, colours, strict=True):
                plane += np.float32(share) * plain
    return found


def local(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Brightness and contrast at each pixel: local mean and standard deviation of luma.

    pictures: (B, 3, H, W) float32 RGB in grey levels. Returns two of (B, 1, H, W) float32.
    """
    luma = luma_of(pictures)
    mean = blurred(luma, CONTRAST_SIGMA)
    # Of what is left of the mean, as the square of the grey levels would cost float32 its digits.
    rest = blurred((luma - mean).square_(), CONTRAST_SIGMA)
    return mean.clamp(0, 255), rest.clamp_(min=0).sqrt_()


def local_of(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`local` of one picture, (H, W, 3) in grey levels: two of (H, W) float32."""
    brightness, contrast = local(planes(picture))
    return brightness[0, 0].numpy(), contrast[0, 0].numpy()


def at_brightness(table: Tensor, brightness: Tensor) -> Tensor:
    """A table's value, (256,), at the whole grey level that is next to each brightness."""
    if brightness.device.type == "cpu":
        found = torch.empty_like(brightness)
        for plane, out in in_planes(brightness, found):
            cv2.LUT(as_byte_plane(plane), table.numpy(), dst=out)
        return found
    return table[brightness.round().long()]


def as_byte_plane(plane: np.ndarray) -> np.ndarray:
    """(H, W) float32 to the nearest uint8, halves to the even one, cut off at 0 and 255."""
    return cv2.addWeighted(plane, 1.0, plane, 0.0, 0.0, dtype=cv2.CV_8U)


def luma_of(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) RGB to (B, 1, H, W)."""
    red, green, blue = pictures.split(1, dim=1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def blurred(x: Tensor, sigma: float) -> Tensor:
    """(..., H, W) under a Gaussian window of four sigma, borders mirrored.

    Off the CPU by products of matrices, which keep a GPU busy with two calls.
    """
    if x.device.type == "cpu":
        size, border = (2 * round(4 * sigma) + 1,) * 2, cv2.BORDER_REFLECT_101
        found = torch.empty_like(x)
        for plane, out in in_planes(x, found):
            cv2.GaussianBlur(plane, size, sigma, dst=out, borderType=border)
        return found
    rows, columns = (_window(side, sigma, x.device) for side in x.shape[-2:])
    return rows @ x @ columns.T


@lru_cache(maxsize=64)
def _window(side: int, sigma: float, device: torch.device) -> Tensor:
    """What blurs a line of pixels, (side, side) float32."""
    each = np.eye(side, dtype=np.float32)
    length = 2 * round(4 * sigma) + 1
    blurred = cv2.GaussianBlur(each, (1, length), sigma, borderType=cv2.BORDER_REFLECT_101)
    return torch.from_numpy(blurred).to(device)


def mirrored(x: Tensor, radius: int) -> Tensor:
    """(B, C, H, W) with borders that are mirrored about the outermost pixels; repeated where a
    side is no longer than they are.
    """
    fits = min(x.shape[-2:]) > radius
    return F.pad(x, (radius,) * 4, mode="reflect" if fits else "replicate")
