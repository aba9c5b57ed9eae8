"""Whole artefacts of every kind that a command reads, made by the commands, and what reads them."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageFilter
from skimage import data

TINY = Path(__file__).parents[1] / "data" / "tiny"
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "city100-published"

RUN = {
    "kind": "run",
    "checkpoint": str(TINY),
    "photos": ["photos"],
    "ingest": {"patch": 64, "min_detail": 1.0},
    "generate": {"t_grid": "x2,x4", "noise": "none", "seed": 0},
    "shard": {"name": "degflow", "shard_size": 1000, "layout": "pairs"},
}
STAGE = {"steps": 2, "batch": 1, "patch": 64, "lr": 1e-3, "warmup": 1, "save_every": 1}
TRAIN = {
    "kind": "train",
    "name": "smallest",
    "model": {
        "rae": {"width": 2, "latent_channels": 2},
        "velocity": {"width": 4, "multipliers": [1, 1], "blocks": 1},
        "solver": {"method": "rk4", "steps": 1},
    },
    "data": {
        "levels": [
            {"name": "HR", "t": 0.0, "files": "*_hr.png"},
            {"name": "LR", "t": 1.0, "files": "*_lr.png"},
        ],
        "validate": "coffee",
        "s_max": 4.0,
        "source": "blurred",
        "licence": "none",
    },
    "rae": STAGE,
    "lfm": {**STAGE, "perceptual": "none"},
}
PROXY = {
    "kind": "proxy",
    "data": TRAIN["data"],
    "network": "same-size",
    "sources": ["bicubic"],
    "added_noise": [0],
    "seeds": 1,
    "budget": {"steps": 1, "batch": 1, "crop": 64, "lr": 1e-3, "width": 4, "blocks": 1},
}


@dataclass(frozen=True)
class Artefact:
    """A folder to attack, and the commands that read it; `{}` in them is its copy.

    attacked: which of its files, by name. The commands run beside `photos` and `pairs`.
    """

    name: str
    folder: Path
    commands: tuple[str, ...]
    attacked: Callable[[str], bool] = lambda name: True

    def files(self) -> list[Path]:
        """Regular files that are attacked, by their place in the folder; locks hold nothing."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        places = [path.relative_to(self.folder) for path in found]
        return [p for p in places if not p.name.endswith(".lock") and self.attacked(str(p))]


