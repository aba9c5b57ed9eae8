"""align: shots of scenes at several zooms -> aligned HR and LR, and what misalignment is left.

A unit of work is a scene, twice: first it is measured, so that one list of levels serves all
scenes, then its pairs are made. Each has a line in the ledger; the recipe, the figures and the
pages are written last.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import defaults, files, folders, json_files
from degflow_pipe.alignment.results import AlignSummary
from degflow_pipe.engines.engine import Engine, check_workers
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.formats.said import number_of
from degflow_pipe.formats.text import printable
from degflow_pipe.ledger import Ledger, key_of
from degflow_pipe.pictures.photos import check_max_pixels
from degflow_pipe.pictures.shots import shot_bytes
from degflow_pipe.places import text_of
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.stages.align_levels import levels_of, recipe_text, validation_of
from degflow_pipe.stages.align_pages import PAGES, summary_page
from degflow_pipe.stages.align_scene import AlignJob, AlignSettings, SceneWork
from degflow_pipe.stages.measuring import VERSION, Measured, MeasureJob
from degflow_pipe.stages.scenes import PAUSE, Scene, find_scenes

KIND = "set of aligned pairs"
"""Of the folder, for `folders.one_writer`."""
DONE = ".degflow"
FIGURES, RECIPE, PAGE = "align.json", "train.yaml", "index.html"
MEASURED = "measured:"
"""Before the keys of what was measured, in the ledger."""
COPIES = 6
"""Times the memory of decoding its shots that aligning a scene takes."""
AGAIN = "say `overwrite`, and what it no longer tells of is made again"
_PICTURE = re.compile(r"(.+)_(?:hr|x[0-9]+\.[0-9]+)\.png")
"""What the recipe takes for a picture of a pair."""


def align(
    shots: Path,
    out: Path,
    settings: AlignSettings | None = None,
    *,
    pause: float = PAUSE,
    overwrite: bool = False,
    max_pixels: int = defaults.MAX_PIXELS,
    workers: int = 0,
    progress: Progress | None = None,
    engine: Engine = run_in_threads,
) -> AlignSummary:
    """Write each scene of a folder as aligned pairs: `SCENE_hr.png`, `SCENE_x2.9.png`, or several
    parts `SCENE-01_hr.png`, all as they are in HR; LR are read once, and have HR's light.

    shots, pause: see `find_scenes`. HR is the shot that shows most detail. out: a new or empty
    folder, or one that this command made, which is completed; with `train.yaml` that `train` takes,
    `align.json` with all figures, `index.html` and a page a scene. overwrite: measure anew, and
    make scenes again whose shots or settings are others now. workers: scenes at once, 0 for one a
    core.

    A scene that cannot be used is told of with the reason. Raises UsageError, FileError where the
    folder is not ours or holds other pairs, PhotoError where no scene is left.
    """
    settings = settings or AlignSettings()
    workers = check_workers(workers, engine)
    check_max_pixels(max_pixels)
    if not 0 < pause < float("inf"):
        raise UsageError(f"`pause` must be above 0 seconds, got {pause}")
    if files.real(out) == files.real(shots) or files.real(out) in files.real(shots).parents:
        raise UsageError(f"the shots lie in the folder to write to, {out}: give another `out`")
    summary = AlignSummary(printable(str(out)))
    scenes = find_scenes(shots, pause, summary.left_out, out)
    with folders.one_writer(out, KIND), _ledger(out, overwrite) as ledger:
        job = MeasureJob(max_pixels, settings.target)
        measured = _measured(scenes, job, ledger, overwrite, workers, engine, progress)
        levels, assigned = levels_of(measured, summary)
        named = [scene for scene in scenes if scene.name in assigned]
        works = [SceneWork(s, measured[s.name], assigned[s.name]) for s in named]
        wanted = {work.scene.name: _made_of(work, settings) for work in works}
        known = _known(out, ledger, wanted, overwrite)
        _clear(out, ledger, known, {scene.name for scene in scenes})
        making = AlignJob(text_of(out), settings, max_pixels)
        done = _aligned(works, wanted, known, making, ledger, workers, engine, progress, summary)
        if not done:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(summary.failed.items())[:3])
            raise PhotoError(f"no pair came of {number_of(len(scenes), 'scenes')}: {reasons}")
        _finish(out, done, levels, settings, summary)
    return summary


def _ledger(out: Path, overwrite: bool) -> Ledger:
    ledger = Ledger(out / DONE, numbers=False)
    if ledger.damage and not overwrite:
        raise FileError(f"{ledger.damage[0]}: {AGAIN}")
    return ledger


def _record(ledger: Ledger, key: str) -> dict[str, Any]:
    """What is known of a key; nothing where that is none, so that it is made again."""
    try:
        return ledger.record(key)
    except (FileError, KeyError):
        return {}


def _measure_key(name: str) -> str:
    return f"{MEASURED}{key_of(name)}"[:200]


def _measured(
    scenes: list[Scene],
    job: MeasureJob,
    ledger: Ledger,
    overwrite: bool,
    workers: int,
    engine: Engine,
    progress: Progress | None,
) -> dict[str, Measured]:
    kept = [
        {} if overwrite else _record(ledger, _measure_key(scene.name)).get("measured", {})
        for scene in scenes
    ]
    units = list(zip(scenes, kept, strict=True))
    found: dict[str, Measured] = {}
    with (progress or Silent()).task("measure", len(scenes), counts="scenes") as task:
        for (_, before), one in zip(
            units,
            engine(job, units, workers, lambda unit: _bytes(unit[0], job.max_pixels)),
            strict=True,
        ):
            found[one.name] = one
            if one.problem or one.unread:
                ledger.remove(_measure_key(one.name))
            elif not one.is_known(before):
                ledger.write(_measure_key(one.name), {"measured": one.to_dict()})
                ledger.sync()
            if one.problem:
                task.note(f"{one.name}: {one.problem}")
            task.advance()
    return found


def _bytes(scene: Scene, max_pixels: int) -> int:
    return COPIES * max(shot_bytes(path, max_pixels) for path in scene.shots)


def _made_of(work: SceneWork, settings: AlignSettings) -> dict[str, Any]:
    """What a scene's pairs and page depend on."""
    used = {work.measured.hr: "hr", **work.levels}
    digests = {name: work.measured.digests[name] for name in used}
    made = {"version": VERSION, "levels": used, "sha256": digests, **asdict(settings)}
    return {**made, "notes": list(work.measured.notes)}


