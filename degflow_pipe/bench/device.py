"""The device at work on a batch: what each part takes there, and how near it is to its limit."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from degflow_pipe.bench.limit import decoder_flops
from degflow_pipe.bench.results import DeviceFigures
from degflow_pipe.cameras.asked import Asked
from degflow_pipe.cameras.batches import Batches, shown_at
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.levels import Grid
from degflow_pipe.model.devices import wait
from degflow_pipe.noise.drawing import Sources
from degflow_pipe.pictures.arrays import to_tensor

REPEATS = 5
SIDE = {"cuda": 8192, "cpu": 1024}
"""Of the square matrices whose product is timed."""
COMPARED = 4
"""Patches that are made on the CPU in float32 too."""


def device_figures(model: DegFlow, hr: np.ndarray, grid: Grid, noise: str) -> DeviceFigures:
    """hr: (B, P, P, 3) uint8, computed at once. noise: as in a run."""
    drawn = model.noise_model(noise)
    x, b = to_tensor(hr), len(hr)
    z, skips = model.encode(x)
    prepared = model.prepared(skips)
    lr, sources = model.decoded(z, skips, prepared), Sources(hr)

    def taken(work: Callable[[], object]) -> float:
        return _median(model.device, work) / b

    decode = taken(lambda: model.decoded(z, skips, prepared))
    matrix = _matrix_rate(model)
    rate = decoder_flops(model, hr[0]) / decode
    asked = [Asked(t, 1.0, 0) for t in grid.t]

    def whole() -> np.ndarray:
        return shown_at(Batches(model, b), hr, None, asked, drawn, hr.shape[1]).values

    made, whole_seconds = whole(), taken(whole)
    busy = 1.0  # a CPU waits for nothing
    if model.device.type == "cuda":
        busy = _device_seconds(model.device, whole) / b / whole_seconds
    exact = DegFlow.load(str(model.folder), "cpu", "float32")
    few = hr[:COMPARED]
    wanted = shown_at(Batches(exact, 1), few, None, asked, drawn, hr.shape[1]).values
    difference = np.abs(made[: len(few)].astype(np.int16) - wanted)
    return DeviceFigures(
        batch=b,
        encode=taken(lambda: model.encode(x)),
        integrate=taken(lambda: model.solve(z, grid.t, skips)),
        decode_a_level=decode,
        noise_a_level=taken(lambda: sources.noisy(lr, grid.t[-1], drawn)),
        whole=whole_seconds,
        busy=busy,
        matrix_tflops=matrix / 1e12,
        decoder_tflops=rate / 1e12,
        decoder_of_matrix=rate / matrix,
        equal=float((difference == 0).mean()),
        share_within_1=float((difference <= 1).mean()),
        max_diff=int(difference.max()),
    )


def _median(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds."""
    found = []
    for i in range(REPEATS + 1):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        if i:  # the first one loads and compiles
            found.append(time.perf_counter() - began)
    return float(np.median(found))


def _matrix_rate(model: DegFlow) -> float:
    """Operations a second of a large product of matrices, in the decoder's numbers."""
    side = SIDE[model.device.type]
    dtype = torch.bfloat16 if model.precision == "bfloat16" else torch.float32
    a, b = (torch.randn(side, side, device=model.device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / _median(model.device, lambda: a @ b)


def _device_seconds(device: torch.device, work: Callable[[], object]) -> float:
    """What a GPU itself computes."""
    activity = torch.profiler.ProfilerActivity.CUDA
    with torch.profiler.profile(activities=[activity]) as profile:
        work()
        wait(device)
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
