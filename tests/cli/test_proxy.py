"""proxy on the command line: exit codes, one line of error, the table and JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pairs`, laid out as the tiny checkpoint says: `coffee` is held out."""
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "pairs").mkdir()
    for name in ("astronaut", "chelsea", "coffee"):
        hr = np.ascontiguousarray(getattr(data, name)()[:200, :220])
        pictures = {"hr": hr}
        pictures |= {f"lr{s}": cv2.GaussianBlur(hr, (0, 0), s / 2) for s in (2, 4)}
        for level, picture in pictures.items():
            Image.fromarray(picture).save(folder / "pairs" / f"{name}_{level}.png")
    return folder


@pytest.fixture(scope="module")
def ask(tiny: str) -> tuple[object, ...]:
    """The cheapest comparison: both ends, two steps each."""
    return ("proxy", tiny, "pairs", "--steps", 2, "--sources", "bicubic,real")


@pytest.fixture(scope="module")
def printed(degflow: Run, ask: tuple[object, ...], folder: Path) -> Any:
    return degflow(*ask, "--added-noise", "0,4", "--json", cwd=folder)


def test_json_is_the_file(printed: Any, folder: Path) -> None:
    assert printed.json == json.loads((folder / "proxy" / "figures.json").read_text())
    assert (printed.json["level"], printed.json["scenes"]) == ("LR4", ["coffee"])
    wanted = [(name, noise) for name in ("bicubic", "real") for noise in (0.0, 4.0)]
    wanted.insert(0, ("untouched", 0.0))
    assert [(row["source"], row["added_noise"]) for row in printed.json["rows"]] == wanted
    assert set(printed.json["best"]) == {"bicubic", "real"}


def test_table_marks_the_best_row_of_each_source(
    printed: Any, degflow: Run, ask: tuple[object, ...], folder: Path
) -> None:
    table = degflow(*ask, "--added-noise", "0,4", cwd=folder)
    lines = [line for line in table.out.splitlines() if "│" in line]
    rows = [line for line in lines if " bicubic," in line or " real," in line]
    marked = {row.split("│")[1].strip() for row in rows if "*" in row}
    best = printed.json["best"]
    assert marked == {f"{name}, noise {best[name]:g} *" for name in ("bicubic", "real")}
    assert "not resolved by 1 seed" in table.out and "%" not in table.out
    assert "recovered, psnr" in table.out and "recovered, perceptual" not in table.out
    assert "noise 4, seed 0" not in table.err, "the trainings of `printed` are read back"


@pytest.mark.parametrize(
    ("options", "code", "error"),
    [
        (["--sources", "bicubik"], 2, "--sources: 'bicubik' is not one of bicubic"),
        (["--sources", "ours"], 2, "has no noise model: measure it with"),
        (["--added-noise", "0;4"], 2, "--added-noise wants numbers"),
        (["--added-noise", "nan"], 2, "--added-noise must be grey levels from 0 to 100"),
        (["--seeds", "0"], 2, "--seeds"),
        (["--steps", "0"], 2, "--steps"),
        (["--level", "LR3"], 2, "--level: the pairs have no level 'LR3', only LR2, LR4"),
        (["--t-grid", "0.5:"], 2, "--t-grid wants start:stop:step"),
        (["--perceptual", "nice"], 2, "--perceptual"),
    ],
)
def test_wrong_options_are_wrong_usage(
    degflow: Run,
    tiny: str,
    folder: Path,
    options: list[str],
    code: int,
    error: str,
) -> None:
    done = degflow("proxy", tiny, "pairs", "-o", "unmade", *options, cwd=folder, code=code)
    assert error in done.err
    assert not (folder / "unmade").exists()


def test_small_pictures_are_data_that_fails(
    degflow: Run, tiny: str, folder: Path, tmp_path: Path
) -> None:
    for path in (folder / "pairs").iterdir():
        Image.open(path).crop((0, 0, 150, 180)).save(tmp_path / path.name)
    done = degflow("proxy", tiny, tmp_path, cwd=tmp_path, code=1)
    assert "150 x 180: 192 pixels on a side are needed" in done.error


