"""Options that several commands share: one name, one meaning, one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from degflow_pipe import defaults

Checkpoint = Annotated[
    str, typer.Option("--checkpoint", help="Checkpoint folder, or name of a shipped one.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
StorePath = Annotated[Path, typer.Option("--store", help="The store, a zarr folder.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", help="Of the decoder: float32, bfloat16, or auto, bfloat16 on a GPU."
    ),
]
Batch = Annotated[int, typer.Option("--batch", help="Patches computed at once on a GPU.")]
Workers = Annotated[int, typer.Option("--workers", help="Units of work at once; 0: one a core.")]
Format = Annotated[str, typer.Option("--format", help="png, webp (lossless) or jpeg:QUALITY.")]
Patch = Annotated[int, typer.Option("--patch", help="Side of a patch in pixels.")]
Photos = Annotated[list[str], typer.Argument(help="Photos: files, folders, globs.")]
MaxPixels = Annotated[
    int, typer.Option("--max-pixels", help="A photo of more pixels is skipped, unread.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")]
TGrid = Annotated[
    Optional[str],  # noqa: UP045  (typer reads it at run time)
    typer.Option("--t-grid", help="Levels as start:stop:step, stop included: 0.1:1.0:0.05."),
]
T = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--t", help="Levels as a list: 0.2,0.55."),
]
Scales = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--scales", help="Levels as SR scales: 1.5,2,2.9."),
]
Noise = Annotated[
    str,
    typer.Option(
        "--noise", help="The camera's noise: calibrated, none, or auto (where it was calibrated)."
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Another one draws other noise.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace shards that were made with other settings.")
]

CHECKPOINT = defaults.CHECKPOINT
MAX_PIXELS = defaults.MAX_PIXELS
SIMULATED_PIXELS = defaults.SIMULATED_PIXELS
STORE = Path(defaults.STORE)
SHARDS = Path(defaults.OUT)
