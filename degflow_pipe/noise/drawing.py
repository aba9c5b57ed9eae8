"""Decoded pictures as bytes, with the noise of their level drawn on them."""

from __future__ import annotations

from functools import cached_property, lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from degflow_pipe.noise.by_opencv import as_byte_plane
from degflow_pipe.noise.by_torch import luma_of
from degflow_pipe.noise.model import NoiseModel
from degflow_pipe.noise.numbers import digest_of_hr, noise_key
from degflow_pipe.pictures import arrays
from degflow_pipe.pictures.arrays import (
    as_picture,
    interleaved,
    is_grey,
    planes,
    side_by_side,
)


class Sources:
    """HR pictures, by which the noise of their LR is drawn; hr: (B, H, W, 3) uint8."""

    def __init__(self, hr: np.ndarray) -> None:
        self._hr = hr
        self._grey = [is_grey(one) for one in hr]

    @cached_property
    def _digests(self) -> list[bytes]:
        return [digest_of_hr(one) for one in self._hr]

    def noisy(
        self,
        lr: Tensor,
        t: float,
        model: NoiseModel | None,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        own_noise: float = 1.0,
    ) -> Tensor:
        """Decoded pictures of one level as bytes, with noise where there is a model of it.

        lr: (B, 3, H, W) float in [0, 1]. size: (h, w) of the camera's own pixels, of which the
        noise is then; that of HR by default. own_noise: see `NoiseModel.drawn`. Returns
        (B, h, w, 3) uint8, on the device of `lr`. The LR of a grey picture is grey too: both were
        made so after the camera.
        """
        # Side by side, so that no colours are put together twice.
        pictures = (interleaved(lr) if lr.device.type == "cpu" else lr).mul(255)
        if size is not None and size != tuple(pictures.shape[-2:]):
            pictures = on_own_pixels(pictures, size)
        if model is not None:
            keys = [noise_key(seed, digest, t) for digest in self._digests]
            pictures += model.drawn(pictures, t, keys, own_noise)
        for i in np.flatnonzero(self._grey):
            pictures[i] = luma_of(rounded(pictures[i : i + 1]))
        return as_bytes(pictures)


def rounded(pictures: Tensor) -> Tensor:
    """Grey levels at whole ones; those beyond 0 and 255 are cut off."""
    return pictures.round().clamp_(0, 255)


def as_bytes(pictures: Tensor) -> Tensor:
    """`rounded` of (B, 3, H, W) float32 as (B, H, W, 3) uint8, on its device."""
    if pictures.device.type != "cpu":
        return rounded(pictures).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    # A tenth of the time of torch's way.
    planes_of = side_by_side(interleaved(pictures))
    return torch.from_numpy(np.stack([as_byte_plane(picture) for picture in planes_of]))


def noisy(lr: Tensor, hr: np.ndarray, t: float, model: NoiseModel | None, seed: int = 0) -> Tensor:
    """`Sources.noisy` of LR of HR's size, one by one, so that a batch changes no byte."""
    pairs = zip(hr, lr, strict=True)
    return torch.cat([Sources(one[None]).noisy(own[None], t, model, seed) for one, own in pairs])


def noise_of(
    picture: np.ndarray, t: float, model: NoiseModel, key: int, own: float = 1.0
) -> np.ndarray:
    """The noise alone of a picture, (H, W, 3) in grey levels: see `NoiseModel.drawn`."""
    return as_picture(model.drawn(planes(picture), t, [key], own))


def added(
    picture: np.ndarray, t: float, model: NoiseModel, key: int, own: float = 1.0
) -> np.ndarray:
    """A picture, (H, W, 3) in grey levels, as uint8 with the noise of level t.

    key: see `numbers.noise_key`; own: see `NoiseModel.drawn`.
    """
    return arrays.rounded(picture + noise_of(picture, t, model, key, own))


def on_own_pixels(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """`pictures.sizes.on_own_pixels` of (B, 3, H, W) float32, on any device."""
    rows, columns = (
        _reading(length, wanted, pictures.device)
        for length, wanted in zip(pictures.shape[-2:], size, strict=True)
    )
    return rows @ pictures @ columns.T


@lru_cache(maxsize=64)
def _reading(length: int, wanted: int, device: torch.device) -> Tensor:
    """What reads so many pixels off a line of pixels, (wanted, length) float32."""
    each = np.eye(length, dtype=np.float32)
    read = cv2.resize(each, (length, wanted), interpolation=cv2.INTER_LANCZOS4)
    return torch.from_numpy(read).to(device)
