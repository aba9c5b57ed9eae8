"""A job that is killed, stopped or met by another one: the same command again, the same bytes."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from tests.cli.conftest import Begun

Run = Callable[..., Any]
STAGES = ("ingest", "generate", "shard")
LEDGERS = {
    "ingest": "degflow.zarr/done/hr",
    "generate": "degflow.zarr/done/levels/*",
    "shard": "shards/.degflow",
}
"""Where a stage writes a line after each of its units."""


def done_of(stage: str, folder: Path) -> int:
    """Units that are done."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob(f"{LEDGERS[stage]}/*.jsonl"))


@pytest.fixture(scope="module")
def commands(tiny: str, photo_folder: Path) -> dict[str, list[str]]:
    """A job of 3 units, 10 blocks and 11 tars; photos go on over the ends of units."""
    workers = ["--workers", "2"]
    model = ["--checkpoint", tiny, *workers]
    crop = ["--patch", "64", "--stride", "16", "--min-detail", "0"]
    return {
        "ingest": ["ingest", str(photo_folder), *crop, *model],
        "generate": ["generate", "--t-grid", "0.5", *model],
        "shard": ["shard", "--shard-size", "15", *workers],
    }


@pytest.fixture(scope="module")
def uninterrupted(
    degflow: Run, commands: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The job's folder as it is after each stage. Do not write to them."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    found = {}
    for stage in STAGES:
        degflow(*commands[stage], cwd=folder)
        found[stage] = Path(shutil.copytree(folder, folder.with_name(f"after_{stage}")))
    done = {stage: done_of(stage, folder) for stage in STAGES}
    assert done == {"ingest": 3, "generate": 10, "shard": 11}
    return found


@pytest.fixture
def begun(
    request: pytest.FixtureRequest,
    begin: Run,
    commands: dict[str, list[str]],
    uninterrupted: dict[str, Path],
    tmp_path: Path,
) -> Iterator[tuple[str, Path, Begun]]:
    """A stage, its folder, and its process held still in the middle: some of its units are done."""
    stage: str = request.param
    folder = tmp_path / "job"
    before = STAGES.index(stage) - 1
    if before < 0:
        folder.mkdir()
    else:
        shutil.copytree(uninterrupted[STAGES[before]], folder)
    process = begin(*commands[stage], cwd=folder, hold_at=f"{LEDGERS[stage]}/*.jsonl")
    process.until_held()
    assert 0 < done_of(stage, folder) < done_of(stage, uninterrupted[stage])
    yield stage, folder, process
    process.kill()
    process.communicate()


@pytest.fixture
def assert_goes_on(
    degflow: Run, contents: Run, commands: dict[str, list[str]], uninterrupted: dict[str, Path]
) -> Callable[[str, Path], None]:
    """The stage's command again, and those after it up to `last`, end as the whole job does.

    Where the files are those of the whole job, what the stages after make of them is as well: that
    is tried once for each stage.
    """

    def check(stage: str, folder: Path, last: str | None = None) -> None:
        for name in STAGES[STAGES.index(stage) : STAGES.index(last or stage) + 1]:
            degflow(*commands[name], cwd=folder)
            assert contents(folder) == contents(uninterrupted[name])

    return check


@pytest.mark.parametrize("begun", STAGES, indirect=True)
def test_killed_in_the_middle(begun: Any, assert_goes_on: Run) -> None:
    stage, folder, process = begun
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert_goes_on(stage, folder, last="shard")


@pytest.mark.parametrize(
    ("begun", "number"),
    [
        ("ingest", signal.SIGINT),
        ("generate", signal.SIGINT),
        ("shard", signal.SIGINT),
        ("shard", signal.SIGTERM),
    ],
    indirect=["begun"],
)
def test_asked_to_stop(begun: Any, number: signal.Signals, assert_goes_on: Run) -> None:
    stage, folder, process = begun
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate()
    assert process.returncode == 1
    assert out == ""
    assert err.splitlines()[-1].startswith("stopped: ")
    assert "Traceback" not in err and "error: " not in err
    assert_goes_on(stage, folder)


TRAIN = ("train", "rae", "recipe.yaml", "--data", "pairs", "--device", "cpu", "-o")


@pytest.fixture(scope="module")
def training(degflow: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, a recipe of 20 steps, of which only the last is saved unasked, and what it gives."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "pairs").mkdir()
    for name in ("chelsea", "coffee"):
        picture = Image.fromarray(getattr(data, name)()[:96, :96])
        for level in ("hr", "lr"):
            picture.save(folder / "pairs" / f"{name}_{level}.png")
    (folder / "recipe.yaml").write_text(
        """
kind: train
name: smallest
model: {preset: compact, rae: {width: 2, latent_channels: 2}}
data:
  levels: [{name: HR, t: 0, files: "*_hr.png"}, {name: LR, t: 1, files: "*_lr.png"}]
  validate: coffee
  s_max: 4
  source: photos of scikit-image
  licence: as scikit-image's photos
rae: {steps: 20, batch: 2, patch: 64, lr: 1e-3, warmup: 1, save_every: 1000, log_every: 1}
"""
    )
    degflow(*TRAIN, "whole", cwd=folder)
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_is_asked_to_stop(
    number: signal.Signals, begin: Run, degflow: Run, training: Path
) -> None:
    out = training / number.name
    process = begin(*TRAIN, out, cwd=training)
    while process.poll() is None and not (out / "rae.log.jsonl").exists():
        time.sleep(0.001)
    process.send_signal(number)
    printed, err = process.communicate()
    assert (process.returncode, printed) == (1, "")
    assert "Traceback" not in err and "error: " not in err
    last = err.splitlines()[-1]
    assert re.fullmatch(r"stopped: train rae: step \d+ of 20, .* is saved in .*state\.pt; .*", last)
    degflow(*TRAIN, out, cwd=training)
    weights = "rae.safetensors"
    assert (out / weights).read_bytes() == (training / "whole" / weights).read_bytes()


@pytest.mark.parametrize(
    ("begun", "other"),
    [("ingest", "ingest"), ("generate", "ingest"), ("shard", "shard")],
    indirect=["begun"],
)
def test_second_writer_is_refused(
    begun: Any,
    other: str,
    degflow: Run,
    contents: Run,
    commands: dict[str, list[str]],
    uninterrupted: dict[str, Path],
) -> None:
    stage, folder, process = begun
    refused = degflow(*commands[other], cwd=folder, code=1)
    assert "another process is writing to it" in refused.error
    process.send_signal(signal.SIGCONT)
    err = process.communicate()[1]
    assert process.returncode == 0, err
    assert contents(folder) == contents(uninterrupted[stage])


def test_killed_while_the_levels_are_laid_out(
    assert_goes_on: Run, uninterrupted: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted["ingest"], tmp_path / "job"))
    (grid,) = (p.name for p in (uninterrupted["shard"] / "degflow.zarr/levels").glob("t*"))
    # As zarr leaves a folder when it is killed before the array's and the group's descriptions.
    (folder / "degflow.zarr/levels" / grid).mkdir(parents=True)
    (folder / f"degflow.zarr/levels/{grid}/zarr.{'0' * 32}.partial").touch()
    (folder / f"degflow.zarr/levels/zarr.{'0' * 32}.partial").touch()
    assert_goes_on("generate", folder)


def test_killed_before_the_unit_that_others_followed(
    assert_goes_on: Run, uninterrupted: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted["ingest"], tmp_path / "job"))
    (folder / "degflow.zarr/hr/c.1.0.0.0").unlink()
    assert_goes_on("ingest", folder)


@pytest.mark.parametrize("stage", ["ingest", "generate"])
def test_processes_are_killed_in_the_middle(
    stage: str,
    begin: Run,
    degflow: Run,
    contents: Run,
    commands: dict[str, list[str]],
    uninterrupted: dict[str, Path],
    tmp_path: Path,
) -> None:
    """The other engine, killed and run again, ends in the same bytes."""
    folder = tmp_path / "job"
    before = STAGES.index(stage) - 1
    if before < 0:
        folder.mkdir()
    else:
        shutil.copytree(uninterrupted[STAGES[before]], folder)
    process = begin(*commands[stage], "--engine", "processes", cwd=folder)
    while process.poll() is None and not done_of(stage, folder):
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert 0 < done_of(stage, folder) < done_of(stage, uninterrupted[stage])
    degflow(*commands[stage], "--engine", "processes", "--workers", "1", cwd=folder)
    assert contents(folder) == contents(uninterrupted[stage])
