"""Pictures of a page as WebP in data URLs, within the room that the page has for them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pictures.arrays import middle
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.reports.page import Frame, Sheet, Shown

ROOM = 12_000_000
"""Bytes of all data URLs of a page."""
SIDE = 256
"""Pixels of a crop, at most: it is shown unchanged, coded without loss."""
SCENES = 12
SHEET_SIDE, SHEET_QUALITY = 1600, 85
PIXELS = 40_000_000
"""Of a picture that is read from a result, at most."""

Labelled = tuple[str, str, np.ndarray]
"""Label, what is known of it, (H, W, 3) uint8."""


class Album:
    """Scenes of a page, as long as there is room."""

    def __init__(self) -> None:
        self.left = ROOM
        self.scenes: list[Shown] = []
        self.sheets: list[Sheet] = []

    def add(self, name: str, about: str, pictures: Sequence[Labelled], left: int = 0) -> bool:
        """A scene, lossless. False, and nothing is added, where there is no room for all of it."""
        frames = [
            Frame(label, said, _url(parse_format("webp").encode(picture)), *_size(picture))
            for label, said, picture in pictures
        ]
        size = sum(len(frame.url) for frame in frames)
        if size > self.left:
            return False
        self.left -= size
        self.scenes.append(Shown(name, about, frames, left))
        return True

    def add_sheet(self, title: str, alt: str, path: Path) -> None:
        """A picture that another command drew, smaller where it is large, if there is room."""
        picture = read_photo(path, PIXELS).pixels
        scale = min(1.0, SHEET_SIDE / max(picture.shape[:2]))
        if scale < 1:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        coded = cv2.imencode(
            ".webp",
            cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
            (cv2.IMWRITE_WEBP_QUALITY, SHEET_QUALITY),
        )[1]
        url = _url(coded.tobytes())
        if len(url) <= self.left:
            self.left -= len(url)
            self.sheets.append(Sheet(title, alt, url, *_size(picture)))


def _size(picture: np.ndarray) -> tuple[int, int]:
    return picture.shape[1], picture.shape[0]


def _url(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def telling_crop(picture: np.ndarray, side: int = SIDE) -> tuple[slice, slice]:
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


def cut(picture: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
    """The middle SIDE pixels of HR; of a smaller LR of the HR `of` the same part of the scene."""
    side = SIDE if of is None else max(round(SIDE * picture.shape[0] / of.shape[0]), 1)
    return np.ascontiguousarray(middle(picture, side))


def decibels(hr: np.ndarray, lr: np.ndarray) -> str:
    """PSNR of an LR to HR as text; empty for LR of another size."""
    if hr.shape != lr.shape:
        return ""
    found = psnr(lr, hr)
    return f"{found:.2f} dB to HR" if np.isfinite(found) else "equal to HR"
