"""Photos decoded lately: those that were measured a moment ago are not decoded again to be cropped.

Each process has its own, within a budget of bytes; what is not in it is decoded again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from degflow_pipe.engines.threads import Room
from degflow_pipe.pictures.photos import Photo, decode, decoded_bytes, read_file

BUDGET = 512 * 1024**2
"""Bytes of pixels that are held, and bytes that decoding takes at once beside them."""


class Recent:
    """Decoded photos by the hash of their file, the last ones used."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget, self._held = budget, 0
        self._photos: OrderedDict[str, Photo] = OrderedDict()
        self._lock = threading.Lock()
        self._room = Room(budget)

    def hold(self, photo: Photo) -> None:
        """Keep a photo for those that come for it soon; the oldest ones make room."""
        with self._lock:
            if photo.sha256 in self._photos or photo.pixels.nbytes > self._budget:
                return
            self._photos[photo.sha256] = photo
            self._held += photo.pixels.nbytes
            while self._held > self._budget:
                _, gone = self._photos.popitem(last=False)
                self._held -= gone.pixels.nbytes

    def drop(self, sha256: str) -> None:
        """Nobody will come for it any more."""
        with self._lock:
            if (gone := self._photos.pop(sha256, None)) is not None:
                self._held -= gone.pixels.nbytes

    def get(self, path: Path, sha256: str, max_pixels: int) -> Photo:
        """A photo by the hash of its file, decoded where it is not held.

        The hash of what was read is in the answer: the file may have been changed meanwhile. Raises
        as `photos.read_photo`.
        """
        with self._lock:
            if (held := self._photos.get(sha256)) is not None:
                self._photos.move_to_end(sha256)
                return held
        with self._room.of(decoded_bytes(path, max_pixels)):
            with self._lock:
                if (held := self._photos.get(sha256)) is not None:
                    return held
            data, found = read_file(path)
            decoded = decode(data, str(path), max_pixels)
            photo = Photo(decoded.pixels, found, decoded.colour, decoded.unchecked)
            self.hold(photo)
            return photo
