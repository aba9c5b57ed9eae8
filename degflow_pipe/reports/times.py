"""How long it took, by the events that `ingest`, `generate` and `shard` add to a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from degflow_pipe import files, json_files
from degflow_pipe.errors import FileError
from degflow_pipe.formats.said import duration_of, noun_of
from degflow_pipe.reports.page import Table
from degflow_pipe.reports.parsed import Found

LINE = 8_000_000
"""Bytes of a line, at most: that of a run names what it left out."""
STAGES = 20
AGAIN = "give the file that `events` of `ingest()`, `generate()` or `shard()` wrote"


@dataclass
class Spent:
    """By a stage. seconds: of all its units, whatever ran at once."""

    units: int = 0
    patches: float = 0
    pairs: float = 0
    seconds: float = 0


def times_of(path: Path) -> Table:
    """What each stage took in all runs that the file tells of.

    Raises FileError where it cannot be read, or holds anything but events.
    """
    stages: dict[str, Spent] = {}
    runs, wall = 0, 0.0
    for line in _lines(path):
        event = line.key("event").text
        if event == "run":
            runs, wall = runs + 1, wall + line.key("wall").number
        elif event == "unit" and (len(stages) < STAGES or line.key("stage").text in stages):
            spent = stages.setdefault(line.key("stage").text, Spent())
            spent.units += 1
            spent.seconds += line.key("seconds").number
            for name in ("patches", "pairs"):
                if line.has(name):
                    setattr(spent, name, getattr(spent, name) + line.key(name).number)
    rows = [
        [
            stage,
            f"{spent.units:,}",
            f"{spent.patches:,.0f}" if spent.patches else "-",
            f"{spent.pairs:,.0f}" if spent.pairs else "-",
            duration_of(spent.seconds),
        ]
        for stage, spent in stages.items()
    ]
    said = f"Added up over what ran at once. By the clock, {runs} {noun_of(runs, 'runs')} took "
    columns = ("stage", "units", "patches", "pairs", "time")
    return Table("Time", columns, rows, f"{said}{duration_of(wall)}.")


def _lines(path: Path) -> Iterator[Found]:
    """What is whole: a run that was killed may have cut off the last."""
    with files.reading(path) as file:
        number = 0
        while data := file.readline(LINE + 1):
            number += 1
            where = f"{path}, line {number}"
            if not data.endswith(b"\n"):
                if len(data) <= LINE:
                    return
                raise FileError(f"{where} has more than {LINE} bytes: {AGAIN}")
            try:
                value = json_files.parse(data)
            except ValueError as error:
                raise FileError(f"{where} is no event ({error}): {AGAIN}") from error
            if not isinstance(value, dict) or not isinstance(value.get("event"), str):
                raise FileError(f"{where} is no event: {AGAIN}")
            yield Found(value, where)
