"""What the doctor looks at and what it finds: pictures, the pairs a trainer makes, a report."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import files
from degflow_pipe.errors import DegflowError, PhotoError
from degflow_pipe.photos import decode_photo, picture_size, read_file

PNG_MARK = b"\x89PNG\r\n\x1a\n"
EXAMPLES = 10
"""Findings of a kind that are told; all are counted."""


def png_size(data: bytes) -> tuple[int, int] | None:
    """Height and width that a PNG's header says; None for bytes that are no PNG."""
    if data[:8] != PNG_MARK or len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return height, width


@dataclass(frozen=True)
class Picture:
    """A picture that a trainer would read: its name, and how to have its bytes."""

    name: str
    read: Callable[[], bytes]
    path: Path | None = None

    def size(self) -> tuple[int, int]:
        """Height and width in pixels by the header. Raises PhotoError."""
        if self.path is not None:
            return picture_size(self.path)
        found = png_size(self.read())
        if found is None:
            raise PhotoError(f"{self.name}: not a PNG picture")
        return found

    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB. Raises PhotoError."""
        return decode_photo(self.read(), self.name)


def file_picture(folder: Path, path: Path) -> Picture:
    """A picture file, named by its path below the folder."""
    return Picture(path.relative_to(folder).as_posix(), lambda: read_file(path)[0], path)


@dataclass(frozen=True)
class Found:
    """A pair as a trainer makes it.

    wanted: HR over LR where the pair's folder says it; None where the trainer's options or the
    pictures themselves do.
    """

    hr: Picture
    lr: Picture
    wanted: float | None = None


def file_pair(folder: Path, hr: str, lr: str, wanted: float | None = None) -> Found:
    """A pair of files, given by their paths below the folder."""
    return Found(file_picture(folder, folder / hr), file_picture(folder, folder / lr), wanted)


@dataclass
class Report:
    """Findings by kind, with their number and the first few."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, *texts: str) -> None:
        for text in texts:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            told = self.examples.setdefault(kind, [])
            if len(told) < EXAMPLES:
                told.append(text)

    def to_dict(self) -> dict[str, Any]:
        return {
            kind: {"count": count, "examples": self.examples[kind]}
            for kind, count in self.counts.items()
        }


def visible_files(folder: Path, root: Path, report: Report) -> list[Path] | None:
    """All files below a folder but hidden ones, sorted; a finding and None where it is not there
    or empty.
    """
    name = folder.relative_to(root).as_posix()
    if not files.is_folder(folder):
        report.add("structure", f"{name}: no such folder")
        return None
    found = list(files.walk(folder))
    if not found:
        report.add("structure", f"{name}: no pictures")
        return None
    return found


def same_names(hr: Iterable[str], lr: Iterable[str], report: Report, sides: str) -> list[str]:
    """Names on both sides, sorted; a finding for each that is on one only.

    sides: of the folders of HR and LR, such as `gt lq`.
    """
    there, beside = set(hr), set(lr)
    hr_side, lr_side = sides.split()
    report.add("no LR", *(f"{hr_side}/{n} has no {lr_side}/{n}" for n in sorted(there - beside)))
    report.add("no HR", *(f"{lr_side}/{n} has no {hr_side}/{n}" for n in sorted(beside - there)))
    return sorted(there & beside)


def text_lines(path: Path, root: Path, report: Report) -> list[str] | None:
    """Lines of a text file; a finding and None where it cannot be read."""
    try:
        return files.read_bytes(path).decode().splitlines()
    except (DegflowError, ValueError) as error:
        report.add("structure", f"{path.relative_to(root).as_posix()}: cannot be read: {error}")
        return None


def by_place(
    folder: Path,
    hr: Sequence[Path],
    lr: Sequence[Path],
    report: Report,
    wanted: float | None = None,
) -> Iterator[Found]:
    """The pictures of both lists paired by their place, as trainers do that do not look at names.

    Findings for unequal numbers, and for a pair of other names where the LR's own HR is there.
    """
    sides = [side[0].parent.relative_to(folder).as_posix() for side in (hr, lr) if side]
    if len(hr) != len(lr):
        report.add("counts", f"{' and '.join(sides)}: {len(hr)} HR for {len(lr)} LR")
        return
    places = {path.stem: i for i, path in enumerate(hr)}
    for i, (one, other) in enumerate(zip(hr, lr, strict=True)):
        pair = Found(file_picture(folder, one), file_picture(folder, other), wanted)
        if places.get(other.stem, i) != i:
            report.add(
                "shifted",
                f"{pair.lr.name} is paired with {pair.hr.name}, by its place; "
                f"{hr[places[other.stem]].name} is there",
            )
        yield pair
