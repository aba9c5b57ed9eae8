"""Levels, grids of them, and the scales that go with them."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from degflow_pipe.errors import UsageError
from degflow_pipe.levels import (
    MAX_LEVELS,
    Grid,
    Level,
    grid_of,
    parse_scales,
    parse_t,
    parse_t_grid,
)

T_TEXT = st.integers(0, 10**6).map(lambda n: str(Decimal(n) / 10**6))


def exact(grid: Grid) -> list[str]:
    return [str(level.exact) for level in grid.levels]


def test_the_default_grid_is_19_exact_decimals() -> None:
    grid = parse_t_grid("0.1:1.0:0.05")
    assert len(grid) == 19
    assert [level.exact for level in grid.levels] == [Decimal(n) / 100 for n in range(10, 101, 5)]
    assert grid.t == [n / 100 for n in range(10, 101, 5)]


@pytest.mark.parametrize(
    "text, levels",
    [
        ("0:1:0.5", ["0", "0.5", "1"]),
        ("0.1:0.8:0.3", ["0.1", "0.4", "0.7"]),  # the stop is not reached
        ("0.1:0.7:0.3", ["0.1", "0.4", "0.7"]),  # binary floats would miss this stop
        ("0.5:0.5:0.1", ["0.5"]),
        ("0.2:0.3:0.9", ["0.2"]),
        (" 0.2 : 0.4 : 0.1 ", ["0.2", "0.3", "0.4"]),
        ("1e-1:0.3:1e-1", ["0.1", "0.2", "0.3"]),
    ],
)
def test_the_stop_is_included_where_the_steps_reach_it(text: str, levels: list[str]) -> None:
    assert exact(parse_t_grid(text)) == levels


@pytest.mark.parametrize(
    "text, reason",
    [
        ("0.1:1.0:0", "step must be above 0"),
        ("0.1:1.0:-0.05", "step must be above 0"),
        ("0.1:1.2:0.1", r"t must be in \[0, 1\], got 1.2"),
        ("-0.1:1.0:0.1", r"t must be in \[0, 1\], got -0.1"),
        ("0.9:0.1:0.1", "stop 0.1 is below start 0.9"),
        ("nan:1:0.1", "'nan' is not a number"),
        ("0:NaN:0.1", "'NaN' is not a number"),
        ("0:inf:0.1", "'inf' is not a number"),
        ("0:1:-Infinity", "'-Infinity' is not a number"),
        ("sNaN:1:0.1", "'sNaN' is not a number"),
        ("0.1:1.0", "start:stop:step"),
        ("0:1:0.1:2", "start:stop:step"),
        ("", "start:stop:step"),
        ("low:high:step", "'low' is not a number"),
        ("0.1::0.1", "'' is not a number"),
        ("0:1:1e-9", "more than the 200 levels"),
        ("0:1:1e-999999", "more than the 200 levels"),
        ("0:1:1e-9999999", "more than the 200 levels"),
    ],
)
def test_a_wrong_grid_is_refused_and_its_option_named(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_t_grid(text, "--levels")
    assert str(caught.value).startswith("--levels")


@pytest.mark.parametrize("text", ["", "0.2,,0.3", "0.2,x", "1.1", "-0.5", "nan", "inf", "0,2:1"])
def test_a_wrong_list_is_refused_and_its_option_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"^`t`: "):
        parse_t(text)


def test_a_list_is_sorted_and_repeats_go() -> None:
    assert exact(parse_t("0.5,0.2, 0.50,1")) == ["0.2", "0.5", "1"]


def test_at_most_200_levels() -> None:
    assert MAX_LEVELS == 200
    many = [Level(Decimal(n) / 1000) for n in range(201)]
    assert len(grid_of(many[:200])) == 200
    with pytest.raises(UsageError, match="at most 200 levels, got 201"):
        grid_of(many)
    assert len(parse_t_grid("0:0.995:0.005")) == 200
    with pytest.raises(UsageError, match="more than the 200 levels"):
        parse_t_grid("0:1:0.005")
    with pytest.raises(UsageError, match="one level at least"):
        grid_of([])


def test_a_level_outside_0_to_1_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\[0, 1\], got 1.5"):
        Level(Decimal("1.5"))


@given(start=st.integers(0, 1000), stop=st.integers(0, 1000), step=st.integers(1, 1500))
def test_grids_rise_strictly_stay_in_range_and_step_exactly(
    start: int, stop: int, step: int
) -> None:
    assume(start <= stop)
    start_d, stop_d, step_d = (Decimal(n) / 1000 for n in (start, stop, step))
    if (stop - start) // step + 1 > MAX_LEVELS:
        with pytest.raises(UsageError, match="more than the 200 levels"):
            parse_t_grid(f"{start_d}:{stop_d}:{step_d}")
        return
    grid = parse_t_grid(f"{start_d}:{stop_d}:{step_d}")
    levels = [level.exact for level in grid.levels]
    assert levels[0] == start_d
    assert all(b - a == step_d for a, b in pairwise(levels))
    assert levels[-1] <= stop_d < levels[-1] + step_d
    assert all(level.t == float(level.exact) for level in grid.levels)


@given(st.lists(T_TEXT, min_size=1, max_size=30))
def test_names_sort_as_levels_do_and_tell_them_apart(values: list[str]) -> None:
    levels = parse_t(",".join(values)).levels
    names = [level.name for level in levels]
    assert names == sorted(names)
    assert len(set(names)) == len({Decimal(value) for value in values})
    assert all(re.fullmatch("t[01][0-9]{3,9}", name) for name in names)


@pytest.mark.parametrize(
    "t, name",
    [
        ("0", "t0000"),
        ("1", "t1000"),
        ("0.35", "t0350"),
        ("0.0005", "t00005"),
        (str(1 / 6), "t0166666667"),
    ],
)
def test_a_level_is_called_by_its_digits(t: str, name: str) -> None:
    assert parse_t(t).levels[0].name == name


@given(st.lists(T_TEXT, min_size=1, max_size=8), st.lists(T_TEXT, min_size=1, max_size=8))
def test_grids_have_equal_names_where_they_are_equal(a: list[str], b: list[str]) -> None:
    one, other = parse_t(",".join(a)), parse_t(",".join(b))
    assert (one.name == other.name) == (one == other)
    assert parse_t(",".join(reversed(a))).name == one.name
    assert re.fullmatch("[a-z0-9-]+", one.name)


def test_the_form_in_which_a_grid_was_asked_for_leaves_no_trace() -> None:
    as_grid, as_list = parse_t_grid("0.2:0.6:0.2"), parse_t("0.60,0.4,2e-1")
    assert (as_grid, as_grid.name) == (as_list, as_list.name)


@given(
    scales=st.lists(st.integers(1000, 4000), min_size=1, max_size=10, unique=True),
    s_max=st.sampled_from([4.0, 4.5, 8.0]),
)
def test_scales_come_back_from_their_levels(scales: list[int], s_max: float) -> None:
    text = ",".join(str(Decimal(s) / 1000) for s in scales)
    grid = parse_scales(text, s_max)
    back = [level.scale(s_max) for level in grid.levels]
    assert back == [s / 1000 for s in sorted(scales)]


def test_scales_end_at_t_0_and_1() -> None:
    assert parse_scales("4,1", 4.0).t == [0.0, 1.0]


@pytest.mark.parametrize("text", ["0.9", "4.01", "x", "", "nan", "2,inf"])
def test_a_wrong_scale_is_refused_and_its_option_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"^`scales`: "):
        parse_scales(text, 4.0)
