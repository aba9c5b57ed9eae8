"""Tiles of large pictures: they cover it, and their weights add up to one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from degflow_pipe.pictures.tiles import OVERLAP, RAMP, TILE, spans


@given(length=st.integers(1, 6000), multiple=st.sampled_from([1, 8, 16, 32, 64]))
def test_weights_add_up_to_one_at_every_pixel(length: int, multiple: int) -> None:
    total = np.zeros(length)
    for span in spans(length, multiple):
        assert span.start % multiple == 0
        assert span.weight.min() >= 0
        total[span.slice] += span.weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(length=st.integers(TILE + 1, 6000), multiple=st.sampled_from([1, 8, 16, 32, 64]))
def test_a_tile_counts_for_nothing_near_its_own_border(length: int, multiple: int) -> None:
    found = spans(length, multiple)
    margin = (OVERLAP - RAMP) // 2
    for left, right in pairwise(found):
        assert left.end - right.start >= OVERLAP
        assert not left.weight[-margin:].any() and not right.weight[:margin].any()


@given(length=st.integers(1, 6000), multiple=st.sampled_from([8, 64]))
def test_tiles_are_of_one_size_but_the_last(length: int, multiple: int) -> None:
    sizes = [span.end - span.start for span in spans(length, multiple)]
    assert set(sizes[:-1]) <= {TILE}
    assert sizes[-1] < TILE + multiple
