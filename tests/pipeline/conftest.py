"""Fixtures of the pipeline's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """`tree(folder)`: the bytes of every file below a folder, by its path there."""

    def read(folder: Path) -> dict[str, bytes]:
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    return read


@pytest.fixture(scope="session")
def stamps() -> Callable[[Path, str], dict[str, tuple[int, int]]]:
    """`stamps(folder, glob)`: what changes of a file when it is written again, even to the same."""

    def read(folder: Path, pattern: str) -> dict[str, tuple[int, int]]:
        found = sorted(folder.glob(pattern))
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    return read


@pytest.fixture(scope="session")
def flip() -> Callable[[Path], None]:
    """`flip(path)`: change one bit in the middle of a file."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)

    return change
