"""Batches: one at a time on a GPU, in halves where its memory does not do.

The GPU here is a stand-in that holds only so many patches; what a real one does with its memory is
not tested.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from degflow_pipe.cameras.batches import Batches
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import DegflowError, UsageError


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> DegFlow:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Stand-in")
    return cast(DegFlow, SimpleNamespace(device=torch.device("cuda"), turn=Lock()))


class Memory:
    """Adds two arrays; runs out of memory with more than `room` patches."""

    def __init__(self, room: int) -> None:
        self.room, self.tried = room, list[int]()

    def __call__(self, x: np.ndarray, y: np.ndarray) -> Tensor:
        self.tried.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.from_numpy(x + y)


X, Y = np.arange(14.0).reshape(7, 2), np.ones((7, 2))


@pytest.mark.parametrize(("room", "least"), [(7, 8), (4, 4), (3, 2), (1, 1)])
def test_a_batch_that_does_not_fit_is_computed_in_halves(
    gpu: DegFlow, room: int, least: int
) -> None:
    batches, memory = Batches(gpu, 8), Memory(room)
    made = batches.compute(memory, X, Y)
    np.testing.assert_array_equal(made.values.numpy(), X + Y)
    assert made.batch == least
    assert batches.used(made.batch) == {"device": "Stand-in", "batch": least}
    assert sum(n for n in memory.tried if n <= room) == 7, "each patch is computed once"


def test_one_patch_that_does_not_fit_is_an_error_and_not_the_end(gpu: DegFlow) -> None:
    batches = Batches(gpu, 8)
    with pytest.raises(DegflowError, match="out of GPU memory with one patch at a time on cuda"):
        batches.compute(Memory(0), X, Y)
    np.testing.assert_array_equal(batches.compute(Memory(7), X, Y).values.numpy(), X + Y)


def test_what_a_batch_was_cut_to_says_nothing_of_the_next(gpu: DegFlow) -> None:
    """Memory that another process held for a while is no property of what is computed later."""
    batches = Batches(gpu, 8)
    assert batches.compute(Memory(2), X, Y).batch == 2
    assert batches.compute(Memory(8), X, Y).batch == 8


def test_a_gpu_serves_one_at_a_time(gpu: DegFlow) -> None:
    inside = 0
    most = 0

    def busy(x: np.ndarray) -> Tensor:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return torch.from_numpy(x)

    batches = Batches(gpu, 8)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: batches.compute(busy, X), range(8)))
    assert most == 1


def test_the_cpu_computes_one_patch_at_a_time(tiny_model: DegFlow) -> None:
    batches = Batches.of(tiny_model, 8)
    assert (batches.size, batches.used(batches.size)) == (1, {"device": "cpu"})


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_below_1_is_refused(tiny_model: DegFlow, batch: int) -> None:
    with pytest.raises(UsageError, match=f"`batch` must be 1 at least, got {batch}"):
        Batches.of(tiny_model, batch)
