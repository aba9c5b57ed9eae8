"""How long work tells of itself: stages call this face, the command line draws it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of long work."""

    def advance(self, count: float = 1) -> None:
        """So much more is done; also called from workers' threads."""

    def show(self, text: str) -> None:
        """What stands beside the amount from now on, such as a loss."""

    def note(self, text: str) -> None:
        """A line worth keeping, such as a validation figure or a skipped photo."""


class Progress(Protocol):
    """Starts tasks."""

    @contextmanager
    def task(
        self, name: str, total: float | None, done: float = 0, counts: str = ""
    ) -> Iterator[Task]:
        """total: None where the amount is not known ahead; done: what was there. counts: what is
        counted, such as `pairs`.
        """
        ...


class _SilentTask:
    def advance(self, count: float = 1) -> None:
        pass

    def show(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Silent:
    """No output: the default of every stage when it is called as a function."""

    @contextmanager
    def task(
        self, name: str, total: float | None, done: float = 0, counts: str = ""
    ) -> Iterator[Task]:
        yield _SilentTask()
