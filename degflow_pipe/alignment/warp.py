"""Where each pixel of HR lies in the LR: a homography and a polynomial for what lenses do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter

ORDER = 3
"""Of the spline through the LR's pixels: at x2.9 it errs by a quarter of what Lanczos of eight taps
does, and unlike OpenCV's remap, places are not rounded to 1/32 of a pixel."""
EDGE = 2.0
"""Pixels from the LR's border within which nothing is read: the spline lacks neighbours there."""


def powers(degree: int) -> list[tuple[int, int]]:
    """Exponents of u and v in a polynomial of two variables, by rising degree from 2 on."""
    return [(i, total - i) for total in range(2, degree + 1) for i in range(total, -1, -1)]


DEGREE = 3
POWERS = powers(DEGREE)


@dataclass(frozen=True)
class Warp:
    """HR's pixels to places in the LR, both (x, y) with whole numbers at the middles of pixels.

    size: HR's height and width. homography: (3, 3) float64. Then the lens: a place in the LR moves
    away from `centre` (2,) by radial[0] r^2 + radial[1] r^4 + radial[2] r^6 of its distance, r in
    `unit`s, half the diagonal of what HR shows, in pixels of the LR. Then what else there may be:
    terms (K, 2), pixels of the LR for each of POWERS of HR's places in halves of its longer side
    from its middle.
    """

    size: tuple[int, int]
    homography: np.ndarray
    centre: np.ndarray
    radial: np.ndarray
    unit: float
    terms: np.ndarray

    @classmethod
    def of(cls, homography: np.ndarray, size: tuple[int, int]) -> Warp:
        """A homography alone, its lens centred on HR's middle."""
        height, width = size
        corners = np.array([[0.0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])
        there = projected(homography, corners)
        unit = float(np.hypot(*(there[3] - there[0])) + np.hypot(*(there[2] - there[1]))) / 4
        centre = projected(homography, corners.mean(0, keepdims=True))[0]
        none = np.zeros((len(POWERS), 2))
        return cls(size, homography, centre, np.zeros(3), unit, none)

    def normal(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """HR's places as u and v in halves of its longer side from its middle."""
        height, width = self.size
        half = max(self.size) / 2
        return (points[..., 0] - (width - 1) / 2) / half, (points[..., 1] - (height - 1) / 2) / half

    def at(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) pixels of HR to (N, 2) float64 pixels of the LR."""
        made = self._bent(projected(self.homography, points))
        u, v = self.normal(points)
        basis = np.stack([u**i * v**j for i, j in POWERS], axis=-1)
        return made + basis @ self.terms

    def _bent(self, places: np.ndarray) -> np.ndarray:
        off = places - self.centre
        square = (off**2).sum(-1, keepdims=True) / self.unit**2
        k1, k2, k3 = self.radial
        return places + off * (square * (k1 + square * (k2 + square * k3)))

    def jacobians(self, points: np.ndarray) -> np.ndarray:
        """(N, 2, 2): change of the place in the LR with that in HR, column by column."""
        steps = [np.array([0.5, 0.0]), np.array([0.0, 0.5])]
        return np.stack([self.at(points + step) - self.at(points - step) for step in steps], axis=2)

    @property
    def scale(self) -> float:
        """Pixels of HR to a pixel of the LR, at HR's middle."""
        return float(1 / np.sqrt(abs(np.linalg.det(self.jacobians(self.middle)[0]))))

    @property
    def rotation(self) -> float:
        """Degrees by which the LR is turned, clockwise, at HR's middle."""
        (xx, xy), (yx, yy) = self.jacobians(self.middle)[0]
        return float(np.degrees(np.arctan2(yx - xy, xx + yy)))

    @property
    def middle(self) -> np.ndarray:
        """(1, 2): HR's middle."""
        height, width = self.size
        return np.array([[(width - 1) / 2, (height - 1) / 2]])

    def shifted(self, origin: tuple[float, float]) -> Warp:
        """The same, to a part of the LR whose first pixel is `origin` (x, y)."""
        moved = np.array([[1, 0, -origin[0]], [0, 1, -origin[1]], [0, 0, 1.0]])
        return replace(
            self, homography=moved @ self.homography, centre=self.centre - np.array(origin)
        )

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """(2, bottom - top, W) float64: x and y in the LR of rows of HR's pixels."""
        width = self.size[1]
        x, y = np.meshgrid(np.arange(width, dtype=float), np.arange(top, bottom, dtype=float))
        h = self.homography
        below = h[2, 0] * x + h[2, 1] * y + h[2, 2]
        made = np.empty((2, bottom - top, width))
        for axis in (0, 1):
            made[axis] = (h[axis, 0] * x + h[axis, 1] * y + h[axis, 2]) / below
        off = made - self.centre[:, None, None]
        square = (off**2).sum(0) / self.unit**2
        k1, k2, k3 = self.radial
        made += off * (square * (k1 + square * (k2 + square * k3)))
        if self.terms.any():
            u, v = self.normal(np.stack([x, y], axis=-1))
            for (i, j), term in zip(POWERS, self.terms, strict=True):
                made += term[:, None, None] * (u**i * v**j)
        return made

    def box(self, lr: tuple[int, int], margin: float = 0.05) -> tuple[int, int, int, int] | None:
        """The part of an LR (height, width) that shows what HR shows, and a margin of its sides:
        left, top, right, bottom in pixels; None where that is less than 16 on a side.
        """
        height, width = self.size
        x, y = np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9)
        places = self.at(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
        if not np.isfinite(places).all():
            return None
        low, high = places.min(0), places.max(0)
        room = (high - low) * margin + 8
        left, top = (int(max(value, 0)) for value in np.floor(low - room))
        right, bottom = (
            int(min(value, side))
            for value, side in zip(np.ceil(high + room) + 1, lr[::-1], strict=True)
        )
        return (left, top, right, bottom) if min(right - left, bottom - top) >= 16 else None


def projected(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 2) points by a homography (3, 3), float64."""
    made = points @ homography[:, :2].T + homography[:, 2]
    return made[:, :2] / made[:, 2:]


def spline_of(channel: np.ndarray) -> np.ndarray:
    """(H, W) to the float32 coefficients of the spline through its pixels, for `read_at`."""
    return spline_filter(channel, ORDER, output=np.float32, mode="mirror")


def read_at(spline: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The values, (H, W) float32, of `spline_of` a channel at places (2, H, W), x before y."""
    return map_coordinates(
        spline, places[::-1], order=ORDER, prefilter=False, output=np.float32, mode="mirror"
    )


def inside(places: np.ndarray, lr: tuple[int, int]) -> np.ndarray:
    """Which places (2, H, W) lie in an LR (height, width), (H, W) bool."""
    x, y = places
    return (x >= EDGE) & (y >= EDGE) & (x <= lr[1] - 1 - EDGE) & (y <= lr[0] - 1 - EDGE)
