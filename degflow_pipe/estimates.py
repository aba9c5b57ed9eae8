"""What a command would make, and what that would take, as a dry run tells it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

DISK_BYTES = 2**24
"""Bytes that are written to see how fast the disk is."""


@dataclass(frozen=True)
class Measured:
    """What an estimate was measured on: photos that were decoded and patches that were made (of an
    export, pictures), by so many workers on such a device, and how many seconds that took. disk:
    whether the time in which files reach the disk is counted; not every file system lets that be
    seen without a trace.
    """

    photos: int
    patches: int
    seconds: float
    workers: int
    engine: str
    device: str
    disk: bool


@dataclass(frozen=True)
class Estimate:
    """What a command would do now, by a sample; what is there already counts as done.

    photos: to be read; known: those that the store has. skipped: photos that cannot be used, of
    those that were looked at and those whose header says so; there may be more. patches: to be
    worked on; pairs: LR to be made or packed; known_pairs: those that are there. tars: to be
    written. files: to be written, the large ones. bytes: of what is written, by part; total_bytes:
    of all of it that stays; peak_bytes: with what goes again at the end. seconds: by stage; of
    `start` until the first of them; total_seconds: of all. bytes_spread, seconds_spread: relative
    standard errors, as far as the sample tells. measured: how.
    """

    command: str
    photos: int
    known: int
    skipped: dict[str, str]
    patches: int
    pairs: int
    known_pairs: int
    tars: int
    files: int
    bytes: dict[str, int]
    total_bytes: int
    peak_bytes: int
    seconds: dict[str, float]
    total_seconds: float
    bytes_spread: float
    seconds_spread: float
    measured: Measured

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def with_validation(self, apart: Estimate) -> Estimate:
        """With what is set apart and done after it."""
        counts = ("patches", "pairs", "known_pairs", "tars", "files", "total_bytes", "peak_bytes")
        both = {name: getattr(self, name) + getattr(apart, name) for name in counts}
        measured = replace(
            self.measured,
            patches=self.measured.patches + apart.measured.patches,
            seconds=round(self.measured.seconds + apart.measured.seconds, 1),
        )
        return replace(
            self,
            **both,
            bytes={part: size + apart.bytes[part] for part, size in self.bytes.items()},
            seconds={stage: spent + apart.seconds[stage] for stage, spent in self.seconds.items()},
            total_seconds=round(self.total_seconds + apart.total_seconds, 1),
            measured=measured,
        )

    def started(self, seconds: float) -> Estimate:
        """With what comes before the first stage: programs and checkpoints are loaded."""
        every = {"start": round(seconds, 1), **self.seconds}
        return replace(self, seconds=every, total_seconds=round(sum(every.values()), 1))
