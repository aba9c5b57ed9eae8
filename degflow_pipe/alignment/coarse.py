"""A first warp, by features: SIFT, matched, a homography by MAGSAC, a polynomial through its
inliers.

Features are taken twice: first on both pictures made small, which says where in the LR lies what HR
shows and at which scale; then on that part of the LR and on HR reduced to its scale, so that both
show the same detail.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from degflow_pipe.alignment.model import fitted
from degflow_pipe.alignment.warp import Warp, projected
from degflow_pipe.errors import DataError

FIRST_PIXELS = 800_000
SECOND_PIXELS = 1_000_000
"""Pixels that features are looked for in, at most: a larger picture is reduced."""
FEATURES = 4000
LEAST_FEATURES = 40
"""Of a picture that can be matched at all."""
LEAST_MATCHES = 24
"""Matches that agree on a homography: by chance fewer than 12 of them did, of two scenes."""
RATIO = 0.8
"""Distance of the nearest descriptor over that of the next, at most (Lowe, IJCV 2004)."""
NEAR = 12.0
"""Pixels within which the second matches are looked for, around where the first warp puts them."""
MAGSAC = 2.0
"""Its threshold in pixels."""


@dataclass(frozen=True)
class Coarse:
    """The first warp, matches (all, and those that agree), and the features of each picture."""

    warp: Warp
    matches: int
    agreeing: int


class NoMatch(DataError):
    """Why two pictures could not be matched, in one line. which: HR or LR where it is the one that
    has too little to be matched by.
    """

    def __init__(self, reason: str, which: str = "") -> None:
        super().__init__(reason)
        self.which = which


def coarse(hr: np.ndarray, lr: np.ndarray) -> Coarse:
    """hr, lr: (H, W) uint8 grey. Raises NoMatch where they do not show one place."""
    first = _first(hr, lr)
    box = first.box(lr.shape[:2])
    if box is None:
        raise NoMatch("what HR shows lies outside of it")
    left, top, right, bottom = box
    part = lr[top:bottom, left:right]
    shrink = min(1.0, np.sqrt(SECOND_PIXELS / part.size))
    scale = min(first.scale / shrink, min(hr.shape) / 32)
    reduced_hr, to_hr = _reduced(hr, 1 / max(scale, 1.0))
    reduced_lr, to_lr = _reduced(part, shrink * min(scale, 1.0))
    features = _features(reduced_hr, "HR"), _features(reduced_lr, "LR")
    hr_points = projected(to_hr, features[0][0])
    lr_points = projected(to_lr, features[1][0]) + np.array([left, top])
    near = NEAR * to_lr[0, 0]
    a, b = _matched(features[0][1], features[1][1], first.at(hr_points), lr_points, near)
    source, target = hr_points[a], lr_points[b]
    homography, agree = _homography(source, target, MAGSAC * to_lr[0, 0])
    warp = Warp.of(homography, (hr.shape[0], hr.shape[1]))
    return Coarse(bent(warp, source, target, to_lr[0, 0]), len(a), int(agree.sum()))


def _first(hr: np.ndarray, lr: np.ndarray) -> Warp:
    reduced = [_reduced(p, min(1.0, np.sqrt(FIRST_PIXELS / p.size))) for p in (hr, lr)]
    features = [_features(p, which) for (p, _), which in zip(reduced, ("HR", "LR"), strict=True)]
    a, b = _matched(features[0][1], features[1][1])
    source = projected(reduced[0][1], features[0][0][a])
    target = projected(reduced[1][1], features[1][0][b])
    homography, _ = _homography(source, target, 2 * MAGSAC * reduced[1][1][0, 0])
    return Warp.of(homography, (hr.shape[0], hr.shape[1]))


def _reduced(picture: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W) made smaller, and the homography from its pixels back to the picture's."""
    if factor >= 1:
        return picture, np.eye(3)
    height, width = (max(round(side * factor), 1) for side in picture.shape)
    back = np.eye(3)
    back[0, 0], back[1, 1] = picture.shape[1] / width, picture.shape[0] / height
    back[0, 2], back[1, 2] = (back[0, 0] - 1) / 2, (back[1, 1] - 1) / 2
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), back


def _features(picture: np.ndarray, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, 2) float64 and descriptors (N, 128) float32 of SIFT."""
    sift = cv2.SIFT.create(nfeatures=FEATURES, contrastThreshold=0.01)
    keypoints, descriptors = sift.detectAndCompute(picture, None)
    # At one place a feature may be taken at several angles.
    if descriptors is None or len(keypoints) < LEAST_FEATURES:
        raise NoMatch(f"only {len(keypoints)} features in it: blurred, or it shows nothing", which)
    return np.array([point.pt for point in keypoints], float), np.asarray(descriptors, np.float32)


def _matched(
    a: np.ndarray,
    b: np.ndarray,
    expected: np.ndarray | None = None,
    places: np.ndarray | None = None,
    near: float = np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of descriptors that are each other's nearest, and clearly nearer than the next.

    expected, places: where those of a should lie, and where those of b do; matches farther apart
    than `near` are left out. Descriptors are whole numbers, so their products are exact.
    """
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)
    distance = square - 2 * (a @ b.T)
    if expected is not None and places is not None:
        far = ((expected**2).sum(1)[:, None] + (places**2).sum(1)) - 2 * expected @ places.T
        distance[far > near**2] = np.inf
    nearest = distance.argmin(1)
    rows = np.arange(len(a))
    best = distance[rows, nearest]
    mutual = distance.argmin(0)[nearest] == rows
    distance[rows, nearest] = np.inf
    kept = mutual & np.isfinite(best) & (best < RATIO**2 * distance.min(1))
    return rows[kept], nearest[kept]


def _homography(
    source: np.ndarray, target: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """From HR's pixels to the LR's, and which matches agree with it (N,) bool."""
    failed = NoMatch(
        f"{len(source)} features of HR were found in it, which do not agree on one place: it shows "
        f"another scene, or too little of this one"
    )
    if len(source) < LEAST_MATCHES:
        raise failed
    found, mask = cv2.findHomography(
        source, target, cv2.USAC_MAGSAC, threshold, maxIters=5000, confidence=0.9999
    )
    if found is None or mask.sum() < LEAST_MATCHES:
        raise failed
    agree = mask.ravel().astype(bool)
    spread = source[agree].max(0) - source[agree].min(0)
    if np.linalg.det(found[:2, :2]) <= 0 or not np.isfinite(found).all() or min(spread) < 8:
        raise failed
    return found, agree


def bent(warp: Warp, source: np.ndarray, target: np.ndarray, pixel: float) -> Warp:
    """A lens through the matches: a homography of a bent picture may miss by pixels in its corners.

    pixel: of what features were looked for in, in pixels of the LR. Matches near the homography are
    taken, and at each round those near what came of them.
    """
    limit = 6.0 * pixel
    for _ in range(4):
        off = target - warp.at(source)
        apart = np.hypot(*off.T)
        near = apart < limit
        if near.sum() < LEAST_MATCHES:
            return warp
        certainty = np.broadcast_to(np.eye(2) / (0.5 * pixel) ** 2, (int(near.sum()), 2, 2))
        warp = fitted(warp, source[near], off[near], certainty).warp
        limit = float(np.clip(6 * np.median(apart[near]), 1.5 * pixel, limit))
    return warp
