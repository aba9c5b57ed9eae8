"""The main job and every other command, as users run them: what they print, and what they leave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from PIL import Image, ImageFilter
from skimage import data

from degflow_pipe.store import Store

Run = Callable[..., Any]
GRID = [round(0.1 + 0.05 * i, 2) for i in range(19)]
PATCHES = 27
"""Of 64 pixels in the photo folder."""


class Job:
    """A folder in which the three commands ran with their defaults, and what they printed."""

    def __init__(self, folder: Path, ingest: Any, generate: Any, shard: Any) -> None:
        self.folder, self.shards = folder, folder / "shards"
        self.ingest, self.generate, self.shard = ingest.json, generate.json, shard.json


@pytest.fixture(scope="module")
def job(
    fresh: Run,
    degflow: Run,
    tiny: str,
    photo_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Job:
    """The main job on the tiny checkpoint, one command of it as a process of its own. Do not write
    to its folder.
    """
    folder = tmp_path_factory.mktemp("job")
    model = ["--checkpoint", tiny, "--json"]
    return Job(
        folder,
        fresh("ingest", photo_folder, "--patch", "64", *model, cwd=folder),
        degflow("generate", "--t-grid", "0.1:1.0:0.05", *model, cwd=folder),
        degflow("shard", "--json", cwd=folder),
    )


# The main job


def test_job_writes_a_store_and_shards(job: Job) -> None:
    assert sorted(path.name for path in job.folder.iterdir()) == ["degflow.zarr", "shards"]
    assert sorted(path.name for path in job.shards.iterdir() if path.name[0] != ".") == [
        "README.md",
        "contact_sheet.png",
        "degflow-000000.index.jsonl",
        "degflow-000000.tar",
        "degflow.json",
        "degflow.sha256",
    ]


def test_job_says_what_it_did(job: Job) -> None:
    assert job.ingest["photos"] == 3 and job.ingest["skipped"] == {}
    assert job.ingest["patches"] == job.ingest["patches_in_store"] == PATCHES
    assert job.generate["patches"] == PATCHES and job.generate["pairs"] == PATCHES * 19
    assert job.generate["t"] == GRID
    assert job.shard["samples"] == job.shard["pairs"] == PATCHES * 19
    assert job.shard["tars"] == 1
    assert job.shard["bytes"] == (job.shards / "degflow-000000.tar").stat().st_size


def test_plain_webdataset_reads_every_pair(job: Job) -> None:
    tars = [str(path) for path in job.shards.glob("*.tar")]
    levels: dict[str, list[float]] = {}
    for sample in wds.WebDataset(tars, shardshuffle=False).decode("rgb8"):
        hr, lr, note = sample["hr.png"], sample["lr.png"], sample["json"]
        assert hr.shape == lr.shape == (64, 64, 3)
        assert not np.array_equal(hr, lr)
        assert note["source"] in ("astronaut.png", "chelsea.jpg", "sub/coffee.webp")
        assert note["scale"] == pytest.approx(1 + 3 * note["t"])
        patch, _, level = sample["__key__"].rpartition("-")
        assert level == note["level"]
        levels.setdefault(patch, []).append(note["t"])
    assert len(levels) == PATCHES
    assert all(t == GRID for t in levels.values())


def test_job_again_finds_everything_done(
    job: Job, degflow: Run, contents: Run, tiny: str, photo_folder: Path
) -> None:
    before = contents(job.folder)
    model = ["--checkpoint", tiny, "--json"]
    again = degflow("ingest", photo_folder, "--patch", "64", *model, cwd=job.folder).json
    assert (again["photos"], again["known"], again["patches"]) == (0, 3, 0)
    again = degflow("generate", *model, cwd=job.folder).json
    assert (again["pairs"], again["known"]) == (0, PATCHES * 19)
    assert degflow("shard", "--json", cwd=job.folder).json == {
        **job.shard,
        "made": 0,
        "slowest": [],
    }
    assert contents(job.folder) == before


def test_run_is_the_three_commands(
    job: Job, degflow: Run, contents: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    recipe = f"kind: run\ncheckpoint: {tiny}\ningest: {{patch: 64}}"
    (tmp_path / "recipe.yaml").write_text(recipe)
    done = degflow("run", "recipe.yaml", photo_folder, "--json", cwd=tmp_path).json
    (slowest,) = done["shard"]["slowest"]
    assert (slowest["stage"], slowest["unit"]) == ("shard", "degflow-000000.tar")
    assert done["shard"] == {**job.shard, "slowest": [slowest]}
    assert contents(tmp_path / "shards") == contents(job.shards)
    # Each patch was encoded once, by the pass that gives the skips.
    wanted = {
        name: data
        for name, data in contents(job.folder / "degflow.zarr").items()
        if "latents" not in name or name == "latents/zarr.json"
    }
    assert contents(tmp_path / "degflow.zarr") == wanted


def test_run_with_everything_in_the_recipe(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"""
        kind: run
        photos: [{photo_folder}/*.png]
        checkpoint: {tiny}
        store: made/here.zarr
        out: made/shards
        ingest: {{patch: 128, stride: 64, min_detail: 0}}
        generate: {{t_grid: "x2,x4"}}
        shard:
          {{name: mine, shard_size: 1, layout: grouped, lr_size: native, picture_format: webp}}
        """
    )
    done = degflow("run", "recipe.yaml", "--json", cwd=tmp_path).json
    # 200 x 150 pixels: patches at x = 0, 64, 72 and y = 0, 22.
    assert done["shard"]["patches"] == done["shard"]["samples"] == done["shard"]["tars"] == 6
    assert done["shard"]["pairs"] == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "recipe.yaml"]
    tars = sorted(str(path) for path in (tmp_path / "made" / "shards").glob("mine-*.tar"))
    samples = list(wds.WebDataset(tars, shardshuffle=False).decode("rgb8"))
    assert [sample["hr.webp"].shape for sample in samples] == [(128, 128, 3)] * 6
    assert [sample["lr_x2.webp"].shape for sample in samples] == [(64, 64, 3)] * 6
    assert [sample["lr_x4.webp"].shape for sample in samples] == [(32, 32, 3)] * 6


def test_a_chain_by_name_by_file_and_in_a_recipe(
    degflow: Run, tiny: str, photo_folder: Path, contents: Run, tmp_path: Path
) -> None:
    steps = "[{step: sharpen, radius: [1, 2], amount: [0.5, 1]}, {step: jpeg, quality: [60, 85]}]"
    (tmp_path / "mine.yaml").write_text(steps)
    (tmp_path / "recipe.yaml").write_text(
        f"kind: run\nphotos: [{photo_folder}/*.png]\ncheckpoint: {tiny}\nout: run\n"
        "ingest: {patch: 64}\ngenerate: {t_grid: 'x2'}\n"
        f"shard: {{chain: {steps}, chain_seed: 7, picture_format: 'jpeg:90'}}\n"
    )
    degflow("run", "recipe.yaml", cwd=tmp_path)
    asked = ["--chain", "mine.yaml", "--chain-seed", "7", "--format", "jpeg:90"]
    degflow("shard", "-o", "out", *asked, "--hr-format", "png", cwd=tmp_path)
    assert contents(tmp_path / "out") == contents(tmp_path / "run")
    degflow("shard", "-o", "web", "--chain", "web", cwd=tmp_path)
    known = degflow("info", "web", "--json", cwd=tmp_path).json
    assert (known["chain"], known["hr_format"]) == ("web", "png")
    exported = degflow("export", "out", "--to", "kair", "-o", "kair", "--json", cwd=tmp_path)
    assert exported.json["lossy"] == ["lr"] and "LR are JPEG in out" in exported.err

    (tmp_path / "mine.yaml").write_text("[{step: jpeg, quality: [60, 850]}]")
    done = degflow("shard", "-o", "out", "--chain", "mine.yaml", cwd=tmp_path, code=2)
    assert done.error.startswith("mine.yaml: `chain.1.quality` must be a number from 1 to 100")
    (tmp_path / "recipe.yaml").write_text("kind: run\nshard: {chain: [{step: jpeg, q: 3}]}")
    done = degflow("run", "recipe.yaml", photo_folder, cwd=tmp_path, code=2)
    assert "`shard.chain.1:` has no key 'q'" in done.error
    (tmp_path / "recipe.yaml").write_text("kind: run\nshard: {chain: wed}")
    done = degflow("run", "recipe.yaml", photo_folder, cwd=tmp_path, code=2)
    assert "`shard.chain` must be web, phone-jpeg or a list of steps" in done.error


def test_options_of_a_run_go_before_its_recipe(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"kind: run\nphotos: [{photo_folder}/*.png]\ncheckpoint: nowhere\nstore: no.zarr\nout: no\n"
        "ingest: {patch: 128}\ngenerate: {t_grid: '0.1', noise: none}\n"
    )
    ask = ["run", "recipe.yaml", "--checkpoint", tiny, "--out", "mine", "--t-grid", "x2,x4"]
    done = degflow(*ask, "--store", "my.zarr", "--json", cwd=tmp_path).json
    assert done["shard"]["out"] == "mine" and done["generate"]["t"] == pytest.approx([1 / 3, 1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "my.zarr", "recipe.yaml"]
    refused = degflow(*ask, "--store", "my.zarr", "--keep", "none", cwd=tmp_path, code=2)
    assert refused.error == "--store is for a run that keeps one: leave it out, or --keep latents"


# info and verify


def test_info_and_verify_of_shards(job: Job, degflow: Run) -> None:
    found = degflow("info", "shards", "--json", cwd=job.folder).json
    assert found["kind"] == "shards" and found["name"] == "degflow"
    assert found["pairs"] == PATCHES * 19 and found["tars"] == ["degflow-000000.tar"]
    assert len(found["mean_squared_error"]) == 19
    done = degflow("verify", "shards", "--json", cwd=job.folder).json
    assert done == {"kind": "shards", "checked": 4, "damage": [], "whole": True, "mended": []}


def test_info_and_verify_of_a_store(job: Job, degflow: Run) -> None:
    found = degflow("info", "degflow.zarr", "--json", cwd=job.folder).json
    assert found["kind"] == "store" and found["patch"] == 64
    assert (found["photos"], found["patches"], found["units"]) == (3, PATCHES, 1)
    grid = found["grids"][job.generate["grid"]]
    assert (grid["t"], grid["noise"], grid["patches"]) == (GRID, "none", PATCHES)
    assert [latents["patches"] for latents in found["latents"].values()] == [PATCHES]
    assert grid["scale"] == pytest.approx([1 + 3 * t for t in GRID])
    done = degflow("verify", "degflow.zarr", "--json", cwd=job.folder).json
    assert done == {"kind": "store", "checked": 1, "damage": [], "whole": True, "mended": []}


def test_info_and_verify_of_a_checkpoint(degflow: Run, job: Job, tiny: str, tmp_path: Path) -> None:
    found = degflow("info", tiny, "--json", cwd=tmp_path).json
    assert found["kind"] == "checkpoint" and found["name"] == "tiny"
    assert found["scale"]["s_max"] == 4 and len(found["levels"]) == 3
    store = degflow("info", "degflow.zarr", "--json", cwd=job.folder).json
    assert [grid["checkpoint"] for grid in store["grids"].values()] == [found["id"]]
    done = degflow("verify", tiny, "--json", cwd=tmp_path).json
    assert done == {"kind": "checkpoint", "checked": 1, "damage": [], "whole": True, "mended": []}


def test_without_json_sentences_are_printed(job: Job, degflow: Run) -> None:
    shown = degflow("verify", "shards", cwd=job.folder)
    assert shown.out.startswith("shards: whole (shards, ")
    assert shown.err.startswith("verify ")


def test_names_are_printed_as_they_are(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "x[").mkdir()
    (tmp_path / "x[" / "]y.png").write_text("no photo")
    (tmp_path / "a.png").symlink_to(photo_folder / "astronaut.png")
    asked = ["--patch", "64", "--checkpoint", tiny, "--store", "my[raw].zarr"]
    shown = degflow("ingest", ".", *asked, cwd=tmp_path).out
    assert "my[raw].zarr" in shown and "(x[/]y.png)" in shown
    assert "my[raw].zarr" in degflow("info", "my[raw].zarr", cwd=tmp_path).out


# Pictures


def test_preview_shows_hr_and_the_levels(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    photo = photo_folder / "astronaut.png"
    asked = ["-o", "seen/two.png", "--t-grid", "x2,x4", "--side", "96", "--checkpoint", tiny]
    done = degflow("preview", photo, *asked, "--json", cwd=tmp_path).json
    assert done["strip"] == "seen/two.png" and done["t"] == pytest.approx([1 / 3, 1])
    strip = np.asarray(Image.open(tmp_path / "seen" / "two.png"))
    assert strip.shape == (24 + 96, 3 * 96, 3)
    hr, first, second = np.split(strip[24:].astype(float), 3, axis=1)
    whole = np.asarray(Image.open(photo))
    assert np.array_equal(hr, whole[27 : 27 + 96, 56 : 56 + 96])
    # The photo at its two levels: near it, and farther the higher the level.
    assert 0 < np.mean((first - hr) ** 2) < np.mean((second - hr) ** 2) < np.var(hr)


def test_preview_by_default(degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path) -> None:
    photo = photo_folder / "sub" / "coffee.webp"
    done = degflow("preview", photo, "--checkpoint", tiny, "--json", cwd=tmp_path).json
    assert done["t"] == [0.2, 0.4, 0.6, 0.8, 1.0]
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (6 * 256, 24 + 256)


def test_preview_of_lr_for_a_network_of_x2(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    """Each pixel of LR of H/2 is shown as 2 x 2."""
    words = ["preview", photo_folder / "astronaut.png", "--checkpoint", tiny, "--side", "64"]
    words += ["-o", "two.png", "--sr-scale", "2"]
    degflow(*words, "--t-grid", "x1.5,x2", cwd=tmp_path)
    strip = np.asarray(Image.open(tmp_path / "two.png"))[24:]
    assert strip.shape == (64, 3 * 64, 3)
    for lr in (strip[:, 64:128], strip[:, 128:]):
        assert np.array_equal(lr, lr[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))
    assert (
        "--t-grid" in degflow(*words, "--t-grid", "x4", "--overwrite", cwd=tmp_path, code=2).error
    )


def test_preview_of_a_place_enlarged_beside_a_real_lr(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    photo = photo_folder / "astronaut.png"
    whole = np.asarray(Image.open(photo))
    Image.fromarray(255 - whole).save(tmp_path / "real.png")
    words = ["preview", photo, "--checkpoint", tiny, "--t-grid", "1", "--side", "64"]
    degflow(*words, "--at", "200,10", "--zoom", "3", "--real", "real.png", cwd=tmp_path)
    strip = np.asarray(Image.open(tmp_path / "strip.png"))
    assert strip.shape == (24 + 3 * 64, 3 * 3 * 64, 3)
    hr, _, real = np.split(strip[24::3, ::3], 3, axis=1)
    # About the place, moved in from the right and the upper edge.
    assert np.array_equal(hr, whole[:64, 144:208]) and np.array_equal(real, 255 - hr)
    assert "--at" in degflow(*words, "--at", "208,10", cwd=tmp_path, code=2).refusal
    assert "--at" in degflow(*words, "--at", "middle", cwd=tmp_path, code=2).refusal
    Image.fromarray(whole[:50]).save(tmp_path / "real.png")
    words += ["--overwrite", "--real", "real.png"]
    assert "--real is 208 x 50" in degflow(*words, cwd=tmp_path, code=2).refusal


def test_inspect_shows_histograms_and_a_sheet(
    degflow: Run, photo_folder: Path, tmp_path: Path
) -> None:
    sharp = np.asarray(Image.open(photo_folder / "astronaut.png"))
    (tmp_path / "photos").mkdir()
    Image.fromarray(sharp).save(tmp_path / "photos" / "sharp.png")
    Image.fromarray(sharp).save(tmp_path / "photos" / "blocks.jpg", quality=30)
    (tmp_path / "photos" / "text.png").write_text("dear reader")
    done = degflow("inspect", "photos", "--max-blockiness", "0.5", cwd=tmp_path)
    lines = done.out.splitlines()
    assert (
        max(map(len, lines[: lines.index("noise: standard deviation, in grey levels") + 5])) <= 80
    )
    assert "  --max-blockiness 0.5 would leave out 1, drawn as x" in lines
    assert sum(line.endswith(" 1 " + "x" * 50) for line in lines) == 1
    assert lines[-1] == (
        "  --min-sharpness 0.5 --max-blockiness 0.5 --max-clipped 0.2 --max-noise 3"
    )
    assert "1: not a PNG" in done.out and "(text.png)" in done.out
    assert "inspect 3/3 photos" in done.err and "1 skipped" in done.err
    assert [line.split()[:2] for line in lines[-3:-2]] == [["blocks.jpg:", "blockiness"]]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (1536, 960)
    refused = degflow("inspect", "photos", cwd=tmp_path, code=2)
    assert refused.error.endswith("give another name as --out, or --overwrite")
    again = degflow("inspect", "photos", "--overwrite", "--json", cwd=tmp_path).json
    assert {row["photo"]: row["beyond"] for row in again["photos"]} == {
        "blocks.jpg": ["max_blockiness"],
        "sharp.png": [],
    }


def test_limits_of_a_recipe_leave_photos_out(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    recipe = f"kind: run\ncheckpoint: {tiny}\ngenerate: {{t_grid: '1'}}\ningest: {{patch: 64"
    (tmp_path / "recipe.yaml").write_text(f"{recipe}, max_noise: -1}}")
    refused = degflow("run", "recipe.yaml", photo_folder, cwd=tmp_path, code=2)
    assert "`ingest.max_noise` must be 0 or more" in refused.error
    noisy = tmp_path / "noisy.png"
    noise = np.random.default_rng(0).normal(128, 12, (64, 64, 3))
    Image.fromarray(noise.astype(np.uint8)).save(noisy)
    (tmp_path / "recipe.yaml").write_text(f"{recipe}, max_noise: 8}}")
    done = degflow("run", "recipe.yaml", photo_folder, noisy, "--json", cwd=tmp_path)
    assert done.json["ingest"]["beyond"] == {"max_noise": 1} and done.json["ingest"]["photos"] == 3
    assert "left out noisy.png: noise 1" in done.err
    asked = ["--checkpoint", tiny, "--patch", "64"]
    refused = degflow("ingest", photo_folder, *asked, cwd=tmp_path, code=1)
    assert "1 as --min-detail and 8 as --max-noise: give the same, or --replace" in refused.error


def test_demo_runs_the_pipeline(degflow: Run, tiny: str, tmp_path: Path) -> None:
    done = degflow("demo", "--checkpoint", tiny, "--json", cwd=tmp_path).json
    # 512 x 512, 451 x 300 and 600 x 400 pixels, patches of 256; 44 pixels are too few for a row.
    assert done["shard"]["patches"] == 4 + 2 + 6
    assert done["shard"]["pairs"] == 12 * 10
    names = sorted(path.name for path in (tmp_path / "demo").iterdir())
    assert [name for name in names if not name.startswith(".")] == [
        "degflow.zarr",
        "photos",
        "shards",
        "strip.png",
    ]
    degflow("verify", "demo/shards", cwd=tmp_path)


# Training

RECIPE = """
kind: train
name: mini
model:
  rae: {width: 4, latent_channels: 4}
  velocity: {width: 8, multipliers: [1, 1], blocks: 1, time_embedding: smooth, condition: skips}
  solver: {method: rk4, steps: 1}
data:
  levels:
    - {name: HR, t: 0.0, files: "*_hr.png"}
    - {name: LR, t: 1.0, files: "*_lr.png"}
  validate: c
  s_max: 3.0
  source: photos of scikit-image
  licence: as theirs
rae: {steps: 4, batch: 2, patch: 64, warmup: 0, save_every: 2}
lfm: {steps: 4, batch: 2, patch: 64, save_every: 2, perceptual: none}
"""


def test_train_then_evaluate_and_generate(degflow: Run, photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "pairs").mkdir()
    photo = Image.fromarray(data.astronaut())
    for name, x in (("a", 0), ("b", 50), ("c", 100)):
        hr = photo.crop((x, 20, x + 256, 276))
        hr.save(tmp_path / "pairs" / f"{name}_hr.png")
        hr.filter(ImageFilter.GaussianBlur(1.5)).save(tmp_path / "pairs" / f"{name}_lr.png")
    asked = ["recipe.yaml", "--data", "pairs", "--json"]

    rae = degflow("train", "rae", *asked, cwd=tmp_path).json
    assert rae["out"] == "training/mini"
    assert set(rae["figures"]) == {"psnr_HR", "psnr_LR", "seconds"}
    lfm = degflow("train", "lfm", *asked, cwd=tmp_path).json
    assert lfm["checkpoint"] == "training/mini"
    assert set(lfm["figures"]) == {"psnr_LR", "seconds"}
    # Again: nothing is left to train, and the checkpoint is the same one.
    assert degflow("train", "rae", *asked, cwd=tmp_path).json == rae
    assert degflow("train", "lfm", *asked, cwd=tmp_path).json == lfm

    found = degflow("info", "training/mini", "--json", cwd=tmp_path).json
    assert found["kind"] == "checkpoint" and found["id"] == lfm["id"]
    degflow("verify", "training/mini", cwd=tmp_path)

    grid = ["--t-grid", "0:1:0.5"]
    asked = ["pairs", *grid, "--sweep", "--beside", "other", "-o", "ev", "--json"]
    shutil.copytree(tmp_path / "training" / "mini", tmp_path / "other")
    figures = degflow("evaluate", "training/mini", *asked, cwd=tmp_path).json
    assert figures["scenes"] == ["c"]
    candidates = figures["levels"]["LR"]["candidates"]
    ways = {"generated", "other", "hr", "bicubic", "gaussian", "esrgan_style", "bsrgan_style"}
    assert set(candidates) == {*ways, "rebuilt"}
    assert candidates["other"] == candidates["generated"]
    made = candidates["generated"]["psnr"]["mean"]
    assert made == pytest.approx(lfm["figures"]["psnr_LR"])
    assert candidates["gaussian"]["psnr"]["mean"] > candidates["hr"]["psnr"]["mean"]
    assert figures["curve"]["t"] == [0, 0.5, 1] and len(figures["curve"]["psnr_to_hr"]) == 3
    assert json.loads((tmp_path / "ev" / "figures.json").read_text()) == figures
    pages = {path.name for path in (tmp_path / "ev").glob("*.png")}
    assert pages == {"pictures.png", "spectrum_LR.png", "sweep_LR.png"}
    # As a table, and with the recipe in place of what the checkpoint says of its data.
    told = ["pairs", "--recipe", "recipe.yaml", *grid]
    shown = degflow("evaluate", "training/mini", *told, cwd=tmp_path)
    assert f"{made:.4g}" in shown.out and "esrgan_style" in shown.out

    model = ["--checkpoint", "training/mini", "--json"]
    degflow("ingest", photo_folder, "--patch", "64", *model, cwd=tmp_path)
    made = degflow("generate", "--t-grid", "x2,x3", *model, cwd=tmp_path).json
    assert made["t"] == [0.5, 1] and made["pairs"] == PATCHES * 2


# Memory


def test_memory_does_not_grow_with_the_photos(begin: Run, tiny: str, tmp_path: Path) -> None:
    """Photos of 7.7 MB, decoded, of which a patch each is not flat."""
    rng = np.random.default_rng(0)
    peaks = {}
    for count in (4, 24):
        folder = tmp_path / str(count)
        (folder / "photos").mkdir(parents=True)
        for number in range(count):
            photo = np.full((1600, 1600, 3), 128, np.uint8)
            photo[:128, :128] = rng.integers(0, 256, (128, 128, 3))
            Image.fromarray(photo).save(folder / "photos" / f"{number:02d}.png", compress_level=1)
        recipe = f"kind: run\ncheckpoint: {tiny}\ningest: {{patch: 128}}\ngenerate: {{t_grid: '1'}}"
        (folder / "recipe.yaml").write_text(recipe)
        process = begin("run", "recipe.yaml", "photos", "--workers", "1", cwd=folder)
        _, err = process.communicate()
        assert process.returncode == 0, err
        peaks[count] = process.peak / 2**20
        units = Store.open(folder / "degflow.zarr").units.values()
        assert sum(unit.count for unit in units) == count
    assert peaks[24] < peaks[4] + 60, f"peaks in MB by the number of photos: {peaks}"


def test_degrade_names_by_scale_what_is_asked_by_scale(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    ask = ["degrade", photo_folder / "astronaut.png", "--checkpoint", tiny, "--out", "lr"]
    degflow(*ask, "--t-grid", "x2:x4:x1", cwd=tmp_path)
    names = {f"astronaut_{level}.png" for level in ("x2", "x3", "x4")}
    assert {path.name for path in (tmp_path / "lr").glob("*.png")} == names


def test_levels_of_an_export_are_chosen_in_every_form(
    job: Job, degflow: Run, tmp_path: Path
) -> None:
    ask = ["export", job.shards, "--to", "basicsr"]
    for text, levels in (("0.5:0.6:0.05", 3), ("0.1,1", 2), ("x1.3,x4", 2), ("x1.3:x4:x2.7", 2)):
        done = degflow(*ask, "-o", text, "--t-grid", text, "--json", cwd=tmp_path).json
        assert done["pairs"] == PATCHES * levels
    done = degflow(*ask, "-o", "none", "--t-grid", "0.33", cwd=tmp_path, code=2)
    assert done.error.startswith("--t-grid: the shards have no level 0.33; they have t 0.1 (x1.3)")
