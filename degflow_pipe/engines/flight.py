"""Units in flight: a bounded number and a bounded size, their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from typing import TypeVar

Unit = TypeVar("Unit")
Result = TypeVar("Result")

BUDGET = 1024**3
"""Bytes that units may take that are in flight, whatever the number of workers."""
PATIENCE = 0.5
"""Seconds of a wait, after which it is begun again."""


def in_flight(
    submit: Callable[[Unit], Future[Result]],
    units: Iterable[Unit],
    workers: int,
    cost: Callable[[Unit], int] | None = None,
    budget: int = BUDGET,
) -> Iterator[Result]:
    """Submit units, `workers` at a time and one ahead, and yield the results in the units' order.

    cost: how many bytes a unit takes until its result was used; one that takes more than all of the
    budget goes alone. The first error stops the rest and is raised when those in flight have ended,
    but for Ctrl-C: whoever asked for the end will not wait for whole units.
    """
    running: deque[tuple[Future[Result], int]] = deque()
    held = 0
    failed: list[Exception] = []
    try:
        for unit in _until_error(units, failed):
            size = 0 if cost is None else cost(unit)
            while running and held + size > budget:
                future, taken = running.popleft()
                yield _result(future)
                held -= taken
            running.append((submit(unit), size))
            held += size
            if len(running) > workers:
                future, taken = running.popleft()
                yield _result(future)
                held -= taken
        while running:
            yield _result(running.popleft()[0])
        if failed:
            raise failed[0]
    except (Exception, GeneratorExit):  # also where who uses the results has failed
        wait([future for future, _ in running if not future.cancel()])
        raise
    except BaseException:
        for future, _ in running:
            future.cancel()
        raise


def _result(future: Future[Result]) -> Result:
    # Python acts on a signal that came just before a wait only after it.
    while not wait([future], PATIENCE).done:
        pass
    return future.result()


def _until_error(units: Iterable[Unit], failed: list[Exception]) -> Iterator[Unit]:
    """The units; an error in drawing them goes into the list, so that what is in flight counts."""
    try:
        yield from units
    except Exception as error:
        failed.append(error)
