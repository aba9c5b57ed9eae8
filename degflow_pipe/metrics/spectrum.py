"""Power and coherence by spatial frequency: how sharp, how noisy, and how alike two pictures are.

Welch's method in two dimensions: half-overlapping tiles of 128 pixels under a Hann window, the
spectra averaged over the tiles. The green channel alone, which cameras sample most densely. Bands
split 0 to 0.5 cycles a pixel evenly by distance from zero; the constant part belongs to none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from degflow_pipe.errors import DataError

TILE = 128
"""Side of a tile in pixels, so frequencies are 1/128 cycles a pixel apart."""

LEAST_TILES = 9
"""Half-overlapping tiles that a coherence is averaged over at least: 256 x 256 pixels."""

ROUNDING = 1 / 12
"""Power of rounding to bytes, in grey levels squared."""


def centres(bands: int) -> np.ndarray:
    """(B,) middles of the bands in cycles a pixel."""
    return (np.arange(bands) + 0.5) / (2 * bands)


def power(picture: np.ndarray, bands: int = 32) -> np.ndarray:
    """Mean power of the picture in each band, in grey levels squared.

    picture: (H, W, 3) uint8, sides of 128 or more (DataError otherwise); bands: B, 1 to 32. Returns
    (B,) float64. White noise of variance v has power v in every band.
    """
    _check(picture, bands)
    window = hann_window(TILE)
    total = np.zeros((TILE, TILE))
    tiles = 0
    for row in _spectra(picture, window):
        total += np.sum(np.abs(row) ** 2, axis=0)
        tiles += len(row)
    return by_band(total / (tiles * np.sum(window**2)), bands)


def coherence(a: np.ndarray, b: np.ndarray, bands: int = 32) -> np.ndarray:
    """Magnitude-squared coherence by band: the share of one that filtering the other gives.

    a, b: (H, W, 3) uint8 of one shape, with 9 tiles or more (DataError otherwise); bands: B, 1 to
    32. Returns (B,) float64 in [0, 1], the mean over a band's frequencies. Unrelated pictures have
    about 1 / tiles, not 0; a frequency at which either has no power counts as 0.
    """
    return transfer(a, b, bands).coherence


class PooledCoherence:
    """Coherence of many pairs of pictures: cross spectra and powers are summed over all of them
    before one is divided by the other, so that what a few pictures with strong edges have in
    common counts as much as it is, and chance, 1 / tiles, falls with their number.
    """

    def __init__(self) -> None:
        self._cross = np.zeros((TILE, TILE), complex)
        self._powers = np.zeros((2, TILE, TILE))

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """One pair, as `coherence` takes it."""
        cross, power_a, power_b = _cross(a, b, 1)
        self._cross += cross
        self._powers += power_a, power_b

    def by_band(self, bands: int = 32) -> np.ndarray:
        """(B,) float64 in [0, 1], see `coherence`."""
        shared = np.abs(self._cross) ** 2
        return by_band(_divided(shared, self._powers.prod(axis=0)), bands)


@dataclass(frozen=True)
class Transfer:
    """How HR went over into LR, by band, each (B,) float64.

    real: the filter that best makes LR of HR, its part in phase; 1 where LR has what HR has, less
    than the magnitude where LR lies beside HR. magnitude: of the same filter; where coherence is
    low it is chance. coherent: power in grey levels squared of that which the filter gives.
    power: of the LR; coherence: see there.
    """

    real: np.ndarray
    magnitude: np.ndarray
    coherent: np.ndarray
    power: np.ndarray
    coherence: np.ndarray


def transfer(hr: np.ndarray, lr: np.ndarray, bands: int = 32) -> Transfer:
    """Cross spectrum of HR and LR over the power of HR, the mean over a band's frequencies.

    hr, lr and bands as `coherence` takes them. A frequency that HR lacks counts as 0.
    """
    cross, of_hr, of_lr = _cross(hr, lr, bands)
    found, shared = _divided(cross, of_hr), np.abs(cross) ** 2
    planes = (
        found.real,
        np.abs(found),
        _divided(shared, of_hr),
        of_lr,
        _divided(shared, of_hr * of_lr),
    )
    return Transfer(*(by_band(plane, bands) for plane in planes))


def spectrum_distance(generated: np.ndarray, real: np.ndarray, bands: int = 32) -> float:
    """Mean over bands of |log10 power(generated) - log10 power(real)|; 0.1 is about 26 % of power.

    Both (H, W, 3) uint8. Power below that of rounding to bytes (1/12) counts as 1/12.
    """
    made, wanted = (np.log10(np.maximum(power(p, bands), ROUNDING)) for p in (generated, real))
    return float(np.mean(np.abs(made - wanted)))


def _check(picture: np.ndarray, bands: int) -> None:
    if not 1 <= bands <= TILE // 4:
        raise ValueError(f"bands must be 1 to {TILE // 4}, got {bands}")
    if min(picture.shape[:2]) < TILE:
        raise DataError(
            f"a spectrum needs pictures of {TILE} x {TILE} pixels or more, got {picture.shape[:2]}"
        )


def _cross(a: np.ndarray, b: np.ndarray, bands: int) -> tuple[np.ndarray, ...]:
    """Cross spectrum of two pictures and the power of each, (128, 128), means over the tiles."""
    if a.shape != b.shape:
        raise ValueError(f"pictures of one shape are needed, got {a.shape} and {b.shape}")
    _check(a, bands)
    window = hann_window(TILE)
    cross = np.zeros((TILE, TILE), complex)
    power_a, power_b = np.zeros((TILE, TILE)), np.zeros((TILE, TILE))
    tiles = 0
    for row_a, row_b in zip(_spectra(a, window), _spectra(b, window), strict=True):
        cross += np.sum(row_a.conj() * row_b, axis=0)
        power_a += np.sum(np.abs(row_a) ** 2, axis=0)
        power_b += np.sum(np.abs(row_b) ** 2, axis=0)
        tiles += len(row_a)
    if tiles < LEAST_TILES:
        raise DataError(
            f"a coherence needs {LEAST_TILES} tiles, as 256 x 256 pixels have, got {a.shape[:2]}"
        )
    scale = tiles * np.sum(window**2)
    return cross / scale, power_a / scale, power_b / scale


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The quotient, 0 where there is nothing below."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def hann_window(side: int) -> np.ndarray:
    """(side, side) periodic Hann window: half-overlapping ones add up evenly."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side)
    return np.outer(hann, hann)


def _spectra(picture: np.ndarray, window: np.ndarray) -> Iterator[np.ndarray]:
    """(T, 128, 128) complex spectra of the T tiles of each row of tiles; a row bounds the memory.

    Tiles begin at multiples of 64; a rest at the right and bottom narrower than that is left out.
    """
    green = picture[..., 1].astype(np.float64)
    green -= np.mean(green)  # or the window would spread it into the lowest band
    for top in range(0, green.shape[0] - TILE + 1, TILE // 2):
        views = np.lib.stride_tricks.sliding_window_view(green[top : top + TILE], TILE, axis=1)
        tiles = views[:, :: TILE // 2].transpose(1, 0, 2)
        yield np.fft.fft2(tiles * window)


def by_band(plane: np.ndarray, bands: int) -> np.ndarray:
    """(N, N) by frequency to its (B,) means over rings; corners beyond 0.5 are left out."""
    axis = np.fft.fftfreq(len(plane))
    radius = np.hypot(axis[:, None], axis[None, :])
    inside = (radius > 0) & (radius <= 0.5)
    band = np.minimum((radius[inside] * 2 * bands).astype(int), bands - 1)
    sums = np.bincount(band, plane[inside], bands)
    return sums / np.bincount(band, minlength=bands)
