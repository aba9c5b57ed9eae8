"""The report of a checkpoint, with what was found about it beside it, as `camera` leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import files, shipped
from degflow_pipe.checkpoint.folder import CheckpointInfo, read_info
from degflow_pipe.formats.said import duration_of, size_of
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.pictures.sheet import label_bar
from degflow_pipe.progress import Progress
from degflow_pipe.reports import beside, comparisons, evaluations
from degflow_pipe.reports.charts import curve
from degflow_pipe.reports.described import command, judgement_of, shipped_info
from degflow_pipe.reports.drawn import PIXELS, Album, Entry, decibels
from degflow_pipe.reports.page import Fact, Number, Page, Table
from degflow_pipe.reports.parsed import read_result

PREVIEW, EVALUATION, PROXY = "preview.png", "evaluation.json", "proxy/figures.json"
WEIGHTS, CARD = "model.safetensors", "README.md"
BAR = 24
"""Pixels of the labels above a strip of `preview`."""
STAGES = ("rae", "lfm", "joint")


def of_checkpoint(folder: Path, pairs: Path | None, device: str, progress: Progress) -> Page:
    """pairs: of real HR and LR, to show beside what it generates; None for none.

    Raises CheckpointError for a damaged one, FileError for damaged figures beside it, DataError for
    wrong pairs.
    """
    info = read_info(folder)
    names = ", ".join(str(level["name"]) for level in info.levels)
    lead = (
        f"A model of a camera's degradation, trained at {names}; level t = 1 is SR scale "
        f"{info.s_max:g}."
    )
    page = Page("Checkpoint of degflow-pipe", info.name, lead)
    page.judgements = [judgement_of(info.verdict, "The checkpoint")]
    page.numbers = _numbers(info)
    page.curves = _curves(info)
    page.facts = _facts(info)
    page.tables = [table for table in [_levels(info)] if table.rows]
    page.costs = [_training(info), _disk(folder)]
    page.commands, page.commands_said = _commands(info)
    album = Album()
    if files.is_file(folder / EVALUATION):
        found = read_result(folder / EVALUATION)
        page.curves += evaluations.curves_of(found)
        page.histograms += evaluations.histograms_of(found)
        if pairs is None:
            evaluations.show(found, folder, page, album)
        page.tables += evaluations.tables_of(found)
    if files.is_file(folder / PROXY):
        found = read_result(folder / PROXY)
        page.judgements += comparisons.judgements_of(found)
        page.tables += comparisons.tables_of(found)
    if pairs is not None:
        beside.add_real(folder, pairs, device, page, album, progress)
    if files.is_file(folder / PREVIEW):
        _preview(folder / PREVIEW, page, album)
    return page


def _numbers(info: CheckpointInfo) -> list[Number]:
    made = [Number(f"x{info.s_max:g}", "largest SR scale")]
    judged = info.judged
    if judged is not None and judged.training is not None:
        made.append(Number(f"{judged.training.scenes:,}", "scenes trained on"))
    if judged is not None and judged.held_out is not None:
        made.append(Number(f"{judged.held_out.scenes:,}", "scenes held out"))
        gain = f"{judged.held_out.above_blur:+.2f} dB"
        made.append(Number(gain, "LR with noise, over the best blur"))
    return made


def _curves(info: CheckpointInfo) -> list[Any]:
    """Which level is which scale, and how blurred each level is."""
    if info.calibration is None:
        return []
    s, t = (list(values) for values in zip(*info.calibration.scales, strict=True))
    straight = ([0.0, 1.0], [1.0, info.s_max])
    said = "As calibrated: the level whose blur is that of the scale."
    lines = {"calibrated": (t, s), "straight line": straight}
    made = [curve("Scale by level", "level t", "scale s", lines, said=said)]
    blurs = info.calibration.noise.blurs
    t, sigma = (list(values) for values in zip(*blurs, strict=True))
    said = "Of expected LR, over the training scenes."
    lines = {"blur": (t, sigma)}
    return [*made, curve("Blur by level", "level t", "sigma, pixels", lines, said=said)]


def _levels(info: CheckpointInfo) -> Table:
    rows = [
        [str(level["name"]), f"{level['t']:.3g}", f"{info.scale_of_t(level['t']):.3g}"]
        for level in info.levels
    ]
    return Table("Levels that it was trained at", ("level", "t", "scale s"), rows)


def _facts(info: CheckpointInfo) -> list[Fact]:
    model, calibration = info.model, info.calibration
    solver = model.solver
    held_out = info.training.get("validation_scenes")
    scenes = [str(one) for one in held_out[:100]] if isinstance(held_out, list) else []
    facts = [
        Fact("trained on", _text(info.data, "source")),
        Fact("licence of those pairs", _text(info.data, "licence")),
        Fact("held-out scenes", ", ".join(scenes)),
        Fact("id", info.id),
        Fact("autoencoder", ", ".join(f"{k} {v}" for k, v in vars(model.rae).items())),
        Fact("velocity", ", ".join(f"{k} {v}" for k, v in vars(model.velocity).items())),
        Fact("solver", ", ".join(f"{k} {v}" for k, v in vars(solver).items())),
        *_recipe(info),
        Fact("calibrated", "no" if calibration is None else "scales and noise"),
        Fact("SHA-256 of the weights", info.weights_sha256),
    ]
    return [fact for fact in facts if fact.said]


def _recipe(info: CheckpointInfo) -> list[Fact]:
    """What each stage was trained with."""
    made = []
    for stage in STAGES:
        settings = _mapping(_mapping(info.training, stage), "settings")
        said = ", ".join(
            f"{name} {value}" for name, value in settings.items() if value not in ("", None)
        )
        made.append(Fact(f"recipe of train {stage}", said[:2000]))
    return made


def _text(values: dict[str, Any], key: str) -> str:
    said = values.get(key)
    return said if isinstance(said, str) else ""


def _mapping(values: dict[str, Any], key: str) -> dict[str, Any]:
    held = values.get(key)
    return held if isinstance(held, dict) else {}


def _training(info: CheckpointInfo) -> Table:
    rows = []
    for stage in STAGES:
        part = info.training.get(stage)
        if not isinstance(part, dict):
            continue
        figures, settings = _mapping(part, "figures"), _mapping(part, "settings")
        seconds = figures.get("seconds")
        told = [
            f"{name.removeprefix('psnr_')} {value:.2f} dB"
            for name, value in figures.items()
            if name.startswith("psnr_") and isinstance(value, int | float)
        ]
        timed = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        spent = duration_of(float(seconds)) if timed and seconds is not None else "-"
        rows.append(
            [
                stage,
                str(settings.get("steps", "-"))[:20],
                spent,
                ", ".join(told)[:400],
            ]
        )
    columns = ("stage", "steps", "time", "PSNR to real pictures of held-out scenes")
    said = "" if any(row[2] != "-" for row in rows) else "Its times were not recorded."
    return Table("Training", columns, rows, said, frozenset({0, 3}))


def _disk(folder: Path) -> Table:
    there = [
        name for name in (WEIGHTS, "config.json", CARD, PREVIEW) if files.is_file(folder / name)
    ]
    rows = [[name, size_of(files.size(folder / name))] for name in there]
    return Table("Disk", ("file", "bytes"), rows)


def _commands(info: CheckpointInfo) -> tuple[list[str], str]:
    ours = shipped_info(info.id) is not None and f"train-{info.name}" in shipped.names("pipelines")
    recipe = f"train-{info.name}" if ours else "RECIPE"
    there = [stage for stage in STAGES if isinstance(info.training.get(stage), dict)]
    lines = [command("train", stage, recipe, data="PAIRS", out="OUT") for stage in there]
    lines += [command("calibrate", "OUT", "PAIRS"), command("evaluate", "OUT", "PAIRS")]
    said = (
        f"{'' if ours else 'RECIPE holds the settings named above, '}PAIRS is the folder of the "
        f"pairs that it was trained on; `degflow-pipe camera PAIRS` does all of it in one."
    )
    return lines, said


def _preview(path: Path, page: Page, album: Album) -> None:
    """The strip of `preview`, cut into its squares where it is one: HR first, then levels."""
    strip = read_photo(path, PIXELS).pixels
    side = strip.shape[0] - BAR
    count = strip.shape[1] // side if side > 0 else 0
    labels = (
        [_label(strip, i, side) for i in range(count)] if strip.shape[1] == count * side else []
    )
    if len(labels) < 2 or None in labels:
        album.add_sheet("Preview", "HR and levels beside each other, under their labels.", path)
        page.sheets = album.sheets
        return
    pictures = [
        (str(label), "", np.ascontiguousarray(strip[BAR:, i * side : (i + 1) * side]))
        for i, label in enumerate(labels)
    ]
    hr, *levels = pictures
    shown = [hr, *((name, decibels(hr[2], level), level) for name, _, level in levels)]
    album.add(Entry("Preview", "drawn by degflow-pipe preview", shown))
    page.scenes = album.scenes
    if not page.pictures_said:
        page.pictures_said = "HR, and LR generated at levels that rise; pixels as they were made."


def _label(strip: np.ndarray, number: int, side: int) -> str | None:
    """What is written above a square, known by drawing it again; None for none of these."""
    drawn = strip[:BAR, number * side : (number + 1) * side]
    asked = [f"t = {i / 20:g}" for i in range(21)] + [f"x{i / 10:g}" for i in range(10, 81)]
    return next((one for one in ("HR", *asked) if _is_drawn(one, drawn, side)), None)


def _is_drawn(label: str, drawn: np.ndarray, side: int) -> bool:
    return np.array_equal(label_bar([label], side), drawn)
