"""The report of what `align` made: pairs of shots on one grid, and what misalignment is left."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degflow_pipe import files
from degflow_pipe.checkpoint.verdict import LIMITS
from degflow_pipe.formats.said import Skips, noun_of, skips_of
from degflow_pipe.pictures.arrays import telling_crop
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.reports.charts import histogram
from degflow_pipe.reports.described import NAMED, REASONS, check_of, command, spread, told
from degflow_pipe.reports.drawn import PIXELS, SCENES, SIDE, Album, Entry, Labelled, decibels
from degflow_pipe.reports.page import (
    ROWS,
    Chart,
    Fact,
    Judgement,
    Number,
    Page,
    State,
    Table,
)
from degflow_pipe.reports.parsed import Found, read_result
from degflow_pipe.stages.align_scene import AlignSettings

FIGURES, RECIPE = "align.json", "train.yaml"
RECIPE_BYTES = 100_000
USUAL = AlignSettings()
SPOKEN = {"True": "yes", "False": "no"}
NAME = re.compile(r"[A-Za-z0-9_+-]{1,200}")
LEVEL = re.compile(r"x[0-9]+\.[0-9]+")


@dataclass(frozen=True)
class Scene:
    """A level of a scene. off: median and 95 % of what tiles lie off after, pixels; None where
    nothing tells. pairs: names of its pictures.
    """

    name: str
    level: str
    off: tuple[float, float] | None
    of: Found
    pairs: list[str]


def of_pairs(folder: Path) -> Page:
    """Raises FileError for damaged figures, PhotoError for a picture that cannot be read."""
    found = read_result(folder / FIGURES)
    scenes = _scenes(found)
    levels = {name: of.number for name, of in found.key("levels").items()}
    page = Page(
        "Aligned pairs of degflow-pipe",
        folder.name or files.real(folder).name,
        _lead(found, levels),
    )
    pairs, count = found.key("pairs").number, len(found.key("scenes").each())
    page.numbers = [
        Number(f"{pairs:,.0f}", noun_of(round(pairs), "pairs")),
        Number(f"{count:,}", noun_of(count, "scenes")),
        Number(f"{found.key('megapixels').number:.1f} MP", "of HR in pairs"),
        Number(f"{100 * found.key('kept').number:.0f} %", "of HR is used"),
    ]
    page.judgements = [judgement_of(found)]
    album = Album()
    _show(folder, scenes, album)
    page.scenes = album.scenes
    page.pictures_said = (
        "HR and LR on HR's grid, coded without loss, where HR shows most detail: the scene that "
        "lies farthest off and the one that lies nearest, then others, chosen evenly."
    )
    page.histograms = _histograms(scenes)
    page.tables = [_table(scenes)]
    page.facts = _facts(found, levels)
    page.skips = skips_of(
        {name: why.text for name, why in found.key("failed").items()}, NAMED, REASONS
    )
    endings = [f"{of.number:.0f} {name}" for name, of in found.key("left_out").items()]
    if endings:
        page.skips.append(Skips("files that are no shots", len(endings), endings[:20]))
    page.commands = [_command(found, page.title), command("camera", page.title, out="my-camera")]
    page.commands_said = "SHOTS is the folder of the shots; the second command trains on the pairs."
    return page


def _lead(found: Found, levels: dict[str, float]) -> str:
    said = ", ".join(f"{name} (scale {s:.3g})" for name, s in list(levels.items())[:12])
    return f"Shots of scenes at several zooms, brought onto the grid of the closest one: {said}."


def judgement_of(found: Found) -> Judgement:
    """By the limits that a checkpoint trained on them would be held to."""
    off = found.key("shift_after").numbers
    checks = [
        check_of(LIMITS["scenes"].finding(len(found.key("scenes").each()))),
        check_of(LIMITS["alignment"].finding(off[0] if off else None, measured=True)),
    ]
    order: tuple[tuple[State, str], ...] = (
        ("bad", "Not fit to train on"),
        ("care", "Usable with care"),
        ("unknown", "Not judged"),
        ("good", "Good"),
    )
    states = {check.state for check in checks}
    state, word = next(one for one in order if one[0] in states)
    notes = " ".join(f"{told(note).rstrip('.')}." for note in found.key("notes").texts[:20])
    return Judgement("The pairs, as training data", state, word, notes, checks)


def _scenes(found: Found) -> list[Scene]:
    made = []
    for scene in found.key("scenes").each():
        pairs = [name for name, _ in scene.key("pairs").items() if NAME.fullmatch(name)]
        for level in scene.key("levels").each():
            off = level.key("shift_after").numbers
            told = (off[0], off[1]) if len(off) == 2 else None
            name = level.key("level").text
            made.append(Scene(scene.key("name").text, name, told, level, pairs))
    return made


def _show(folder: Path, scenes: list[Scene], album: Album) -> None:
    """The nearest and the farthest by the 95 % of tiles, and others evenly."""
    by_off = sorted(
        (s for s in scenes if s.off is not None), key=lambda s: s.off[1] if s.off else 0
    )
    chosen = [*by_off[:1], *by_off[-1:], *spread(scenes, SCENES)]
    # A pair of every scene; then, while there are few, a second one of each, and so on.
    pairs = {(i, pair): scene for scene in chosen for i, pair in enumerate(scene.pairs)}
    found: list[Entry] = []
    for (i, pair), scene in sorted(pairs.items(), key=lambda one: one[0][0]):
        levels = [one.level for one in scenes if one.name == scene.name]
        pictures = _pictures(folder, pair, levels) if len(found) < SCENES else []
        if len(pictures) < 2:
            continue
        off, rank = "", None
        if scene.off is not None:
            off = f"off {scene.off[0]:.2f} px, 95 % {scene.off[1]:.2f} px"
            rank = None if i else -scene.off[1]
        found.append(Entry(pair, off, pictures, rank))
    album.add_all(found, "farthest off of all", "nearest of all")


def _pictures(folder: Path, pair: str, levels: list[str]) -> list[Labelled]:
    """HR of a pair and all levels of it that there are; nothing where it is not there."""
    hr_path = folder / f"{pair}_hr.png"
    if not files.is_file(hr_path):
        return []
    hr = read_photo(hr_path, PIXELS).pixels
    rows, columns = telling_crop(hr, SIDE)
    place = np.ascontiguousarray(hr[rows, columns])
    pictures: list[Labelled] = [("HR", "", place)]
    for level in (level for level in levels if LEVEL.fullmatch(level)):
        path = folder / f"{pair}_{level}.png"
        if not files.is_file(path):
            continue
        lr = read_photo(path, PIXELS).pixels
        if lr.shape == hr.shape:
            crop = np.ascontiguousarray(lr[rows, columns])
            pictures.append((f"real LR, {level}", decibels(place, crop), crop))
    return pictures


def _histograms(scenes: list[Scene]) -> list[Chart]:
    if len(scenes) < 2:
        return []  # the table has it
    made = []
    if off := [scene.off for scene in scenes if scene.off is not None]:
        made = [
            histogram("Misalignment, median", "pixels of HR", [a for a, _ in off], "levels"),
            histogram("Misalignment, 95 % of tiles", "pixels of HR", [b for _, b in off], "levels"),
        ]
    for title, across, key in (
        ("Share of HR that is clean", "share", "kept"),
        ("Blur of LR", "sigma, pixels of HR", "sigma"),
    ):
        values = [scene.of.key(key).number for scene in scenes]
        made.append(histogram(title, across, values, "levels"))
    return made


def _table(scenes: list[Scene]) -> Table:
    ordered = sorted(scenes, key=lambda scene: -(scene.off[1] if scene.off else 0))
    rows = [
        [
            scene.name,
            scene.level,
            f"{scene.of.key('scale').number:.3f}",
            f"{scene.of.key('agreeing').number:.0f} of {scene.of.key('matches').number:.0f}",
            _off(scene.of.key("shift_before").numbers),
            _off(scene.of.key("shift_after").numbers),
            f"{scene.of.key('sigma').number:.2f}",
            f"{100 * scene.of.key('kept').number:.0f} %",
            _why(scene.of.key("reasons")),
        ]
        for scene in ordered[:ROWS]
    ]
    columns = ["scene", "level", "scale", "matches", "off before, px", "off after, px"]
    columns += ["blur, px", "clean", "what is left out"]
    said = "Off: median and 95 % of tiles, in pixels of HR. Those that lie farthest off come first."
    return Table("Scenes", columns, rows, said, frozenset({0, 1, 8}), len(scenes))


def _off(values: list[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in values) or "-"


def _why(reasons: Found) -> str:
    found = sorted(((of.number, name) for name, of in reasons.items()), reverse=True)
    return ", ".join(f"{100 * share:.0f} % {name}" for share, name in found if share >= 0.005)


def _facts(found: Found, levels: dict[str, float]) -> list[Fact]:
    settings = [
        f"{name.replace('_', ' ')} {SPOKEN.get(str(of.value), of.value)}"
        for name, of in found.key("settings").items()
    ]
    return [
        Fact("levels that all scenes have", ", ".join(found.key("knots").texts) or "none"),
        Fact("set apart to validate", ", ".join(found.key("validate").texts[:200]) or "none"),
        Fact("light left, grey levels", f"{found.key('light_left').number:.2f}"),
        Fact("licence of the pictures", "that of the shots"),
        Fact("settings", ", ".join(settings)[:1000]),
    ]


def _command(found: Found, out: str) -> str:
    settings = found.key("settings")
    options: dict[str, object] = {}
    for name in ("max_shift", "least", "most"):
        if settings.has(name) and settings.key(name).number != getattr(USUAL, name):
            options[name] = f"{settings.key(name).number:g}"
    if settings.has("target") and settings.key("target").flag:
        options["target"] = True
    return command("align", "SHOTS", **options, out=out)