def _known(
    out: Path, ledger: Ledger, wanted: dict[str, dict[str, Any]], overwrite: bool
) -> dict[str, dict[str, Any]]:
    """The records of scenes whose pairs are wanted as they are and whole, by name.

    Raises FileError for other pairs that there are, unless they may be made again.
    """
    known: dict[str, dict[str, Any]] = {}
    for key in ledger.every_key():
        record = {} if key.startswith(MEASURED) else _record(ledger, key)
        if not record:
            continue
        name, sums = str(record.get("name")), record.get("files", {})
        if name in wanted and wanted[name] == record.get("made"):
            if folders.are_whole(sums, [out / path for path in sums], out):
                known[name] = record
        elif not overwrite:
            raise FileError(
                f"{out} holds pairs of {name} by other shots, levels or settings: give another "
                f"folder as `out`, or `overwrite`"
            )
    return known


def _clear(out: Path, ledger: Ledger, known: dict[str, dict[str, Any]], scenes: set[str]) -> None:
    """Take away what is of no pair that is known: what an interrupted run left, and pairs of scenes
    that are made again or are gone, would be trained on too. scenes: names that there are.

    Raises FileError for a picture of another one that would be trained on, before anything goes.
    """
    names = scenes | _scenes_told_of(ledger)
    pictures = [found for found in files.names(out, ".png") if _PICTURE.fullmatch(found)]
    for found in pictures:
        if _scene_of(found, names) is None:
            raise FileError(
                f"{out / found} is of no scene of this folder, and would be trained on by its "
                f"name: move it elsewhere"
            )
    kept = {path for record in known.values() for path in record["files"]}
    left = [out / found for found in pictures if found not in kept]
    left += [
        out / PAGES / page
        for page in files.names(out / PAGES, ".html")
        if page.removesuffix(".html") in names - set(known)
    ]
    gone = [
        key
        for key in ledger.every_key()
        if not key.startswith(MEASURED) and _record(ledger, key).get("name") not in known
    ]
    # They tell of all pairs, so that of pairs that change nothing tells until all are there.
    for path in [*(out / mark for mark in (RECIPE, FIGURES, PAGE)), *left]:
        files.remove(path)
    for key in gone:
        ledger.remove(key)
    ledger.sync()


