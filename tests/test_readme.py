"""Every command and every piece of Python in the README, run as a newcomer would run it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import yaml
from skimage import data
from typer.testing import CliRunner

from degflow_pipe.chains.chain import read_chain
from degflow_pipe.cli.app import app
from degflow_pipe.proxy.proxy import ProxySettings
from degflow_pipe.training.recipe import train_recipe

ROOT = Path(__file__).resolve().parents[1]
README, RECIPES, FIGURES = (
    (ROOT / name / "README.md").read_text() for name in (".", "pipelines", "checkpoints")
)
TRAIN = "degflow-pipe train rae RECIPE --data PAIRS"
EACH = """
import sys
for code in sys.argv[1:]:
    print(code, file=sys.stderr)  # the last one is that which failed
    exec(code, {"__name__": "__main__"})
"""
"""Runs pieces of Python, each with names of its own, in one process: torch is imported once."""
PUBLISHED = "degflow-pipe checkpoint export training/NAME --rae RAE.pt --flow FLOW.pt"


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def indented(text: str = README) -> list[str]:
    return re.findall(r"^    (\S.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)


def indented_below(heading: str, text: str = README) -> list[str]:
    return indented(text.split(f"{heading}\n", 1)[1].split("\n## ", 1)[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder but for PHOTOS (one small photo), PHOTO, and a part of it, small.png."""
    path = tmp_path_factory.mktemp("newcomer")
    (path / "PHOTOS").mkdir()
    photo = data.astronaut()[:256, 100:356, ::-1]
    cv2.imwrite(str(path / "PHOTOS" / "a.png"), photo)
    cv2.imwrite(str(path / "photo.png"), photo)
    cv2.imwrite(str(path / "small.png"), photo[:96, :96])
    (path / "PHOTO").symlink_to("photo.png")
    return path


@pytest.fixture(scope="module")
def shell(folder: Path, tmp_path_factory: pytest.TempPathFactory, degflow):
    """Runs a command line in that folder, `degflow-pipe` being the package under test.

    One command alone is run in a fork of a process that has imported torch, as that takes no time.
    """
    programs = tmp_path_factory.mktemp("bin")
    program = programs / "degflow-pipe"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m degflow_pipe "$@"\n')
    program.chmod(0o755)

    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])

    def run(line: str) -> str:
        first, *words = shlex.split(line)
        if first == "degflow-pipe" and words != ["--help"] and not re.search(r"[|&;<>$*]", line):
            return degflow(*words, cwd=folder).out
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(
            line, shell=True, cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="module")
def shards(folder: Path, shell) -> Path:
    """The commands of the main job and those after it, in the README's order."""
    for block in blocks("sh") + blocks("sh", RECIPES):
        for line in block.splitlines():
            shell(line)
    return folder / "shards"


def test_main_job(shards: Path, folder: Path) -> None:
    tree = re.search(r"^shards/\n(.*?)^```", README, re.M | re.S)
    assert tree
    for name in re.findall(r"^  (\S+)", tree[1], re.M):
        assert (shards / name).exists(), name
    assert (folder / "strip.png").exists()
    assert sorted(path.name for path in (folder / "lr").glob("*.png")) == [
        "PHOTO_x1.5.png",
        "PHOTO_x2.9.png",
        "PHOTO_x2.png",
    ]
    lines = (shards / "degflow-000000.index.jsonl").read_text().splitlines()
    assert len(lines) == 19  # one patch at 19 levels


def test_python(shards: Path, folder: Path) -> None:
    found = blocks("python") + blocks("python", RECIPES)
    assert len(found) == 7
    command = [sys.executable, "-c", EACH, *found]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_demo(shell, folder: Path) -> None:
    install, _, demo = indented()[0].partition(" && ")
    assert install == 'pip install ".[demo]"'
    said = shell(demo)
    assert (folder / "demo" / "strip.png").exists()
    assert (folder / "demo" / "shards" / "degflow.json").exists()
    assert "degflow-pipe ingest YOUR_PHOTOS" in said


@pytest.fixture(scope="module")
def pairs(folder: Path) -> None:
    """PAIRS with a RECIPE for them, and CITY100 in the layout of that set."""
    (folder / "PAIRS").mkdir()
    nikon = folder / "CITY100" / "nikon_d5500"
    nikon.mkdir(parents=True)
    for name, number in (("chelsea", "001"), ("coffee", "061")):
        hr = getattr(data, name)()[:256, :256, ::-1]
        lr = cv2.GaussianBlur(hr, (0, 0), 1.5)
        for prefix in (folder / "PAIRS" / name, nikon / number):
            cv2.imwrite(f"{prefix}_hr.png", hr)
            cv2.imwrite(f"{prefix}_lr.png", lr)
    stage = {"steps": 3, "batch": 2, "patch": 64, "warmup": 1}
    recipe = {
        "kind": "train",
        "name": "NAME",
        "model": {"preset": "published", "rae": {"width": 4}, "velocity": {"width": 8}},
        "data": {
            "levels": [
                {"name": "HR", "t": 0.0, "files": "*_hr.png"},
                {"name": "LR", "t": 1.0, "files": "*_lr.png"},
            ],
            "validate": "coffee",
            "s_max": 3.0,
            "source": "a test",
            "licence": "none",
        },
        "rae": dict(stage),  # a recipe has no anchors
        "lfm": {**stage, "perceptual": "none"},
        "joint": dict(stage),
    }
    (folder / "RECIPE").write_text(yaml.safe_dump(recipe))


