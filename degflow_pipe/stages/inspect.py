"""inspect: how good photos are as HR, so that the limits of `ingest` are chosen by eye."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import defaults, files, folders
from degflow_pipe.engines.engine import Engine, check_workers
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.errors import PhotoError
from degflow_pipe.metrics.quality import TILE, quality_of, telling
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.photos import (
    PhotoFile,
    check_max_pixels,
    decoded_bytes,
    find_photos,
    read_photo,
)
from degflow_pipe.pictures.sheet import label_bar, row_of
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.quality import LIMITS, SUGGESTED, Limits, Quality

ENDS = 4
"""Photos that the sheet shows at each end of a figure."""
ENLARGED = 3
"""Times that their pieces are enlarged on the sheet, pixel by pixel."""
LETTERS = 23
"""Of a label above a piece."""
BINS: dict[str, tuple[float, ...]] = {
    "sharpness": (0, 0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8, 11, 16),
    "blockiness": (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.4, 2, 2.8, 4),
    "clipped": (0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    "noise": (0, 0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8, 11, 16),
}
"""Where the bins of a histogram start, the same for all photos so that sets of them compare."""


@dataclass(frozen=True)
class PhotoQuality:
    """A photo's figures: see `quality.Quality`. beyond: the limits that it is beyond."""

    photo: str
    sharpness: float | None
    blockiness: float | None
    clipped: float | None
    noise: float | None
    beyond: list[str]


@dataclass(frozen=True)
class Histogram:
    """Photos by a figure. starts: of the B bins, each of which ends where the next one starts; the
    limit is one of them. unknown: photos that do not tell. beyond: those beyond the limit.
    """

    starts: list[float]
    counts: list[int]
    unknown: int
    beyond: int


@dataclass(frozen=True)
class Inspected:
    """What photos are like as HR.

    sheet: the picture that was written. limits: those that the photos were held to; beyond: photos
    that one of them at least leaves out. skipped: photos that cannot be read, by name, and why.
    left_out: files that are no photos, by ending.
    """

    sheet: str
    limits: Limits
    beyond: int
    histograms: dict[str, Histogram]
    photos: list[PhotoQuality]
    skipped: dict[str, str]
    left_out: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class QualityJob:
    """Measures photos: see `engines.job.Job`. A unit is a `PhotoFile`."""

    max_pixels: int

    @contextmanager
    def open(self) -> Iterator[Callable[[PhotoFile], Quality | PhotoError]]:
        yield self._measured

    def bytes_of(self, file: PhotoFile) -> int:
        """Memory that a photo takes while it is measured."""
        return decoded_bytes(file, self.max_pixels)

    def _measured(self, file: PhotoFile) -> Quality | PhotoError:
        try:
            return quality_of(read_photo(file, self.max_pixels).pixels)
        except PhotoError as error:
            return error


@dataclass(frozen=True)
class PieceWork:
    """A photo of which pieces are shown, one for each figure."""

    file: PhotoFile
    figures: tuple[str, ...]


@dataclass(frozen=True)
class PieceJob:
    """Cuts pieces out of photos: see `engines.job.Job`."""

    max_pixels: int

    @contextmanager
    def open(self) -> Iterator[Callable[[PieceWork], dict[str, np.ndarray]]]:
        yield self._pieces

    def bytes_of(self, work: PieceWork) -> int:
        """Memory that a photo takes while pieces are cut out of it."""
        return decoded_bytes(work.file, self.max_pixels)

    def _pieces(self, work: PieceWork) -> dict[str, np.ndarray]:
        photo = read_photo(work.file, self.max_pixels).pixels
        return {figure: telling(photo, figure) for figure in work.figures}


