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
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from degflow_pipe.engines.flight import in_flight
from degflow_pipe.engines.job import Job
from degflow_pipe.engines.processes import check_travels
from degflow_pipe.engines.ticks import Hear
from degflow_pipe.errors import DegflowError, UsageError
from degflow_pipe.version import __version__

Unit = TypeVar("Unit")
Result = TypeVar("Result")

TRIES = 10
"""Workers that may be lost at one unit, or in a row before one of them has begun."""
PATIENCE = 0.5
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
        hear: Hear | None = None,
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


class _Crew:
    """Workers of one kind. Each unit has a thread here, which waits for a worker and then for it.

    It waits for whichever worker is there first: one whose node is gone may be long in coming.
    """

    def __init__(self, gpus: float, workers: int) -> None:
        self.users = 0
        self._gpus, self._most = gpus, workers
        self._numbers = count()
        self._units = ThreadPoolExecutor(workers, "degflow-ray")
        self._starts = ThreadPoolExecutor(workers, "degflow-ray-start")
        self._ready: SimpleQueue[Any] = SimpleQueue()
        self._lock = threading.Lock()
        self._wanted = self._lost_starts = 0
        self._actors: set[Any] = set()
        """All that were asked of Ray and are not known to be lost."""
        self._begun: set[Any] = set()
        """Those of them that have answered."""
        self._since = time.monotonic()
        """When there was one last."""
        self._failure: DegflowError | None = None
        self._ended = False

    def take(self, job: Job[Any, Any]) -> _Opened:
        """Give the job to Ray, which brings it to each worker once."""
        return _Opened(next(self._numbers), _connected().put(job))

    def submit(self, job: _Opened, unit: Any) -> Future[Any]:
        if self._wanted < self._most:
            self._wanted += 1
            self._starts.submit(self._start)
        return self._units.submit(self._do, job, unit)

    def end(self, in_hurry: bool) -> None:
        """Let the workers go; in a hurry whatever they are at."""
        ray = _ray()
        with self._lock:
            self._ended = True
            actors, begun = list(self._actors), list(self._begun)
        if not in_hurry and begun:
            closing = [actor.close.remote() for actor in begun]
            with suppress(ray.exceptions.RayError):
                ray.wait(closing, num_returns=len(closing), timeout=LEAVE)
        for actor in actors:
            self._forget(actor)
        for threads in (self._units, self._starts):
            threads.shutdown(wait=not in_hurry, cancel_futures=True)

    def _start(self) -> None:
        """Have a worker, and let it be found when it has begun; why none can be is kept."""
        try:
            while not self._ended and not self._one_started():
                pass
        except DegflowError as error:
            self._failure = error
        except BaseException as error:  # else those who wait would do so for ever
            self._failure = _gone(error)

    def _one_started(self) -> bool:
        """False where the worker was lost before it had begun."""
        ray = _ray()
        options = ray.remote(_Worker).options(
            # Those on a GPU have its core beside those that read photos, else none of them might
            # find room while they wait for one another.
            num_cpus=0 if self._gpus else 1,
            num_gpus=self._gpus,
            max_restarts=0,
        )
        actor = options.remote(os.getcwd())
        with self._lock:
            self._actors.add(actor)
        begun = actor.version.remote()
        while not ray.wait([begun], timeout=PATIENCE)[0]:
            if self._ended:
                self._forget(actor)
                return True
        try:
            version = ray.get(begun)
        except ray.exceptions.RuntimeEnvSetupError as error:
            raise DegflowError(f"Ray's runtime_env cannot be had: {_line(error)}") from error
        except ray.exceptions.RayActorError as error:
            self._forget(actor)
            self._lost_starts += 1
            if self._lost_starts < TRIES:
                return False
            raise DegflowError(
                f"{TRIES} workers of Ray ended before they had begun, the last as {_line(error)}: "
                f"is degflow-pipe installed on every machine of the cluster?"
            ) from error
        if version != __version__:
            raise DegflowError(
                f"degflow-pipe is {version} on a machine of Ray's, and {__version__} here: install "
                f"the same on all, or give Ray a runtime_env"
            )
        with self._lock:
            self._lost_starts = 0
            self._begun.add(actor)
        self._ready.put(actor)
        return True

    def _worker(self) -> Any:
        """The next worker that is free. Raises DegflowError where none is to be had."""
        while True:
            if self._failure is not None and not self._begun:
                raise self._failure
            if self._ended:
                raise DegflowError("the work was ended")
            with suppress(Empty):
                return self._ready.get(timeout=PATIENCE)
            with self._lock:
                if self._begun:
                    self._since = time.monotonic()
                waited = time.monotonic() - self._since
            if waited > NO_WORKER:
                raise self._no_room(waited)

    def _no_room(self, waited: float) -> DegflowError:
        held = _connected().cluster_resources()
        wanted = f"{self._gpus:g} GPUs" if self._gpus else "a core"
        return DegflowError(
            f"Ray had no room for a worker, of {wanted}, for {waited / 60:.0f} minutes: it has "
            f"{held.get('CPU', 0):g} cores and {held.get('GPU', 0):g} GPUs: free or add some, or "
            f"give a smaller `num_gpus`"
        )

    def _do(self, job: _Opened, unit: Any) -> Any:
        """The record of a unit, by another worker where one is lost at it."""
        ray = _ray()
        lost = (
            *(ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError),
            *(ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError),
            *(ray.exceptions.OutOfMemoryError, ray.exceptions.TaskCancelledError),
        )
        reason: Exception | None = None
        for _ in range(TRIES):
            actor = self._worker()
            try:
                # Within a list it stays where it is until a worker asks for it.
                outcome = ray.get(actor.work.remote(job.number, [job.ref], unit))
            except lost as error:
                reason = error
                self._forget(actor)  # it may be out of reach alone, and would write beside the next
                if not self._ended:
                    self._starts.submit(self._start)
                continue
            except ray.exceptions.RayTaskError as error:  # what it returns cannot be pickled
                self._ready.put(actor)
                raise (error.cause if error.cause is not None else error) from None
            except ray.exceptions.RayError as error:
                raise _gone(error) from error
            except Exception:  # of a unit that cannot be pickled, pickle raises anything
                self._ready.put(actor)
                raise
            self._ready.put(actor)
            if isinstance(outcome, _Failed):
                raise outcome.error
            return outcome
        assert reason is not None
        raise DegflowError(
            f"{TRIES} workers of Ray were lost at one unit, {_called(unit)}, the last as "
            f"{_line(reason)}: what is complete is kept; run the same command again, with "
            f"fewer `workers` where memory was short"
        ) from reason

    def _forget(self, actor: Any) -> None:
        ray = _ray()
        with self._lock:
            self._actors.discard(actor)
            if actor in self._begun:
                self._begun.discard(actor)
                self._since = time.monotonic()
        with suppress(ray.exceptions.RayError):
            ray.kill(actor)


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
    """Ray, connected to the cluster at RAY_ADDRESS; where none is said, to one that it starts here
    for this process: whichever it remembers may be gone, or somebody's.
    """
    ray = _ray()
    if ray.is_initialized():
        return ray
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        # What workers print is not for this terminal; what goes wrong there comes as an error.
        address = None if os.environ.get("RAY_ADDRESS") else "local"
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = os.environ.get("RAY_ADDRESS")
        at = f"at RAY_ADDRESS={where} " if where else ""
        hint = "; where it asks for a token, say RAY_AUTH_MODE=token" if where else ""
        raise DegflowError(f"Ray cannot be had {at}({_line(error)}){hint}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():  # Ray puts its own in their place
                signal.signal(number, handler)
    return ray


def _gone(error: BaseException) -> DegflowError:
    found = DegflowError(
        f"Ray is gone ({_line(error)}): what is complete is kept; run the same command again"
    )
    found.__cause__ = error
    return found


def _line(error: BaseException) -> str:
    """What an error of Ray's says first; pages may follow."""
    text = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
    return text.rstrip(".:")[:200]


def _called(unit: Any) -> str:
    """A unit as an error names it."""
    text = repr(unit)
    return text if len(text) <= 80 else f"{text[:75]}..."
