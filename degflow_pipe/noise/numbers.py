"""The numbers that noise is drawn from: a hash of a key and a counter, alike on every device."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from degflow_pipe.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_STEP = -1640531527
"""2^32 over the golden ratio, from one counter to the next."""
_MIXING = ((16, -2048144789), (13, -1028477387), (16, None))
"""Shifts and factors of MurmurHash3's last step (Appleby, public domain)."""
_SCALE = 1 / math.sqrt((2**32 - 1) / 12)


def digest_of_hr(hr: np.ndarray) -> bytes:
    """Of an HR picture's bytes, (H, W, 3) uint8: what its noise follows, beside seed and level."""
    return hashlib.blake2b(np.ascontiguousarray(hr).tobytes(), digest_size=16).digest()


def noise_key(seed: int, hr: bytes, t: float, place: tuple[int, int] = (0, 0)) -> int:
    """64 bits of one LR's noise: of what it is, not of its place in a batch.

    hr: see `digest_of_hr`; t: told apart to nine decimals; place: of a part of the LR that is drawn
    by itself. Raises UsageError for a seed below 0.
    """
    check_seed(seed)
    text = f"{seed} {round(t * 1e9)} {place[0]} {place[1]} ".encode() + hr
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def check_seed(seed: int) -> None:
    """Raises UsageError for a seed below 0."""
    if seed < 0:
        raise UsageError(f"`seed` must be 0 or more, got {seed}")


class Numbers:
    """Independent numbers of mean 0 and variance 1, for a batch of keys of 64 bits.

    They are spread evenly, not as a bell: every value of a field or of a kernel's weight is the sum
    of many, and a hash gives even ones at a tenth of the cost.
    """

    def __init__(self, keys: Sequence[int], count: int, device: torch.device) -> None:
        import torch

        halves = np.array([[key & 0xFFFFFFFF, key >> 32] for key in keys], np.uint32)
        first, second = torch.from_numpy(halves.view(np.int32)).to(device).split(1, dim=1)
        h = _counters(-(-count // 2), device) + first
        for i, (shift, factor) in enumerate(_MIXING):
            # Shifts of int32 repeat the sign: what comes in from the left is masked away.
            h ^= (h >> shift).bitwise_and_((1 << (32 - shift)) - 1)
            if factor is not None:
                h *= factor
            if i == 0:
                h ^= second
        self._made = h.view(torch.int16)
        self._from = 0

    def draw(self, *shape: int) -> Tensor:
        """The next ones of each key, (B, *shape) float32, of `count` in all."""
        start, self._from = self._from, self._from + math.prod(shape)
        made = self._made[:, start : self._from].float().add_(0.5).mul_(_SCALE)
        return made.view(len(made), *shape)


@lru_cache(maxsize=16)
def _counters(count: int, device: torch.device) -> Tensor:
    """Multiples of _STEP, (count,) int32."""
    import torch

    counters = np.arange(count, dtype=np.int64) * _STEP
    return torch.from_numpy(counters.astype(np.int32)).to(device)
