"""What cameras are asked for and give back, and how many patches are computed at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from degflow_pipe.errors import UsageError


def batch_size(device: str, batch: int) -> int:
    """Patches computed at once, of those that are asked for: see `batches.Batches`. Raises
    UsageError for a batch below 1.
    """
    if batch < 1:
        raise UsageError(f"`batch` must be 1 at least, got {batch}")
    return batch if device.startswith("cuda") else 1


class Asked(NamedTuple):
    """What one LR is: t and SR scale of the camera's level, the seed of its noise, and the share of
    its own noise that HR has kept when the camera is shown it.
    """

    t: float
    scale: float
    seed: int
    own: float = 1.0


class Shown(NamedTuple):
    """values: (n, T, p, p, 3) uint8. evaluations: of v for a patch. batch: the least that was
    computed at once; None where nothing is computed so.
    """

    values: np.ndarray
    evaluations: int
    batch: int | None
