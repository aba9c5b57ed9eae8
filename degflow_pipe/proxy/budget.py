"""What the training of an SR network may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from degflow_pipe.errors import UsageError
from degflow_pipe.settings import AtMost


@dataclass(frozen=True)
class Budget:
    """What every source gets alike.

    crop: pixels of LR, even, of HR patches of 192, which hold 48 of them at x4. lr falls as a
    cosine. width, blocks: of our own networks.
    """

    steps: int = 2500
    batch: Annotated[int, AtMost(1024)] = 8
    crop: Annotated[int, AtMost(192)] = 64
    lr: float = 1e-3
    width: Annotated[int, AtMost(1024)] = 32
    blocks: Annotated[int, AtMost(100)] = 5

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"`steps` must be 1 at least, got {self.steps}")
        for name in ("batch", "crop", "width", "blocks"):
            if getattr(self, name) < 1:
                raise UsageError(f"`{name}` must be 1 at least, got {getattr(self, name)}")
        if self.crop % 2:
            raise UsageError(f"`crop` must be even, got {self.crop}")
        if not 0 < self.lr < 1:
            raise UsageError(f"`lr` must be between 0 and 1, got {self.lr}")
