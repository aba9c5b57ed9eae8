"""What can break while data is made, in every stage: one line says it, nothing that was done is
lost, and the same commands end in the same bytes.

Kills in the middle and two writers at once: see `test_resume.py`; disks that are full: see
`test_errors.py`; workers of Ray: see `tests/engines/test_actors.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from skimage import data

from degflow_pipe import files
from degflow_pipe.store import Store
from tests.cli.conftest import mount

Run = Callable[..., Any]
STAGES = ("ingest", "generate", "shard", "export", "degrade")
RELATIVE = "--relative"
"""Else options of an export name the folder that it lies in."""
MADE = {
    "ingest": "degflow.zarr",
    "generate": "degflow.zarr",
    "shard": "shards",
    "export": "export",
    "degrade": "lr",
}
"""What each writes to."""
LEDGERS = {
    "ingest": "degflow.zarr/done/hr",
    "generate": "degflow.zarr/done/levels/*",
    "shard": "shards/.degflow",
}


@pytest.fixture(scope="module")
def commands(tiny: str, photo_folder: Path) -> dict[str, list[str]]:
    model = ["--checkpoint", tiny]
    return {
        "ingest": ["ingest", "photos", "--patch", "64", "--stride", "32", *model],
        "generate": ["generate", "--t-grid", "x2", *model],
        "shard": ["shard", "--shard-size", "20"],
        "export": ["export", "shards", "--to", "basicsr", "--scale", "2", "-o", "export", RELATIVE],
        "degrade": ["degrade", "photos", "-o", "lr", "--t-grid", "x2", *model],
    }


@pytest.fixture(scope="module")
def after(
    degflow: Run,
    commands: dict[str, list[str]],
    photo_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """The job's folder before it (as ``) and after each stage. Do not write to them."""
    folder = tmp_path_factory.mktemp("faults") / "job"
    shutil.copytree(photo_folder, folder / "photos")
    found = {"": Path(shutil.copytree(folder, folder.with_name("after_")))}
    for stage in STAGES:
        degflow(*commands[stage], cwd=folder)
        found[stage] = Path(shutil.copytree(folder, folder.with_name(f"after_{stage}")))
    return found


def before(stage: str) -> str:
    return ("", *STAGES)[STAGES.index(stage)]


@pytest.fixture
def goes_on(
    degflow: Run, contents: Run, commands: dict[str, list[str]], after: dict[str, Path]
) -> Callable[[str, Path], None]:
    """The command again ends as it does where nothing breaks."""

    def check(stage: str, folder: Path) -> None:
        degflow(*commands[stage], cwd=folder)
        made = MADE[stage]
        assert contents(folder / made) == contents(after[stage] / made)

    return check


# ---- disks and memory


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_read_only(
    stage: str, degflow: Run, commands: Run, after: dict[str, Path], goes_on: Run, small_disk: Path
) -> None:
    shutil.copytree(after[before(stage)], small_disk, dirs_exist_ok=True)
    assert mount("-o", "remount,ro", small_disk)
    said = degflow(*commands[stage], cwd=small_disk, code=1).error
    assert MADE[stage] in said and "Read-only file system" in said
    assert mount("-o", "remount,rw", small_disk)
    goes_on(stage, small_disk)


