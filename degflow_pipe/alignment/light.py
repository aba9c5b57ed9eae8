"""Exposure, white balance and vignetting: a smooth gain and an offset for each channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from degflow_pipe.alignment.fine import NoFit
from degflow_pipe.alignment.tiles import BLOCK

DEGREE = 4
"""Of the gain over HR: a vignette falls off as the fourth power of a cosine."""
POWERS = [(i, total - i) for total in range(DEGREE + 1) for i in range(total, -1, -1)]
OFFSET = 32.0
"""Grey levels that an offset may have, where there is one: a deviation."""
SEEN = 0.9
"""Share of what gains alone leave that offsets have to leave at most. Where all levels are near
each other, as in a sky, an offset would only stand in for a part of the gain.
"""
MANY = 64
"""Blocks of the channel that tells most, from which on an offset can be told from chance."""
ROUNDS = 12
"""Of weighing what is left."""
UNEVEN = (0.0, 0.2, 0.2, 0.03, 0.03)
"""Deviations of the gain's terms by their degree; the first is free."""
ALIKE = 0.1
"""Share of these by which channels may differ from each other."""
LEAST = 0.5
"""Grey levels that two means of a block differ by at least, in what is not light."""
LEAST_BLOCKS = 8
"""Blocks that tell of a channel's light."""
OUTLYING = 3.0


@dataclass(frozen=True)
class Light:
    """What the LR is multiplied with and what is added then, to have HR's light.

    gain: (3, K), for each channel the terms of POWERS over HR, in halves of its longer side from
    its middle. offset: (3,) grey levels. size: HR's height and width. left: (3,) median of what
    blocks still differ by, in grey levels.
    """

    gain: np.ndarray
    offset: np.ndarray
    size: tuple[int, int]
    left: np.ndarray

    def gains(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(len(y), len(x), 3) float32: the gain at rows y and columns x of HR."""
        u, v = _normal(x, self.size[1], self.size), _normal(y, self.size[0], self.size)
        made = np.zeros((len(y), len(x), 3), np.float32)
        for number, (i, j) in enumerate(POWERS):
            made += ((v**j)[:, None] * u**i)[..., None] * self.gain[:, number]
        return made

    def applied(self, lr: np.ndarray, top: int, left: int) -> np.ndarray:
        """(h, w, 3) float32 of the warped LR, whose first pixel is HR's at `top`, `left`."""
        y, x = np.arange(top, top + lr.shape[0]), np.arange(left, left + lr.shape[1])
        return lr * self.gains(y, x) + self.offset.astype(np.float32)

    def to_dict(self) -> dict[str, list[float]]:
        """Gain at the middle and in the corners (least and most), and the offset, by channel."""
        height, width = self.size
        middle = self.gains(np.array([(height - 1) / 2]), np.array([(width - 1) / 2]))[0, 0]
        corners = self.gains(np.array([0, height - 1]), np.array([0, width - 1])).reshape(-1, 3)
        return {
            "gain": [round(float(v), 4) for v in middle],
            "gain_corners_least": [round(float(v), 4) for v in corners.min(0)],
            "gain_corners_most": [round(float(v), 4) for v in corners.max(0)],
            "offset": [round(float(v), 3) for v in self.offset],
            "left": [round(float(v), 3) for v in self.left],
        }


def fit_light(hr: np.ndarray, lr: np.ndarray, usable: np.ndarray, size: tuple[int, int]) -> Light:
    """hr, lr: (rows, columns, 3) means over blocks, of HR blurred like the LR and of the warped LR;
    usable: (rows, columns, 3) bool, those that are whole and not clipped. What differs for another
    reason, as it has moved or reflects, counts for little. Raises NoFit.
    """
    rows, columns = usable.shape[:2]
    y, x = (np.arange(n) * BLOCK + (BLOCK - 1) / 2 for n in (rows, columns))
    u, v = np.meshgrid(_normal(x, size[1], size), _normal(y, size[0], size))
    basis = np.stack([u**i * v**j for i, j in POWERS], axis=-1)
    told = usable.sum((0, 1))
    if told.min() < LEAST_BLOCKS:
        raise NoFit("nearly all of it is clipped, bright or black: expose for the middle")
    alone = _channels(basis, hr, lr, usable, size, with_offset=False)
    if told.max() < MANY:
        return alone
    veiled = _channels(basis, hr, lr, usable, size, with_offset=True)
    # All channels or none: stray light has an offset in each, and one alone would tint the shadows.
    return veiled if told @ veiled.left <= SEEN * (told @ alone.left) else alone


def _channels(
    basis: np.ndarray,
    hr: np.ndarray,
    lr: np.ndarray,
    usable: np.ndarray,
    size: tuple[int, int],
    *,
    with_offset: bool,
) -> Light:
    """See `fit_light`. basis: (rows, columns, K)."""
    gains = np.zeros((3, len(POWERS)))
    offsets, lefts = np.zeros(3), np.zeros(3)
    shape, loose = np.eye(len(POWERS))[0], 1.0
    for channel in np.argsort(-usable.sum((0, 1)), kind="stable"):
        which = usable[..., channel]
        source, target = lr[..., channel][which], hr[..., channel][which]
        found, left = _channel(basis[which], source, target, shape, loose, with_offset)
        gains[channel], offsets[channel], lefts[channel] = found[:-1], found[-1], left
        if loose == 1:
            # A lens darkens all channels alike: what tells less follows what tells most.
            shape, loose = found[:-1] / found[0], ALIKE
    return Light(gains, offsets, size, lefts)


def _channel(
    basis: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    shape: np.ndarray,
    loose: float,
    with_offset: bool,
) -> tuple[np.ndarray, float]:
    """The gain's terms and the offset of one channel, 0 without one, and the median of what is
    left.

    basis: (N, K); shape: (K,) terms that are expected for a gain of 1; loose: times UNEVEN that
    they may be others.
    """
    design = basis * source[:, None]
    uneven = [1 / (loose * UNEVEN[i + j]) ** 2 for i, j in POWERS[1:]]
    usual = float(np.median(target / np.maximum((basis @ shape) * source, 1.0)))
    start, prior = usual * shape, np.array([1e-6, *uneven])
    if not with_offset:
        found, left = _robust(design, target, start, prior)
        return np.append(found, 0.0), left
    design = np.concatenate([design, np.ones((len(source), 1))], axis=1)
    return _robust(design, target, np.append(start, 0.0), np.append(prior, 1 / OFFSET**2))


def _robust(
    design: np.ndarray, target: np.ndarray, start: np.ndarray, prior: np.ndarray
) -> tuple[np.ndarray, float]:
    """Terms (K,) by which design (N, K) gives target (N,), and the median of what is left.

    prior: (K,) certainties of `start`.
    """
    found = start.copy()
    for _ in range(ROUNDS):
        off = target - design @ found
        spread = max(1.4826 * float(np.median(np.abs(off))), LEAST)
        weights = 1 / (1 + (off / spread / OUTLYING) ** 2) ** 2
        weighted = weights[:, None] * design / spread**2
        normal = design.T @ weighted + np.diag(prior)
        found = found + np.linalg.solve(normal, weighted.T @ off - prior * (found - start))
    return found, float(np.median(np.abs(target - design @ found)))


def _normal(places: np.ndarray, length: int, size: tuple[int, int]) -> np.ndarray:
    return (places - (length - 1) / 2) / (max(size) / 2)
