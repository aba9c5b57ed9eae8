"""Tiles of HR against the warped LR: shift, gain, offset and blur of each, by least squares.

Within a tile the LR is taken for g B + o + g (e . grad B) + g b (laplacian of B), where B is HR
blurred like the LR: a shift of e pixels, a gain, an offset, and half of what the blur's variance
lacks. What the squares are made of is summed in blocks, of which the overlapping tiles consist, and
HR is gone through in bands of rows, so that memory does not grow with its height.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import cv2
import numpy as np

from degflow_pipe.alignment.warp import Warp, inside, read_at

BLOCK = 24
"""Pixels of HR on a side of a block."""
TILE = 2
"""Blocks on a side of the tiles, 48 pixels, that a warp is fitted to."""
STRIDE = 2
"""Blocks from such a tile to the next."""
WIDE = 4
"""Blocks on a side of the tiles, 96 pixels, by which shifts are told and judged."""
BETWEEN = 2
"""Blocks from such a tile to the next."""
CERTAIN = 0.25
"""Pixels of HR by which a tile's shift may be unsure and still be told."""
BAND = 20
"""Blocks of rows that are computed at once."""
WINDOW = 2 * BLOCK + 1
"""Pixels on a side of what the mean is taken from each pixel over."""
WHOLE = 0.4
"""Share of a tile's pixels that must be there: in the LR, and clipped in neither picture."""
DARK, BRIGHT = 4.0, 250.0
"""Grey levels beyond which a pixel counts as clipped."""
REGRESSORS = 5
PAIRS = list(combinations_with_replacement(range(REGRESSORS + 1), 2))
_SLOPE = np.array([1, -8, 0, 8, -1], np.float32) / 12
_CURVE = np.array([-1, 16, -30, 16, -1], np.float32) / 12
_ONE = np.ones(1, np.float32)


@dataclass(frozen=True)
class Tiles:
    """What least squares say of each tile, (T,) or as given, float64.

    middles: (T, 2) pixels of HR. shift: (T, 2) e, in pixels of HR, by which the warp lies off: the
    LR at the warp of x shows what HR shows at x + e. certainty: (T, 2, 2) inverse of its
    covariance. gain; blur: what the variance of HR's blur lacks, in pixels squared; noise:
    deviation of what is left, grey levels; likeness: share of the LR's variance that is explained;
    usable: whether enough pixels are there and it has detail.
    """

    middles: np.ndarray
    shift: np.ndarray
    certainty: np.ndarray
    gain: np.ndarray
    blur: np.ndarray
    blur_doubt: np.ndarray
    noise: np.ndarray
    likeness: np.ndarray
    usable: np.ndarray
    shape: tuple[int, int]

    @property
    def doubt(self) -> np.ndarray:
        """(T,) deviation of the shift in its least certain direction, pixels of HR."""
        least = np.linalg.eigvalsh(self.certainty)[:, 0]
        return 1 / np.sqrt(np.maximum(least, 1e-12))

    @property
    def certain(self) -> np.ndarray:
        """(T,) bool: tiles whose shift is told of."""
        return self.usable & (self.doubt < CERTAIN)


