"""A photo that was found: its name, and how its bytes are opened."""

from __future__ import annotations

import hashlib
import io
import platform
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from degflow_pipe import files
from degflow_pipe.decoding.damage import is_lack
from degflow_pipe.errors import PhotoError
from degflow_pipe.formats.text import printable
from degflow_pipe.places import Remote, Unreachable

UNSAFE = re.compile(r'[%/\\:*?"<>|~]')
"""What no name of a file may have everywhere, and what such characters are written with."""
LONGEST = 100
"""Bytes of a part's name in the name of what is made of it."""


def ends_run(error: BaseException | None) -> bool:
    """Whether it is the machine or the network that fails, and the photo is not to blame: without
    it a run would end in other bytes.
    """
    if is_lack(error):
        return True
    while error is not None and not isinstance(error, Unreachable):
        error = error.__cause__
    return error is not None


def _plain(name: str) -> str:
    """A part's name as one of a file; of two names two come, whatever their characters."""
    plain = UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)
    if len(plain.encode()) <= LONGEST:
        return plain
    digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    return f"{plain.encode()[:LONGEST].decode(errors='ignore')}~{digest}"


class Part(Protocol):
    """Where in a file a photo lies; can be pickled.

    name: what it is called there. size: in bytes, None where that is known when it is read.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int | None: ...

    def opened(self, path: Path) -> AbstractContextManager[io.BufferedIOBase]:
        """Its bytes, to read and seek in. Raises PhotoError, and FileError as `files.reading`."""


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """Where a photo is, and the name it has in every output: its path below the folder given, and
    after `::` what it is called in a file of many.

    The name is valid text: bytes that are no UTF-8 and control characters are escaped. part: where
    it lies in such a file. problem: why it cannot be opened, where that is known already.
    """

    path: Path
    name: str
    part: Part | None = None
    problem: str = ""

    def __post_init__(self) -> None:
        inside = "" if self.part is None else f"::{self.part.name}"
        object.__setattr__(self, "name", printable(self.name + inside))

    def __str__(self) -> str:
        inside = "" if self.part is None else f"::{self.part.name}"
        return printable(f"{self.path}{inside}")

    @property
    def stem(self) -> str:
        """What is made of it is called so, below a folder; no part's name gives it a folder, and
        none of one file are alike: their endings are kept, and `/` is %2F.
        """
        if self.part is None:
            return PurePosixPath(self.name).with_suffix("").as_posix()
        inside = printable(self.part.name)
        return f"{self.name.removesuffix(f'::{inside}')}_{_plain(inside)}"

    def length(self) -> int | None:
        """Its bytes, None where it is not there or where that is known when it is read."""
        if self.problem:
            return None
        if self.part is not None:
            return self.part.size
        return files.size(self.path) if files.is_file(self.path) else None

    @contextmanager
    def opened(self) -> Iterator[io.BufferedIOBase]:
        """Its bytes, to read and seek in. Raises PhotoError, and FileError as `files.reading`;
        Unreachable where its folder is not there, which was when it was found.
        """
        if self.problem:
            raise PhotoError(f"{self}: {self.problem}")
        self._require_folder()
        if self.part is None:
            with files.reading(self.path) as file:
                yield file
            return
        with self.part.opened(self.path) as inside:
            yield inside

    def _require_folder(self) -> None:
        """A cluster's machines may not all have a folder; a photo alone may have gone."""
        folder = self.path.parent
        if not isinstance(folder, Remote) and not files.exists(folder):
            raise Unreachable(
                f"{self}: its folder is not on the machine {platform.node()}: give all machines "
                f"the same folders, or photos at a URL"
            )
