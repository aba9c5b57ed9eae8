"""Tables of what `evaluate`, `calibrate`, `proxy` and `inspect` return."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from degflow_pipe.cli.output import BEGAN, as_mapping, print_lines, print_rows, safe, say, show
from degflow_pipe.cli.summaries import Lines, skipped_lines, tallied
from degflow_pipe.cli.words import spoken
from degflow_pipe.formats.said import duration_of, number_of, size_of
from degflow_pipe.quality import LIMITS

if TYPE_CHECKING:
    from degflow_pipe.calibration.results import Calibrated
    from degflow_pipe.checkpoint.verdict import Verdict
    from degflow_pipe.estimates import Estimate
    from degflow_pipe.evaluation.results import Evaluation, LevelFigures
    from degflow_pipe.learning.results import CameraSummary
    from degflow_pipe.metrics.residual_figures import Residual
    from degflow_pipe.proxy.results import LevelTable, ProxyComparison, ScalesComparison
    from degflow_pipe.stages.inspect import Histogram, Inspected

BAR = 50
"""Characters of the longest bar of a histogram, which fits 80 columns."""
BAR_FROM = 26
"""Characters before it."""
NAMED = 20
"""Photos beyond a limit that are named, at most."""
UNITS = {
    "sharpness": "fine detail, in grey levels",
    "blockiness": "steps along JPEG's grid, in grey levels",
    "clipped": "share of pixels at 0 or 255",
    "noise": "standard deviation, in grey levels",
}

MEND = "what the findings say, into another folder"
"""What comes next where a checkpoint is not usable."""
WAVERS = 0.2
"""By how much a machine's speed differs from one minute to another, whatever a sample says."""
NARROW = 76
"""Columns below which a table says its sentences alone."""
EDGE = 3
"""Characters of a column beside its text: two blanks and a line."""

Numbers = Sequence[float | None]
"""A row of a table; None is shown as a dash."""


def show_estimate(found: Estimate, as_json: bool) -> None:
    """What a command would do; the time counts from the start of this one, that has loaded what
    the other would.
    """
    found = found.started(time.perf_counter() - BEGAN - found.measured.seconds)
    if as_json:
        show(found, True)
        return
    tried = found.measured
    photos = f"{found.photos} to read, {found.known} known, {len(found.skipped)} unusable"
    room = f", {size_of(found.peak_bytes)} on the way" * (found.peak_bytes > found.total_bytes)
    rows = {
        **({"photos": photos} if found.command in ("ingest", "run") else {}),
        "patches": f"{found.patches}",
        "pairs": f"{found.pairs} to make, {found.known_pairs} there",
        "files": f"{found.files}, {found.tars} of them tars",
        **{f"bytes of {part}": size_of(size) for part, size in found.bytes.items()},
        "bytes": f"{size_of(found.total_bytes)}{room}{_spread(found.bytes_spread)}",
        **{f"time of {stage}": duration_of(spent) for stage, spent in found.seconds.items()},
        "time": f"{duration_of(found.total_seconds)}{_spread(max(found.seconds_spread, WAVERS))}",
    }
    show(rows, False, f"{found.command} --dry-run: nothing was written")
    what = "pictures" if found.command == "export" else "patches"
    disk = "" if tried.disk else "; how fast the disk takes files is not counted"
    said = (
        f"An estimate, from {tried.photos} photos and {tried.patches} {what} that were worked on "
        f"for {tried.seconds:.0f} s by {tried.workers} workers ({tried.engine}) on {tried.device}"
        f"{disk}."
    )
    say(said)


def _spread(part: float) -> str:
    """A relative standard error."""
    return f", give or take {100 * part:.0f} %" if part >= 0.005 else ""


