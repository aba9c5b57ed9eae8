"""Pixels that no code protects: a lost block of the file is a run of equal bytes among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from degflow_pipe.decoding.damage import Damage

BLOCK = 512
"""Bytes of a disk's block: the least that is lost."""
_MISSED = 5
"""Bytes of a block that may be no part of a run: the end of a row, and what was equal before."""
_NEAR = 16
"""Grey levels."""


@dataclass(frozen=True)
class Rows:
    """How pixels lie in their file.

    starts: of each row, from the top, its first byte in the file. step: bytes of a pixel. blue:
    whether it is blue, not red, that comes first.
    """

    starts: np.ndarray
    step: int
    blue: bool = False


def bmp_rows(image: Image.Image) -> Rows | None:
    """Of a BMP that is not loaded yet; None where it is coded or narrow, or pixels share bytes."""
    tile = image.tile[0]  # type: ignore[attr-defined]
    width, height = image.size
    if tile[0] != "raw":
        return None
    _, stride, direction = tile[3]
    step = stride // width if width >= 8 else 0  # of fewer the padding counts
    starts = tile[2] + stride * np.arange(height)
    return Rows(starts[::direction], step, blue=True) if step else None


def check(pixels: np.ndarray, rows: Rows | None) -> None:
    """Raises Damage for a run of one byte, BLOCK long or more, that is no part of the picture.

    pixels: (H, W, C) uint8 as stored. rows: None where it is not known how they lie in the file.

    A part of a picture begins and ends between pixels, and goes on in the rows above and below; a
    lost block cuts pixels, or begins and ends at multiples of BLOCK in the file. Not told from a
    line or a border are a block at the first or last row, or of whole rows; one that cuts no pixel
    and lies elsewhere, such as any of a grey picture that was copied to another place; and one
    beside pixels that have its value.
    """
    if rows is not None and rows.blue:
        pixels = pixels[:, :, ::-1]
    if rows is not None and rows.starts[0] > rows.starts[-1]:
        pixels, rows = pixels[::-1], Rows(rows.starts[::-1], rows.step)
    flat, wide = pixels.reshape(-1), pixels.shape[2]
    row = pixels.shape[1] * wide
    least = (BLOCK if rows is None else BLOCK * wide // rows.step) - _MISSED
    changes = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], changes])
    stops = np.concatenate([changes, [len(flat)]])
    for at in np.flatnonzero(stops - starts >= least):
        start, stop = int(starts[at]), int(stops[at])
        if start < row or stop > len(flat) - row or (start % row < 3 and -stop % row < 3):
            continue
        above = _far(flat[start - row : min(stop - row, start)], flat[start])
        below = _far(flat[max(start + row, stop) : stop + row], flat[start])
        if min(above.mean(), below.mean()) <= 0.75:
            continue
        if _cuts(flat, start, stop, row, wide) or _is_block(start, stop, row, wide, rows):
            raise Damage(f"{stop - start} equal bytes in a row, as where a block was lost")


def _far(side: np.ndarray, value: np.uint8) -> np.ndarray:
    return np.abs(side.astype(int) - int(value)) > _NEAR


def _cuts(flat: np.ndarray, start: int, stop: int, row: int, wide: int) -> bool:
    """Whether a pixel at an end of the run has a part of it that none above or below it has.

    Beside a black line on red, green and blue are zero as well, but so they are around it.
    """
    for first, last in ((start, start + -start % wide), (stop - stop % wide, stop)):
        around = [at for at in (first - row, first + row) if not start - wide < at < stop]
        sides = [_far(flat[at : at + last - first], flat[start]) for at in around]
        if last > first and all(side.any() for side in sides):
            return True
    return False


def _is_block(start: int, stop: int, row: int, wide: int, rows: Rows | None) -> bool:
    """Whether a run begins and ends at multiples of BLOCK in the file."""
    if rows is None:
        return False
    (y, first), (last_y, last) = divmod(start, row), divmod(stop - 1, row)
    begin = int(rows.starts[y]) + first * rows.step // wide
    end = int(rows.starts[last_y]) + (last + 1) * rows.step // wide
    return begin % BLOCK == 0 and end % BLOCK == 0
