"""A photo that was found: its name, and how its bytes are opened."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from degflow_pipe import files
from degflow_pipe.errors import PhotoError
from degflow_pipe.formats.text import printable


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
        """What is made of it is called so, below a folder; no part's name gives it a folder."""
        if self.part is None:
            return PurePosixPath(self.name).with_suffix("").as_posix()
        inside = printable(self.part.name)
        plain = re.sub(r"[/\\:]", "_", PurePosixPath(inside).with_suffix("").as_posix())
        return f"{self.name.removesuffix(f'::{inside}')}_{plain}"

    def length(self) -> int | None:
        """Its bytes, None where it is not there or where that is known when it is read."""
        if self.problem:
            return None
        if self.part is not None:
            return self.part.size
        return files.size(self.path) if files.is_file(self.path) else None

    @contextmanager
    def opened(self) -> Iterator[io.BufferedIOBase]:
        """Its bytes, to read and seek in. Raises PhotoError, and FileError as `files.reading`."""
        if self.problem:
            raise PhotoError(f"{self}: {self.problem}")
        if self.part is None:
            with files.reading(self.path) as file:
                yield file
            return
        with self.part.opened(self.path) as inside:
            yield inside
