"""How a pair's pictures are packed: file format, and the LR's size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from degflow_pipe.errors import UsageError
from degflow_pipe.pictures.arrays import shrunk
from degflow_pipe.pictures.sizes import sizes_at


@dataclass(frozen=True)
class Packing:
    """Sizes in which one level's pair is packed, in pixels. made: whether the LR was made in its
    size, else it is as large as HR and is shrunk.
    """

    hr: int
    lr: int
    made: bool = False

    @property
    def effective_scale(self) -> float:
        """HR side over LR side, to six decimals."""
        return round(self.hr / self.lr, 6)

    def apply(self, hr: np.ndarray, lr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Crop both to the HR side (top left), then shrink the LR with antialiasing."""
        hr = hr[: self.hr, : self.hr]
        if self.made:
            return hr, lr
        lr = lr[: self.hr, : self.hr]
        return hr, lr if self.lr == self.hr else shrunk(lr, (self.lr, self.lr))

    def squared_error(self, hr: np.ndarray, lr: np.ndarray) -> float:
        """The mean squared difference of an LR, before it is packed, and its HR, shrunk to its size
        where it was made smaller.
        """
        if self.made:
            hr = shrunk(hr[: self.hr, : self.hr], (self.lr, self.lr))
        # A whole number, but that OpenCV gives the square of its root.
        return round(cv2.norm(hr, lr, cv2.NORM_L2SQR)) / hr.size


def own_size(patch: int, sr_scale: float) -> Packing:
    """The sizes of a pair whose LR was made at `sr_scale`."""
    sizes = sizes_at(patch, sr_scale, 1.0, sr_scale)
    return Packing(sizes.hr, sizes.lr, made=True)


def pack(patch: int, scale: float, lr_size: str, uneven: str) -> Packing:
    """The sizes of a pair of patches (patch x patch) at SR scale `scale`.

    lr_size: `same` keeps the LR as large as HR; `native` shrinks it to HR / scale. Where that is
    not whole, uneven=`refuse` raises UsageError and uneven=`crop` crops HR by up to an eighth, to
    the sizes whose ratio is nearest to the scale.
    """
    if lr_size == "same":
        return Packing(patch, patch)
    whole = patch / scale
    if abs(whole - round(whole)) < 1e-6 * patch:
        return Packing(patch, round(whole))
    if uneven == "refuse":
        raise UsageError(
            f"`lr_size` native: a patch of {patch} at scale {scale:g} would be {whole:.2f} pixels: "
            f"choose scales that divide {patch}, or crop HR with `uneven` crop"
        )
    sizes = [
        Packing(hr, lr)
        for hr in range(patch, patch * 7 // 8 - 1, -1)
        for lr in {max(int(hr / scale), 1), int(hr / scale) + 1}
        if lr <= hr
    ]
    return min(sizes, key=lambda size: (abs(size.hr / size.lr - scale), -size.hr, size.lr))
