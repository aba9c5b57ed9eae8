"""What a command with nothing left to do takes: no torch, and every ledger read once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import parse_scales
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import info
from tests.conftest import PATCH, SCALES

HEAVY = {"torch", "torchdiffeq", "torchvision", "webdataset", "matplotlib", "pandas", "ray"}
LEVELS = ",".join(f"x{scale}" for scale in SCALES.split(","))
ALONE = """
import json, sys
from degflow_pipe.cli.app import app
loaded = {}
for words in json.loads(sys.argv[1]):
    app(words, standalone_mode=False)
    loaded[" ".join(words)] = sorted({name.partition(".")[0] for name in sys.modules})
json.dump(loaded, open(sys.argv[2], "w"))
"""

OPENING = """
import sys
from pathlib import Path
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.levels import parse_scales
from degflow_pipe.stages.generate import generate
def elsewhere(job, units, workers, cost=None, hear=None):
    print(type(job).__name__, len(list(units)), *sorted(sys.modules))
    yield from ()
generate(Path(sys.argv[1]), Bank.find(sys.argv[2], "cpu"), parse_scales("3", 4.0), engine=elsewhere)
"""


@pytest.fixture(scope="module")
def done(
    photo_folder: Path, ready_store: Path, tiny: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder in which all is made: `degflow.zarr`, `shards` and `run.yaml`."""
    folder = tmp_path_factory.mktemp("done")
    shutil.copytree(ready_store, folder / "degflow.zarr")
    shard(folder / "degflow.zarr", folder / "shards", ShardSettings())
    (folder / "run.yaml").write_text(
        f"kind: run\nphotos: [{photo_folder}]\nstore: {folder / 'degflow.zarr'}\n"
        f"out: {folder / 'shards'}\ncheckpoint: {tiny}\ningest: {{patch: {PATCH}}}\n"
        f"generate: {{t_grid: '{LEVELS}'}}\n"
    )
    return folder


def test_no_network_is_loaded_where_nothing_is_left_to_compute(
    done: Path, photo_folder: Path, tiny: str, environment: dict[str, str], tmp_path: Path
) -> None:
    store, out = str(done / "degflow.zarr"), str(done / "shards")
    named = ["--store", store, "--checkpoint", tiny]
    commands = [
        ["info", store],
        ["info", out],
        ["shard", "--store", store, "-o", out, "--dry-run"],
        ["shard", "--store", store, "-o", out],
        ["ingest", str(photo_folder), *named],
        ["generate", *named, "--t-grid", LEVELS],
        ["run", str(done / "run.yaml")],
    ]
    subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(commands), str(tmp_path / "loaded.json")],
        env={**environment, "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        capture_output=True,
    )
    loaded = json.loads((tmp_path / "loaded.json").read_text())
    assert list(loaded) == [" ".join(words) for words in commands]
    assert not {words: found for words, names in loaded.items() if (found := HEAVY & {*names})}


def test_no_network_is_loaded_where_others_compute(
    store: Path, tiny: str, environment: dict[str, str]
) -> None:
    words = [sys.executable, "-c", OPENING, str(store), tiny]
    said = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
    job, units, *loaded = said.split()
    assert (job, units) == ("LevelJob", "2")
    assert not HEAVY & {*loaded}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the records of each ledger were read, by its folder's name."""
    found: Counter[str] = Counter()
    records = Ledger.records

    def counted(ledger: Ledger) -> Iterator[tuple[str, dict[str, Any]]]:
        found[ledger.folder.name] += 1
        return records(ledger)

    monkeypatch.setattr(Ledger, "records", counted)
    return found


@pytest.mark.parametrize("what", ["info", "generate", "shard"])
def test_a_ledger_of_patches_is_read_once(
    what: str, done: Path, tiny_model: DegFlow, read: Counter[str]
) -> None:
    store, out = done / "degflow.zarr", done / "shards"
    works: dict[str, Callable[[], Any]] = {
        "info": lambda: info(store),
        "generate": lambda: generate(store, tiny_model, parse_scales(SCALES, 4.0)),
        "shard": lambda: shard(store, out, ShardSettings()),
    }
    works[what]()
    assert read["hr"] == 1
    assert max(read.values()) == 1
