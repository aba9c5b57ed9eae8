"""What workers tell of a unit before it is whole, for whoever watches."""

from __future__ import annotations

import threading
from collections.abc import Callable

Hear = Callable[[int], None]
"""Takes how much more is done of what is counted; called from any thread."""

_here = threading.local()


def tick(count: int) -> None:
    """In the thread that does a unit: so much more of it is done. Nothing where nobody hears."""
    if hear := getattr(_here, "hear", None):
        hear(count)


def heard_by(hear: Hear | None) -> None:
    """Whoever hears the units of this thread from now on."""
    _here.hear = hear


class Amount:
    """Takes what workers tell of their units, and whole units where an engine brings nothing else.

    add: takes how much more there is.
    """

    def __init__(self, add: Callable[[int], None]) -> None:
        self._add, self._lock = add, threading.Lock()
        self._heard = self._whole = self._shown = 0

    def hear(self, count: int) -> None:
        """See `Hear`."""
        with self._lock:
            self._heard += count
            self._move()

    def whole(self, count: int) -> None:
        """Units of so much are done, of which nothing or all was heard."""
        with self._lock:
            self._whole += count
            self._move()

    def _move(self) -> None:
        # All of a whole unit was heard before, or will never be.
        now = max(self._shown, self._heard, self._whole)
        more, self._shown = now - self._shown, now
        if more:
            self._add(more)
