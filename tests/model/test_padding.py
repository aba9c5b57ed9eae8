"""Padding to the model's multiple and back."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from degflow_pipe.model.padding import crop, pad

quick = settings(deadline=None, max_examples=60)
sides = st.integers(1, 40)
multiples = st.sampled_from([1, 2, 3, 8, 16, 64])


def picture(height: int, width: int) -> Tensor:
    """Every value different, so that no pixel can stand for another."""
    return torch.arange(2.0 * 3 * height * width).view(2, 3, height, width)


@quick
@given(sides, sides, multiples)
def test_crop_undoes_pad(height: int, width: int, multiple: int) -> None:
    x = picture(height, width)
    assert torch.equal(crop(pad(x, multiple), (height, width)), x)


@quick
@given(sides, sides, multiples)
def test_padded_sides_are_the_next_multiples(height: int, width: int, multiple: int) -> None:
    padded = pad(picture(height, width), multiple).shape
    for got, side in ((padded[2], height), (padded[3], width)):
        assert got % multiple == 0
        assert side <= got < side + multiple


@quick
@given(sides, sides, multiples)
def test_pad_is_numpys_reflection(height: int, width: int, multiple: int) -> None:
    x = picture(height, width)
    got = pad(x, multiple)
    below, right = got.shape[2] - height, got.shape[3] - width
    wanted = np.pad(x.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="reflect")
    assert np.array_equal(got.numpy(), wanted)


def test_a_picture_of_one_pixel_is_repeated() -> None:
    x = torch.tensor([0.25, 0.5, 0.75]).view(1, 3, 1, 1)
    assert torch.equal(pad(x, 8), x.expand(1, 3, 8, 8))


def test_crop_keeps_the_leading_axes() -> None:
    x = picture(8, 8).view(1, 2, 3, 8, 8)
    assert torch.equal(crop(x, (5, 3)), x[:, :, :, :5, :3])
