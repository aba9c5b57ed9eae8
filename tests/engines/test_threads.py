"""The engine: results in order, a bounded number in flight, nothing left running."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from degflow_pipe.engines.engine import check_workers, default_workers
from degflow_pipe.engines.threads import Room, in_order, run_in_threads
from degflow_pipe.errors import CheckpointError, PhotoError, UsageError

sys.path.insert(0, str(Path(__file__).parent))
import engine_jobs


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_results_come_in_the_order_of_the_units(workers: int) -> None:
    def work(n: int) -> int:
        time.sleep(0.002 * (n % 3 == 0))  # some units are overtaken by those behind them
        return n * n

    assert list(in_order(work, range(50), workers)) == [n * n for n in range(50)]


def test_no_unit_gives_no_result() -> None:
    assert list(in_order(lambda n: n, [], 2)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_units_are_drawn_as_workers_come_free(workers: int) -> None:
    drawn = []

    def units() -> Iterator[int]:
        for n in range(20):
            drawn.append(n)
            yield n

    for done, _ in enumerate(in_order(lambda n: n, units(), workers), start=1):
        assert len(drawn) <= done + workers


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_more_units_at_once_than_workers(workers: int) -> None:
    lock = threading.Lock()
    now, most = 0, 0

    def work(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1

    list(in_order(work, range(20), workers))
    assert 1 <= most <= workers


def test_the_first_error_is_raised_after_the_results_before_it() -> None:
    begun = []

    def work(n: int) -> int:
        begun.append(n)
        if n >= 3:
            raise ValueError(f"unit {n}")
        return n

    found = []
    with pytest.raises(ValueError, match="unit 3"):
        for result in in_order(work, range(100), 2):
            found.append(result)
    assert found == [0, 1, 2]
    assert max(begun) <= 3 + 2


def test_no_worker_is_at_work_after_the_error_was_raised() -> None:
    """Who catches the error lets go of its lock, so nobody may write any more."""
    other_begun = threading.Event()
    ended = []

    def work(n: int) -> None:
        if n == 0:
            other_begun.wait(30)
            raise ValueError("unit 0")
        other_begun.set()
        time.sleep(0.3)
        ended.append(n)

    with pytest.raises(ValueError, match="unit 0"):
        list(in_order(work, range(2), 2))
    assert ended == [1]


def test_no_worker_is_at_work_after_who_uses_the_results_has_failed() -> None:
    begun, ended = threading.Event(), []

    def work(n: int) -> int:
        if n:
            begun.set()
            time.sleep(0.3)
            ended.append(n)
        return n

    results = in_order(work, range(100), 1)
    assert next(results) == 0
    begun.wait(30)
    results.close()
    assert ended == [1]


def test_a_job_is_opened_once_for_all_threads(tmp_path: Path) -> None:
    found = list(run_in_threads(engine_jobs.Noted(str(tmp_path)), range(30), 3))
    assert set(found) == {os.getpid()}
    assert (tmp_path / "opened").read_text() == (tmp_path / "closed").read_text()
    assert (tmp_path / "opened").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    "how, error", [("photo", PhotoError), ("bug", ZeroDivisionError), ("opening", CheckpointError)]
)
def test_errors_of_a_job_come_as_themselves(how: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(run_in_threads(engine_jobs.Fails(how), range(100), 2))


def test_0_workers_is_one_a_core() -> None:
    assert check_workers(0) == default_workers() >= 1
    assert check_workers(3) == 3
    with pytest.raises(UsageError, match="`workers` must be 0"):
        check_workers(-1)


@pytest.mark.parametrize("workers", [1, 3, 12])
@pytest.mark.parametrize("budget", [1, 10, 25])
def test_units_in_flight_keep_within_the_budget_unless_one_is_alone(
    workers: int, budget: int
) -> None:
    lock = threading.Lock()
    now, most = [], []

    def work(size: int) -> int:
        with lock:
            now.append(size)
            most.append((len(now), sum(now)))
        time.sleep(0.001)
        with lock:
            now.remove(size)
        return size

    sizes = [5, 10, 3, 40, 2, 2, 2, 9, 30, 1] * 3
    assert list(in_order(work, sizes, workers, cost=lambda size: size, budget=budget)) == sizes
    assert all(count == 1 or total <= budget for count, total in most)


def test_room_is_shared_and_what_is_larger_goes_alone() -> None:
    room, lock = Room(10), threading.Lock()
    now, most = [], []

    def work(size: int) -> None:
        with room.of(size):
            with lock:
                now.append(size)
                most.append((len(now), sum(now)))
            time.sleep(0.001)
            with lock:
                now.remove(size)

    list(in_order(work, [4, 6, 25, 3, 3, 3, 9, 12, 1], 6))
    assert len(most) == 9
    assert all(count == 1 or total <= 10 for count, total in most)
