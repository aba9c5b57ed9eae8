"""The numbers that noise is drawn from: of a key and a counter, alike on every device."""

from __future__ import annotations

import hashlib

import numpy as np

from degflow_pipe.errors import UsageError


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


def other_key(key: int) -> int:
    """A key for what is drawn beside, of the same LR."""
    return int(raw_numbers(key, 1)[0])


def check_seed(seed: int) -> None:
    """Raises UsageError for a seed below 0."""
    if seed < 0:
        raise UsageError(f"`seed` must be 0 or more, got {seed}")


def raw_numbers(key: int, count: int) -> np.ndarray:
    """(count,) uint64, independent and even, of a key of 64 bits (Philox, a counter's cipher)."""
    return np.random.Philox(key=key).random_raw(count)


def unit_spectrum(name: str, shape: tuple[int, int]) -> np.ndarray:
    """Of white noise of variance 1, (H, W): what `numpy.fft.rfft2` gives of it, (H, W // 2 + 1)
    complex. name: another name, another noise.

    All frequencies are alike in power. Plain white noise has more at one than at another by chance,
    which what is drawn once and used for ever would keep.
    """
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    raw = raw_numbers(key, shape[0] * shape[1]).reshape(shape)
    found = np.fft.rfft2(raw / 2.0**64 - 0.5)
    return found * (np.sqrt(shape[0] * shape[1]) / np.abs(found))
