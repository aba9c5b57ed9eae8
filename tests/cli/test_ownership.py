"""Every command in a folder full of somebody else's files: all of them are there afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from PIL import Image
from skimage import data

from degflow_pipe import folders
from degflow_pipe.cli.app import app

Run = Callable[..., Any]

WRITES = {
    "ingest": "ingest PHOTOS --checkpoint TINY --patch 64 --store THEIRS",
    "remove": "remove astronaut.png --store THEIRS",
    "generate": "generate --checkpoint TINY --t-grid 0.5 --store THEIRS",
    "grid delete": "grid delete t0500 --store THEIRS",
    "grid merge": "grid merge t0500 t1000 --store THEIRS",
    "shard": "shard --store STORE --out THEIRS",
    "run": "run RECIPE --keep none",
    "demo": "demo --checkpoint TINY --out THEIRS",
    "preview": "preview PHOTO --checkpoint TINY --side 64 --out THEIRS/README.md",
    "inspect": "inspect PHOTOS --out THEIRS/README.md",
    "report": "report STORE --out THEIRS/README.md",
    "degrade": "degrade PHOTOS --checkpoint TINY --t-grid 0.5 --out THEIRS",
    "export": "export SHARDS --to basicsr --scale 2 --out THEIRS",
    "align": "align PHOTOS --out THEIRS",
    "target": "target PHOTOS --out THEIRS",
    "simulate": "simulate PHOTOS --scales 2 --out THEIRS",
    "train rae": "train rae TRAINING --data PAIRS --out THEIRS",
    "train lfm": "train lfm TRAINING --data PAIRS --out THEIRS --rae TINY",
    "train joint": "train joint TRAINING --data PAIRS --out THEIRS",
    "camera": "camera PAIRS --recipe TRAINING --out THEIRS",
    "calibrate": "calibrate THEIRS PAIRS --recipe TRAINING",
    "evaluate": "evaluate TINY PAIRS --recipe TRAINING --out THEIRS",
    "proxy": "proxy TINY PAIRS --recipe TRAINING --steps 1 --sources bicubic --out THEIRS",
    "checkpoint import": "checkpoint import --rae RAE.pt --flow FLOW.pt --out THEIRS",
    "checkpoint export": "checkpoint export city100-published --rae THEIRS/README.md "
    "--flow THEIRS/notes.txt",
    "tune-solver": "tune-solver THEIRS PHOTOS",
}
"""A command line of each command that writes; THEIRS is the folder that is not ours."""
READS = {
    "info": "info THEIRS",
    "verify": "verify THEIRS",
    "doctor": "doctor THEIRS --to basicsr",
    "bench": "bench THEIRS --checkpoint TINY --patch 64 --patches 1 --compare 1 --t-grid 0.5",
}
NAMES = (
    "README.md",
    "notes.txt",
    "hr/a.png",
    "hr/c/0/0/0/0",
    "hr/zarr.json",
    "latents/a.npy",
    "levels/t0500/zarr.json",
    "done/ingest/00000000.json",
    "zarr.json",
    "contact_sheet.png",
    "degflow-000000.tar",
    "degflow.index.jsonl",
    ".degflow/000000.json",
    ".degflow/export.json",
    ".degflow.zarr/hr/a.png",
    ".lock",
    "gt/a.png",
    "lq/a.png",
    "meta_info.txt",
    "pairs.jsonl",
    "model.safetensors",
    "rae.safetensors",
    "rae.state.pt",
    "photos/astronaut.png",
    "astronaut_t0500.png",
    "figures.json",
    "pictures.png",
    "strip.png",
    "runs/a.json",
    "Simulated/Train/2/Simulated_001_HR.png",
    "a.png.part",
)
"""Of files that somebody has: the names that ours write, and others."""


def sums(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def command_names(group: Any, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from command_names(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_no_command_is_forgotten() -> None:
    assert set(command_names(typer.main.get_command(app))) == {*WRITES, *READS}


@pytest.fixture(scope="module")
def workplace(
    degflow: Run,
    tiny: str,
    photo_folder: Path,
    ready_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What the commands read: photos, pairs, recipes, a store and shards of ours."""
    folder = tmp_path_factory.mktemp("ours")
    shutil.copytree(photo_folder, folder / "PHOTOS")
    shutil.copy(photo_folder / "astronaut.png", folder / "PHOTO")
    shutil.copytree(ready_store, folder / "STORE")
    shutil.copytree(tiny, folder / "TINY")
    degflow("shard", "--store", "STORE", "--out", "SHARDS", cwd=folder)
    (folder / "PAIRS").mkdir()
    for name in ("chelsea", "coffee"):
        picture = Image.fromarray(getattr(data, name)()[:192, :192])  # as `proxy` needs it
        for level in ("hr", "lr"):
            picture.save(folder / "PAIRS" / f"{name}_{level}.png")
    stage = {"steps": 1, "batch": 1, "patch": 64, "warmup": 0}
    training = {
        "kind": "train",
        "name": "mini",
        "model": {"preset": "compact", "rae": {"width": 4}, "velocity": {"width": 8}},
        "data": {
            "levels": [
                {"name": "HR", "t": 0.0, "files": "*_hr.png"},
                {"name": "LR", "t": 1.0, "files": "*_lr.png"},
            ],
            "validate": "coffee",
            "s_max": 4.0,
            "source": "a test",
            "licence": "none",
        },
        "rae": stage,
        "lfm": {**stage, "perceptual": "none"},
        "joint": stage,
    }
    run = {
        "kind": "run",
        "photos": ["PHOTOS"],
        "checkpoint": "TINY",
        "store": "THEIRS",
        "out": "THEIRS",
        "ingest": {"patch": 64},
        "generate": {"t_grid": "0.5"},
    }
    for name, recipe in (("TRAINING", training), ("RECIPE", run)):
        # JSON first: what stands in it twice would be written as an alias.
        (folder / name).write_text(yaml.safe_dump(json.loads(json.dumps(recipe))))
    files = ("--rae", "RAE.pt", "--flow", "FLOW.pt")
    degflow("checkpoint", "export", "city100-published", *files, cwd=folder)
    for stage in ("rae", "lfm"):
        degflow("train", stage, "TRAINING", "--data", "PAIRS", "--out", "PARTS", cwd=folder)
    return folder


