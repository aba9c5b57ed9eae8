"""degrade: LR of whole photos, of any size, by overlapping tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from degflow_pipe import files
from degflow_pipe.degflow import DegFlow
from degflow_pipe.engine import in_order
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.levels import Grid
from degflow_pipe.model.noise import NoiseModel, noise_rng
from degflow_pipe.photos import PhotoFile, find_photos, read_photo
from degflow_pipe.pictures import to_tensor
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.shards.pictures import parse_format
from degflow_pipe.stages.common import checkpoint_id, compute_workers, one_thread_each
from degflow_pipe.tiles import Span, spans

AT_ONCE = 4
"""Levels of one photo that are held in memory at once."""
MARKS = ".degflow"
"""Folder in the output with a file for each photo whose LR is complete."""


@dataclass
class DegradeSummary:
    """What a degrade did. pictures: LR made now; known: photos whose LR was there already."""

    out: str
    t: list[float]
    noise: str
    photos: int = 0
    pictures: int = 0
    known: int = 0
    skipped: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def degrade(
    photos: list[str],
    out: Path,
    model: DegFlow,
    grid: Grid,
    *,
    names: list[str] | None = None,
    noise: str = "auto",
    seed: int = 0,
    picture_format: str = "png",
    overwrite: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> DegradeSummary:
    """Write the LR of whole photos at every level of the grid, as large as the photo.

    photos: files, folders and globs. names: of the levels in the files' names, `t0500` and so on by
    default: PHOTO_t0500.png. noise, seed: see `DegFlow.degrade`. workers: tiles computed at once on
    the CPU, 0 for one a core. A photo whose LR is complete is left as it is; memory grows with the
    largest photo, not with the number of levels or photos.

    A photo that cannot be read is skipped and named. Raises UsageError for two photos of one
    output name, FileError for LR of other settings in the way, PhotoError where no photo is left.
    """
    at_once = compute_workers(model, workers)
    noise_model = model.noise_model(noise)
    encoding = parse_format(picture_format)
    names = names or [level.name for level in grid.levels]
    found = list(find_photos(photos))
    _check_names(found)
    summary = DegradeSummary(str(out), grid.t, "none" if noise_model is None else "calibrated")
    key = {
        "checkpoint": checkpoint_id(model),
        "levels": dict(zip(names, grid.t, strict=True)),
        "noise": None if noise_model is None else [noise_model.digest, seed],
        "format": picture_format,
    }
    with files.one_writer(out), one_thread_each(model):
        for file in found:
            try:
                photo = read_photo(file.path)
            except PhotoError as error:
                summary.skipped[file.name] = str(error)
                continue
            mark, wanted = out / MARKS / f"{_stem(file)}.json", {**key, "sha256": photo.sha256}
            if not overwrite and _is_there(mark, wanted):
                summary.known += 1
                continue
            tiled = _Tiled(photo.pixels, model, noise_model, seed)
            with (progress or Silent()).task(f"degrade {file.name}", tiled.tiles(grid)) as task:
                for name, lr in zip(names, tiled.levels(grid, at_once, task), strict=True):
                    path = out / f"{_stem(file)}_{name}.{encoding.ending}"
                    files.write_bytes(path, encoding.encode(lr))
                    summary.pictures += 1
            files.write_json(mark, wanted)
            summary.photos += 1
    if not summary.photos and not summary.known:
        reasons = "; ".join(list(summary.skipped.values())[:3])
        raise PhotoError(f"none of {len(found)} photos could be used: {reasons}")
    return summary


def _stem(file: PhotoFile) -> str:
    return PurePosixPath(file.name).with_suffix("").as_posix()


def _check_names(found: list[PhotoFile]) -> None:
    """Refuse two photos that would be written under one name."""
    known: dict[str, PhotoFile] = {}
    for file in found:
        other = known.setdefault(_stem(file), file)
        if other is not file:
            raise UsageError(
                f"{other.path} and {file.path} would be written under the same name: give them "
                f"one after the other, with another --out each"
            )


def _is_there(mark: Path, wanted: dict[str, Any]) -> bool:
    """Whether a photo's LR is complete. Raises FileError where it is that of something else."""
    if not files.exists(mark):
        return False
    if files.read_json(mark) != wanted:
        raise FileError(
            f"{mark}: the LR there is of another photo or other settings: give another folder with "
            f"--out, or --overwrite"
        )
    return True


class _Tiled:
    """One photo's LR, tile by tile."""

    def __init__(self, hr: np.ndarray, model: DegFlow, noise: NoiseModel | None, seed: int) -> None:
        self.hr, self.model, self.noise, self.seed = hr, model, noise, seed
        multiple = model.model.side_multiple
        self.rows, self.columns = (spans(length, multiple) for length in hr.shape[:2])

    def tiles(self, grid: Grid) -> int:
        """How many tiles `levels` computes."""
        return len(self.rows) * len(self.columns) * -(-len(grid) // AT_ONCE)

    def levels(self, grid: Grid, workers: int, task: Task) -> Iterator[np.ndarray]:
        """The LR of each level, (H, W, 3) uint8."""
        for i in range(0, len(grid), AT_ONCE):
            yield from self._whole(grid.t[i : i + AT_ONCE], workers, task)

    def _whole(self, levels: list[float], workers: int, task: Task) -> np.ndarray:
        """Some levels, (T, H, W, 3) uint8. A row of tiles is summed up at a time."""
        height, width = self.hr.shape[:2]
        lr = np.empty((len(levels), height, width, 3), np.uint8)
        places = product(self.rows, self.columns)
        tiles = in_order(lambda place: self._tile(levels, *place), places, workers)
        carried = np.zeros((len(levels), 0, width, 3), np.float32)
        for i, row in enumerate(self.rows):
            sums = np.zeros((len(levels), row.end - row.start, width, 3), np.float32)
            sums[:, : carried.shape[1]] = carried
            for column in self.columns:
                sums[:, :, column.slice] += next(tiles)
                task.advance()
            below = self.rows[i + 1].start if i + 1 < len(self.rows) else row.end
            ready = sums[:, : below - row.start]
            lr[:, row.start : below] = np.rint(np.clip(ready, 0, 255))
            carried = sums[:, below - row.start :]
        return lr

    def _tile(self, levels: list[float], row: Span, column: Span) -> np.ndarray:
        """One tile's part of the sum, (T, h, w, 3) float32 in grey levels.

        Noise is another in each tile, so it is its power that passes from one to the next.
        """
        hr = np.ascontiguousarray(self.hr[row.slice, column.slice])
        z, skips = self.model.encode(to_tensor(hr))
        path = self.model.trajectory(z, levels, skips)
        weight = (row.weight[:, None] * column.weight)[..., None]
        parts = []
        for t, expected in zip(levels, self.model.decode_levels(path, skips), strict=True):
            picture = expected[0].mul(255).movedim(0, -1).cpu().numpy()
            part = picture * weight
            if self.noise is not None:
                rng = noise_rng(self.seed, hr, t)
                part += self.noise.drawn(picture, t, rng) * np.sqrt(weight)
            parts.append(part)
        return np.stack(parts)