def invoke(line: str) -> None:
    """Runs a command within this process, where its budget can be less than a real one."""
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output


def test_training_and_evaluation(
    shards: Path, shell, pairs: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ProxySettings.of.__func__.__kwdefaults__, "patches", 4)
    monkeypatch.chdir(folder)
    lines = [
        *indented_below("## Training on your own pairs", RECIPES),
        *indented_below("## The published weights", RECIPES),
        *indented_below("## How real is it?", FIGURES),
        *indented_below("## How fast is it?", FIGURES),
    ]
    lines = [line for line in lines if not line.startswith("pip install")]
    train, published = lines.index(TRAIN), lines.index(PUBLISHED)
    assert published > train, "a checkpoint is trained before it is exported"
    for line in lines:
        # As many patches, and so many steps, as a real comparison has take minutes a source.
        if line.startswith("degflow-pipe proxy "):
            line = line.replace(" --seeds 3", " --seeds 1")
            invoke(f"{line} --steps 1 --sources ours --added-noise 0")
            continue
        line = line.replace(
            " tune-solver training/NAME PHOTOS", " tune-solver training/NAME small.png"
        )
        shell(line.replace(" bench ", " bench --patch 128 --compare 1 --t-grid 0.5,1 "))
    assert (folder / "training" / "NAME" / "model.safetensors").exists()
    assert (folder / "published" / "model.safetensors").exists()
    figures = json.loads((folder / "figures" / "figures.json").read_text())
    assert "city100-published" in figures["levels"]["LR"]["candidates"]
    assert (folder / "figures" / "pictures.png").exists()
    assert (folder / "proxy" / "figures.json").exists()
    assert (folder / "simulated" / "Simulated" / "Train" / "2").is_dir()


def test_own_camera(shell, pairs: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`camera` with a training of a few steps, within this process: the real one takes an hour."""
    _, camera, info, align, check, sheets = indented_below("## Your own camera")
    shell(sheets)
    assert (folder / "sheets" / "target.pdf").exists()
    scene = folder / "SHOTS" / "coffee"
    scene.mkdir(parents=True)
    photo = data.coffee()[..., ::-1]
    cv2.imwrite(str(scene / "near.png"), photo)
    wide = cv2.copyMakeBorder(photo, 60, 60, 90, 90, cv2.BORDER_REFLECT_101)
    far = cv2.resize(cv2.GaussianBlur(wide, (0, 0), 1.0), None, fx=0.5, fy=0.5)
    cv2.imwrite(str(scene / "far.png"), far)
    shell(align.replace("PAIRS", "ALIGNED"))
    assert (folder / "ALIGNED" / "coffee_hr.png").exists()
    shell(check)
    for part, value in (
        ("plan.STEPS", {"rae": 4, "lfm": 3, "joint": 2}),
        ("plan.LEAST", {"rae": 1, "lfm": 1, "joint": 1}),
        ("plan.PROXY_STEPS", 1),
        ("plan.LEAST_PROXY", 1),
        ("camera.PATCHES", 2),
        ("recipe_text.SEEDS", 1),
        ("recipe_text.SOURCES", ["bicubic", "ours", "real"]),
    ):
        monkeypatch.setattr(f"degflow_pipe.learning.{part}", value)
    monkeypatch.setattr("degflow_pipe.calibration.tune_solver.GRID", "0.5:1.0:0.25")
    monkeypatch.chdir(folder)
    camera = camera.replace("SHOTS", "PAIRS")
    invoke(f"{camera} --s-max 3")
    assert (folder / "my-camera" / "model.safetensors").exists()
    shell(info)


def test_recipe_is_one() -> None:
    (text,) = blocks("yaml", RECIPES)
    recipe = train_recipe(yaml.safe_load(text))
    assert [level.t for level in recipe.data.knots] == [0.0, 1.0]
    assert recipe.rae.steps == 5000 and recipe.lfm.perceptual == "none"


def test_chain_is_one() -> None:
    (text,) = blocks("text", RECIPES)
    chain = read_chain(yaml.safe_load(text))
    assert {type(step).__name__ for step in chain.steps} >= {"Resize", "Noise", "Gamma", "Either"}


def test_table_of_commands_is_the_command_line(shell) -> None:
    table = RECIPES.split("## Commands\n")[1].split("Each has")[0]
    told = {name for name in re.findall(r"`([a-z][a-z-]*)", table)}
    listed = set(re.findall(r"^│ ([a-z][a-z-]*) ", shell("degflow-pipe --help"), re.M))
    assert told == listed


def test_installed_wheel_runs_without_development_packages(tmp_path: Path) -> None:
    """It carries recipes, checkpoints and the templates of reports, found in an empty folder."""
    pip = [sys.executable, "-m", "pip", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['skimage'] = None\n"
        "from pathlib import Path\n"
        "from degflow_pipe import DegFlow\n"
        "from degflow_pipe.checkpoint.folder import find_checkpoint\n"
        "import degflow_pipe\n"
        "from degflow_pipe.recipes import load_recipe\n"
        f"assert degflow_pipe.__file__.startswith({str(site)!r})\n"
        "degflow_pipe.report(find_checkpoint('city100-compact'), Path('page.html'))\n"
        "print(DegFlow.load('city100-compact', 'cpu').info.id)\n"
        "print(load_recipe('quickstart', 'run')['shard']['name'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=empty, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    name, recipe = done.stdout.split()
    assert name.startswith("city100-compact-") and recipe == "degflow"
    assert name in (empty / "page.html").read_text()
