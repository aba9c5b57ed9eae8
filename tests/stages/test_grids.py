"""Grids of a store: called by a name, taken out, and joined."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from degflow_pipe import SRPairs
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import StoreError, UsageError
from degflow_pipe.levels import parse_grid, parse_t
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.grids import delete_grid, merge_grids
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import info, verify
from degflow_pipe.store import Store

Tree = Callable[[Path], dict[str, bytes]]


def test_a_grid_is_found_by_what_it_is_called(
    store: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    made = generate(store, tiny_model, parse_t("0.5"), name="half").grid
    with pytest.raises(UsageError, match=r"holds 2 grids.*half by tiny"):
        shard(store, tmp_path / "none")
    shard(store, tmp_path / "out", grid="half")
    assert SRPairs(tmp_path / "out")[0][2]["grid"] == made
    assert info(store).to_dict()["grids"][made]["title"] == "half"
    generate(store, tiny_model, parse_t("0.5"), name="other")
    assert Store.open(store).find_grid("other").name == made
    with pytest.raises(StoreError, match="has no grid half"):
        Store.open(store).find_grid("half")
    with pytest.raises(StoreError, match="another grid called other"):
        generate(store, tiny_model, parse_t("0.6"), name="other")
    with pytest.raises(UsageError, match="`name` must be"):
        generate(store, tiny_model, parse_t("0.6"), name="A B")


def test_a_deleted_grid_leaves_the_store_as_it_was(
    store: Path, tiny_model: DegFlow, tree: Tree
) -> None:
    before = tree(store)
    generate(store, tiny_model, parse_t("0.5"), name="half")
    assert delete_grid("half", store).patches == 27
    assert tree(store) == before
    with pytest.raises(StoreError, match="has no grid half; it has x2-x4"):
        delete_grid("half", store)


def test_a_merged_grid_is_the_one_that_would_have_been_made(
    store: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    for name, levels in (("a", "0.2,0.8"), ("b", "0.5,0.8")):
        generate(store, tiny_model, parse_t(levels), name=name)
    merged = merge_grids(["a", "b"], store, title="both")
    assert (merged.levels, merged.patches) == (["t = 0.2", "t = 0.5", "t = 0.8"], 27)
    again = generate(store, tiny_model, parse_t("0.2,0.5,0.8"))
    assert (again.grid, again.pairs) == (merged.grid, 0)
    source = Store.open(store)
    held = source.levels(source.find_grid("both")).read(0, source.units[0])
    delete_grid("both", store)
    generate(store, tiny_model, parse_t("0.2,0.5,0.8"), name="both")
    source = Store.open(store)
    assert np.array_equal(held, source.levels(source.find_grid("both")).read(0, source.units[0]))
    assert verify(store).whole


def test_what_is_told_is_merged_too(store: Path, tiny_model: DegFlow, tmp_path: Path) -> None:
    for name, levels in (("a", "x1.5"), ("b", "x2")):
        generate(store, tiny_model, parse_grid(levels, 4.0), sr_scale=2.0, name=name)
    merge_grids(["b", "a"], store, title="both")
    shard(store, tmp_path / "out", grid="both")
    pairs = SRPairs(tmp_path / "out")
    assert [pairs[i][2]["camera_scale"] for i in range(4)] == [1.5, 2, 1.5, 2]


@pytest.mark.parametrize(
    ("names", "why"), [(["x"], "two grids to merge"), (["x", "noisy"], r"more than their levels")]
)
def test_grids_that_differ_are_not_merged(
    store: Path, tiny_model: DegFlow, names: list[str], why: str
) -> None:
    generate(store, tiny_model, parse_t("0.5"), name="x")
    generate(store, tiny_model, parse_t("0.5"), sr_scale=4.0, name="noisy")
    with pytest.raises(UsageError, match=why):
        merge_grids(names, store)
