"""Pictures between files and the model: uint8 (H, W, 3) and float32 (3, H, W) in [0, 1]."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

from degflow_pipe.errors import UsageError


def to_tensor(picture: np.ndarray) -> Tensor:
    """(H, W, 3) or (B, H, W, 3) uint8 to (B, 3, H, W) float32 in [0, 1]; B is 1 for one picture."""
    batch = picture if picture.ndim == 4 else picture[None]
    # Planes first: bytes move faster than floats.
    return scaled(byte_planes(batch))


def byte_planes(pictures: np.ndarray) -> Tensor:
    """(..., H, W, 3) uint8 in any memory order to (..., 3, H, W) uint8 of its own memory."""
    import torch

    return torch.from_numpy(np.array(np.moveaxis(pictures, -1, -3), order="C"))


def scaled(planes: Tensor) -> Tensor:
    """Bytes to float32 in [0, 1]."""
    return planes.float().div_(255.0)


def planes(pictures: np.ndarray) -> Tensor:
    """(H, W, C) or (B, H, W, C) numbers to (B, C, H, W) float32, unchanged; B is 1 for one."""
    import torch

    batch = pictures if pictures.ndim == 4 else pictures[None]
    return torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32))


def as_picture(planes: Tensor) -> np.ndarray:
    """(1, C, H, W) to (H, W, C), unchanged."""
    return np.ascontiguousarray(planes[0].movedim(0, -1).cpu().numpy())


def interleaved(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) float32 on the CPU with its colours side by side in memory, as OpenCV takes
    pictures; itself where they are."""
    import torch

    if pictures.is_contiguous(memory_format=torch.channels_last):
        return pictures
    found = torch.empty_like(pictures, memory_format=torch.channels_last)
    for planes_of_one, out in zip(pictures.contiguous().numpy(), side_by_side(found), strict=True):
        cv2.merge(list(planes_of_one), dst=out)
    return found


def side_by_side(pictures: Tensor) -> np.ndarray:
    """`interleaved` ones as (B, H, W, 3), in the same memory."""
    return pictures.permute(0, 2, 3, 1).numpy()


def to_picture(x: Tensor) -> np.ndarray:
    """(..., 3, H, W) float in [0, 1] to (..., H, W, 3) uint8, rounded to the nearest."""
    grey = x.mul(255.0).round().clamp(0, 255).byte()
    return np.ascontiguousarray(grey.movedim(-3, -1).cpu().numpy())


def rounded(picture: np.ndarray) -> np.ndarray:
    """Grey levels, (..., 3) float, as the nearest in uint8; those beyond 0 and 255 are cut off."""
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)


def decoded(data: bytes, turn: bool) -> np.ndarray | None:
    """A picture's bytes by OpenCV as (H, W, 3) uint8 RGB; None where it cannot.

    turn: as its EXIF says, else as it is stored. The size is the caller's to look at before.
    """
    flags = cv2.IMREAD_COLOR_RGB | (0 if turn else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def is_grey(picture: np.ndarray) -> bool:
    """Whether (H, W, 3) uint8 has no colour at any pixel."""
    return bool((picture == picture[..., :1]).all())


def greyed(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with its luma (ITU-R BT.601) in all three channels."""
    return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    """The middle `side` pixels, both ways, of a picture (H, W, 3), or what there is of them."""
    y, x = (max(length - side, 0) // 2 for length in picture.shape[:2])
    return picture[y : y + side, x : x + side]


def piece(picture: np.ndarray, side: int, at: tuple[int, int]) -> np.ndarray:
    """`side` pixels, both ways, of a picture (H, W, 3), about the pixel `at` (x, y), moved in where
    they would go over an edge; what there is of them where it is smaller.

    Raises UsageError for a place outside the picture.
    """
    height, width = picture.shape[:2]
    if not (0 <= at[0] < width and 0 <= at[1] < height):
        raise UsageError(
            f"`at` must lie in the photo of {width} x {height} pixels, got {at[0]},{at[1]}"
        )
    x, y = (
        max(min(place - side // 2, length - side), 0)
        for place, length in zip(at, (width, height), strict=True)
    )
    return picture[y : y + side, x : x + side]


def telling_crop(picture: np.ndarray, side: int) -> tuple[slice, slice]:
    """Where a picture (H, W, 3) uint8 has most fine detail: rows and columns of a crop of `side`
    pixels, or of what there is of them.
    """
    height, width = picture.shape[:2]
    side_y, side_x = min(side, height), min(side, width)
    detail = np.abs(cv2.Laplacian(picture[..., 1].astype(np.float32), cv2.CV_32F))
    sums = cv2.integral(np.minimum(detail, 64))  # else one edge would outweigh a texture
    best, place = -1.0, (0, 0)
    for y in range(0, height - side_y + 1, max(side_y // 4, 1)):
        for x in range(0, width - side_x + 1, max(side_x // 4, 1)):
            found = (
                sums[y + side_y, x + side_x]
                - sums[y, x + side_x]
                - sums[y + side_y, x]
                + sums[y, x]
            )
            if found > best:
                best, place = float(found), (y, x)
    y, x = place
    return slice(y, y + side_y), slice(x, x + side_x)


def tiles(picture: np.ndarray, side: int) -> np.ndarray:
    """(H, W, C) to its (N, side, side, C) tiles, row by row; a rest at the edges is left out."""
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    cut = picture[: rows * side, : columns * side]
    shaped = cut.reshape(rows, side, columns, side, -1).transpose(0, 2, 1, 3, 4)
    return shaped.reshape(rows * columns, side, side, -1)


def shrunk(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Antialiased bicubic reduction of (H, W, 3) uint8 to (height, width, 3)."""
    from PIL import Image

    small = Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(small)


def size_at(picture: np.ndarray, scale: float) -> tuple[int, int]:
    """Height and width, one pixel at least, of the LR of a picture at an SR scale of 1 or more."""
    if not 1 <= scale < math.inf:
        raise ValueError(f"scale must be 1 or more, got {scale}")
    height, width = picture.shape[:2]
    return max(round(height / scale), 1), max(round(width / scale), 1)
