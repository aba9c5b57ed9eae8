"""The report of what `evaluate` found, and the parts of it that a checkpoint's report has too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from degflow_pipe import files
from degflow_pipe.evaluation.crops import ENDS, HR, LRS, SIDE, path_of
from degflow_pipe.formats.said import noun_of
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.reports.charts import curve, histogram
from degflow_pipe.reports.described import LEVELS, at_level, command, told
from degflow_pipe.reports.drawn import (
    FARTHEST,
    MADE,
    NEAREST,
    Album,
    Entry,
    Labelled,
    lrs_of,
)
from degflow_pipe.reports.page import (
    STATES,
    Chart,
    Check,
    Fact,
    Judgement,
    Number,
    Page,
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
SOURCES = {
    "checkpoint": "checkpoint",
    "source": "pairs, by their recipe",
    "licence": "licence of the pairs",
}
WITHOUT = "Generated without noise; a scene counts once."
SPOKEN = {
    **MADE,
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
    title = f"Evaluation of {len(scenes):,} {noun_of(len(scenes), 'held-out scenes')}"
    page = Page("Evaluation of degflow-pipe", title, _lead(levels))
    page.numbers = _numbers(levels, len(scenes))
    page.judgements = [verdict_of(found)] if found.has("verdict") else []
    page.curves = curves_of(found)
    page.tables = tables_of(found)
    told_of = {key: found.key(key).text for key in SOURCES if found.has(key)}
    page.facts = [
        *(Fact(SOURCES[key], said) for key, said in told_of.items() if said),
        Fact("held-out scenes", ", ".join(scenes[:200])),
        Fact("perceptual distance", found.key("perceptual").text),
        Fact("evaluations of the velocity", f"{found.key('evaluations').number:g} a picture"),
        Fact("figures", path.name),
    ]
    page.histograms = histograms_of(found)
    if folder is not None:
        show(found, folder, page, Album())
    checkpoint = told_of.get("checkpoint") or "CHECKPOINT"
    asked = {"out": path.parent.name or "OUT"}
    if (kind := found.key("perceptual").text) != "none":
        asked["perceptual"] = kind
    page.commands = [command("evaluate", checkpoint, "PAIRS", **asked)]
    page.commands_said = (
        "PAIRS is the folder of the pairs, which the figures do not record; a checkpoint of your "
        "own is named by its folder."
    )
    return page


def _lead(levels: dict[str, Found]) -> str:
    named = ", ".join(list(levels)[:12])
    at = "" if named == "LR" else f", at {named}"
    return f"Generated LR against the real LR of scenes that were not trained on{at}."


def _numbers(levels: dict[str, Found], scenes: int) -> list[Number]:
    made = [Number(f"{scenes:,}", noun_of(scenes, "held-out scenes"))]
    for name, level in list(levels.items())[:3]:
        generated = level.key("candidates").key("generated").key("psnr").key("mean").number
        made.append(Number(f"{generated:.2f} dB", at_level("generated to real LR", name)))
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
        said = one.key("said").text
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
            title = at_level("Power" if key == "power" else "Coherence with HR", name)
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
        title = f"{at_level('Against real LR', name)}, t = {level.key('t').number:.3g}{held_out}"
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
        tables.append(Table(at_level("Against HR", name), columns, rows))
    return tables


def _spread(of: Found) -> str:
    mean, std = of.key("mean").number, of.key("std").number
    digits = 2 if abs(mean) >= 5 else 4
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def histograms_of(found: Found) -> list[Chart]:
    """PSNR of generated to real LR of each scene, a histogram a level."""
    by_level: dict[str, list[float]] = {}
    for scene in _scenes(found):
        for name, psnr in scene.key("psnr").items():
            by_level.setdefault(name, []).append(psnr.number)
    return [
        histogram(at_level("Generated to real LR", name), "PSNR, dB", values, "scenes", WITHOUT)
        for name, values in list(by_level.items())[:12]
        if len(values) > 1
    ]


def _scenes(found: Found) -> list[Found]:
    """Of figures that were made before scenes were kept apart, none."""
    return found.key("by_scene").each() if found.has("by_scene") else []


def show(found: Found, folder: Path, page: Page, album: Album) -> None:
    """The crops and the page of pictures that `evaluate` left beside its figures."""
    scenes = [
        (float(np.mean([of.number for _, of in scene.key("psnr").items()])), i, scene)
        for i, scene in enumerate(_scenes(found))
        if scene.key("crop").each() and scene.key("psnr").value
    ]
    scenes.sort(key=lambda one: one[:2])
    # No more than are written: a stranger may say that every scene has pictures.
    ends = scenes if len(scenes) <= 2 * ENDS else [*scenes[:ENDS], *scenes[-ENDS:]]
    entries = [_entry(scene, mean, i, folder) for mean, i, scene in ends]
    there = [one for one in entries if one is not None]
    album.add_all(there, FARTHEST, NEAREST)
    title = "Held-out scenes: HR, real LR, and each way to make LR"
    if files.is_file(folder / "pictures.png"):
        said = f"{title}, beside each other under their names."
        album.add_sheet(title, said, folder / "pictures.png")
    page.scenes, page.sheets = album.scenes, album.sheets
    if album.sheets:
        page.pictures_said = "Drawn by `degflow-pipe evaluate`: crops of held-out scenes."
    if there:
        page.pictures_said = (
            f"Real LR beside LR generated of the same HR, of {len(there)} of {len(_scenes(found))} "
            f"held-out scenes: those farthest from real LR by PSNR and those nearest to it. Crops "
            f"of where HR shows most detail, coded without loss; a figure below a picture is of "
            f"the crop."
        )


def _entry(scene: Found, mean: float, number: int, folder: Path) -> Entry | None:
    """The pictures of a scene; None where there are none. mean: PSNR over its levels, dB."""
    name, psnr = scene.key("scene").text, dict(scene.key("psnr").items())

    def read(level: str, of: str) -> np.ndarray | None:
        path = path_of(folder, number, name, level, of)
        return read_photo(path, SIDE**2).pixels if files.is_file(path) else None

    hr = read("", HR)
    if hr is None:
        return None
    pictures: list[Labelled] = [("HR", "", hr)]
    for level in list(psnr)[:LEVELS]:
        lrs = {of: lr for of in LRS if (lr := read(level, of)) is not None and lr.shape == hr.shape}
        if "real" in lrs:
            pictures += lrs_of(level, lrs["real"], lrs)
    if len(pictures) < 2:
        return None
    return Entry(name, f"generated without noise {mean:.2f} dB to real LR", pictures, mean, 1)
