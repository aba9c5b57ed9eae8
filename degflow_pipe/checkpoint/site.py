"""Where a checkpoint lies and what it says of itself, as data that can be pickled; its networks
are loaded where they compute.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from degflow_pipe import files, json_files
from degflow_pipe.checkpoint.folder import (
    CheckpointInfo,
    check_weights,
    find_checkpoint,
    read_info,
)
from degflow_pipe.errors import CheckpointError
from degflow_pipe.model.devices import choose_precision, device_of
from degflow_pipe.places import place_of, text_of

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow


@dataclass(frozen=True)
class Site:
    """A checkpoint's folder, and how it is to be loaded.

    digest: of what it says of itself, so that a worker does not compute with another one. info:
    that. held: the loaded model, in the process that has it; it does not travel.
    """

    folder: str
    device: str
    precision: str
    digest: str
    info: CheckpointInfo = field(compare=False, repr=False)
    held: DegFlow | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, model: DegFlow) -> Site:
        return cls(
            folder=text_of(files.real(model.folder)),
            device=str(model.device),
            precision=model.precision,
            digest=_digest(model.info),
            info=model.info,
            held=model,
        )

    @classmethod
    def find(cls, path_or_name: str, device: str = "auto", precision: str = "auto") -> Site:
        """A checkpoint that is not loaded yet: see `DegFlow.load`, whose errors of the weights come
        with `load`.
        """
        chosen = device_of(device)
        precision = choose_precision(precision, chosen)
        folder = find_checkpoint(path_or_name)
        info = read_info(folder)
        return cls(text_of(files.real(folder)), chosen, precision, _digest(info), info)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "held": None}

    def require(self, loads: bool) -> None:
        """Raises CheckpointError where the checkpoint is damaged; for those who are about to make
        something with it. loads: whether this process computes, and so loads it now; else its
        weights are held against their sum alone.
        """
        if loads:
            self.load()
        elif self.held is None:
            check_weights(place_of(self.folder), self.info)

    def load(self) -> DegFlow:
        """The model. Raises CheckpointError where the folder holds another one by now."""
        if self.held is not None:
            return self.held
        from degflow_pipe.checkpoint.degflow import DegFlow

        model = DegFlow.load(self.folder, self.device, self.precision)
        if _digest(model.info) != self.digest:
            raise CheckpointError(
                f"{self.folder} was changed while it was in use: run the same command again"
            )
        object.__setattr__(self, "held", model)  # this process's, from now on
        return model


def _digest(info: CheckpointInfo) -> str:
    # What was measured of it, and told in its card, does not change what it computes.
    told = {"judged", "card_sha256", "card_becomes"}
    text = json_files.text_of({k: v for k, v in info.to_dict().items() if k not in told})
    return hashlib.sha256(text.encode()).hexdigest()
