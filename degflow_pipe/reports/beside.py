"""Real LR of held-out scenes beside what a checkpoint generates of their HR."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.evaluation.evaluate import data_of
from degflow_pipe.metrics.fidelity import EQUAL, psnr
from degflow_pipe.pairs.pairs import Pairs, Scene, find_scenes
from degflow_pipe.pictures.arrays import middle, telling_crop, to_picture, to_tensor
from degflow_pipe.progress import Progress
from degflow_pipe.reports.described import spread
from degflow_pipe.reports.drawn import (
    FARTHEST,
    NEAREST,
    SCENES,
    SIDE,
    Album,
    Entry,
    decibels,
    lrs_of,
)
from degflow_pipe.reports.page import Page

MARGIN = 32
"""Pixels around a crop that are degraded with it, so that its border is none of a picture's."""
BETWEEN = (0.25, 0.5, 0.75)
"""Levels t that are shown beside those of the real pairs."""


def add_real(
    folder: Path, pairs: Path, device: str, page: Page, album: Album, progress: Progress
) -> None:
    """Put held-out scenes into a checkpoint's page.

    pairs: their folder, laid out as those that it was trained on. Raises CheckpointError where it
    does not say how, DataError for wrong pairs.
    """
    model = DegFlow.load(str(folder), device)
    data = data_of(model)
    _, held_out = find_scenes(data, pairs, to_train=False)
    source = Pairs(held_out, data)
    chosen = spread(held_out, SCENES)
    found = []
    with progress.task("look at scenes", len(chosen), counts="scenes") as task:
        for scene in chosen:
            found.append(_compared(model, source, scene))
            task.advance()
    album.add_all(sorted(found, key=lambda one: one.rank or 0), FARTHEST, NEAREST, progress)
    page.scenes = album.scenes
    page.pictures_said = (
        f"Real LR of {len(found)} of {len(held_out)} held-out scenes beside LR generated of their "
        f"HR, where HR shows most detail; pixels as they are, coded without loss."
    )


def _compared(model: DegFlow, source: Pairs, scene: Scene) -> Entry:
    """Its rank is the PSNR of expected LR to real LR, the mean of its levels, in dB."""
    pictures = source.pictures(scene)
    hr = pictures[0]
    assert hr is not None
    rows, columns = telling_crop(hr, SIDE + 2 * MARGIN)
    place = np.ascontiguousarray(hr[rows, columns])
    real = [
        (level, middle(picture[rows, columns], SIDE))
        for level, picture in zip(source.levels, pictures, strict=True)
        if picture is not None and level.t > 0
    ]
    t = sorted({*BETWEEN, *(level.t for level, _ in real)})
    noises = {"generated": "none"}
    if model.noise_model("auto") is not None:
        noises["noisy"] = "auto"
    made = {
        (name, at): middle(lr, SIDE)
        for name, noise in noises.items()
        for at, lr in zip(t, to_picture(model.degrade(to_tensor(place), t, noise)[0]), strict=True)
    }
    shown, last = middle(place, SIDE), [*noises][-1]
    of_levels = [
        one
        for level, lr in real
        for one in lrs_of(level.name, lr, {name: made[name, level.t] for name in noises})
    ]
    mean = float(np.mean([min(psnr(made["generated", level.t], lr), EQUAL) for level, lr in real]))
    others = [
        (f"generated, t = {at:g}", decibels(shown, made[last, at]), made[last, at])
        for at in t
        if at not in {level.t for level, _ in real}
    ]
    whole = [("HR", "", shown), *others, *of_levels]
    cut = [(label, said, np.ascontiguousarray(picture)) for label, said, picture in whole]
    about = f"generated without noise {mean:.2f} dB to real LR"
    return Entry(scene.name, about, cut, mean, 1 + len(others))
