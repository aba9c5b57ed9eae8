"""preview: HR and levels of a piece of one photo, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from degflow_pipe import files, folders
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import Grid
from degflow_pipe.model.devices import one_thread_each
from degflow_pipe.pictures.arrays import middle, piece, to_picture, to_tensor
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.pictures.sheet import label_bar, row_of
from degflow_pipe.pictures.sizes import sizes_of
from degflow_pipe.progress import Silent
from degflow_pipe.stages.whole import WholePhoto

PREVIEW_SIDE = 256
MOST_ZOOM = 32


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
    sr_scale: float = 0.0,
    at: tuple[int, int] | None = None,
    zoom: int = 1,
    real: Path | None = None,
    overwrite: bool = False,
) -> Preview:
    """One picture of a piece of a photo: HR and the grid's levels side by side.

    sr_scale: S, of LR of H/S, which are shown S times as large, pixel by pixel; 0 for LR as large
    as HR. at: the pixel (x, y) in the middle of it, the photo's by default. zoom: pixels of the
    picture for each of the photo's. real: a real LR of the photo, of its size, which is shown last.

    Raises PhotoError for a photo that cannot be read, UsageError for another ending than .png, a
    side below 16, levels above `sr_scale`, a place
    outside the photo, a real LR of another size, or where there is a file of that name that is not
    to be overwritten.
    """
    if any(level.drawn for level in grid.levels):
        raise UsageError(
            "`t_grid`: name levels, such as 0.2,0.8: one that is drawn is a patch's own"
        )
    if side < 16:
        raise UsageError(f"`side` must be 16 pixels at least, got {side}")
    if not 1 <= zoom <= MOST_ZOOM:
        raise UsageError(f"`zoom` must be 1 to {MOST_ZOOM}, got {zoom}")
    pictures = [read_photo(path).pixels for path in (photo, real) if path is not None]
    if pictures[0].shape != pictures[-1].shape:
        sizes = [f"{found.shape[1]} x {found.shape[0]}" for found in pictures]
        raise UsageError(
            f"`real` is {sizes[1]} pixels, the photo {sizes[0]}: it is to lie on the photo's grid"
        )
    hr, *taken = [middle(one, side) if at is None else piece(one, side, at) for one in pictures]
    folders.check_file(out, ".png", overwrite)
    if sr_scale:  # LR are of the part of HR, from the top left, that they divide
        s_max, scales = model.info.s_max, map(model.info.scale_of_t, grid.t)
        used = [sizes_of(hr.shape[:2], sr_scale, scale, s_max) for scale in scales]
        height, width = (min(sizes[axis].hr for sizes in used) for axis in (0, 1))
        hr, *taken = [one[:height, :width] for one in (hr, *taken)]
    with one_thread_each(model.device):
        levels = _levels(hr, model, grid, noise, seed, sr_scale)
    labels = ["HR", *(level.label for level in grid.levels), *(["real LR"] if taken else [])]
    row = row_of([hr, *levels, *taken], side).repeat(zoom, axis=0).repeat(zoom, axis=1)
    strip = np.concatenate([label_bar(labels, side * zoom), row])
    files.write_bytes(out, parse_format("png").encode(strip))
    return Preview(str(out), grid.t)


def _levels(
    hr: np.ndarray, model: DegFlow, grid: Grid, noise: str, seed: int, sr_scale: float
) -> list[np.ndarray]:
    """LR of HR, (h, w, 3) uint8, all of HR's size."""
    if not sr_scale:
        return list(to_picture(model.degrade(to_tensor(hr), grid.t, noise, seed)[0]))
    drawn = model.noise_model(noise, own_pixels=True)
    small = WholePhoto(hr, model, drawn, seed, grid, sr_scale)
    height, width = hr.shape[:2]
    with Silent().task("", None) as task:
        return [
            cv2.resize(lr, (width, height), interpolation=cv2.INTER_NEAREST)
            for lr in small.levels(1, task)
        ]
