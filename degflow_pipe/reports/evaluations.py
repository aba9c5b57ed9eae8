"""The report of what `evaluate` found, and the parts of it that a checkpoint's report has too."""

from __future__ import annotations

from pathlib import Path

from degflow_pipe import files
from degflow_pipe.reports.charts import curve
from degflow_pipe.reports.described import command, told
from degflow_pipe.reports.drawn import Album
from degflow_pipe.reports.page import (
    STATES,
    Chart,
    Check,
    Fact,
    Judgement,
    Number,
    Page,
    Sheet,
    Table,
)
from degflow_pipe.reports.parsed import Found, read_result

FIRST = ("generated", "noisy", "bicubic", "gaussian", "hr")
"""Rows of the table that come first: ours and what one would use instead."""
UNITS = {
    "psnr": "PSNR, dB",
    "psnr_y": "PSNR of luma, dB",
    "ssim": "SSIM",
    "ssim_y": "SSIM of luma",
    "noise_kl": "noise, KL, nats",
    "spectrum": "spectrum, log10 of power",
    "perceptual": "perceptual distance",
}
SPOKEN = {
    "generated": "generated, no noise",
    "noisy": "generated, with noise",
    "hr": "HR",
    "gaussian": "best Gaussian",
    "rebuilt": "real, rebuilt (ceiling)",
    "blend": "mean of the knots' pictures",
    "line": "mean of the knots' latents",
}


def of_evaluation(path: Path, folder: Path | None) -> Page:
    """path: the figures; folder: where its pages are, None where it has none.

    Raises FileError for damaged figures.
    """
    found = read_result(path)
    levels = dict(found.key("levels").items())
    scenes = found.key("scenes").texts
    title = f"Evaluation of {len(scenes):,} held-out scenes"
    page = Page("Evaluation of degflow-pipe", title, _lead(levels))
    page.numbers = _numbers(levels, len(scenes))
    page.judgements = [verdict_of(found)] if found.has("verdict") else []
    page.curves = curves_of(found)
    page.tables = tables_of(found)
    page.facts = [
        Fact("held-out scenes", ", ".join(scenes[:200])),
        Fact("perceptual distance", found.key("perceptual").text),
        Fact("evaluations of v", f"{found.key('evaluations').number:g} a picture"),
        Fact("figures", path.name),
    ]
    if folder is not None:
        page.sheets = sheets_of(folder)
        page.pictures_said = "Drawn by `degflow-pipe evaluate`: crops of held-out scenes."
    page.commands = [command("evaluate", "CHECKPOINT", "PAIRS", out="OUT")]
    page.commands_said = (
        "With the checkpoint and the pairs; the figures do not record their folders."
    )
    return page


def _lead(levels: dict[str, Found]) -> str:
    named = ", ".join(list(levels)[:12])
    return f"Generated LR against the real LR of scenes that were not trained on, at {named}."


def _numbers(levels: dict[str, Found], scenes: int) -> list[Number]:
    made = [Number(f"{scenes:,}", "held-out scenes")]
    for name, level in list(levels.items())[:3]:
        generated = level.key("candidates").key("generated").key("psnr").key("mean").number
        made.append(Number(f"{generated:.2f} dB", f"generated to real LR, {name}"))
    return made


def verdict_of(found: Found) -> Judgement:
    """The verdict as it stands in the figures."""
    verdict = found.key("verdict")
    checks = []
    for one in verdict.key("findings").each():
        grade = one.key("grade").text
        figure = f"{one.key('figure').number:.3g}" if one.has("figure") else ""
        limit = ""
        if one.has("care") and one.has("bad"):
            care, bad = one.key("care").number, one.key("bad").number
            limit = f"{'≤' if bad > care else '≥'} {care:g}"
        name = one.key("name").text.replace("_", " ")
        said = one.key("said").text.replace("`", "")
        checks.append(Check(name, STATES.get(grade, "unknown"), grade, said, figure, limit))
    order = {"bad": 0, "with care": 1, "not measured": 2}
    checks.sort(key=lambda check: order.get(check.grade, 3))
    word = verdict.key("overall").text
    about = "The checkpoint, by these scenes and its training pairs"
    return Judgement(about, STATES.get(word, "unknown"), told(word), "", checks)


def curves_of(found: Found) -> list[Chart]:
    """PSNR to HR and blur by level, and power and coherence by frequency of each level."""
    made = []
    t, psnr = (found.key("curve").key(key).numbers for key in ("t", "psnr_to_hr"))
    said = "Means over the held-out scenes, generated without noise."
    if len(t) == len(psnr) > 1:
        made.append(curve("PSNR to HR", "level t", "dB", {"generated": (t, psnr)}, said=said))
    s, sigma = (found.key("blur").key(key).numbers for key in ("s", "sigma"))
    if len(s) == len(sigma) > 1:
        lines = {"generated": (s, sigma)}
        made.append(curve("Blur", "scale s", "sigma, pixels", lines, said=said))
    for name, level in list(found.key("levels").items())[:12]:
        bands = level.key("bands").numbers
        for key, up, logarithmic in (
            ("power", "grey levels²", True),
            ("coherence", "share", False),
        ):
            lines = {}
            for lr in ("noisy", "generated", "real"):
                if level.key("against_hr").has(lr):
                    values = level.key("against_hr").key(lr).key(key).numbers
                    if len(values) == len(bands):
                        lines[SPOKEN.get(lr, "real LR")] = (bands, values)
            title = f"{'Power' if key == 'power' else 'Coherence with HR'}, {name}"
            made.append(
                curve(title, "cycles a pixel", up, lines, logarithmic=logarithmic, digits=3)
            )
    return made


def tables_of(found: Found) -> list[Table]:
    """Every candidate against the real LR, a table a level, and noise at flat places."""
    tables = []
    for name, level in list(found.key("levels").items())[:20]:
        candidates = dict(level.key("candidates").items())
        there = [name for name, _ in next(iter(candidates.values()), Found({}, "")).items()]
        figures = sorted(there, key=lambda name: [*UNITS, name].index(name))
        order = [*(c for c in FIRST if c in candidates), *(c for c in candidates if c not in FIRST)]
        rows = [
            [SPOKEN.get(c, c.replace("_", " ")), *(_spread(candidates[c].key(f)) for f in figures)]
            for c in order
        ]
        held_out = ", a level that was not trained on" if level.key("held_out").flag else ""
        title = f"Against real LR: {name}, t = {level.key('t').number:.3g}{held_out}"
        columns = ["LR", *(UNITS.get(figure, figure) for figure in figures)]
        tables.append(Table(title, columns, rows, "Mean over scenes ± deviation."))
        rows = [
            [
                SPOKEN.get(lr, "real LR"),
                f"{of.key('psnr_to_hr').number:.2f}",
                f"{of.key('noise').number:.3f}",
            ]
            for lr, of in level.key("against_hr").items()
        ]
        columns = ["LR", "PSNR to HR, dB", "noise where it is flat, grey levels"]
        tables.append(Table(f"Against HR: {name}", columns, rows))
    return tables


def _spread(of: Found) -> str:
    mean, std = of.key("mean").number, of.key("std").number
    digits = 2 if abs(mean) >= 5 else 4
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def sheets_of(folder: Path) -> list[Sheet]:
    """Pages that `evaluate` drew beside its figures."""
    album = Album()
    for name, title in (("pictures.png", "Held-out scenes: HR, real LR, and each way to make LR"),):
        if files.is_file(folder / name):
            album.add_sheet(title, f"{title}, beside each other under their names.", folder / name)
    return album.sheets
