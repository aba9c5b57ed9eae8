"""One scene of `align`: LR brought onto HR's grid, and what can be used of it written as pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import files, folders
from degflow_pipe.alignment.align import Aligned, onto
from degflow_pipe.alignment.coarse import NoMatch
from degflow_pipe.alignment.fine import NoFit
from degflow_pipe.alignment.left import REASONS, rectangles
from degflow_pipe.alignment.results import LevelAligned, SceneAligned
from degflow_pipe.alignment.tiles import Tiles
from degflow_pipe.errors import PhotoError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.places import place_of
from degflow_pipe.stages.align_pages import PAGES, scene_page
from degflow_pipe.stages.measuring import Measured, loaded, shot_named
from degflow_pipe.stages.scenes import Scene

SHARP = 0.15
"""Pixels of the LR that HR is blurred by to be like it, below which HR is no sharper: of sharp
shots it is 0.5 to 0.7."""


@dataclass(frozen=True)
class AlignSettings:
    """What pairs depend on beside their shots. max_shift: pixels of HR that a tile may lie off
    after all; least: pixels of a pair's shorter side; most: pairs of one scene; target: whether the
    shots show sheets of `target`, whose markers give the first warp.
    """

    max_shift: float = 0.5
    least: int = 256
    most: int = 8
    target: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.max_shift <= 10:
            raise UsageError(f"`max_shift` must be above 0 and up to 10, got {self.max_shift}")
        if self.least < 64:
            raise UsageError(f"`least` must be 64 pixels or more, got {self.least}")
        if not 1 <= self.most <= 99:
            raise UsageError(f"`most` must be 1 to 99, got {self.most}")


@dataclass(frozen=True)
class SceneWork:
    """A scene to align: what was measured, and the level of each shot that is used."""

    scene: Scene
    measured: Measured
    levels: dict[str, str]


@dataclass(frozen=True)
class SceneMade:
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
    def open(self) -> Iterator[Callable[[SceneWork], SceneMade]]:
        yield self._made

    def _made(self, work: SceneWork) -> SceneMade:
        name = work.scene.name
        try:
            return self._aligned(work)
        except (PhotoError, NoFit, NoMatch) as error:
            return SceneMade(name, problem=printable(str(error)))

    def _aligned(self, work: SceneWork) -> SceneMade:
        found = work.measured
        hr = shot_named(work.scene, found.hr, self.max_pixels).pixels
        aligned = {level: self._onto(hr, work, shot) for shot, level in work.levels.items()}
        told = [_level(level, shot, found, aligned[level]) for shot, level in work.levels.items()]
        clean = np.logical_and.reduce([one.reasons == 0 for one in aligned.values()])
        rects = rectangles(clean, self.settings.least, self.settings.most)
        if not rects:
            raise PhotoError(self._unusable(told[0]))
        name = work.scene.name
        names = [name] if len(rects) == 1 else [f"{name}-{i:02d}" for i in range(1, len(rects) + 1)]
        pairs = dict(zip(names, rects, strict=True))
        area = sum((bottom - top) * (right - left) for top, left, bottom, right in rects)
        scene = SceneAligned(
            name,
            found.hr,
            [hr.shape[1], hr.shape[0]],
            told,
            {pair: list(rect) for pair, rect in pairs.items()},
            round(area / (hr.shape[0] * hr.shape[1]), 4),
            list(found.notes),
        )
        paths = self._written(hr, aligned, pairs)
        paths.append(place_of(self.out) / PAGES / f"{name}.html")
        files.write_text(paths[-1], scene_page(scene, hr, aligned))
        return SceneMade(name, asdict(scene), folders.sums_of(paths, place_of(self.out)))

    def _onto(self, hr: np.ndarray, work: SceneWork, shot: str) -> Aligned:
        lr = shot_named(work.scene, shot, self.max_pixels).pixels
        assert work.measured.shots is not None  # of a scene that has levels
        first = loaded(work.measured.shots[shot]["coarse"])
        try:
            one = onto(hr, lr, first, self.settings.max_shift)
        except NoFit as error:
            raise PhotoError(f"{shot}: {error}") from error
        if one.sigma < SHARP * one.warp.scale:
            raise PhotoError(
                f"{work.measured.hr} shows no more detail than {shot}, of which each pixel is "
                f"{one.warp.scale:.2f} of its own: it is out of focus or was moved: shoot it again"
            )
        return one

    def _unusable(self, told: LevelAligned) -> str:
        why = ", ".join(f"{100 * v:.0f} % {k}" for k, v in told.reasons.items() if v >= 0.005)
        return (
            f"no part of {self.settings.least} pixels on a side can be used "
            f"({why or 'too small'}): shoot it again from one place with nothing moving, or lower "
            f"`least`"
        )

    def _written(
        self,
        hr: np.ndarray,
        aligned: dict[str, Aligned],
        pairs: dict[str, tuple[int, int, int, int]],
    ) -> list[Path]:
        paths = []
        png = parse_format("png")
        for pair, (top, left, bottom, right) in pairs.items():
            pictures = {"hr": hr[top:bottom, left:right]}
            pictures |= {k: a.picture(top, left, bottom, right) for k, a in aligned.items()}
            for level, picture in pictures.items():
                paths.append(place_of(self.out) / f"{pair}_{level}.png")
                files.write_bytes(paths[-1], png.encode(np.ascontiguousarray(picture)))
        return paths


def _level(level: str, shot: str, found: Measured, one: Aligned) -> LevelAligned:
    assert found.shots is not None
    reasons = {
        name: round(float((one.reasons == number).mean()), 4)
        for number, name in enumerate(REASONS, 1)
    }

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
        shift_before=_off(one.before),
        shift_after=_off(one.after),
        kept=round(float((one.reasons == 0).mean()), 4),
        reasons=reasons,
        light=one.light.to_dict(),
    )


def _off(tiles: Tiles) -> list[float]:
    """Median and 95 % of what tiles lie off, pixels of HR; nothing where none tells."""
    told = tiles.certain
    if not told.any():
        return []
    apart = np.hypot(*tiles.shift[told].T)
    return [round(float(np.quantile(apart, q)), 4) for q in (0.5, 0.95)]
