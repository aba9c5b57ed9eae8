"""What the doctor looks at and what it finds: pictures, the pairs a trainer makes, a report."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from os.path import splitext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from degflow_pipe import files
from degflow_pipe.decoding.decode import no_picture, opened
from degflow_pipe.errors import DegflowError, PhotoError
from degflow_pipe.exports import owned
from degflow_pipe.exports.results import Finding
from degflow_pipe.pictures.arrays import decoded
from degflow_pipe.pictures.photos import MAX_PIXELS, read_file

PNG_MARK = b"\x89PNG\r\n\x1a\n"
EXAMPLES = 10
"""Findings of a kind that are told; all are counted."""
LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini")
"""What desktops leave in folders of pictures, beside hidden files."""
PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".gif", ".avif")
"""Endings of what somebody may have meant to be read."""
CURES = {
    "colour": "save both pictures with red, green and blue in one order",
    "content": "pair each LR with its own HR, or take the pair out",
    "export": "run the `export` again that made them; where you took them out, delete pairs.jsonl",
    "crop": "take larger pictures, or crop less",
    "grey": "save both pictures with their colours, or take the pair out",
    "mixed scales": "give each scale a folder and an option file of its own",
    "no HR": "add the HR, name the LR as its HR asks, or take the LR out",
    "no LR": "add the LR, name it as its HR asks, or take the HR out",
    "order": "name LR so that they sort as their HR do",
    "ratio": "pair each LR with its own HR, or make the LR again, HR's sides over the scale",
    "renamed": "give both sides the names again that export wrote, which pairs.jsonl has",
    "shift": "align the shots again, move all LR back where all lie alike, or take the pairs out",
    "tone": "develop HR and LR with one and the same tone curve",
    "unreadable": "save or copy these pictures again, or take the pairs out",
}
"""What to do about findings of a kind, where their words do not say it."""


def png_size(data: bytes) -> tuple[int, int] | None:
    """Height and width that a PNG's header says; None for bytes that are no PNG."""
    if data[:8] != PNG_MARK or len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def whole_png(data: bytes, side: int) -> bool:
    """Whether the bytes are a PNG of side x side pixels, every chunk of it there and of its sum."""
    if png_size(data) != (side, side):
        return False
    at, view = len(PNG_MARK), memoryview(data)
    while at + 12 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        end = at + 12 + size
        if (
            end > len(data)
            or zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]
        ):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return end == len(data)
        at = end
    return False


@dataclass(frozen=True)
class Header:
    """What a picture's header says. size: height and width in pixels as a trainer sees them.

    alpha: whether it has a channel of transparency. deep: `grey` or `colour` where a value has 16
    bits, else empty.
    """

    size: tuple[int, int]
    alpha: bool
    deep: str


