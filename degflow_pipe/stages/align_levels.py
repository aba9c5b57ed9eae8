"""The levels that scenes have in common, and the recipe that trains on them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np

from degflow_pipe.alignment.results import AlignSummary
from degflow_pipe.formats.yaml_text import yaml_lines
from degflow_pipe.recipes import compact_stages
from degflow_pipe.stages.measuring import Measured

APART = 1.05
"""Ratio of scales from one level to the next, at least, and within a level, at most."""
COMMON = 0.8
"""Share of the scenes that have a level which is trained on."""
HELD_OUT = 0.1
"""Share of the scenes that are held out."""

_Shot = tuple[float, str, str]
"""Scale, scene and file."""


def levels_of(
    measured: dict[str, Measured], summary: AlignSummary
) -> tuple[dict[str, float], dict[str, dict[str, str]]]:
    """The levels with their scales, and for each scene that can be used the level of each shot.

    Shots whose scales lie within APART are of one level, called by the median, `x2.9`; those that
    most scenes have are levels first, and what lies between two is of none. A level that most
    scenes have is trained on, and a scene without it fails; any other is only validated.
    """
    for name, one in measured.items():
        if one.problem:
            summary.failed[name] = one.problem
    usable = {name: one for name, one in measured.items() if not one.problem and one.shots}
    found = sorted(
        (shot["scale"], name, file)
        for name, one in usable.items()
        for file, shot in (one.shots or {}).items()
    )
    groups, between = _grouped(found)
    notes = {(name, file): f"x{scale:.2f} lies between levels" for scale, name, file in between}
    levels, assigned = _assigned(groups, usable, notes)
    counts = Counter(level for own in assigned.values() for level in own.values())
    least = COMMON * len(usable)
    summary.knots = [level for level in levels if counts[level] >= least]
    if not summary.knots and counts:
        summary.knots = [max(counts, key=lambda level: (counts[level], levels[level]))]
    for name in sorted(usable):
        lacking = [level for level in summary.knots if level not in assigned[name].values()]
        if lacking:
            own = ", ".join(f"x{scale:.2f}" for scale, scene, _ in found if scene == name)
            summary.failed[name] = (
                f"its shots are at {own}, none near {lacking[0]}, as {counts[lacking[0]]} of "
                f"{len(usable)} scenes have: shoot all scenes at the same zooms"
            )
            del assigned[name]
    summary.notes += [
        f"{name}: {file}, {why}, is left out"
        for (name, file), why in sorted(notes.items())
        if name in assigned
    ]
    return levels, assigned


def _assigned(
    groups: list[list[_Shot]], scenes: Iterable[str], notes: dict[tuple[str, str], str]
) -> tuple[dict[str, float], dict[str, dict[str, str]]]:
    """The levels, and of each scene; notes: takes why a shot is left out, by scene and file."""
    levels: dict[str, float] = {}
    assigned: dict[str, dict[str, str]] = {name: {} for name in scenes}
    for group in groups:
        scale = _median(group)
        level = f"x{scale:.1f}" if f"x{scale:.1f}" not in levels else f"x{scale:.2f}"
        levels[level] = scale
        for _, name, file in group:
            if level in assigned[name].values():
                notes[name, file] = f"a second shot at {level}"
            else:
                assigned[name][file] = level
    return levels, assigned


def _grouped(found: list[_Shot]) -> tuple[list[list[_Shot]], list[_Shot]]:
    """Shots, sorted, by level, in the order of scales, and those that lie between levels."""
    left = found
    groups: list[list[_Shot]] = []
    between: list[_Shot] = []
    while left:
        first, end = _most_scenes(left)
        group, left = left[first:end], left[:first] + left[end:]
        scales = (_median(other) for other in groups)
        if any(1 / APART < _median(group) / scale < APART for scale in scales):
            between += group
        else:
            groups.append(group)
    return sorted(groups), between


def _most_scenes(found: list[_Shot]) -> tuple[int, int]:
    """First and end, exclusive, of the shots within APART that are of most scenes."""
    seen: Counter[str] = Counter()
    first, most, best = 0, 0, (0, 0)
    for last, (scale, name, _) in enumerate(found):
        seen[name] += 1
        while scale > found[first][0] * APART:
            seen -= Counter([found[first][1]])
            first += 1
        scenes = len(seen)
        if scenes > most or (scenes == most and first == best[0]):
            most, best = scenes, (first, last + 1)
    return best


def _median(group: list[_Shot]) -> float:
    return round(float(np.median([one[0] for one in group])), 2)


def validation_of(pairs: dict[str, list[str]]) -> tuple[list[str], str]:
    """Pairs that are held out, whole scenes by the hash of their names, and what is odd of it."""
    order = sorted(pairs, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    if len(order) > 1:
        held = order[: max(1, round(HELD_OUT * len(order)))]
        return sorted(pair for name in held for pair in pairs[name]), ""
    names = pairs[order[0]]
    if len(names) > 1:
        return names[-1:], "one scene alone: a part of it is held out, which says little"
    return names, "one pair alone: it is held out, and there is nothing to train on"


def recipe_text(summary: AlignSummary) -> str:
    """A training recipe for these pairs, with the compact model."""
    s_max = max(summary.levels[level] for level in summary.levels)
    lines = [
        "# Trains a model of the camera on the pairs beside this file.",
        "# For train rae, train lfm and train joint, in turn, with this folder as data.",
        "kind: train",
        "name: my-camera",
        "model:",
        "  preset: compact",
        "data:",
        "  set: generic",
        f"  s_max: {s_max:g}",
        f'  validate: "{",".join(summary.validate)}"',
        "  source: shots aligned by degflow-pipe align",
        "  licence: as of the shots",
        "  levels:",
        '    - {name: HR, t: 0.0, files: "*_hr.png"}',
    ]
    for level, scale in summary.levels.items():
        t = round((scale - 1) / (s_max - 1), 6)
        held = "" if level in summary.knots else ", held_out: true"
        lines.append(f'    - {{name: {level}, t: {t:g}, files: "*_{level}.png"{held}}}')
    lines += yaml_lines(compact_stages())
    return "\n".join(lines) + "\n"
