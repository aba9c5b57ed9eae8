"""Options that several commands share: one name, one meaning, one help text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from degflow_pipe import choices, defaults
from degflow_pipe.errors import UsageError
from degflow_pipe.places import place_of


def pixel(text: str | None) -> tuple[int, int] | None:
    """`X,Y` as two whole numbers."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d{1,7})\s*,\s*(\d{1,7})\s*", text, re.ASCII)
    if found is None:
        raise UsageError(f"`at` must be two whole numbers, such as 640,480, got {text!r}")
    return int(found[1]), int(found[2])


def path(text: str) -> Path:
    """What a path or URL names; the help calls the type by the name of this."""
    try:
        return place_of(text)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error


CheckpointArgument = Annotated[
    str, typer.Argument(help="Checkpoint folder, or a shipped one's name.")
]
Checkpoint = Annotated[
    str, typer.Option("--checkpoint", help="Checkpoint folder, or name of a shipped one.")
]
StoreCheckpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        help="Checkpoint folder, or name of a shipped one; by default the store's, "
        f"{defaults.CHECKPOINT} for a new store. Several with shares, and simulated cameras: "
        "a:3,b:1,simulated:20.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Engine = Annotated[
    choices.Engine,
    typer.Option(
        "--engine",
        help="threads, processes (each loads the checkpoint itself), or ray (so do its actors, on "
        "the cluster of RAY_ADDRESS, else on this machine).",
    ),
]
NumGpus = Annotated[
    float | None,
    typer.Option(
        "--num-gpus", help="With --engine ray: GPUs of a worker that computes on one, such as 0.5."
    ),
]
StorePath = Annotated[Path, typer.Option("--store", help="The store, a zarr folder.", parser=path)]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.", parser=path)]
Precision = Annotated[
    choices.Precision,
    typer.Option(
        "--precision", help="Of decoder and velocity; auto is bfloat16 on a GPU, else float32."
    ),
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Patches computed at once on a GPU.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Units of work at once; 0: one a core.")
]
Format = Annotated[
    str, typer.Option("--format", help="Of LR: png, ppm, webp (lossless) or jpeg:QUALITY.")
]
Patch = Annotated[int, typer.Option("--patch", min=1, help="Side of a patch in pixels.")]
StorePatch = Annotated[
    int | None,
    typer.Option(
        "--patch",
        min=1,
        help="Side of a patch in pixels; by default the store's, "
        f"{defaults.PATCH} for a new store.",
    ),
]
Photos = Annotated[
    list[str], typer.Argument(help="Photos: files, folders, globs, tars, Parquet files.")
]
Pairs = Annotated[Path, typer.Argument(help="Folder of the pairs.", parser=path)]
DataRecipe = Annotated[
    str | None,
    typer.Option("--recipe", help="Training recipe whose data is meant, not the checkpoint's own."),
]
Perceptual = Annotated[
    choices.Distance, typer.Option("--perceptual", help="A perceptual distance beside the rest.")
]
MaxPixels = Annotated[
    int, typer.Option("--max-pixels", min=1, help="A photo of more pixels is skipped, unread.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Write nothing; tell of patches, pairs, bytes and time by a sample that is tried, of "
        "some seconds.",
    ),
]
MinSharpness = Annotated[
    float | None,
    typer.Option(
        "--min-sharpness",
        min=0,
        help="Leave out photos with less fine detail than this at their sharpest places, in grey "
        "levels: enlarged or blurred ones. See `inspect` for this and the next three.",
    ),
]
MaxBlockiness = Annotated[
    float | None,
    typer.Option(
        "--max-blockiness",
        min=0,
        help="Leave out photos whose steps along JPEG's grid are higher than this, in grey levels.",
    ),
]
MaxClipped = Annotated[
    float | None,
    typer.Option(
        "--max-clipped",
        min=0,
        max=1,
        help="Leave out photos with a channel at 0 or 255 in more than this share of the pixels.",
    ),
]
MaxNoise = Annotated[
    float | None,
    typer.Option(
        "--max-noise",
        min=0,
        help="Leave out photos with noise of a deviation above this, in grey levels.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")]
TGrid = Annotated[
    str | None,
    typer.Option(
        "--t-grid",
        help="Levels t as start:stop:step, stop included (0.1:1.0:0.05), or as a list (0.2,0.55); "
        "or SR scales, each with an x: x1.5,x2,x2.9 or x1.5:x3:x0.5. A level that each patch draws "
        "for itself is 0.2..0.8 or x1.5..x2.9.",
    ),
]
SR_SCALE_HELP = (
    "Make LR of HR / this, for SR networks of that scale: HR is reduced so that the camera's level "
    "gives the rest (by default its largest that does)."
)
SRScale = Annotated[
    float, typer.Option("--sr-scale", help=SR_SCALE_HELP, show_default="LR of HR's size")
]
Draws = Annotated[
    int, typer.Option("--draws", min=1, help="Realisations of each level, of noise of their own.")
]
Noise = Annotated[
    choices.Noise,
    typer.Option("--noise", help="The camera's noise; auto: where it was calibrated."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Another one draws other noise.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace shards that were made with other settings.")
]
Events = Annotated[
    Path | None,
    typer.Option(
        "--events",
        help="File to add a line of JSON to for each unit that is done: what, where, seconds; and "
        "one for the run: slowest units, skipped photos, why it failed. A URL too.",
        parser=path,
    ),
]
BreakLock = Annotated[
    bool,
    typer.Option(
        "--break-lock",
        help="Take over the lock of a process that was killed at a URL; one that lives stops.",
    ),
]

CHECKPOINT = defaults.CHECKPOINT
MAX_PIXELS = defaults.MAX_PIXELS
SIMULATED_PIXELS = defaults.SIMULATED_PIXELS
STORE = Path(defaults.STORE)
SHARDS = Path(defaults.OUT)
