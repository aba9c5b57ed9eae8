"""degrade: LR of whole photos, of any size, by overlapping tiles."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import asdict, dataclass, field
from errno import ENAMETOOLONG
from pathlib import Path
from typing import Any

from degflow_pipe import defaults, files, folders
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.engine import check_workers
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.ledger import Ledger, key_of
from degflow_pipe.levels import Grid
from degflow_pipe.model.devices import one_thread_each
from degflow_pipe.pictures.arrays import greyed, is_grey
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.photos import PhotoFile, check_max_pixels, find_photos, read_photo
from degflow_pipe.pictures.sizes import LEAST, check_camera_scale
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.stages.whole import WholePhoto

KIND = "set of LR"
"""Of the folder, for `folders.one_writer`."""
AGAIN = "say `overwrite`, and LR that it no longer tells of is made again"
"""What to do about a ledger that is damaged."""
DONE = ".degflow"
"""Folder in the output with the ledger: what is known of the LR of each photo, by its `stem`."""


@dataclass
class DegradeSummary:
    """What a degrade did. pictures: LR made now; known: photos whose LR was there already.

    levels: as they were asked for. left_out: files that are no photos, by ending. colours: photos
    whose colours were not plain sRGB, by what was done. unchecked: those in which damage may go
    unseen, by kind.
    """

    out: str
    levels: list[str]
    t: list[float]
    noise: str
    precision: str
    photos: int = 0
    pictures: int = 0
    known: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    colours: dict[str, int] = field(default_factory=dict)
    unchecked: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def degrade(
    photos: list[str],
    out: Path,
    model: DegFlow,
    grid: Grid,
    *,
    noise: str = "auto",
    seed: int = 0,
    sr_scale: float = 0.0,
    picture_format: str = "png",
    overwrite: bool = False,
    max_pixels: int = defaults.MAX_PIXELS,
    workers: int = 0,
    progress: Progress | None = None,
) -> DegradeSummary:
    """Write the LR of whole photos at every level of the grid, as large as the photo, or of its
    sides over `sr_scale` (of its part from the top left that gives whole pixels).

    photos: files, folders and globs of photos, tars and Parquet files. Files are called by their
    levels: PHOTO_t0500.png, or PHOTO_x1.5.png where SR scales were asked for, PHOTO_x1.5_lr4.png at
    an SR scale. noise, seed: see `DegFlow.degrade`. workers: tiles at once, 0 for one a core; a GPU
    computes one of them. max_pixels: a photo of more is not read. A photo whose LR is complete is
    left as it is; memory grows with the largest photo, not with the number of levels or photos.

    Photos below `out` are left out: they may be LR of an earlier run. A photo that cannot be read,
    or whose name leaves no room for what is added to it, is skipped and named. Raises UsageError
    for two photos of one output name or where all of them lie below `out`, FileError for files in
    the way that are not this photo's LR of these settings, PhotoError where no photo is left.
    """
    at_once = check_workers(workers)
    noise_model = model.noise_model(noise, sr_scale > 0)
    encoding = parse_format(picture_format)
    size = f"_lr{sr_scale:g}" if sr_scale else ""
    names = [f"{level.asked or level.name}{size}" for level in grid.levels]
    for level in grid.levels:
        if level.drawn:
            raise UsageError(
                "`t_grid`: name levels, such as 0.2,0.8: one that is drawn is a patch's own"
            )
        if sr_scale:
            check_camera_scale(sr_scale, model.info.scale_of_t(level.t))
    check_max_pixels(max_pixels)
    left_out: dict[str, int] = {}
    found = _photos(photos, out, left_out)
    carried = "none" if noise_model is None else "calibrated"
    asked = [level.label for level in grid.levels]
    summary = DegradeSummary(printable(str(out)), asked, grid.t, carried, model.precision)
    summary.left_out = left_out
    key = {
        "checkpoint": model.info.id,
        "levels": dict(zip(names, grid.t, strict=True)),
        "noise": None if noise_model is None else [noise_model.digest, str(seed)],
        "precision": model.precision,
        "ending": encoding.ending,
        "format": picture_format,
        **({"sr_scale": sr_scale} if sr_scale else {}),
    }
    with (
        folders.one_writer(out, KIND),
        _ledger(out, overwrite) as ledger,
        one_thread_each(model.device),
    ):
        for file in found:
            try:
                check_room(_paths(out, file.stem, key), file, out)
                photo = read_photo(file, max_pixels)
                if sr_scale and min(photo.pixels.shape[:2]) < LEAST * sr_scale:
                    raise PhotoError(
                        f"{file.name}: too small for an LR at x{sr_scale:g}, which takes "
                        f"{LEAST * sr_scale:g} pixels on both sides"
                    )
            except PhotoError as error:
                summary.skipped[file.name] = str(error)
                continue
            made = {**key, "sha256": photo.sha256}
            outputs = _Outputs(out, file.stem, made, ledger, overwrite)
            if outputs.are_there():
                summary.known += 1
                continue
            outputs.begin()
            making = WholePhoto(photo.pixels, model, noise_model, seed, grid, sr_scale)
            with (progress or Silent()).task(
                f"degrade {file.name}", making.tiles, counts="tiles"
            ) as task:
                grey = is_grey(photo.pixels)  # in all tiles alike
                for path, lr in zip(outputs.paths(), making.levels(at_once, task), strict=True):
                    lr = greyed(lr) if grey else lr
                    files.write_bytes(path, encoding.encode(lr))
                    summary.pictures += 1
            outputs.finish()
            summary.photos += 1
            photo.count(summary.colours, summary.unchecked)
    if not summary.photos and not summary.known:
        reasons = "; ".join(list(summary.skipped.values())[:3])
        raise PhotoError(f"none of {len(found)} photos could be used: {reasons}")
    return summary


def check_room(paths: list[Path], file: PhotoFile, out: Path) -> None:
    """Raises PhotoError where a file system has no names so long as what a photo is written to."""
    for path in paths:
        try:
            files.exists(out / path.name)  # its folder may not be there yet
        except FileError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == ENAMETOOLONG:
                raise PhotoError(
                    f"{file.name}: its name is too long for what is added to it: shorten it"
                ) from error
            raise


def _photos(sources: list[str], out: Path, left_out: dict[str, int]) -> list[PhotoFile]:
    """Photos to degrade, each once; refused where two would be written under one name."""
    inside = files.real(out)
    every = {(files.real(file.path), file.part): file for file in find_photos(sources, left_out)}
    found = {place: file for place, file in every.items() if inside not in place[0].parents}
    if not found:
        raise UsageError(f"all photos lie in the folder to write to, {out}: give another `out`")
    known: dict[str, PhotoFile] = {}
    for file in found.values():
        # Some file systems take names for one that differ in case or in how letters are composed.
        other = known.setdefault(unicodedata.normalize("NFC", file.stem).lower(), file)
        if other is not file:
            alike = "" if file.stem == other.stem else ", but for case or how it is composed"
            raise UsageError(
                f"{other} and {file} would be written under the same name{alike}: give "
                f"them one after the other, with another `out` each"
            )
    return list(found.values())


def _paths(out: Path, stem: str, made: dict[str, Any]) -> list[Path]:
    """Where a photo's LR of these settings is written, level by level."""
    return [out / f"{stem}_{name}.{made['ending']}" for name in made["levels"]]


