"""What a checkpoint knows of its camera beside the networks: scales and noise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from degflow_pipe.errors import UsageError
from degflow_pipe.noise.model import NoiseModel
from degflow_pipe.settings import read


@dataclass(frozen=True)
class Calibration:
    """Measured by `calibrate`.

    scales: [s, t] pairs, both rising, from [1, 0] to t = 1: the level whose equivalent blur is that
    of scale s. noise: of LR of HR's size. own_noise: of LR on the camera's own pixels; None where
    the training pictures were too small to tell.
    """

    scales: list[list[float]]
    noise: NoiseModel
    own_noise: NoiseModel | None = None

    def __post_init__(self) -> None:
        pairs = bool(self.scales) and all(len(pair) == 2 for pair in self.scales)
        table = np.asarray(self.scales if pairs else [[0.0, 0.0]], float)
        if not pairs or not bool((np.diff(table, axis=0) > 0).all()):
            raise UsageError("calibration.scales must be pairs [s, t] that rise in both")
        if table[0].tolist() != [1, 0] or table[-1, 1] != 1:
            raise UsageError(
                f"calibration.scales must go from [1, 0] to t = 1, got {self.scales[0]} and "
                f"{self.scales[-1]}"
            )

    @property
    def own_digest(self) -> str:
        """Of `own_noise`; empty where there is none."""
        return "" if self.own_noise is None else self.own_noise.digest

    def t_of_scale(self, s: float) -> float:
        """Level of a scale; the ends beyond them."""
        scales, levels = zip(*self.scales, strict=True)
        return float(np.interp(s, scales, levels))

    def scale_of_t(self, t: float) -> float:
        """Scale of a level."""
        scales, levels = zip(*self.scales, strict=True)
        return float(np.interp(t, levels, scales))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """Raises UsageError naming the key that is wrong."""
        if not isinstance(data, dict) or not isinstance(data.get("noise"), dict):
            raise UsageError("calibration must be a mapping with scales and noise")
        models = {
            key: NoiseModel.from_dict(data[key], key)
            for key in ("noise", "own_noise")
            if data.get(key) is not None
        }
        return read(cls, {**data, **models}, "calibration")
