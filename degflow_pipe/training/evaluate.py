"""Figures of a checkpoint on held-out pairs: whole pictures, averaged over scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe.degflow import DegFlow
from degflow_pipe.levels import Grid
from degflow_pipe.metrics import best_gaussian, psnr
from degflow_pipe.pictures import to_picture, to_tensor
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.training.pairs import Pairs, find_scenes
from degflow_pipe.training.recipe import TrainRecipe


def evaluate(
    model: DegFlow, recipe: TrainRecipe, data: Path, grid: Grid, progress: Progress | None = None
) -> dict[str, Any]:
    """Generated against real pictures at the recipe's levels, beside what is simpler.

    For each level but HR, PSNR in dB to the real picture of: the generated one (`generated`), the
    HR itself (`hr`), the best single Gaussian blur of HR chosen per picture with the real one in
    sight (`gaussian`), and the autoencoder's own rebuild of the real one (`rebuilt`, the ceiling).
    `curve` is the PSNR of generated pictures to HR at the grid's levels. `evaluations` is the
    number of evaluations of v for a picture.
    """
    _, scenes = find_scenes(recipe.data, data)
    pairs = Pairs(scenes, recipe.data)
    knots = recipe.data.knots[1:]
    rows: list[list[dict[str, float]]] = []
    curves: list[list[float]] = []
    evaluations = 0
    with (progress or Silent()).task("evaluate", len(scenes)) as task:
        for scene in scenes:
            hr, *real = pairs.pictures(scene)
            z, skips = model.encode(to_tensor(hr))
            wanted = [*(level.t for level in knots), *grid.t]
            path = model.trajectory(z, wanted, skips)
            evaluations = model.evaluations
            # One level at a time: whole pictures at every level would not fit.
            levels = (to_picture(model.decode(path[:, i], skips))[0] for i in range(len(wanted)))
            row = []
            for picture, made in zip(real, levels, strict=False):
                rebuilt = to_picture(model.decode(model.encode(to_tensor(picture))[0], skips))[0]
                row.append(
                    {
                        "generated": psnr(made, picture),
                        "hr": psnr(hr, picture),
                        "gaussian": best_gaussian(hr, picture)[1],
                        "rebuilt": psnr(rebuilt, picture),
                    }
                )
            rows.append(row)
            curves.append([psnr(made, hr) for made in levels])
            task.advance()
    figures = {
        level.name: {key: float(np.mean([row[i][key] for row in rows])) for key in rows[0][i]}
        for i, level in enumerate(knots)
    }
    return {
        "scenes": [scene.name for scene in scenes],
        "levels": figures,
        "evaluations": evaluations,
        "curve": {
            "t": grid.t,
            "psnr_to_hr": [float(np.mean(column)) for column in zip(*curves, strict=True)],
        },
    }
