"""What the commands of training print; their JSON has these fields by their names."""

from __future__ import annotations

from dataclasses import dataclass

Figures = dict[str, float | None]
"""`psnr_LEVEL`: dB on the held-out scenes, None where all pictures are equal; `seconds`."""


@dataclass(frozen=True)
class TrainedAutoencoder:
    """What `train rae` left in the folder `out`."""

    out: str
    figures: Figures


@dataclass(frozen=True)
class TrainedCheckpoint:
    """What `train lfm` or `train joint` left: the folder of the checkpoint, and its id."""

    checkpoint: str
    id: str
    figures: Figures
