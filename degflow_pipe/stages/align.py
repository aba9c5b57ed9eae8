"""align: shots of scenes at several zooms -> aligned HR and LR, and what misalignment is left.

A unit of work is a scene, twice: first it is measured, so that one list of levels serves all
scenes, then its pairs are made. Each has a line in the ledger; the recipe, the figures and the
pages are written last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import defaults, files, folders
from degflow_pipe.alignment.results import AlignSummary
from degflow_pipe.engines.engine import Engine, check_workers
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.ledger import Ledger, key_of
from degflow_pipe.pictures.photos import check_max_pixels
from degflow_pipe.pictures.shots import shot_bytes
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.stages.align_levels import levels_of, recipe_text, validation_of
from degflow_pipe.stages.align_pages import summary_page
from degflow_pipe.stages.align_scene import AlignJob, AlignSettings, SceneWork
from degflow_pipe.stages.measuring import Measured, MeasureJob
from degflow_pipe.stages.scenes import PAUSE, Scene, find_scenes

KIND = "set of aligned pairs"
"""Of the folder, for `folders.one_writer`."""
DONE = ".degflow"
FIGURES, RECIPE, PAGE = "align.json", "train.yaml", "index.html"
VERSION = 1
"""Of how pairs are made: another one makes them again."""
COPIES = 6
"""Times the memory of decoding its shots that aligning a scene takes."""
AGAIN = "say `overwrite`, and what it no longer tells of is made again"


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
    `align.json` with all figures, `index.html` and a page a scene. overwrite: make scenes again
    whose shots or settings are others now. workers: scenes at once, 0 for one a core.

    A scene that cannot be used is told of with the reason. Raises UsageError, FileError where the
    folder is not ours or holds other pairs, PhotoError where no scene is left.
    """
    settings = settings or AlignSettings()
    workers = check_workers(workers)
    check_max_pixels(max_pixels)
    if not 0 < pause < float("inf"):
        raise UsageError(f"`pause` must be above 0 seconds, got {pause}")
    if files.real(out) == files.real(shots) or files.real(out) in files.real(shots).parents:
        raise UsageError(f"the shots lie in the folder to write to, {out}: give another `out`")
    summary = AlignSummary(printable(str(out)))
    scenes = [
        scene
        for scene in find_scenes(shots, pause, summary.left_out)
        if not any(files.real(p).is_relative_to(files.real(out)) for p in scene.shots)
    ]
    with folders.one_writer(out, KIND), _ledger(out, overwrite) as ledger:
        job = MeasureJob(max_pixels, settings.target)
        measured = _measured(scenes, job, ledger, workers, engine, progress)
        levels, assigned = levels_of(measured, summary)
        named = [scene for scene in scenes if scene.name in assigned]
        works = [SceneWork(s, measured[s.name], assigned[s.name]) for s in named]
        _clear(out, ledger, works, settings, overwrite, summary)
        making = AlignJob(str(out), settings, max_pixels)
        done = _aligned(works, making, ledger, workers, engine, progress, summary)
        if not done:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(summary.failed.items())[:3])
            raise PhotoError(f"no pair came of {len(scenes)} scenes: {reasons}")
        _finish(out, done, levels, measured, settings, summary)
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
    return f"measured:{key_of(name)}"[:200]


def _measured(
    scenes: list[Scene],
    job: MeasureJob,
    ledger: Ledger,
    workers: int,
    engine: Engine,
    progress: Progress | None,
) -> dict[str, Measured]:
    units = [
        (scene, _record(ledger, _measure_key(scene.name)).get("measured", {})) for scene in scenes
    ]
    found: dict[str, Measured] = {}
    with (progress or Silent()).task("measure", len(scenes)) as task:
        for (_, before), one in zip(
            units,
            engine(job, units, workers, lambda unit: _bytes(unit[0], job.max_pixels)),
            strict=True,
        ):
            found[one.name] = one
            if not one.problem and not _is_known(before, one):
                ledger.write(_measure_key(one.name), {"measured": one.to_dict()})
                ledger.sync()
            if one.problem:
                task.note(f"{one.name}: {one.problem}")
            task.advance()
    return found


def _is_known(before: dict[str, Any], one: Measured) -> bool:
    return (before.get("digests"), before.get("by_target")) == (one.digests, one.by_target)


def _bytes(scene: Scene, max_pixels: int) -> int:
    return COPIES * max(shot_bytes(path, max_pixels) for path in scene.shots)


def _made_of(work: SceneWork, settings: AlignSettings) -> dict[str, Any]:
    """What a scene's pairs depend on."""
    used = {work.measured.hr: "hr", **work.levels}
    digests = {name: work.measured.digests[name] for name in used}
    return {"version": VERSION, "levels": used, "sha256": digests, **asdict(settings)}


def _clear(
    out: Path,
    ledger: Ledger,
    works: list[SceneWork],
    settings: AlignSettings,
    overwrite: bool,
    summary: AlignSummary,
) -> None:
    """Take away pictures that are not of pairs that are whole and wanted: what an interrupted run
    left, and pairs of scenes that are made again or are gone, would be trained on too.
    """
    wanted = {work.scene.name: _made_of(work, settings) for work in works}
    kept: set[str] = set()
    for key in ledger.every_key():
        if key.startswith("measured:"):
            continue
        record = _record(ledger, key)
        made, name = record.get("made"), record.get("name")
        if wanted.get(str(name)) == made:
            kept |= set(record.get("files", {}))
            continue
        if not overwrite:
            raise FileError(
                f"{out} holds pairs of {name} by other shots, levels or settings: give another "
                f"folder as `out`, or `overwrite`"
            )
        ledger.remove(key)
    ledger.sync()
    for found in files.names(out, ".png"):
        if found not in kept:
            files.remove(out / found)


def _aligned(
    works: list[SceneWork],
    job: AlignJob,
    ledger: Ledger,
    workers: int,
    engine: Engine,
    progress: Progress | None,
    summary: AlignSummary,
) -> dict[str, dict[str, Any]]:
    """The figures of each scene that has pairs, by name."""
    out, done, left = Path(job.out), {}, []
    for work in works:
        record = _record(ledger, key_of(work.scene.name))
        sums = record.get("files", {})
        if record.get("made") == _made_of(work, job.settings) and folders.are_whole(
            sums, [out / path for path in sums], out
        ):
            done[work.scene.name] = record["scene"]
            summary.known += 1
        else:
            left.append(work)
    made = {work.scene.name: _made_of(work, job.settings) for work in left}
    with (progress or Silent()).task("align", len(works), len(done)) as task:
        cost = _cost(job.max_pixels)
        for one in engine(job, left, workers, cost):
            if one.found is None:
                summary.failed[one.name] = one.problem
                task.note(f"{one.name}: {one.problem}")
            else:
                record = {"name": one.name, "made": made[one.name], "files": one.sums}
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
    measured: dict[str, Measured],
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
    files.write_json(
        out / FIGURES, {**figures, "settings": asdict(settings), "scenes": list(done.values())}
    )
    files.write_text(out / PAGE, summary_page(summary, list(done.values())))
