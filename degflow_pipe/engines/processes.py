"""Processes of this machine, started anew (spawn): each opens the job by itself.

They share nothing with this process but the job and the units, as pickles.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from typing import Any, TypeVar

from degflow_pipe.engines.flight import in_flight
from degflow_pipe.engines.job import Job
from degflow_pipe.engines.ticks import Hear, heard_by
from degflow_pipe.errors import DegflowError

Unit = TypeVar("Unit")
Result = TypeVar("Result")

LISTEN = 0.25
"""Seconds from one look at what workers tell to the next."""
SLOTS = 4096
"""Places that workers tell into, by their process ids, which differ within a pool."""
ENDED = 1
"""Exit code of a worker whose parent has ended; nobody reads it."""


def run_in_processes(
    job: Job[Unit, Result],
    units: Iterable[Unit],
    workers: int,
    cost: Callable[[Unit], int] | None = None,
    hear: Hear | None = None,
) -> Generator[Result, None, None]:
    """See `engine.Engine`. Raises DegflowError where a worker ends before its work is done."""
    spawn = multiprocessing.get_context("spawn")
    heard = spawn.RawArray("q", SLOTS)
    pool = ProcessPoolExecutor(workers, spawn, _begin, (job, heard))
    # A process is started where no signal's handler can break in: half a one would complain.
    starter = ThreadPoolExecutor(1)
    starter.submit(_deafen).result()

    def submit(unit: Unit) -> Future[Result]:
        return starter.submit(pool.submit, _work, unit).result()

    try:
        with _listening(heard, hear):
            yield from in_flight(submit, units, workers, cost)
    except (BrokenProcessPool, OSError) as error:
        # Starting another one in that moment, Python meets a pipe that is closed: an OSError.
        if isinstance(error, OSError) and not pool._broken:
            raise
        _end(pool)  # one that was just being started is not ended by the pool, which waits for it
        raise DegflowError(
            "a worker process was ended from outside, or had no memory left: what is complete is "
            "kept; run the same command again, with fewer `workers` where memory was short"
        ) from error
    except (Exception, GeneratorExit):
        raise
    except BaseException:
        starter.shutdown()
        _end(pool)
        raise
    finally:
        starter.shutdown()
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _listening(heard: Any, hear: Hear | None) -> Iterator[None]:
    """Look at what the workers have told every now and then."""
    if hear is None:
        yield
        return
    ended, known = threading.Event(), 0

    def listen() -> None:
        nonlocal known
        while not ended.wait(LISTEN):
            now = sum(heard)
            hear(now - known)
            known = now

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        ended.set()
        listener.join()


def _deafen() -> None:
    """Ctrl-C is for the parent, which ends its workers; what this thread starts inherits that."""
    resource_tracker.ensure_running()  # which would let the signal in again where it is started
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _end(pool: ProcessPoolExecutor) -> None:
    """End the workers at once; whoever asked for the end will not wait for whole units."""
    # `kill_workers` is public from Python 3.14 on.
    for process in list((pool._processes or {}).values()):
        process.kill()


_opened: Callable[[Any], Any] | Exception | None = None
_stack = ExitStack()
_heard: Any = None
"""What each worker has told in all, in a place of its own: a lock might be held by one that was
killed.
"""


def _begin(job: Job[Any, Any], heard: Any) -> None:
    """Open the job in a new process; an error is kept for the first unit, which can tell it."""
    global _opened, _heard
    _heard = heard
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _opened = _stack.enter_context(job.open())
        Finalize(None, _stack.close, exitpriority=0)
    except Exception as error:
        _opened = error


def _end_with_parent() -> None:
    """A worker whose parent is gone would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(ENDED)


def _work(unit: Any) -> Any:
    try:
        if isinstance(_opened, Exception):
            raise _opened
        assert _opened is not None
        heard_by(_tell)
        return _opened(unit)
    except Exception as error:
        check_travels(error)
        raise


def _tell(count: int) -> None:
    _heard[os.getpid() % SLOTS] += count


def check_travels(error: Exception) -> None:
    """Raises RuntimeError for an error that the parent could not read: it would take the worker
    for one that was ended.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception as reason:  # a library's error can do anything where it is pickled
        raise RuntimeError(f"{type(error).__name__}: {error}") from reason
