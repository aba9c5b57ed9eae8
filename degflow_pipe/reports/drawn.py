"""Pictures of a page as WebP in data URLs, within the room that the page has for them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from degflow_pipe.metrics.fidelity import EQUAL, psnr
from degflow_pipe.pictures.arrays import middle
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.reports.described import at_level
from degflow_pipe.reports.page import Frame, Sheet, Shown

ROOM = 12_000_000
"""Bytes of all data URLs of a page."""
SIDE = 256
"""Pixels of a crop, at most: it is shown unchanged, coded without loss."""
SCENES = 12
SHEET_SIDE, SHEET_QUALITY = 1600, 85
PIXELS = 40_000_000
"""Of a picture that is read from a result, at most."""

MADE = {"generated": "generated, no noise", "noisy": "generated, with noise"}
"""What is generated, by its name in an evaluation, and what it is called."""

FARTHEST, NEAREST = "farthest from real LR", "nearest to real LR"
"""The ends of scenes that have a real LR."""

Labelled = tuple[str, str, np.ndarray]
"""Label, what is known of it, (H, W, 3) uint8."""


@dataclass(frozen=True)
class Entry:
    """A scene that may be shown. rank: by which it is the best or the worst, the higher the better;
    None where nothing tells. left: see `page.Shown`.
    """

    name: str
    about: str
    pictures: Sequence[Labelled]
    rank: float | None = None
    left: int = 0


class Album:
    """Scenes of a page, as long as there is room."""

    def __init__(self) -> None:
        self.left = ROOM
        self.scenes: list[Shown] = []
        self.sheets: list[Sheet] = []

    def add_all(
        self,
        entries: Sequence[Entry],
        worst: str,
        best: str,
        progress: Progress | None = None,
    ) -> None:
        """The worst, the best, then the others in order. worst, best: what these are called."""
        known = {i: one.rank for i, one in enumerate(entries) if one.rank is not None}
        named: dict[int, str] = {}
        if len({*known.values()}) > 1:
            named = {min(known, key=known.__getitem__): worst}
            named[max(known, key=known.__getitem__)] = best
        order = [*named, *(i for i in range(len(entries)) if i not in named)]
        with (progress or Silent()).task("code pictures", len(order), counts="scenes") as task:
            for i in order:
                self.add(entries[i], named.get(i, ""))
                task.advance()

    def add(self, entry: Entry, end: str = "") -> bool:
        """A scene, lossless. False, and nothing is added, where there is no room for all of it."""
        frames = [
            Frame(label, said, _url(parse_format("webp").encode(picture)), *_size(picture))
            for label, said, picture in entry.pictures
        ]
        size = sum(len(frame.url) for frame in frames)
        if size > self.left:
            return False
        self.left -= size
        self.scenes.append(Shown(entry.name, entry.about, frames, entry.left, end))
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


def cut(picture: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
    """The middle SIDE pixels of HR; of a smaller LR of the HR `of` the same part of the scene."""
    side = SIDE if of is None else max(round(SIDE * picture.shape[0] / of.shape[0]), 1)
    return np.ascontiguousarray(middle(picture, side))


def lrs_of(level: str, real: np.ndarray, made: Mapping[str, np.ndarray]) -> list[Labelled]:
    """The real LR of a level, then what was generated for it, each against the real one.

    made: by MADE; pictures of the real one's size.
    """
    found: list[Labelled] = [(at_level("real LR", level), "", real)]
    for name, said in MADE.items():
        if name in made:
            about = f"{min(psnr(made[name], real), EQUAL):.2f} dB to real"
            found.append((at_level(said, level), about, made[name]))
    return found


def nearness(hr: np.ndarray, lr: np.ndarray) -> float:
    """PSNR of an LR to HR, EQUAL at most, in dB; a smaller LR is enlarged by bicubic
    interpolation."""
    size = hr.shape[1], hr.shape[0]
    whole = lr if lr.shape == hr.shape else cv2.resize(lr, size, interpolation=cv2.INTER_CUBIC)
    return min(psnr(whole, hr), EQUAL)


def decibels(hr: np.ndarray, lr: np.ndarray) -> str:
    """PSNR of an LR to HR as text; of LR of another size, that size."""
    if hr.shape != lr.shape:
        return f"{lr.shape[1]} x {lr.shape[0]} pixels"
    found = psnr(lr, hr)
    return f"{found:.2f} dB to HR" if np.isfinite(found) else "equal to HR"
