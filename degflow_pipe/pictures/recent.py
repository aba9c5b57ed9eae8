"""Pixels of photos that were decoded lately: what was measured a moment ago is not decoded again to
be cropped.

Each process has its own, within a budget of bytes; what is not in it is decoded again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from degflow_pipe.engines.threads import Room
from degflow_pipe.errors import PhotoError
from degflow_pipe.pictures.patches import crop_at
from degflow_pipe.pictures.photos import PhotoFile, decode, decoded_bytes, read_file

BUDGET = 256 * 1024**2
"""Bytes of pixels that are held, but for a photo that has more alone, and bytes that decoding takes
at once beside them."""


@dataclass(frozen=True)
class Held:
    """A photo, (H, W, 3) uint8, or those of its crops that may be wanted, by (y, x)."""

    photo: np.ndarray | None = None
    crops: Mapping[tuple[int, int], np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, photo: np.ndarray, side: int, places: Sequence[tuple[int, int]]) -> Held:
        """Photo or crops, whichever takes less: a photo may be flat, and crops may overlap."""
        if len(places) * side * side * 3 >= photo.nbytes:
            return cls(photo=photo)
        return cls(crops={(y, x): crop_at(photo, side, y, x).copy() for y, x in places})

    @property
    def bytes(self) -> int:
        photo = 0 if self.photo is None else self.photo.nbytes
        return photo + sum(crop.nbytes for crop in self.crops.values())

    def crop(self, side: int, y: int, x: int) -> np.ndarray | None:
        """The crop whose top left corner is at (y, x), where it is held."""
        if self.photo is not None:
            return crop_at(self.photo, side, y, x)
        return self.crops.get((y, x))


class Recent:
    """What is held of photos, by the hash of their file, the last ones used."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget, self._size = budget, 0
        self._photos: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.Lock()
        self._room = Room(budget)

    def hold(self, sha256: str, held: Held) -> None:
        """Keep it for those that come for it soon; the oldest others make room."""
        with self._lock:
            self._drop(sha256)
            self._photos[sha256] = held
            self._size += held.bytes
            while self._size > self._budget and len(self._photos) > 1:
                self._drop(next(iter(self._photos)))

    def drop(self, sha256: str) -> None:
        """Nobody will come for it any more."""
        with self._lock:
            self._drop(sha256)

    def _drop(self, sha256: str) -> None:
        if (gone := self._photos.pop(sha256, None)) is not None:
            self._size -= gone.bytes

    def crops(
        self,
        file: PhotoFile,
        sha256: str,
        max_pixels: int,
        side: int,
        places: Sequence[tuple[int, int]],
    ) -> list[np.ndarray]:
        """Crops of a photo by the hash of its file, which is decoded once where it is not held.

        places: (y, x) of their top left corners. Raises PhotoError where the file is another one by
        now, and as `photos.read_photo`.
        """
        if (found := self._held(sha256, side, places)) is not None:
            return found
        with self._room.of(decoded_bytes(file, max_pixels)):
            if (found := self._held(sha256, side, places)) is not None:
                return found
            data, digest = read_file(file)
            if digest != sha256:
                raise PhotoError(f"{file} was changed while it was ingested: run `ingest` again")
            photo = decode(data, str(file), max_pixels).pixels
            self.hold(sha256, Held(photo))
            return [crop_at(photo, side, y, x) for y, x in places]

    def _held(
        self, sha256: str, side: int, places: Sequence[tuple[int, int]]
    ) -> list[np.ndarray] | None:
        with self._lock:
            if (held := self._photos.get(sha256)) is None:
                return None
            self._photos.move_to_end(sha256)
        found = [crop for y, x in places if (crop := held.crop(side, y, x)) is not None]
        return found if len(found) == len(places) else None
