"""What goes wrong for users: one line that says it, and the exit code (2 usage, 1 failed)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from degflow_pipe import json_files
from tests.cli.conftest import mount

Run = Callable[..., Any]

TRAINING = """
kind: train
name: mini
data:
  levels:
    - {name: HR, t: 0.0, files: "*_hr.png"}
    - {name: LR, t: 1.0, files: "*_lr.png"}
  validate: a
  s_max: 4.0
  source: here
  licence: none
"""


def assert_nothing_was_started(done: Any, folder: Path) -> None:
    """A usage error is all that is printed, and nothing was written."""
    framed = done.err.startswith("Usage: degflow-pipe ")
    assert framed or done.err == f"error: {done.refusal}\n"
    assert done.out == ""
    assert list(folder.iterdir()) == []


# Wrong usage


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--t-grid 0.1:1.0", "start:stop:step"),
        ("--t-grid 0.1:1.0:0", "step must be above 0"),
        ("--t-grid 0.1:1.0:-0.1", "step must be above 0"),
        ("--t-grid 0.1:1.1:0.1", "[0, 1]"),
        ("--t-grid -0.1:1.0:0.1", "[0, 1]"),
        ("--t-grid 0.9:0.1:0.1", "below start"),
        ("--t-grid 0:1:0.0001", "more than the 200 levels"),
        ("--t-grid 0:1:1e-9999", "more than the 200 levels"),
        ("--t-grid 0:1:1e-9999999", "more than the 200 levels"),
        ("--t-grid nan:1:0.1", "'nan' is not a number"),
        ("--t-grid 0:1:nan", "'nan' is not a number"),
        ("--t-grid 0:inf:0.1", "'inf' is not a number"),
        ("--t-grid a:b:c", "'a' is not a number"),
        ("--t-grid ''", "SR scales: x1.5,x2 or"),
        ("--t-grid 0.5,1.5", "[0, 1], got 1.5; an SR scale is written x1.5"),
        ("--t-grid -0.5", "[0, 1], got -0.5"),
        ("--t-grid nan", "'nan' is not a number"),
        ("--t-grid 0.5,", "'' is not a number"),
        ("--t-grid x2,x4.5", "1 to 4"),
        ("--t-grid x0.5", "1 or more"),
        ("--t-grid xtwo", "'two' is not a number"),
        ("--t-grid x2,0.5", "x before every number"),
        ("--t-grid x1:x5:x0.5", "1 to 4"),
        ("--t-grid x1:x2", "start:stop:step such as x1.5:x3:x0.5"),
        ("--t 0.2,0.55", "is gone: write --t-grid 0.2,0.55"),
        ("--scales 2,2.9", "is gone: write --t-grid x2,x2.9"),
        ("--scales two", "is gone: write --t-grid x1.5,x2"),
    ],
)
def test_wrong_levels(words: str, says: str, degflow: Run, tiny: str, tmp_path: Path) -> None:
    done = degflow("generate", "--checkpoint", tiny, *shlex.split(words), cwd=tmp_path, code=2)
    assert words.split()[0] in done.refusal and says in done.refusal
    assert_nothing_was_started(done, tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--format gif", "png, ppm, webp or jpeg:QUALITY"),
        ("--format jpeg", "png, ppm, webp or jpeg:QUALITY"),
        ("--format jpeg:0", "png, ppm, webp or jpeg:QUALITY"),
        ("--format jpeg:101", "png, ppm, webp or jpeg:QUALITY"),
        ("--format 'jpeg:\N{SUPERSCRIPT TWO}'", "png, ppm, webp or jpeg:QUALITY"),
        ("--hr-format gif", "png, ppm, webp or jpeg:QUALITY"),
        ("--hr-format jpeg:0", "png, ppm, webp or jpeg:QUALITY"),
        ("--chain wed", "web, phone-jpeg or a YAML file of steps, got 'wed'"),
        ("--chain-seed 3", "say which one as --chain"),
        ("--chain-seed -1 --chain web", "Invalid value for"),
        ("--name Kitchen", "lower-case"),
        ("--name 'two words'", "lower-case"),
        ("--name ../up", "lower-case"),
        ("--name ''", "lower-case"),
        ("--shard-size 0", "Invalid value for"),
        ("--layout rows", "'pairs', 'grouped'"),
        ("--lr-size tiny", "'same', 'native'"),
        ("--uneven pad", "'refuse', 'crop'"),
        ("--validate 200%", "below 100%"),
        ("--workers -1", "Invalid value for"),
    ],
)
def test_wrong_shards(words: str, says: str, degflow: Run, tmp_path: Path) -> None:
    done = degflow("shard", *shlex.split(words), cwd=tmp_path, code=2)
    assert words.split()[0] in done.refusal and says in done.refusal
    assert_nothing_was_started(done, tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--patch 100", "multiple of 64"),
        ("--patch 0", "Invalid value for"),
        ("--patch 32", "multiple of 64"),
        ("--stride 0", "Invalid value for"),
        ("--min-detail -1", "Invalid value for"),
        ("--min-detail nan", "Invalid value for"),
        ("--max-clipped 2", "Invalid value for"),
        ("--max-noise nan", "Invalid value for"),
        ("--batch 0", "Invalid value for"),
        ("--workers -1", "Invalid value for"),
        ("--device mainframe", "auto, cpu, cuda or cuda:N"),
        ("--device meta", "auto, cpu, cuda or cuda:N"),
    ],
)
def test_wrong_ingest(
    words: str, says: str, degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    asked = ["--checkpoint", tiny, "--patch", "64", *words.split()]
    done = degflow("ingest", photo_folder, *asked, cwd=tmp_path, code=2)
    assert words.split()[0] in done.refusal and says in done.refusal
    assert_nothing_was_started(done, tmp_path)


@pytest.mark.parametrize("words", ["--batch 0", "--workers -1"])
def test_wrong_generate(words: str, degflow: Run, contents: Run, tiny: str, store: Path) -> None:
    before = contents(store)
    asked = ["--checkpoint", tiny, "--t-grid", "0.7", *words.split()]
    done = degflow("generate", *asked, cwd=store.parent, code=2)
    assert words.split()[0] in done.refusal
    assert contents(store) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_where_there_is_none(
    device: str, degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    asked = ["--checkpoint", tiny, "--patch", "64", "--device", device]
    done = degflow("ingest", photo_folder, *asked, cwd=tmp_path, code=2)
    assert f"--device {device}: this machine has 0 CUDA devices" in done.error
    assert_nothing_was_started(done, tmp_path)


@pytest.mark.parametrize(
    "words", ["ingest", "shard --colour", "bake", "ingest photos --patch wide"]
)
def test_words_that_no_command_takes(words: str, degflow: Run, tmp_path: Path) -> None:
    done = degflow(*words.split(), cwd=tmp_path, code=2)
    assert "Usage: degflow-pipe" in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_side_of_a_preview(degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path) -> None:
    photo = photo_folder / "astronaut.png"
    done = degflow("preview", photo, "--side", 8, "--checkpoint", tiny, cwd=tmp_path, code=2)
    assert "--side" in done.refusal
    assert_nothing_was_started(done, tmp_path)


# Recipes


@pytest.mark.parametrize(
    ("words", "recipe", "says"),
    [
        ("run", "photos: [a", "is not YAML"),
        ("run", "- one\n- two", "must be a mapping"),
        ("run", "", "must be a mapping"),
        ("run", "photos: [here]", "kind None, not 'run'"),
        ("run", TRAINING, "kind 'train', not 'run'"),
        ("train rae", "kind: run", "kind 'run', not 'train'"),
        ("train lfm", "kind: run", "kind 'run', not 'train'"),
        ("evaluate tiny PAIRS --recipe", "kind: run", "kind 'run', not 'train'"),
        ("run", "kind: run\nphoto: here", "no key 'photo'"),
        ("run", "kind: run\nshard: {size: 10}", "`shard:` has no key 'size'"),
        ("run", "kind: run\ningest: {patch: big}", "`ingest.patch` must be a whole number"),
        ("run", "kind: run\nphotos: here", "`photos` must be a list"),
        ("run", "kind: run\nshard: {layout: rows}", "pairs or grouped"),
        ("run", "kind: run\nkeep: all", "`keep` must be levels, latents or none, got 'all'"),
        ("train rae", f"{TRAINING}\nsteps: 5", "no key 'steps'"),
        ("train rae", f"{TRAINING}\nrae: {{stpes: 5}}", "`rae:` has no key 'stpes'"),
        ("train rae", f"{TRAINING}\nmodel: {{preset: huge}}", "`model.preset` 'huge'"),
        ("train rae", f"{TRAINING}\nrae: {{steps: 0}}", "steps"),
        ("train rae", f"{TRAINING}\nrae: {{seed: -1}}", "seed"),
        ("train rae", f"{TRAINING}\nrae: {{lr: -0.1}}", "lr"),
        ("train rae", f"{TRAINING}\nrae: {{betas: [2, 3]}}", "betas"),
        ("train rae", TRAINING.replace("s_max: 4.0", "s_max: .nan"), ".nan is not a number"),
        ("train rae", TRAINING.replace("*_hr", "/data/*_hr"), "data.levels"),
        ("train rae", f"{TRAINING}\n1: one\nsteps: 5", "no key"),
        ("train rae", "kind: train\nname: mini", "`data:` lacks"),
    ],
)
def test_wrong_recipe(
    words: str, recipe: str, says: str, degflow: Run, tmp_path: Path, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(recipe)
    done = degflow(*words.split(), path, cwd=tmp_path, code=2)
    assert says in done.error
    assert_nothing_was_started(done, tmp_path)


@pytest.mark.parametrize("words", ["run", "train rae", "train lfm"])
def test_unknown_recipe(words: str, degflow: Run, tmp_path: Path) -> None:
    done = degflow(*words.split(), "quick", cwd=tmp_path, code=2)
    assert "no recipe quick" in done.error and "quickstart" in done.error
    assert_nothing_was_started(done, tmp_path)


def test_recipe_without_photos(degflow: Run, tiny: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"kind: run\ncheckpoint: {tiny}")
    done = degflow("run", "recipe.yaml", cwd=tmp_path, code=2)
    assert "no photos" in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize(
    ("generate", "says"),
    [
        ("t_grid: '2'", "`generate.t_grid`: t must be in [0, 1]"),
        ("t_grid: 'x5'", "`generate.t_grid`: 5 is outside the scales"),
        ("t: '0.2,1'", '`generate.t` is gone: write `generate.t_grid: "0.2,1"`'),
        ("scales: [2, 4]", '`generate.scales` is gone: write `generate.t_grid: "x2,x4"`'),
    ],
)
def test_recipe_with_wrong_levels(
    generate: str, says: str, degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    recipe = f"kind: run\ncheckpoint: {tiny}\ngenerate: {{{generate}}}"
    (tmp_path / "recipe.yaml").write_text(recipe)
    done = degflow("run", "recipe.yaml", photo_folder, cwd=tmp_path, code=2)
    assert says in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_training_without_pairs(degflow: Run, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(TRAINING)
    done = degflow("train", "rae", "recipe.yaml", cwd=tmp_path, code=1)
    assert "*_hr.png" in done.error


# Photos


@pytest.mark.parametrize("source", ["nowhere", "nowhere.png", "*.png", "empty"])
def test_no_photos(source: str, degflow: Run, tiny: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no photo")
    done = degflow("ingest", source, "--checkpoint", tiny, cwd=tmp_path, code=2)
    why = {"*.png": "is of that pattern", "empty": "is in it; left out: 1 of .txt"}
    assert done.error.startswith(f"{source}: ")
    assert done.error.endswith(why.get(source, "there is no such file or folder"))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.fixture
def broken_photos(photo_folder: Path, tmp_path: Path) -> Path:
    """A photo that is cut off, one that is text, and one that is empty."""
    folder = tmp_path / "photos"
    folder.mkdir()
    whole = (photo_folder / "chelsea.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "none.png").write_bytes(b"")
    (folder / "text.png").write_text("not a picture")
    return folder


def test_only_broken_photos(degflow: Run, tiny: str, broken_photos: Path, tmp_path: Path) -> None:
    asked = ["--checkpoint", tiny, "--patch", "64"]
    done = degflow("ingest", "photos", *asked, cwd=tmp_path, code=1)
    assert "no patch came of 3 photos" in done.error
    for name in ("cut.jpg", "none.png", "text.png"):
        assert done.error.count(f"photos/{name}: ") == 1


def test_broken_photo_where_it_counts(
    degflow: Run, tiny: str, broken_photos: Path, tmp_path: Path
) -> None:
    asked = ["--checkpoint", tiny, "--patch", "64", "--strict"]
    done = degflow("ingest", "photos", *asked, cwd=tmp_path, code=1)
    assert done.error.startswith("photos/cut.jpg: ")


def test_photos_smaller_than_a_patch(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    done = degflow("ingest", photo_folder, "--checkpoint", tiny, cwd=tmp_path, code=1)
    assert "smaller than the patch of 256" in done.error


def test_preview_of_a_broken_photo(
    degflow: Run, tiny: str, broken_photos: Path, tmp_path: Path
) -> None:
    done = degflow("preview", "photos/text.png", "--checkpoint", tiny, cwd=tmp_path, code=1)
    assert "photos/text.png" in done.error


# Checkpoints


@pytest.mark.parametrize(
    "words",
    [
        "ingest PHOTOS --checkpoint nowhere",
        "generate --checkpoint nowhere",
        "preview PHOTOS/astronaut.png --checkpoint nowhere",
        "evaluate nowhere PHOTOS",
    ],
)
def test_missing_checkpoint(words: str, degflow: Run, photo_folder: Path, tmp_path: Path) -> None:
    asked = words.replace("PHOTOS", str(photo_folder)).split()
    done = degflow(*asked, cwd=tmp_path, code=1)
    assert "no checkpoint nowhere" in done.error
    assert_nothing_was_started(done, tmp_path)


def test_beside_may_not_take_the_name_of_a_row(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    asked = ["evaluate", tiny, photo_folder, "--beside", "x/bicubic"]
    done = degflow(*asked, cwd=tmp_path, code=2)
    assert "--beside: bicubic must be" in done.error


@pytest.fixture
def copied(tiny: str, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to change."""
    return Path(shutil.copytree(tiny, tmp_path / "copied"))


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    value.pop("sum", None)  # an edit that is meant
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda at: (at / "model.safetensors").write_bytes(b"no weights"), "SHA-256"),
        (lambda at: (at / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda at: (at / "config.json").write_text("{"), "config.json: not JSON"),
        (lambda at: change_json(at / "config.json", lambda c: c.update(version=2)), "upgrade"),
        (lambda at: change_json(at / "config.json", lambda c: c.pop("scale")), "damaged"),
    ],
    ids=["other weights", "no weights", "not JSON", "newer", "no scale"],
)
def test_damaged_checkpoint(
    damage: Callable[[Path], None],
    says: str,
    degflow: Run,
    copied: Path,
    photo_folder: Path,
    tmp_path: Path,
) -> None:
    damage(copied)
    asked = ["--checkpoint", "copied", "--patch", "64"]
    done = degflow("ingest", photo_folder, *asked, cwd=tmp_path, code=1)
    assert says in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["copied"]