@pytest.fixture
def theirs(workplace: Path) -> Iterator[Path]:
    """A folder full of files that none of our commands wrote."""
    folder = workplace / "THEIRS"
    for name in NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"mine: {name}".encode())
    Image.fromarray(data.astronaut()[:96, :96]).save(folder / "photo.png")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("command", WRITES)
def test_nothing_of_somebody_elses_is_changed(
    command: str, degflow: Run, workplace: Path, theirs: Path
) -> None:
    before = sums(theirs)
    code = 2 if command in ("preview", "inspect", "report", "checkpoint export") else 1
    done = degflow(*WRITES[command].split(), cwd=workplace, code=code)
    assert "THEIRS" in done.error
    assert sums(theirs) == before


ALONE = {
    **{name: line for name, line in WRITES.items() if "--out THEIRS" in line},
    **{name: WRITES[name] for name in ("ingest", "remove", "generate", "run", "calibrate")},
    "train lfm": "train lfm TRAINING --data PAIRS --out THEIRS --rae PARTS",
    "tune-solver": WRITES["tune-solver"],
}
del (
    ALONE["preview"],
    ALONE["inspect"],
    ALONE["report"],
)  # one file, which is nobody's before it is there


@pytest.mark.parametrize("command", ALONE)
def test_a_folder_that_another_process_writes_to_is_refused(
    command: str, degflow: Run, workplace: Path
) -> None:
    folder = workplace / "THEIRS"
    needed = {
        **dict.fromkeys(("calibrate", "tune-solver"), "TINY"),
        **dict.fromkeys(("remove", "generate"), "STORE"),
        "train joint": "PARTS",
    }
    if command in needed:
        shutil.copytree(workplace / needed[command], folder)
    else:
        folder.mkdir()
    try:
        with folders.locked(folder):
            before = sums(folder)
            done = degflow(*ALONE[command].split(), cwd=workplace, code=1)
            assert "THEIRS" in done.error and "another process is writing to it" in done.error
            assert sums(folder) == before
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("keep", ["levels", "latents"])
def test_a_run_refuses_before_it_begins(
    keep: str, degflow: Run, workplace: Path, theirs: Path
) -> None:
    before = sums(theirs)
    assert "THEIRS" in degflow("run", "RECIPE", "--keep", keep, cwd=workplace, code=1).error
    assert sums(theirs) == before


