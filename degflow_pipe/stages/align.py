"""align: shots of scenes at several zooms -> aligned HR and LR, and what misalignment is left.

A unit of work is a scene, twice: first it is measured, so that one list of levels serves all
scenes, then its pairs are made. Each has a line in the ledger; the recipe, the figures and the
pages are written last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import defaults, files, folders
from degflow_pipe.alignment.align import Aligned, onto
from degflow_pipe.alignment.coarse import NoMatch
from degflow_pipe.alignment.fine import NoFit
from degflow_pipe.alignment.left import REASONS, rectangles
from degflow_pipe.alignment.results import AlignSummary, LevelAligned, SceneAligned
from degflow_pipe.engines.engine import Engine, check_workers
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.ledger import Ledger, key_of
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.photos import check_max_pixels, decoded_bytes
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.stages.align_levels import levels_of, recipe_text, validation_of
from degflow_pipe.stages.align_pages import scene_page, summary_page
from degflow_pipe.stages.measuring import Measured, MeasureJob, loaded, shot_named
from degflow_pipe.stages.scenes import PAUSE, Scene, find_scenes

KIND = "set of aligned pairs"
"""Of the folder, for `folders.one_writer`."""
DONE = ".degflow"
FIGURES, RECIPE, PAGE, PAGES = "align.json", "train.yaml", "index.html", "pages"
VERSION = 1
"""Of how pairs are made: another one makes them again."""
COPIES = 6
"""Times the memory of decoding its shots that aligning a scene takes."""
AGAIN = "say `overwrite`, and what it no longer tells of is made again"


@dataclass(frozen=True)
class AlignSettings:
    """What pairs depend on beside their shots. max_shift: pixels of HR that a tile may lie off
    after all; least: pixels of a pair's shorter side; most: pairs of one scene.
    """

    max_shift: float = 0.5
    least: int = 192
    most: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.max_shift <= 10:
            raise UsageError(f"`max_shift` must be above 0 and up to 10, got {self.max_shift}")
        if self.least < 64:
            raise UsageError(f"`least` must be 64 pixels or more, got {self.least}")
        if not 1 <= self.most <= 99:
            raise UsageError(f"`most` must be 1 to 99, got {self.most}")


@dataclass(frozen=True)
class _Work:
    """A scene to align: what was measured, and the level of each shot that is used."""

    scene: Scene
    measured: Measured
    levels: dict[str, str]


@dataclass(frozen=True)
class _Made:
    name: str
    found: dict[str, Any] | None = None
    sums: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class AlignJob:
    """Aligns scenes and writes their pairs and pages: see `engines.job.Job`."""

    out: str
    settings: AlignSettings
    max_pixels: int

    @contextmanager
    def open(self) -> Iterator[Callable[[_Work], _Made]]:
        yield self._made

    def _made(self, work: _Work) -> _Made:
        name = work.scene.name
        try:
            return self._aligned(work)
        except (PhotoError, NoFit, NoMatch) as error:
            return _Made(name, problem=printable(str(error)))

    def _aligned(self, work: _Work) -> _Made:
        out, name, found = Path(self.out), work.scene.name, work.measured
        assert found.shots is not None
        hr = shot_named(work.scene, found.hr, self.max_pixels).pixels
        clean = np.ones([side // 24 for side in hr.shape[:2]], bool)
        aligned: dict[str, Aligned] = {}
        for shot, level in work.levels.items():
            lr = shot_named(work.scene, shot, self.max_pixels).pixels
            try:
                one = onto(hr, lr, loaded(found.shots[shot]["coarse"]), self.settings.max_shift)
            except NoFit as error:
                raise PhotoError(f"{shot}: {error}") from error
            aligned[level] = one
            clean &= one.reasons == 0
        rects = rectangles(clean, self.settings.least, self.settings.most)
        told = {
            level: _level(level, shot, found, aligned[level]) for shot, level in work.levels.items()
        }
        if not rects:
            shares = next(iter(told.values())).reasons
            why = ", ".join(f"{100 * v:.0f} % {k}" for k, v in shares.items() if v >= 0.005)
            raise PhotoError(
                f"no part of {self.settings.least} pixels on a side can be used ({why or 'small'}):"
                f" shoot it again from one place with nothing moving, or lower `least`"
            )
        names = [name] if len(rects) == 1 else [f"{name}-{i:02d}" for i in range(1, len(rects) + 1)]
        paths = []
        png = parse_format("png")
        for pair, (top, left, bottom, right) in zip(names, rects, strict=True):
            pictures = {"hr": hr[top:bottom, left:right]}
            pictures |= {k: a.picture(top, left, bottom, right) for k, a in aligned.items()}
            for level, picture in pictures.items():
                paths.append(out / f"{pair}_{level}.png")
                files.write_bytes(paths[-1], png.encode(np.ascontiguousarray(picture)))
        area = sum((b - t) * (r - le) for t, le, b, r in rects)
        scene = SceneAligned(
            name,
            found.hr,
            [hr.shape[1], hr.shape[0]],
            list(told.values()),
            {pair: list(rect) for pair, rect in zip(names, rects, strict=True)},
            round(area / (hr.shape[0] * hr.shape[1]), 4),
            list(found.notes),
        )
        paths.append(out / PAGES / f"{name}.html")
        files.write_text(paths[-1], scene_page(scene, hr, aligned))
        return _Made(name, asdict(scene), folders.sums_of(paths, out))


def _level(level: str, shot: str, found: Measured, one: Aligned) -> LevelAligned:
    assert found.shots is not None
    reasons = {
        name: round(float((one.reasons == number).mean()), 4)
        for number, name in enumerate(REASONS, 1)
    }

    def off(which: str) -> list[float]:
        tiles = one.before if which == "before" else one.after
        told = tiles.usable & (tiles.doubt < 0.25)
        if not told.any():
            return []
        apart = np.hypot(*tiles.shift[told].T)
        return [round(float(np.quantile(apart, q)), 4) for q in (0.5, 0.95)]

    return LevelAligned(
        level=level,
        shot=shot,
        scale=round(one.warp.scale, 4),
        exif_scale=found.shots[shot]["exif_scale"],
        rotation=round(one.warp.rotation, 3),
        matches=one.coarse.matches,
        agreeing=one.coarse.agreeing,
        rounds=one.rounds,
        sigma=round(one.sigma, 3),
        shift_before=off("before"),
        shift_after=off("after"),
        kept=round(float((one.reasons == 0).mean()), 4),
        reasons=reasons,
        light=one.light.to_dict(),
    )


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
        measured = _measured(scenes, ledger, max_pixels, workers, engine, progress)
        levels, assigned = levels_of(measured, summary)
        works = [_Work(s, measured[s.name], assigned[s.name]) for s in scenes if s.name in assigned]
        _clear(out, ledger, works, settings, overwrite, summary)
        job = AlignJob(str(out), settings, max_pixels)
        done = _aligned(works, job, ledger, workers, engine, progress, summary)
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
    ledger: Ledger,
    max_pixels: int,
    workers: int,
    engine: Engine,
    progress: Progress | None,
) -> dict[str, Measured]:
    units = [
        (scene, _record(ledger, _measure_key(scene.name)).get("measured", {})) for scene in scenes
    ]
    found: dict[str, Measured] = {}
    with (progress or Silent()).task("measure", len(scenes)) as task:
        job = MeasureJob(max_pixels)
        for (_, before), one in zip(
            units,
            engine(job, units, workers, lambda unit: _bytes(unit[0], max_pixels)),
            strict=True,
        ):
            found[one.name] = one
            if not one.problem and before.get("digests") != one.digests:
                ledger.write(_measure_key(one.name), {"measured": one.to_dict()})
                ledger.sync()
            if one.problem:
                task.note(f"{one.name}: {one.problem}")
            task.advance()
    return found


def _bytes(scene: Scene, max_pixels: int) -> int:
    return COPIES * max(decoded_bytes(path, max_pixels) for path in scene.shots)


def _made_of(work: _Work, settings: AlignSettings) -> dict[str, Any]:
    """What a scene's pairs depend on."""
    used = {work.measured.hr: "hr", **work.levels}
    digests = {name: work.measured.digests[name] for name in used}
    return {"version": VERSION, "levels": used, "sha256": digests, **asdict(settings)}


def _clear(
    out: Path,
    ledger: Ledger,
    works: list[_Work],
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
    works: list[_Work],
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


def _cost(max_pixels: int) -> Callable[[_Work], int]:
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
