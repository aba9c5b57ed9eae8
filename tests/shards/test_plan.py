"""Which samples a tar holds."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from degflow_pipe.levels import grid_of, parse_t_grid
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.shards.plan import Plan
from degflow_pipe.store import BLOCK, UNIT, Unit

GRID = parse_t_grid("0:0.95:0.05")


def units(counts: list[int]) -> dict[int, Unit]:
    """Units of so many patches, every other number left out."""
    return {
        2 * i: Unit(n, tuple(f"{i:032x}{place:032x}" for place in range(-(-n // BLOCK))), 1)
        for i, n in enumerate(counts)
    }


@given(
    counts=st.lists(st.integers(1, UNIT), min_size=1, max_size=4),
    levels=st.integers(1, 20),
    size=st.integers(1, 90),
    layout=st.sampled_from(["pairs", "grouped"]),
)
def test_tars_take_every_sample_once_in_order_and_are_full_but_for_the_last(
    counts: list[int], levels: int, size: int, layout: str
) -> None:
    grid = grid_of(GRID.levels[:levels])
    settings = ShardSettings(shard_size=size, layout=layout)
    plan = Plan(units(counts), 16, replace(grid, scales=(1.0,) * levels), settings, {}, None)
    works = list(plan.works())
    assert [work.number for work in works] == list(range(plan.tars))
    samples, sizes = [], []
    for work in works:
        rows = [
            (row.piece.block * BLOCK + row.place, i)
            for row in work.rows(levels)
            for i in (range(row.first, row.end) if layout == "pairs" else [0])
        ]
        if layout == "grouped":
            assert {(row.first, row.end) for row in work.rows(levels)} == {(0, levels)}
        samples += rows
        sizes.append(len(rows))
    per_patch = levels if layout == "pairs" else 1
    assert samples == [
        (2 * u * UNIT + p, i)
        for u, n in enumerate(counts)
        for p in range(n)
        for i in range(per_patch)
    ]
    assert sizes[:-1] == [size] * (len(sizes) - 1)
    assert 1 <= sizes[-1] <= size
    assert len({work.digest for work in works}) == len(works)


@given(counts=st.lists(st.integers(1, UNIT), min_size=1, max_size=3), changed=st.integers(0, 2))
def test_a_tar_is_another_one_where_its_patches_are(counts: list[int], changed: int) -> None:
    before = units(counts)
    number = 2 * (changed % len(counts))
    unit = before[number]
    after = {**before, number: replace(unit, sha256=("f" * 64, *unit.sha256[1:]))}
    grid, settings = replace(GRID, scales=(1.0,) * len(GRID)), ShardSettings(shard_size=50)
    plans = [Plan(each, 16, grid, settings, {}, None) for each in (before, after)]
    for old, new in zip(*(plan.works() for plan in plans), strict=True):
        touched = any(piece.block == number * UNIT // BLOCK for piece in old.pieces)
        assert (old.digest != new.digest) == touched
