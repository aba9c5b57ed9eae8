"""Levels that scenes have in common, by the scales that were measured."""

from __future__ import annotations

from itertools import pairwise

import pytest

from degflow_pipe.alignment.results import AlignSummary
from degflow_pipe.stages.align_levels import APART, levels_of
from degflow_pipe.stages.measuring import Measured


def scenes(*scales: tuple[float, ...]) -> dict[str, Measured]:
    """A scene each, `00` and so on, with shots `0.jpg` and so on of these scales."""
    return {
        f"{number:02d}": Measured(
            f"{number:02d}", {}, "hr.jpg", {f"{i}.jpg": {"scale": s} for i, s in enumerate(own)}
        )
        for number, own in enumerate(scales)
    }


def test_scales_that_go_on_evenly_are_not_one_level() -> None:
    summary = AlignSummary("")
    given = scenes(*((2.0 + 2.0 * i / 39,) for i in range(40)))
    levels, assigned = levels_of(given, summary)
    for level, scale in levels.items():
        for name in (name for name, own in assigned.items() if level in own.values()):
            assert 1 / APART <= (given[name].shots or {})["0.jpg"]["scale"] / scale <= APART
    ordered = sorted(levels.values())
    assert all(b / a >= APART for a, b in pairwise(ordered))
    (knot,) = summary.knots
    assert 1 < len(assigned) < 8 and set(assigned) | set(summary.failed) == set(given)
    assert all(f"none near {knot}" in reason for reason in summary.failed.values())
    assert "its shots are at x2.00" in summary.failed["00"]


def test_most_scenes_have_a_level_and_one_beside_it_fails() -> None:
    summary = AlignSummary("")
    given = scenes((1.95,), *((2.0 + 0.01 * i, 3.0) for i in range(7)), (2.11, 3.0), (3.02, 2.02))
    levels, assigned = levels_of(given, summary)
    assert levels == {"x2.0": pytest.approx(2.02, abs=0.011), "x3.0": pytest.approx(3.0)}
    assert summary.knots == ["x2.0", "x3.0"]
    assert set(summary.failed) == {"00", "08"}
    assert "its shots are at x2.11, x3.00, none near x2.0, as 8 of 10" in summary.failed["08"]
    assert assigned["09"] == {"1.jpg": "x2.0", "0.jpg": "x3.0"}


def test_shots_that_are_of_no_level_are_told_of() -> None:
    summary = AlignSummary("")
    _, assigned = levels_of(scenes((2.0, 2.01), (2.05, 2.13), (2.05,)), summary)
    assert summary.notes == [
        "00: 1.jpg, a second shot at x2.0, is left out",
        "01: 1.jpg, x2.13 lies between levels, is left out",
    ]
    assert [list(own) for own in assigned.values()] == [["0.jpg"]] * 3