@pytest.mark.parametrize("command", READS)
def test_reading_changes_nothing(command: str, degflow: Run, workplace: Path, theirs: Path) -> None:
    before = sums(theirs)
    code = {"info": 1, "verify": 1, "doctor": 1, "bench": 0}[command]
    degflow(*READS[command].split(), cwd=workplace, code=code)
    assert sums(theirs) == before


def test_photos_are_not_ingested_into_the_folder_they_lie_in(
    degflow: Run, tiny: str, tmp_path: Path
) -> None:
    """`data/hr` is also where a store at `data` would have its patches."""
    (tmp_path / "data" / "hr").mkdir(parents=True)
    Image.fromarray(data.astronaut()[:96, :96]).save(tmp_path / "data" / "hr" / "mine.png")
    before = sums(tmp_path)
    asked = ["--checkpoint", tiny, "--patch", "64", "--store", "data"]
    done = degflow("ingest", "data/hr", *asked, cwd=tmp_path, code=1)
    assert "data is not empty and was not made by degflow-pipe" in done.error
    assert sums(tmp_path) == before


def test_a_folder_of_another_command_is_refused(degflow: Run, store: Path, tiny: str) -> None:
    before = sums(store)
    done = degflow("shard", "--out", store.name, cwd=store.parent, code=1)
    assert "is for a store" in done.error
    assert sums(store) == before


def test_a_pipe_is_not_replaced(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    asked = ["--checkpoint", tiny, "--side", "64", "--t-grid", "1", "--overwrite"]
    photo = photo_folder / "astronaut.png"
    done = degflow("preview", photo, *asked, "-o", "pipe.png", cwd=tmp_path, code=1)
    assert "pipe.png: cannot write: something is there that is not a regular file" in done.error
    assert (tmp_path / "pipe.png").is_fifo()


def test_a_picture_has_its_own_ending(degflow: Run, tiny: str, photo_folder: Path) -> None:
    photo = photo_folder / "astronaut.png"
    words = ["preview", photo, "--checkpoint", tiny, "-o", "/dev/null"]
    done = degflow(*words, cwd=photo_folder.parent, code=2)
    assert done.error == "/dev/null: --out must end in .png, which is what is written"


def test_a_link_is_not_written_through(degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path):
    (tmp_path / "precious.txt").write_text("mine")
    (tmp_path / "strip.png").symlink_to("precious.txt")
    photo = photo_folder / "astronaut.png"
    asked = ["--checkpoint", tiny, "--side", "64", "--t-grid", "1", "--overwrite"]
    degflow("preview", photo, *asked, cwd=tmp_path, code=1)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_changed_card_of_shards_stays(degflow: Run, store: Path) -> None:
    degflow("shard", cwd=store.parent)
    card = store.parent / "shards" / "README.md"
    card.write_text("my own words")
    done = degflow("shard", cwd=store.parent, code=1)
    assert "README.md was changed since it was written" in done.error
    assert card.read_text() == "my own words"


def test_preview_overwrites_only_where_it_is_told(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    photo = photo_folder / "astronaut.png"
    asked = ["preview", photo, "--checkpoint", tiny, "--side", "64", "--t-grid", "1"]
    degflow(*asked, cwd=tmp_path)
    before = (tmp_path / "strip.png").read_bytes()
    assert "--overwrite" in degflow(*asked, "--t-grid", "0.1", cwd=tmp_path, code=2).error
    assert (tmp_path / "strip.png").read_bytes() == before
    degflow(*asked, "--t-grid", "0.1", "--overwrite", cwd=tmp_path)
    assert (tmp_path / "strip.png").read_bytes() != before
