"""What an engine is, and which there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar

from degflow_pipe import choices
from degflow_pipe.engines.job import Job
from degflow_pipe.engines.ticks import Hear
from degflow_pipe.errors import UsageError

AnyUnit = TypeVar("AnyUnit")
AnyRecord = TypeVar("AnyRecord")

MOST_GPUS = 64
"""Of a worker."""


class Engine(Protocol):
    """Runs the units of a job."""

    def __call__(
        self,
        job: Job[AnyUnit, AnyRecord],
        units: Iterable[AnyUnit],
        workers: int,
        cost: Callable[[AnyUnit], int] | None = None,
        hear: Hear | None = None,
    ) -> Generator[AnyRecord, None, None]:
        """Records in the units' order; close it where they are not drawn to the end.

        Units are drawn only as workers come free, so memory does not grow with their number; where
        `cost` tells how many bytes a unit takes, those in flight stay within a budget. Where
        workers `tick`, `hear` takes it; Ray's are not heard before a unit is whole. The first
        error stops the rest and is raised when the units in flight have ended.
        """


def engine_of(name: choices.Engine, num_gpus: float | None = None) -> Engine:
    """`threads` of this process, `processes` that each open the job, or `ray`, whose actors do, on
    the machines of a cluster. num_gpus: see `actors.RayEngine`. Raises UsageError, also where Ray
    is not installed.
    """
    check_gpus(name, num_gpus)
    # Each engine is loaded where it is asked for.
    if name == "threads":
        from degflow_pipe.engines.threads import run_in_threads

        return run_in_threads
    if name == "processes":
        from degflow_pipe.engines.processes import run_in_processes

        return run_in_processes
    if name == "ray":
        from degflow_pipe.engines.actors import RayEngine

        return RayEngine(num_gpus)
    choices.check_choice("engine", name, choices.Engine)
    raise AssertionError(f"no engine {name}")


def default_workers() -> int:
    """One for each core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_gpus(name: choices.Engine, num_gpus: float | None) -> None:
    """Raises UsageError for GPUs a worker that nobody can have, or of an engine without them."""
    if num_gpus is None:
        return
    if name != "ray":
        raise UsageError("`num_gpus` is for `engine=ray`: other engines have the one `device`")
    if not (0 < num_gpus <= 1 or (1 <= num_gpus <= MOST_GPUS and num_gpus == int(num_gpus))):
        raise UsageError(
            f"`num_gpus` must be a part of a GPU, such as 0.5, or 1 to {MOST_GPUS}, got "
            f"{num_gpus:g}"
        )


def name_of(engine: Engine) -> str:
    """What an engine is called: see `engine_of`."""
    from degflow_pipe.engines.threads import run_in_threads

    if hasattr(engine, "default_workers"):
        return "ray"
    return "threads" if engine is run_in_threads else "processes"


def check_workers(workers: int, engine: Engine | None = None) -> int:
    """The number of workers, 0 meaning the engine's default, one a core of this machine or of the
    cluster. Raises UsageError for a negative one.
    """
    if workers < 0:
        raise UsageError(f"`workers` must be 0 (one a core) or more, got {workers}")
    default: Callable[[], int] = getattr(engine, "default_workers", default_workers)
    return workers or default()