def test_implicit_has_a_table_for_each_level(
    degflow: Run, ask: tuple[object, ...], folder: Path
) -> None:
    implicit = (*ask, "--network", "implicit", "--t-grid", "x2,x4", "--added-noise", "0")
    table = degflow(*implicit, cwd=folder).out
    assert "SR of real LR2 by source" in table and "SR of real LR4 by source" in table
    found = degflow(*implicit, "--json", cwd=folder).json
    assert found == json.loads((folder / "proxy" / "figures-implicit.json").read_text())
    assert list(found["levels"]) == ["LR2", "LR4"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--network", "implicit", "--level", "LR4"), "--level is for networks of one scale"),
        (("--network", "implicit", "--more-hr", "pairs"), "--more-hr is not for the implicit net"),
        (("--network", "implicit", "--sr-scale", "2"), "--sr-scale is for networks of one scale"),
        (("--network", "implicit", "--also", "a=pairs"), "--also is for networks of one scale"),
        (("--sr-scale", "13"), "--sr-scale must be a whole number from 1 to 12"),
        (("--also", "pairs"), "--also wants NAME=FOLDER, got 'pairs'"),
        (("--also", "a=pairs", "--also", "a=pairs"), "--also is given twice, got 'a=pairs'"),
        (("--also", "real=pairs"), "--also: 'real' must be 1 to 40 letters"),
        (("--test", "pairs"), "--test is the folder of the pairs that a proxy recipe's"),
        (("--scales", "2"), "--scales is gone: write --t-grid x2"),
        (("--network", "implicit", "--t-grid", "0.5,1"), "--t-grid must be SR scales such as x1.5"),
        (("--network", "implicit", "--t-grid", "xtwo"), "--t-grid: 'two' is not a number"),
        (("--network", "implicit", "--t-grid", "x9"), "--t-grid must be SR scales from 1 to 8"),
        (("--added-noise", "much"), "--added-noise wants numbers such as 0,4"),
    ],
)
def test_options_of_the_other_network_are_refused(
    degflow: Run, ask: tuple[object, ...], folder: Path, options: tuple[str, ...], why: str
) -> None:
    assert why in degflow(*ask, *options, cwd=folder, code=2).error


RECIPE = """
kind: proxy
sources: [bicubic, real]
added_noise: [0]
seeds: 2
budget: {steps: 2, batch: 1, width: 8, blocks: 1}
"""


def test_a_recipe_says_what_options_do_not(degflow: Run, tiny: str, folder: Path) -> None:
    (folder / "recipe.yaml").write_text(RECIPE)
    ask = ("proxy", tiny, "pairs", "--recipe", "recipe.yaml", "--json")
    found = degflow(*ask, "-o", "by-recipe", cwd=folder).json
    assert (found["seeds"], found["steps"]) == (2, 2)
    assert [(row["source"], row["added_noise"]) for row in found["rows"]] == [
        ("untouched", 0),
        ("bicubic", 0),
        ("real", 0),
    ]
    over = degflow(*ask, "--seeds", 1, "--steps", 1, "-o", "over", cwd=folder).json
    assert (over["seeds"], over["steps"], len(over["rows"])) == (1, 1, 3)
    (folder / "broken.yaml").write_text("kind: proxy\nbudget: [2]")
    broken = ("proxy", tiny, "pairs", "--recipe", "broken.yaml", "--steps", 1)
    assert "`budget:` must be a mapping" in degflow(*broken, cwd=folder, code=2).error
    (folder / "run.yaml").write_text("kind: run")
    wrong = degflow("proxy", tiny, "pairs", "--recipe", "run.yaml", cwd=folder, code=2)
    assert "is a recipe of kind 'run', not 'proxy' or 'train'" in wrong.error


def test_a_training_recipe_says_the_data_alone(degflow: Run, tiny: str, folder: Path) -> None:
    levels = [
        {"name": "HR", "t": 0.0, "files": "*_hr.png"},
        {"name": "LR2", "t": 1.0, "files": "*_lr2.png"},
    ]
    data = {"levels": levels, "validate": "chelsea", "s_max": 2.0, "source": "", "licence": ""}
    recipe = {"kind": "train", "name": "other", "data": data}
    (folder / "train.yaml").write_text(json.dumps(recipe))
    ask = ("proxy", tiny, "pairs", "--recipe", "train.yaml", "--steps", 1, "--sources", "bicubic")
    found = degflow(*ask, "--added-noise", 0, "-o", "by-train", "--json", cwd=folder).json
    assert (found["level"], found["scenes"], found["steps"]) == ("LR2", ["chelsea"], 1)


