"""What `info` says of each of the three, and of shards whose NAME.json is not what it should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from degflow_pipe import files
from degflow_pipe.checkpoint.folder import find_checkpoint, read_info
from degflow_pipe.errors import ShardError
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.inspection import CheckpointContents, ShardsContents, StoreContents
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import info


@pytest.fixture(scope="module")
def whole(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    shard(ready_store, out, ShardSettings(shard_size=20))
    return out


def test_a_store_says_what_it_holds(ready_store: Path, tiny: str) -> None:
    found = info(ready_store)
    assert isinstance(found, StoreContents)
    assert (found.kind, found.patch, found.photos, found.patches) == ("store", 64, 3, 27)
    assert found.colours == {"sRGB": 3} and found.skipped == {}
    (grid,) = found.grids.values()
    assert (grid.scale, grid.noise, grid.patches) == ([2.0, 4.0], "none", 27)
    assert grid.checkpoint == read_info(Path(tiny)).id
    assert all(latents.patches <= 27 for latents in found.latents.values())


def test_shards_say_what_they_hold(whole: Path) -> None:
    found = info(whole)
    assert isinstance(found, ShardsContents)
    assert (found.kind, found.name, found.pairs, found.patches) == ("shards", "degflow", 54, 27)
    assert found.tars == [f"degflow-{n:06d}.tar" for n in range(3)]
    assert found.bytes == sum((whole / tar).stat().st_size for tar in found.tars)
    assert len(found.mean_squared_error) == 2


def test_a_checkpoint_says_what_it_is(tiny: str) -> None:
    found, known = info(Path(tiny)), read_info(Path(tiny))
    assert isinstance(found, CheckpointContents)
    assert (found.kind, found.id, found.name) == ("checkpoint", known.id, "tiny")
    assert (found.model, found.scale.s_max) == (known.model, 4.0)
    assert found.calibration is None


def test_a_calibrated_checkpoint_says_so_without_its_spectra() -> None:
    path = find_checkpoint("city100-compact")
    found, calibration = info(path), read_info(path).calibration
    assert isinstance(found, CheckpointContents) and found.calibration and calibration
    assert found.calibration.scales == calibration.scales
    assert found.calibration.noise == calibration.noise.digest


def without_layout(figures: dict[str, Any]) -> None:
    del figures["lr_size"]


def text_for_a_count(figures: dict[str, Any]) -> None:
    figures["patches"] = "27"


def list_for_a_mapping(figures: dict[str, Any]) -> None:
    figures["mean_squared_error"] = [1.0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_layout, "degflow.json lacks lr_size"),
        (text_for_a_count, "degflow.json.patches must be a whole number, got '27'"),
        (list_for_a_mapping, "degflow.json.mean_squared_error must be a mapping"),
    ],
)
def test_shards_of_another_kind_of_figures_are_refused(
    whole: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    shards = Path(shutil.copytree(whole, tmp_path / "shards"))
    figures = files.read_summed(shards / "degflow.json")
    change(figures)
    files.write_summed(shards / "degflow.json", figures)
    with pytest.raises(ShardError, match=why):
        info(shards)
