"""The sizes that an LR of HR / S goes through: HR, the picture that the camera sees, its pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from degflow_pipe.errors import UsageError
from degflow_pipe.levels import lr_side
from degflow_pipe.pictures.arrays import shrunk

MAX_SR_SCALE = 16.0
LEAST = 16
"""Pixels of an LR's side, at least."""


class Sizes(NamedTuple):
    """Sides in pixels. hr: of what is used of HR; seen: of HR as it is shown to the camera; lr."""

    hr: int
    seen: int
    lr: int

    @property
    def effective_scale(self) -> float:
        """HR side over LR side, to six decimals."""
        return round(self.hr / self.lr, 6)

    @property
    def camera_scale(self) -> float:
        """The scale of the camera's level: pixels of what it sees to a pixel of its own."""
        return self.seen / self.lr


def sizes_at(side: int, sr_scale: float, camera_scale: float, most: float) -> Sizes:
    """From a side of HR to one of LR at `sr_scale`, with the camera at the level whose scale is the
    nearest to `camera_scale` that gives whole pixels, and no more than `most`.

    HR is cropped where that makes its side a whole multiple of the LR's, as whole scales want.
    Raises UsageError for a scale of the camera above the pair's, or an LR of less than LEAST.
    """
    check_camera_scale(sr_scale, camera_scale)
    lr = lr_side(side, sr_scale)
    hr = round(lr * sr_scale) if sr_scale == int(sr_scale) else side
    if lr < LEAST:
        raise UsageError(
            f"`sr_scale`: {side} pixels at x{sr_scale:g} would be an LR of {lr}, and {LEAST} are "
            f"the least: use larger patches"
        )
    seen = min(max(round(lr * camera_scale), lr), hr, math.floor(lr * most + 1e-6))
    return Sizes(hr, seen, lr)


def sizes_of(
    shape: tuple[int, int], sr_scale: float, camera_scale: float, most: float
) -> tuple[Sizes, Sizes]:
    """The same of a picture (height, width); its rows settle the camera's level."""
    rows = sizes_at(shape[0], sr_scale, camera_scale, most)
    # Where HR is not cropped its sides may lie a little off the scale.
    return rows, sizes_at(shape[1], sr_scale, min(rows.camera_scale, sr_scale), most)


def check_camera_scale(sr_scale: float, camera_scale: float) -> None:
    """Raises UsageError where an LR at `sr_scale` cannot be had of a camera's level."""
    check_sr_scale(sr_scale)
    if camera_scale > sr_scale * (1 + 1e-9):
        raise UsageError(
            f"an LR at x{sr_scale:g} cannot be had of a camera's level x{camera_scale:g}: ask for "
            f"levels up to x{sr_scale:g} in `t_grid`"
        )


def check_sr_scale(sr_scale: float) -> None:
    """Raises UsageError for what is no scale of pairs."""
    if not 1 < sr_scale <= MAX_SR_SCALE:
        raise UsageError(f"`sr_scale` must be above 1 and up to {MAX_SR_SCALE:g}, got {sr_scale:g}")


def seen_by_camera(hr: np.ndarray, rows: Sizes, columns: Sizes) -> np.ndarray:
    """(H, W, 3) uint8 as it is shown to the camera: cropped and reduced, antialiased."""
    hr = hr[: rows.hr, : columns.hr]
    size = rows.seen, columns.seen
    return hr if size == hr.shape[:2] else shrunk(hr, size)


def on_own_pixels(lr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 or float32, an LR that was enlarged to HR's size, on the camera's own pixels.

    Such a picture holds nothing that its own pixels could not, so it is read at their places, by
    Lanczos of eight taps: white noise that was enlarged by cubic convolution comes back to 52 dB at
    x2.9, 54 dB at x2 and 46 dB at x1.5. An antialiased reduction, which is the usual one, comes to
    30 dB and takes half of the noise at the highest frequencies.
    """
    if lr.shape[:2] == size:
        return lr
    return cv2.resize(lr, size[::-1], interpolation=cv2.INTER_LANCZOS4)


def at_own_pixels(lr: np.ndarray, s: float) -> np.ndarray:
    """An LR that was enlarged s times about its middle, (H, W, 3), at its own pixels, float32.

    By the exact scale, where `on_own_pixels` fits the last ones to the sides: half a pixel off at
    the sides, an LR that was enlarged by cubic convolution would have lost three
    quarters of the power of its highest frequencies there.
    """
    size = [math.ceil(side / s - 1e-9) for side in lr.shape[:2]]
    rows, columns = (
        [s, (side - 1) / 2 - s * (count - 1) / 2]
        for side, count in zip(lr.shape[:2], size, strict=True)
    )
    read = cv2.warpAffine(
        lr.astype(np.float32),
        np.array([[columns[0], 0, columns[1]], [0, *rows]]),
        size[::-1],
        flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    # As the camera's own pixels are; the taps go beyond where a sharp edge is near.
    return np.clip(read, 0, 255)
