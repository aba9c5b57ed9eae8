"""The trainings of a comparison, shared out over processes that `accelerate launch` started.

They do not depend on one another, so each process does whole ones, and what is found is the same
whatever their number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from degflow_pipe.folders import one_writer
from degflow_pipe.training.processes import Processes

Training = TypeVar("Training")


def processes_of(device: str) -> Processes | None:
    """This process among several; None where it is alone.

    Raises UsageError where Accelerate is not installed or there is no such device.
    """
    return Processes(device, "fp32") if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None


@contextmanager
def writing(out: Path, processes: Processes | None) -> Iterator[None]:
    """The folder for this comparison alone; of several processes the first one holds it.

    The others write nothing before it has, as they wait for what it prepares.
    """
    with one_writer(out, "proxy") if processes is None or processes.first else nullcontext():
        yield


def share(
    processes: Processes | None,
    trainings: Sequence[Training],
    prepare: Callable[[], object],
    train: Callable[[Training], object],
) -> bool:
    """Do this process's share of the trainings; True where it is the one that collects all.

    prepare: makes what all trainings read, and keeps it; the first process does so for the others.
    train: does one and keeps what it found. A process that is alone does nothing here.
    """
    if processes is None:
        return True
    if processes.first:
        prepare()
    processes.wait()
    for training in trainings[processes.number :: processes.count]:
        train(training)
    processes.wait()
    return processes.first
