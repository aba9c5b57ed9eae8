"""Integration of dz/dt = v(z, t): one solve of a batch gives every wanted level.

A level's latent depends on the picture, the weights and t alone. A fixed-step solver walks the same
knots whatever levels are asked for, and a cubic Hermite polynomial between them gives the levels.
An adaptive solver, torchdiffeq's, shares one step size over the batch, so its error norm is the
largest of the norms of the samples, not their mean; its dense output serves every level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint

from degflow_pipe.errors import CheckpointError
from degflow_pipe.model import fixed_steps
from degflow_pipe.model.config import SolverConfig

MOST_STEPS = 2000
"""Of an adaptive solver from one level to the next; more would never end."""
Velocity = Callable[[Tensor, Tensor], Tensor]


class _Counted:
    """v, counting evaluations."""

    def __init__(self, velocity: Velocity) -> None:
        self.velocity = velocity
        self.evaluations = 0

    def at_time(self, t: float, z: Tensor) -> Tensor:
        self.evaluations += 1
        return self.velocity(z, torch.full((len(z),), t, dtype=z.dtype, device=z.device))

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        """As torchdiffeq calls it."""
        self.evaluations += 1
        return self.velocity(z, t.to(z.dtype).expand(len(z)))


def largest_sample_norm(z: Tensor) -> Tensor:
    """Largest root mean square over the samples of a batch (B, ...): a scalar."""
    return z.flatten(1).pow(2).mean(dim=1).sqrt().max()


def integrate(
    velocity: Velocity, z0: Tensor, levels: Sequence[float], solver: SolverConfig
) -> tuple[Tensor, int]:
    """Solve from t_start to every level in one pass.

    velocity: v(z, t) with z (B, C, h, w) and t (B,). z0: (B, C, h, w) float32, the latent of HR,
    taken at t_start. levels: T values in [0, 1], any order, repeats allowed; those up to t_start
    give z0 itself. Returns latents (B, T, C, h, w) and the number of evaluations of v.
    Raises ValueError for no level, or one outside [0, 1], CheckpointError where an adaptive solver
    cannot follow the velocity.
    """
    if not levels:
        raise ValueError("levels must hold one level at least")
    bad = [t for t in levels if not 0.0 <= t <= 1.0]
    if bad:
        raise ValueError(f"levels must be in [0, 1], got {bad[0]}")
    wanted = sorted({float(t) for t in levels if t > solver.t_start})
    counted = _Counted(velocity)
    found = dict.fromkeys((float(t) for t in levels if t <= solver.t_start), z0)
    if wanted:
        solve = _adaptive if solver.adaptive else _by_steps
        found.update(zip(wanted, solve(counted, z0, wanted, solver), strict=True))
    return torch.stack([found[float(t)] for t in levels], dim=1), counted.evaluations


def _adaptive(counted: _Counted, z0: Tensor, wanted: list[float], solver: SolverConfig) -> Tensor:
    times = torch.tensor([solver.t_start, *wanted], dtype=torch.float64, device=z0.device)
    try:
        states: Tensor = odeint(
            counted,
            z0,
            times,
            method=solver.method,
            rtol=solver.rtol,
            atol=solver.atol,
            options={"norm": largest_sample_norm, "max_num_steps": MOST_STEPS},
        )
    except AssertionError as error:  # how torchdiffeq says that it cannot go on
        raise CheckpointError(
            f"{solver.method} cannot follow this model's velocity ({str(error)[:80]}): its "
            f"weights are of no use, or its tolerances too small"
        ) from error
    return states[1:]


def _by_steps(counted: _Counted, z0: Tensor, wanted: list[float], solver: SolverConfig) -> Tensor:
    knots = np.linspace(solver.t_start, 1.0, solver.steps + 1).tolist()
    # Whole steps only: stop at the first knot past the last level.
    needed = sum(knot < wanted[-1] for knot in knots) + 1
    return fixed_steps.solve(counted.at_time, z0, knots[:needed], wanted, solver.method)
