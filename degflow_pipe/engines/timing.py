"""What a unit took, and where: measured by the worker that did it, as a part of its record."""

from __future__ import annotations

import os
import platform
import time
from typing import NamedTuple


class Took(NamedTuple):
    """seconds: from the beginning to the end of a unit's work. worker: `HOST:PID`."""

    seconds: float
    worker: str


class Clock:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    @property
    def took(self) -> Took:
        """Until now."""
        return Took(time.perf_counter() - self._begun, f"{platform.node()}:{os.getpid()}")
