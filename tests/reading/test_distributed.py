"""Three ranks of torch.distributed: every pair, equal numbers, no rank that waits for ever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.reading.conftest import write_shards
from tests.reading.ranks import HOW

Found = dict[str, list[list[list[int]]]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """By way, the batches of each rank: see ranks.py. 8 patches of 3 levels in 2 tars."""
    folder = tmp_path_factory.mktemp("ranks")
    shards = write_shards(folder / "shards", per_tar=16)
    script = str(Path(__file__).with_name("ranks.py"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]
    with subprocess.Popen(
        [*torchrun, script, str(shards), str(folder / "found.json")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as running:
        try:
            _, errors = running.communicate(timeout=900)
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 0, errors[-3000:]
    read: Found = json.loads((folder / "found.json").read_text())
    return read


def times(ranks: list[list[list[int]]]) -> Counter[int]:
    """How often each pair came."""
    return Counter(pair for rank in ranks for batch in rank for pair in batch)


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_workers_know_the_rank_of_who_started_them(found: Found, how: str) -> None:
    ranks = found[f"plain {how}"]
    assert sorted(map(len, ranks)) == [5, 5, 6]
    assert len(times(ranks)) == 16 and set(times(ranks).values()) == {1}


@pytest.mark.parametrize(("even", "steps", "least"), [("pad", 4, 2), ("cut", 2, 0)])
def test_ddp_trains_for_equal_numbers_of_steps(
    found: Found, even: str, steps: int, least: int
) -> None:
    """4 batches of an epoch on 3 ranks: 6 or 3 are read."""
    ranks = found[f"trained {even}"]
    assert [len(batches) for batches in ranks] == [steps] * 3
    assert {len(batch) for batches in ranks for batch in batches} == {4}
    counts = times(ranks)
    assert sum(counts.values()) == steps * 12
    assert min(counts.get(pair, 0) for pair in times(found["plain fork"])) >= least


@pytest.mark.parametrize(("dispatch", "how"), [(told, how) for told in HOW for how in HOW[told]])
def test_accelerate_sees_every_pair(found: Found, how: str | None, dispatch: bool | None) -> None:
    ranks = found[f"prepared {dispatch} {how}"]
    assert [len(batches) for batches in ranks] == [4] * 3
    assert len(times(ranks)) == 24 and set(times(ranks).values()) == {1}


def test_every_rank_reads_all_for_validation(found: Found) -> None:
    first, *others = found["every rank"]
    assert others == [first] * 2 and len(times([first])) == 24


@pytest.mark.parametrize("dispatch", [None, False])
def test_accelerate_is_not_given_batches(
    found: dict[str, list[str]], dispatch: bool | None
) -> None:
    said = set(found[f"refused {dispatch}"])
    assert len(said) == 1 and "leave this one" in said.pop()
