"""SR networks of the same size in and out: our small one, and those that spandrel carries."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from degflow_pipe.errors import UsageError
from degflow_pipe.model.limits import MOST_WEIGHTS
from degflow_pipe.proxy.budget import Budget
from degflow_pipe.proxy.network import SmallSR
from degflow_pipe.proxy.recipe import SAME_SIZE

SCALE = ("scale", "upscale", "up_scale", "upscale_factor", "upscaling_factor")
"""What spandrel's architectures call the factor by which SR is larger."""
CHANNELS = ("num_in_ch", "num_out_ch", "in_nc", "out_nc")
"""What some of them call the channels of a picture and give no default, or another than 3."""
WINDOW = 8
"""Side of attention windows where the default does not divide MULTIPLE."""
MOST_PARAMETERS = 20_000
"""Tensors of weights; the largest of spandrel's with their defaults have some 2,000."""
MULTIPLE = 64
"""Sides of what those are given; attention windows, strides and shuffles divide it."""


@dataclass(frozen=True)
class Architecture:
    """Which network. settings: arguments of one of spandrel's beside its scale, which is 1."""

    name: str = SAME_SIZE
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def multiple(self) -> int:
        """Sides of its pictures must be multiples of this."""
        return 2 if self.name == SAME_SIZE else MULTIPLE

    def build(self, budget: Budget) -> nn.Module:
        """A network with random weights, (B, 3, H, W) float in [0, 1] to the same.

        Raises UsageError for a name that spandrel does not have, for wrong settings, and for an
        architecture that cannot give SR as large as LR.
        """
        if self.name == SAME_SIZE:
            return SmallSR(budget.width, budget.blocks)
        kind = _spandrel(self.name)
        accepted = inspect.signature(kind).parameters
        ours = {key: 1 for key in SCALE if key in accepted}
        ours |= {key: 3 for key in CHANNELS if key in accepted}
        if "window_size" in accepted and MULTIPLE % accepted["window_size"].default:
            ours["window_size"] = WINDOW
        try:
            with _bounded():
                network = kind(**{**ours, **self.settings})
            with torch.no_grad():
                made = _picture(network.eval()(torch.zeros(1, 3, MULTIPLE, MULTIPLE)))
        except Exception as error:  # whatever a foreign constructor raises
            takes = ", ".join(name for name in accepted if name not in ours)
            raise UsageError(
                f"`network={self.name}` {self.settings}: {' '.join(str(error).split())[:200]}; "
                f"network_settings are {takes}"
            ) from error
        if made.shape != (1, 3, MULTIPLE, MULTIPLE):
            raise UsageError(f"`network={self.name}` does not give SR as large as LR")
        return _Pictures(network).train()


@contextmanager
def _bounded() -> Iterator[None]:
    """Stops a constructor that goes on to more weights or modules than a network may have."""
    weights = modules = 0

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal weights, modules
        weights, modules = weights + (0 if parameter is None else parameter.numel()), modules + 1
        if weights > MOST_WEIGHTS or modules > MOST_PARAMETERS:
            raise ValueError(
                f"more than {MOST_WEIGHTS:,} weights or {MOST_PARAMETERS:,} tensors of them"
            )

    # Before a layer draws its weights, and so before their memory is touched.
    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


class _Pictures(nn.Module):
    """A network that may return more than its picture."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor) -> Tensor:
        return _picture(self.network(lr))


def _picture(made: Any) -> Tensor:
    found = made[0] if isinstance(made, tuple | list) else made
    assert isinstance(found, Tensor)
    return found


def _spandrel(name: str) -> Any:
    """The class of one of spandrel's architectures."""
    try:
        from spandrel import architectures
    except ImportError as error:
        raise UsageError(
            f"`network={name}`: neither same-size nor implicit; for the architectures of spandrel "
            "pip install 'degflow-pipe[spandrel]'"
        ) from error
    known = [found.name for found in pkgutil.iter_modules(architectures.__path__)]
    known = [found for found in known if not found.startswith("_")]
    if name not in known:
        raise UsageError(
            f"`network` must be same-size, implicit or one of {', '.join(known)}, got {name!r}"
        )
    module = importlib.import_module(f"spandrel.architectures.{name}")
    if not hasattr(module, name):
        raise UsageError(f"`network={name}`: spandrel has no one network of that name")
    return getattr(module, name)
