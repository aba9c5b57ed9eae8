"""Threads of this process: the default engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import TypeVar

from degflow_pipe.engines.flight import BUDGET, in_flight
from degflow_pipe.engines.job import Job
from degflow_pipe.engines.ticks import Hear, heard_by

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def run_in_threads(
    job: Job[Unit, Result],
    units: Iterable[Unit],
    workers: int,
    cost: Callable[[Unit], int] | None = None,
    hear: Hear | None = None,
) -> Generator[Result, None, None]:
    """See `engine.Engine`. The job is opened once, here, and all threads share what it loads;
    where there are no units it loads nothing.
    """
    left = iter(units)
    for first in left:
        with job.open() as work:

            def heard(unit: Unit, work: Callable[[Unit], Result] = work) -> Result:
                heard_by(hear)
                return work(unit)

            yield from in_order(heard, chain([first], left), workers, cost=cost)


@contextmanager
def threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for `in_order`, for those that share them.

    They have ended afterwards, but for Ctrl-C: whoever asked for the end will not wait for whole
    units.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="degflow")
    in_hurry = False
    try:
        yield pool
    except Exception:
        raise
    except BaseException as error:
        # Whoever draws the results may stop too: what is being written then must be so no more.
        in_hurry = not isinstance(error, GeneratorExit)
        raise
    finally:
        pool.shutdown(wait=not in_hurry, cancel_futures=True)


def in_order(
    function: Callable[[Unit], Result],
    units: Iterable[Unit],
    workers: int,
    pool: ThreadPoolExecutor | None = None,
    cost: Callable[[Unit], int] | None = None,
    budget: int = BUDGET,
) -> Iterator[Result]:
    """Apply a function to units in threads, for what is not a job: see `flight.in_flight`.

    pool: `threads` that are shared with others; the function must not wait for them.
    """
    with threads(workers) if pool is None else nullcontext(pool) as used:
        yield from in_flight(lambda unit: used.submit(function, unit), units, workers, cost, budget)


class Room:
    """Memory that several workers share: who takes more than is left waits, unless alone."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._left, self._inside = budget, 0
        self._changed = threading.Condition()

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Take so many bytes for the block. A thread must not take twice."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside or size <= self._left)
            self._left -= size
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._inside -= 1
                self._changed.notify_all()
