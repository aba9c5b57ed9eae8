"""Losses of the velocity beside the latent one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from degflow_pipe.metrics.perceptual import perceptual_network

PictureLoss = Callable[[Tensor, Tensor], Tensor]


def perceptual_loss(kind: str, device: torch.device) -> PictureLoss | None:
    """LPIPS of pictures (B, 3, H, W) in [-1, 1] (Zhang et al., CVPR 2018), or None for `none`.

    kind: one of `evaluation.perceptual.KINDS`. Raises DataError where its weights or its package
    cannot be had.
    """
    if kind == "none":
        return None
    metric = perceptual_network(kind, device, "`lfm.perceptual`", "say `perceptual: none`")
    return lambda a, b: metric(a, b).mean()
