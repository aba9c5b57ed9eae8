"""What workers tell of a unit before it is whole."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degflow_pipe.engines.engine import Engine
from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.engines.ticks import Amount, tick

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import engine_jobs  # noqa: E402


@pytest.mark.parametrize("engine", [run_in_threads, run_in_processes])
def test_workers_are_heard_within_a_unit(engine: Engine, tmp_path: Path) -> None:
    """A unit ends when it was heard of."""
    heard: list[int] = []

    def hear(count: int) -> None:
        heard.append(count)
        if count:
            (tmp_path / "heard").touch()

    assert list(engine(engine_jobs.Tells(str(tmp_path)), [3, 4], 2, hear=hear)) == [3, 4]
    assert 3 <= sum(heard) <= 7


def test_nobody_needs_to_hear() -> None:
    tick(1)
    assert list(run_in_threads(engine_jobs.Tells(), [3], 1)) == [3]
    assert list(run_in_processes(engine_jobs.Tells(), [3], 1)) == [3]


def test_processes_of_a_process() -> None:
    """As a trainer's worker would run them."""
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=engine_jobs.nested)
    process.start()
    process.join()
    assert process.exitcode == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50))), st.booleans())
def test_an_amount_only_grows_and_ends_at_all_of_it(
    parts: list[tuple[bool, int]], are_heard: bool
) -> None:
    """Units are heard in two parts or not at all, and are whole at once or later."""
    steps: list[int] = []
    amount = Amount(steps.append)
    late: list[Callable[[], None]] = []
    for at_once, count in parts:
        if are_heard:
            amount.hear(count // 2)
            amount.hear(count - count // 2)
        if at_once:
            amount.whole(count)
        else:
            late.append(lambda count=count: amount.whole(count))  # type: ignore[misc]
    for whole in late:
        whole()
    assert all(step > 0 for step in steps)
    assert sum(steps) == sum(count for _, count in parts)
