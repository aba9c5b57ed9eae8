"""Fixed-step integration whose times stay with the host: a GPU is never waited for.

torchdiffeq keeps times in tensors and looks at them after each step, which on a GPU stops the host
until all that it has asked for is done. The formulas and the order of their sums are torchdiffeq's,
so that latents are the same to the last bit; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Field = Callable[[float, Tensor], Tensor]
"""f(t, z), the derivative of z."""


def solve(f: Field, z0: Tensor, knots: Sequence[float], times: list[float], method: str) -> Tensor:
    """z at rising times, from z0 at the first knot, (len(times), *z0.shape).

    knots: where steps begin and end, the first time at the earliest and the last at the latest.
    Within a step z follows the cubic Hermite polynomial of both ends and their derivatives.
    """
    found, z, slope = [], z0, f(knots[0], z0)
    left = list(times)
    for t0, t1 in pairwise(knots):
        z1 = z + _STEPS[method](f, t0, t1 - t0, t1, z, slope)
        due = [t for t in left if t <= t1]
        left = left[len(due) :]
        slope1 = f(t1, z1)
        found += [_hermite(t0, z, slope, t1, z1, slope1, t) for t in due]
        z, slope = z1, slope1
    return torch.stack(found)


def _euler(f: Field, t: float, dt: float, t1: float, z: Tensor, k1: Tensor) -> Tensor:
    return dt * k1


def _midpoint(f: Field, t: float, dt: float, t1: float, z: Tensor, k1: Tensor) -> Tensor:
    half = 0.5 * dt
    return dt * f(t + half, z + k1 * half)


def _heun2(f: Field, t: float, dt: float, t1: float, z: Tensor, k1: Tensor) -> Tensor:
    k2 = f(t + dt, z + dt * k1)
    return dt * (k1 * 0.5 + k2 * 0.5)


def _heun3(f: Field, t: float, dt: float, t1: float, z: Tensor, k1: Tensor) -> Tensor:
    k2 = f(t + dt * (1 / 3), z + dt * k1 * (1 / 3))
    k3 = f(t + dt * (2 / 3), z + dt * (k2 * (2 / 3)))
    return dt * (k1 * 0.25 + k3 * 0.75)


def _rk4(f: Field, t: float, dt: float, t1: float, z: Tensor, k1: Tensor) -> Tensor:
    """Kutta's rule of three eighths."""
    k2 = f(t + dt * (1 / 3), z + dt * k1 * (1 / 3))
    k3 = f(t + dt * (2 / 3), z + dt * (k2 - k1 * (1 / 3)))
    k4 = f(t1, z + dt * (k1 - k2 + k3))
    return (k1 + 3 * (k2 + k3) + k4) * dt * 0.125


_STEPS = {"euler": _euler, "midpoint": _midpoint, "heun2": _heun2, "heun3": _heun3, "rk4": _rk4}


def _hermite(
    t0: float, z0: Tensor, slope0: Tensor, t1: float, z1: Tensor, slope1: Tensor, t: float
) -> Tensor:
    dt = t1 - t0
    h = (t - t0) / dt
    h00 = (1 + 2 * h) * (1 - h) * (1 - h)
    h10 = h * (1 - h) * (1 - h)
    h01 = h * h * (3 - 2 * h)
    h11 = h * h * (h - 1)
    return h00 * z0 + h10 * dt * slope0 + h01 * z1 + h11 * dt * slope1
