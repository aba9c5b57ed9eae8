"""Jobs for the tests of engines: a worker process finds this module by the path that it is given.

As a script, with a folder and an engine's name, it is a parent of workers that never end.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from degflow_pipe.engines.ticks import tick
from degflow_pipe.errors import CheckpointError, PhotoError, Stopped

Work = Callable[[int], Any]


@dataclass(frozen=True)
class Squares:
    """n to n * n; n % 3 == 0 are overtaken by those behind them."""

    @contextmanager
    def open(self) -> Iterator[Work]:
        yield self._square

    def _square(self, n: int) -> int:
        time.sleep(0.02 * (n % 3 == 0))
        return n * n


@dataclass(frozen=True)
class Noted:
    """Notes in a folder who opened and closed it, and returns who did a unit."""

    folder: str

    @contextmanager
    def open(self) -> Iterator[Work]:
        self._note("opened")
        yield lambda n: os.getpid()
        self._note("closed")

    def _note(self, what: str) -> None:
        with (Path(self.folder) / what).open("a") as file:
            file.write(f"{os.getpid()}\n")


@dataclass(frozen=True)
class Fails:
    """Unit 3 fails, as `how` says."""

    how: str

    @contextmanager
    def open(self) -> Iterator[Work]:
        if self.how == "opening":
            raise CheckpointError("tiny: it was changed")
        yield self._work

    def _work(self, n: int) -> Any:
        if n != 3:
            return n
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "photo":
            raise PhotoError("a.png: truncated")
        if self.how == "bug":
            raise ZeroDivisionError("a bug")
        if self.how == "cannot travel":
            raise Untravelled("two", "parts")
        return lambda: "a result that cannot be pickled"


@dataclass(frozen=True)
class Tells:
    """Tells of each unit, and ends it when that was heard: a file `heard` is there. Without a
    folder it does not wait.
    """

    folder: str = ""

    @contextmanager
    def open(self) -> Iterator[Work]:
        yield self._tell

    def _tell(self, n: int) -> int:
        tick(n)
        end = time.monotonic() + 60
        while self.folder and not (Path(self.folder) / "heard").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        return n


class Untravelled(Exception):
    """Pickled it is, but never unpickled."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


@dataclass(frozen=True)
class Held:
    """Holds what cannot be pickled."""

    work: Work

    @contextmanager
    def open(self) -> Iterator[Work]:
        yield self.work


@dataclass(frozen=True)
class Endless:
    """Units that begin, say in the folder by which process, and do not end."""

    folder: str

    @contextmanager
    def open(self) -> Iterator[Work]:
        yield self._work

    def _work(self, n: int) -> None:
        (Path(self.folder) / f"unit{n}").write_text(str(os.getpid()))
        time.sleep(600)


@dataclass(frozen=True)
class Dying:
    """Another job, whose worker is killed when it has done a unit, before it has said so: once."""

    job: Any
    mark: str
    device: str = "cpu"

    @contextmanager
    def open(self) -> Iterator[Work]:
        with self.job.open() as work:
            yield lambda unit: self._work(work, unit)

    def _work(self, work: Work, unit: Any) -> Any:
        record = work(unit)
        try:
            Path(self.mark).touch(exist_ok=False)
        except FileExistsError:
            return record
        os.kill(os.getpid(), signal.SIGKILL)


def nested() -> None:
    """Processes of a process that is one of several itself."""
    from degflow_pipe.engines.processes import run_in_processes

    assert list(run_in_processes(Tells(), [3], 1, hear=lambda count: None)) == [3]


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped("stopped")


def main(folder: str, engine: Any = "processes") -> None:
    from degflow_pipe.engines.engine import engine_of

    def units() -> Iterator[int]:
        for n in range(4):
            (Path(folder) / f"drawn{n}").touch()
            yield n

    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        list(engine_of(engine)(Endless(folder), units(), 2))
    except Stopped as stopped:
        print(stopped, flush=True)
        os._exit(1)  # as the command does


if __name__ == "__main__":
    main(*sys.argv[1:])
