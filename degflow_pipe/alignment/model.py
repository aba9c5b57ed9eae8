"""Fitting a warp to places that are known in part, each with its certainty, robustly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from degflow_pipe.alignment.warp import POWERS, Warp

CENTRE = 0.06
"""Where a lens's centre may lie off HR's middle, in halves of what HR shows: a deviation."""
RADIAL = (0.06, 0.015, 0.005)
"""Deviations of a lens's three terms: 2 % of the radius is a strong one, of wide lenses."""
BENT = (0.003, 0.1, 1.0)
"""What RADIAL may be multiplied with: no lens to speak of, a mild one, a strong one."""
TERMS = (0.002, 0.03, 0.1, 0.4)
"""Deviations that the other terms may have, in pixels of HR."""
OUTLYING = 4.0
"""Deviations at which a weight has fallen to a quarter."""
ROUNDS = 8


@dataclass(frozen=True)
class Fitted:
    """warp; weights: (N,) in [0, 1], how far each place was believed; covariance: (P, P) of the
    warp's `parameters`.
    """

    warp: Warp
    weights: np.ndarray
    covariance: np.ndarray

    def doubt(self, points: np.ndarray) -> np.ndarray:
        """(N,) deviation of where the warp puts points (N, 2) of HR, in pixels of HR."""
        rows = _jacobian(self.warp, parameters(self.warp), points)
        square = np.einsum("tip,pq,tiq->t", rows, self.covariance, rows)
        return np.sqrt(np.maximum(square, 0)) / _pixel(self.warp)


def fitted(warp: Warp, points: np.ndarray, off: np.ndarray, certainty: np.ndarray) -> Fitted:
    """The warp that moves points (N, 2) of HR in the LR by `off` (N, 2), as far as one can.

    certainty: (N, 2, 2) inverse of the covariance of `off`, in pixels of the LR. What does not go
    with the rest counts for little (Geman and McClure).
    """
    target = warp.at(points) + off
    now, weights = parameters(warp), np.ones(len(points))
    for _ in range(ROUNDS):
        left = target - with_parameters(warp, now).at(points)
        square = np.einsum("ti,tij,tj->t", left, certainty, left)
        # Of two numbers of variance 1 the square's median is 1.386.
        unit = max(float(np.median(square)) / 1.386, 1.0)
        weights = 1 / (1 + square / unit / OUTLYING**2) ** 2
        rows = _jacobian(warp, now, points)
        weighted = (weights / unit)[:, None, None] * certainty
        normal = np.einsum("tip,tij,tjq->pq", rows, weighted, rows)
        wanted = left + np.einsum("tip,p->ti", rows, now)
        right = np.einsum("tip,tij,tj->p", rows, weighted, wanted)
        now, covariance = _averaged([_solved(normal, right, prior) for prior in _priors()])
    return Fitted(with_parameters(warp, now), weights, covariance)


def _averaged(
    solved: list[tuple[float, np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and their covariance over all priors, each as likely as its evidence says: where
    tiles say little, it is in what priors make of them that a warp may be wrong.
    """
    evidence = np.array([one[0] for one in solved])
    share = np.exp(evidence - evidence.max())
    share /= share.sum()
    mean = np.einsum("k,kp->p", share, np.stack([one[1] for one in solved]))
    apart = np.stack([one[1] for one in solved]) - mean
    within = np.einsum("k,kpq->pq", share, np.stack([one[2] for one in solved]))
    return mean, within + np.einsum("k,kp,kq->pq", share, apart, apart)


def _solved(
    normal: np.ndarray, right: np.ndarray, prior: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """How likely the data are under a prior of the parameters, in logarithm, the parameters and
    their covariance.
    """
    size = np.sqrt(np.diag(normal) + prior + 1e-12)
    scaled = (normal + np.diag(prior)) / np.outer(size, size) + 1e-12 * np.eye(len(size))
    found = np.linalg.solve(scaled, right / size) / size
    known = prior > 0
    evidence = np.log(prior[known]).sum() - np.linalg.slogdet(scaled)[1] - 2 * np.log(size).sum()
    covariance = np.linalg.inv(scaled) / np.outer(size, size)
    return float(evidence + right @ found) / 2, found, covariance


def parameters(warp: Warp) -> np.ndarray:
    """What is fitted: eight of the homography, two of the centre, three radial, the terms."""
    return np.concatenate(
        [
            np.zeros(8),
            (warp.centre - Warp.of(warp.homography, warp.size).centre) / warp.unit,
            warp.radial,
            (warp.terms / _pixel(warp)).ravel(),
        ]
    )


def with_parameters(warp: Warp, values: np.ndarray) -> Warp:
    """`warp` with these in place of its `parameters`; the homography's are changes, by `unit`s."""
    height, width = warp.size
    half = max(warp.size) / 2
    to_normal = np.array(
        [[1 / half, 0, -(width - 1) / 2 / half], [0, 1 / half, -(height - 1) / 2 / half], [0, 0, 1]]
    )
    middle = Warp.of(warp.homography, warp.size).centre
    # About HR's middle and in halves of it, so that eight numbers mean much the same.
    local = np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, 1.0]])
    inner = local @ warp.homography @ np.linalg.inv(to_normal)
    inner = inner / inner[2, 2]
    change = np.append(values[:8], 0.0).reshape(3, 3)
    change[:2] *= warp.unit
    homography = np.linalg.inv(local) @ (inner + change) @ to_normal
    return replace(
        warp,
        homography=homography / homography[2, 2],
        centre=middle + values[8:10] * warp.unit,
        radial=values[10:13],
        terms=values[13:].reshape(-1, 2) * _pixel(warp),
    )


def _pixel(warp: Warp) -> float:
    """A pixel of HR, in the LR's."""
    return 2 * warp.unit / float(np.hypot(*warp.size))


@cache
def _priors() -> list[np.ndarray]:
    """Inverse variances of the parameters, none of the homography's: from a picture that no lens
    bends to one that two lenses do.
    """
    made = []
    for bent in BENT:
        radial = 1 / np.square(bent * np.array(RADIAL))
        for term in TERMS:
            terms = np.full(2 * len(POWERS), 1 / term**2)
            made.append(np.concatenate([np.zeros(8), np.full(2, 1 / CENTRE**2), radial, terms]))
    return made


def _jacobian(warp: Warp, values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 2, P) by differences: places are smooth in every parameter."""
    made = np.empty((len(points), 2, len(values)))
    for i in range(len(values)):
        step = np.zeros(len(values))
        step[i] = 1e-4
        up, down = (with_parameters(warp, values + sign * step).at(points) for sign in (1, -1))
        made[:, :, i] = (up - down) / 2e-4
    return made
