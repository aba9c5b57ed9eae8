"""What the commands print: summaries on standard output, errors and warnings on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from degflow_pipe import json_files
from degflow_pipe.cli.words import spoken
from degflow_pipe.errors import masked
from degflow_pipe.folders import break_lock
from degflow_pipe.formats.text import printable

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow
    from degflow_pipe.checkpoint.site import Site

BEGAN = time.perf_counter()
"""When the command was started, but for what Python itself takes."""


def show(result: Any, as_json: bool, title: str = "") -> None:
    """What a command returned, as one JSON value or as a table of names and values.

    result: a dataclass or a mapping. Keys of the JSON are sorted, and what is no finite number is
    null, as in every JSON file that is written.
    """
    if as_json:
        print(json_files.text_of(as_mapping(result)), end="")
        return
    table = Table(title=safe(title) if title else None, show_header=False, title_justify="left")
    table.add_column("name", style="bold", overflow="fold")
    table.add_column("value", overflow="fold")
    for name, value in _flat(as_mapping(result)):
        table.add_row(safe(name), safe(spoken(value)))
    Console(soft_wrap=False).print(table)


def say(text: str) -> None:
    """Sentences, broken between words where the terminal is narrow."""
    for line in text.split("\n"):
        Console(soft_wrap=False).print(safe(spoken(line)), highlight=False)


def print_lines(lines: Iterator[tuple[str, str]]) -> None:
    """A sentence, and below it `print_rows`."""
    _, head = next(lines)
    print_head(head)
    print_rows(lines)


def print_head(said: str) -> None:
    """The sentence that a summary begins with."""
    Console(soft_wrap=False).print(safe(spoken(said)), style="bold", highlight=False)


def print_rows(lines: Iterable[tuple[str, str]]) -> None:
    """A word and what it says on each line. What is long stays beside its word at any width."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for word, said in lines:
        table.add_row(word, safe(spoken(said)))
    Console(soft_wrap=False).print(Padding(table, (0, 0, 0, 2)))


def as_mapping(result: Any) -> Any:
    """A dataclass by the names of its fields, all the way down; a mapping as it is."""
    return asdict(result) if is_dataclass(result) and not isinstance(result, type) else result


def _flat(summary: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, found in summary.items():
        name, value = f"{prefix}{key}", as_mapping(found)
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        elif key == "slowest":  # a unit by its name and what it took
            slow = (f"{unit['unit']} ({unit['seconds']:.3g} s)" for unit in value)
            yield name, ", ".join(slow) or "-"
        elif isinstance(value, list | tuple):
            yield name, ", ".join(_plain(item) for item in value) or "-"
        else:
            yield name, _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or value == {}:
        return "-"
    return str(value)


def safe(shown: str) -> Text:
    """What a user or a file named, without tags of Rich, control characters and the
    credentials of URLs.
    """
    return Text(printable(masked(shown)))


def complain(message: str, kind: str = "error") -> None:
    """One line on standard error."""
    Console(stderr=True, soft_wrap=True).print(
        Text.assemble((f"{kind}: ", "bold red"), printable(spoken(message))), highlight=False
    )


def unlock(asked: bool, *places: Path | str | None) -> None:
    """Where it is asked for, end the locks of remote places, and say whose they were."""
    for place in places if asked else ():
        if place is not None and (whose := break_lock(place)):
            complain(f"{place}: the lock of {whose} was taken over", "warning")


def warn_of(*models: DegFlow | Site) -> None:
    """A line for each checkpoint that was found to be less than good."""
    for model in models:
        if warning := model.info.verdict.warning:
            complain(f"{model.info.name}: {warning}", "warning")
