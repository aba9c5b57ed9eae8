"""Pictures plane by plane: what OpenCV does on a CPU in a fraction of torch's time."""

from __future__ import annotations

import cv2
import torch.nn.functional as F
from torch import Tensor


def enlarged(x: Tensor, factor: int) -> Tensor:
    """(B, C, H, W) float32 to `factor` times its sides, by straight lines between pixels' middles.

    OpenCV's on a CPU, where nothing is learned; torch's elsewhere, the same but for rounding.
    """
    if x.device.type != "cpu" or x.requires_grad:
        return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    height, width = (factor * side for side in x.shape[-2:])
    found = x.new_empty(*x.shape[:2], height, width)
    planes, enlarged_ones = (part.flatten(0, -3).numpy() for part in (x.contiguous(), found))
    for plane, out in zip(planes, enlarged_ones, strict=True):
        cv2.resize(plane, (width, height), dst=out)
    return found