# Stores


@pytest.mark.parametrize("words", ["generate --checkpoint TINY", "shard"])
def test_missing_store(words: str, degflow: Run, tiny: str, tmp_path: Path) -> None:
    done = degflow(*words.replace("TINY", tiny).split(), cwd=tmp_path, code=1)
    assert "no store at degflow.zarr" in done.error and "degflow-pipe ingest" in done.error
    assert_nothing_was_started(done, tmp_path)


def test_store_of_another_checkpoint_has_no_default(
    degflow: Run, contents: Run, photo_folder: Path, store: Path
) -> None:
    """One that is not shipped is named by who asks, as no path within a store is followed."""
    before = contents(store)
    for asked in (["ingest", photo_folder, "--patch", "64"], ["generate", "--t-grid", "0.5"]):
        done = degflow(*asked, cwd=store.parent, code=1)
        assert "was made with tiny-" in done.error and "--checkpoint" in done.error
    assert contents(store) == before


def test_store_of_another_patch(
    degflow: Run, contents: Run, tiny: str, photo_folder: Path, store: Path
) -> None:
    before = contents(store)
    asked = ["--checkpoint", tiny, "--patch", "128"]
    done = degflow("ingest", photo_folder, *asked, cwd=store.parent, code=1)
    assert "holds patches of 64, not 128" in done.error and "--patch" in done.error
    assert contents(store) == before