def inspect(
    photos: Sequence[str],
    out: Path,
    *,
    limits: Limits = SUGGESTED,
    overwrite: bool = False,
    max_pixels: int = defaults.MAX_PIXELS,
    workers: int = 0,
    progress: Progress | None = None,
    engine: Engine = run_in_threads,
) -> Inspected:
    """Measure photos, and show those at both ends of each figure in one picture, `out` (PNG).

    photos: files, folders and globs of photos, tars and Parquet files. limits: held against the
    figures, and not applied to anything. max_pixels: a photo of more is not read. workers: 0 for
    one a core. A photo that cannot be read is skipped and named. Raises PhotoError where none can
    be read or one is gone meanwhile, UsageError where there is a file of that name that is not to
    be overwritten.
    """
    at_once = check_workers(workers, engine)
    check_max_pixels(max_pixels)
    left_out: dict[str, int] = {}
    found = list(find_photos(photos, left_out))
    folders.check_file(out, ".png", overwrite)
    measured: list[tuple[PhotoFile, Quality]] = []
    skipped: dict[str, str] = {}
    job = QualityJob(max_pixels)
    with (
        (progress or Silent()).task("inspect", len(found), counts="photos") as task,
        closing(engine(job, found, at_once, job.bytes_of)) as qualities,
    ):
        for file, quality in zip(found, qualities, strict=True):
            if isinstance(quality, PhotoError):
                skipped[file.name] = str(quality)
                task.show(f"{len(skipped)} skipped")
            else:
                measured.append((file, quality))
            task.advance()
    if not measured:
        reasons = "; ".join(list(skipped.values())[:3])
        raise PhotoError(f"none of {len(found)} photos could be used: {reasons}")
    sheet = _sheet(measured, PieceJob(max_pixels), engine, at_once)
    files.write_bytes(out, parse_format("png").encode(sheet))
    rows = [
        PhotoQuality(file.name, **asdict(quality), beyond=limits.failed(quality))
        for file, quality in measured
    ]
    return Inspected(
        sheet=str(out),
        limits=limits,
        beyond=sum(bool(row.beyond) for row in rows),
        histograms={figure: _histogram(figure, rows, limits) for figure in LIMITS},
        photos=rows,
        skipped=skipped,
        left_out=left_out,
    )


def _histogram(figure: str, rows: list[PhotoQuality], limits: Limits) -> Histogram:
    values = [value for row in rows if (value := getattr(row, figure)) is not None]
    limit = getattr(limits, LIMITS[figure])
    starts = sorted({float(start) for start in BINS[figure]} | ({limit} - {None}))
    # A photo at its limit is not beyond it: at a maximum it is still in the bin below.
    bisect = bisect_left if LIMITS[figure].startswith("max_") else bisect_right
    places = [bisect(starts, value, 1) - 1 for value in values]
    return Histogram(
        starts=starts,
        counts=[places.count(i) for i in range(len(starts))],
        unknown=len(rows) - len(values),
        beyond=sum(LIMITS[figure] in row.beyond for row in rows),
    )


def _ends(measured: list[tuple[PhotoFile, Quality]], figure: str) -> list[tuple[PhotoFile, float]]:
    """The photos with the least and the most of a figure, from the least up."""
    told = [(f, value) for f, q in measured if (value := getattr(q, figure)) is not None]
    told.sort(key=lambda found: (found[1], found[0].name))
    return told if len(told) <= 2 * ENDS else told[:ENDS] + told[-ENDS:]


def _sheet(
    measured: list[tuple[PhotoFile, Quality]], job: PieceJob, engine: Engine, workers: int
) -> np.ndarray:
    """A row for each figure: the photos at both ends, each named with its value."""
    ends = {figure: _ends(measured, figure) for figure in LIMITS}
    wanted: dict[PhotoFile, list[str]] = {}
    for figure, shown in ends.items():
        for file, _ in shown:
            wanted.setdefault(file, []).append(figure)
    works = [PieceWork(file, tuple(figures)) for file, figures in wanted.items()]
    with closing(engine(job, works, workers, job.bytes_of)) as found:
        pieces = {work.file: cut for work, cut in zip(works, found, strict=True)}
    side = TILE * ENLARGED
    rows = []
    for figure, shown in ends.items():
        blank = [""] * (2 * ENDS - len(shown))
        labels = [f"{value:g} {_ascii(file.name)}"[:LETTERS] for file, value in shown]
        crops = [pieces[file][figure] for file, _ in shown]
        large = [crop.repeat(ENLARGED, 0).repeat(ENLARGED, 1) for crop in crops]
        large += [np.full((side, side, 3), 255, np.uint8) for _ in blank]
        heading = [figure, *[""] * (2 * ENDS - 1)]
        rows += [label_bar(heading, side), label_bar(labels + blank, side), row_of(large, side)]
    return np.concatenate(rows)


def _ascii(name: str) -> str:
    """The end of a name, of which more fits; OpenCV draws no other letters."""
    return name.encode("ascii", "replace").decode()[-(LETTERS - 6) :]
