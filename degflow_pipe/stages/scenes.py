"""Which shots are of one scene: a folder a scene, or one flat folder, by names or by time."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from degflow_pipe import files
from degflow_pipe.errors import UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.pictures.shots import RAW, SHOTS, noted

PAUSE = 60.0
"""Seconds between shots that begin another scene."""
_COUNTED = re.compile(r"(?:[A-Za-z]{1,5}[_-]?|_[A-Za-z]{2,3})\d{3,}(?:[_-]\d+)*|\d{8}[_-]\d{4,}.*")
"""Names that a camera gives: a counter or the time, that say nothing of the scene."""


@dataclass(frozen=True)
class Scene:
    """The shots of a scene. name: letters, digits, `_`, `+`, `-`, as in the names of its pairs; it
    never ends in `-` and two digits, as those of a scene's parts do.
    """

    name: str
    shots: tuple[Path, ...]


def find_scenes(
    shots: Path,
    pause: float = PAUSE,
    left_out: dict[str, int] | None = None,
    out: Path | None = None,
) -> list[Scene]:
    """The scenes of a folder, by name.

    A folder below it is a scene. Shots that lie in it directly belong together by their names up to
    the last `_`, `-` or blank (`kitchen_26mm.jpg`, `kitchen_77mm.jpg`); where the names are a
    camera's own counter (`IMG_0012.JPG`), by the time in their EXIF: a pause of more than `pause`
    seconds begins another scene, and a shot without a time is alone. A scene whose name is a number
    is called `scene_NUMBER`, and one named as a part of another one's, `cup-01`, `cup_01`.

    left_out: takes the number of files that are no shots, by ending. out: a folder that is passed
    over, as what `align` writes below the shots is none of them. Raises UsageError where there is
    no shot, two scenes would have one name, or times are needed and mostly not there.
    """
    if not files.is_folder(shots):
        raise UsageError(
            f"`shots` must be a folder, with a folder for each scene or with shots "
            f"that are named by scene: {printable(str(shots))}"
        )
    groups = _groups(shots, pause, {} if left_out is None else left_out, out)
    if not groups:
        raise UsageError(f"no shot at {printable(str(shots))}: it must hold photos or camera raw")
    found: dict[str, Scene] = {}
    for name, paths in sorted(groups.items()):
        scene = Scene(_plain(name), tuple(sorted(_developed(paths))))
        key = unicodedata.normalize("NFC", scene.name).lower()
        if key in found:
            raise UsageError(
                f"two scenes in {printable(str(shots))} would be called {scene.name}: rename one"
            )
        found[key] = scene
    return sorted(found.values(), key=lambda scene: scene.name)


def _groups(
    shots: Path, pause: float, left_out: dict[str, int], out: Path | None
) -> dict[str, list[Path]]:
    """Shots by what they have in common: their folder, the beginning of their names or a time."""
    groups: dict[str, list[Path]] = {}
    flat: list[Path] = []
    passed = None if out is None else files.real(out)
    for path in files.walk(shots):
        if passed is not None and files.real(path).is_relative_to(passed):
            continue
        ending = path.suffix.lower()
        if ending not in SHOTS:
            shown = printable(ending) or "(none)"
            left_out[shown] = left_out.get(shown, 0) + 1
        elif path.parent == shots:
            flat.append(path)
        else:
            groups.setdefault(path.parent.relative_to(shots).as_posix(), []).append(path)
    if flat:
        counted = sum(bool(_COUNTED.fullmatch(path.stem)) for path in flat)
        grouped = _by_time(flat, pause) if 2 * counted > len(flat) else _by_name(flat)
        for name, paths in grouped.items():
            groups.setdefault(name, []).extend(paths)
    return groups


def _plain(name: str) -> str:
    plain = re.sub(r"[^\w+-]+", "-", printable(name)).strip("-")[:100] or "scene"
    # A recipe's `validate` takes 001-02 for the scenes 1 to 2, so no name may look so.
    named = f"scene_{plain}" if re.fullmatch(r"[\d-]+", plain) else plain
    # Nor as the parts of another scene, whose pairs it would write.
    return re.sub(r"-(\d\d)$", r"_\1", named)


def _developed(paths: list[Path]) -> list[Path]:
    """Without the JPEG that a camera wrote beside its raw: one shot would come twice."""
    raws = {path.with_suffix("") for path in paths if path.suffix.lower() in RAW}
    return [p for p in paths if p.suffix.lower() in RAW or p.with_suffix("") not in raws]


def _by_name(paths: list[Path]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in paths:
        parted = re.fullmatch(r"(.+?)[-_ ]+[^-_ ]+", path.stem)
        groups.setdefault(parted[1] if parted else path.stem, []).append(path)
    return groups


def _by_time(paths: list[Path], pause: float) -> dict[str, list[Path]]:
    times = {path: noted(path).time for path in paths}
    lacking = [path for path in paths if times[path] is None]
    if 2 * len(lacking) > len(paths):
        raise UsageError(
            f"{printable(str(lacking[0]))} says neither by its name nor by its EXIF when or of "
            f"what it was taken: give each scene a folder, or names such as SCENE_26mm.jpg"
        )
    groups = {path.stem: [path] for path in lacking}
    timed = sorted((time, path) for path, time in times.items() if time is not None)
    before, name = -float("inf"), ""
    for now, path in timed:
        if now - before > pause:
            name = path.stem
        groups.setdefault(name, []).append(path)
        before = now
    return groups