def make(at: Path, run: Callable[..., None]) -> list[Artefact]:
    """All artefacts below `at`; run(*args) runs a command there that must end well."""
    photos, pairs = at / "photos", at / "pairs"
    photos.mkdir(parents=True)
    pairs.mkdir()
    for name, crop in (
        ("astronaut.png", data.astronaut()[60:188, 150:278]),
        ("chelsea.jpg", data.chelsea()[60:188, 120:248]),
        ("coffee.webp", data.coffee()[100:228, 200:328]),
        ("rocket.tif", data.rocket()[100:228, 200:328]),
    ):
        Image.fromarray(np.ascontiguousarray(crop)).save(photos / name)
    (at / "sets").mkdir()
    with tarfile.open(at / "sets" / "photos.tar", "w") as tar:
        for path in sorted(photos.iterdir()):
            tar.add(path, path.name)
    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(photos.iterdir())]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array(rows, kind)})
    pq.write_table(table, at / "sets" / "photos.parquet", row_group_size=2)
    for name in ("astronaut", "chelsea", "coffee"):
        hr = Image.fromarray(np.ascontiguousarray(getattr(data, name)()[40:240, 140:340]))
        hr.save(pairs / f"{name}_hr.png")
        hr.filter(ImageFilter.GaussianBlur(1.8)).save(pairs / f"{name}_lr.png")
    shutil.copytree(TINY, at / "checkpoint")
    for name, recipe in (("run", RUN), ("train", TRAIN), ("proxy", PROXY)):
        (at / f"recipe-{name}").mkdir()
        text = yaml.safe_dump(json.loads(json.dumps(recipe)), sort_keys=False)
        (at / f"recipe-{name}" / "recipe.yaml").write_text(text)
    run("ingest", "photos", "--store", "store", "--checkpoint", TINY, "--patch", "64")
    run("generate", "--store", "store", "--checkpoint", TINY, "--t-grid", "x2,x4")
    run("shard", "--store", "store", "-o", "shards", "--shard-size", "10")
    run("export", "shards", "--to", "basicsr", "--scale", "2", "-o", "export", "--relative")
    run("export", "shards", "--to", "basicsr-lmdb", "--scale", "2", "-o", "lmdb", "--relative")
    run("degrade", "photos", "-o", "degrade", "--checkpoint", TINY, "--t-grid", "x2")
    run("simulate", "photos", "-o", "simulate", "--scales", "2")
    train = ("recipe-train/recipe.yaml", "--data", "pairs", "-o", "training", "--device", "cpu")
    run("train", "rae", *train)
    run("train", "lfm", *train)
    (at / "published").mkdir()
    files = ("--rae", "published/rae.pt", "--flow", "published/flow.pt")
    run("checkpoint", "export", SHIPPED, *files)
    one, cpu = "--workers 1", "--device cpu"
    made = f"--checkpoint {TINY}"
    return [
        Artefact(
            "photo",
            photos,
            (
                f"ingest {{}} --store new {made} --patch 64 {one}",
                f"degrade {{}} -o new {made} --t-grid x2 {one}",
                f"simulate {{}} -o new --scales 2 {one}",
            ),
        ),
        Artefact(
            "data set",
            at / "sets",
            (
                f"ingest {{}} --store new {made} --patch 64 {one}",
                f"degrade {{}} -o new {made} --t-grid x2 {one}",
                f"ingest {{}} --store new {made} --patch 64 {one} --dry-run",
            ),
        ),
        Artefact(
            "checkpoint",
            at / "checkpoint",
            (
                "info {}",
                "verify {}",
                "preview photos/astronaut.png --checkpoint {} --side 64 --t-grid 1",
                "report {} -o new.html",
            ),
        ),
        Artefact("run recipe", at / "recipe-run", ("run {}/recipe.yaml",)),
        Artefact(
            "training recipe",
            at / "recipe-train",
            (f"train rae {{}}/recipe.yaml --data pairs -o new {cpu}",),
        ),
        Artefact(
            "proxy recipe",
            at / "recipe-proxy",
            (f"proxy {TINY} pairs --recipe {{}}/recipe.yaml -o new {cpu}",),
        ),
        Artefact(
            "store",
            at / "store",
            (
                "info {}",
                f"verify {{}} {one}",
                f"generate --store {{}} {made} --t-grid x2,x3 {one}",
                f"shard --store {{}} -o new {one}",
                f"ingest photos --store {{}} {made} --patch 64 {one}",
                "report {} -o new.html",
            ),
        ),
        Artefact(
            "shards",
            at / "shards",
            (
                "info {}",
                f"verify {{}} {one}",
                f"export {{}} --to basicsr --scale 2 -o new {one}",
                f"shard --store store -o {{}} --shard-size 10 {one}",
                "report {} -o new.html",
            ),
        ),
        Artefact("export", at / "export", ("info {}", f"doctor {{}} --to basicsr {one}")),
        Artefact("LMDB", at / "lmdb", (f"doctor {{}} --to basicsr-lmdb {one}",)),
        Artefact(
            "degraded",
            at / "degrade",
            (f"degrade photos -o {{}} {made} --t-grid x2 {one}",),
        ),
        Artefact("simulated", at / "simulate", (f"simulate photos -o {{}} --scales 2 {one}",)),
        Artefact(
            "training",
            at / "training",
            (
                f"train rae recipe-train/recipe.yaml --data pairs -o {{}} {cpu}",
                f"train lfm recipe-train/recipe.yaml --data pairs -o {{}} {cpu}",
            ),
            lambda name: not name.startswith("tensorboard"),
        ),
        Artefact(
            "published files",
            at / "published",
            ("checkpoint import --rae {}/rae.pt --flow {}/flow.pt -o new",),
        ),
        Artefact(
            "pairs",
            pairs,
            (f"train rae recipe-train/recipe.yaml --data {{}} -o new {cpu}",),
        ),
    ]
