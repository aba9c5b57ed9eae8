"""What `camera` returns; its JSON has these fields by their names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from degflow_pipe.checkpoint.verdict import Verdict


@dataclass(frozen=True)
class CameraSummary:
    """A camera that was learned.

    checkpoint: its folder; id: of the checkpoint. pairs: their folder; recipe: what says how it was
    trained. done: steps that were done now; known: those that were done before. steps: of each
    stage. psnr: of SR of real LR by what the network was trained on, dB, `untouched` for LR as it
    is; recovered: the share of the gap between bicubic and real that `ours` closes, None where the
    seeds do not resolve the gap.
    """

    checkpoint: str
    id: str
    pairs: str
    recipe: str
    done: list[str]
    known: list[str]
    steps: dict[str, int]
    psnr: dict[str, float]
    recovered: float | None
    preview: str
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
