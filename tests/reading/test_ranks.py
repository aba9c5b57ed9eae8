"""Ranks and workers: who reads what, in equal numbers, and going on after a stop."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
def test_two_workers_share_one_tar(tmp_path: Path, batch: int | None) -> None:
    stored = write_shards(tmp_path, per_tar=24)
    loader = DataLoader(sr_pairs(stored, batch=batch), batch_size=None, num_workers=2)
    found = [one for _, _, info in loader for one in (info if batch else [info])]
    assert sorted(map(name_of, found)) == EVERY


def readers(monkeypatch: pytest.MonkeyPatch, ranks: int, workers: int) -> Iterator[tuple[int, int]]:
    """Be each worker of each rank in turn."""
    for rank in range(ranks):
        for worker in range(workers):
            values = {"RANK": rank, "WORLD_SIZE": ranks, "WORKER": worker, "NUM_WORKERS": workers}
            for name, value in values.items():
                monkeypatch.setenv(name, str(value))
            yield rank, worker


ASKS = st.fixed_dictionaries(
    {
        "batch": st.none() | st.integers(1, 9),
        "drop_last": st.booleans(),
        "levels": st.sampled_from([None, (0.1,), (0.35, 1.0)]),
        "shuffle": st.sampled_from([0, 7, 1000]),
        "even": st.sampled_from([None, "cut", "pad"]),
    }
)


@settings(max_examples=30, deadline=None)
@given(ASKS, st.integers(1, 5), st.integers(1, 3), st.integers(0, 3))
@pytest.mark.filterwarnings("ignore:the . ranks may read unequal")
def test_whoever_reads_every_pair_comes_once_and_len_is_true(
    grouped: Path, ask: dict[str, Any], ranks: int, workers: int, epoch: int
) -> None:
    whole = Counter(name for name, _ in taken(sr_pairs(grouped, **ask)))
    batches = len(sr_pairs(grouped, **ask))
    found: Counter[Any] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        counts = [0] * ranks
        for rank, worker in readers(patch, ranks, workers):
            stream = sr_pairs(grouped, **ask)
            stream.set_epoch(epoch)
            try:
                promised = len(stream)
            except UsageError as error:
                assert "ask for a smaller batch" in str(error)
                assert batches < (ranks if ask["even"] == "cut" else 1)
                return
            for _, _, info in stream:
                counts[rank] += 1
                found.update(map(name_of, info if ask["batch"] else [info]))
            if worker == workers - 1:
                assert counts[rank] == promised
    if ask["even"] and ranks > 1:
        assert len(set(counts)) == 1
        assert abs(sum(counts) - batches) < ranks
        assert (sum(counts) >= batches) == (ask["even"] == "pad" or batches % ranks == 0)
    else:
        assert sum(counts) == batches and max(counts) - min(counts) <= 1
    if ask["even"] == "pad":
        assert set(whole) <= set(found) or ask["drop_last"]
    else:
        assert set(found.values()) <= {1}
    if not ask["even"]:
        assert sum(found.values()) == sum(whole.values())
        assert ask["drop_last"] or found == whole


def test_cut_leaves_out_others_in_each_epoch(pairs: Path) -> None:
    streams = [sr_pairs(pairs, even="cut", ranks=(rank, 5)) for rank in range(5)]
    epochs = [{name_of(i) for stream in streams for *_, i in stream} for _ in range(12)]
    assert {len(epoch) for epoch in epochs} == {20}
    assert set().union(*epochs) == set(EVERY)


@pytest.mark.parametrize("balance", [False, True])
def test_equal_numbers_of_balanced_pairs(pairs: Path, balance: bool) -> None:
    for epoch in range(4):
        counts = set()
        for rank in range(3):
            stream = sr_pairs(pairs, balance=balance, even="pad", batch=2, ranks=(rank, 3))
            stream.set_epoch(epoch)
            counts.add(len(list(stream)))
        assert len(counts) == 1


@pytest.mark.parametrize(("tars", "ranks", "workers"), [(1, 3, 2), (2, 5, 1), (3, 2, 3), (4, 3, 1)])
@pytest.mark.filterwarnings("ignore:the . ranks may read unequal")
def test_tars_at_urls_are_split_where_they_are_few(
    pairs: Path, monkeypatch: pytest.MonkeyPatch, tars: int, ranks: int, workers: int
) -> None:
    urls = sorted(str(path) for path in pairs.glob("*.tar"))[:tars]
    found = []
    for _ in readers(monkeypatch, ranks, workers):
        mine = [name_of(info) for *_, info in sr_pairs(urls)]
        assert mine or 3 * tars < ranks * workers
        found += mine
    assert sorted(found) == EVERY[: 3 * tars]


def test_ranks_that_may_differ_are_warned_of_once(pairs: Path) -> None:
    uneven = [
        sr_pairs(pairs, ranks=(0, 7)),
        sr_pairs(pairs, batch=5, ranks=(0, 4)),
        sr_pairs([str(pairs / "degflow-000000.tar")], ranks=(0, 2)),
    ]
    for stream in uneven:
        with pytest.warns(UserWarning, match="ranks may read unequal numbers"):
            list(stream)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            list(stream)
    for stream in (
        *(sr_pairs(pairs), sr_pairs(pairs, ranks=(0, 6)), sr_pairs(pairs, ranks=(1, 7))),
        *(sr_pairs(pairs, ranks=(0, 7), even="cut"), sr_pairs(pairs, ranks="none")),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            list(stream)


@pytest.mark.parametrize("settings", [{"batch_size": None}, {"batch_size": 5}])
def test_a_loader_knows_its_length(pairs: Path, settings: dict[str, Any]) -> None:
    loader = DataLoader(sr_pairs(pairs), collate_fn=lambda x: x, **settings)
    assert len(loader) == len(list(loader))
    batched = DataLoader(sr_pairs(pairs, batch=5), batch_size=None, num_workers=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(batched) == 6 and len(list(batched)) == 6


def test_no_length_where_none_is_known(pairs: Path) -> None:
    for stream in (sr_pairs(pairs, balance=True), sr_pairs(str(pairs / "degflow-000000.tar"))):
        with pytest.raises(TypeError, match="known for a folder of finished shards"):
            len(stream)
        assert len(list(stream)) > 1


def test_a_stream_made_before_the_ranks_are_known(
    pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch.multiprocessing.spawn hands it to each rank: what its maker knew is out of date."""
    stream = pickle.loads(pickle.dumps(sr_pairs(pairs)))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert len(list(stream)) == 12
    assert len(list(DataLoader(stream, batch_size=None, num_workers=1))) == 12


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        ({"ranks": "all"}, "ranks must be"),
        ({"ranks": (3, 3)}, "ranks must be"),
        ({"ranks": (-1, 3)}, "ranks must be"),
        ({"split": 1}, "split must be"),
        ({"even": "drop"}, "`even` must be"),
        ({"on_error": "ignore"}, "`on_error` must be"),
    ],
)
def test_wrong_ways_to_share_out(pairs: Path, ask: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        sr_pairs(pairs, **ask)


def test_a_wrong_rank_in_the_environment(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(UsageError, match="RANK=2 and WORLD_SIZE=2"):
        list(sr_pairs(pairs))
    with pytest.raises(UsageError, match="even counts pairs by the index"):
        sr_pairs(str(pairs / "degflow-000000.tar"), even="pad")


def test_one_tar_keeps_all_workers_busy(tmp_path: Path) -> None:
    stored = write_shards(tmp_path, per_tar=24)
    for shards in (stored, str(stored / "degflow-000000.tar")):
        found = []
        for worker in range(4):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("WORKER", str(worker))
                patch.setenv("NUM_WORKERS", "4")
                found.append([name_of(info) for *_, info in sr_pairs(shards)])
        assert [len(one) for one in found] == [6] * 4
        assert sorted(name for one in found for name in one) == EVERY


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


@pytest.mark.parametrize("by_url", [False, True])
def test_a_copy_of_the_shards_goes_on(tmp_path: Path, by_url: bool) -> None:
    """Elsewhere, as on another machine; and not with other pairs in tars of the same names."""

    def iterator(folder: Path) -> Any:
        tars = sorted(str(path) for path in folder.glob("*.tar"))
        return iter(sr_pairs(tars if by_url else folder, crop=6, batch=2))

    stored = write_shards(tmp_path / "one")
    shutil.copytree(stored, tmp_path / "two")
    write_shards(tmp_path / "other", patches=7)
    whole = taken(iterator(stored))
    first = iterator(stored)
    before = taken(first, 3)
    state = json.loads(json.dumps(first.state_dict()))
    again = iterator(tmp_path / "two")
    again.load_state_dict(state)
    assert before + taken(again) == whole
    with pytest.raises(UsageError, match="of other shards"):
        other = iterator(tmp_path / "other")
        other.load_state_dict(state)
        list(other)


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
