"""`info` as a person asks: what it is, how much, how made, what next; at any width."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from degflow_pipe.cli.app import app
from degflow_pipe.places import place_of
from degflow_pipe.stages.shard import shard
from degflow_pipe.store import Store


@pytest.fixture(scope="module")
def made(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shards` of the store."""
    folder = tmp_path_factory.mktemp("made")
    shard(ready_store, folder / "shards")
    return folder


def said(words: list[object], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= width
    return done.output


def flat(text: str) -> str:
    """In one line, as a hanging indent breaks it anywhere."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_store_says_what_comes_next(
    width: int, ready_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ready_store.parent)
    text = flat(said(["info", ready_store.name], width, monkeypatch))
    assert text.startswith(
        "degflow.zarr: a store of 27 HR patches of 64 x 64 pixels, from 3 photos"
    )
    assert "levels 2 levels x2, x4, by tiny-" in text and "all of 27 patches" in text
    assert "next degflow-pipe shard --store degflow.zarr --out SHARDS" in text
    assert text.endswith("all of it degflow-pipe info degflow.zarr --json")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_shards_say_how_they_are_read(
    width: int, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    text = flat(said(["info", "shards"], width, monkeypatch))
    assert re.match(r"shards: 54 LR/HR pairs of 27 patches, in 1 tar of [\d.]+ \w?B ", text)
    assert "LR as large as HR, png" in text and "sr_pairs('shards')" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_checkpoint_says_its_verdict_first(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(["info", "city100-compact"], width, monkeypatch)
    first, *rest = text.splitlines()
    assert first.startswith("city100-compact: a checkpoint, city100-compact-")
    assert "verdict: good" in rest[0] + rest[1]
    assert len(rest) < 45 and "MIT" in text and "x2.9" in text


def test_a_store_without_levels_asks_for_them(
    make_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_store(tmp_path / "a b.zarr", scales=None)
    text = flat(said(["info", "a b.zarr"], 80, monkeypatch))
    assert f"next degflow-pipe generate --store {shlex.quote('a b.zarr')}" in text


def test_a_grid_that_was_not_ended_is_told_beside_a_whole_one(
    make_store, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_store(tmp_path / "a.zarr")
    (whole,) = Store.open(tmp_path / "a.zarr").grids()
    rest = "--t-grid", "0.3", "--checkpoint", tiny, "--store", "a.zarr", "--noise", "none"
    made = flat(said(["generate", *rest], 200, monkeypatch))
    other = re.search(r"grid (\S+)", made)
    assert other is not None
    assert "not whole" not in said(["info", "a.zarr"], 200, monkeypatch)
    for ledger in (tmp_path / "a.zarr/done/levels" / other[1]).glob("*.jsonl"):
        ledger.unlink()
    text = flat(said(["info", "a.zarr"], 200, monkeypatch))
    assert f"not whole {other[1]} lacks 27 patches: run `generate` with its levels" in text
    assert f"--grid {whole} --out SHARDS" in text
    gone = flat(said(["grid", "delete", other[1], "--store", "a.zarr"], 200, monkeypatch))
    assert gone.startswith(f"a.zarr: grid {other[1]} taken out, with all its levels")


def test_no_credentials_are_shown(ready_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = place_of("memory://user:topsecret@b/shards")
    shard(ready_store, at)
    text = said(["info", at.url], 80, monkeypatch)  # type: ignore[attr-defined]
    assert "54 LR/HR pairs" in flat(text) and "topsecret" not in text
