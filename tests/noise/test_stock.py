"""A stock of noise: what pieces of it have in common with it, and with each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from degflow_pipe.noise import by_opencv, by_torch, fields, kernels, stock
from degflow_pipe.noise.knot import KERNELS_SIDE
from degflow_pipe.noise.nodes import LENGTHS, NODES


def white(name: str) -> np.ndarray:
    return fields.stock_of(name, np.full((3, len(NODES) ** 2), 4.0), np.eye(3), stock.LEAST)


WHITE = white("white")


def held(values: np.ndarray, more: int) -> np.ndarray:
    """As a CPU holds a stock."""
    return np.moveaxis(stock.gone_round(values, more), -3, -1)


def pieces_of(
    keys: list[int], sizes: tuple[int, int], values: np.ndarray = WHITE, more: int = 100
) -> np.ndarray:
    """(B, h, w, 3)."""
    side = values.shape[-1]
    (cuts,), whole = stock.cuts_of(keys, [side]), held(values, more)
    return np.stack([by_opencv.piece(whole, side, sizes, cut) for cut in cuts])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("side", [64, 256, 500, 511, 512])
def test_each_piece_has_the_power_of_the_stock(side: int) -> None:
    found = pieces_of(list(range(12)), (side, 256))
    assert found.shape == (12, side, 256, 3)
    # Five standard deviations of a piece's own.
    np.testing.assert_allclose(found.var((1, 2)), 4.0, rtol=5 * np.sqrt(2 / (256 * side)) + 0.03)


@pytest.mark.parametrize("side", [128, 500, 512])
def test_pieces_of_other_keys_have_nothing_in_common(side: int) -> None:
    found = pieces_of(list(range(30)), (side, side))[..., 0]
    apart = [abs(correlation(found[i], found[j])) for i in range(30) for j in range(i)]
    assert max(apart) < 5 / side  # five standard deviations of independent noise


def test_all_parts_of_all_knots_have_nothing_in_common() -> None:
    planes = np.concatenate([*white("white"), *white("other")])
    apart = [abs(correlation(planes[i], planes[j])) for i in range(12) for j in range(i)]
    assert max(apart) < 5 / stock.LEAST


@pytest.mark.parametrize("length", range(len(LENGTHS)))
@pytest.mark.parametrize("side", [64, 256])
def test_weights_have_their_variance_wherever_they_are_cut(length: int, side: int) -> None:
    """Each of the fifteen, over many cuts: as likely to be cut anywhere, all of it counts alike."""
    variances = np.zeros((5, len(LENGTHS), 3, 3))
    variances[:, length] = np.eye(3)
    made = torch.from_numpy(kernels.stock_of("test", variances, KERNELS_SIDE))
    everywhere = made.square().mean((0, 3, 4))
    np.testing.assert_allclose(everywhere, 1.0, rtol=0.25 if LENGTHS[length] == 4 else 0.05)
    planes = made.flatten(1, 2).flatten(-2)
    together = (planes[:, :, None] * planes[:, None]).mean((0, 3)) - torch.eye(15)
    assert together.fill_diagonal_(0).abs().max() < 1e-3
    nodes, weights = made.shape[-1], held(made.numpy(), 20)
    (cuts,) = stock.cuts_of(list(range(400)), [nodes])
    found = [by_opencv.weights_of(weights, nodes, (side, side), cut) for cut in cuts]
    np.testing.assert_allclose(np.square(found).mean((0, 2, 3)), everywhere, rtol=0.2)


@given(
    keys=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4),
    sides=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    side=st.sampled_from([16, 100, 512]),
    more=st.integers(0, 90),
)
@settings(deadline=None, max_examples=30)
def test_a_batch_is_cut_as_its_pictures_are_by_either_way(
    keys: list[int], sides: tuple[int, int], side: int, more: int
) -> None:
    """Over the ends of the stock too, and of pictures that are longer than it."""
    values = WHITE[..., :side, :side]
    together = pieces_of(keys, sides, values, more)
    np.testing.assert_array_equal(pieces_of(keys, sides, values, 0), together)
    for key, piece in zip(keys, together, strict=True):
        np.testing.assert_array_equal(pieces_of([key], sides, values, more)[0], piece)
    cuts = torch.from_numpy(stock.cuts_of(keys, [side])[0])
    at_once = by_torch.pieces(torch.from_numpy(values), sides, cuts)
    np.testing.assert_allclose(at_once.movedim(1, -1), together, atol=1e-5)


@pytest.mark.parametrize(
    ("sides", "side"), [((8, 8), 512), ((256, 255), 512), ((257, 3), 1024), ((9000, 1), 1024)]
)
def test_a_stock_is_twice_as_long_as_a_picture_up_to_the_largest(
    sides: tuple[int, int], side: int
) -> None:
    assert stock.side_for(sides) == side
