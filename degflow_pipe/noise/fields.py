"""Gaussian fields of a given spectrum, and what their power depends on: brightness and contrast."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from degflow_pipe.noise.nodes import NODES
from degflow_pipe.noise.numbers import Numbers
from degflow_pipe.pictures.arrays import planes

CONTRAST_SIGMA = 2.0
"""Pixels; width of the Gaussian window of a local standard deviation."""
_LUMA = (0.299, 0.587, 0.114)
"""Of R, G and B (ITU-R BT.601)."""


def hats(values: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """How much each of K nodes counts at N values, (N, K), where straight lines join the nodes."""
    return np.stack([np.interp(values, nodes, node) for node in np.eye(len(nodes))], axis=-1)


def amplitudes(power: np.ndarray, sides: tuple[int, int]) -> Tensor:
    """What `field` multiplies its numbers by, (N, H, W // 2 + 1) float32.

    power: (N, K²), in squared units of the field, at the K NODES of vertical frequency and, for
    each of these, the K of horizontal frequency.
    """
    height, width = sides
    vertical, horizontal = (
        hats(np.abs(frequency), NODES)
        for frequency in (np.fft.fftfreq(height), np.fft.rfftfreq(width))
    )
    surfaces = power.reshape(len(power), len(NODES), len(NODES))
    # Half of a coefficient's power is real and half imaginary. Of the columns that are their own
    # mirror images, the imaginary half of what comes of them is dropped.
    share = np.full(width // 2 + 1, 0.5)
    share[0] = 1
    if width % 2 == 0:
        share[-1] = 1
    squared = (vertical @ surfaces @ horizontal.T) * share * (height * width)
    return torch.from_numpy(np.sqrt(squared)).float()


def count(sides: tuple[int, int]) -> int:
    """Numbers that each field of these sides is made of."""
    return 2 * sides[0] * (sides[1] // 2 + 1)


def field(amplitude: Tensor, width: int, numbers: Numbers) -> Tensor:
    """Fields with the powers that `amplitudes` was given, (B, N, H, W) float32.

    They are periodic, which no picture shows.
    """
    drawn = numbers.draw(*amplitude.shape, 2).mul_(amplitude[..., None])
    half = torch.fft.ifft(torch.view_as_complex(drawn), dim=-2)
    mirrored = [0, width // 2] if width % 2 == 0 else [0]
    torch.view_as_real(half)[..., mirrored, 1] = 0
    return torch.fft.irfft(half, n=width, dim=-1)


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


def luma_of(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) RGB to (B, 1, H, W)."""
    red, green, blue = pictures.split(1, dim=1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def blurred(x: Tensor, sigma: float) -> Tensor:
    """(..., H, W) under a Gaussian window of four sigma, borders mirrored.

    By products of matrices: of the ways to blur they are the one that is fast on a GPU, which they
    keep busy with two calls, and no slower than another on a CPU.
    """
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
