"""Processes: what they give, and that none of them is left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from degflow_pipe.engines.engine import engine_of
from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.errors import CheckpointError, DegflowError, PhotoError, UsageError

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import engine_jobs  # noqa: E402

WAIT = 60
"""Seconds after which a process is taken for one that stays."""


def test_an_engine_is_named() -> None:
    assert engine_of("processes") is run_in_processes
    with pytest.raises(UsageError, match="`engine` must be threads, processes or ray, got 'dask'"):
        engine_of("dask")  # type: ignore[arg-type]


def test_one_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degflow_pipe.engines.actors.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs Ray: pip install 'degflow-pipe\[ray\]'"):
        engine_of("ray")


@pytest.mark.parametrize("workers", [1, 3])
def test_results_are_those_of_threads_in_the_order_of_the_units(workers: int) -> None:
    job = engine_jobs.Squares()
    found = [list(engine_of(name)(job, range(20), workers)) for name in ("threads", "processes")]
    assert found[0] == found[1] == [n * n for n in range(20)]


def test_no_unit_gives_no_result_and_starts_nothing() -> None:
    assert list(run_in_processes(engine_jobs.Fails("opening"), [], 2)) == []


def test_units_are_drawn_as_workers_come_free_and_within_the_budget() -> None:
    drawn = []

    def units() -> Iterator[int]:
        for n in range(12):
            drawn.append(n)
            yield n

    for done, _ in enumerate(run_in_processes(engine_jobs.Squares(), units(), 2), start=1):
        assert len(drawn) <= done + 2
    drawn.clear()
    large = run_in_processes(engine_jobs.Squares(), units(), 2, lambda n: 2**40)
    for done, _ in enumerate(large, start=1):
        assert len(drawn) <= done + 1


def test_a_job_is_opened_and_closed_once_a_worker(tmp_path: Path) -> None:
    found = list(run_in_processes(engine_jobs.Noted(str(tmp_path)), range(30), 2))
    opened = (tmp_path / "opened").read_text().split()
    assert len(opened) == len(set(opened)) <= 2
    assert set(map(str, found)) <= set(opened)
    assert str(os.getpid()) not in opened
    assert sorted((tmp_path / "closed").read_text().split()) == sorted(opened)


@pytest.mark.parametrize(
    "how, error, told",
    [
        ("photo", PhotoError, "a.png: truncated"),
        ("bug", ZeroDivisionError, "a bug"),
        ("cannot travel", RuntimeError, "Untravelled: two parts"),
        ("a result", (pickle.PicklingError, AttributeError), "lambda"),
    ],
)
def test_the_first_error_comes_as_itself_after_the_results_before_it(
    how: str, error: type[Exception], told: str
) -> None:
    found = []
    with pytest.raises(error, match=told):
        for result in run_in_processes(engine_jobs.Fails(how), range(100), 2):
            found.append(result)
    assert found == [0, 1, 2]


def test_an_error_in_opening_is_told() -> None:
    with pytest.raises(CheckpointError, match="tiny: it was changed"):
        list(run_in_processes(engine_jobs.Fails("opening"), range(9), 2))


def test_a_worker_that_is_killed_says_what_to_do() -> None:
    found = []
    with pytest.raises(DegflowError, match=r"ended from outside.*run the same command again"):
        for result in run_in_processes(engine_jobs.Fails("killed"), range(100), 1):
            found.append(result)
    assert found == [0, 1, 2][: len(found)]


def test_what_cannot_be_pickled_is_a_bug_that_surfaces() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        list(run_in_processes(engine_jobs.Held(lambda n: n), range(3), 2))
    units = [lambda: 1]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        list(run_in_processes(engine_jobs.Squares(), units, 2))  # type: ignore[arg-type]


def test_an_error_in_drawing_comes_after_what_is_in_flight() -> None:
    def units() -> Iterator[int]:
        yield from range(5)
        raise PhotoError("b.png: truncated")

    found = []
    with pytest.raises(PhotoError, match=r"b\.png"):
        for result in run_in_processes(engine_jobs.Squares(), units(), 2):
            found.append(result)
    assert found == [0, 1, 4, 9, 16]


def test_no_worker_is_left_where_the_results_are_not_wanted_any_more(tmp_path: Path) -> None:
    (tmp_path / "opened").touch()
    results = run_in_processes(engine_jobs.Noted(str(tmp_path)), range(10**6), 2)
    next(results)
    results.close()
    opened = (tmp_path / "opened").read_text().split()
    assert opened
    assert not [pid for pid in opened if psutil.pid_exists(int(pid))]


def members(group: int) -> list[int]:
    """Processes of a group that are alive; those that nobody asked for the exit code are not."""
    found = []
    gone = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() not in gone:
                found.append(process.pid)
    return found


@pytest.mark.parametrize("when", ["unit1", "drawn1"])
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_no_worker_outlives_its_parent(how: str, when: str, tmp_path: Path) -> None:
    """At work, and while they start. Ctrl-C goes to all processes of a terminal."""
    parent = subprocess.Popen(
        [sys.executable, HERE / "engine_jobs.py", tmp_path],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    end = time.monotonic() + WAIT
    while not (tmp_path / when).exists():
        assert parent.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    if how == "Ctrl-C":
        os.killpg(parent.pid, signal.SIGINT)
    else:
        parent.send_signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
    parent.wait(WAIT)
    while members(parent.pid) and time.monotonic() < end:
        time.sleep(0.01)
    left = members(parent.pid)
    if left:
        os.killpg(parent.pid, signal.SIGKILL)
    out, err = parent.communicate()
    assert not left
    if how != "SIGKILL":  # after which Python says that it has tidied up
        assert (out, err) == ("stopped\n", "")
