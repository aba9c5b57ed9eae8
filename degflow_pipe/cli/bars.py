"""Progress on standard error: a bar on a terminal, a plain log elsewhere."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.progress import Task as RichTask
from rich.text import Text

from degflow_pipe.cli.output import safe
from degflow_pipe.cli.words import spoken
from degflow_pipe.formats.text import printable

LOG_EVERY = 10.0
"""Seconds between lines of a plain log."""
RATED = 1.0
"""Seconds before a rate is told."""
BAR = "cyan"
"""Rich's own colours of bars and rates are those of errors."""
TRYING = "trying a sample of it for about ten seconds"
"""What a dry run does."""
LATE = 30.0
"""Seconds after which a rate is that of late."""


class _Rate(ProgressColumn):
    """What is done a second."""

    def render(self, task: RichTask) -> Text:
        rate = None if task.finished else _rate(task)
        return Text(_per_second(rate) if rate else "", style="progress.remaining")


class _Done(ProgressColumn):
    """How much of how much, and of what."""

    def render(self, task: RichTask) -> Text:
        of = "" if task.total is None else f"/{task.total:,.0f}"
        said = f"{task.completed:,.0f}{of} {task.fields['counts']}".rstrip()
        if task.total is None and not task.completed:
            said = ""
        return Text(said, style="default")


class _Left(ProgressColumn):
    """The time left, and in the end the time that it took."""

    def render(self, task: RichTask) -> Text:
        rate, said = _rate(task), ""
        if task.finished:
            said = f"in {_clock(task.finished_time or 0)}"
        elif rate and task.total is not None:
            said = f"{_clock((task.total - task.completed) / rate)} left"
        return Text(said, style="progress.remaining")


def _rate(task: RichTask) -> float | None:
    """Of late, where that is known; else since the first of it was done: until then workers start.

    Rich's own is of the time between two moments, which are too near each other at first.
    """
    pace: _Pace = task.fields["pace"]
    spent = task.elapsed or 0
    return (task.speed if spent >= LATE else None) or pace.rate(task.completed, spent)


class _Pace:
    """What was done, from the first of it on. known: what was there before."""

    def __init__(self, known: float) -> None:
        self._known, self._first = known, (0.0, known)

    def begin(self, done: float, spent: float) -> None:
        """done: in all after the first step; spent: seconds until then."""
        if self._first == (0.0, self._known):
            self._first = spent, done

    def rate(self, done: float, spent: float) -> float | None:
        """A second; None where too little is known."""
        since, before = self._first
        if done > before:
            return (done - before) / (spent - since) if spent - since >= RATED else None
        if spent >= 2 * since and done > self._known:  # one step, and nothing for as long again
            return (done - self._known) / spent
        return None


def _clock(seconds: float) -> str:
    """As 1:02 or 1:02:03."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _per_second(rate: float) -> str:
    return f"{rate:.3g}/s" if rate < 100 else f"{rate:.0f}/s"


class _Bar:
    def __init__(self, progress: Progress, number: Any) -> None:
        self._progress, self._number = progress, number

    def advance(self, count: float = 1) -> None:
        self._progress.advance(self._number, count)
        task = self._progress.tasks[self._number]
        task.fields["pace"].begin(task.completed, task.elapsed or 0)

    def show(self, text: str) -> None:
        self._progress.update(self._number, shown=printable(text))

    def note(self, said: str) -> None:
        self._progress.console.print(safe(spoken(said)), highlight=False)


class _Lines:
    """The plain log: a line now and then, and one at the end."""

    def __init__(self, name: str, total: float | None, done: float, counts: str) -> None:
        self._name, self._total, self._done, self._shown = name, total, done, ""
        self._counts, self._lock, self._pace = counts, threading.Lock(), _Pace(done)
        self._first, self._began, self._last = done, time.monotonic(), time.monotonic()

    def advance(self, count: float = 1) -> None:
        with self._lock:
            self._done += count
            self._pace.begin(self._done, time.monotonic() - self._began)
            # The end is told when the task ends.
            unfinished = self._total is None or self._done < self._total
            if unfinished and time.monotonic() - self._last >= LOG_EVERY:
                self.line()

    def show(self, text: str) -> None:
        self._shown = f", {text}"

    def line(self) -> None:
        self._last = time.monotonic()
        spent = self._last - self._began
        rate = self._pace.rate(self._done, spent)
        text = f"{self._name} {self._done:,.0f}"
        if self._total is not None:
            text += f"/{self._total:,.0f}"
        text += f" {self._counts}" * bool(self._counts)
        if self._total is not None and self._done >= self._total:
            text += f" in {spent:.{0 if spent >= 10 else 1}f} s"
        elif self._total is not None and rate:
            text += f" ({_per_second(rate)}, {(self._total - self._done) / rate:.0f} s left)"
        elif rate:
            text += f" ({_per_second(rate)})"
        elif self._total is None and self._done == self._first:
            text = f"{self._name} in {spent:.1f} s"
        self.note(f"{text}{self._shown}")

    def note(self, text: str) -> None:
        print(printable(spoken(text)), file=sys.stderr, flush=True)


class TerminalProgress:
    """A Rich bar with rate and time left on a terminal, a plain log elsewhere."""

    @contextmanager
    def task(
        self, name: str, total: float | None, done: float = 0, counts: str = ""
    ) -> Iterator[_Bar | _Lines]:
        console = Console(stderr=True)
        if not console.is_terminal:
            lines = _Lines(name, total, done, counts)
            yield lines
            lines.line()
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(complete_style=BAR, finished_style=BAR, pulse_style=BAR),
            _Done(),
            _Rate(),
            _Left(),
            TextColumn("{task.fields[shown]}", markup=False),
        )
        # Of what has no amount nothing is left to see when it is done.
        with Progress(*columns, console=console, transient=total is None) as progress:
            number = progress.add_task(
                printable(name),
                total=total,
                completed=int(done),
                shown="",
                counts=counts,
                pace=_Pace(done),
            )
            yield _Bar(progress, number)


@contextmanager
def loading(what: str = "starting") -> Iterator[None]:
    """On a terminal: says that the libraries and the checkpoint are being loaded, which takes
    seconds.
    """
    console = Console(stderr=True)
    with console.status(safe(what)) if console.is_terminal else nullcontext():
        yield
