"""SR networks of one scale: our small ones, and those that spandrel carries."""

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

from degflow_pipe.choices import meant
from degflow_pipe.errors import UsageError
from degflow_pipe.metrics.perceptual import belonging
from degflow_pipe.model.limits import MOST_WEIGHTS
from degflow_pipe.model.padding import crop, pad
from degflow_pipe.proxy.budget import Budget
from degflow_pipe.proxy.network import ShuffleTail, SmallEnlarger, SmallSR
from degflow_pipe.proxy.recipe import SAME_SIZE

SCALE = ("scale", "upscale", "up_scale", "upscale_factor", "upscaling_factor")
"""What spandrel's architectures call the factor by which SR is larger."""
CHANNELS = ("num_in_ch", "num_out_ch", "in_nc", "out_nc")
"""What some of them call the channels of a picture and give no default, or another than 3."""
UPSAMPLER_KEY = "upsampler"
UPSAMPLER = "pixelshuffle"
"""What enlarges where the default of an architecture that has several is none."""
WINDOW = 8
"""Side of attention windows where the default does not divide MULTIPLE."""
MOST_PARAMETERS = 20_000
"""Tensors of weights; the largest of spandrel's with their defaults have some 2,000."""
MULTIPLE = 64
"""Sides of what those are given; attention windows, strides and shuffles divide it."""


@dataclass(frozen=True)
class Architecture:
    """Which network. settings: arguments of one of spandrel's beside its scale."""

    name: str = SAME_SIZE
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def multiple(self) -> int:
        """At a scale of 1 sides of its pictures must be multiples of this, at others of none."""
        return 2 if self.name == SAME_SIZE else MULTIPLE

    def build(self, budget: Budget, scale: int = 1) -> nn.Module:
        """A network with random weights, (B, 3, h, w) float in [0, 1] to `scale` times as large.

        At a scale above 1 one of spandrel's enlarges by its own layers where it has that factor;
        else it is made for SR as large as LR, and a tail of pixel shuffle is put behind it. Raises
        UsageError for a name that spandrel does not have, for wrong settings, and for an
        architecture that cannot give SR as large as LR.
        """
        if own := [key for key in (*SCALE, *CHANNELS) if key in self.settings]:
            raise UsageError(
                f"`network_settings` cannot hold {own[0]}: LR and HR are RGB, and `sr_scale` says "
                f"the factor"
            )
        if self.name == SAME_SIZE:
            if scale == 1:
                return SmallSR(budget.width, budget.blocks)
            return SmallEnlarger(budget.width, budget.blocks, scale)
        if scale > 1:
            try:
                return _Pictures(self._made(scale), scale).train()
            except UsageError:
                if UPSAMPLER_KEY in self.settings:
                    raise  # a tail would be in place of what was asked for
                # Whatever it has no such factor of; what is wrong else is wrong at 1 as well.
                return _Tailed(self._made(1), budget.width, scale).train()
        return _Pictures(self._made(1)).train()

    def tried(self, budget: Budget, scale: int = 1) -> nn.Module:
        """As `build`, with one step of a training done. Raises UsageError for what cannot train."""
        network = self.build(budget, scale)
        if self.name == SAME_SIZE:
            return network
        try:
            made = network(torch.rand(budget.batch, 3, budget.crop, budget.crop))
            made.mean().backward()
        except Exception as error:  # whatever a foreign network raises
            raise UsageError(
                f"`network={self.name}` cannot be trained with batch {budget.batch} and crop "
                f"{budget.crop}: {' '.join(str(error).split())[:200]}"
            ) from error
        return network

    def told(self, network: nn.Module, scale: int) -> str:
        """What was built, for a table."""
        if scale == 1:
            return self.name
        if isinstance(network, SmallEnlarger):
            return f"small, pixel shuffle x{scale}"
        tail = "pixel shuffle" if isinstance(network, _Tailed) else "its own"
        return f"{self.name}, {tail} x{scale}"

    def _made(self, scale: int) -> nn.Module:
        """One of spandrel's whose SR is `scale` times as large as LR, tried."""
        kind = _spandrel(self.name)
        accepted = inspect.signature(kind).parameters
        ours: dict[str, Any] = {key: scale for key in SCALE if key in accepted}
        ours |= {key: 3 for key in CHANNELS if key in accepted}
        if scale > 1 and UPSAMPLER_KEY in accepted and accepted[UPSAMPLER_KEY].default == "":
            ours[UPSAMPLER_KEY] = UPSAMPLER
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
        if made.shape != (1, 3, scale * MULTIPLE, scale * MULTIPLE):
            wanted = "as large as LR" if scale == 1 else f"{scale} times as large as LR"
            raise UsageError(f"`network={self.name}` does not give SR {wanted}")
        return network


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
    """A network that may return more than its picture; at a scale above 1 it takes any size."""

    def __init__(self, network: nn.Module, scale: int = 1) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, lr: Tensor) -> Tensor:
        if self.scale == 1:
            return _picture(self.network(lr))
        height, width = (self.scale * side for side in lr.shape[-2:])
        return crop(_picture(self.network(pad(lr, MULTIPLE))), (height, width))


class _Tailed(nn.Module):
    """A network of the same size in and out, with a tail of pixel shuffle behind it."""

    def __init__(self, network: nn.Module, width: int, scale: int) -> None:
        super().__init__()
        self.network = network
        self.features = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.tail = ShuffleTail(width, scale)

    def forward(self, lr: Tensor) -> Tensor:
        made = crop(_picture(self.network(pad(lr, MULTIPLE))), tuple(lr.shape[-2:]))
        return self.tail(self.features(made), made)


def _picture(made: Any) -> Tensor:
    found = made[0] if isinstance(made, tuple | list) else made
    assert isinstance(found, Tensor)
    return found


def _spandrel(name: str) -> Any:
    """The class of one of spandrel's architectures."""
    try:
        with belonging(f"`network={name}`"):
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
            f"{meant(name, known)}"
        )
    with belonging(f"`network={name}`"):
        module = importlib.import_module(f"spandrel.architectures.{name}")
    if not hasattr(module, name):
        raise UsageError(f"`network={name}`: spandrel has no one network of that name")
    return getattr(module, name)
