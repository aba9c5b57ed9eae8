"""What `checkpoint import` and `export` print; their JSON has these fields by their names."""

from __future__ import annotations

from dataclasses import dataclass

from degflow_pipe.model.config import ModelConfig


@dataclass(frozen=True)
class Imported:
    """A checkpoint made of the authors' files.

    checkpoint: its folder; id: of the checkpoint. levels: t by name. s_max: the SR scale of t = 1.
    """

    checkpoint: str
    id: str
    model: ModelConfig
    levels: dict[str, float]
    s_max: float


@dataclass(frozen=True)
class Exported:
    """The id of a checkpoint, and the authors' two files of it that were written."""

    checkpoint: str
    rae: str
    flow: str
