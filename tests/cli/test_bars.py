"""What long work says of itself while it runs, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from degflow_pipe.cli import bars
from degflow_pipe.cli.bars import TerminalProgress


class Clock:
    """Seconds, as the bars are told them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("time.monotonic", found)
    return found


def test_a_log_counts_what_was_there_and_tells_a_true_rate(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Workers start for 10 s; then 1,000 pairs a second are made."""
    with TerminalProgress().task("shard", 2_000_000, 1_000_000, counts="pairs") as task:
        clock.now += 10
        task.advance(1000)
        for _ in range(12):
            clock.now += 1
            task.advance(1000)
        clock.now += 100
        task.advance(2_000_000 - 1_000_000 - 13_000)
    first, second, *_, last = capsys.readouterr().err.splitlines()
    assert first == "shard 1,001,000/2,000,000 pairs"
    assert second == "shard 1,011,000/2,000,000 pairs (1000/s, 989 s left)"
    assert last == "shard 2,000,000/2,000,000 pairs in 122 s"


def test_a_log_of_one_step_and_of_none(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalProgress().task("ingest", 1, counts="photos") as task:
        clock.now += 3
        task.advance()
    with TerminalProgress().task("load checkpoint", None):
        clock.now += 2
    with TerminalProgress().task("look", 3, counts="units"):
        clock.now += 1
    assert capsys.readouterr().err.splitlines() == [
        "ingest 1/1 photos in 3.0 s",
        "load checkpoint in 2.0 s",
        "look 0/3 units",
    ]


def test_a_bar_tells_amount_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rate before there is a second of it, and none of what was known before."""
    shown = io.StringIO()
    clock = Clock()
    console = Console(file=shown, force_terminal=True, width=80, get_time=clock, color_system=None)
    monkeypatch.setattr(bars, "Console", lambda **_: console)
    seen: list[str] = []

    def look() -> None:
        console.file.seek(0)
        console.file.truncate()
        task._progress.refresh()
        seen.append(" ".join(shown.getvalue().split("\r")[-1].split()[1:]))

    with TerminalProgress().task("generate", 1_000_100, 1_000_000, counts="pairs") as task:
        clock.now += 5
        look()
        task.advance(10)
        look()
        clock.now += 2
        task.advance(20)
        look()
        clock.now += 7
        task.advance(70)
        look()
    assert [text.partition(" ")[2] for text in seen] == [
        "1,000,000/1,000,100 pairs",
        "1,000,010/1,000,100 pairs",
        "1,000,030/1,000,100 pairs 10/s 0:07 left",
        "1,000,100/1,000,100 pairs in 0:14",
    ]
