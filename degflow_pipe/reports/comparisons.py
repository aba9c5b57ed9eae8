"""The report of what `proxy` found: SR networks trained on each source of LR."""

from __future__ import annotations

from pathlib import Path

from degflow_pipe import files
from degflow_pipe.formats.said import noun_of
from degflow_pipe.proxy.results import UNTOUCHED
from degflow_pipe.reports.described import at_level, command, facts_of_maker, told
from degflow_pipe.reports.drawn import Album
from degflow_pipe.reports.page import Fact, Judgement, Number, Page, State, Table
from degflow_pipe.reports.parsed import Found, read_result

OURS = ("ours", "ours_grid", "ours_more", "ours_clean", "ours_grid_clean")
SPOKEN = {
    "untouched": "LR as it is, no SR",
    "real": "real LR",
    "gaussian": "best Gaussian",
    "ours": "generated LR",
    "ours_clean": "generated LR, no noise",
    "ours_grid": "generated LR, many levels",
    "ours_grid_clean": "generated LR, many levels, no noise",
    "ours_more": "generated LR, of other photos too",
    "real_more": "real LR and generated, of other photos too",
}
CALLED = {"psnr": "PSNR", "psnr_y": "PSNR of luma", "ssim": "SSIM", "ssim_y": "SSIM of luma"}
FIGURES = {"psnr": "PSNR, dB", "ssim": "SSIM", "perceptual": "perceptual distance"}


def of_proxy(paths: list[Path], folder: Path | None) -> Page:
    """paths: the figures, a file for each kind of network. Raises FileError where damaged."""
    every = [read_result(path) for path in paths]
    first = every[0]
    scenes = first.key("scenes").texts
    lead = (
        f"Networks of one size, trained on each source of LR for the same HR and tested on the "
        f"real LR of {len(scenes):,} scenes that none of them has seen."
    )
    page = Page("Proxy of degflow-pipe", "What the pairs are worth to an SR network", lead)
    page.judgements = [one for found in every for one in judgements_of(found)]
    page.tables = [table for found in every for table in tables_of(found)]
    page.numbers = [
        Number(f"{first.key('seeds').number:g}", "trainings of each source"),
        Number(f"{first.key('steps').number:,.0f}", "steps of a training"),
        Number(f"{len(scenes):,}", f"{noun_of(len(scenes), 'scenes')} tested on"),
    ]
    checkpoint = first.key("checkpoint").text
    page.facts = [
        Fact("checkpoint", checkpoint),
        *facts_of_maker(checkpoint),
        Fact("network", ", ".join(dict.fromkeys(one.key("network").text for one in every))),
        Fact("perceptual distance", first.key("perceptual").text),
        Fact("scenes", ", ".join(scenes[:200])),
    ]
    if folder is not None:
        album = Album()
        for name in files.names(folder, ".png"):
            if name.startswith("pictures"):
                title = "SR of held-out scenes by each source"
                alt = f"{title}, beside HR and the real LR, under their names."
                album.add_sheet(title, alt, folder / name)
        page.sheets = album.sheets
    out = "OUT" if folder is None else folder.name or files.real(folder).name
    page.commands = [_command(one, out) for one in every]
    page.commands_said = (
        "PAIRS is the folder of the pairs; the figures record neither it nor a recipe. A "
        "checkpoint of your own is named by its folder."
    )
    return page


def _command(found: Found, out: str) -> str:
    """What was asked for, as far as the figures tell."""
    _, level = _levels(found)[0]
    rows = level.key("rows").each()
    sources = [row.key("source").text for row in rows if row.key("source").text != UNTOUCHED]
    noise = [f"{row.key('added_noise').number:g}" for row in rows]
    return command(
        "proxy",
        found.key("checkpoint").text,
        "PAIRS",
        network=found.key("network").text,
        sources=",".join(dict.fromkeys(sources)),
        more_hr="PHOTOS" if {"ours_more", "real_more"} & set(sources) else None,
        t_grid=_t_grid(found),
        perceptual=_perceptual(found),
        level=found.key("level").text if found.has("level") else None,
        added_noise=",".join(dict.fromkeys(noise)),
        seeds=f"{found.key('seeds').number:g}",
        steps=f"{found.key('steps').number:g}",
        out=out,
    )


def _t_grid(found: Found) -> str | None:
    """The levels that one of the sources draws from, where there is one."""
    if not found.has("grid"):
        return None
    return ",".join(f"{t.number:g}" for t in found.key("grid").each()) or None


def _perceptual(found: Found) -> str | None:
    kind = found.key("perceptual").text
    return None if kind == "none" else kind


def _levels(found: Found) -> list[tuple[str, Found]]:
    """Name and rows of each level that was tested."""
    if found.has("rows"):
        return [(found.key("level").text, found)]
    return list(found.key("levels").items())[:40]


def judgements_of(found: Found) -> list[Judgement]:
    """How much of the way from bicubic to real LR generated LR go, in PSNR."""
    made = []
    for name, level in _levels(found):
        about = at_level("PSNR of SR of real LR", name)
        if "psnr" in level.key("unresolved").texts:
            said = (
                "The trainings do not tell real LR from bicubic by more than chance: take more "
                "seeds or steps."
            )
            made.append(Judgement(about, "unknown", "Not told apart", said))
            continue
        best = _best_of_ours(level)
        if best is None:
            continue
        source, share = best
        gains = f"{SPOKEN[source]} recovers {100 * share:.0f} % of the gap"
        said = (
            "In PSNR, of the gap between networks trained on bicubic LR (0 %) and on real LR "
            "(100 %)."
        )
        state: State = "good" if share >= 0.5 else "care" if share > 0 else "bad"
        made.append(Judgement(about, state, told(gains), said))
    return made


def _best_of_ours(level: Found) -> tuple[str, float] | None:
    shares = [
        (row.key("source").text, row.key("recovered").key("psnr").number)
        for row in level.key("rows").each()
        if row.key("source").text in OURS and row.key("recovered").has("psnr")
    ]
    return max(shares, key=lambda one: one[1], default=None)


def tables_of(found: Found) -> list[Table]:
    """A row for each source and added noise, a table a level."""
    tables = []
    for name, level in _levels(found):
        rows = []
        for row in level.key("rows").each():
            source = row.key("source").text
            mean, std = row.key("mean"), row.key("std")
            cells = [SPOKEN.get(source, source.replace("_", " "))]
            cells.append(f"{row.key('added_noise').number:g}")
            for figure in FIGURES:
                if not mean.has(figure):
                    continue
                digits = 2 if figure == "psnr" else 4
                value, spread = mean.key(figure).number, std.key(figure).number
                cells.append(f"{value:.{digits}f} ± {spread:.{digits}f}")
            recovered = row.key("recovered")
            share = f"{100 * recovered.key('psnr').number:.0f} %" if recovered.has("psnr") else "-"
            cells.append(share)
            rows.append(cells)
        there = [said for f, said in FIGURES.items() if rows and _has(level, f)]
        columns = ["trained on", "added noise, grey levels", *there, "recovered, PSNR"]
        said = "Mean over seeds ± deviation. Recovered: of the gap between bicubic and real LR."
        if unresolved := level.key("unresolved").texts:
            said += (
                f" Not told apart from chance: {', '.join(CALLED.get(f, f) for f in unresolved)}."
            )
        tables.append(Table(at_level("SR of real LR", name), columns, rows, said))
    return tables


def _has(level: Found, figure: str) -> bool:
    return all(row.key("mean").has(figure) for row in level.key("rows").each())
