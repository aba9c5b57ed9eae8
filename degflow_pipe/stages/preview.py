"""preview: HR and levels of the middle of one photo, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import Grid
from degflow_pipe.model.devices import one_thread_each
from degflow_pipe.pictures.arrays import middle, to_picture, to_tensor
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.pictures.sheet import label_bar, row_of

PREVIEW_SIDE = 256


@dataclass(frozen=True)
class Preview:
    """The picture that was written, and the levels t that it shows beside HR."""

    strip: str
    t: list[float]


def preview(
    photo: Path,
    out: Path,
    model: DegFlow,
    grid: Grid,
    side: int = PREVIEW_SIDE,
    noise: str = "auto",
    seed: int = 0,
    *,
    overwrite: bool = False,
) -> Preview:
    """One picture of the middle of a photo: HR and the grid's levels side by side.

    Raises PhotoError for a photo that cannot be read, UsageError for a side below 16, or where
    there is a file of that name that is not to be overwritten.
    """
    if any(level.drawn for level in grid.levels):
        raise UsageError(
            "`t_grid`: name levels, such as 0.2,0.8: one that is drawn is a patch's own"
        )
    if side < 16:
        raise UsageError(f"`side` must be 16 pixels at least, got {side}")
    hr = middle(read_photo(photo).pixels, side)
    if files.exists(out) and not overwrite:
        raise UsageError(f"{out} is there already: give another name as `out`, or `overwrite`")
    with one_thread_each(model.device):
        levels = to_picture(model.degrade(to_tensor(hr), grid.t, noise, seed)[0])
    labels = ["HR", *(level.label for level in grid.levels)]
    strip = np.concatenate([label_bar(labels, side), row_of([hr, *levels], side)])
    files.write_bytes(out, parse_format("png").encode(strip))
    return Preview(str(out), grid.t)
