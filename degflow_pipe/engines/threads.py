"""Runs units of work on this machine: threads, a bounded number in flight, results in order.

A stage gives an engine a function and units; the engine knows nothing of stages, so another one
(a cluster's) can take its place.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from typing import Protocol, TypeVar

from degflow_pipe.errors import UsageError

Unit = TypeVar("Unit")
Result = TypeVar("Result")

BUDGET = 1024**3
"""Bytes that photos may take that are decoded ahead, whatever the number of workers."""


class Engine(Protocol):
    """What runs the units of a stage: `in_order` here, a cluster's own elsewhere."""

    def __call__(
        self, function: Callable[[Unit], Result], units: Iterable[Unit], workers: int
    ) -> Iterator[Result]: ...


def default_workers() -> int:
    """One for each core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int) -> int:
    """The number of workers, 0 meaning the default. Raises UsageError for a negative one."""
    if workers < 0:
        raise UsageError(f"--workers must be 0 (one a core) or more, got {workers}")
    return workers or default_workers()


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
    except BaseException:
        in_hurry = True
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
    """Apply function to units, `workers` at a time, and yield the results in the units' order.

    Units are drawn only as workers come free, so memory does not grow with their number, nor beyond
    the budget where `cost` tells how many bytes a unit takes until its result was used: a unit that
    takes more than all of it goes alone. The first error stops the rest and is raised when the
    units in flight have ended. pool: `threads` that are shared with others; the function must not
    wait for them.
    """
    with threads(workers) if pool is None else nullcontext(pool) as used:
        running: deque[tuple[Future[Result], int]] = deque()
        held = 0
        try:
            for unit in units:
                size = 0 if cost is None else cost(unit)
                while running and held + size > budget:
                    future, taken = running.popleft()
                    yield future.result()
                    held -= taken
                running.append((used.submit(function, unit), size))
                held += size
                if len(running) > workers:
                    future, taken = running.popleft()
                    yield future.result()
                    held -= taken
            while running:
                yield running.popleft()[0].result()
        except Exception:
            wait([future for future, _ in running if not future.cancel()])
            raise
        except BaseException:
            for future, _ in running:
                future.cancel()
            raise


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
