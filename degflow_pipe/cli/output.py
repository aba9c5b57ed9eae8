"""What the commands print: progress on standard error, summaries on standard output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.table import Table
from rich.text import Text

from degflow_pipe.cli.words import spoken
from degflow_pipe.formats.text import printable

WIDTH = 160
"""Columns that a wide table takes at least, also where the output is no terminal."""
LOG_EVERY = 10.0
"""Seconds between lines of a plain log."""


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")


class _Bar:
    def __init__(self, progress: Progress, number: Any) -> None:
        self._progress, self._number = progress, number

    def advance(self, count: float = 1) -> None:
        self._progress.advance(self._number, count)

    def note(self, text: str) -> None:
        self._progress.console.print(_text(spoken(text)), highlight=False)


class _Lines:
    """The plain log: a line now and then, and one at the end."""

    def __init__(self, name: str, total: float | None, done: float) -> None:
        self._name, self._total, self._done = name, total, done
        self._first, self._began, self._last = done, time.monotonic(), time.monotonic()

    def advance(self, count: float = 1) -> None:
        self._done += count
        if time.monotonic() - self._last >= LOG_EVERY:
            self.line()

    def line(self) -> None:
        self._last = time.monotonic()
        rate = (self._done - self._first) / max(self._last - self._began, 1e-9)
        text = f"{self._name} {self._done:g}"
        if self._total is not None:
            text += f"/{self._total:g}"
        text += f" ({rate:.1f}/s"
        if self._total is not None and rate > 0:
            text += f", {(self._total - self._done) / rate:.0f} s left"
        self.note(text + ")")

    def note(self, text: str) -> None:
        print(printable(spoken(text)), file=sys.stderr, flush=True)


class TerminalProgress:
    """A Rich bar with rate and time left on a terminal, a plain log elsewhere."""

    @contextmanager
    def task(self, name: str, total: float | None, done: float = 0) -> Iterator[_Bar | _Lines]:
        console = Console(stderr=True)
        if not console.is_terminal:
            lines = _Lines(name, total, done)
            yield lines
            lines.line()
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            yield _Bar(
                progress, progress.add_task(printable(name), total=total, completed=int(done))
            )


def show(summary: dict[str, Any], as_json: bool, title: str = "") -> None:
    """A summary as one JSON value, or as a table of names and values."""
    if as_json:
        print(json.dumps(summary, indent=1))
        return
    table = Table(title=_text(title) if title else None, show_header=False, title_justify="left")
    table.add_column("name", style="bold")
    table.add_column("value", overflow="fold")
    for name, value in _flat(summary):
        table.add_row(_text(name), _text(spoken(value)))
    Console(soft_wrap=False).print(table)


def show_evaluation(result: dict[str, Any], as_json: bool, title: str) -> None:
    """What `evaluate` returned: a table for each level, mean and spread over scenes."""
    if as_json:
        print(json.dumps(result, indent=1))
        return
    console = Console()
    console = Console(width=max(console.width, WIDTH))
    for name, level in result["levels"].items():
        held_out = ", held out" if level["held_out"] else ""
        heading = f"{title}: {name}, t = {level['t']:.3f}{held_out}, {len(result['scenes'])} scenes"
        table = Table(
            title=_text(heading), title_justify="left", caption="mean (spread) over scenes"
        )
        table.add_column("LR", style="bold", no_wrap=True)
        for figure in level["candidates"]["generated"]:
            table.add_column(_text(figure), justify="right", no_wrap=True)
        for candidate, figures in level["candidates"].items():
            cells = [f"{f['mean']:.4g} ({f['std']:.2g})" for f in figures.values()]
            table.add_row(_text(candidate), *cells)
        console.print(table)
        console.print(_bands(name, level))
        to_hr = {k: v for k, v in level.items() if k.startswith("psnr_to_hr ")}
        print(
            ", ".join(f"{k.removeprefix('psnr_to_hr ')} {v:.2f} dB to HR" for k, v in to_hr.items())
        )
        if name in result["residual"]:
            _show_residual(console, name, result["residual"][name])
    curve = result["curve"]
    show(
        {f"{t:g}": value for t, value in zip(curve["t"], curve["psnr_to_hr"], strict=True)},
        False,
        "PSNR of generated pictures to HR, dB, by t",
    )
    blur = result["blur"]
    show(
        {f"{s:.3g}": value for s, value in zip(blur["s"], blur["sigma"], strict=True)},
        False,
        "equivalent blur of generated pictures, pixels, by scale s",
    )
    for name, figures in result["sweep"].items():
        best = {figure: found["best"] for figure, found in figures.items()}
        show(
            {"t": result["levels"][name]["t"], **best}, False, f"sweep of {name}: best t by figure"
        )
    print(f"{result['evaluations']} evaluations of v a picture")


def _bands(name: str, level: dict[str, Any]) -> Table:
    """Power and coherence with HR by spatial frequency, real beside generated."""
    table = Table(
        title=_text(f"{name}: bands of frequency, cycles a pixel, green channel"),
        title_justify="left",
        caption="power in grey levels squared; coherence with HR",
    )
    table.add_column("LR", style="bold", no_wrap=True)
    for centre in level["bands"]:
        table.add_column(f"{centre:g}", justify="right", no_wrap=True)
    for key in sorted(level):
        if key.startswith(("power ", "coherence ")):
            table.add_row(_text(key), *(f"{value:.3g}" for value in level[key]))
    return table


def _show_residual(console: Console, level: str, found: dict[str, Any]) -> None:
    """What is left between real and generated LR: by band, in parts, and the rest."""
    noise, tone = found["noise"], found["tone"]
    rows = {
        **{f"transfer {n}": found["bands"][n]["transfer"] for n in ("real", "generated")},
        "transfer generated / real": found["ratio"],
        "coherent beyond real, share": found["leak"],
        **{f"rest {n}, power": noise[n]["power"] for n in ("real", "drawn") if n in noise},
        **({"rest drawn / real": noise["ratio"]} if "ratio" in noise else {}),
    }
    heading = f"{level}: what is left, real minus generated"
    caption = "transfer from HR; the rest is what no tone, contrast, shift or blur mends"
    _number_table(console, f"{heading}, by cycles a pixel, green", caption, found["centres"], rows)
    parts = {
        f"tiles of {side}, {name}": [shares["left"][0], *shares["shares"].values()]
        for side, key in ((64, "parts"), (16, "fine_parts"))
        for name, shares in found[key].items()
    }
    caption = "mean square in grey levels squared; share of it that each part takes"
    _number_table(console, heading, caption, ["all", *found["parts"]["real"]["shares"]], parts)
    _number_table(
        console,
        f"{level}: the rest, deviation by brightness in calm places",
        "grey levels",
        noise["brightness"],
        {n: noise[n]["std"] for n in ("real", "drawn") if n in noise},
    )
    sides = [name for name in ("real", "drawn") if name in noise]
    grid = found["grid"]
    figures: dict[str, Any] = {
        "tone R, G, B, mean": tone["difference"],
        "tone R, G, B, rms over scenes": tone["scene_rms"],
        "tone of tiles R, G, B, deviation": tone["tile_std"],
        **{f"fit {name}": found["fit"][name] for name in sides},
        **{f"{p} {n}": noise[n][p] for p in ("calm", "busy") for n in sides},
        **{f"along edges {n}": value for n, value in found["along_edges"].items()},
        **{f"blocks of 8, strongest, {n}": v for n, v in grid["strongest_block"].items()},
        **{f"enlarged blocks, {n}": v for n, v in grid["enlarged"].items()},
        **{f"mosaic of 2 x 2, deviation, {n}": v for n, v in grid["mosaic_std"].items()},
    }
    show(figures, False, heading)


def _number_table(
    console: Console, title: str, caption: str, columns: list[Any], rows: dict[str, list[Any]]
) -> None:
    table = Table(title=_text(title), title_justify="left", caption=caption)
    table.add_column("", style="bold", no_wrap=True)
    for column in columns:
        name = column if isinstance(column, str) else f"{column:g}"
        table.add_column(_text(name), justify="right", no_wrap=True)
    for name, values in rows.items():
        table.add_row(_text(name), *("-" if v is None else f"{v:.3g}" for v in values))
    console.print(table)


def show_proxy(result: dict[str, Any], as_json: bool, title: str) -> None:
    """What `proxy` returned: a row for each source and added noise, a table for each level."""
    if as_json:
        print(json.dumps(result, indent=1))
        return
    for name, level in result.get("levels", {result.get("level"): result}).items():
        held_out = ", no knot" if level.get("held_out") else ""
        heading = (
            f"{title}: SR of real {name}{held_out} by source of LR, {result['steps']} steps, "
            f"{len(result['scenes'])} held-out scenes"
        )
        _show_sources(heading, level)


def _show_sources(heading: str, result: dict[str, Any]) -> None:
    console = Console()
    console = Console(width=max(console.width, WIDTH))
    caption = "mean (spread) over seeds; *: the best of its source by PSNR"
    table = Table(title=_text(heading), title_justify="left", caption=caption)
    table.add_column("source", style="bold", no_wrap=True)
    table.add_column("added noise", justify="right")
    figures = list(result["rows"][0]["mean"])
    for figure in figures:
        table.add_column(figure, justify="right", no_wrap=True)
    judged = [figure for figure in ("psnr", "perceptual") if figure in figures]
    for figure in judged:
        table.add_column(f"recovered, {figure}", justify="right")
    for row in result["rows"]:
        cells = [f"{row['mean'][f]:.4g} ({row['std'][f]:.2g})" for f in figures]
        shares = [row["recovered"].get(figure) for figure in judged]
        cells += ["-" if share is None else f"{100 * share:.0f}%" for share in shares]
        best = result.get("best", {}).get(row["source"]) == row["added_noise"]
        table.add_row(_text(row["source"]), f"{row['added_noise']:g}{' *' if best else ''}", *cells)
    console.print(table)


def _flat(summary: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in summary.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list):
            yield name, ", ".join(_plain(item) for item in value) or "-"
        else:
            yield name, _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or value == {}:
        return "-"
    return str(value)


def _text(text: str) -> Text:
    """What a user or a file named, without tags of Rich and without control characters."""
    return Text(printable(text))


def complain(message: str) -> None:
    """One line on standard error."""
    Console(stderr=True, soft_wrap=True).print(
        Text.assemble(("error: ", "bold red"), printable(spoken(message))), highlight=False
    )
