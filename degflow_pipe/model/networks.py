"""The networks of a checkpoint at work: pictures in [0, 1] to latents, levels and back.

They know tensors alone. `checkpoint.degflow.DegFlow` is the same with all that a checkpoint knows
of its camera beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor

from degflow_pipe.errors import CheckpointError
from degflow_pipe.model.compiled import compiled
from degflow_pipe.model.config import ModelConfig, SolverConfig
from degflow_pipe.model.devices import turn_of
from degflow_pipe.model.ode import integrate
from degflow_pipe.model.padding import crop, pad
from degflow_pipe.model.rae import RAE, Skips
from degflow_pipe.model.velocity import VelocityNet


class SizedSkips(NamedTuple):
    """HR features for the decoder, with the picture's own size (H, W) before padding."""

    features: tuple[Tensor, ...]
    """The fields of `rae.Skips` that the checkpoint's decoder has."""
    size: tuple[int, int]


class Levels(NamedTuple):
    """pictures: T of (B, 3, H, W), float32 in [0, 1], each decoded when it is asked for.
    evaluations: of v for a picture.
    """

    pictures: Iterator[Tensor]
    evaluations: int


class Solved(NamedTuple):
    """latents: (B, T, C, h, w), at the levels asked for. evaluations: of v for a picture."""

    latents: Tensor
    evaluations: int


