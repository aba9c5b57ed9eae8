"""Actors of a Ray cluster, of one machine or of many: each opens the jobs by itself.

Where they run, and when, Ray decides; its address, and what its machines need to have, are said to
Ray (RAY_ADDRESS, runtime_env). An actor that is lost, or whose node is, is started anew, and its
unit is done again: whole units alone count.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from typing import Any, TypeVar

from degflow_pipe.engines.flight import in_flight
from degflow_pipe.engines.job import Job
from degflow_pipe.engines.processes import check_travels
from degflow_pipe.errors import DegflowError, UsageError
from degflow_pipe.version import __version__

Unit = TypeVar("Unit")
Result = TypeVar("Result")

TRIES = 10
"""Workers that may be lost at one unit, or in a row before one of them has begun."""
PATIENCE = 1.0
"""Seconds of a wait for a worker, after which it is begun again."""
NO_WORKER = 600.0
"""Seconds without any worker after which a cluster is taken for one that has no room for any."""
LEAVE = 10.0
"""Seconds that a worker has to close its jobs."""


class RayEngine:
    """Runs units in Ray's actors: see `engine.Engine`.

    num_gpus: that Ray sets apart for a worker whose job computes on a GPU, as a fraction where
    several share one; 1 by default. Other workers have a core each. `cost` is not asked, as it
    would read every photo's head here: a worker has one unit at a time, whatever it takes.
    """

    def __init__(self, num_gpus: float | None = None) -> None:
        """Raises UsageError where Ray is not installed."""
        if find_spec("ray") is None:
            raise UsageError("`engine=ray` needs Ray: pip install 'degflow-pipe[ray]'")
        self.num_gpus = num_gpus
        self._crews: dict[float, _Crew] = {}
        """By the GPUs of a worker: jobs that need the same share their workers."""

    def default_workers(self) -> int:
        """One for each core of the cluster. Raises DegflowError where it cannot be reached."""
        ray = _connected()
        return max(int(ray.cluster_resources().get("CPU", 1)), 1)

    def __call__(
        self,
        job: Job[Unit, Result],
        units: Iterable[Unit],
        workers: int,
        cost: Callable[[Unit], int] | None = None,
    ) -> Generator[Result, None, None]:
        """Raises DegflowError where workers are lost time and again, or none can be had."""
        gpus = self._gpus_of(job)
        opened: list[_Opened] = []
        with self._crew(gpus, workers) as crew:

            def submit(unit: Unit) -> Future[Result]:
                if not opened:
                    opened.append(crew.take(job))
                return crew.submit(opened[0], unit)

            yield from in_flight(submit, units, self._at_once(gpus, workers))

    def _gpus_of(self, job: Any) -> float:
        device = str(getattr(job, "device", "cpu"))
        if not device.startswith("cuda"):
            return 0.0
        if device not in ("cuda", "cuda:0"):
            raise UsageError(f"`device={device}`: Ray chooses the GPU of each worker: say cuda")
        return 1.0 if self.num_gpus is None else self.num_gpus

    def _at_once(self, gpus: float, workers: int) -> int:
        """As many as were asked for; where it was as many as there are cores, no more than GPUs."""
        if not gpus or workers != self.default_workers():
            return workers
        held = _connected().cluster_resources().get("GPU", 0)
        return max(math.floor(held / gpus + 1e-6), 1)

    @contextmanager
    def _crew(self, gpus: float, workers: int) -> Iterator[_Crew]:
        """The workers of that kind, which end with the last job that has them."""
        crew = self._crews.get(gpus)
        if crew is None:
            crew = self._crews[gpus] = _Crew(gpus, self._at_once(gpus, workers))
        crew.users += 1
        in_hurry = False
        try:
            yield crew
        except (Exception, GeneratorExit):
            raise
        except BaseException:
            in_hurry = True
            raise
        finally:
            crew.users -= 1
            if in_hurry or not crew.users:
                self._crews.pop(gpus, None)
                crew.end(in_hurry)


@dataclass(frozen=True)
class _Opened:
    """A job as the workers are told of it: its number, and where Ray keeps it."""

    number: int
    ref: Any


@dataclass
class _Task:
    """A unit that is waited for. lost: workers that were lost at it."""

    job: _Opened
    unit: Any
    future: Future[Any] = field(default_factory=Future)
    lost: int = 0


class _Crew:
    """Workers of one kind, and the units that wait for one; a thread here waits for each.

    A unit waits for whichever worker is there first: one whose node is gone may be long in coming.
    """

    def __init__(self, gpus: float, workers: int) -> None:
        self.users = 0
        self._gpus, self._most = gpus, workers
        self._numbers = count()
        self._waiting: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._idle = self._slots = self._alive = self._lost_starts = 0
        self._since = time.monotonic()
        """When there was a worker last."""
        self._ended = False
        self._actors: set[Any] = set()

    def take(self, job: Job[Any, Any]) -> _Opened:
        """Give the job to Ray, which brings it to each worker once."""
        return _Opened(next(self._numbers), _connected().put(job))

    def submit(self, job: _Opened, unit: Any) -> Future[Any]:
        task = _Task(job, unit)
        with self._changed:
            self._waiting.append(task)
            if self._idle < len(self._waiting) and self._slots < self._most:
                self._slots += 1
                self._since = time.monotonic() if not self._alive else self._since
                threading.Thread(target=self._serve, name="degflow-ray", daemon=True).start()
            self._changed.notify()
        return task.future

    def end(self, in_hurry: bool) -> None:
        """Let the workers go; in a hurry whatever they are at."""
        ray = _ray()
        with self._changed:
            self._ended = True
            for task in self._waiting:
                task.future.cancel()
            self._waiting.clear()
            self._changed.notify_all()
            actors, self._actors = self._actors, set()
        if not in_hurry:
            closing = [actor.close.remote() for actor in actors]
            with suppress(ray.exceptions.RayError):
                ray.wait(closing, num_returns=max(len(closing), 1), timeout=LEAVE)
        for actor in actors:
            with suppress(ray.exceptions.RayError):
                ray.kill(actor)

    def _serve(self) -> None:
        """Have a worker, and hand it units, until there is no more of either."""
        actor = None
        try:
            while (actor := actor or self._started()) and (task := self._next()):
                if not self._done(actor, task):
                    self._forget(actor)
                    actor = None
        except BaseException as error:  # else those who wait would do so for ever
            self._fail(error)

    def _next(self) -> _Task | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._ended)
            self._idle -= 1
            return None if self._ended else self._waiting.popleft()

    def _started(self) -> Any:
        """A new worker when it has begun; None where it is not wanted any more."""
        ray = _ray()
        actor = ray.remote(_Worker).options(
            # Those on a GPU have its core beside those that read photos, else none of them might
            # find room while they wait for one another.
            num_cpus=0 if self._gpus else 1,
            num_gpus=self._gpus,
            max_restarts=0,
        )
        actor = actor.remote(os.getcwd())
        with self._changed:
            self._actors.add(actor)
        begun = actor.version.remote()
        while not self._ended:
            try:
                version = ray.get(begun, timeout=PATIENCE)
            except ray.exceptions.GetTimeoutError:
                self._check_room(ray)
                continue
            except ray.exceptions.RuntimeEnvSetupError as error:
                raise DegflowError(f"Ray's runtime_env cannot be had: {_line(error)}") from error
            except ray.exceptions.RayActorError as error:
                self._check_starts(actor, error)
                return self._started()
            if version != __version__:
                raise DegflowError(
                    f"degflow-pipe is {version} on a machine of Ray's, and {__version__} here: "
                    f"install the same on all, or give Ray a runtime_env"
                )
            with self._changed:
                self._alive, self._lost_starts = self._alive + 1, 0
            return actor
        self._kill(actor)
        return None

    def _check_room(self, ray: Any) -> None:
        """Raises DegflowError where there was no worker for long."""
        with self._changed:
            waited = time.monotonic() - self._since
            if self._alive or waited < NO_WORKER:
                return
        held = ray.cluster_resources()
        wanted = f"{self._gpus:g} GPUs" if self._gpus else "a core"
        raise DegflowError(
            f"Ray had no room for a worker, of {wanted}, for {waited / 60:.0f} minutes: it has "
            f"{held.get('CPU', 0):g} cores and {held.get('GPU', 0):g} GPUs: free or add some, or "
            f"give a smaller `num_gpus`"
        )

    def _check_starts(self, actor: Any, error: Exception) -> None:
        """Raises DegflowError where worker after worker ends before it has begun."""
        with self._changed:
            self._actors.discard(actor)
            self._lost_starts += 1
            if self._lost_starts < TRIES or self._ended:
                return
        raise DegflowError(
            f"{TRIES} workers of Ray ended before they had begun, the last as {_line(error)}: is "
            f"degflow-pipe installed on every machine of the cluster?"
        ) from error

    def _done(self, actor: Any, task: _Task) -> bool:
        """Have a unit done; False where the worker was lost, and another is to do it."""
        ray = _ray()
        lost = (
            *(ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError),
            *(ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError),
            *(ray.exceptions.OutOfMemoryError, ray.exceptions.TaskCancelledError),
        )
        if not task.lost and not task.future.set_running_or_notify_cancel():
            return True
        try:
            # Within a list it stays where it is until a worker asks for it.
            outcome = ray.get(actor.work.remote(task.job.number, [task.job.ref], task.unit))
        except lost as error:
            self._again(task, error)
            return False
        except ray.exceptions.RayTaskError as error:
            task.future.set_exception(error.cause if error.cause is not None else error)
            return True
        except ray.exceptions.RayError as error:
            task.future.set_exception(_gone(error))
            return True
        except Exception as error:  # of what cannot be pickled, pickle raises anything
            task.future.set_exception(error)
            return True
        if isinstance(outcome, _Failed):
            task.future.set_exception(outcome.error)
        else:
            task.future.set_result(outcome)
        return True

    def _again(self, task: _Task, error: Exception) -> None:
        """The unit goes before all others to the next worker, a bounded number of times."""
        task.lost += 1
        with self._changed:
            if task.lost < TRIES and not self._ended:
                self._waiting.appendleft(task)
                self._changed.notify()
                return
        failed = DegflowError(
            f"{TRIES} workers of Ray were lost at one unit, {_called(task.unit)}, the last as "
            f"{_line(error)}: what is complete is kept; run the same command again, with "
            f"fewer `workers` where memory was short"
        )
        failed.__cause__ = error
        task.future.set_exception(failed)

    def _forget(self, actor: Any) -> None:
        with self._changed:
            self._alive -= 1
            self._since = time.monotonic()
            self._actors.discard(actor)
        self._kill(actor)  # it may be out of reach alone, and would write beside the next one

    def _kill(self, actor: Any) -> None:
        ray = _ray()
        with self._changed:
            self._actors.discard(actor)
        with suppress(ray.exceptions.RayError):
            ray.kill(actor)

    def _fail(self, error: BaseException) -> None:
        """No worker is to be had: those who wait are told."""
        with self._changed:
            self._slots -= 1
            if self._ended or (self._alive and isinstance(error, DegflowError)):
                return
            waiting, self._waiting = list(self._waiting), deque()
        for task in waiting:
            if task.lost or task.future.set_running_or_notify_cancel():
                task.future.set_exception(error)


@dataclass(frozen=True)
class _Failed:
    """An error of the work, as a result: Ray would wrap it."""

    error: Exception


class _Worker:
    """What an actor is: a process that opens each job when its first unit comes."""

    def __init__(self, home: str) -> None:
        """home: folder that relative paths are meant from, where this machine has it."""
        with suppress(OSError):
            os.chdir(home)
        self._stack = ExitStack()
        self._opened: dict[int, Callable[[Any], Any] | Exception] = {}

    def version(self) -> str:
        """Answers when the worker has begun."""
        return __version__

    def work(self, number: int, job: list[Any], unit: Any) -> Any:
        """The record of a unit, or `_Failed`. job: where it is; in a list, as Ray would fetch it
        each time.
        """
        try:
            if number not in self._opened:
                try:
                    opened = _ray().get(job[0]).open()
                    self._opened[number] = self._stack.enter_context(opened)
                except Exception as error:  # whatever it is: each unit is to tell it
                    self._opened[number] = error
            function = self._opened[number]
            if isinstance(function, Exception):
                raise function
            return function(unit)
        except Exception as error:  # whatever it is: it is for the driver to raise
            try:
                check_travels(error)
            except RuntimeError as other:
                error = other
            if not isinstance(error, DegflowError):
                error.add_note(traceback.format_exc())
            return _Failed(error.with_traceback(None))

    def close(self) -> None:
        self._stack.close()


def _ray() -> Any:
    # Loaded where it is asked for: it takes a second.
    import ray
    import ray.exceptions

    return ray


def _connected() -> Any:
    """Ray, connected to its cluster, or to one of this machine that it starts."""
    ray = _ray()
    if ray.is_initialized():
        return ray
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        # What workers print is not for this terminal; what goes wrong there comes as an error.
        ray.init(log_to_driver=False, logging_level="warning")
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = os.environ.get("RAY_ADDRESS")
        at = f"at RAY_ADDRESS={where} " if where else ""
        raise DegflowError(f"Ray cannot be had {at}({_line(error)})") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():  # Ray puts its own in their place
                signal.signal(number, handler)
    return ray


def _gone(error: Exception) -> DegflowError:
    found = DegflowError(
        f"Ray is gone ({_line(error)}): what is complete is kept; run the same command again"
    )
    found.__cause__ = error
    return found


def _line(error: Exception) -> str:
    """What an error of Ray's says first; pages may follow."""
    text = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
    return text.rstrip(".:")[:200]


def _called(unit: Any) -> str:
    """A unit as an error names it."""
    text = repr(unit)
    return text if len(text) <= 80 else f"{text[:75]}..."
