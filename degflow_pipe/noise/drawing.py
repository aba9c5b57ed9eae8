"""Decoded pictures as bytes, with the noise of their level drawn on them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from degflow_pipe.noise.model import NoiseModel, noise_rng
from degflow_pipe.pictures.arrays import greyed, is_grey, to_picture


def noisy(
    lr: Tensor, hr: np.ndarray, t: float, model: NoiseModel | None, seed: int = 0
) -> np.ndarray:
    """Decoded pictures of one level as bytes, with noise where there is a model of it.

    lr: (B, 3, H, W) float in [0, 1]; hr: (B, H, W, 3) uint8, which seeds the noise beside t and
    seed. Returns (B, H, W, 3) uint8. The LR of a grey picture is grey too: both were made so after
    the camera.
    """
    if model is None:
        made = to_picture(lr)
    else:
        pictures = lr.mul(255).movedim(-3, -1).cpu().numpy()
        made = np.stack(
            [
                model.add(expected, t, noise_rng(seed, own, t))
                for expected, own in zip(pictures, hr, strict=True)
            ]
        )
    for i, own in enumerate(hr):
        if is_grey(own):
            made[i] = greyed(made[i])
    return made
