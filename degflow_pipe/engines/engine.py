"""What an engine is, and which there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar

from degflow_pipe import choices
from degflow_pipe.engines.job import Job
from degflow_pipe.errors import UsageError

AnyUnit = TypeVar("AnyUnit")
AnyRecord = TypeVar("AnyRecord")


class Engine(Protocol):
    """Runs the units of a job."""

    def __call__(
        self,
        job: Job[AnyUnit, AnyRecord],
        units: Iterable[AnyUnit],
        workers: int,
        cost: Callable[[AnyUnit], int] | None = None,
    ) -> Generator[AnyRecord, None, None]:
        """Records in the units' order; close it where they are not drawn to the end.

        Units are drawn only as workers come free, so memory does not grow with their number; where
        `cost` tells how many bytes a unit takes, those in flight stay within a budget. The first
        error stops the rest and is raised when the units in flight have ended.
        """


def engine_of(name: choices.Engine) -> Engine:
    """`threads` of this process, or `processes` that each open the job. Raises UsageError."""
    # Each engine is loaded where it is asked for.
    if name == "threads":
        from degflow_pipe.engines.threads import run_in_threads

        return run_in_threads
    if name == "processes":
        from degflow_pipe.engines.processes import run_in_processes

        return run_in_processes
    choices.check_choice("engine", name, choices.Engine)
    raise AssertionError(f"no engine {name}")


def default_workers() -> int:
    """One for each core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int) -> int:
    """The number of workers, 0 meaning the default. Raises UsageError for a negative one."""
    if workers < 0:
        raise UsageError(f"`workers` must be 0 (one a core) or more, got {workers}")
    return workers or default_workers()
