"""Samples and pictures of finished shards, as both ways of reading see them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from torch import Tensor

from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.shards.summary import AGAIN

Info = dict[str, Any]
Sample = tuple[Tensor, Tensor, Any]


def pairs_of(key: str, info: Info) -> list[tuple[str, str, Info]]:
    """The key, the LR's name without its ending and the info of each pair of a sample.

    Raises KeyError, TypeError or ValueError where the JSON is not that of a sample.
    """
    pairs = [(key, "lr", dict(info))]
    if "levels" in info:
        shared = {field: value for field, value in info.items() if field != "levels"}
        pairs = [
            (f"{key}-{level['level']}", f"lr_{level['level']}", {**shared, **level})
            for level in info["levels"]
        ]
    for _, _, pair in pairs:
        if not all(isinstance(pair[field], int | float) for field in ("t", "scale")):
            raise TypeError(f"{key}: t and scale must be numbers")
    return pairs


def member(members: dict[str, Any], stem: str, where: str) -> Any:
    """The member of this name, whatever kind of picture it is."""
    for name, value in members.items():
        if name.rpartition(".")[0] == stem:
            return value
    raise ShardError(f"{where} has no picture {stem!r}; {AGAIN}")


def cropped(
    lr: np.ndarray, hr: np.ndarray, crop: int, where: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same random part of both, HR (crop, crop, 3), cut where the LR has whole pixels."""
    (h, w), (height, width) = lr.shape[:2], hr.shape[:2]
    scale = height // h
    sizes = f"{where} has HR {height} x {width}, LR {h} x {w}"
    if (h * scale, w * scale) != (height, width):
        raise UsageError(
            f"crop={crop} needs an HR that is a whole number of times the LR; {sizes}: leave crop "
            f"out, select other scales, or make the shards with LR of the HR's size"
        )
    if crop % scale or crop > min(height, width):
        raise UsageError(
            f"crop={crop} must be a multiple of {scale} and no larger than the patch; {sizes}"
        )
    side = crop // scale
    y, x = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
    top, left = y * scale, x * scale
    return lr[y : y + side, x : x + side], hr[top : top + crop, left : left + crop]


def picture(data: bytes, where: str) -> np.ndarray:
    """Decode to (H, W, 3) uint8 RGB; raises ShardError."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise ShardError(f"{where}: a picture cannot be decoded; {AGAIN}")
    return bgr[:, :, ::-1]
