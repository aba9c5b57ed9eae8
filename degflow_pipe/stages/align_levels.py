"""The levels that scenes have in common, and the recipe that trains on them."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np

from degflow_pipe.alignment.results import AlignSummary
from degflow_pipe.stages.measuring import Measured

APART = 1.05
"""Ratio of scales from one level to the next, at least."""
COMMON = 0.8
"""Share of the scenes that have a level which is trained on."""
HELD_OUT = 0.1
"""Share of the scenes that are held out."""


def levels_of(
    measured: dict[str, Measured], summary: AlignSummary
) -> tuple[dict[str, float], dict[str, dict[str, str]]]:
    """The levels with their scales, and for each scene that can be used the level of each shot.

    Shots whose scales lie close are of one level, called by the median, `x2.9`. A level that most
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
    groups: list[list[tuple[float, str, str]]] = []
    for before, now in pairwise([(0.0, "", ""), *found]):
        if now[0] > before[0] * APART:
            groups.append([])
        groups[-1].append(now)
    levels: dict[str, float] = {}
    assigned: dict[str, dict[str, str]] = {name: {} for name in usable}
    counts: dict[str, int] = {}
    for group in groups:
        scale = round(float(np.median([one[0] for one in group])), 2)
        level = f"x{scale:.1f}" if f"x{scale:.1f}" not in levels else f"x{scale:.2f}"
        levels[level] = scale
        taken: set[str] = set()
        for _, name, file in group:
            if name in taken:
                summary.notes.append(f"{name}: {file} is a second shot at {level}, left out")
                continue
            taken.add(name)
            assigned[name][file] = level
        counts[level] = len(taken)
    least = COMMON * len(usable)
    summary.knots = [level for level in levels if counts[level] >= least]
    if not summary.knots and counts:
        summary.knots = [max(counts, key=lambda level: (counts[level], levels[level]))]
    for name in sorted(usable):
        lacking = [level for level in summary.knots if level not in assigned[name].values()]
        if lacking:
            summary.failed[name] = (
                f"it has no shot near {lacking[0]}, as {counts[lacking[0]]} of {len(usable)} "
                f"scenes have: shoot all scenes at the same zooms"
            )
            del assigned[name]
    return levels, assigned


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
    for stage, steps, extra in (
        ("rae", 5000, ["between: 0.5", "batch: 8", "patch: 64", "lr: 1.0e-3", "warmup: 300"]),
        (
            "lfm",
            1500,
            [
                *("batch: 8", "patch: 64", "lr: 6.0e-4", "warmup: 100"),
                *("latent_loss: normalized", "perceptual: none", "endpoint: l1"),
            ],
        ),
        ("joint", 1500, ["between: 0.5", "batch: 4", "patch: 128", "lr: 6.0e-4", "warmup: 100"]),
    ):
        lines += [f"{stage}:", f"  steps: {steps}", *(f"  {line}" for line in extra)]
        lines += ["  lr_end: 1.0e-7", f"  validate_every: {steps // 2}", "  save_every: 250"]
    return "\n".join(lines) + "\n"
