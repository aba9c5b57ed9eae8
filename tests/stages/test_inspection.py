"""What `info` says of a calibrated checkpoint, and of shards whose NAME.json is another's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from degflow_pipe import json_files
from degflow_pipe.checkpoint.folder import find_checkpoint, read_info
from degflow_pipe.errors import ShardError
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.inspection import CheckpointContents
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import info


@pytest.fixture(scope="module")
def whole(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    shard(ready_store, out, ShardSettings(shard_size=20))
    return out


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
        (without_layout, "`degflow.json:` lacks lr_size"),
        (text_for_a_count, "`degflow.json.patches` must be a whole number, got '27'"),
        (list_for_a_mapping, "`degflow.json.mean_squared_error` must be a mapping"),
    ],
)
def test_shards_of_another_kind_of_figures_are_refused(
    whole: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    shards = Path(shutil.copytree(whole, tmp_path / "shards"))
    figures = json_files.read_summed(shards / "degflow.json")
    change(figures)
    json_files.write_summed(shards / "degflow.json", figures)
    with pytest.raises(ShardError, match=why):
        info(shards)
