"""The commands, their options and defaults: whoever changes one changes this table too."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import typer

from degflow_pipe import defaults
from degflow_pipe.checkpoint.folder import find_checkpoint, read_info
from degflow_pipe.choices import TrainerName
from degflow_pipe.cli.app import app
from degflow_pipe.recipes import load_recipe
from degflow_pipe.stages.recipe import RunRecipe, run_recipe
from degflow_pipe.version import __version__

LEVELS = {"--t-grid": "str"}
SR_SCALE = {"--sr-scale": "float = 0"}
PRECISION = {"--precision": "auto|float32|bfloat16 = auto"}
COMPUTE = {"--device": "str = auto", "--batch": "int = 8", "--workers": "int = 0"}
NOISE = {"--noise": "auto|calibrated|none = auto", "--seed": "int = 0"}
CHECKPOINT = {"--checkpoint": "str = city100-compact"}
ENGINE = {"--engine": "threads|processes|ray = threads"}
GPUS = {"--num-gpus": "float"}
STORE = {"--store": "Path = degflow.zarr"}
JSON = {"--json": "flag"}
DRY = {"--dry-run": "flag"}
BREAK = {"--break-lock": "flag"}
EVENTS = {"--events": "Path"}
DISTANCES = "none|lpips-vgg|lpips-alex|lpips-squeeze|stlpips-vgg|stlpips-alex"
TRAINERS = "|".join(get_args(TrainerName))
TRAIN = {"RECIPE": "str, required", "--data": "Path", "--out -o": "Path"} | JSON

SURFACE: dict[str, dict[str, str]] = {
    "": {"--version": "flag"},
    "ingest": {
        **BREAK,
        "--max-pixels": "int = 210000000",
        "--replace": "flag",
        "PHOTOS": "str, required, several",
        "--patch": "int",
        "--stride": "int",
        "--min-detail": "float = 1.0",
        "--min-sharpness": "float",
        "--max-blockiness": "float",
        "--max-clipped": "float",
        "--max-noise": "float",
        "--strict": "flag",
        **STORE,
        "--checkpoint": "str",
        **ENGINE,
        **GPUS,
        **COMPUTE,
        **DRY,
        **EVENTS,
        **JSON,
    },
    "remove": {
        **BREAK,
        "NAMES": "str, required, several",
        "--store": "Path = degflow.zarr",
        "--json": "flag",
    },
    "generate": {
        **BREAK,
        **LEVELS,
        **SR_SCALE,
        "--draws": "int = 1",
        "--name": "str",
        **NOISE,
        **STORE,
        "--checkpoint": "str",
        **ENGINE,
        **GPUS,
        **PRECISION,
        **COMPUTE,
        **DRY,
        **EVENTS,
        **JSON,
    },
    "shard": {
        **BREAK,
        "--out -o": "Path = shards",
        "--grid": "str",
        "--name": "str = degflow",
        "--shard-size": "int = 1000",
        "--layout": "pairs|grouped = pairs",
        "--lr-size": "same|native = same",
        "--uneven": "refuse|crop = refuse",
        "--format": "str = png",
        "--hr-format": "str",
        "--chain": "str",
        "--chain-seed": "int = 0",
        "--validate": "str",
        "--overwrite": "flag",
        "--workers": "int = 0",
        **ENGINE,
        **GPUS,
        **STORE,
        **DRY,
        **EVENTS,
        **JSON,
    },
    "run": {
        **BREAK,
        **PRECISION,
        "RECIPE": "str, required",
        "PHOTOS": "str, several",
        "--keep": "levels|latents|none",
        "--store": "Path",
        "--out -o": "Path",
        "--checkpoint": "str",
        "--engine": "threads|processes|ray",
        **GPUS,
        **LEVELS,
        "--sr-scale": "float",
        "--overwrite": "flag",
        **COMPUTE,
        **DRY,
        **EVENTS,
        **JSON,
    },
    "demo": {
        **SR_SCALE,
        "--out -o": "Path = demo",
        "--device": "str = auto",
        "--workers": "int = 0",
        **CHECKPOINT,
        **JSON,
    },
    "inspect": {
        "PHOTOS": "str, required, several",
        "--out -o": "Path = sheet.png",
        "--min-sharpness": "float = 0.5",
        "--max-blockiness": "float = 0.4",
        "--max-clipped": "float = 0.2",
        "--max-noise": "float = 3.0",
        "--overwrite": "flag",
        "--max-pixels": "int = 210000000",
        **ENGINE,
        "--workers": "int = 0",
        **JSON,
    },
    "preview": {
        "--overwrite": "flag",
        **PRECISION,
        "PHOTO": "Path, required",
        "--out -o": "Path = strip.png",
        "--side": "int = 256",
        "--at": "str",
        "--sr-scale": "float = 0",
        "--zoom": "int = 1",
        "--real": "Path",
        "--device": "str = auto",
        **NOISE,
        **LEVELS,
        **CHECKPOINT,
        **JSON,
    },
    "degrade": {
        **SR_SCALE,
        "--max-pixels": "int = 210000000",
        **PRECISION,
        "PHOTOS": "str, required, several",
        "--out -o": "Path = lr",
        "--format": "str = png",
        "--overwrite": "flag",
        "--device": "str = auto",
        "--workers": "int = 0",
        **NOISE,
        **LEVELS,
        **CHECKPOINT,
        **BREAK,
        **JSON,
    },
    "grid": {},
    "grid delete": {"NAME": "str, required", **STORE, **BREAK, **JSON},
    "grid merge": {
        "NAMES": "str, required, several",
        "--name": "str = ",
        **STORE,
        **BREAK,
        **JSON,
    },
    "info": {"PATH": "str, required", **JSON},
    "verify": {
        "PATH": "str, required",
        "--repair": "flag",
        "--checkpoint": "str",
        "--store": "Path",
        "--device": "str = auto",
        "--workers": "int = 0",
        **BREAK,
        **JSON,
    },
    "report": {
        "PATH": "str, required",
        "--out -o": "Path",
        "--grid": "str",
        "--pairs": "Path",
        **EVENTS,
        "--overwrite": "flag",
        "--device": "str = auto",
        **JSON,
    },
    "train": {},
    "train rae": {"--device": "str = auto", **TRAIN},
    "train lfm": {"--rae": "Path", "--device": "str = auto", **TRAIN},
    "train joint": {"--device": "str = auto", **TRAIN},
    "camera": {
        "SOURCE": "Path, required",
        "--out -o": "Path, required",
        "--minutes": "float",
        "--s-max": "float",
        "--recipe": "str",
        "--start": "str",
        "--device": "str = auto",
        "--workers": "int = 0",
        **BREAK,
        **JSON,
    },
    "calibrate": {
        "CHECKPOINT": "str, required",
        "PAIRS": "Path, required",
        "--recipe": "str",
        "--device": "str = auto",
        **JSON,
    },
    "proxy": {
        "CHECKPOINT": "str, required",
        "PAIRS": "Path, required",
        "--recipe": "str",
        "--sources": "str",
        "--network": "str = same-size",
        "--sr-scale": "int = 0",
        "--also": "str",
        "--level": "str = ",
        "--t-grid": "str",
        "--test": "Path",
        "--more-hr": "Path",
        "--added-noise": "str = 0,4",
        "--seeds": "int = 1",
        "--steps": "int = 2500",
        "--perceptual": f"{DISTANCES} = none",
        "--out -o": "Path = proxy",
        "--device": "str = auto",
        **JSON,
    },
    "evaluate": {
        "CHECKPOINT": "str, required",
        "PAIRS": "Path, required",
        "--recipe": "str",
        "--beside": "str",
        "--perceptual": f"{DISTANCES} = none",
        "--sweep": "flag",
        "--residual": "flag",
        "--t-grid": "str = 0.1:1.0:0.05",
        "--out -o": "Path",
        "--device": "str = auto",
        **BREAK,
        **JSON,
    },
    "align": {
        "SHOTS": "Path, required",
        "--out -o": "Path",
        "--check": "flag",
        "--recipe": "str",
        "--target": "flag",
        "--max-shift": "float = 0.5",
        "--least": "int = 256",
        "--most": "int = 8",
        "--pause": "float = 60.0",
        "--overwrite": "flag",
        "--max-pixels": "int = 210000000",
        "--workers": "int = 0",
        **BREAK,
        **JSON,
    },
    "target": {
        "PHOTOS": "str, required, several",
        "--out -o": "Path, required",
        "--size": "str = a4",
        "--dpi": "int = 300",
        "--per-sheet": "int = 4",
        "--max-pixels": "int = 210000000",
        **BREAK,
        **JSON,
    },
    "simulate": {
        "--max-pixels": "int = 64000000",
        "PHOTOS": "str, required, several",
        "--out -o": "Path, required",
        "--scales": "str = 2,3,4",
        "--layout": "realsr-v2|interflow = realsr-v2",
        "--camera": "str = Simulated",
        "--test-every": "int = 5",
        "--seed": "int = 0",
        "--workers": "int = 0",
        **BREAK,
        **JSON,
    },
    "export": {
        **BREAK,
        "SHARDS": "Path, required",
        "--to --trainer": f"{TRAINERS}, required",
        "--out -o": "Path, required",
        "--scale": "int",
        "--t-grid": "str",
        "--relative": "flag",
        "--overwrite": "flag",
        "--workers": "int = 0",
        **DRY,
        **JSON,
    },
    "doctor": {
        "FOLDER": "Path, required",
        "--to --trainer": f"{TRAINERS}, required",
        "--sample": "int = 2000",
        "--options": "Path",
        "--workers": "int = 0",
        **JSON,
    },
    "bench": {
        **PRECISION,
        "PHOTOS": "str, required, several",
        "--against": "str",
        "--random": "published|compact",
        "--patch": "int = 256",
        "--patches": "int = 128",
        "--compare": "int = 4",
        "--noise": "auto|calibrated|none = auto",
        "--keep": "levels|latents|none = none",
        "--format": "str = png",
        "--engine": "threads|processes|ray = threads",
        "--folder": "str",
        **LEVELS,
        **CHECKPOINT,
        **COMPUTE,
        **JSON,
    },
    "checkpoint": {},
    "tune-solver": {
        "CHECKPOINT": "str, required",
        "PHOTOS": "str, required, several",
        "--device": "str = auto",
        **JSON,
    },
    "checkpoint import": {
        "--rae": "Path, required",
        "--flow": "Path, required",
        "--out -o": "Path, required",
        "--name": "str = published",
        "--s-max": "float = 4.0",
        **JSON,
    },
    "checkpoint export": {
        "CHECKPOINT": "str, required",
        "--rae": "Path, required",
        "--flow": "Path, required",
        "--overwrite": "flag",
        **JSON,
    },
}


def described(parameter: Any, hint: Any) -> tuple[str, str]:
    """Names of an option or argument, and what it takes."""
    is_option = parameter.param_type_name == "option"
    literal = next((h for h in (hint, *get_args(hint)) if get_origin(h) is Literal), None)
    found = re.search(r"\b(str|int|float|Path|bool)\b", str(hint))
    assert found or literal, hint
    text = "|".join(get_args(literal)) if literal else found[0]
    if parameter.required:
        text += ", required"
    if parameter.nargs == -1:
        text += ", several"
    elif text == "bool":
        text = "flag, set" if parameter.default else "flag"
    elif parameter.default is not None:
        text += f" = {parameter.default}"
    return " ".join(parameter.opts) if is_option else parameter.name.upper(), text


def surface_of(command: Any, name: str = "") -> dict[str, dict[str, str]]:
    hints = get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    own = [p for p in command.params if p.name in hints]  # the rest is of typer: completion
    found = {name: dict(described(p, hints[p.name]) for p in own)}
    for word, inner in getattr(command, "commands", {}).items():
        found |= surface_of(inner, f"{name} {word}".strip())
    return found


def test_commands_options_and_defaults() -> None:
    assert surface_of(typer.main.get_command(app)) == SURFACE


def test_recipe_has_the_defaults_of_the_commands() -> None:
    recipe = RunRecipe()
    ingest, shard = SURFACE["ingest"], SURFACE["shard"]
    assert SURFACE["demo"]["--checkpoint"] == f"str = {recipe.checkpoint}"
    assert ingest["--store"] == f"Path = {recipe.store}"
    assert shard["--out -o"] == f"Path = {recipe.out}"
    assert ingest["--patch"] == "int"  # the store's own, where there is one
    assert recipe.ingest.patch == defaults.PATCH
    assert ingest["--min-detail"] == f"float = {recipe.ingest.min_detail}"
    for name in ("min_sharpness", "max_blockiness", "max_clipped", "max_noise"):
        assert ingest[f"--{name.replace('_', '-')}"] == "float"
        assert getattr(recipe.ingest, name) is None
    assert shard["--name"] == f"str = {recipe.shard.name}"
    assert shard["--shard-size"] == f"int = {recipe.shard.shard_size}"
    for name in ("layout", "lr_size", "uneven"):
        option = shard[f"--{name.replace('_', '-')}"]
        assert option.endswith(f" = {getattr(recipe.shard, name)}")
    assert shard["--format"] == f"str = {recipe.shard.picture_format}"


def test_quickstart_says_the_defaults() -> None:
    quickstart, bare = run_recipe(load_recipe("quickstart", "run")), RunRecipe()
    info = read_info(find_checkpoint(bare.checkpoint))
    assert quickstart.generate.grid(info) == bare.generate.grid(info)
    for part in ("photos", "checkpoint", "store", "out", "ingest", "shard"):
        assert getattr(quickstart, part) == getattr(bare, part), part


@pytest.mark.parametrize("command", SURFACE)
def test_help_names_every_option(command: str, degflow: Callable[..., Any], tmp_path: Path) -> None:
    shown = degflow(*command.split(), "--help", cwd=tmp_path)
    assert shown.err == ""
    words = shown.out.replace(",", " ").replace("[", " ").replace("]", " ").split()
    for name in [*SURFACE[command], "--help"]:
        if name.startswith("--"):
            assert set(name.split()) <= set(words), f"{name} is not in the help of {command}"


def test_version(fresh: Callable[..., Any], tmp_path: Path) -> None:
    assert fresh("--version", cwd=tmp_path).out == f"degflow-pipe {__version__}\n"


def test_no_command_shows_the_help(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "degflow_pipe"]
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Usage" in shown.stdout + shown.stderr
    assert "ingest" in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr


SHOW_HELP = """
import sys
from degflow_pipe.cli.app import main
for command in sys.argv[1:]:
    sys.argv = ["degflow-pipe", *command.split(), "--help"]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, (command, end.code)
print(*sys.modules, sep="\\n", file=sys.stderr)
"""


def test_help_loads_nothing_heavy(environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", SHOW_HELP, *SURFACE]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("Usage") == len(SURFACE)
    loaded = set(shown.stderr.split("\n"))
    assert "degflow_pipe.cli.pipeline" in loaded
    assert not loaded & {"torch", "zarr", "cv2", "numpy", "webdataset", "PIL", "yaml"}
