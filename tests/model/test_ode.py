"""Integration of dz/dt = v(z, t): orders, tolerances, and what a latent may depend on.

The truth is the logistic equation with a rate that grows in t, solved in closed form; it is
nonlinear in z and depends on t, so that a method cannot gain an order by luck.
"""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchdiffeq import odeint

from degflow_pipe.model.config import ADAPTIVE_METHODS, FIXED_METHODS, SolverConfig
from degflow_pipe.model.ode import integrate, largest_sample_norm

quick = settings(deadline=None, max_examples=25)
ORDERS = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
STAGES = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
T_START = SolverConfig().t_start
GRID = [i / 40 for i in range(1, 41)]

levels_in_range = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5)
methods = st.sampled_from(FIXED_METHODS + ADAPTIVE_METHODS)


def logistic(z: Tensor, t: Tensor) -> Tensor:
    """4 t z (1 - z): (B, C, h, w), elementwise."""
    return z * (1 - z) * (4 * t).view(-1, 1, 1, 1)


def logistic_truth(z0: Tensor, levels: list[float]) -> Tensor:
    """Latents (B, T, C, h, w) of `logistic` from z0 at T_START."""
    t = torch.tensor(levels, dtype=z0.dtype).view(1, -1, 1, 1, 1)
    return torch.sigmoid(torch.logit(z0)[:, None] + 2 * t**2 - 2 * T_START**2)


