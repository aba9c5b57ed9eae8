"""The processes and the precision of a training run, by Accelerate.

Started plainly there is one process; `accelerate launch` starts several, and each takes its part of
every batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from degflow_pipe.checkpoint.torch_files import check_keys
from degflow_pipe.errors import CheckpointError, UsageError
from degflow_pipe.model.devices import choose_device
from degflow_pipe.settings import shown
from degflow_pipe.training.extra import check_installed

PATIENCE = timedelta(hours=12)
"""For which processes wait for one another: the first one checks all pairs and validates alone."""
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


class Processes:
    """This process among those that train together.

    Raises UsageError where Accelerate is not installed, or the device or the precision cannot be
    had.
    """

    def __init__(self, device: str, precision: str) -> None:
        check_installed()
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from accelerate.utils import InitProcessGroupKwargs

        chosen = choose_device(device)
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        if several and chosen.index is not None:
            raise UsageError(f"`device={device}`: several processes take a GPU each; say cuda")
        if precision == "fp16" and chosen.type == "cpu":
            raise UsageError("precision fp16 needs a GPU: say bf16 or fp32")
        if chosen.index is not None:
            os.environ["ACCELERATE_TORCH_DEVICE"] = str(chosen)
        if not several:
            # Accelerate keeps the state of an earlier run of this process and refuses another
            # precision or device.
            AcceleratorState._reset_state(reset_partial_state=True)
        if os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1") != "1":
            raise UsageError(
                "gradient accumulation is the recipe's `accumulate`: leave it out of Accelerate's "
                "configuration"
            )
        self._accelerator = Accelerator(
            cpu=chosen.type == "cpu",
            mixed_precision=PRECISIONS[precision],
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
        self.device: torch.device = self._accelerator.device
        self.count: int = self._accelerator.num_processes
        self.number: int = self._accelerator.process_index
        self.first: bool = self._accelerator.is_main_process

    def prepare(
        self, network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The network as it is called in training, and the optimiser that steps it."""
        forward, stepper = self._accelerator.prepare(network, optimizer)
        return forward, stepper

    @contextmanager
    def sync_gradients(self, forward: nn.Module, now: bool) -> Iterator[None]:
        """Average the gradients over the processes in this backward pass, or leave them."""
        if now:
            yield
        else:
            with self._accelerator.no_sync(forward):
                yield

    def backward(self, loss: Tensor) -> None:
        self._accelerator.backward(loss)

    def clip(self, parameters: Iterable[nn.Parameter], norm: float) -> float:
        """Bring the gradient's norm down to `norm` where it is larger; returns what it was."""
        return float(self._accelerator.clip_grad_norm_(parameters, norm) or 0.0)

    @property
    def scales(self) -> bool:
        """Whether losses are scaled, as with fp16; steps that overflow are then left out."""
        return self._accelerator.scaler is not None

    def mean(self, value: Tensor) -> float:
        """The mean of a scalar over the processes."""
        return float(self._accelerator.reduce(value, "mean"))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all of them ask at the same place."""
        if self.count == 1:
            return flag
        flags = torch.tensor(float(flag), device=self.device)
        return float(self._accelerator.reduce(flags, "sum")) > 0

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()

    def scaler_state(self) -> dict[str, Any] | None:
        scaler = self._accelerator.scaler
        return scaler and scaler.state_dict()

    def load_scaler(self, state: dict[str, Any] | None) -> None:
        """Raises CheckpointError for what is no scaler's state."""
        if self._accelerator.scaler is None or state is None:
            return
        own = self._accelerator.scaler.state_dict()
        numbers = check_keys(state, tuple(own))
        if not all(type(v) in (int, float) and 0 <= v < 1e30 for v in numbers.values()):
            raise CheckpointError(f"scaler: {shown(numbers)}")
        self._accelerator.scaler.load_state_dict(numbers)
