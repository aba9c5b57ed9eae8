"""Decoded pictures as bytes, with the noise of their level drawn on them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from degflow_pipe.noise.model import NoiseModel, noise_rng
from degflow_pipe.pictures.arrays import greyed, is_grey, rounded
from degflow_pipe.pictures.sizes import on_own_pixels


def noisy(
    lr: Tensor,
    hr: np.ndarray,
    t: float,
    model: NoiseModel | None,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    own_noise: float = 1.0,
) -> np.ndarray:
    """Decoded pictures of one level as bytes, with noise where there is a model of it.

    lr: (B, 3, H, W) float in [0, 1]; hr: (B, H, W, 3) uint8, which seeds the noise beside t and
    seed. size: (h, w) of the camera's own pixels, of which the noise is then; that of HR by
    default. own_noise: see `NoiseModel.add`. Returns (B, h, w, 3) uint8. The LR of a grey picture
    is grey too: both were made so after the camera.
    """
    made = []
    for expected, own in zip(lr.mul(255).movedim(-3, -1).cpu().numpy(), hr, strict=True):
        picture = expected if size is None else on_own_pixels(expected, size)
        if model is None:
            picture = rounded(picture)
        else:
            picture = model.add(picture, t, noise_rng(seed, own, t), own_noise)
        made.append(greyed(picture) if is_grey(own) else picture)
    return np.stack(made)
