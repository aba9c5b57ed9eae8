"""What of a checkpoint something made with it depends on, written once.

Each is a digest of 12 hex digits; equal ones stand for equal bytes on one kind of device.

- encoder: latents. Weights and the autoencoder's architecture; a tuned solver leaves it as it is.
- pictures: the pixels of an LR of a level t. Weights, architecture, solver, the decoder's
  precision, noise model and its seed.
- scales: which SR scale goes with which level. s_max and the calibration.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from degflow_pipe.checkpoint.folder import CheckpointInfo
from degflow_pipe.levels import NO_NOISE
from degflow_pipe.noise.model import NoiseModel

ARITHMETIC = 3
"""Raised when the same weights give other bytes than before, by however little."""


def encoder_id(info: CheckpointInfo) -> str:
    """What latents depend on."""
    return digest_of([ARITHMETIC, info.weights_sha256, info.model.to_dict()["rae"]])


def noise_id(noise: NoiseModel | None, seed: int) -> str:
    """What an LR carries: `none`, or `calibrated`, the seed and the digest of the noise model."""
    return NO_NOISE if noise is None else f"calibrated-{seed}-{noise.digest}"


def pictures_id(info: CheckpointInfo, precision: str, noise: str) -> str:
    """What the pixels of an LR depend on beside HR and t; noise: see `noise_id`."""
    return digest_of([ARITHMETIC, info.weights_sha256, info.model.to_dict(), precision, noise])


def scales_id(info: CheckpointInfo) -> str:
    """What the scales of levels depend on."""
    measured = None if info.calibration is None else info.calibration.scales
    return digest_of([info.s_max, measured])


def digest_of(parts: list[Any]) -> str:
    """12 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