class Networks:
    """Autoencoder and velocity, ready to degrade HR pictures to any level.

    A level's picture depends on the picture, the checkpoint and t alone. On the CPU the samples of
    a batch are computed one by one, because the kernels chosen for another batch size round
    otherwise; on CUDA they are computed together, and bytes repeat at the same batch.

    precision: `float32`, or `bfloat16` for the decoder, which is most of the arithmetic, and which
    is compiled for it on CUDA, where the velocity's convolutions are in TF32 then. The encoder
    keeps float32, so that latents are the same. name: what errors call them.
    """

    def __init__(
        self,
        rae: RAE,
        velocity: VelocityNet,
        config: ModelConfig,
        precision: str = "float32",
        name: str = "these networks",
    ) -> None:
        self.precision, self.name = precision, name
        self.rae = rae.eval()
        self.velocity = velocity.eval()
        self.config = config
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.decoder = self.rae.decoder
        if self._dtype != torch.float32:
            self.decoder = deepcopy(self.decoder).to(self._dtype)
        self._decode = self.decoder.decode
        if self.device.type == "cuda" and precision == "bfloat16":
            # The norms between the convolutions, each a pass over memory, take twice their time.
            self._decode = compiled(self.decoder.decode)
        self.turn = turn_of(self.device)

    @property
    def device(self) -> torch.device:
        return next(self.rae.parameters()).device

    @torch.inference_mode()
    def encode(self, hr: Tensor) -> tuple[Tensor, SizedSkips]:
        """HR pictures to latents and skips.

        hr: (B, 3, H, W) float32 in [0, 1], any size. Returns z (B, C, H'/8, W'/8) with H', W' the
        sides padded to multiples of `config.side_multiple`, and the skips.
        """
        x = self._padded(hr)
        z, *features = self._by_sample(lambda one: _flat(self.rae.encoder(one)), x)
        return z, SizedSkips(tuple(features), (hr.shape[2], hr.shape[3]))

    @torch.inference_mode()
    def skips(self, hr: Tensor) -> SizedSkips:
        """The skips of `encode`, bit for bit, without what only the latents need."""
        features = self._by_sample(
            lambda one: _parts(self.rae.encoder.skips(one)), self._padded(hr)
        )
        return SizedSkips(features, (hr.shape[2], hr.shape[3]))

    @torch.inference_mode()
    def latents(self, hr: Tensor) -> Tensor:
        """The z of `encode`, bit for bit, without the skips."""
        x = self._padded(hr)
        return self._by_sample(lambda one: (self.rae.encoder.latent(one),), x)[0]

    @torch.inference_mode()
    def solve(
        self,
        z: Tensor,
        t: Sequence[float],
        skips: SizedSkips | None = None,
        solver: SolverConfig | None = None,
    ) -> Solved:
        """Latents at levels t, in one solve of the ODE from the latents of HR.

        z: (B, C, h, w); t: T levels in [0, 1]; skips: what `encode` returned, needed where the
        velocity is conditioned on them; solver: another than the checkpoint's.
        """
        solver = solver or self.config.solver
        evaluations = [0]

        def solve_one(z_one: Tensor, *features: Tensor) -> tuple[Tensor]:
            # The context is prepared once a picture, not once an evaluation.
            context = self.velocity.context(Skips(*features) if features else None)
            latents, needed = integrate(
                lambda z_t, t_b: self.velocity(z_t, t_b, context), z_one, t, solver
            )
            evaluations.append(needed)
            return (latents,)

        features = () if skips is None else skips.features
        with self._rounding():
            path = self._by_sample(solve_one, z.to(self.device), *features)[0]
        self._check(path, "latents")
        return Solved(path, max(evaluations))

    def trajectory(
        self,
        z: Tensor,
        t: Sequence[float],
        skips: SizedSkips | None = None,
        solver: SolverConfig | None = None,
    ) -> Tensor:
        """The latents of `solve`, (B, T, C, h, w)."""
        return self.solve(z, t, skips, solver).latents

    @torch.inference_mode()
    def decode(self, z_t: Tensor, skips: SizedSkips) -> Tensor:
        """Latents of levels to pictures, with the skips of their HR pictures.

        z_t: (B, C, h, w) or (B, T, C, h, w). Returns (B, 3, H, W) or (B, T, 3, H, W), float32 in
        [0, 1], cropped to the HR picture's size.
        """
        path = z_t if z_t.ndim == 5 else z_t[:, None]
        pictures = torch.stack(list(self.decode_levels(path, skips)), dim=1)
        return pictures if z_t.ndim == 5 else pictures[:, 0]

    def decode_levels(self, z_t: Tensor, skips: SizedSkips) -> Iterator[Tensor]:
        """`decode` of (B, T, C, h, w), level by level: T pictures (B, 3, H, W), one at a time.

        What does not depend on the level is computed once.
        """
        prepared = self.prepared(skips)
        for z in z_t.to(self.device).unbind(1):
            yield self.decoded(z, skips, prepared)

    @torch.inference_mode()
    def prepared(self, skips: SizedSkips) -> tuple[Tensor, ...]:
        """All that the decoder needs of HR, the same at every level."""
        return self._by_sample(
            lambda *features: self.rae.decoder.prepare(Skips(*features), self._dtype),
            *skips.features,
        )

    @torch.inference_mode()
    def decoded(self, z: Tensor, skips: SizedSkips, prepared: tuple[Tensor, ...]) -> Tensor:
        """`decode` of one level, (B, C, h, w); prepared: what `prepared` returned."""
        pictures = self._by_sample(lambda *x: (self._decode(*x),), z, *prepared)
        picture = crop(pictures[0], skips.size).clamp(-1, 1).add(1).mul(0.5)
        self._check(picture, "LR")
        return picture

    def levels(
        self,
        z: Tensor,
        t: Sequence[float],
        skips: SizedSkips,
        solver: SolverConfig | None = None,
    ) -> Levels:
        """LR without noise at levels t, of what `encode` returned, one level at a time.

        z, t, skips, solver: see `solve`. Levels between those that the solver decodes are drawn on
        straight lines.
        """
        solver = solver or self.config.solver
        lines = [solver.decoded(float(level)) for level in t]
        needed = sorted({end for *ends, _ in lines for end in ends})
        solved = self.solve(z, needed, skips, solver)
        decoded = zip(needed, self.decode_levels(solved.latents, skips), strict=True)
        return Levels(_on_lines(lines, decoded), solved.evaluations)

    def expected(self, hr: Tensor, t: Sequence[float]) -> Tensor:
        """LR without noise of HR pictures, (B, 3, H, W) float32 in [0, 1], at levels t.

        Returns (B, T, 3, H, W) float32 in [0, 1].
        """
        z, skips = self.encode(hr)
        return torch.stack(list(self.levels(z, t, skips).pictures), dim=1)

    def _check(self, made: Tensor, what: str) -> None:
        """Raises CheckpointError for what is no number, on the CPU: a GPU would be waited for."""
        if made.device.type == "cpu" and not math.isfinite(float(made.sum(dtype=torch.float64))):
            raise CheckpointError(
                f"the {what} of {self.name} are NaN or infinite: its weights or its solver are of "
                f"no use"
            )

    def _padded(self, hr: Tensor) -> Tensor:
        """HR as the networks take it."""
        if hr.ndim != 4 or hr.shape[1] != 3 or hr.dtype != torch.float32:
            raise ValueError(f"hr must be (B, 3, H, W) float32, got {tuple(hr.shape)} {hr.dtype}")
        return pad(hr.to(self.device).mul(2).sub(1), self.config.side_multiple)

    def _rounding(self) -> AbstractContextManager[object]:
        """How the velocity's convolutions round; in TF32 they take a third of the time."""
        if self.device.type == "cpu" or self.precision == "float32":
            return nullcontext()
        cudnn = torch.backends.cudnn
        return cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True)

    def _by_sample(
        self, compute: Callable[..., tuple[Tensor, ...]], *batch: Tensor
    ) -> tuple[Tensor, ...]:
        if self.device.type != "cpu" or len(batch[0]) == 1:
            return compute(*batch)
        rows = [compute(*(x[i : i + 1] for x in batch)) for i in range(len(batch[0]))]
        return tuple(torch.cat(column) for column in zip(*rows, strict=True))


def _on_lines(
    lines: list[tuple[float, float, float]], decoded: Iterator[tuple[float, Tensor]]
) -> Iterator[Tensor]:
    """A picture for each (left, right, weight) between decoded levels; each is let go in time."""
    last_use = {end: i for i, (*ends, _) in enumerate(lines) for end in ends}
    held: dict[float, Tensor] = {}
    for i, (left, right, weight) in enumerate(lines):
        while right not in held:
            level, picture = next(decoded)
            held[level] = picture
        yield held[left].lerp(held[right], weight) if weight else held[left]
        for end in {left, right}:
            if last_use[end] == i:
                del held[end]


def _parts(skips: Skips) -> tuple[Tensor, ...]:
    return tuple(part for part in skips if part is not None)


def _flat(encoded: tuple[Tensor, Skips]) -> tuple[Tensor, ...]:
    z, skips = encoded
    return (z, *_parts(skips))
