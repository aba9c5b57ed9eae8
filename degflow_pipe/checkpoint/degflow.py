"""DegFlow, the public face of the model: pictures in [0, 1] in, degraded pictures out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from degflow_pipe.checkpoint.folder import CheckpointInfo, find_checkpoint, read_info, read_weights
from degflow_pipe.errors import CheckpointError, UsageError
from degflow_pipe.model import rae as _rae
from degflow_pipe.model.config import ModelConfig, SolverConfig
from degflow_pipe.model.devices import choose_device, choose_precision
from degflow_pipe.model.ode import integrate
from degflow_pipe.model.padding import crop, pad
from degflow_pipe.model.rae import RAE
from degflow_pipe.model.velocity import VelocityNet
from degflow_pipe.noise.drawing import NOISE, noisy
from degflow_pipe.noise.model import NoiseModel
from degflow_pipe.pictures.arrays import is_grey, to_picture


class Skips(NamedTuple):
    """HR features for the decoder, with the picture's own size (H, W) before padding."""

    features: tuple[Tensor, ...]
    """The fields of `rae.Skips` that the checkpoint's decoder has."""
    size: tuple[int, int]


class DegFlow:
    """A checkpoint's networks, ready to degrade HR pictures to any level.

    A level's picture depends on the picture, the checkpoint and t alone. On the CPU the samples of
    a batch are computed one by one, because the kernels chosen for another batch size round
    otherwise; on CUDA they are computed together, and bytes repeat at the same batch.

    precision: `float32`, or `bfloat16` for the products of the decoder, which is most of the
    arithmetic; encoder and velocity, whose errors add up along the path, keep float32.
    """

    def __init__(
        self, rae: RAE, velocity: VelocityNet, model: ModelConfig, precision: str = "float32"
    ) -> None:
        self.precision = precision
        self.rae = rae.eval()
        self.velocity = velocity.eval()
        self.model = model
        self.info: CheckpointInfo | None = None
        self.evaluations = 0
        """Evaluations of v in the last solve."""
        self.turn: AbstractContextManager[object] = (
            nullcontext() if self.device.type == "cpu" else Lock()
        )
        """Held by the thread that computes on a GPU: its memory is that of one batch."""

    @classmethod
    def load(cls, path_or_name: str, device: str = "auto", precision: str = "auto") -> DegFlow:
        """Load a checkpoint folder, or a shipped checkpoint by name, onto a device.

        precision: `float32`, `bfloat16`, or `auto`: bfloat16 on CUDA, float32 on the CPU. Raises
        CheckpointError where the checkpoint is missing or does not fit, UsageError for a wrong
        device or precision.
        """
        chosen = choose_device(device)
        precision = choose_precision(precision, chosen)
        folder = find_checkpoint(path_or_name)
        info = read_info(folder)
        weights = read_weights(folder, info)
        rae = RAE(info.model.rae)
        velocity = VelocityNet(info.model.velocity, info.model.rae)
        parts = torch.nn.ModuleDict({"rae": rae, "velocity": velocity})
        parts.load_state_dict(weights)
        parts.to(chosen)
        face = cls(rae, velocity, info.model, precision)
        face.info = info
        return face

    @property
    def device(self) -> torch.device:
        return next(self.rae.parameters()).device

    @torch.inference_mode()
    def encode(self, hr: Tensor) -> tuple[Tensor, Skips]:
        """HR pictures to latents and skips.

        hr: (B, 3, H, W) float32 in [0, 1], any size. Returns z (B, C, H'/8, W'/8) with H', W' the
        sides padded to multiples of `model.side_multiple`, and the skips.
        """
        x = self._padded(hr)
        z, *features = self._by_sample(lambda one: _flat(self.rae.encoder(one)), x)
        return z, Skips(tuple(features), (hr.shape[2], hr.shape[3]))

    @torch.inference_mode()
    def latents(self, hr: Tensor) -> Tensor:
        """The z of `encode`, bit for bit, without the skips."""
        x = self._padded(hr)
        return self._by_sample(lambda one: (self.rae.encoder.latent(one),), x)[0]

    @torch.inference_mode()
    def trajectory(
        self,
        z: Tensor,
        t: Sequence[float],
        skips: Skips | None = None,
        solver: SolverConfig | None = None,
    ) -> Tensor:
        """Latents at levels t, in one solve of the ODE from the latents of HR.

        z: (B, C, h, w); t: T levels in [0, 1]; skips: what `encode` returned, needed where the
        velocity is conditioned on them; solver: another than the checkpoint's.
        Returns (B, T, C, h, w).
        """
        solver = solver or self.model.solver

        def solve(z_one: Tensor, *features: Tensor) -> tuple[Tensor]:
            # The context is prepared once a picture, not once an evaluation.
            context = self.velocity.context(_rae.Skips(*features) if features else None)
            latents, self.evaluations = integrate(
                lambda z_t, t_b: self.velocity(z_t, t_b, context), z_one, t, solver
            )
            return (latents,)

        features = () if skips is None else skips.features
        path = self._by_sample(solve, z.to(self.device), *features)[0]
        self._check(path, "latents")
        return path

    @torch.inference_mode()
    def decode(self, z_t: Tensor, skips: Skips) -> Tensor:
        """Latents of levels to pictures, with the skips of their HR pictures.

        z_t: (B, C, h, w) or (B, T, C, h, w). Returns (B, 3, H, W) or (B, T, 3, H, W), float32 in
        [0, 1], cropped to the HR picture's size.
        """
        path = z_t if z_t.ndim == 5 else z_t[:, None]
        pictures = torch.stack(list(self.decode_levels(path, skips)), dim=1)
        return pictures if z_t.ndim == 5 else pictures[:, 0]

    def decode_levels(self, z_t: Tensor, skips: Skips) -> Iterator[Tensor]:
        """`decode` of (B, T, C, h, w), level by level: T pictures (B, 3, H, W), one at a time.

        What does not depend on the level is computed once.
        """
        with torch.inference_mode():
            prepared = self._by_sample(
                lambda *features: self.rae.decoder.prepare(_rae.Skips(*features)), *skips.features
            )
        for z in z_t.to(self.device).unbind(1):
            # Not around the yield, which would lend the modes to the caller.
            with torch.inference_mode(), self._autocast():
                pictures = self._by_sample(lambda *x: (self.rae.decoder.decode(*x),), z, *prepared)
                picture = crop(pictures[0].float(), skips.size).clamp(-1, 1).add(1).mul(0.5)
                self._check(picture, "LR")
            yield picture

    def levels(
        self, z: Tensor, t: Sequence[float], skips: Skips, solver: SolverConfig | None = None
    ) -> Iterator[Tensor]:
        """LR without noise at levels t, of what `encode` returned, one level at a time.

        z, t, skips, solver: see `trajectory`. Yields T pictures (B, 3, H, W), float32 in [0, 1].
        Levels between those that the solver decodes are drawn on straight lines.
        """
        solver = solver or self.model.solver
        lines = [solver.decoded(float(level)) for level in t]
        needed = sorted({end for *ends, _ in lines for end in ends})
        last_use = {end: i for i, (*ends, _) in enumerate(lines) for end in ends}
        path = self.trajectory(z, needed, skips, solver)
        decoded = zip(needed, self.decode_levels(path, skips), strict=True)
        held: dict[float, Tensor] = {}
        for i, (left, right, weight) in enumerate(lines):
            while right not in held:
                level, picture = next(decoded)
                held[level] = picture
            yield held[left].lerp(held[right], weight) if weight else held[left]
            for end in {left, right}:
                if last_use[end] == i:
                    del held[end]

    def degrade(self, hr: Tensor, t: Sequence[float], noise: str = "auto", seed: int = 0) -> Tensor:
        """LR pictures of HR pictures at levels t, of the same pixel size.

        hr: (B, 3, H, W) float32 RGB in [0, 1]; t: T levels in [0, 1]; noise: `calibrated` adds what
        the camera would (see `NoiseModel`), seeded by `seed`, the HR picture's bytes and t; `none`
        gives the LR that is expected; `auto` is `calibrated` where the checkpoint is.
        Returns (B, T, 3, H, W) float32 in [0, 1]. Raises UsageError for `calibrated` where the
        checkpoint is not.
        """
        model = self.noise_model(noise)
        z, skips = self.encode(hr)
        lr = torch.stack(list(self.levels(z, t, skips)), dim=1)
        bytes_of_hr = to_picture(hr)
        if model is None and not any(map(is_grey, bytes_of_hr)):
            return lr
        levels = [
            torch.from_numpy(noisy(lr[:, i], bytes_of_hr, t_i, model, seed))
            for i, t_i in enumerate(t)
        ]
        return torch.stack(levels, dim=1).movedim(-1, -3).to(lr).div(255)

    def noise_model(self, noise: str) -> NoiseModel | None:
        """What `noise` means for this checkpoint: see `degrade`. None for no noise."""
        if noise not in NOISE:
            raise UsageError(f"--noise must be one of {', '.join(NOISE)}, got {noise!r}")
        calibration = self.info.calibration if self.info else None
        if noise == "none" or (noise == "auto" and calibration is None):
            return None
        if calibration is None:
            raise UsageError(
                "--noise calibrated: this checkpoint has no noise model: measure it with "
                "`degflow-pipe calibrate`, or say --noise none"
            )
        return calibration.noise

    def t_of_scale(self, s: float) -> float:
        """Level of an SR scale: by the checkpoint's calibration, else (s - 1) / (s_max - 1).

        Raises UsageError for a scale outside [1, s_max].
        """
        assert self.info is not None
        return self.info.t_of_scale(s)

    def _check(self, made: Tensor, what: str) -> None:
        """Raises CheckpointError for what is no number, on the CPU: a GPU would be waited for."""
        if made.device.type == "cpu" and not math.isfinite(float(made.sum(dtype=torch.float64))):
            name = self.info.id if self.info else "this model"
            raise CheckpointError(
                f"the {what} of {name} are NaN or infinite: its weights or its solver are of no use"
            )

    def _padded(self, hr: Tensor) -> Tensor:
        """HR as the networks take it."""
        if hr.ndim != 4 or hr.shape[1] != 3 or hr.dtype != torch.float32:
            raise ValueError(f"hr must be (B, 3, H, W) float32, got {tuple(hr.shape)} {hr.dtype}")
        return pad(hr.to(self.device).mul(2).sub(1), self.model.side_multiple)

    def _autocast(self) -> AbstractContextManager[object]:
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _by_sample(
        self, compute: Callable[..., tuple[Tensor, ...]], *batch: Tensor
    ) -> tuple[Tensor, ...]:
        if self.device.type != "cpu" or len(batch[0]) == 1:
            return compute(*batch)
        rows = [compute(*(x[i : i + 1] for x in batch)) for i in range(len(batch[0]))]
        return tuple(torch.cat(column) for column in zip(*rows, strict=True))


def _flat(encoded: tuple[Tensor, _rae.Skips]) -> tuple[Tensor, ...]:
    z, skips = encoded
    return (z, *(part for part in skips if part is not None))
