"""Values of a result's JSON, each taken as what it should be: a file may be a stranger's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degflow_pipe import json_files
from degflow_pipe.errors import FileError
from degflow_pipe.settings import shown

MOST = 100_000
"""Items of a list or a mapping, at most."""
LONGEST = 4_096
"""Characters of a text."""


@dataclass(frozen=True)
class Found:
    """A value and where it stands. What is asked for and is not there, or is something else,
    raises FileError that names the file and the key.
    """

    value: Any
    where: str

    def _wrong(self, wanted: str) -> FileError:
        return FileError(
            f"{self.where} must be {wanted}, got {shown(self.value)}: make the result again"
        )

    def key(self, name: str) -> Found:
        held = self.value.get(name) if isinstance(self.value, dict) else None
        return Found(held, f"{self.where}.{name}")

    def has(self, name: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(name) is not None

    def items(self) -> Iterator[tuple[str, Found]]:
        if not isinstance(self.value, dict) or len(self.value) > MOST:
            raise self._wrong("a mapping")
        for name, value in self.value.items():
            yield str(name)[:LONGEST], Found(value, f"{self.where}.{shown(name)}")

    def each(self) -> list[Found]:
        if not isinstance(self.value, list) or len(self.value) > MOST:
            raise self._wrong("a list")
        return [Found(value, f"{self.where}[{i}]") for i, value in enumerate(self.value)]

    @property
    def text(self) -> str:
        if not isinstance(self.value, str) or len(self.value) > LONGEST:
            raise self._wrong("a text")
        return self.value

    @property
    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self._wrong("a number")
        return float(self.value)

    @property
    def numbers(self) -> list[float]:
        return [one.number for one in self.each()]

    @property
    def texts(self) -> list[str]:
        return [one.text for one in self.each()]

    @property
    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self._wrong("true or false")
        return self.value


def read_result(path: Path) -> Found:
    """A JSON file that holds a mapping. Raises FileError."""
    value = json_files.read(path)
    if not isinstance(value, dict):
        raise FileError(f"{path} holds no result: it must be a mapping")
    return Found(value, str(path))
