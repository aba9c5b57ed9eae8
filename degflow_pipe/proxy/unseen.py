"""Photos that SR is trained on beside the pairs: none of those that it is tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from degflow_pipe.errors import DataError
from degflow_pipe.formats.said import number_of
from degflow_pipe.pairs.pairs import Scene
from degflow_pipe.pictures.patches import check_size
from degflow_pipe.pictures.photos import PhotoFile, picture_size, read_photo
from degflow_pipe.progress import Progress
from degflow_pipe.proxy.comparison import PATCH

AnyPhoto = TypeVar("AnyPhoto", Path, PhotoFile)


class HeldOut:
    """The HR of the scenes that SR is tested on, known by their pixels, whatever they are called.

    Those of sides that no photo has are not decoded.
    """

    def __init__(self, scenes: Sequence[Scene], progress: Progress) -> None:
        self._scenes, self._progress = scenes, progress
        self._digests: dict[tuple[int, ...], set[str]] = {}

    def apart(self, photos: Sequence[AnyPhoto], what: str) -> list[AnyPhoto]:
        """The photos that are none of them; what: whose they are, for the messages.

        Raises DataError where none is left, PhotoError for one that cannot be read.
        """
        with self._progress.task(f"look at {what}", len(photos), counts="photos") as task:
            kept = []
            for photo in photos:
                alike = self._digests_of(_sides(photo))
                kept += [] if alike and _digest(photo) in alike else [photo]
                task.advance()
            if left_out := len(photos) - len(kept):
                task.note(
                    f"{what}: {number_of(left_out, 'photos')} left out: held out here, and SR is "
                    f"tested on {'it' if left_out == 1 else 'them'}"
                )
        if not kept:
            raise DataError(f"{what}: every photo is a held-out scene, which SR is tested on")
        return kept

    def _digests_of(self, sides: tuple[int, ...]) -> set[str]:
        if sides not in self._digests:
            self._digests[sides] = {_digest(hr) for hr in self._by_sides.get(sides, ())}
        return self._digests[sides]

    @cached_property
    def _by_sides(self) -> dict[tuple[int, ...], list[Path]]:
        found: dict[tuple[int, ...], list[Path]] = {}
        for scene in self._scenes:
            found.setdefault(_sides(scene.hr), []).append(scene.hr)
        return found


def patches_of(
    photos: Sequence[PhotoFile], count: int, side: int, progress: Progress
) -> np.ndarray:
    """Patches of the photos, evenly, at random places: (count, side, side, 3) uint8.

    Those smaller than PATCH are left out. Raises DataError where none is left, PhotoError for a
    photo that cannot be read.
    """
    large = [photo for photo in photos if min(_sides(photo)) >= PATCH]
    if not large:
        raise DataError(f"more HR: no photo has {PATCH} pixels on both sides")
    small, photos = len(photos) - len(large), large
    rng = np.random.default_rng(1)
    patches: list[np.ndarray] = []
    with progress.task("read photos", len(photos), counts="photos") as task:
        for i, photo in enumerate(photos):
            pixels = read_photo(photo).pixels
            check_size(pixels, PATCH, str(photo))
            for _ in range(count * (i + 1) // len(photos) - len(patches)):
                y, x = (int(rng.integers(n - PATCH + 1)) for n in pixels.shape[:2])
                patches.append(pixels[y : y + side, x : x + side])
            task.advance()
        if small:
            task.note(
                f"more HR: {number_of(small, 'photos')} left out: smaller than the patch of "
                f"{PATCH} pixels"
            )
    return np.stack(patches)


def _sides(photo: Path | PhotoFile) -> tuple[int, ...]:
    """In pixels by the header, upright or not."""
    return tuple(sorted(picture_size(photo)))


def _digest(photo: Path | PhotoFile) -> str:
    """Of its pixels, whatever the file's format."""
    pixels = read_photo(photo).pixels
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