@dataclass(frozen=True)
class Picture:
    """A picture that a trainer would read: its name, and how to have its bytes."""

    name: str
    read: Callable[[], bytes]
    path: Path | None = None

    def header(self, turns: bool) -> Header:
        """What can be told without decoding. Raises PhotoError.

        turns: whether the trainer turns pictures as their EXIF says.
        """
        try:
            if self.path is None:
                return self._header(io.BytesIO(self.read()), turns)
            if not files.is_file(self.path):
                raise PhotoError(f"{self.name}: not there, or not a regular file")
            with files.reading(self.path) as file:
                return self._header(file, turns)
        except DegflowError as error:
            raise PhotoError(str(error)) from error

    def _header(self, file: Any, turns: bool) -> Header:
        try:
            with opened(file) as image:
                size, bands = (image.height, image.width), image.getbands()
                # Pillow calls colours of 16 bits RGB: what the file has is told by its first tile,
                # which is gone when its EXIF was read.
                deep = ";16" in str(getattr(image, "tile", ""))
                if turns and _turned(image):
                    height, width = self.pixels(turns).shape[:2]
                    size = height, width
                kind = "colour" if len(bands) > 2 else "grey"
                return Header(size, alpha="A" in bands, deep=kind if deep else "")
        except PhotoError:
            raise
        except UnidentifiedImageError as error:
            raise PhotoError(no_picture(self.name, file)) from error
        except Exception as error:  # damaged files make Pillow raise nearly anything
            raise PhotoError(f"{self.name}: no readable header: {error}") from error

    def pixels(self, turns: bool) -> np.ndarray:
        """(H, W, 3) uint8 RGB as a trainer has them: no profile is heeded. Raises PhotoError."""
        data = self.read()
        try:
            with opened(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise PhotoError(f"{self.name}: more than {MAX_PIXELS} pixels")
                image.load()
                turn = turns and _turned(image)
                if not turn and image.mode == "RGB":
                    return np.array(image)
                if not turn and image.mode in ("RGBA", "L", "LA", "P"):
                    return np.array(image.convert("RGB"))
        except PhotoError:
            raise
        except Exception as error:  # damaged files make Pillow raise nearly anything
            raise PhotoError(f"{self.name}: damaged or truncated: {error}") from error
        # Pillow found it whole; OpenCV turns it as the trainers that use it do, and has 16 bits.
        pixels = decoded(data, turn)
        if pixels is None:
            raise PhotoError(f"{self.name}: OpenCV cannot decode it")
        return np.ascontiguousarray(pixels)


def _turned(image: Image.Image) -> bool:
    return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def file_picture(folder: Path, path: Path) -> Picture:
    """A picture file, named by its path below the folder."""
    return Picture(path.relative_to(folder).as_posix(), lambda: read_file(path)[0], path)


@dataclass(frozen=True)
class Found:
    """A pair as a trainer makes it.

    wanted: HR over LR where the pair's folder says it; None where the trainer's options or the
    pictures themselves do. least: side in pixels that the trainer crops from HR, where its reader
    fixes it. fits: whether the sizes are those of a pair; else nothing but content is compared.
    """

    hr: Picture
    lr: Picture
    wanted: float | None = None
    least: int = 1
    fits: bool = True


def file_pair(folder: Path, hr: str, lr: str, wanted: float | None = None, least: int = 1) -> Found:
    """A pair of files, given by their paths below the folder."""
    pictures = file_picture(folder, folder / hr), file_picture(folder, folder / lr)
    return Found(*pictures, wanted, least)


@dataclass
class Report:
    """Findings by kind, with their number and the first few."""

    findings: dict[str, Finding] = field(default_factory=dict)

    def add(self, kind: str, *texts: str) -> None:
        for text in texts:
            found = self.findings.setdefault(kind, Finding(0, [], CURES.get(kind, "")))
            found.count += 1
            if len(found.examples) < EXAMPLES:
                found.examples.append(text)


def is_litter(name: str) -> bool:
    """Whether a file is hidden or a desktop's, and so no picture that anyone meant to be read."""
    return name.startswith(".") or name.lower() in LITTER


def is_picture(name: str) -> bool:
    """Whether a file has the ending of a picture, be it one that the trainer reads or not."""
    return splitext(name)[1].lower() in PICTURES


def unread(name: str, twins: Container[str], ending: str = ".png") -> str:
    """What to do with a file that is not read for its ending, where `ending` is.

    twins: names without endings of those that are read.
    """
    stem, own = splitext(name)
    if not is_picture(name) or stem in twins:
        return "take it out"
    return f"rename it to {ending}" if own.lower() == ending else f"save it as {ending}"


def instead_of(folder: Path) -> str:
    """Which folder beside it may be meant, where it is not there: one of nearly its name."""
    there = {name.lower(): name for name in files.names(folder.parent)}
    near = get_close_matches(folder.name.lower(), list(there), n=1, cutoff=0.5)
    found = [there[name] for name in near if files.is_folder(folder.parent / there[name])]
    return f"; {found[0]} is there: rename it" if found else ""


def visible_files(folder: Path, root: Path, report: Report) -> list[Path] | None:
    """All files below a folder but hidden ones, sorted; a finding and None where it is not there
    or empty.
    """
    name = folder.relative_to(root).as_posix()
    if not files.is_folder(folder):
        report.add("structure", f"{name}: no such folder{instead_of(folder)}")
        return None
    found = list(files.walk(folder))
    if not found:
        report.add("structure", f"{name}: no pictures")
        return None
    return found


def same_names(hr: Iterable[str], lr: Iterable[str], report: Report, sides: str) -> list[str]:
    """Names on both sides, sorted; a finding for each that is on one only, or that has another
    ending on the other side.

    sides: of the folders of HR and LR, such as `gt lq`.
    """
    there, beside = set(hr), set(lr)
    hr_side, lr_side = sides.split()
    left = {splitext(name)[0]: name for name in beside - there if is_picture(name)}
    for name in sorted(filter(is_picture, there - beside)):
        if other := left.pop(splitext(name)[0], None):
            report.add(
                "names",
                f"{hr_side}/{name} and {lr_side}/{other} have other endings: save both as one kind "
                f"of picture",
            )
            there.discard(name)
            beside.discard(other)
    report.add("no LR", *(f"{hr_side}/{n} has no {lr_side}/{n}" for n in sorted(there - beside)))
    report.add("no HR", *(f"{lr_side}/{n} has no {hr_side}/{n}" for n in sorted(beside - there)))
    return sorted(there & beside)


def text_lines(path: Path, root: Path, report: Report) -> list[str] | None:
    """Lines of a text file; a finding and None where it cannot be read."""
    if not files.is_there(path):
        report.add("structure", f"{path.relative_to(root).as_posix()}: no such list")
        return None
    try:
        data = files.read_bytes(path, owned.MAX_LIST_BYTES)
        if data.count(b"\n") > owned.MAX_LIST_LINES:
            raise ValueError(f"more than {owned.MAX_LIST_LINES} lines")
        return data.decode().splitlines()
    except (DegflowError, ValueError) as error:
        report.add("structure", f"{path.relative_to(root).as_posix()}: cannot be read: {error}")
        return None


def suffix_of(hr: Iterable[str], lr: Iterable[str]) -> str:
    """What LR have after the name of their HR, as 0001x4.png after 0001.png; else nothing.

    Names are without endings; one suffix must hold for nearly all LR.
    """
    there = set(hr)
    counts: dict[str, int] = {}
    total = 0
    for name in lr:
        total += 1
        if found := re.fullmatch(r"(.+?)([_-]?(?:x\d+(?:\.\d+)?|lr\d*|lq))", name, re.IGNORECASE):
            stem, suffix = found.groups()
            if stem in there and name not in there:
                counts[suffix] = counts.get(suffix, 0) + 1
    best = max(counts, key=lambda suffix: counts[suffix], default="")
    return best if best and counts[best] > total // 2 else ""


def by_place(
    folder: Path,
    hr: Sequence[Path],
    lr: Sequence[Path],
    report: Report,
    wanted: float | None = None,
) -> Iterator[Found]:
    """The pictures of both lists paired by their place, as trainers do that do not look at names.

    Findings for unequal numbers, for an LR with the name of no HR, and for a pair of other names
    where the LR's own HR is there; such pairs are left out.
    """
    sides = [side[0].parent.relative_to(folder).as_posix() for side in (hr, lr) if side]
    suffix = suffix_of((path.stem for path in hr), (path.stem for path in lr))
    if len(hr) != len(lr):
        report.add(
            "counts",
            f"{' and '.join(sides)}: {len(hr)} HR for {len(lr)} LR: take out what is on one side",
        )
        named = {path.stem: path.relative_to(folder).as_posix() for path in hr}
        beside = {
            path.stem.removesuffix(suffix): path.relative_to(folder).as_posix() for path in lr
        }
        if 2 * len(named.keys() & beside.keys()) > len(named):  # else names have nothing to tell
            alone = sorted(named.keys() - beside.keys()), sorted(beside.keys() - named.keys())
            report.add("no LR", *(f"{named[name]} has no LR" for name in alone[0]))
            report.add("no HR", *(f"{beside[name]} has no HR" for name in alone[1]))
        return
    places = {path.stem: i for i, path in enumerate(hr)}
    owns = [p.stem if p.stem in places else p.stem.removesuffix(suffix) for p in lr]
    strangers = [i for i, own in enumerate(owns) if own not in places]
    if 2 * len(strangers) > len(lr):  # then names have nothing to tell
        strangers = []
    moved = [i for i, own in enumerate(owns) if places.get(own, i) != i]
    # What is paired wrongly is told by names; that it looks so, comes of it.
    if strangers:
        report.add(
            "order",
            *(
                f"{lr[i].relative_to(folder).as_posix()} has the name of no HR, and all are paired "
                f"by their place: rename it as its HR"
                for i in strangers
            ),
        )
    else:
        report.add(
            "order",
            *(
                f"{lr[i].relative_to(folder).as_posix()} is paired with "
                f"{hr[i].relative_to(folder).as_posix()}, by its place; "
                f"{hr[places[owns[i]]].name} is there"
                for i in moved
            ),
        )
    wrong = {*strangers, *moved}
    for i, (one, other) in enumerate(zip(hr, lr, strict=True)):
        if i not in wrong:
            yield Found(file_picture(folder, one), file_picture(folder, other), wanted)
