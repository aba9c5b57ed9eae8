"""Ctrl-C and a polite kill during training: the step that they fall into is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from degflow_pipe.errors import Stopped


class Stops:
    """From `with` on, SIGINT and SIGTERM are noted, not acted on: see `asked` and `act`.

    together: several processes are stopped at once, each more than once (by the terminal and by
    their launcher), so a second signal means no more than the first; where there is one process, a
    second one is acted on at once.
    """

    def __init__(self, together: bool) -> None:
        self._together = together
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        return self._number is not None

    def __enter__(self) -> Stops:
        # Only the main thread may set handlers, and only it is interrupted.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if handler not in (None, signal.SIG_IGN):
                    self._before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and not self._together:
            self.__exit__()
            signal.raise_signal(number)
        self._number = number

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """In the block they are acted on at once."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def act(self) -> None:
        """What the signal would have done; raises Stopped where it came to another process."""
        number, self._number = self._number, None
        if number is None:
            raise Stopped("another process was stopped")
        with self.let_through():
            signal.raise_signal(number)
