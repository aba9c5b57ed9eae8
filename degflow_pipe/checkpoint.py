"""Checkpoint folders: model.safetensors, config.json and a model card (README.md).

Reading a checkpoint's description needs no torch; its weights do.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from degflow_pipe import files, shipped
from degflow_pipe.errors import CheckpointError, DegflowError, UsageError
from degflow_pipe.model.calibration import Calibration
from degflow_pipe.model.config import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "degflow-pipe checkpoint"
VERSION = 1
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


@dataclass(frozen=True)
class CheckpointInfo:
    """What config.json says.

    levels: the training levels, `[{"name": "HR", "t": 0.0}, ...]`. s_max: the SR scale of t = 1.
    training: settings and figures of the training run. data: source and licence of the pairs.
    calibration: what `calibrate` measured; None where it has not.
    """

    name: str
    model: ModelConfig
    levels: list[dict[str, Any]]
    s_max: float
    weights_sha256: str
    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None

    @property
    def id(self) -> str:
        """Name and digest of weights, architecture and solver: equal ids give equal pictures."""
        text = json.dumps([self.weights_sha256, self.model.to_dict()], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def t_of_scale(self, s: float) -> float:
        """Level of an SR scale: by the calibration, else t = (s - 1) / (s_max - 1).

        Raises UsageError for a scale outside [1, s_max].
        """
        if not 1 <= s <= self.s_max:
            raise UsageError(
                f"scale {s:g} is outside the scales of this checkpoint, 1 to {self.s_max:g} (t = 1)"
            )
        if self.calibration is None:
            return (s - 1) / (self.s_max - 1)
        return self.calibration.t_of_scale(s)

    def scale_of_t(self, t: float) -> float:
        """SR scale of a level, to six decimals: `t_of_scale` turned round."""
        s = 1 + t * (self.s_max - 1) if self.calibration is None else self.calibration.scale_of_t(t)
        return round(s, 6)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "model": self.model.to_dict(),
            "levels": self.levels,
            "scale": {"mapping": "t = (s - 1) / (s_max - 1)", "s_max": self.s_max},
            "weights_sha256": self.weights_sha256,
            "training": self.training,
            "data": self.data,
            **({"calibration": self.calibration.to_dict()} if self.calibration else {}),
        }


def find_checkpoint(path_or_name: str) -> Path:
    """A checkpoint folder by path, or a shipped one by name. Raises CheckpointError for neither."""
    path = Path(path_or_name)
    if files.exists(path / CONFIG):
        return path
    found = shipped.find("checkpoints", path_or_name)
    if found is None:
        known = ", ".join(shipped.names("checkpoints"))
        raise CheckpointError(
            f"no checkpoint {path_or_name}: neither a folder with {CONFIG} nor one of the shipped "
            f"ones ({known})"
        )
    return found


def own_checkpoint(path_or_name: str) -> Path:
    """A checkpoint folder that may be changed. Raises UsageError for a shipped one by name.

    It belongs to the installation, and stores that were made with it would be locked out.
    """
    folder = find_checkpoint(path_or_name)
    if folder != Path(path_or_name):
        raise UsageError(
            f"{path_or_name} is a shipped checkpoint: copy its folder, {folder}, and give the copy"
        )
    return folder


def read_info(folder: Path) -> CheckpointInfo:
    """Read config.json. Raises CheckpointError where it is damaged, foreign or too new."""
    path = folder / CONFIG
    data = files.read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a {FORMAT}")
    if data.get("version") != VERSION:
        raise CheckpointError(
            f"{path} is of version {data.get('version')!r}, this degflow-pipe reads {VERSION}: "
            f"upgrade degflow-pipe"
        )
    try:
        info = CheckpointInfo(
            name=str(data["name"]),
            model=ModelConfig.from_dict(data["model"]),
            levels=[{"name": str(v["name"]), "t": float(v["t"])} for v in data["levels"]],
            s_max=float(data["scale"]["s_max"]),
            weights_sha256=str(data["weights_sha256"]),
            training=dict(data.get("training", {})),
            data=dict(data.get("data", {})),
            calibration=Calibration.from_dict(data["calibration"])
            if "calibration" in data
            else None,
        )
    except (KeyError, TypeError, ValueError, DegflowError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if not info.s_max > 1:
        raise CheckpointError(f"{path}: scale.s_max must be above 1, got {info.s_max}")
    return info


def read_weights(folder: Path, info: CheckpointInfo) -> dict[str, Tensor]:
    """Read model.safetensors, checked against the digest in config.json.

    Raises CheckpointError where it is missing, damaged or not the file that config.json describes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / WEIGHTS
    if not files.exists(path):
        raise CheckpointError(f"{folder} is not whole: {WEIGHTS} is missing")
    data = files.read_bytes(path)
    if hashlib.sha256(data).hexdigest() != info.weights_sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in {CONFIG}")
    try:
        return load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def write_checkpoint(
    folder: Path, weights: dict[str, Tensor], card: str, **description: Any
) -> CheckpointInfo:
    """Write a checkpoint folder, config.json last.

    description: the fields of CheckpointInfo but for weights_sha256.
    """
    from safetensors.torch import save

    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    data = save(tensors)
    info = CheckpointInfo(weights_sha256=hashlib.sha256(data).hexdigest(), **description)
    files.write_bytes(folder / WEIGHTS, data)
    files.write_text(folder / CARD, card)
    write_info(folder, info)
    return info


def write_info(folder: Path, info: CheckpointInfo) -> None:
    """Write config.json alone."""
    files.write_json(folder / CONFIG, info.to_dict())
