"""Scalars and pictures of a training run for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from degflow_pipe import files
from degflow_pipe.training.extra import check_installed


class Scalars:
    """TensorBoard's files below FOLDER/tensorboard/NAME; those past `step` are taken back.

    Where `writes` is false (all processes but the first) nothing is written.
    """

    def __init__(self, folder: Path, name: str, step: int, writes: bool) -> None:
        self._writer: Any = None
        if not writes:
            return
        check_installed()
        from torch.utils.tensorboard import SummaryWriter

        path = folder / "tensorboard" / name
        with files.named(path, "write TensorBoard's files"):
            self._writer = SummaryWriter(str(path), purge_step=step + 1)

    def __enter__(self) -> Scalars:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, values: dict[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def add_pictures(self, pictures: dict[str, np.ndarray], step: int) -> None:
        """pictures: (H, W, 3) uint8 by name."""
        if self._writer is not None:
            for name, picture in pictures.items():
                self._writer.add_image(name, picture, step, dataformats="HWC")
