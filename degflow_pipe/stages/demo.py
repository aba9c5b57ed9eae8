"""demo: the whole pipeline on photos that scikit-image ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degflow_pipe import defaults, files, folders
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import UsageError
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.progress import Progress
from degflow_pipe.stages.preview import preview
from degflow_pipe.stages.recipe import IngestSettings, LevelSettings, RunRecipe
from degflow_pipe.stages.run import RunSummary, run

DEMO_PHOTOS = ("astronaut", "chelsea", "coffee")
DEMO_GRID = "0.1:1.0:0.1"


@dataclass(frozen=True)
class DemoSummary(RunSummary):
    """What a demo made; strip: the picture of a photo and its levels."""

    strip: str


def demo(
    out: Path,
    model: DegFlow,
    *,
    sr_scale: float = 0.0,
    workers: int = 0,
    progress: Progress | None = None,
) -> DemoSummary:
    """The whole pipeline on photos that scikit-image ships: store, shards and a strip in `out`.

    sr_scale: of pairs for SR networks of that scale; 0 for LR of HR's size at ten levels.

    Raises UsageError where scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise UsageError(
            "the demo's photos come from scikit-image: pip install 'degflow-pipe[demo]'"
        ) from error
    folders.claim(out, "demo")
    photos = out / "photos"
    for name in DEMO_PHOTOS:
        path = photos / f"{name}.png"
        if not files.exists(path):
            files.write_bytes(path, parse_format("png").encode(np.asarray(getattr(data, name)())))
    recipe = RunRecipe(
        photos=[str(photos)],
        store=str(out / "degflow.zarr"),
        out=str(out / "shards"),
        ingest=IngestSettings(),
        generate=LevelSettings(t_grid=None if sr_scale else DEMO_GRID, sr_scale=sr_scale),
    )
    done = run(recipe, model, workers=workers, overwrite=True, progress=progress)
    grid = LevelSettings(t_grid=defaults.PREVIEW_T_GRID).grid(model.info)
    strip = out / "strip.png"
    preview(photos / f"{DEMO_PHOTOS[0]}.png", strip, model, grid, overwrite=True)
    return DemoSummary(done.ingest, done.generate, done.shard, str(strip))
