"""Pixels that no code protects: a lost block of the file is a run of equal bytes among them."""

from __future__ import annotations

import numpy as np

from degflow_pipe.decoding.damage import Damage

BLOCK = 512
"""Bytes of a disk's block: the least that is lost."""
_NEAR = 16
"""Grey levels."""


def check(pixels: np.ndarray) -> None:
    """Raises Damage for a run of one byte, BLOCK long or more, that is no part of the picture.

    pixels: (H, W, 3) uint8 as stored, or the planes of such. A part of a picture goes on in the
    rows above and below; a lost block starts and ends anywhere in a row and has no such likeness.
    What lies at the first or last row, or is whole rows, cannot be told from a border.
    """
    flat, row = pixels.reshape(-1), pixels.shape[1] * pixels.shape[2]
    changes = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], changes])
    stops = np.concatenate([changes, [len(flat)]])
    for at in np.flatnonzero(stops - starts >= BLOCK - 2):
        start, stop = int(starts[at]), int(stops[at])
        if start < row or stop > len(flat) - row or (start % row < 3 and -stop % row < 3):
            continue
        above = flat[start - row : min(stop - row, start)]
        below = flat[max(start + row, stop) : stop + row]
        value = int(flat[start])
        if all((np.abs(side.astype(int) - value) > _NEAR).mean() > 0.75 for side in (above, below)):
            raise Damage(f"{stop - start} equal bytes in a row, as where a block was lost")