def start(batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.linspace(0.1, 0.5, batch * 3, dtype=dtype).view(batch, 1, 1, 3)


def errors(solver: SolverConfig, levels: list[float]) -> Tensor:
    """Largest error at each level: (T,)."""
    z0 = start()
    latents, _ = integrate(logistic, z0, levels, solver)
    return (latents - logistic_truth(z0, levels)).abs().amax(dim=(0, 2, 3, 4))


def measured_order(steps: list[int], measured: list[float]) -> float:
    """Slope of log error against log step."""
    return float(np.polyfit(-np.log(steps), np.log(measured), 1)[0])


def test_every_fixed_method_has_a_stated_order() -> None:
    assert set(ORDERS) == set(FIXED_METHODS)


@pytest.mark.parametrize(("method", "order"), ORDERS.items())
def test_error_falls_with_the_order_of_the_method(method: str, order: int) -> None:
    steps = [8, 16, 32, 64]
    at_end = [float(errors(SolverConfig(method, n), [1.0])[0]) for n in steps]
    assert measured_order(steps, at_end) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("method", FIXED_METHODS)
@given(
    levels=st.lists(st.floats(0.002, 1.0), min_size=1, max_size=6, unique=True),
    steps=st.integers(1, 5),
)
@quick
def test_fixed_steps_are_those_of_torchdiffeq_to_the_last_bit(
    method: str, levels: list[float], steps: int
) -> None:
    z0 = start(3, torch.float32)
    made, _ = integrate(logistic, z0, sorted(levels), SolverConfig(method, steps))
    knots = torch.from_numpy(np.linspace(T_START, 1.0, steps + 1))
    times = torch.tensor([T_START, *sorted({*levels, 1.0})], dtype=torch.float64)
    theirs = odeint(
        lambda t, z: logistic(z, t.to(z.dtype).expand(len(z))),
        z0,
        times,
        method=method,
        options={"grid_constructor": lambda f, y, t: knots, "interp": "cubic"},
    )
    assert torch.equal(made, theirs[1 : len(levels) + 1].movedim(0, 1))


def test_levels_between_knots_lose_no_order() -> None:
    steps = [4, 8, 16, 32]
    worst = [float(errors(SolverConfig("rk4", n), GRID).max()) for n in steps]
    assert measured_order(steps, worst) == pytest.approx(4, abs=0.3)
    assert worst[0] < 5e-4


@pytest.mark.parametrize(
    ("method", "tolerance"),
    [
        ("dopri5", 1e-3),
        ("dopri5", 1e-5),
        ("dopri5", 1e-7),
        ("dopri5", 1e-9),
    ],
)
def test_tolerance_is_reached_at_every_level(method: str, tolerance: float) -> None:
    """The solver bounds the error of one step; over all steps a few tolerances add up."""
    assert errors(SolverConfig(method, rtol=tolerance, atol=tolerance), GRID).max() < 30 * tolerance


@pytest.mark.parametrize("method", ADAPTIVE_METHODS)
def test_tighter_tolerance_gives_smaller_error_for_more_evaluations(method: str) -> None:
    results = []
    for tolerance in (1e-3, 1e-6, 1e-9):
        solver = SolverConfig(method, rtol=tolerance, atol=tolerance)
        _, evaluations = integrate(logistic, start(), GRID, solver)
        results.append((float(errors(solver, GRID).max()), evaluations))
    for (loose, few), (tight, many) in pairwise(results):
        assert tight < loose / 5
        assert many > few


def forced(speeds: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """Velocity of z(t) = sin(speed * t) + constant, one speed a sample."""
    return (speeds * torch.cos(speeds * t)).view(-1, 1, 1, 1) + 0 * z


def test_one_fast_sample_among_calm_ones_meets_the_tolerance() -> None:
    speeds = torch.zeros(400, dtype=torch.float64)
    speeds[7] = 30.0
    solver = SolverConfig("dopri5", rtol=1e-5, atol=1e-5)
    z0 = torch.zeros(400, 1, 1, 1, dtype=torch.float64)
    latents, _ = integrate(lambda z, t: forced(speeds, z, t), z0, GRID, solver)
    truth = torch.sin(30 * torch.tensor(GRID, dtype=torch.float64)) - math.sin(30 * T_START)
    assert (latents[7].flatten() - truth).abs().max() < 30 * solver.rtol


@pytest.mark.parametrize("method", ADAPTIVE_METHODS)
def test_calm_company_does_not_loosen_the_steps_of_a_fast_sample(method: str) -> None:
    speeds = torch.tensor([0.0, 30.0, 0.0, 0.0], dtype=torch.float64)
    z0 = torch.zeros(4, 1, 1, 1, dtype=torch.float64)
    solver = SolverConfig(method)
    alone, few = integrate(lambda z, t: forced(speeds[1:2], z, t), z0[1:2], GRID, solver)
    batch, many = integrate(lambda z, t: forced(speeds, z, t), z0, GRID, solver)
    assert few == many
    assert torch.equal(batch[1:2], alone)


def test_norm_of_a_batch_is_that_of_its_largest_sample() -> None:
    z = torch.zeros(5, 2, 2, 1)
    z[3] = torch.tensor([1.0, -1.0, 7.0, 7.0]).view(2, 2, 1)
    z[4] = 2.0
    assert float(largest_sample_norm(z)) == pytest.approx(5.0)


@quick
@given(methods, levels_in_range, st.randoms(use_true_random=False))
def test_a_latent_does_not_depend_on_the_other_levels_or_their_order(
    method: str, levels: list[float], random: Random
) -> None:
    solver = SolverConfig(method, steps=3, rtol=1e-3, atol=1e-3)
    z0 = start(dtype=torch.float32)
    shuffled = sorted(levels, key=lambda _: random.random())
    together, _ = integrate(logistic, z0, levels, solver)
    reordered, _ = integrate(logistic, z0, [*shuffled, 0.37, *shuffled], solver)
    for i, level in enumerate(levels):
        alone, _ = integrate(logistic, z0, [level], solver)
        assert torch.equal(together[:, i], alone[:, 0])
        assert torch.equal(reordered[:, shuffled.index(level)], alone[:, 0])


@quick
@given(st.sampled_from(FIXED_METHODS), levels_in_range, st.integers(1, 9))
def test_a_latent_of_a_fixed_method_does_not_depend_on_the_batch(
    method: str, levels: list[float], batch: int
) -> None:
    solver = SolverConfig(method, steps=3)
    z0 = start(batch, torch.float32)
    together, _ = integrate(logistic, z0, levels, solver)
    for i in range(batch):
        alone, _ = integrate(logistic, z0[i : i + 1], levels, solver)
        assert torch.equal(together[i : i + 1], alone)


@quick
@given(methods, levels_in_range, st.integers(1, 5))
def test_evaluations_are_those_the_velocity_saw(
    method: str, levels: list[float], steps: int
) -> None:
    seen = []
    z0 = start(3, torch.float32)

    def velocity(z: Tensor, t: Tensor) -> Tensor:
        assert z.shape == z0.shape
        assert t.shape == (3,)
        assert t.dtype == z.dtype == torch.float32
        seen.append(float(t[0]))
        return logistic(z, t)

    latents, evaluations = integrate(velocity, z0, levels, SolverConfig(method, steps=steps))
    assert latents.shape == (3, len(levels), 1, 1, 3)
    assert evaluations == len(seen)
    if method in FIXED_METHODS:
        assert evaluations <= STAGES[method] * steps + 1
        assert all(T_START * 0.999 <= t <= 1.0 for t in seen)


@pytest.mark.parametrize("method", FIXED_METHODS)
def test_a_whole_grid_of_levels_costs_one_pass(method: str) -> None:
    _, evaluations = integrate(logistic, start(), GRID, SolverConfig(method, steps=4))
    assert evaluations == STAGES[method] * 4 + 1


def test_steps_past_the_last_level_are_not_taken() -> None:
    solver = SolverConfig("rk4", steps=10)
    _, evaluations = integrate(logistic, start(), [0.05, 0.15], solver)
    assert evaluations <= 2 * 4 + 1


@pytest.mark.parametrize("method", FIXED_METHODS + ADAPTIVE_METHODS)
def test_levels_up_to_the_start_are_the_hr_latent(method: str) -> None:
    z0 = start()
    latents, evaluations = integrate(logistic, z0, [0.0, T_START, 1e-9], SolverConfig(method))
    assert evaluations == 0
    assert torch.equal(latents, z0[:, None].expand(-1, 3, -1, -1, -1))
    mixed, _ = integrate(logistic, z0, [0.5, 0.0], SolverConfig(method))
    assert torch.equal(mixed[:, 1], z0)
    assert not torch.equal(mixed[:, 0], z0)


def test_the_solve_starts_at_t_start() -> None:
    seen = []

    def velocity(z: Tensor, t: Tensor) -> Tensor:
        seen.append(float(t[0]))
        return torch.ones_like(z)

    z0 = start()
    latents, _ = integrate(velocity, z0, [0.25, 1.0], SolverConfig("rk4", t_start=0.125))
    assert min(seen) == 0.125
    torch.testing.assert_close(latents[:, 0], z0 + 0.125)
    torch.testing.assert_close(latents[:, 1], z0 + 0.875)


@pytest.mark.parametrize("method", FIXED_METHODS + ADAPTIVE_METHODS)
def test_repeated_levels_give_repeated_latents(method: str) -> None:
    latents, _ = integrate(logistic, start(), [0.6, 0.2, 0.6, 0.0, 0.0], SolverConfig(method))
    assert torch.equal(latents[:, 0], latents[:, 2])
    assert torch.equal(latents[:, 3], latents[:, 4])
    assert not torch.equal(latents[:, 0], latents[:, 1])


@pytest.mark.parametrize("level", [-1e-6, 1.0001, math.inf, math.nan])
def test_a_level_out_of_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=r"levels must be in \[0, 1\]"):
        integrate(logistic, start(), [0.5, level], SolverConfig())
