"""Real LR of held-out scenes beside what a checkpoint generates of their HR."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.evaluation.evaluate import data_of
from degflow_pipe.metrics.fidelity import EQUAL, psnr
from degflow_pipe.pairs.pairs import Pairs, Scene, find_scenes
from degflow_pipe.pictures.arrays import middle, to_picture, to_tensor
from degflow_pipe.progress import Progress
from degflow_pipe.reports.described import spread
from degflow_pipe.reports.drawn import SCENES, SIDE, Album, Labelled, decibels, telling_crop
from degflow_pipe.reports.page import Page

MARGIN = 32
"""Pixels around a crop that are degraded with it, so that its border is none of a picture's."""
BETWEEN = (0.25, 0.5, 0.75)
"""Levels t that are shown beside those of the real pairs."""


@dataclass(frozen=True)
class Compared:
    """A scene's pictures; psnr: of expected LR to real LR, the mean of its levels, dB. left: number
    of its first real LR.
    """

    name: str
    psnr: float
    pictures: list[Labelled]
    left: int


def add_real(folder: Path, pairs: Path, device: str, page: Page, progress: Progress) -> None:
    """Put held-out scenes before all other pictures of a checkpoint's page.

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
    found.sort(key=lambda one: one.psnr)
    album = Album()
    # The worst and the best first; then those between, as they rise.
    for i in dict.fromkeys([0, len(found) - 1, *range(len(found))]):
        one = found[i]
        end = {0: "farthest from real", len(found) - 1: "nearest to real"}.get(i, "")
        about = [end, f"generated without noise {one.psnr:.2f} dB to real LR"]
        album.add(one.name, ", ".join(filter(None, about)), one.pictures, one.left)
    page.scenes = [*album.scenes, *page.scenes]
    page.pictures_said = (
        f"Real LR of {len(found)} of {len(held_out)} held-out scenes beside LR generated of their "
        f"HR, where HR shows most detail; pixels as they are, coded without loss."
    )


def _compared(model: DegFlow, source: Pairs, scene: Scene) -> Compared:
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
    noises = ["none"] if model.noise_model("auto") is None else ["auto", "none"]
    made = {
        (noise, at): middle(lr, SIDE)
        for noise in noises
        for at, lr in zip(t, to_picture(model.degrade(to_tensor(place), t, noise)[0]), strict=True)
    }
    shown = middle(place, SIDE)
    of_levels: list[Labelled] = []
    figures = []
    for level, lr in real:
        expected = made["none", level.t]
        figures.append(min(psnr(expected, lr), EQUAL))
        of_levels.append((f"real LR, {level.name}", decibels(shown, lr), lr))
        for noise in noises:
            said = "generated" if noise == "auto" else "generated, no noise"
            to_real = f"{psnr(made[noise, level.t], lr):.2f} dB to real"
            of_levels.append((f"{said}, {level.name}", to_real, made[noise, level.t]))
    others = [
        (f"generated, t = {at:g}", decibels(shown, made[noises[0], at]), made[noises[0], at])
        for at in t
        if at not in {level.t for level, _ in real}
    ]
    whole = [("HR", "", shown), *others, *of_levels]
    cut = [(label, said, np.ascontiguousarray(picture)) for label, said, picture in whole]
    return Compared(scene.name, float(np.mean(figures)), cut, 1 + len(others))
