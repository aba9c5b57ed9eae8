"""Natural cubic spline through latents: the path z(t) that the velocity is trained to follow.

Second derivatives vanish at both ends; with two knots the spline is the straight line.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SplinePoint(NamedTuple):
    """z(t) and its first three derivatives, each (B, ...)."""

    z: Tensor
    d1: Tensor
    d2: Tensor
    d3: Tensor


class NaturalCubicSpline:
    """Interpolates K >= 2 knots at any strictly rising positions.

    points: (K, B, ...) float, the knots; positions: (K,) float, their t.
    Raises ValueError where the counts differ, K < 2 or positions do not rise strictly.
    """

    def __init__(self, points: Tensor, positions: Tensor) -> None:
        if positions.ndim != 1 or len(positions) < 2 or len(points) != len(positions):
            raise ValueError(
                f"a spline needs K >= 2 knots with one position each, got {len(points)} knots "
                f"and positions of shape {tuple(positions.shape)}"
            )
        positions = positions.to(points.device)
        if not bool((positions.diff() > 0).all()):
            raise ValueError(f"positions must rise strictly, got {positions.tolist()}")
        self.points = points
        self.positions = positions.to(points.dtype)
        self.curvature = self._second_derivatives(positions.double())

    def _second_derivatives(self, x: Tensor) -> Tensor:
        """z'' at the knots, (K, B, ...), from the tridiagonal system of the natural spline."""
        k, h = len(x), x.diff()
        system = torch.eye(k, dtype=torch.float64, device=x.device)
        slopes = torch.zeros(k, k, dtype=torch.float64, device=x.device)
        for i in range(1, k - 1):
            system[i, i - 1 : i + 2] = torch.stack([h[i - 1], 2 * (h[i - 1] + h[i]), h[i]])
            slopes[i, i - 1 : i + 2] = 6 * torch.stack(
                [1 / h[i - 1], -1 / h[i - 1] - 1 / h[i], 1 / h[i]]
            )
        # K is small: one K x K matrix turns the knots into their second derivatives.
        operator = torch.linalg.solve(system, slopes).to(self.points.dtype)
        return torch.tensordot(operator, self.points, dims=1)

    def __call__(self, t: Tensor) -> SplinePoint:
        """Evaluate at t: (B,), one position for each sample, within the knots' range."""
        x = self.positions
        t = t.to(x)
        left = torch.searchsorted(x, t.contiguous(), right=True).sub(1).clamp(0, len(x) - 2)
        batch = torch.arange(len(t), device=t.device)
        shape = (-1,) + (1,) * (self.points.ndim - 2)
        h = (x[left + 1] - x[left]).view(shape)
        a = (x[left + 1] - t).view(shape) / h
        b = (t - x[left]).view(shape) / h
        z0, z1 = self.points[left, batch], self.points[left + 1, batch]
        m0, m1 = self.curvature[left, batch], self.curvature[left + 1, batch]
        return SplinePoint(
            z=a * z0 + b * z1 + ((a**3 - a) * m0 + (b**3 - b) * m1) * h**2 / 6,
            d1=(z1 - z0) / h + ((1 - 3 * a**2) * m0 + (3 * b**2 - 1) * m1) * h / 6,
            d2=a * m0 + b * m1,
            d3=(m1 - m0) / h,
        )

    def next_knot(self, t: Tensor) -> Tensor:
        """Index (B,) of the first knot to the right of each t: (B,)."""
        t = t.to(self.positions).contiguous()
        return torch.searchsorted(self.positions, t, right=True).clamp(1, len(self.positions) - 1)
