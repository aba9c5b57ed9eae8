"""Which shot of a scene is HR, and at which scale the others were taken: `align`'s first half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from degflow_pipe.alignment.coarse import Coarse, NoMatch, coarse
from degflow_pipe.alignment.target import coarse_by_markers
from degflow_pipe.alignment.warp import Warp
from degflow_pipe.errors import PhotoError
from degflow_pipe.pictures.photos import Photo, file_digest
from degflow_pipe.pictures.shots import Noted, noted, read_shot
from degflow_pipe.stages.scenes import Scene

Match = Callable[[np.ndarray, np.ndarray], Coarse]
"""HR and LR, (H, W) uint8, to a first warp; raises NoMatch."""
VERSION = 2
"""Of how scenes are measured and pairs made: another one does it again."""
SAME = 1.08
"""Scale below which two shots were taken at one zoom."""
DISAGREE = 0.1
"""Share by which EXIF and measurement may differ before it is told."""


@dataclass(frozen=True)
class Measured:
    """What is known of a scene. hr: its file's name; shots: of each LR that can be used, by its
    file's name: `scale`, `exif_scale` and its first warp, `coarse`. digests: of all files, by name.
    problem: why it cannot be used, in one line. by_target: whether markers gave the warps. unread:
    shots that could not be read, which another limit or library may do, so that it is not kept.
    """

    name: str
    digests: dict[str, str]
    hr: str = ""
    shots: dict[str, dict[str, Any]] | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""
    by_target: bool = False
    unread: int = 0
    version: int = VERSION

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def is_known(self, before: dict[str, Any]) -> bool:
        """Whether a kept record says how these files are to be measured now."""
        return all(
            before.get(key) == getattr(self, key) for key in ("version", "digests", "by_target")
        )


@dataclass(frozen=True)
class MeasureJob:
    """Measures scenes: see `engines.job.Job`."""

    max_pixels: int
    target: bool = False

    @contextmanager
    def open(self) -> Iterator[Callable[[tuple[Scene, dict[str, Any]]], Measured]]:
        yield self._measured

    def _measured(self, unit: tuple[Scene, dict[str, Any]]) -> Measured:
        """unit: a scene, and what was measured of it before, or nothing."""
        scene, before = unit
        digests: dict[str, str] = {}
        try:
            digests = {path.name: file_digest(path) for path in scene.shots}
            if Measured(scene.name, digests, by_target=self.target).is_known(before):
                return Measured(**{**before, "notes": tuple(before["notes"])})
            return measured(scene, digests, self.max_pixels, self.target)
        except PhotoError as error:
            return Measured(scene.name, digests, problem=str(error))


def measured(
    scene: Scene, digests: dict[str, str], max_pixels: int, target: bool = False
) -> Measured:
    """target: by the markers of a target. Raises PhotoError where a shot cannot be read, or the
    scene has no HR and LR.
    """
    _check_files(scene, digests)
    said = {path.name: noted(path) for path in scene.shots}
    models = sorted({note.model for note in said.values() if note.model})
    if len(models) > 1:
        raise PhotoError(
            f"shots of several cameras ({', '.join(models)}): give each a folder of its own"
        )
    notes: list[str] = []
    greys = _greys(scene, max_pixels, notes)
    hr, found = _finest(greys, said, notes, coarse_by_markers if target else coarse)
    shots = {}
    for name, one in found.items():
        if reason := _unusable(one, greys[hr], greys[name]):
            notes.append(f"{name}: {reason}")
            continue
        exif = _exif_scale(said[hr], said[name], greys[hr], greys[name])
        scale = one.warp.scale
        if exif is not None and abs(exif / scale - 1) > DISAGREE:
            notes.append(f"{name}: measured x{scale:.2f}, but its EXIF says x{exif:.2f}")
        shots[name] = {"scale": scale, "exif_scale": exif, "coarse": dumped(one)}
    if not shots:
        raise PhotoError("; ".join(dict.fromkeys(notes)) or "no shot at another zoom than HR's")
    told = tuple(dict.fromkeys(notes))
    return Measured(
        scene.name, digests, hr, shots, told, by_target=target, unread=len(said) - len(greys)
    )


def _check_files(scene: Scene, digests: dict[str, str]) -> None:
    """Raises PhotoError where there are too few, or two are one."""
    if len(scene.shots) < 2:
        raise PhotoError(
            f"{scene.shots[0].name}: one shot alone: a scene needs two zooms, in one folder, "
            f"of one name or by the time in their EXIF"
        )
    if len(digests) < len(scene.shots):
        raise PhotoError(f"{scene.shots[0].name}: two shots have one name: rename one")
    for a in digests:
        for b in digests:
            if a < b and digests[a] == digests[b]:
                raise PhotoError(f"{b} is a copy of {a}: leave one out")


def _greys(scene: Scene, max_pixels: int, notes: list[str]) -> dict[str, np.ndarray]:
    """The shots that can be read, (H, W) uint8 by name; why others cannot goes into the notes."""
    greys = {}
    for path in scene.shots:
        try:
            pixels = read_shot(path, max_pixels).pixels
        except PhotoError as error:
            notes.append(str(error))
            continue
        greys[path.name] = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if len(greys) < 2:
        raise PhotoError(notes[0])
    return greys


def _finest(
    greys: dict[str, np.ndarray], said: dict[str, Noted], notes: list[str], match: Match
) -> tuple[str, dict[str, Coarse]]:
    """The shot that shows most detail, and the first warp to each other one."""
    order = sorted(greys, key=lambda name: (_reach(said[name], greys[name]), name), reverse=True)
    for hr in order[:-1]:
        told: list[str] = []
        found = _against(hr, greys, told, match)
        if found:
            break
    notes += told
    # By EXIF another one may have been taken for HR, or there was none to tell.
    finest = min(found, key=lambda name: found[name].warp.scale, default=hr)
    if not found or found[finest].warp.scale >= 1 / SAME:
        return hr, found
    if _reach(said[hr], greys[hr]) > 0:
        notes.append(f"EXIF says that {hr} was taken closest, but {finest} shows more detail")
    return finest, _against(finest, greys, notes, match)


def _reach(note: Noted, picture: np.ndarray) -> float:
    """Pixels to an angle, of no certain unit; 0 where the camera noted nothing."""
    focal = note.focal35 or note.focal
    return focal * max(picture.shape) * (1.0 if note.focal35 else note.zoom) if focal else 0.0


def _exif_scale(
    hr: Noted, lr: Noted, hr_picture: np.ndarray, lr_picture: np.ndarray
) -> float | None:
    both = (hr.focal35 is None) == (lr.focal35 is None)
    reaches = _reach(hr, hr_picture), _reach(lr, lr_picture)
    return round(reaches[0] / reaches[1], 4) if both and min(reaches) > 0 else None


def _against(
    hr: str, greys: dict[str, np.ndarray], notes: list[str], match: Match
) -> dict[str, Coarse]:
    """The first warp of each other shot; why there is none goes into the notes."""
    found = {}
    for name, picture in greys.items():
        if name == hr:
            continue
        try:
            found[name] = match(greys[hr], picture)
        except NoMatch as error:
            where = hr if error.which == "HR" else name
            notes.append(f"{where}: {error}" + ("" if error.which else f" (HR is {hr})"))
    return found


def _unusable(found: Coarse, hr: np.ndarray, lr: np.ndarray) -> str:
    """Why an LR is no LR of this HR, else nothing."""
    warp = found.warp
    height, width = hr.shape
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])
    places = warp.at(corners)
    frame = np.array([[-0.5, -0.5], [lr.shape[1] - 0.5, lr.shape[0] - 0.5]])
    apart = float(np.abs(places - frame).max()) / max(lr.shape)
    if apart < 0.004:
        return (
            "shows exactly what HR shows: it is a copy of HR made smaller, or was aligned to it "
            "already: take it out"
        )
    if warp.scale < SAME:
        return f"taken at HR's own zoom (x{warp.scale:.2f}): take one of the two out"
    return ""


def dumped(found: Coarse) -> dict[str, Any]:
    """A first warp as numbers that JSON keeps exactly."""
    warp = found.warp
    return {
        "size": list(warp.size),
        "homography": warp.homography.tolist(),
        "centre": warp.centre.tolist(),
        "radial": warp.radial.tolist(),
        "unit": warp.unit,
        "terms": warp.terms.tolist(),
        "matches": found.matches,
        "agreeing": found.agreeing,
    }


def loaded(values: dict[str, Any]) -> Coarse:
    """The first warp of what `dumped` gave."""
    warp = Warp(
        (values["size"][0], values["size"][1]),
        np.array(values["homography"]),
        np.array(values["centre"]),
        np.array(values["radial"]),
        float(values["unit"]),
        np.array(values["terms"]),
    )
    return Coarse(warp, values["matches"], values["agreeing"])


def shot_named(scene: Scene, name: str, max_pixels: int) -> Photo:
    """One shot of a scene by its file's name. Raises PhotoError."""
    (path,) = (path for path in scene.shots if path.name == name)
    return read_shot(Path(path), max_pixels)
