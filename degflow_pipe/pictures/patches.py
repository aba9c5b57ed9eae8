"""Patches: a grid of square crops of a photo, and the measures that drop flat and repeated ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from degflow_pipe.errors import PhotoError, UsageError


@dataclass(frozen=True)
class Patch:
    """One crop: pixels (P, P, 3) uint8 RGB, its top left corner in the photo, and its measures."""

    pixels: np.ndarray
    y: int
    x: int

    @property
    def detail(self) -> float:
        """Mean absolute difference between neighbouring pixels of the luma, in grey levels.

        The mean over horizontal neighbours plus the mean over vertical ones; 0 for a flat patch.
        """
        luma = cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY).astype(np.int16)
        return float(np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean())

    @property
    def digest(self) -> str:
        """128-bit digest of the pixels in hex: equal pixels, equal digests."""
        return hashlib.blake2b(self.pixels.tobytes(), digest_size=16).hexdigest()


def check_grid(patch: int, stride: int, multiple: int) -> None:
    """Raises UsageError for a patch or stride that cannot be: see the messages."""
    if patch < multiple or patch % multiple:
        raise UsageError(f"`patch` must be a multiple of {multiple} (the model's), got {patch}")
    if stride < 1:
        raise UsageError(f"`stride` must be 1 pixel at least, got {stride}")


def starts(length: int, patch: int, stride: int) -> list[int]:
    """Starts of patches along one side: every stride, and one more flush with the far edge.

    That one is left out where it is nearer to the one before it than a quarter of the stride, or of
    the patch where that is less: it would be nearly the same patch again.
    """
    found = list(range(0, length - patch + 1, stride))
    if 4 * (length - patch - found[-1]) >= min(stride, patch) and found[-1] != length - patch:
        found.append(length - patch)
    return found


def check_size(photo: np.ndarray, patch: int, name: str) -> None:
    """Raises PhotoError, naming the photo, where a side is shorter than the patch."""
    height, width = photo.shape[:2]
    if min(height, width) < patch:
        raise PhotoError(f"{name}: {width} x {height} pixels, smaller than the patch of {patch}")


def crop_patches(photo: np.ndarray, patch: int, stride: int) -> Iterator[Patch]:
    """All patches of a photo (H, W, 3) uint8, row by row; see `starts` for the edges."""
    height, width = photo.shape[:2]
    for y in starts(height, patch, stride):
        for x in starts(width, patch, stride):
            yield Patch(crop_at(photo, patch, y, x), y, x)


def crop_at(photo: np.ndarray, patch: int, y: int, x: int) -> np.ndarray:
    """The patch (P, P, 3) of a photo (H, W, 3) whose top left corner is at (y, x)."""
    return np.ascontiguousarray(photo[y : y + patch, x : x + patch])
