"""target: photos on sheets with markers, to print or show on a screen, and to shoot for `align`."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import defaults, files, folders
from degflow_pipe.alignment.target import GRIDS, NUMBERS, numbers_of, sheet
from degflow_pipe.decoding.decode import opened
from degflow_pipe.errors import PhotoError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.photos import PhotoFile, check_max_pixels, find_photos, read_photo
from degflow_pipe.progress import Progress, Silent

KIND = "set of target sheets"
"""Of the folder, for `folders.one_writer`."""
PDF = "target.pdf"
QUALITY = 95
"""Of the JPEG that a page of the PDF is."""
PAPERS = {"a4": (210, 297), "a3": (297, 420), "letter": (216, 279)}
"""Shorter and longer side in mm."""
SCREEN = 96
"""Pixels to an inch of a screen's pages."""
LEAST, MOST = 600, 20000
"""Pixels of a sheet's side."""
NOTE = (
    "A screen's grid or a print's dots that HR resolves become detail of HR that no scene has, and "
    "moire in LR: shoot from so far away that they are finer than HR's pixels, and choose photos "
    "of more pixels than their place has in HR."
)


@dataclass
class TargetSummary:
    """What `target` wrote. size: of a sheet, width and height in pixels. small: photos of fewer
    pixels than their place has, which give HR less detail than it could show.
    """

    out: str
    pdf: str
    sheets: int = 0
    photos: int = 0
    size: list[int] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    note: str = NOTE

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def parse_size(text: str, dpi: int) -> tuple[int, int]:
    """Height and width in pixels of `a4`, `a3`, `letter` (lying), or of a screen, `3840x2160`."""
    if text.lower() in PAPERS:
        short, long = PAPERS[text.lower()]
        size = round(short / 25.4 * dpi), round(long / 25.4 * dpi)
    elif match := re.fullmatch(r"([1-9]\d{0,5})[xX]([1-9]\d{0,5})", text):
        size = int(match[2]), int(match[1])
    else:
        raise UsageError(
            f"`size` must be {', '.join(PAPERS)} or pixels such as 3840x2160, got {printable(text)}"
        )
    if min(size) < LEAST or max(size) > MOST:
        raise UsageError(
            f"`size` must give a sheet of {LEAST} to {MOST} pixels on a side, got {size[1]} x "
            f"{size[0]}"
        )
    return size


def target(
    photos: Sequence[str],
    out: Path,
    *,
    size: str = "a4",
    dpi: int = 300,
    per_sheet: int = 4,
    max_pixels: int = defaults.MAX_PIXELS,
    progress: Progress | None = None,
) -> TargetSummary:
    """Write photos as sheets with markers, `sheet-01.png` and so on, and all of them as pages of
    `target.pdf`, to print; `align(target=True)` finds the markers in shots of them.

    photos: files, folders and globs of photos, tars and Parquet files, in the order in which they
    come. out: a new or empty folder, or one that this command made, whose sheets are replaced.
    size: see `parse_size`; dpi: of paper. per_sheet: 1, 2, 4, 6 or 9 photos. A photo that cannot be
    read is skipped and named.

    Raises UsageError, FileError where the folder is not ours, PhotoError where no photo is left.
    """
    if not 72 <= dpi <= 1200:
        raise UsageError(f"`dpi` must be 72 to 1200, got {dpi}")
    if per_sheet not in GRIDS:
        raise UsageError(
            f"`per_sheet` must be one of {', '.join(map(str, GRIDS))}, got {per_sheet}"
        )
    shape = parse_size(size, dpi)
    check_max_pixels(max_pixels)
    summary = TargetSummary(printable(str(out)), printable(str(out / PDF)), size=[*shape[::-1]])
    found = list(find_photos(photos, summary.left_out))
    most = NUMBERS // numbers_of(per_sheet) * per_sheet
    if len(found) > most:
        raise UsageError(
            f"{len(found)} photos are more than there are markers for: give {most} at most, or "
            f"another `per_sheet`"
        )
    with folders.one_writer(out, KIND):
        # It tells of all sheets, so it goes before them.
        old = [name for name in files.names(out, ".png") if re.fullmatch(r"sheet-\d+\.png", name)]
        for name in [PDF, *old]:
            files.remove(out / name)
        sheets = _sheets(out, found, per_sheet, shape, max_pixels, summary, progress)
        files.write_bytes(out / PDF, _pdf(sheets, dpi if size.lower() in PAPERS else SCREEN))
    summary.sheets = len(sheets)
    return summary


def _sheets(
    out: Path,
    found: list[PhotoFile],
    per_sheet: int,
    shape: tuple[int, int],
    max_pixels: int,
    summary: TargetSummary,
    progress: Progress | None,
) -> list[Path]:
    """Write the sheets as PNG."""
    made: list[Path] = []
    held: list[np.ndarray] = []
    png = parse_format("png")
    with (progress or Silent()).task("target", len(found), counts="photos") as task:
        for file in found:
            try:
                held.append(read_photo(file, max_pixels).pixels)
            except PhotoError as error:
                summary.skipped[file.name] = printable(str(error))
                task.note(str(error))
            else:
                summary.photos += 1
                if _is_small(held[-1], per_sheet, shape):
                    summary.small.append(file.name)
            if len(held) == per_sheet or (held and file is found[-1]):
                path = out / f"sheet-{len(made) + 1:02d}.png"
                files.write_bytes(path, png.encode(sheet(held, len(made), per_sheet, shape)))
                made.append(path)
                held = []
            task.advance()
    if not made:
        raise PhotoError(f"no photo could be read: {next(iter(summary.skipped.values()))}")
    return made


def _is_small(photo: np.ndarray, per_sheet: int, shape: tuple[int, int]) -> bool:
    rows, columns = GRIDS[per_sheet]
    return photo.shape[0] * rows < 0.8 * shape[0] and photo.shape[1] * columns < 0.8 * shape[1]


def _pdf(sheets: list[Path], dpi: int) -> bytes:
    """A page a sheet, as JPEG; no time is in it, so the same sheets give the same bytes."""
    made = io.BytesIO()
    with ExitStack() as stack:
        read = (stack.enter_context(files.reading(path)) for path in sheets)
        first, *rest = (stack.enter_context(opened(file)) for file in read)
        first.save(
            made,
            "PDF",
            save_all=True,
            append_images=rest,
            resolution=dpi,
            quality=QUALITY,
            title="degflow-pipe target",
            creationDate=None,
            modDate=None,
        )
    return made.getvalue()
