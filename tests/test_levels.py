"""Levels, grids of them, and the scales that go with them."""

from __future__ import annotations

import re
from contextlib import suppress
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
    parse_grid,
    parse_scales,
    parse_t,
    parse_t_grid,
    with_draws,
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


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("0.1:1.0:0.3", parse_t_grid("0.1:1.0:0.3")),
        ("0.55, 0.2,0.55", parse_t("0.2,0.55")),
        ("0.5", parse_t("0.5")),
        ("x2", parse_scales("2", 4.0)),
        ("x2.9,x1.5, X2", parse_scales("1.5,2,2.9", 4.0)),
        ("x1.5:x2.9:x0.2", parse_scales("1.5,1.7,1.9,2.1,2.3,2.5,2.7,2.9", 4.0)),
        ("x1:x3:x1.5", parse_scales("1,2.5", 4.0)),
    ],
)
def test_one_text_asks_for_levels_in_every_form(text: str, same: Grid) -> None:
    assert parse_grid(text, 4.0) == same


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "wants 0.1:1.0:0.05"),
        (" ", "wants 0.1:1.0:0.05"),
        ("2,3", r"t must be in \[0, 1\], got 2; an SR scale is written x2"),
        ("x2,0.5", "x before every number of 'x2,0.5', or before none"),
        ("x1:x2:0.1", "x before every number"),
        ("x1:x2", "start:stop:step such as x1.5:x3:x0.5"),
        ("x1:x2:x0", "step must be above 0"),
        ("x3:x2:x1", "stop 2 is below start 3"),
        ("x1:x4:x0.001", "more than the 200 levels"),
        ("x0.5,x2", "1 or more, got x0.5"),
        ("x4.5", "4.5 is outside the scales of this checkpoint, 1 to 4"),
        ("x2:x5:x1", "5 is outside the scales"),
        ("x", "'' is not a number"),
        ("xx2", "'x2' is not a number"),
        ("xnan", "'nan' is not a number"),
        ("x1:x2:x1e9999999", "too large a number"),
        ("0:1:1e9999999", "too large a number"),
        ("1e999999999999999999", "not a number|too large"),
    ],
)
def test_a_text_in_no_form_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_grid(text, 4.0)
    assert str(caught.value).startswith("`t_grid`") and "\n" not in str(caught.value)


@given(st.text("0123456789.,:x-eE+ nainf", max_size=20))
def test_any_text_is_a_grid_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        grid = parse_grid(text, 2.9, lambda s: ((s - 1) / 1.9) ** 2)
        assert list(grid.t) == sorted(grid.t) and all(0 <= t <= 1 for t in grid.t)
        assert len(set(grid.levels)) == len(grid)
        for level in grid.levels:
            assert re.fullmatch(r"t\d+|[tx][\d_]+(to[\d_]+)?", level.name)
            low, high = level.ends
            assert low <= high and level.drawn == (low < high)


def test_what_was_asked_by_scale_is_called_so() -> None:
    levels = parse_grid("x2.90,x1.5,x2", 2.9).levels
    assert [level.asked for level in levels] == ["x1.5", "x2", "x2.9"]
    assert [level.name for level in levels] == ["x1_5", "x2", "x2_9"]
    assert [level.label for level in levels] == ["x1.5", "x2", "x2.9"]
    (level,) = parse_grid("0.5", 2.9).levels
    assert (level.asked, level.name, level.label) == ("", "t0500", "t = 0.5")


@pytest.mark.parametrize(
    ("text", "name", "ends"),
    [
        ("x1.5..x2.9", "x1_5to2_9", (1.5, 2.9)),
        (" X1.50 .. x2 ", "x1_5to2", (1.5, 2.0)),
        ("0.2..0.80", "t0_2to0_8", (0.2, 0.8)),
        ("0..1", "t0to1", (0.0, 1.0)),
    ],
)
def test_a_range_is_one_level_that_each_patch_draws(
    text: str, name: str, ends: tuple[float, float]
) -> None:
    (level,) = parse_grid(text, 2.9).levels
    assert (level.name, level.ends, level.drawn) == (name, ends, True)


@pytest.mark.parametrize(
    "text", ["x2..x1.5", "0.5..0.5", "x1.5..2", "0.2..", "0.2..0.4..0.6", "x1..x3", "0.2..1.1"]
)
def test_a_range_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="t_grid"):
        parse_grid(text, 2.9)


def test_draws_are_levels_of_their_own() -> None:
    grid = with_draws(parse_grid("0.2,0.5", 2.9), 3)
    assert [level.name for level in grid.levels] == [
        *("t0200_d1", "t0200_d2", "t0200_d3", "t0500_d1", "t0500_d2", "t0500_d3")
    ]
    assert with_draws(grid_of(parse_grid("0.2", 2.9).levels), 1) == parse_grid("0.2", 2.9)
    with pytest.raises(UsageError, match="`draws`"):
        with_draws(grid, 0)
