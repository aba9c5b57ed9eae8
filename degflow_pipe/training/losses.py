"""Losses of the velocity beside the latent one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from degflow_pipe.errors import DataError

PictureLoss = Callable[[Tensor, Tensor], Tensor]


def perceptual_loss(kind: str, device: torch.device) -> PictureLoss | None:
    """LPIPS of pictures (B, 3, H, W) in [-1, 1] (Zhang et al., CVPR 2018), or None for `none`.

    kind: `lpips-vgg`, `lpips-alex`, `lpips-squeeze` or `none`. Raises DataError where the weights
    of its backbone are neither in torch's cache nor can be downloaded.
    """
    if kind == "none":
        return None
    import lpips

    net = kind.removeprefix("lpips-")
    try:
        metric = lpips.LPIPS(net=net, verbose=False).to(device)
    except OSError as error:  # no network: urllib's errors are OSErrors
        raise DataError(
            f"lfm.perceptual: {kind} needs torchvision's {net} weights, which are looked for in "
            f"{torch.hub.get_dir()}/checkpoints and cannot be downloaded ({error}): put the file "
            f"there, or say `perceptual: none` in the recipe"
        ) from error
    metric.requires_grad_(False)
    return lambda a, b: metric(a, b).mean()