def _ledger(out: Path, overwrite: bool) -> Ledger:
    """The ledger of the folder. Raises FileError where it is damaged, but to overwrite."""
    ledger = Ledger(out / DONE, numbers=False)
    if ledger.damage and not overwrite:
        raise FileError(f"{ledger.damage[0]}: {AGAIN}")
    return ledger


class _Outputs:
    """The files of one photo's LR, and the record that says what they are and if all are there.

    It is written before the first file too, without sums, so that a run that was cut off knows its
    own.
    """

    def __init__(
        self, out: Path, stem: str, made: dict[str, Any], ledger: Ledger, overwrite: bool
    ) -> None:
        self.out, self.stem, self.made = out, stem, made
        self._ledger, self._key, self._overwrite = ledger, key_of(stem), overwrite
        self._before = self._record()

    def paths(self) -> list[Path]:
        return _paths(self.out, self.stem, self.made)

    def are_there(self) -> bool:
        """Whether all is done. Raises FileError where other files are in the way."""
        before = self._before
        if before is None:
            in_way = [path for path in self.paths() if files.exists(path)]
        else:
            same = before["made"] == self.made
            if same and folders.are_whole(before["files"], self.paths(), self.out):
                return True
            in_way = [] if same else [self.out / self.stem]
        if in_way and not self._overwrite:
            made = {} if before is None else before["made"]
            other = [key for key in self.made if before and made.get(key) != self.made[key]]
            differs = f" of other {', '.join(other)}" if other else ""
            raise FileError(
                f"{in_way[0]}: LR{differs} is there already: give another folder as `out`, or "
                f"`overwrite`"
            )
        return False

    def begin(self) -> None:
        """Take away what an earlier run of other settings left, and say whose the files will be."""
        if self._before is not None and self._before["made"] != self.made:
            for path in _paths(self.out, self.stem, self._before["made"]):
                files.remove(path)
        self._note({})

    def finish(self) -> None:
        self._note(folders.sums_of(self.paths(), self.out))

    def _note(self, sums: dict[str, Any]) -> None:
        self._ledger.write(self._key, {"made": self.made, "files": sums})
        self._ledger.sync()

    def _record(self) -> dict[str, Any] | None:
        """What is known; nothing of it is followed that could not be a level's name."""
        if self._key not in self._ledger:
            return None
        try:
            found = self._ledger.record(self._key)
            levels, ending = found["made"]["levels"], found["made"]["ending"]
            whole = isinstance(levels, dict) and isinstance(found["files"], dict)
            whole = whole and all(re.fullmatch(r"[a-z0-9._]+", name) for name in (*levels, ending))
        except (FileError, TypeError, KeyError):
            whole = False
        if not whole and not self._overwrite:
            raise FileError(f"{self._ledger.folder} is damaged at {self._key[:60]}: {AGAIN}")
        return found if whole else None
