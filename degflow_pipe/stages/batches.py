"""What the stages that use the model share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import DegflowError, UsageError


class Batches:
    """How patches are computed: `size` at once; `least`, where a GPU's memory did not do for it.

    On a GPU the batches go one after the other, while the workers read, draw noise and code
    pictures. On the CPU each worker computes one patch at a time, so that memory stays small: see
    `DegFlow` for why this gives the same bytes as any batch.
    """

    def __init__(self, model: DegFlow, batch: int) -> None:
        """Raises UsageError for a batch below 1."""
        if batch < 1:
            raise UsageError(f"--batch must be 1 at least, got {batch}")
        self.model = model
        self.size = self.least = 1 if model.device.type == "cpu" else batch

    @property
    def used(self) -> dict[str, Any]:
        """What bytes depend on: the kind of device, and on a GPU the least batch so far."""
        if self.model.device.type == "cpu":
            return {"device": "cpu"}
        return {"device": torch.cuda.get_device_name(self.model.device), "batch": self.least}

    def compute(self, function: Callable[..., Tensor], *arrays: np.ndarray) -> Tensor:
        """function(*arrays) of up to `size` patches, which lie along the first axis of all.

        In halves, down to single patches, where a GPU's memory does not do. The result is on the
        device, where it may not be done yet: whoever reads it waits, and another computes. Raises
        DegflowError where the memory does not do for one patch.
        """
        with self.model.turn:
            return self._in_halves(function, *arrays)

    def _in_halves(self, function: Callable[..., Tensor], *arrays: np.ndarray) -> Tensor:
        n = len(arrays[0])
        try:
            return function(*arrays)
        except torch.OutOfMemoryError as error:
            if n == 1:
                raise DegflowError(
                    f"out of GPU memory with one patch at a time on {self.model.device}: free "
                    f"some, or give a smaller --patch to ingest, or --device cpu"
                ) from error
        # Not within the handler, whose traceback holds what filled the memory.
        half = (n + 1) // 2
        self.least = min(self.least, half)
        parts = (slice(half), slice(half, n))
        return torch.cat([self._in_halves(function, *(a[p] for a in arrays)) for p in parts])