def show_evaluation(result: Evaluation, as_json: bool, title: str) -> None:
    """A table for each level, mean and spread over scenes."""
    if as_json:
        show(result, True)
        return
    for name, level in result.levels.items():
        held_out = ", held out" if level.held_out else ""
        heading = f"{title}: {name}, t = {level.t:.3f}{held_out}, {len(result.scenes)} scenes"
        _candidates(heading, level)
        _bands(name, level)
        told = (f"{lr} {found.psnr_to_hr:.2f} dB to HR" for lr, found in level.against_hr.items())
        say(", ".join(told))
        if name in result.residual:
            _show_residual(name, result.residual[name])
    heading = "PSNR of generated pictures to HR by level"
    print_numbers(heading, "", result.curve.t, {"dB": result.curve.psnr_to_hr}, "t")
    heading, scales = (
        "equivalent blur of generated pictures by scale",
        map("{:.3g}".format, result.blur.s),
    )
    print_numbers(heading, "", list(scales), {"pixels": result.blur.sigma}, "s")
    for name, figures in result.sweep.items():
        best = {figure: found.best for figure, found in figures.items()}
        heading = f"sweep of {name}: best t by figure"
        show({"t": result.levels[name].t, **best}, False, heading)
    say(f"{result.evaluations} evaluations of v a picture")
    show_verdict(result.verdict)
    if result.not_kept:
        say(f"Not kept in the checkpoint: {result.not_kept}.")


def show_verdict(found: Verdict) -> None:
    """The findings, and the verdict in a word."""
    console = Console()
    narrow = console.width < NARROW
    table = Table(title=safe(f"verdict: {found.overall}"), title_justify="left")
    for column in ("grade",) if narrow else ("finding", "grade", "figure", "good if"):
        table.add_column(column, justify="right" if column == "figure" else "left", no_wrap=True)
    table.add_column("what it says", overflow="fold")
    without: dict[str, list[str]] = {}
    for one in found.findings:
        if one.figure is None or one.care is None or one.bad is None:
            without.setdefault(one.said, []).append(one.name)
            continue
        good = f"{'<=' if one.bad > one.care else '>='} {one.care:g}"
        figure, said = f"{one.figure:.3g}", safe(spoken(one.said))
        table.add_row(*((one.grade, said) if narrow else (one.name, one.grade, figure, good, said)))
    console.print(table if table.row_count else safe(f"verdict: {found.overall}"))
    for why, names in without.items():
        say(f"{', '.join(names)}: {why}")


def _candidates(heading: str, level: LevelFigures) -> None:
    rows = {
        candidate: [f"{found.mean:.4g} ({found.std:.2g})" for found in figures.values()]
        for candidate, figures in level.candidates.items()
    }
    columns = list(level.candidates["generated"])
    print_table(heading, "mean (spread) over scenes", "LR", columns, rows)


def _bands(name: str, level: LevelFigures) -> None:
    """Power and coherence with HR by spatial frequency, real beside generated."""
    found = level.against_hr
    print_numbers(
        f"{name}: bands of frequency, cycles a pixel, green channel",
        "power in grey levels squared; coherence with HR",
        level.bands,
        {
            **{f"coherence {lr}": found[lr].coherence for lr in sorted(found)},
            **{f"power {lr}": found[lr].power for lr in sorted(found)},
        },
        "LR",
    )


def _show_residual(level: str, found: Residual) -> None:
    """What is left between real and generated LR: by band, in parts, and the rest."""
    noise, tone, grid = found.noise, found.tone, found.grid
    rows: dict[str, Numbers] = {
        **{f"transfer {lr}": found.bands[lr].transfer for lr in ("real", "generated")},
        "transfer generated / real": found.ratio,
        "coherent beyond real, share": found.leak,
        **{f"rest {side}, power": rest.power for side, rest in noise.sides.items()},
    }
    if noise.ratio is not None:
        rows["rest drawn / real"] = noise.ratio
    heading = f"{level}: what is left, real minus generated"
    caption = "transfer from HR; the rest is what no tone, contrast, shift or blur mends"
    title = f"{heading}, by cycles a pixel, green"
    print_numbers(title, caption, found.centres, rows)
    parts = {
        f"tiles of {side}, {name}": [taken.left[0], *taken.shares.values()]
        for side, by_name in ((64, found.parts), (16, found.fine_parts))
        for name, taken in by_name.items()
    }
    caption = "mean square in grey levels squared; share of it that each part takes"
    columns = ["all", *found.parts["real"].shares]
    print_numbers(heading, caption, columns, parts)
    title = f"{level}: the rest, deviation by brightness in calm places"
    deviations = {side: rest.std for side, rest in noise.sides.items()}
    print_numbers(title, "grey levels", noise.brightness, deviations)
    figures: dict[str, Any] = {
        "tone R, G, B, mean": tone.difference,
        "tone R, G, B, rms over scenes": tone.scene_rms,
        "tone of tiles R, G, B, deviation": tone.tile_std,
        **{f"fit {side}": found.fit[side] for side in noise.sides},
        **{f"calm {side}": rest.calm for side, rest in noise.sides.items()},
        **{f"busy {side}": rest.busy for side, rest in noise.sides.items()},
        **{f"along edges {side}": value for side, value in found.along_edges.items()},
        **{f"blocks of 8, strongest, {lr}": v for lr, v in grid.strongest_block.items()},
        **{f"enlarged blocks, {lr}": value for lr, value in grid.enlarged.items()},
        **{f"mosaic of 2 x 2, deviation, {lr}": value for lr, value in grid.mosaic_std.items()},
    }
    show(figures, False, heading)


