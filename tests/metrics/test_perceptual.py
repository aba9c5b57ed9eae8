"""Perceptual distances: their order on real pictures, what is said where weights are missing."""

from __future__ import annotations

import importlib.abc
import importlib.util
import math
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.metrics.perceptual import KINDS, Perceptual, perceptual_network
from degflow_pipe.training.losses import perceptual_loss

HR = np.ascontiguousarray(data.astronaut()[100:228, 150:270])
CPU = torch.device("cpu")
STLPIPS = [kind for kind in KINDS if kind.startswith("stlpips")]
LPIPS = [kind for kind in KINDS if kind.startswith("lpips")]

with_stlpips = pytest.mark.skipif(
    importlib.util.find_spec("stlpips_pytorch") is None,
    reason="stlpips_pytorch is not installed: pip install 'degflow-pipe[stlpips]'",
)


@with_stlpips
@pytest.mark.parametrize("kind", STLPIPS)
def test_a_stronger_blur_is_farther(kind: str) -> None:
    metric = Perceptual(kind, CPU)
    mild, strong = (cv2.GaussianBlur(HR, (0, 0), sigma) for sigma in (0.8, 2.5))
    assert metric(HR, HR.copy()) == 0.0
    assert 0.001 < metric(HR, mild) < metric(HR, strong) < 2
    assert metric(HR, mild) == metric(HR, mild)
    assert metric(mild, HR) == pytest.approx(metric(HR, mild), rel=1e-5)


@with_stlpips
@pytest.mark.parametrize("kind", STLPIPS)
def test_the_distance_is_that_of_the_package_as_it_loads_itself(kind: str) -> None:
    from stlpips_pytorch import stlpips, utils

    blurred = cv2.GaussianBlur(HR, (0, 0), 1.5)
    package = stlpips.LPIPS(
        net=kind.removeprefix("stlpips-"), variant="shift_tolerant", verbose=False
    )
    with torch.inference_mode():
        expected = package(utils.im2tensor(HR), utils.im2tensor(blurred)).item()
    assert Perceptual(kind, CPU)(HR, blurred) == pytest.approx(expected, rel=1e-4)


@with_stlpips
def test_a_shift_of_one_pixel_matters_less_than_a_slight_blur() -> None:
    metric = Perceptual("stlpips-alex", CPU)
    a, shifted = HR[:, 1:], HR[:, :-1]
    assert metric(a, shifted) < metric(a, cv2.GaussianBlur(a, (0, 0), 1.0))


@with_stlpips
def test_as_a_loss_its_gradient_reaches_the_picture_and_no_weight() -> None:
    loss = perceptual_loss("stlpips-alex", CPU)
    assert loss is not None
    real = torch.rand(2, 3, 64, 64) * 2 - 1
    made = (0.5 * real).requires_grad_()
    value = loss(made, real)
    value.backward()
    assert value.ndim == 0
    assert made.grad is not None and made.grad.abs().sum() > 0
    network = perceptual_network("stlpips-alex", CPU)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_none_measures_nothing() -> None:
    assert math.isnan(Perceptual("none", CPU)(HR, HR))
    assert perceptual_loss("none", CPU) is None


def test_pictures_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        Perceptual("none", CPU)(HR, HR[1:])


@pytest.mark.parametrize("kind", ["lpips", "stlpips-squeeze", "vgg", ""])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match=f"`perceptual` must be none, .*, got '{kind}'"):
        Perceptual(kind, CPU)


@pytest.mark.filterwarnings("ignore::UserWarning")  # torchvision's, of lpips' old arguments
@pytest.mark.parametrize("kind", LPIPS)
def test_lpips_without_its_weights_says_where_they_are_looked_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(torch.hub, "urlopen", no_network, raising=False)
    with pytest.raises(DataError, match=f"^`perceptual`: {kind} needs") as caught:
        Perceptual(kind, CPU)
    message = str(caught.value)
    assert str(tmp_path / "hub" / "checkpoints") in message
    backbone = {"vgg": "vgg16-", "alex": "alexnet-", "squeeze": "squeezenet1_1-"}
    assert f"download.pytorch.org/models/{backbone[kind.removeprefix('lpips-')]}" in message
    assert "stlpips-vgg or none" in message


@pytest.mark.parametrize("missing", ["stlpips_pytorch", "torchsummary"])
def test_stlpips_without_its_packages_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "stlpips_pytorch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)  # as if it were not installed
    with pytest.raises(DataError, match=r"pip install 'degflow-pipe\[stlpips\]'"):
        Perceptual("stlpips-vgg", CPU)


@pytest.mark.parametrize("kind", ["lpips-vgg", "stlpips-vgg"])
def test_a_torchvision_of_another_build_is_told(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import ends as below where torch is of a CPU build and it is not."""

    class Other(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: Any) -> None:
            if name in ("lpips", "stlpips_pytorch"):
                raise RuntimeError("operator torchvision::nms does not exist")

    for name in [
        name for name in sys.modules if name.split(".")[0] in ("lpips", "stlpips_pytorch")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Other(), *sys.meta_path])
    with pytest.raises(DataError, match=rf"{kind}: torchvision cannot be imported beside torch"):
        perceptual_network(kind, CPU)