EVERY_READER = [
    "ingest PHOTOS --patch 64 --checkpoint TINY",
    "generate --checkpoint TINY",
    "shard",
    "info degflow.zarr",
    "verify degflow.zarr",
]


@pytest.mark.parametrize("words", EVERY_READER)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda c: c.update(version=4), "upgrade degflow-pipe"),
        (lambda c: c.update(version=2), "ingest the photos into another"),
        (lambda c: c.update(format="other"), "is not of a degflow-pipe store"),
    ],
    ids=["newer", "older", "another's"],
)
def test_store_that_cannot_be_read(
    damage: Callable[[Any], None],
    says: str,
    words: str,
    degflow: Run,
    tiny: str,
    photo_folder: Path,
    store: Path,
) -> None:
    settings = json_files.read_summed(store / "store.json")
    damage(settings)
    json_files.write_summed(store / "store.json", settings)
    asked = words.replace("PHOTOS", str(photo_folder)).replace("TINY", tiny).split()
    done = degflow(*asked, cwd=store.parent, code=1)
    assert "degflow.zarr" in done.error and says in done.error


def test_store_with_no_levels_or_other_ones(degflow: Run, tiny: str, store: Path) -> None:
    here = store.parent
    for made in (store / "levels", store / "done" / "levels"):
        shutil.rmtree(made)
    assert "degflow-pipe generate" in degflow("shard", cwd=here, code=1).error
    degflow("generate", "--checkpoint", tiny, "--t-grid", "0.5", cwd=here)
    assert "it has t0500" in degflow("shard", "--grid", "t0100", cwd=here, code=1).error
    done = degflow("shard", "--lr-size", "native", "--out", "native", cwd=here, code=2)
    assert "--uneven crop" in done.error
    degflow("generate", "--checkpoint", tiny, "--t-grid", "1", cwd=here)
    assert "--grid" in degflow("shard", cwd=here, code=2).error
    (block, *_) = (store / "levels").glob("t1000*/c.0.*")
    block.unlink()
    done = degflow("shard", "--grid", block.parent.name, cwd=here, code=1)
    assert "degflow-pipe generate --store degflow.zarr --t-grid 1 --noise none" in done.error
    assert sorted(path.name for path in here.iterdir()) == ["degflow.zarr"]


