"""Integration of dz/dt = v(z, t) by torchdiffeq: one solve of a batch gives every wanted level.

A level's latent depends on the picture, the weights and t alone. A fixed-step solver walks the same
knots whatever levels are asked for, and a cubic Hermite polynomial between them gives the levels.
An adaptive solver shares one step size over the batch, so its error norm is the largest of the
norms of the samples, not their mean; its dense output serves every level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchdiffeq import odeint

from degflow_pipe.errors import CheckpointError
from degflow_pipe.model.config import SolverConfig

MOST_STEPS = 2000
"""Of an adaptive solver from one level to the next; more would never end."""
Velocity = Callable[[Tensor, Tensor], Tensor]


class _Counted:
    """v as torchdiffeq calls it, f(t, z), counting evaluations.

    torchdiffeq's Hermite interpolation asks for v at a knot once for every level in the step and
    the next step asks again; the last answer is kept, so each knot is evaluated once.
    """

    def __init__(self, velocity: Velocity) -> None:
        self.velocity = velocity
        self.evaluations = 0
        self._last: tuple[float, Tensor, Tensor] | None = None

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        if self._last is not None and self._last[0] == float(t) and self._last[1] is z:
            return self._last[2]
        v = self.velocity(z, t.to(z.dtype).expand(len(z)))
        self.evaluations += 1
        self._last = (float(t), z, v)
        return v


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
        times = torch.tensor([solver.t_start, *wanted], dtype=torch.float64, device=z0.device)
        states = _solve(counted, z0, times, solver)
        found.update(zip(wanted, states[1:], strict=True))
    return torch.stack([found[float(t)] for t in levels], dim=1), counted.evaluations


def _solve(counted: _Counted, z0: Tensor, times: Tensor, solver: SolverConfig) -> Tensor:
    if solver.adaptive:
        try:
            return odeint(
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
    knots = torch.linspace(
        solver.t_start, 1.0, solver.steps + 1, dtype=torch.float64, device=z0.device
    )
    # Whole steps only: stop at the first knot past the last level, and drop that knot's own state.
    knots = knots[: int((knots < times[-1]).sum()) + 1]
    extended = times if times[-1] == knots[-1] else torch.cat([times, knots[-1:]])
    states = odeint(
        counted,
        z0,
        extended,
        method=solver.method,
        options={"grid_constructor": lambda f, y, t: knots, "interp": "cubic"},
    )
    return states[: len(times)]
