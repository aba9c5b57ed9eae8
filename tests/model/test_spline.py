"""The natural cubic spline: its defining properties, and SciPy's as the second opinion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.interpolate import CubicSpline
from torch import Tensor

from degflow_pipe.model.spline import NaturalCubicSpline

quick = settings(deadline=None, max_examples=60)


class Knots(NamedTuple):
    """points: (K, B, 2, 1, 1), positions: (K,), both float64."""

    points: Tensor
    positions: Tensor

    @property
    def batch(self) -> int:
        return self.points.shape[1]

    def inside(self, fractions: list[float]) -> Tensor:
        """(B,) positions at the given fractions of the knots' range."""
        first, last = self.positions[0], self.positions[-1]
        return (first + (last - first) * torch.tensor(fractions, dtype=torch.float64)).clamp(
            first, last
        )

    def everywhere(self, t: Tensor) -> Tensor:
        """One position (scalar) for every sample: (B,)."""
        return t.expand(self.batch)


@st.composite
def knots(draw: st.DrawFn, least: int = 2, most: int = 6) -> Knots:
    count, batch = draw(st.integers(least, most)), draw(st.integers(1, 4))
    gaps = draw(st.lists(st.floats(0.05, 1.0), min_size=count, max_size=count))
    points = draw(arrays(np.float64, (count, batch, 2, 1, 1), elements=st.floats(-10, 10)))
    positions = torch.tensor(gaps, dtype=torch.float64).cumsum(0) - 1.0
    return Knots(torch.from_numpy(points), positions)


def fractions(count: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(0.0, 1.0), min_size=count, max_size=count)


def close(got: Tensor, wanted: Tensor, scale: float = 1.0) -> None:
    """Equal up to rounding in float64, for values that may be as large as `scale`."""
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9 * max(scale, 1.0))


@quick
@given(knots())
def test_passes_through_its_knots(k: Knots) -> None:
    spline = NaturalCubicSpline(k.points, k.positions)
    for point, position in zip(k.points, k.positions, strict=True):
        close(spline(k.everywhere(position)).z, point)


def test_passes_through_float32_knots_at_thirds() -> None:
    """The levels of training, 0, 1/3, 2/3 and 1, given in double beside float32 latents."""
    positions = torch.tensor([0, 1 / 3, 2 / 3, 1], dtype=torch.float64)
    points = torch.randn(4, 3, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    spline = NaturalCubicSpline(points, positions)
    for point, position in zip(points, positions, strict=True):
        got = spline(position.expand(3)).z
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, point)


@quick
@given(st.data())
def test_two_knots_give_the_straight_line(data: st.DataObject) -> None:
    k = data.draw(knots(2, 2))
    t = k.inside(data.draw(fractions(k.batch)))
    point = NaturalCubicSpline(k.points, k.positions)(t)
    slope = (k.points[1] - k.points[0]) / (k.positions[1] - k.positions[0])
    close(point.z, k.points[0] + slope * (t - k.positions[0]).view(-1, 1, 1, 1))
    close(point.d1, slope)
    assert not point.d2.any()
    assert not point.d3.any()


@quick
@given(knots(3))
def test_second_derivative_vanishes_at_both_ends(k: Knots) -> None:
    spline = NaturalCubicSpline(k.points, k.positions)
    for end in (k.positions[0], k.positions[-1]):
        d2 = spline(k.everywhere(end)).d2
        close(d2, torch.zeros_like(d2))


@quick
@given(knots(3))
def test_value_slope_and_curvature_are_continuous_at_inner_knots(k: Knots) -> None:
    spline = NaturalCubicSpline(k.points, k.positions)
    for knot in k.positions[1:-1]:
        before = spline(k.everywhere(torch.nextafter(knot, knot - 1)))
        after = spline(k.everywhere(knot))
        scale = float(torch.cat([before.d3, after.d3]).abs().max())
        for name in ("z", "d1", "d2"):
            close(getattr(before, name), getattr(after, name), scale)


@quick
@given(st.data())
def test_agrees_with_scipy_at_each_samples_own_position(data: st.DataObject) -> None:
    k = data.draw(knots(3))
    t = k.inside(data.draw(fractions(k.batch)))
    point = NaturalCubicSpline(k.points, k.positions)(t)
    theirs = CubicSpline(k.positions.numpy(), k.points.numpy(), bc_type="natural")
    for sample in range(k.batch):
        for order, ours in enumerate(point):
            wanted = torch.from_numpy(theirs(float(t[sample]), nu=order)[sample])
            close(ours[sample], wanted, scale=float(np.abs(theirs.c).max()))


@quick
@given(st.data())
def test_linear_data_is_reproduced(data: st.DataObject) -> None:
    k = data.draw(knots(3))
    slope, offset = k.points[0], k.points[1]
    line = slope * k.positions.view(-1, 1, 1, 1, 1) + offset
    t = k.inside(data.draw(fractions(k.batch)))
    point = NaturalCubicSpline(line, k.positions)(t)
    close(point.z, slope * t.view(-1, 1, 1, 1) + offset)
    # The second difference of a line is rounding only, divided by gaps as short as 0.05.
    close(point.d1, slope, scale=1e2)
    close(point.d2, torch.zeros_like(slope), scale=1e4)
    close(point.d3, torch.zeros_like(slope), scale=1e6)


@quick
@given(st.data())
def test_next_knot_is_the_first_one_to_the_right(data: st.DataObject) -> None:
    k = data.draw(knots())
    t = torch.cat([k.inside(data.draw(fractions(k.batch))), k.positions])
    positions, last = k.positions.tolist(), len(k.positions) - 1
    wanted = [
        next((i for i, position in enumerate(positions) if position > value), last)
        for value in t.tolist()
    ]
    assert NaturalCubicSpline(k.points, k.positions).next_knot(t).tolist() == wanted


@pytest.mark.parametrize(
    ("count", "positions", "complaint"),
    [
        (0, [], "K >= 2 knots"),
        (1, [0.0], "K >= 2 knots"),
        (3, [0.0, 1.0], "K >= 2 knots"),
        (2, [[0.0], [1.0]], "K >= 2 knots"),
        (3, [0.0, 0.5, 0.5], "rise strictly"),
        (3, [0.0, 1.0, 0.5], "rise strictly"),
        (2, [0.0, float("nan")], "rise strictly"),
    ],
)
def test_impossible_knots_are_refused(count: int, positions: list, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        NaturalCubicSpline(torch.zeros(count, 1, 2), torch.tensor(positions))
