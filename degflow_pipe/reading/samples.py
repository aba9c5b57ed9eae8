"""Samples and pictures of finished shards, as both ways of reading see them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.pictures.arrays import byte_planes, decoded
from degflow_pipe.shards.summary import AGAIN

FIELDS = 10**6
"""Of all pairs of a sample together, at most."""
PIXELS = 2**26
"""Of a picture, at most."""
FORMATS = ("PNG", "PPM", "WEBP", "JPEG")

Info = dict[str, Any]
Sample = tuple[Tensor, Any, Any]
"""LR, HR (or `Queries` of it) and info, of a pair or of a batch."""

NAME = re.compile(r"[A-Za-z0-9_-]{1,250}")
"""What a key or a level may be called, all of it: these become names of files."""
MAX_LEVELS = 10_000
"""Pairs of one sample: more is no data set of ours."""
MAX_SCALE = 1000.0


def pairs_of(key: str, info: Info) -> list[tuple[str, str, Info]]:
    """The key, the LR's name without its ending and the info of each pair of a sample.

    Keys and levels are names: no path, no dot, no control character. t is in [0, 1], scale in
    [1, MAX_SCALE]; a sample has no level twice and no more than MAX_LEVELS.

    Raises KeyError, TypeError or ValueError where the JSON is not that of a sample.
    """
    _check_name("key", key)
    pairs = [(key, "lr", dict(info))]
    if "levels" in info:
        levels = info["levels"]
        if not isinstance(levels, list) or not 1 <= len(levels) <= MAX_LEVELS:
            raise ValueError(f"{key}: levels must be a list of 1 to {MAX_LEVELS}")
        if len(levels) * len(info) > FIELDS:
            raise ValueError(f"{key}: {len(levels)} levels of {len(info)} fields")
        shared = {field: value for field, value in info.items() if field != "levels"}
        pairs = [
            (f"{key}-{level['level']}", f"lr_{level['level']}", {**shared, **level})
            for level in levels
        ]
        if len({pair for pair, _, _ in pairs}) != len(pairs):
            raise ValueError(f"{key}: a level is there twice")
    for _, _, pair in pairs:
        if "level" in pair:
            _check_name("level", pair["level"])
        for field, least, most in (("t", 0.0, 1.0), ("scale", 1.0, MAX_SCALE)):
            value = pair[field]
            # A bool is an int to Python; not a number is no more than anything.
            if type(value) not in (int, float) or not least <= value <= most:
                raise ValueError(f"{key}: {field} must be {least:g} to {most:g}")
    return pairs


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"a {what} must be letters, digits, - and _, got {str(name)[:40]!r}")


def member(members: dict[str, Any], stem: str, where: str) -> Any:
    """The member of this name, whatever kind of picture it is."""
    for name, value in members.items():
        if name.rpartition(".")[0] == stem:
            return value
    raise ShardError(f"{where} has no picture {stem!r}; {AGAIN}")


def hr_of(hr: np.ndarray, info: Info, where: str) -> np.ndarray:
    """What a pair uses of an HR, from its top left, as `hr_size` says it: a sample of several
    levels holds HR once, which levels may crop differently. Raises ShardError.
    """
    sides = info.get("hr_size", list(hr.shape[:2]))
    whole = isinstance(sides, list) and len(sides) == 2
    if not whole or not all(
        type(v) is int and 0 < v <= s for v, s in zip(sides, hr.shape, strict=False)
    ):
        raise ShardError(f"{where}: HR is not of the size that its JSON says; {AGAIN}")
    return hr[: sides[0], : sides[1]]


def cropped(
    lr: np.ndarray, hr: np.ndarray, side: int, of: str, where: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same random part of both, cut where LR and HR both have whole pixels.

    side: of the square in pixels of HR (of: `crop`) or of LR (`lr_crop`).
    """
    (h, w), (height, width) = lr.shape[:2], hr.shape[:2]
    ratio = Fraction(height, h)
    sizes = f"{where} has HR {height} x {width}, LR {h} x {w}"
    if ratio != Fraction(width, w):
        raise UsageError(
            f"{of}={side} needs an HR that is as many times as high as the LR as it is wide; "
            f"{sizes}: leave {of} out, or select other scales"
        )
    # A square of `step` LR pixels is the smallest that is whole in HR too.
    step = ratio.denominator
    unit, most = (ratio.numerator, height) if of == "crop" else (step, h)
    if side % unit or side > min(most, width if of == "crop" else w):
        raise UsageError(
            f"{of}={side} must be a multiple of {unit} and no larger than the patch; {sizes}"
        )
    small = side // unit * step
    y, x = (int(rng.integers((length - small) // step + 1)) * step for length in (h, w))
    top, left, large = (int(length * ratio) for length in (y, x, small))
    return lr[y : y + small, x : x + small], hr[top : top + large, left : left + large]


class Queries(NamedTuple):
    """Pixels of an HR picture, for networks that are asked for one place at a time.

    Chen, Liu, Wang: Learning Continuous Image Representation with Local Implicit Image Function,
    CVPR 2021. coord: (n, 2) float32, y and x of the pixels' middles in [-1, 1]; cell: (n, 2)
    float32, a pixel's height and width in the same unit; rgb: (n, 3) float32 in [0, 1].
    """

    coord: Tensor
    cell: Tensor
    rgb: Tensor


def queried(hr: np.ndarray, n: int, where: str, rng: np.random.Generator) -> Queries:
    """n different pixels of an HR picture (H, W, 3) uint8, at random."""
    height, width = hr.shape[:2]
    if n > height * width:
        raise UsageError(f"queries={n}: {where} has {height * width} HR pixels: ask for fewer")
    y, x = np.divmod(rng.choice(height * width, n, replace=False), width)
    coord = np.stack([(2 * y + 1) / height - 1, (2 * x + 1) / width - 1], axis=1)
    cell = np.broadcast_to([2 / height, 2 / width], (n, 2))
    values = (coord, cell, hr[y, x] / np.float32(255))
    return Queries(*(torch.from_numpy(value.astype(np.float32)) for value in values))


@dataclass(frozen=True)
class Cut:
    """What is made of the two pictures of a pair: see `sr_pairs` for its arguments."""

    crop: int | None
    lr_crop: int | None
    queries: int | None
    flips: bool

    def __post_init__(self) -> None:
        for label in ("crop", "lr_crop", "queries"):
            value = getattr(self, label)
            if value is not None and value < 1:
                raise UsageError(f"`{label}` must be 1 or more, got {value}")
        if self.crop is not None and self.lr_crop is not None:
            raise UsageError("give `crop` or `lr_crop`, not both")

    def apply(
        self, lr: np.ndarray, hr: np.ndarray, where: str, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor | Queries]:
        """Both pictures, (h, w, 3) and (H, W, 3) uint8, cropped, flipped and turned alike, as
        (3, h, w) and (3, H, W) uint8. They are copied once, and hold no part of what is left out.
        """
        for of, side in (("crop", self.crop), ("lr_crop", self.lr_crop)):
            if side is not None:
                lr, hr = cropped(lr, hr, side, of, where, rng)
        if self.flips:
            square = lr.shape[0] == lr.shape[1] and hr.shape[0] == hr.shape[1]
            turns = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
            step = 1 - 2 * int(rng.integers(2))
            lr, hr = np.rot90(lr[:, ::step], turns), np.rot90(hr[:, ::step], turns)
        if self.queries is not None:
            return byte_planes(lr), queried(hr, self.queries, where, rng)
        return byte_planes(lr), byte_planes(hr)


def picture(data: bytes, where: str) -> np.ndarray:
    """Decode a PNG, PPM, WebP or JPEG of up to PIXELS to (H, W, 3) uint8 RGB; raises ShardError."""
    try:
        # Pillow reads the header only, OpenCV would take the memory that it claims.
        with Image.open(BytesIO(data), formats=FORMATS) as header:
            width, height = header.size
    except Exception as error:  # what Pillow makes of a damaged header is not written down
        raise ShardError(f"{where}: a picture cannot be decoded: {error}; {AGAIN}") from error
    if width * height > PIXELS:
        raise ShardError(f"{where}: a picture of {width} x {height} pixels, over {PIXELS}; {AGAIN}")
    pixels = decoded(data, turn=False)
    if pixels is None:
        raise ShardError(f"{where}: a picture cannot be decoded; {AGAIN}")
    return pixels