def test_an_architecture_of_spandrel(degflow: Run, tiny: str, folder: Path) -> None:
    pytest.importorskip("spandrel", reason="spandrel is not installed")
    (folder / "rcan.yaml").write_text(
        RECIPE + "network: RCAN\nnetwork_settings: {n_resgroups: 1, n_resblocks: 1, n_feats: 16}\n"
    )
    ask = ("proxy", tiny, "pairs", "--recipe", "rcan.yaml", "--seeds", 1, "-o", "rcan", "--json")
    found = degflow(*ask, cwd=folder).json
    assert found["network"] == "RCAN" and len(found["rows"]) == 3
    again = degflow(*ask, cwd=folder)
    assert again.json == found and "seed 0:" not in again.err, "kept"


def test_small_lr_and_other_pairs(degflow: Run, tiny: str, folder: Path) -> None:
    for place in ("small", "others"):
        (folder / place).mkdir()
        for path in (folder / "pairs").glob("*_hr.png"):
            name = path.name.removesuffix("_hr.png")
            hr = Image.open(path)
            hr.save(folder / place / path.name)
            hr.resize((110, 100)).save(folder / place / f"{name}_lr2.png")
            hr.resize((110, 100)).save(folder / place / f"{name}_lr.png")
            hr.resize((55, 50)).save(folder / place / f"{name}_lr4.png")
    (folder / "two.yaml").write_text(
        "kind: proxy\nsources: [bicubic]\nlevel: LR2\nadded_noise: [0]\n"
        "budget: {steps: 2, batch: 1, width: 8, blocks: 1}\n"
    )
    ask = ("proxy", tiny, "small", "--recipe", "two.yaml", "-o", "by-two-times")
    done = degflow(*ask, "--also", "theirs=others", "--sr-scale", 2, "--json", cwd=folder)
    assert (done.json["sr_scale"], done.json["network"]) == (2, "small, pixel shuffle x2")
    rows = [row["source"] for row in done.json["rows"]]
    assert rows == ["untouched", "bicubic", "theirs", "real"]
    table = degflow(*ask, "--also", "theirs=others", cwd=folder).out
    assert "small, pixel shuffle x2" in " ".join(table.split()), "x2 is the pairs' own"
    assert "theirs" in table
    (folder / "also.yaml").write_text(
        (folder / "two.yaml").read_text()
        + "also: {theirs: {s_max: 2, source: '', licence: '', levels: ["
        "{name: HR, t: 0, files: '*_hr.png'}, {name: LR, t: 1, files: '*_lr2.png'}]}}\n"
    )
    ask = ("proxy", tiny, "small", "--recipe", "also.yaml", "-o", "by-recipe-also")
    assert "give --also theirs=FOLDER" in degflow(*ask, cwd=folder, code=2).error
    found = degflow(*ask, "--also", "theirs=others", "--json", cwd=folder).json
    assert found["rows"] == done.json["rows"]


def test_a_network_that_is_not_there(degflow: Run, tiny: str, folder: Path) -> None:
    error = degflow("proxy", tiny, "pairs", "--network", "large", cwd=folder, code=2).error
    assert "large" in error and "same-size" in error and "implicit" in error


def test_two_processes_share_the_trainings(folder: Path, tiny: str, degflow: Run) -> None:
    """As Accelerate launches them; the same figures as by one, each training done once."""
    (folder / "recipe.yaml").write_text(RECIPE)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words += ["-m", "degflow_pipe", "proxy", tiny, "pairs", "--recipe", "recipe.yaml"]
    words += ["--device", "cpu", "-o", "by-two", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(list((folder / "by-two" / "runs").glob("*.json"))) == 4
    alone = degflow("proxy", tiny, "pairs", "--recipe", "recipe.yaml", "--json", cwd=folder).json
    for one, two in zip(alone["rows"], found["rows"], strict=True):
        assert one["mean"] == pytest.approx(two["mean"], rel=1e-3)
    assert "error" not in done.stderr.lower()