def _scenes_told_of(ledger: Ledger) -> set[str]:
    """Names of scenes that were measured or aligned here once."""
    records = [_record(ledger, key) for key in ledger.every_key()]
    told = {record.get("measured", record).get("name") for record in records}
    return {name for name in told if isinstance(name, str)}


def _scene_of(picture: str, names: set[str]) -> str | None:
    """Which of these scenes a picture is of, by its name."""
    match = _PICTURE.fullmatch(picture)
    assert match is not None
    whole, part = match[1], re.sub(r"-[0-9]{2}$", "", match[1])
    return next((name for name in (whole, part) if name in names), None)


def _aligned(
    works: list[SceneWork],
    wanted: dict[str, dict[str, Any]],
    known: dict[str, dict[str, Any]],
    job: AlignJob,
    ledger: Ledger,
    workers: int,
    engine: Engine,
    progress: Progress | None,
    summary: AlignSummary,
) -> dict[str, dict[str, Any]]:
    """The figures of each scene that has pairs, by name."""
    done = {name: record["scene"] for name, record in known.items()}
    summary.known = len(done)
    left = [work for work in works if work.scene.name not in done]
    with (progress or Silent()).task("align", len(works), len(done), counts="pairs") as task:
        cost = _cost(job.max_pixels)
        for one in engine(job, left, workers, cost):
            if one.found is None:
                summary.failed[one.name] = one.problem
                task.note(f"{one.name}: {one.problem}")
            else:
                record = {"name": one.name, "made": wanted[one.name], "files": one.sums}
                ledger.write(key_of(one.name), {**record, "scene": one.found})
                ledger.sync()
                done[one.name] = one.found
                summary.made += 1
            task.advance()
    return dict(sorted(done.items()))


def _cost(max_pixels: int) -> Callable[[SceneWork], int]:
    return lambda work: _bytes(work.scene, max_pixels)


def _finish(
    out: Path,
    done: dict[str, dict[str, Any]],
    levels: dict[str, float],
    settings: AlignSettings,
    summary: AlignSummary,
) -> None:
    """The recipe, the figures and the page of all scenes."""
    used = [
        level
        for level in levels
        if any(level == one["level"] for s in done.values() for one in s["levels"])
    ]
    summary.levels = {level: levels[level] for level in used}
    summary.knots = [level for level in summary.knots if level in used]
    names = {scene: list(found["pairs"]) for scene, found in done.items()}
    summary.validate, note = validation_of(names)
    if note:
        summary.notes.append(note)
    ones = [one for found in done.values() for one in found["levels"]]
    shifts = [one["shift_after"] for one in ones if one["shift_after"]]
    if shifts:
        summary.shift_after = [round(float(v), 4) for v in np.median(np.array(shifts), axis=0)]
    summary.light_left = round(float(np.median([np.mean(one["light"]["left"]) for one in ones])), 3)
    summary.pairs = sum(map(len, names.values()))
    summary.kept = round(float(np.mean([found["kept"] for found in done.values()])), 4)
    area = [found["kept"] * found["size"][0] * found["size"][1] for found in done.values()]
    summary.megapixels = round(sum(area) / 1e6, 3)
    summary.recipe, summary.page = printable(str(out / RECIPE)), printable(str(out / PAGE))
    summary.failed = dict(sorted(summary.failed.items()))
    files.write_text(out / RECIPE, recipe_text(summary))
    kept = {"made", "known", "out", "recipe", "page"}
    figures = {key: value for key, value in summary.to_dict().items() if key not in kept}
    json_files.write(
        out / FIGURES, {**figures, "settings": asdict(settings), "scenes": list(done.values())}
    )
    files.write_text(out / PAGE, summary_page(summary, list(done.values())))
