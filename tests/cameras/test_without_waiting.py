"""What a GPU computes of a batch, on one that is made up: no tensor is on the wrong device, and
nothing looks at a value, which would wait for it.

The made-up GPU computes shapes alone (torch's FakeTensorMode).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from degflow_pipe.cameras import batches
from degflow_pipe.cameras.batches import Asked, Batches, shown_at
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.noise import by_torch, drawing

CUDA = torch.device("cuda", 0)
KEPT = (by_torch._window, drawing._reading)
"""What is kept for a device."""


class Held:
    """In the place of the copy to the host, which this GPU has nothing for."""

    def __init__(self, values: Tensor) -> None:
        assert values.device == CUDA
        self.values = values

    def numpy(self) -> np.ndarray:
        return np.zeros(self.values.shape, np.uint8 if self.values.dtype == torch.uint8 else None)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(batches, "Fetched", Held)
    yield
    for function in KEPT:
        function.cache_clear()


@contextmanager
def on_cuda(checkpoint: str, precision: str) -> Iterator[DegFlow]:
    """The checkpoint with weights on the made-up GPU, which is there within."""
    model = DegFlow.load(checkpoint, "cpu", precision)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for network in (model.rae, model.velocity, model.decoder):
            for part in network.modules():
                for name, value in (*part._parameters.items(), *part._buffers.items()):
                    if value is not None:
                        there = torch.empty_like(value, device=CUDA)
                        kept = part._parameters if name in part._parameters else part._buffers
                        kept[name] = torch.nn.Parameter(there, requires_grad=False)
        yield model


HR = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("side", [64, 40])
def test_levels_and_noise_are_computed_without_waiting(
    made_up: None, precision: str, side: int
) -> None:
    with on_cuda("city100-compact", precision) as model:
        assert model.device == CUDA
        asked = [Asked(t, 1.0, 0) for t in (0.2, 0.6, 1.0)]
        noise = model.noise_model("auto")
        assert noise is not None
        shown = shown_at(Batches(model, 2), HR, None, asked, noise, side)
        assert shown.values.shape == (3, 3, side, side, 3)


def test_a_look_at_a_value_is_found(made_up: None) -> None:
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        float(torch.zeros(1, device=CUDA).sum())
