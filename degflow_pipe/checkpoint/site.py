"""Where a worker finds a checkpoint, as data that can be pickled."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import CheckpointError
from degflow_pipe.places import text_of


@dataclass(frozen=True)
class Site:
    """A checkpoint's folder, and how it is to be loaded.

    digest: of what it says of itself, so that a worker does not compute with another one. held: the
    loaded model, in the process that has it; it does not travel.
    """

    folder: str
    device: str
    precision: str
    digest: str
    held: DegFlow | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, model: DegFlow) -> Site:
        return cls(
            folder=text_of(files.real(model.folder)),
            device=str(model.device),
            precision=model.precision,
            digest=_digest(model),
            held=model,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "held": None}

    def load(self) -> DegFlow:
        """The model. Raises CheckpointError where the folder holds another one by now."""
        if self.held is not None:
            return self.held
        model = DegFlow.load(self.folder, self.device, self.precision)
        if _digest(model) != self.digest:
            raise CheckpointError(
                f"{self.folder} was changed while it was in use: run the same command again"
            )
        object.__setattr__(self, "held", model)  # this process's, from now on
        return model


def _digest(model: DegFlow) -> str:
    # What was measured of it, and told in its card, does not change what it computes.
    told = {"judged", "card_sha256", "card_becomes"}
    text = files.json_text({k: v for k, v in model.info.to_dict().items() if k not in told})
    return hashlib.sha256(text.encode()).hexdigest()
