"""The head `lens`: an LR has the light of its HR, and keeps what a lens does to detail."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from degflow_pipe.model.config import COMPRESSION
from degflow_pipe.model.light import in_light_of
from degflow_pipe.model.rae import RAE
from tests.model.test_networks import BLURS, awake, noise

SIDES = st.integers(1, 9).map(lambda cells: COMPRESSION * cells)


def means(picture: Tensor, side: int) -> Tensor:
    return torch.nn.functional.avg_pool2d(picture, side)


@settings(max_examples=30, deadline=None)
@given(height=SIDES, width=SIDES, tint=st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_a_tint_is_taken_out_whole(height: int, width: int, tint: list[float]) -> None:
    hr, lr = noise(2, 3, height, width), noise(2, 3, height, width, seed=1)
    tinted = lr + torch.tensor(tint)[:, None, None]
    torch.testing.assert_close(in_light_of(hr, tinted), in_light_of(hr, lr), atol=1e-5, rtol=0)
    torch.testing.assert_close(in_light_of(hr, hr + 0.3), hr, atol=1e-5, rtol=0)


def test_fine_detail_stays() -> None:
    hr = noise(1, 3, 64, 64)
    fine = torch.tensor([1.0, -1.0]).repeat(32)
    detail = 0.2 * fine[:, None] * fine
    torch.testing.assert_close(in_light_of(hr, hr + detail), hr + detail, atol=1e-5, rtol=0)


def test_coarse_light_goes_little_by_little_by_its_size() -> None:
    """Half a wave over 512 pixels is light, one of 64 pixels is the lens's."""
    hr, x = torch.zeros(1, 3, 8, 1024), torch.arange(1024) + 0.5
    left = [
        float(in_light_of(hr, torch.cos(x * torch.pi / half).expand(1, 3, 8, 1024)).std())
        for half in (512, 256, 128, 64)
    ]
    assert left == sorted(left)
    assert left[0] < 0.1 and left[-1] > 0.6


@pytest.mark.parametrize("head", ["blurs", "lens"])
def test_a_decoder_that_tints_does_not_with_this_head(head: str) -> None:
    rae = awake(RAE(replace(BLURS, head=head)))
    hr = noise(2, 3, 64, 64, seed=4) / 4
    z, skips = rae.encoder(hr)
    lr = rae.decoder(z + 1.0, skips)
    off = float((means(lr, 64) - means(hr, 64)).abs().max())
    assert (off < 0.03) == (head == "lens")
    assert (lr - hr).std() > 0.01, "it is no copy of HR"


def test_its_weights_are_those_of_blurs() -> None:
    one, other = RAE(BLURS), RAE(replace(BLURS, head="lens"))
    one.load_state_dict(other.state_dict())
    crop = noise(1, 3, 64, 64).requires_grad_()
    other(crop, crop).square().mean().backward()  # it can be trained
    assert crop.grad is not None and crop.grad.isfinite().all()
