"""Perceptual distances: LPIPS and its shift-tolerant kind, as figures and as networks for losses.

LPIPS: Zhang et al., *The Unreasonable Effectiveness of Deep Features*, CVPR 2018; its backbones are
torchvision's and have to be downloaded. ST-LPIPS: Ghildyal, Liu, *Shift-tolerant Perceptual
Similarity Metric*, ECCV 2022; its package ships all its weights, and it hardly minds the pixel or
so by which real pairs are misaligned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import nn

from degflow_pipe.choices import Distance, one_of
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.pictures.arrays import to_tensor

KINDS = get_args(Distance)

_BACKBONES = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}


class Perceptual:
    """A distance of two pictures, 0 for equal ones and larger for unlike ones.

    kind: one of KINDS; the distance of `none` is nan. Raises UsageError for another kind, DataError
    where weights cannot be had. Pictures are compared whole: on the CPU 1000 x 700 pixels take
    about 1.5 GB with alex and 2.7 GB with vgg, and in proportion to the pixels.
    """

    def __init__(self, kind: str, device: torch.device) -> None:
        self.kind = kind
        self.device = device
        self._network = None if kind == "none" else perceptual_network(kind, device)

    @torch.inference_mode()
    def __call__(self, a: np.ndarray, b: np.ndarray) -> float:
        """a, b: (H, W, 3) uint8 RGB. Raises ValueError where shapes differ."""
        if a.shape != b.shape:
            raise ValueError(f"pictures of one shape are needed, got {a.shape} and {b.shape}")
        if self._network is None:
            return math.nan
        x, y = (to_tensor(p).to(self.device).mul(2).sub(1) for p in (a, b))
        return float(self._network(x, y))


def perceptual_network(
    kind: str,
    device: torch.device,
    option: str = "`perceptual`",
    otherwise: str = "choose stlpips-vgg or none",
) -> nn.Module:
    """The network of a kind other than `none`, frozen: two (B, 3, H, W) in [-1, 1] to (B, 1, 1, 1).

    option, otherwise: who asked for it and what else to do, for the error. Raises UsageError for an
    unknown kind, DataError where weights or a package cannot be had.
    """
    family, _, net = kind.partition("-")
    if kind not in KINDS or kind == "none":
        raise UsageError(f"{option} must be {one_of(KINDS)}, got {kind!r}")
    network = _lpips(net, option, otherwise) if family == "lpips" else _stlpips(net, option)
    return network.to(device).eval().requires_grad_(False)


@contextmanager
def belonging(what: str) -> Iterator[None]:
    """While packages are imported that import torchvision: raises DataError, beginning with `what`,
    where that is of another build than torch is, which pip does not notice.
    """
    try:
        yield
    except RuntimeError as error:  # torchvision's own operators are then unknown to torch
        raise DataError(
            f"{what}: torchvision cannot be imported beside torch {torch.__version__} "
            f"({' '.join(str(error).split())[:120]}): install both from one index, or neither "
            f"as a build for the CPU alone"
        ) from error


def _lpips(net: str, option: str, otherwise: str) -> nn.Module:
    with belonging(f"{option}: lpips-{net}"):
        import lpips
        from torchvision.models import get_model_weights

    try:
        return lpips.LPIPS(net=net, verbose=False)
    except OSError as error:  # no network: urllib's errors are OSErrors
        url = get_model_weights(_BACKBONES[net]).DEFAULT.url
        raise DataError(
            f"{option}: lpips-{net} needs torchvision's {net} weights, which are looked for in "
            f"{torch.hub.get_dir()}/checkpoints and cannot be downloaded ({error}): put the "
            f"file from {url} there, or {otherwise}"
        ) from error


def _stlpips(net: str, option: str) -> nn.Module:
    try:
        with belonging(f"{option}: stlpips-{net}"):
            from stlpips_pytorch import stlpips
    except ImportError as error:
        raise DataError(
            f"{option}: stlpips-{net} needs a package that is not installed ({error}): "
            f"pip install 'degflow-pipe[stlpips]'"
        ) from error
    # Loaded here, because on older torch the package's own load would run what is pickled.
    network = stlpips.LPIPS(net=net, variant="shift_tolerant", pretrained=False, verbose=False)
    path = Path(stlpips.__file__).parent / "weights" / "vST0.0" / f"{net}_shift_tolerant.pth"
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(
            f"{option}: stlpips-{net}: cannot read {path} ({error}): "
            f"pip install --force-reinstall 'degflow-pipe[stlpips]'"
        ) from error
    missing, extra = network.load_state_dict(weights, strict=False)
    # `lins` lists the layers lin0 ... lin4 a second time.
    if extra or any(not key.startswith("lins.") for key in missing):
        raise DataError(f"{option}: {path} is not the weights of stlpips-{net}: {missing} {extra}")
    return network
