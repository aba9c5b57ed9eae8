"""What an engine runs: work as data, and units of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

Unit = TypeVar("Unit", contravariant=True)
Record = TypeVar("Record", covariant=True)


class Job(Protocol[Unit, Record]):
    """Work of one kind, as data that can be pickled.

    One that computes on a GPU says so as `device`: `cuda`; others need not say anything.
    """

    def open(self) -> AbstractContextManager[Callable[[Unit], Record]]:
        """Load what the work needs, here; within, the function does it, unit by unit."""
