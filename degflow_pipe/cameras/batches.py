"""How patches are computed: in batches on a GPU, one by one on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from degflow_pipe.cameras.asked import Asked, Shown, batch_size
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import DegflowError
from degflow_pipe.noise.drawing import Sources
from degflow_pipe.noise.model import NoiseModel
from degflow_pipe.pictures.arrays import to_tensor


class Computed(NamedTuple):
    """values: on their way from the device. batch: the least that was computed at once, where a
    GPU's memory did not do for what was asked.
    """

    values: Fetched
    batch: int


class Fetched:
    """Values that are copied off a device while it goes on to compute others."""

    def __init__(self, values: Tensor) -> None:
        self._host, self._copied = values, None
        if values.device.type == "cuda":
            self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(values.device))

    def numpy(self) -> np.ndarray:
        """Waits for them."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host.numpy()


@dataclass(frozen=True)
class Batches:
    """size: patches at once. On a GPU the batches go one after the other, while the workers read
    and code pictures. On the CPU each worker computes one patch at a time, so that
    memory stays small: see `model.networks` for why this gives the same bytes as any batch.
    """

    model: DegFlow
    size: int

    @classmethod
    def of(cls, model: DegFlow, batch: int) -> Batches:
        """Raises UsageError for a batch below 1."""
        return cls(model, batch_size(str(model.device), batch))

    def used(self, batch: int) -> dict[str, Any]:
        """What bytes depend on: the kind of device, and on a GPU the least batch."""
        if self.model.device.type == "cpu":
            return {"device": "cpu"}
        return {"device": torch.cuda.get_device_name(self.model.device), "batch": batch}

    def compute(self, function: Callable[..., Tensor], *arrays: np.ndarray) -> Computed:
        """function(*arrays) of up to `size` patches, which lie along the first axis of all.

        In halves, down to single patches, where a GPU's memory does not do. Whoever reads the
        result waits for it, and another computes. Raises DegflowError where the memory does not do
        for one patch.
        """
        with self.model.turn:
            values, batch = self._in_halves(function, *arrays)
            return Computed(Fetched(values), batch)

    def _in_halves(
        self, function: Callable[..., Tensor], *arrays: np.ndarray
    ) -> tuple[Tensor, int]:
        n = len(arrays[0])
        try:
            return function(*arrays), self.size
        except torch.OutOfMemoryError as error:
            if n == 1:
                raise DegflowError(
                    f"out of GPU memory with one patch at a time on {self.model.device}: free "
                    f"some, or give a smaller `patch` to ingest, or cpu as `device`"
                ) from error
        # Not within the handler, whose traceback holds what filled the memory.
        half = (n + 1) // 2
        parts = (slice(half), slice(half, n))
        made = [self._in_halves(function, *(a[p] for a in arrays)) for p in parts]
        return torch.cat([values for values, _ in made]), min(half, *(least for _, least in made))


class Latents(NamedTuple):
    """values: (n, C, h, w) float32. computed: see `Batches.used`."""

    values: np.ndarray
    computed: dict[str, Any]


def latents_of(
    batches: Batches, hr: np.ndarray, tell: Callable[[int], None] | None = None
) -> Latents:
    """Latents of n HR patches, (n, P, P, 3) uint8. tell: takes how many more are done."""
    parts = []
    for i in range(0, len(hr), batches.size):
        part = hr[i : i + batches.size]
        parts.append(batches.compute(lambda x: batches.model.latents(to_tensor(x)), part))
        if tell is not None:
            tell(len(part))
    values = np.concatenate([part.values.numpy() for part in parts])
    return Latents(values, batches.used(min(part.batch for part in parts)))


def shown_at(
    batches: Batches,
    hr: np.ndarray,
    latents: np.ndarray | None,
    asked: Sequence[Asked],
    noise: NoiseModel | None,
    side: int,
) -> Shown:
    """LR of n HR patches at T levels.

    hr: (n, P, P, 3) uint8; latents: (n, C, h, w) float32, or None where one pass of the encoder is
    to give them too. asked: t and the seed of its noise, see `noise.drawing`; a t that comes again
    is decoded once. side: p, pixels of the LR: P, or those of the camera. Patches are cut into
    batches from the first on.
    """
    model, size = batches.model, batches.size
    evaluations = [0]
    levels = sorted({one.t for one in asked})

    def made(hr: np.ndarray, latents: np.ndarray | None = None) -> Tensor:
        """(B, T, p, p, 3) uint8, on the device."""
        x = to_tensor(hr)
        if latents is None:
            z, skips = model.encode(x)
        else:
            z, skips = torch.from_numpy(latents), model.skips(x)
        lr = torch.empty(
            (len(hr), len(asked), side, side, 3), dtype=torch.uint8, device=model.device
        )
        found, sources = model.levels(z, levels, skips), Sources(hr)
        evaluations.append(found.evaluations)
        for level, pictures in zip(levels, found.pictures, strict=True):
            for k, (t, _, seed, own) in enumerate(asked):
                if t == level:
                    lr[:, k] = sources.noisy(pictures, t, noise, seed, (side, side), own)
        return lr

    parts = [slice(i, i + size) for i in range(0, len(hr), size)]
    computed = [
        batches.compute(made, *([hr[part]] if latents is None else [hr[part], latents[part]]))
        for part in parts
    ]
    return Shown(
        np.concatenate([one.values.numpy() for one in computed]),
        max(evaluations),
        min(one.batch for one in computed),
    )
