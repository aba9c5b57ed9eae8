"""The limit: the decoder's convolutions at the rate that each reaches alone on this device.

Whatever is done, every level has to be decoded. What its convolutions take when nothing else is
done bounds the whole pipeline from below.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.model.devices import wait
from degflow_pipe.pictures.arrays import to_tensor

SECONDS = 0.2
"""How long each shape of convolution runs alone, at least."""


@dataclass(frozen=True)
class Convolution:
    """One convolution and its arguments; a call computes it."""

    function: Any
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    def __call__(self) -> Tensor:
        made: Tensor = self.function(*self.arguments, **self.named)
        return made


class _Convolutions(TorchDispatchMode):
    """Remembers every convolution that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Convolution] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (torch.ops.aten.convolution.default, torch.ops.aten.conv2d.default):
            self.found.append(Convolution(func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def decoder_flops(model: DegFlow, hr: np.ndarray) -> int:
    """Floating point operations that decoding one level of one patch takes.

    hr: (P, P, 3) uint8. Multiply-adds count as two.
    """
    z, prepared = _decoder_input(model, hr[None])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.decoder.decode(z, *prepared)
    # The products of weights in `Fusion.fused` are not of a picture.
    counts = counter.get_flop_counts()["Global"]
    return sum(int(n) for op, n in counts.items() if "conv" in str(op))


def convolutions(model: DegFlow, hr: np.ndarray) -> list[Convolution]:
    """Those of which decoding one level consists; hr: (B, P, P, 3) uint8, computed at once."""
    z, prepared = _decoder_input(model, hr)
    with torch.no_grad(), _Convolutions() as seen:
        model.decoder.decode(z, *prepared)
    return seen.found


def level_seconds(model: DegFlow, hr: np.ndarray, workers: int) -> float:
    """Least seconds for one level of one patch, all workers busy.

    hr: (B, P, P, 3) uint8, the patches that are computed at once, one on the CPU. workers: threads
    that compute at the same time, one on a GPU.
    """
    total = 0.0
    with ThreadPoolExecutor(workers) as pool:
        for convolution in convolutions(model, hr):
            taken = pool.map(lambda _, one=convolution: _alone(model, one), range(workers))
            total += float(np.mean(list(taken)))
    return total / (workers * len(hr))


@torch.no_grad()
def _decoder_input(model: DegFlow, hr: np.ndarray) -> tuple[Tensor, tuple[Tensor, ...]]:
    z, skips = model.encode(to_tensor(hr))
    # Cloned out of inference mode, which no dispatch mode sees into.
    return z.clone(), tuple(part.clone() for part in model.prepared(skips))


@torch.no_grad()
def _alone(model: DegFlow, convolution: Convolution) -> float:
    """Seconds that one convolution takes, again and again."""
    convolution()
    wait(model.device)
    count, taken, began = 0, 0.0, time.perf_counter()
    while taken < SECONDS:
        for _ in range(4):
            convolution()
        wait(model.device)
        count += 4
        taken = time.perf_counter() - began
    return taken / count
