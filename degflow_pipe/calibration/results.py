"""What `calibrate` and `tune-solver` return; their JSON has these fields by their names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from degflow_pipe.checkpoint.verdict import Verdict
from degflow_pipe.model.config import SolverConfig


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` measured and wrote into a checkpoint.

    checkpoint: its folder; id: of the checkpoint. scenes: training scenes that were read. scales:
    [s, t] pairs, see `Calibration`. noise: digest of the noise model; noise_t: the levels that it
    was measured at, rising. own_noise: of that on the camera's own pixels; empty where the pictures
    were too small. verdict: on the checkpoint so far.
    """

    checkpoint: str
    id: str
    scenes: int
    scales: list[list[float]]
    noise: str
    noise_t: list[float]
    own_noise: str
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TunedSolver:
    """What `tune-solver` found and wrote into a checkpoint.

    checkpoint: its id with the new solver. photos: that were compared on. before: its solver until
    now. evaluations, reference_evaluations: of v for a picture, all levels together, of the new
    solver and of the solve at 1e-6. share_within_1: least share of the pixels of a level that are
    within one grey level of that solve; max_diff: largest difference in grey levels. lines: between
    decoded levels; 0 where each level has to be decoded.
    """

    checkpoint: str
    photos: int
    before: SolverConfig
    solver: SolverConfig
    evaluations: int
    reference_evaluations: int
    share_within_1: float
    max_diff: int
    lines: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
