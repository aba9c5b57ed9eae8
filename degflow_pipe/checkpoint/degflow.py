"""DegFlow, the public face of a checkpoint: pictures in [0, 1] in, degraded pictures out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from degflow_pipe.checkpoint.folder import CheckpointInfo, find_checkpoint, read_info, read_weights
from degflow_pipe.model.devices import choose_precision, device_of
from degflow_pipe.model.networks import Networks
from degflow_pipe.model.rae import RAE
from degflow_pipe.model.velocity import VelocityNet
from degflow_pipe.noise.drawing import noisy
from degflow_pipe.noise.model import NoiseModel
from degflow_pipe.pictures.arrays import is_grey, to_picture


class DegFlow(Networks):
    """A loaded checkpoint: its networks, its scales and its noise.

    info: what its config.json says. folder: where it was loaded from.
    """

    def __init__(
        self,
        rae: RAE,
        velocity: VelocityNet,
        info: CheckpointInfo,
        folder: Path,
        precision: str = "float32",
    ) -> None:
        super().__init__(rae, velocity, info.model, precision, info.id)
        self.info, self.folder = info, folder

    @classmethod
    def load(cls, path_or_name: str, device: str = "auto", precision: str = "auto") -> DegFlow:
        """Load a checkpoint folder, or a shipped checkpoint by name, onto a device.

        precision: `float32`, `bfloat16`, or `auto`: bfloat16 on CUDA, float32 on the CPU. Raises
        CheckpointError where the checkpoint is missing or does not fit, UsageError for a wrong
        device or precision.
        """
        chosen = device_of(device)
        precision = choose_precision(precision, chosen)
        folder = find_checkpoint(path_or_name)
        info = read_info(folder)
        weights = read_weights(folder, info)
        rae = RAE(info.model.rae)
        velocity = VelocityNet(info.model.velocity, info.model.rae)
        parts = torch.nn.ModuleDict({"rae": rae, "velocity": velocity})
        parts.load_state_dict(weights)
        parts.to(chosen)
        return cls(rae, velocity, info, folder, precision)

    def degrade(self, hr: Tensor, t: Sequence[float], noise: str = "auto", seed: int = 0) -> Tensor:
        """LR pictures of HR pictures at levels t, of the same pixel size.

        hr: (B, 3, H, W) float32 RGB in [0, 1]; t: T levels in [0, 1]; noise: `calibrated` adds what
        the camera would (see `NoiseModel`), seeded by `seed`, the HR picture's bytes and t; `none`
        gives the LR that is expected; `auto` is `calibrated` where the checkpoint is.
        Returns (B, T, 3, H, W) float32 in [0, 1]. Raises UsageError for `calibrated` where the
        checkpoint is not.
        """
        model = self.noise_model(noise)
        lr = self.expected(hr, t)
        bytes_of_hr = to_picture(hr)
        if model is None and not any(map(is_grey, bytes_of_hr)):
            return lr
        levels = [noisy(lr[:, i], bytes_of_hr, t_i, model, seed) for i, t_i in enumerate(t)]
        return torch.stack(levels, dim=1).movedim(-1, -3).to(lr).div(255)

    def noise_model(self, noise: str, own_pixels: bool = False) -> NoiseModel | None:
        """See `CheckpointInfo.noise_model`."""
        return self.info.noise_model(noise, own_pixels)

    def t_of_scale(self, s: float) -> float:
        """Level of an SR scale: by the checkpoint's calibration, else (s - 1) / (s_max - 1).

        Raises UsageError for a scale outside [1, s_max].
        """
        return self.info.t_of_scale(s)