# Shard folders


def test_shards_of_other_settings(degflow: Run, contents: Run, store: Path) -> None:
    here = store.parent
    degflow("shard", cwd=here)
    before = contents(here / "shards")
    done = degflow("shard", "--layout", "grouped", cwd=here, code=1)
    assert "--overwrite" in done.error
    done = degflow("shard", "--name", "second", cwd=here, code=1)
    assert "holds the data set degflow" in done.error
    assert contents(here / "shards") == before
    degflow("shard", "--layout", "grouped", "--overwrite", cwd=here)
    assert contents(here / "shards") != before
    degflow("verify", "shards", cwd=here)


@pytest.fixture(scope="module")
def whole_shards(degflow: Run, ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the ready store in four tars. Do not write to it."""
    folder = tmp_path_factory.mktemp("whole")
    copied = shutil.copytree(ready_store, folder / "degflow.zarr")
    degflow("shard", "--store", copied, "--shard-size", "16", cwd=folder)
    return folder / "shards"


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("degflow-000001.tar", flip_a_bit),
        ("degflow-000001.tar", Path.unlink),
        ("degflow-000003.tar", lambda path: path.write_bytes(path.read_bytes()[:5000])),
        ("degflow-000001.index.jsonl", flip_a_bit),
        ("README.md", flip_a_bit),
        ("contact_sheet.png", Path.unlink),
    ],
    ids=["tar", "no tar", "short tar", "index", "card", "no sheet"],
)
def test_verify_finds_damaged_shards(
    name: str,
    damage: Callable[[Path], None],
    degflow: Run,
    whole_shards: Path,
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(whole_shards, tmp_path / "shards"))
    damage(folder / name)
    done = degflow("verify", "shards", "--json", cwd=tmp_path, code=1)
    assert "shards is not whole" in done.error
    assert done.json["whole"] is False and name in " ".join(done.json["damage"])


def test_verify_of_whole_and_of_unfinished_shards(
    degflow: Run, whole_shards: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole_shards, tmp_path / "shards"))
    done = degflow("verify", "shards", "--json", cwd=tmp_path)
    assert done.json["whole"] is True and done.json["damage"] == []
    (folder / "degflow.json").unlink()
    done = degflow("verify", "shards", cwd=tmp_path, code=1)
    assert "no finished shards" in done.error and "degflow-pipe shard" in done.error


@pytest.mark.parametrize("array", ["hr", "latents", "levels"])
def test_verify_finds_a_damaged_store(array: str, degflow: Run, store: Path) -> None:
    degflow("verify", "degflow.zarr", cwd=store.parent)
    (data, *_) = (store / array).rglob("c.0.*")
    flip_a_bit(data)
    done = degflow("verify", "degflow.zarr", "--json", cwd=store.parent, code=1)
    assert "degflow.zarr is not whole" in done.error
    assert f"{data.relative_to(store.parent)} is damaged" in " ".join(done.json["damage"])


def test_verify_finds_a_damaged_checkpoint(degflow: Run, copied: Path) -> None:
    degflow("verify", copied, cwd=copied.parent)
    flip_a_bit(copied / "model.safetensors")
    assert "SHA-256" in degflow("verify", copied, cwd=copied.parent, code=1).out


@pytest.mark.parametrize("command", ["verify", "info"])
@pytest.mark.parametrize("place", ["nowhere", "empty", "file"])
def test_what_is_none_of_the_three(command: str, place: str, degflow: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    done = degflow(command, place, cwd=tmp_path, code=2)
    wanted = {"nowhere": ": there is no such file or folder"}
    wanted = wanted.get(place, " is neither a store, nor shards, nor an export, nor a checkpoint")
    assert f"{place}{wanted}" in done.error


# Places that cannot be written


@pytest.fixture(params=["file", "file/below"])
def no_folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A path at which there can be no folder, whoever asks."""
    (tmp_path / "file").write_text("in the way")
    return str(request.param)


def test_shards_into_no_folder(no_folder: str, degflow: Run, store: Path) -> None:
    done = degflow("shard", "--out", no_folder, cwd=store.parent, code=1)
    assert done.error.startswith(no_folder)


def test_store_in_no_folder(
    no_folder: str, degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    asked = ["--checkpoint", tiny, "--patch", "64", "--store", no_folder]
    done = degflow("ingest", photo_folder, *asked, cwd=tmp_path, code=1)
    assert no_folder in done.error
    assert (tmp_path / "file").read_text() == "in the way"


def test_preview_in_no_folder(degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    asked = ["--checkpoint", tiny, "--side", "64", "--t-grid", "1", "-o", "file/strip.png"]
    done = degflow("preview", photo_folder / "astronaut.png", *asked, cwd=tmp_path, code=1)
    assert done.error.startswith("file/strip.png: cannot write")


def test_read_only_disk(
    degflow: Run, tiny: str, photo_folder: Path, store: Path, small_disk: Path
) -> None:
    assert mount("-o", "remount,ro", small_disk)
    done = degflow("shard", "--out", "disk/shards", cwd=store.parent, code=1)
    assert "disk/shards" in done.error and "Read-only file system" in done.error
    asked = ["--checkpoint", tiny, "--patch", "64", "--store", "disk/degflow.zarr"]
    done = degflow("ingest", photo_folder, *asked, cwd=store.parent, code=1)
    assert "disk/degflow.zarr" in done.error and "Read-only file system" in done.error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_read_only_folder(
    degflow: Run, tiny: str, photo_folder: Path, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    done = degflow("shard", "--out", "closed/shards", cwd=tmp_path, code=1)
    assert "closed/shards" in done.error and "Permission denied" in done.error
    asked = ["--checkpoint", tiny, "--patch", "64", "--store", "closed/degflow.zarr"]
    done = degflow("ingest", photo_folder, *asked, cwd=tmp_path, code=1)
    assert "closed/degflow.zarr" in done.error and "Permission denied" in done.error


# No space left


@pytest.fixture(scope="module")
def stages(tiny: str, photo_folder: Path) -> dict[str, list[str]]:
    """The three commands of a job of 27 patches, 2 levels and one tar, in order."""
    checkpoint = ["--checkpoint", tiny]
    return {
        "ingest": ["ingest", str(photo_folder), *checkpoint, "--patch", "64"],
        "generate": ["generate", *checkpoint, "--t-grid", "0.2,0.4,0.6"],
        "shard": ["shard"],
    }


@pytest.fixture(scope="module")
def unhindered(
    degflow: Run, stages: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The job's folder, made with all the space it needs. Do not write to it."""
    folder = tmp_path_factory.mktemp("unhindered")
    for command in stages.values():
        degflow(*command, cwd=folder)
    return folder


def largest(folder: Path) -> int:
    return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("stage", ["ingest", "generate", "shard"])
def test_file_that_cannot_grow(
    stage: str,
    degflow: Run,
    contents: Run,
    stages: dict[str, list[str]],
    unhindered: Path,
    tmp_path: Path,
) -> None:
    store = unhindered / "degflow.zarr"
    limits = {"ingest": 0, "generate": largest(store / "hr"), "shard": largest(store)}
    limit = max(limits[stage], 20_000)
    assert limit < largest({"ingest": store, "generate": store}.get(stage, unhindered))
    names = list(stages)
    for name in names[: names.index(stage)]:
        degflow(*stages[name], cwd=tmp_path, largest_file=limit)
    done = degflow(*stages[stage], cwd=tmp_path, code=1, largest_file=limit)
    assert "cannot write: File too large" in done.error
    for name in names[names.index(stage) :]:
        degflow(*stages[name], cwd=tmp_path)
    assert contents(tmp_path) == contents(unhindered)


@pytest.mark.parametrize("stage", ["ingest", "generate", "shard"])
def test_full_disk(
    stage: str,
    degflow: Run,
    contents: Run,
    stages: dict[str, list[str]],
    unhindered: Path,
    small_disk: Path,
) -> None:
    names = list(stages)
    for name in names[: names.index(stage)]:
        degflow(*stages[name], cwd=small_disk)
    with pytest.raises(OSError), (small_disk / ".filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    done = degflow(*stages[stage], cwd=small_disk, code=1)
    assert "No space left on device" in done.error
    (small_disk / ".filler").unlink()
    for name in names[names.index(stage) :]:
        degflow(*stages[name], cwd=small_disk)
    assert contents(small_disk) == contents(unhindered)
