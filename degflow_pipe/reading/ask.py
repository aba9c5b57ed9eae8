"""What is asked of a stream of pairs: the arguments of `sr_pairs`, checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from degflow_pipe.errors import UsageError
from degflow_pipe.reading.parts import Ranks
from degflow_pipe.reading.samples import Cut, Info

TOLERANCE = 1e-6
"""How far a level's t or scale may lie outside the range asked for."""


@dataclass(frozen=True)
class Ask:
    """See `sr_pairs` for each."""

    cut: Cut
    batch: int | None
    drop_last: bool
    levels: tuple[float, ...] | None
    t: tuple[float, float] | None
    scales: tuple[float, float] | None
    balance: bool
    shuffle: int
    seed: int
    ranks: Ranks
    even: str | None
    on_error: str

    def __post_init__(self) -> None:
        for label, least in (("batch", 1), ("shuffle", 0), ("seed", 0)):
            value = getattr(self, label)
            if value is not None and value < least:
                raise UsageError(f"`{label}` must be {least} or more, got {value}")
        check_spans(self.t, self.scales)
        if self.even not in (None, "pad", "cut"):
            raise UsageError(f"`even` must be 'pad', 'cut' or None, got {self.even!r}")
        if self.on_error not in ("raise", "skip"):
            raise UsageError(f"`on_error` must be 'raise' or 'skip', got {self.on_error!r}")

    def rng(self, key: str, epoch: int) -> np.random.Generator:
        """What is drawn for a pair in an epoch, whoever reads it."""
        return np.random.default_rng([self.seed, epoch, key_number(key)])

    def wants(self, info: Info) -> bool:
        """Whether the pair is one of those asked for."""
        spans = [(info["t"], self.t), (info["scale"], self.scales)]
        listed = self.levels is None or any(
            abs(info["t"] - level) <= TOLERANCE for level in self.levels
        )
        return listed and all(
            span is None or span[0] - TOLERANCE <= value <= span[1] + TOLERANCE
            for value, span in spans
        )


def check_spans(t: object, scales: object) -> None:
    """Raises UsageError for what is neither None nor (low, high)."""
    for label, span in (("t", t), ("scales", scales)):
        numbers = isinstance(span, tuple | list) and all(isinstance(v, int | float) for v in span)
        if span is not None and not (numbers and len(span) == 2 and span[0] <= span[1]):  # type: ignore[arg-type, index]
            raise UsageError(f"`{label}` must be (low, high) with low <= high, got {span!r}")


def key_number(key: str) -> int:
    """64 bits that stand for a key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def kind_of(info: Info) -> tuple[str, ...]:
    """What the pairs of one batch share."""
    return tuple(str(info.get(field)) for field in ("lr_size", "hr_size", "scale"))
