"""A log at a remote place, which has no files that are added to."""

from __future__ import annotations

import time

from degflow_pipe.places import guard, objects
from degflow_pipe.places.place import Remote

LINES = 256
SECONDS = 10.0
"""A log is sent when so much was added to it, or so long ago it was sent: what a writer that is
killed loses is what it added since."""


class RemoteLog:
    """A file that is added to, sent whole each time; see `logs.Log`."""

    def __init__(self, path: Remote, end: int) -> None:
        self._path = path
        found = objects.read_span(path, 0, end + 1) if end else b""
        self._data = bytearray(found[:end])
        # What is after the end goes with the next sending, be it all there is to send.
        self._added, self._sent = int(len(found) > end), time.monotonic()

    def add(self, line: bytes) -> None:
        guard.require(self._path)  # else what is noted would be lost without a word
        self._data += line
        self._added += 1
        if self._added >= LINES or time.monotonic() - self._sent >= SECONDS:
            self.sync()

    def sync(self) -> None:
        if self._added:
            objects.write(self._path, bytes(self._data))
            self._added, self._sent = 0, time.monotonic()

    def held(self) -> bytes:
        return bytes(self._data)

    def close(self) -> None:
        self.sync()
