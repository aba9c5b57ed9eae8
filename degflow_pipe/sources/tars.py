"""Photos in plain tars, such as WebDataset's: found by one pass over the headers, each read by its
range of bytes.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from degflow_pipe import files
from degflow_pipe.decoding.damage import is_lack
from degflow_pipe.errors import DegflowError, FileError
from degflow_pipe.formats.tarfiles import Found, each, sample_key
from degflow_pipe.formats.text import printable
from degflow_pipe.sources.endings import count, is_picture
from degflow_pipe.sources.photo_file import PhotoFile

LONGEST = 1000
"""Characters of a member's name."""
SHOWN = 80
"""Characters that are shown of a longer one."""
PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
"""How compressed files begin."""


@dataclass(frozen=True, slots=True)
class Span:
    """A member of a tar: its size in bytes, from its first one on."""

    name: str
    start: int
    size: int

    def opened(self, path: Path) -> AbstractContextManager[io.BufferedIOBase]:
        return files.reading(path, span=(self.start, self.start + self.size))


def photos_in_tar(path: Path, name: str, others: dict[str, int]) -> Iterator[PhotoFile]:
    """Every member with a picture's ending of the samples of a tar, in order; the others are
    counted by ending.

    Members with the name of an earlier one, with a name that leads out of the tar or that has too
    many characters, and those that are cut off, come with their problem; so does the tar itself, in
    the end, where it cannot be read on. Raises FileError as `files.reading`.
    """
    with files.reading(path) as file:
        length = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(8)
        file.seek(0)
        if kind := next((kind for mark, kind in PACKED.items() if head.startswith(mark)), None):
            yield PhotoFile(path, name, problem=f"it is compressed ({kind}): unpack it first")
            return
        seen: Counter[str] = Counter()
        try:
            for _, info in each(file, "r:", Found):
                if info.isdir():
                    continue
                ending = PurePosixPath(info.name).suffix.lower()
                if not is_picture(ending) or sample_key(info) is None:
                    count(ending if info.isreg() else "(link)", others)
                    continue
                yield _photo(path, name, info.name, (info.offset_data, info.size), length, seen)
        except DegflowError:
            raise
        # What tarfile makes of a damaged tar is not written down anywhere, and nothing of ours runs
        # in here but what asks for the next photo, whose errors do not come this way.
        except Exception as error:
            if is_lack(error):
                raise FileError(f"{path}: cannot read: {error}") from error
            taken = sum(seen.values())
            yield PhotoFile(
                path,
                name,
                problem=f"damaged: {printable(str(error))}, after {taken} photos: copy it anew",
            )


def _photo(
    path: Path, tar: str, member: str, place: tuple[int, int], length: int, seen: Counter[str]
) -> PhotoFile:
    start, size = place
    label, problem = printable(member), ""
    if len(label) > LONGEST:
        problem = f"a name of {len(label)} characters, more than the limit of {LONGEST}"
        label = f"{label[:SHOWN]}...@{start}"
    elif member.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", member):
        problem = "its name leads out of the tar: rename it"
    elif start + size > length:
        problem = f"the tar ends {start + size - length} bytes before it does: copy it anew"
    seen[label] += 1
    if seen[label] > 1:
        problem = problem or f"{label} is in the tar already, and that one is taken"
        label += f"#{seen[label]}"
    return PhotoFile(path, tar, Span(label, start, size), problem)