def print_numbers(
    title: str,
    caption: str,
    columns: Sequence[float] | Sequence[str],
    rows: Mapping[str, Numbers],
    corner: str = "",
) -> None:
    """See `print_table`."""
    names = [column if isinstance(column, str) else f"{column:g}" for column in columns]
    cells = {
        name: ["-" if v is None else f"{v:.3g}" for v in values] for name, values in rows.items()
    }
    print_table(title, caption, corner, names, cells)


def print_table(
    title: str,
    caption: str,
    corner: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[str]],
) -> None:
    """A row of cells for each name. Where the terminal is too narrow for all columns, they follow
    each other in several tables.
    """
    console = Console()
    widths = [
        max(map(cell_len, (name, *(row[i] for row in rows.values())))) + EDGE
        for i, name in enumerate(columns)
    ]
    names = max(map(cell_len, (corner, *rows)), default=0) + EDGE + 1
    # What is left where the names alone would leave no room, they are folded.
    room = max(console.width - min(names, console.width // 2), 1)
    parts: list[list[int]] = [[]]
    for i, width in enumerate(widths):
        if parts[-1] and sum(widths[k] for k in parts[-1]) + width > room:
            parts.append([])
        parts[-1].append(i)
    for part in parts:
        table = Table(
            title=safe(title) if part is parts[0] else None,
            title_justify="left",
            caption=safe(caption) if caption and part is parts[-1] else None,
            caption_justify="left",
        )
        table.add_column(safe(corner), style="bold", overflow="fold")
        for i in part:
            table.add_column(safe(columns[i]), justify="right", overflow="fold")
        for name, cells in rows.items():
            table.add_row(safe(name), *(safe(cells[i]) for i in part))
        console.print(table)


def show_calibrated(result: Calibrated, as_json: bool) -> None:
    """The level t of each scale s, and what else was found."""
    if as_json:
        show(result, True)
        return
    rows: dict[str, Any] = {"checkpoint": result.checkpoint, "id": result.id}
    own = result.own_noise or "not measured: the pictures are too small"
    rows |= {"scenes": result.scenes, "noise": result.noise, "noise on its own pixels": own}
    show({**rows, **{f"t of s = {s:g}": t for s, t in result.scales}}, False, "calibrate")
    show_verdict(result.verdict)


def show_camera(found: CameraSummary, as_json: bool) -> None:
    """What was done, how well SR does with it, and the verdict."""
    if as_json:
        show(found, True)
        return
    rows = {key: v for key, v in as_mapping(found).items() if key != "verdict"}
    if found.recovered is None:
        rows["recovered"] = "no gap between bicubic and real pairs that these trainings show"
    show(rows, False, "camera")
    show_verdict(found.verdict)
    at = shlex.quote(found.checkpoint)
    next_one = f"degflow-pipe ingest PHOTOS --checkpoint {at}"
    if found.verdict.overall == "not usable":
        next_one = MEND
    print_rows([("look", f"degflow-pipe report {at}"), ("next", next_one)])


def show_comparison(result: ProxyComparison | ScalesComparison, as_json: bool, title: str) -> None:
    """A table for each level that was tested, a row for each source and added noise."""
    if as_json:
        show(result, True)
        return
    for table in result.tables:
        held_out = ", no knot" if table.held_out else ""
        heading = (
            f"{title}: SR of real {table.level}{held_out} by source of LR, {result.steps} steps of "
            f"{result.network}, "
            f"{number_of(len(result.scenes), 'scenes')} held out"
        )
        _sources(heading, table, result.seeds)


def _sources(heading: str, found: LevelTable, seeds: int) -> None:
    caption = "mean (spread) over seeds; noise: added, in grey levels; *: the best of its source"
    unresolved = f"not resolved by {seeds} seed{'s' * (seeds > 1)}"
    if found.unresolved:
        caption += (
            f"; the gap between bicubic and real in {', '.join(found.unresolved)} is {unresolved}, "
            f"so there is no share of it: give more seeds or steps"
        )
    figures = list(found.rows[0].mean)
    judged = [figure for figure in ("psnr", "perceptual") if figure in figures]
    noises = any(row.added_noise for row in found.rows)
    rows: dict[str, list[str]] = {}
    for row in found.rows:
        mark = " *" if found.best.get(row.source) == row.added_noise else ""
        name = f"{row.source}, noise {row.added_noise:g}{mark}" if noises else row.source
        shares = [row.recovered.get(figure) for figure in judged]
        rows[name] = [f"{row.mean[f]:.4g} ({row.std[f]:.2g})" for f in figures]
        rows[name] += ["-" if share is None else f"{100 * share:.0f}%" for share in shares]
    columns = [*figures, *(f"recovered, {figure}" for figure in judged)]
    print_table(heading, caption, "source", columns, rows)


def show_inspected(result: Inspected, as_json: bool) -> None:
    """A histogram of each figure, and what the limits would leave out."""
    if as_json:
        show(result, True)
        return
    options = []
    for figure, found in result.histograms.items():
        limit = getattr(result.limits, LIMITS[figure])
        option = f"--{LIMITS[figure].replace('_', '-')} {limit:g}"
        options.append(option)
        unknown = f"; {found.unknown} do not show it" if found.unknown else ""
        say(f"{figure}: {UNITS[figure]}")
        say(f"  {option} would leave out {found.beyond}, drawn as x{unknown}")
        for line in _bars(found, limit, figure):
            say(line)
        say("")
    print_lines(_inspected(result))
    beyond = [row for row in result.photos if row.beyond]
    for row in beyond[:NAMED]:
        figures = (name for name, limit in LIMITS.items() if limit in row.beyond)
        said = ", ".join(f"{name} {getattr(row, name):.3g}" for name in figures)
        say(f"  {row.photo}: {said}")
    if len(beyond) > NAMED:
        say(f"  and {len(beyond) - NAMED} more beyond a limit: --json names all")
    say(f"Nothing was left out. To let `ingest` do so:\n  {' '.join(options)}")


def _inspected(result: Inspected) -> Lines:
    photos = number_of(len(result.photos), "photos")
    yield "", f"{result.sheet}: both ends of {photos}, {result.beyond:,} beyond a limit"
    yield from skipped_lines(result.skipped)
    if result.left_out:
        yield "not photos", f"{tallied(result.left_out)} (files by their endings)"


def _bars(found: Histogram, limit: float, figure: str) -> Iterator[str]:
    """A line a bin, without the empty ones at both ends."""
    filled = [i for i, count in enumerate(found.counts) if count]
    most, room = max(found.counts, default=0), min(BAR, Console().width - BAR_FROM)
    for i in range(filled[0], filled[-1] + 1) if filled else ():
        low, count = found.starts[i], found.counts[i]
        beyond = low < limit if LIMITS[figure].startswith("min_") else low >= limit
        bar = ("x" if beyond else "#") * -(-count * room // most)
        end = "more" if i + 1 == len(found.starts) else f"{found.starts[i + 1]:g}"
        span = f"{low:g} to {end}"
        yield f"  {span:>14} {count:7} {bar}".rstrip()