@pytest.mark.parametrize("stage", ["export", "degrade"])
def test_a_disk_that_is_full(
    stage: str, degflow: Run, commands: Run, after: dict[str, Path], goes_on: Run, small_disk: Path
) -> None:
    shutil.copytree(after[before(stage)], small_disk, dirs_exist_ok=True)
    with pytest.raises(OSError), (small_disk / ".filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    assert "No space left on device" in degflow(*commands[stage], cwd=small_disk, code=1).error
    (small_disk / ".filler").unlink()
    goes_on(stage, small_disk)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is looked for there")
@pytest.mark.parametrize("stage", ["ingest", "degrade"])
def test_memory_that_does_not_do_for_a_photo(
    stage: str, degflow: Run, commands: Run, after: dict[str, Path], goes_on: Run, tmp_path: Path
) -> None:
    """It ends the command: elsewhere the photo can be used, so it is not one to skip."""
    folder = Path(shutil.copytree(after[before(stage)], tmp_path / "job"))
    said = degflow(*commands[stage], cwd=folder, code=1, memory=100 << 20).error
    assert "memory" in said and "photos/" in said
    goes_on(stage, folder)


# ---- workers, and clocks


def workers_of(parent: int) -> list[psutil.Process]:
    """What multiprocessing started for a process, as long as both are there."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent).children():
            with suppress(psutil.NoSuchProcess):
                if any("spawn_main" in word for word in child.cmdline()):
                    found.append(child)
    return found


@pytest.mark.parametrize(
    ("stage", "how"),
    [("ingest", signal.SIGTERM), ("generate", signal.SIGKILL), ("shard", signal.SIGKILL)],
)
def test_a_worker_that_is_killed(
    stage: str,
    how: signal.Signals,
    start: Run,
    commands: Run,
    after: dict[str, Path],
    goes_on: Run,
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(after[before(stage)], tmp_path / "job"))
    process = start(*commands[stage], "--engine", "processes", "--workers", "2", cwd=folder)
    while process.poll() is None and not (workers := workers_of(process.pid)):
        time.sleep(0.001)
    workers[0].send_signal(how)
    _, err = process.communicate()
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("error: a worker process was ended from outside")
    goes_on(stage, folder)


BACK = """
import sys, time, datetime
now = time.time
time.time = lambda: now() - 400 * 86400
sys.argv[0] = "degflow-pipe"
from degflow_pipe.cli.app import main
main()
"""
"""The command on a machine whose clock was set back by more than a year."""


def test_a_clock_that_was_set_back(
    begin: Run,
    contents: Run,
    environment: dict[str, str],
    commands: Run,
    after: dict[str, Path],
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(after["ingest"], tmp_path / "job"))
    process = begin(*commands["generate"], cwd=folder, hold_at="degflow.zarr/done/levels/*/*.jsonl")
    process.until_held()
    process.kill()
    process.communicate()
    for path in folder.rglob("*"):
        os.utime(path, (4e9, 4e9))
    for stage in ("generate", "shard"):
        subprocess.run(
            [sys.executable, "-c", BACK, *commands[stage]], cwd=folder, env=environment, check=True
        )
    for made in ("degflow.zarr", "shards"):
        assert contents(folder / made) == contents(after["shard"] / made)


# ---- photos that change


def stopped_ingest(begin: Run, commands: Run, after: dict[str, Path], at: Path) -> Path:
    """A job whose ingest was killed when the first of its units was done."""
    folder = Path(shutil.copytree(after[""], at))
    process = begin(*commands["ingest"], cwd=folder, hold_at="degflow.zarr/done/hr/*.jsonl")
    process.until_held()
    process.kill()
    process.communicate()
    return folder


@pytest.mark.parametrize("what", ["gone", "changed"])
def test_a_photo_between_two_halves_of_an_ingest(
    what: str,
    begin: Run,
    degflow: Run,
    commands: Run,
    after: dict[str, Path],
    tmp_path: Path,
) -> None:
    """`verify` tells that one was begun; the end is of the photos that are there."""
    photo = "astronaut.png"
    folder = stopped_ingest(begin, commands, after, tmp_path / "job")
    path = folder / "photos" / photo
    path.unlink()
    if what == "changed":
        Image.fromarray(data.rocket()[100:250, 200:400].copy()).save(path)
    degflow(*commands["ingest"], cwd=folder)
    found = degflow("verify", "degflow.zarr", "--json", cwd=folder, code=1).json
    assert "begun and not finished" in " ".join(found["damage"])
    degflow("remove", photo, cwd=folder)
    degflow("verify", "degflow.zarr", cwd=folder)
    degflow(*commands["ingest"], cwd=folder)
    degflow("verify", "degflow.zarr", cwd=folder)
    held = {
        photo.source: photo.sha256
        for photo in Store.open(folder / "degflow.zarr").photos().values()
    }
    there = {
        path.relative_to(folder / "photos").as_posix(): path
        for path in (folder / "photos").rglob("*.*")
    }
    assert held == {name: files.sha256(path) for name, path in there.items()}


@pytest.mark.parametrize("stage", ["generate", "shard"])
def test_photos_that_are_gone_after_the_ingest(
    stage: str, after: dict[str, Path], goes_on: Run, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(after[before(stage)], tmp_path / "job"))
    shutil.rmtree(folder / "photos")
    goes_on(stage, folder)


# ---- bytes that change


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


REPAIR = {
    "degflow.zarr": ["verify", "degflow.zarr", "--repair"],
    "shards": ["verify", "shards", "--repair", "--store", "degflow.zarr"],
}
DAMAGED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "chunk of HR": ("generate", "degflow.zarr/hr/c.*", ("repair", "ingest", "generate")),
    "chunk of latents": ("generate", "degflow.zarr/latents/*/c.*", ("repair",)),
    "chunk of levels": ("generate", "degflow.zarr/levels/*/c.*", ("repair",)),
    "ledger of HR": ("generate", "degflow.zarr/done/hr/*.jsonl", ("ingest", "generate")),
    "ledger of levels": ("generate", "degflow.zarr/done/levels/*/*.jsonl", ("generate",)),
    "description": ("generate", "degflow.zarr/store.json", ("repair --device cpu",)),
    "tar": ("shard", "shards/*.tar", ("repair",)),
    "index": ("shard", "shards/*.index.jsonl", ("repair",)),
    "sums": ("shard", "shards/*.sha256", ("shard",)),
    "summary": ("shard", "shards/degflow.json", ("shard --overwrite",)),
}
"""After which stage, which files, and what mends them."""


@pytest.mark.parametrize("what", DAMAGED)
@pytest.mark.parametrize("how", [flip, truncate])
def test_bytes_that_change(
    what: str,
    how: Callable[[Path], None],
    begin: Run,
    degflow: Run,
    contents: Run,
    commands: Run,
    tiny: str,
    after: dict[str, Path],
    tmp_path: Path,
) -> None:
    """`verify` names them, and what is whole is used to make them again as they were."""
    stage, pattern, mended_by = DAMAGED[what]
    folder, made = Path(shutil.copytree(after[stage], tmp_path / "job")), MADE[stage]
    damaged = sorted(folder.glob(pattern))[0]
    how(damaged)
    if (what, how) != ("ledger of levels", truncate):  # it is as if they were not made yet
        assert made in degflow("verify", made, cwd=folder, code=1).error
    for mend in mended_by:
        name, *flags = mend.split()
        words = REPAIR[made] if name == "repair" else commands[name]
        if name == "repair" and not flags:
            words = [*words, "--checkpoint", tiny]  # which is none of the shipped ones
        process = begin(*words, *flags, cwd=folder)
        _, err = process.communicate()
        assert "Traceback" not in err
        # A repair ends with 1 where something is left to do: the photos are to be given again.
        assert process.returncode in ((0, 1) if len(mended_by) > 1 else (0,)), err
    degflow("verify", made, cwd=folder)
    assert contents(folder / made) == contents(after[stage] / made)


@pytest.mark.parametrize("made", REPAIR)
def test_a_mark_that_is_damaged(
    made: str, degflow: Run, commands: Run, after: dict[str, Path], goes_on: Run, tmp_path: Path
) -> None:
    """Whose folder it is cannot be told, so nothing is written; it says what the mark should be."""
    stage = "shard" if made == "shards" else "generate"
    folder = Path(shutil.copytree(after[stage], tmp_path / "job"))
    mark = folder / made / ".degflow-pipe.json"
    whole = mark.read_bytes()
    truncate(mark)
    said = degflow(*commands[stage], cwd=folder, code=1).error
    assert f"{made}/.degflow-pipe.json" in said
    mark.write_bytes(whole)
    goes_on(stage, folder)
