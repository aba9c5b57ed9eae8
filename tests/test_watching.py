"""What runs tell of their units: a line each on every engine, and nothing is made otherwise."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degflow_pipe.cameras.making import Making
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.choices import Engine
from degflow_pipe.engines.engine import engine_of
from degflow_pipe.engines.timing import Took
from degflow_pipe.errors import FileError, PhotoError, StoreError
from degflow_pipe.levels import parse_scales
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.generate import LevelJob, generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.shard import shard
from degflow_pipe.store import Store
from degflow_pipe.watching import SLOWEST, TAIL, Watch
from tests.conftest import PATCH, SCALES
from tests.stages.stores import PowerCut, stopping

GRID = parse_scales(SCALES, 4.0)
SETTINGS = ShardSettings(shard_size=10, validate="chelsea.jpg")
Tree = Callable[[Path], dict[str, bytes]]


def events(path: Path) -> list[dict[str, Any]]:
    """Every line; each is JSON, and says when it was written, in order."""
    assert path.read_bytes().endswith(b"\n")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    times = [datetime.fromisoformat(line["time"]) for line in found]
    assert times == sorted(times)
    return found


def units(path: Path) -> list[tuple[str, str]]:
    """Stage and name of each unit that was told of."""
    return [(line["stage"], line["unit"]) for line in events(path) if line["event"] == "unit"]


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_a_line_a_unit_on_every_engine_and_the_same_bytes(
    name: Engine,
    photo_folder: Path,
    ready_store: Path,
    tiny_model: DegFlow,
    tmp_path: Path,
    tree: Tree,
) -> None:
    store, out, told = tmp_path / "degflow.zarr", tmp_path / "shards", tmp_path / "events.jsonl"
    shard(ready_store, tmp_path / "quiet", SETTINGS)
    with Watch(told) as watch:
        how: dict[str, Any] = {"watch": watch, "engine": engine_of(name), "workers": 2}
        ingest([str(photo_folder)], store, tiny_model, patch=PATCH, **how)
        made = generate(store, tiny_model, GRID, **how)
        packed = shard(store, out, SETTINGS, **how)
    assert tree(store) == tree(ready_store)
    assert tree(out) == tree(tmp_path / "quiet")

    *lines, whole = events(told)
    assert {line["event"] for line in lines} == {"unit"}
    blocks = [block for block, _ in Store.open(store).blocks()]
    tars = [f"degflow-{i:06d}.tar" for i in range(packed.tars)]
    assert packed.validation is not None
    apart = [f"validate/degflow-{i:06d}.tar" for i in range(packed.validation.tars)]
    assert units(told) == [
        *(("ingest", f"unit {number}") for number in Store.open(store).units),
        *(("generate", f"block {block}") for block in blocks),
        *(("shard", tar) for tar in (*tars, *apart)),
    ]
    of_generate = [line for line in lines if line["stage"] == "generate"]
    assert sum(line["patches"] for line in of_generate) == 27
    assert sum(line["pairs"] for line in of_generate) == made.pairs == 54
    assert {line["evaluations"] for line in of_generate} == {made.evaluations}
    assert sum(line["pairs"] for line in lines if line["stage"] == "shard") == 54
    ours = {line["worker"].rpartition(":")[2] == str(os.getpid()) for line in lines}
    assert ours == {name == "threads"}
    assert {line["device"] for line in lines} == {"cpu"}
    assert all(line["seconds"] > 0 for line in lines)

    assert (whole["event"], whole["units"], whole["failed"]) == ("run", len(lines), None)
    longest = sorted((line["seconds"] for line in lines), reverse=True)
    assert [unit["seconds"] for unit in whole["slowest"]] == longest[:SLOWEST]
    assert [unit.unit for unit in made.slowest] == [
        line["unit"] for line in sorted(of_generate, key=lambda line: -line["seconds"])[:SLOWEST]
    ]


def test_levels_that_shard_makes_are_told_with_their_evaluations(
    ready_store: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    with Watch(tmp_path / "events.jsonl") as watch:
        shard(ready_store, tmp_path / "out", maker=Making.of(tiny_model, GRID), watch=watch)
    line, _ = events(tmp_path / "events.jsonl")
    assert line["unit"] == "degflow-000000.tar" and line["evaluations"] > 0


def test_a_run_that_goes_on_adds_to_what_the_one_before_told(
    store: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    told, levels = tmp_path / "events.jsonl", parse_scales("3", 4.0)
    engine = stopping(LevelJob, 1)
    with pytest.raises(PowerCut), Watch(told) as watch:
        generate(store, tiny_model, levels, engine=engine, watch=watch)
    assert events(told)[-1]["failed"] == "PowerCut"
    before = told.read_bytes()
    told.write_bytes(before + b'{"event": "unit", "time": "20')  # of one that was killed
    with Watch(told) as watch:
        generate(store, tiny_model, levels, watch=watch)
    assert told.read_bytes().startswith(before)
    found = units(told)
    assert len(found) == len(set(found)) == len(list(Store.open(store).blocks()))
    assert [line["event"] for line in events(told)].count("run") == 2


def test_a_killed_command_and_the_one_after_it(
    begin: Callable[..., Any], degflow: Callable[..., Any], store: Path, tiny: str
) -> None:
    words = ["generate", "--store", store, "--checkpoint", tiny, "--t-grid", "x3"]
    words += ["--workers", "1", "--events", "events.jsonl"]
    folder = store.parent
    process = begin(*words, cwd=folder, hold_at="degflow.zarr/done/levels/x3*/*.jsonl")
    process.until_held()
    process.kill()
    process.communicate()
    degflow(*words, cwd=folder)
    *lines, last = events(folder / "events.jsonl")
    assert {line["event"] for line in lines} == {"unit"} and last["event"] == "run"
    # What was noted last before it was killed may not have been told of.
    found = units(folder / "events.jsonl")
    blocks = [("generate", f"block {block}") for block, _ in Store.open(store).blocks()]
    assert found in (blocks, blocks[1:])


def test_what_was_skipped_and_why_a_run_failed(
    store: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    told = tmp_path / "events.jsonl"
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(PhotoError), Watch(told) as watch:
        ingest([str(tmp_path / "cut.png")], store, tiny_model, patch=PATCH, watch=watch)
    (line,) = events(told)
    assert list(line["skipped"]) == ["cut.png"] and "none of 1 photos" in line["failed"]

    (store / "hr" / "c.0.0.0.0").write_bytes(b"damaged")
    with pytest.raises(StoreError), Watch(told) as watch:
        generate(store, tiny_model, parse_scales("3", 4.0), workers=1, watch=watch)
    assert "c.0.0.0.0 is damaged" in events(told)[-1]["failed"]
    assert units(told) == []


@pytest.mark.parametrize("content", [b"mine\n", b'{"time": 1}\n', b"{", b'\x89PNG\n{"event": '])
def test_a_file_of_somebody_elses_is_left(content: bytes, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_bytes(content)
    with (
        pytest.raises(FileError, match=r"mine\.txt is there and is no list of events"),
        Watch(mine),
    ):
        pass
    assert mine.read_bytes() == content


@given(st.lists(st.floats(0, 100), max_size=20), st.integers(0, 3 * TAIL))
def test_the_slowest_are_told_first_and_half_a_line_goes(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[float], torn: int
) -> None:
    path = tmp_path_factory.mktemp("told") / "events.jsonl"
    with Watch(path) as watch:
        for i, one in enumerate(seconds):
            watch.unit("generate", f"block {i}", Took(one, "here:1"), "cpu", {})
    whole = path.read_bytes()
    slowest = [unit["seconds"] for unit in events(path)[-1]["slowest"]]
    assert slowest == sorted((round(one, 4) for one in seconds), reverse=True)[:SLOWEST]
    path.write_bytes(whole + b'{"event": "unit", '[: torn or None] + b"x" * torn)
    with Watch(path):
        pass
    assert path.read_bytes().startswith(whole)
    assert len(events(path)) == len(seconds) + 2
