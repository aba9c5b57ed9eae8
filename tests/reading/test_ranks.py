"""Ranks and workers: who reads what, in equal numbers, and going on after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from degflow_pipe.errors import UsageError
from degflow_pipe.reading import SRPairs, sr_pairs
from tests.reading.conftest import (
    EVERY,
    name_of,
    pixels,
    taken,
    write_shards,
)


def test_two_workers_see_every_pair_once_an_epoch(folder: Path) -> None:
    loader = DataLoader(sr_pairs(folder, crop=6), batch_size=None, num_workers=2)
    crops = []
    for _ in range(2):
        found = list(loader)
        assert sorted(name_of(info) for _, _, info in found) == EVERY
        crops.append({name_of(info): hr for _, hr, info in found})
    again = DataLoader(sr_pairs(folder, crop=6), batch_size=None, num_workers=2)
    for _, hr, info in again:
        assert torch.equal(hr, crops[0][name_of(info)])
    assert any(not torch.equal(crops[0][name], crops[1][name]) for name in EVERY)


def test_workers_that_live_on_go_to_the_next_epoch(pairs: Path) -> None:
    def epoch(loader: Any) -> dict[Any, bytes]:
        return {name_of(info): pixels(hr).tobytes() for _, hr, info in loader}

    stream, other = sr_pairs(pairs, crop=6), sr_pairs(pairs, crop=6)
    lasting = DataLoader(stream, batch_size=None, num_workers=1, persistent_workers=True)
    first, second = epoch(lasting), epoch(lasting)
    stream.set_epoch(0)
    assert first != second and epoch(lasting) == first
    assert epoch(other) == first, "worker 0 of 1 and no worker at all draw alike"


@pytest.mark.parametrize("batch", [None, 4])
def test_workers_without_a_tar_yield_nothing(tmp_path: Path, batch: int | None) -> None:
    stored = write_shards(tmp_path, per_tar=24)
    loader = DataLoader(sr_pairs(stored, batch=batch), batch_size=None, num_workers=2)
    found = [one for _, _, info in loader for one in (info if batch else [info])]
    assert sorted(map(name_of, found)) == EVERY


def test_ranks_share_the_tars(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    monkeypatch.setenv("WORLD_SIZE", "9")
    for rank in range(9):
        monkeypatch.setenv("RANK", str(rank))
        mine = [name_of(info) for _, _, info in sr_pairs(pairs)]
        assert len(mine) == (3 if rank < 8 else 0)
        found += mine
    assert sorted(found) == EVERY


def test_started_workers_count_epochs_and_read_by_number(pairs: Path) -> None:
    """Workers that share nothing with this process but what was pickled."""
    stream = sr_pairs(pairs, crop=6)
    settings = {"batch_size": None, "num_workers": 1, "multiprocessing_context": "spawn"}
    first = {name_of(info): hr for _, hr, info in DataLoader(stream, **settings)}
    second = {name_of(info): hr for _, hr, info in stream}
    assert sorted(first) == EVERY
    assert any(not torch.equal(first[name], second[name]) for name in EVERY)
    numbered = [name_of(info) for _, _, info in DataLoader(SRPairs(pairs), **settings)]
    assert numbered == EVERY


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_a_stopped_epoch_goes_on_where_it_was_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch, batch: int | None, stop: int
) -> None:
    """Two ranks of two workers each: what comes before and after the stop is one whole epoch."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    found: list[tuple[Any, bytes]] = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))

        def loader() -> Any:
            stream = sr_pairs(folder, crop=6, batch=batch, shuffle=5)
            stream.set_epoch(3)
            return StatefulDataLoader(stream, batch_size=None, num_workers=2)

        whole = taken(loader())
        first = loader()
        before = taken(iter(first), stop)
        second = loader()
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        after = taken(second)
        assert before + after == whole
        found += whole
        next_epoch = taken(second)
        assert sorted(n for n, _ in next_epoch) == sorted(n for n, _ in whole)
        assert next_epoch != whole
    assert sorted(name for name, _ in found) == EVERY


def test_four_workers_and_two_ranks_see_every_pair_once(
    pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        found += taken(DataLoader(sr_pairs(pairs), batch_size=None, num_workers=4))
    assert sorted(name for name, _ in found) == EVERY


def test_pairs_of_an_epoch_do_not_depend_on_who_reads_them(
    pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = dict(taken(sr_pairs(pairs, crop=6)))
    assert dict(taken(DataLoader(sr_pairs(pairs, crop=6), batch_size=None, num_workers=2))) == alone


def test_states_of_something_else_are_refused(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iterator = iter(sr_pairs(pairs))
    next(iterator)
    state = iterator.state_dict()
    with pytest.raises(UsageError, match="of other shards, or of sr_pairs with other arguments"):
        iter(sr_pairs(pairs, crop=4)).load_state_dict(state)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UsageError, match="worker 0 of 1, rank 0 of 1: go on with as many"):
        iter(sr_pairs(pairs)).load_state_dict(state)