def bands(height: int) -> Iterator[tuple[int, int]]:
    """First and last row, exclusive, of bands of whole blocks."""
    last = height // BLOCK * BLOCK
    for top in range(0, last, BAND * BLOCK):
        yield top, min(top + BAND * BLOCK, last)


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W) or (H, W, C) float32, blurred by a Gaussian; as it is where sigma is next to none."""
    if sigma < 0.1:
        return picture
    return cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def blurred_band(picture: np.ndarray, top: int, bottom: int, sigma: float) -> np.ndarray:
    """Rows of a picture, as float32, blurred as if all of it was."""
    room = int(np.ceil(4 * sigma)) + 3
    first, last = max(top - room, 0), min(bottom + room, picture.shape[0])
    made = blurred(picture[first:last].astype(np.float32), sigma)
    return made[top - first : bottom - first]


def block_means(picture: np.ndarray, side: int = BLOCK) -> np.ndarray:
    """(H, W) float32 to the means of its blocks, a rest at the edges left out."""
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    cut = picture[: rows * side, : columns * side]
    return cv2.resize(cut, (columns, rows), interpolation=cv2.INTER_AREA)


def block_sums(
    hr: np.ndarray,
    spline: np.ndarray,
    warp: Warp,
    sigma: float,
    extra: float = 0.0,
) -> np.ndarray:
    """(21, rows, columns) float64: means of the products of `PAIRS` over each block.

    hr: (H, W) uint8 grey; spline: of the LR's grey, see `warp.spline_of`; sigma: deviation of HR's
    blur in pixels; extra: of a blur that both get on top.
    """
    rows, columns = (side // BLOCK for side in hr.shape)
    sums = np.zeros((len(PAIRS), rows, columns))
    room = int(np.ceil(3 * extra)) + WINDOW // 2 + 3
    total = float(np.hypot(sigma, extra))
    edge = int(np.ceil(3 * total))
    for top, bottom in bands(hr.shape[0]):
        first, last = max(top - room, 0), min(bottom + room, hr.shape[0])
        places = warp.rows(first, last)
        lr = read_at(spline, places)
        b = blurred_band(hr, first, last, total)
        fits = inside(places, spline.shape) & (lr > DARK) & (lr < BRIGHT) & (b > DARK)
        weight = (fits & (b < BRIGHT)).astype(np.float32)
        # Beyond HR's border lies what its blur does not know, and the LR's does.
        weight[:, :edge] = weight[:, hr.shape[1] - edge :] = 0
        weight[: max(edge - first, 0)] = weight[max(hr.shape[0] - edge - first, 0) :] = 0
        if extra:
            lr = blurred(lr, extra)
        share = np.maximum(_around(weight), 1e-6)
        b, lr = (_uneven(part / 128, weight, share) for part in (b, lr))
        parts = [
            cv2.sepFilter2D(b, -1, _SLOPE, _ONE),
            cv2.sepFilter2D(b, -1, _ONE, _SLOPE),
            b,
            np.ones_like(b),
            cv2.sepFilter2D(b, -1, _CURVE, _ONE) + cv2.sepFilter2D(b, -1, _ONE, _CURVE),
            lr,
        ]
        cut = slice(top - first, bottom - first)
        of_band = slice(top // BLOCK, bottom // BLOCK)
        weighted = [(part * weight)[cut] for part in parts]
        for number, (i, j) in enumerate(PAIRS):
            sums[number, of_band] = block_means(weighted[i] * parts[j][cut])
    return sums


def _around(picture: np.ndarray) -> np.ndarray:
    return cv2.blur(picture, (WINDOW, WINDOW), borderType=cv2.BORDER_CONSTANT)


def _uneven(picture: np.ndarray, weight: np.ndarray, share: np.ndarray) -> np.ndarray:
    """A picture without the mean around each pixel, of what has weight. Where light falls off over
    a smooth sky, its slope would be taken for a shift.
    """
    return picture - _around(picture * weight) / share


def solve(sums: np.ndarray, scale: float, side: int = TILE, stride: int = STRIDE) -> Tiles:
    """The tiles of `block_sums`; scale: pixels of HR to one of the LR, whose noise is that wide.

    side, stride: of a tile and to the next, in blocks.
    """
    of_tile = _of_tiles(sums, side, stride)
    shape = of_tile.shape[1:]
    count = shape[0] * shape[1]
    moments = np.zeros((count, REGRESSORS + 1, REGRESSORS + 1))
    for number, (i, j) in enumerate(PAIRS):
        moments[:, i, j] = moments[:, j, i] = of_tile[number].ravel()
    normal, right = moments[:, :-1, :-1], moments[:, :-1, -1]
    share = moments[:, 3, 3].copy()
    held = np.diag([1e-9, 1e-9, 1e-9, 1e-9, 1e-9])
    found = np.linalg.solve(normal + held, right[..., None])[..., 0]
    left = np.maximum(moments[:, -1, -1] - (found * right).sum(1), 1e-9)
    spread = np.maximum(
        moments[:, -1, -1] - moments[:, 3, -1] ** 2 / np.maximum(share, 1e-9), 1e-12
    )
    own, shared, rest = normal[:, :2, :2], normal[:, :2, 2:], normal[:, 2:, 2:] + held[2:, 2:]
    alone = own - shared @ np.linalg.solve(rest, shared.transpose(0, 2, 1))
    unsure = np.linalg.inv(normal + held)[:, 4, 4]
    gain = found[:, 2]
    safe = np.where(np.abs(gain) > 1e-3, gain, 1e-3)
    variance = left / np.maximum(share, 1e-9)
    # Neighbouring pixels of a warped LR have one noise: a pixel of the LR counts once.
    pixels = (side * BLOCK / max(scale, 1.0)) ** 2
    certainty = alone * (safe**2 * pixels / variance)[:, None, None]
    likeness = 1 - left / spread
    usable = (share >= WHOLE) & (gain > 0.2) & (gain < 5) & (likeness > 0.3)
    usable &= spread / np.maximum(share, 1e-9) > (1.0 / 128) ** 2
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    middles = np.stack([columns, rows], axis=-1).reshape(-1, 2) * (stride * BLOCK)
    return Tiles(
        middles + (side * BLOCK - 1) / 2,
        found[:, :2] / safe[:, None],
        certainty,
        gain,
        2 * found[:, 4] / safe,
        2 * np.sqrt(variance / pixels * np.maximum(unsure, 0)) / np.abs(safe),
        128 * np.sqrt(variance),
        likeness,
        usable,
        shape,
    )


def _of_tiles(sums: np.ndarray, side: int, stride: int) -> np.ndarray:
    """Means over tiles, (21, tile rows, tile columns), of means over blocks."""
    rows, columns = (max((count - side) // stride + 1, 0) for count in sums.shape[1:])
    made = np.zeros((len(sums), rows, columns))
    if not made.size:
        return made
    for i in range(side):
        for j in range(side):
            down = slice(i, i + stride * (rows - 1) + 1, stride)
            made += sums[:, down, j : j + stride * (columns - 1) + 1 : stride]
    return made / side**2
