"""A stock of noise: what pieces of it have in common with it, and with each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from degflow_pipe.noise import fields, stock
from degflow_pipe.noise.nodes import NODES

CPU = torch.device("cpu")
WHITE = torch.from_numpy(
    fields.stock_of(np.full((3, len(NODES) ** 2), 4.0), np.eye(3), stock.LEAST)
)


def pieces_of(keys: list[int], sides: tuple[int, int], of: torch.Tensor = WHITE) -> torch.Tensor:
    cuts = stock.cuts_of(keys, [stock.places_of(of, sides)], CPU)
    return stock.pieces(of, sides, *cuts)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def test_pieces_have_the_power_of_the_stock() -> None:
    found = pieces_of(list(range(40)), (64, 96))
    assert found.shape == (40, 3, 64, 96)
    assert found.var().item() == pytest.approx(4.0, rel=0.02)


def test_pieces_of_other_keys_have_nothing_in_common() -> None:
    found = pieces_of(list(range(60)), (128, 128))[:, 0]
    apart = [abs(correlation(found[i], found[j])) for i in range(60) for j in range(i)]
    assert max(apart) < 5 / 128  # five standard deviations of independent noise


def test_channels_and_both_realisations_have_nothing_in_common() -> None:
    planes = WHITE.flatten(0, 1)
    apart = [abs(correlation(planes[i], planes[j])) for i in range(6) for j in range(i)]
    assert max(apart) < 5 / stock.LEAST


@given(
    keys=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4),
    sides=st.tuples(st.integers(1, 80), st.integers(1, 80)),
)
@settings(deadline=None, max_examples=30)
def test_a_batch_is_cut_as_its_pictures_are_by_either_way(
    keys: list[int], sides: tuple[int, int]
) -> None:
    (cuts,) = stock.cuts_of(keys, [stock.places_of(WHITE, sides)], CPU)
    together = stock.one_by_one(WHITE, sides, cuts)
    for key, piece in zip(keys, together, strict=True):
        assert torch.equal(pieces_of([key], sides)[0], piece)
    assert torch.allclose(stock.at_once(WHITE, sides, cuts), together, atol=1e-5)


@pytest.mark.parametrize("sides", [(40, 16), (16, 40), (70, 33)])
def test_a_picture_longer_than_the_stock_goes_round_it(sides: tuple[int, int]) -> None:
    small = WHITE[..., :16, :16].contiguous()
    piece = pieces_of([7], sides, small)[0]
    assert piece.shape[1:] == sides
    for dim, length in zip((1, 2), sides, strict=True):
        if length > 16:
            head, tail = piece.narrow(dim, 0, length - 16), piece.narrow(dim, 16, length - 16)
            assert torch.equal(head, tail)


@pytest.mark.parametrize(
    ("sides", "side"), [((8, 8), 512), ((256, 511), 512), ((512, 3), 1024), ((9000, 1), 2048)]
)
def test_a_stock_is_longer_than_a_picture_up_to_the_largest(
    sides: tuple[int, int], side: int
) -> None:
    assert stock.side_for(sides) == side
