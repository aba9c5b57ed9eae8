"""The library names its parameters, the command line its flags, a recipe its keys."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import typer

from degflow_pipe import choices
from degflow_pipe.cli.app import app
from degflow_pipe.cli.words import Command, spoken
from degflow_pipe.errors import UsageError
from degflow_pipe.exports.trainers import TRAINERS
from degflow_pipe.model.config import PRESETS
from degflow_pipe.pictures.patches import check_grid

Run = Callable[..., Any]

PACKAGE = Path(__file__).parents[2] / "degflow_pipe"
FOREIGN = {"--force-reinstall"}


def strings(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


SOURCES = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]


@pytest.mark.parametrize("name", sorted(n for n in SOURCES if not n.startswith("cli/")))
def test_no_flag_outside_the_command_line(name: str) -> None:
    found = [
        f"{name}:{line}: {flag}"
        for line, text in strings(PACKAGE / name)
        for flag in re.findall(r"(?<![\w-])(?<!var\()--[a-z][a-z-]*", text)
        if flag not in FOREIGN
    ]
    assert not found


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        inner = hasattr(command, "commands")
        yield from commands(command, f"{name}_") if inner else [(before + name, command)]


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_every_command_speaks_its_flags() -> None:
    assert all(isinstance(found, Command) for found in COMMANDS.values())


def test_words_in_backticks_are_parameters_fields_or_commands() -> None:
    said, known = set(), {*COMMANDS, *(p.name for c in COMMANDS.values() for p in c.params)}
    calls = {name.replace("-", "_") for name in COMMANDS}
    for name in SOURCES:
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            if isinstance(node, ast.arg):
                known.add(node.arg)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                known.add(node.target.id)
            elif isinstance(node, ast.Raise):
                texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                said |= {(name, w) for w in re.findall(r"`([a-z_]\w*(?:\(|=|`))", f"{texts}")}
    assert len(said) > 50
    wrong = [(n, w) for n, w in said if w[:-1] not in (calls if w[-1] == "(" else known)]
    assert not wrong


@pytest.fixture
def kitchen() -> None:
    """A command has begun that takes `rack`, `heat_up`, `to` and DOUGH; another takes `salt`."""
    bakery = typer.Typer()

    @bakery.command(cls=Command)
    def bake(
        dough: Annotated[str, typer.Argument()],
        rack: int = 1,
        heat_up: bool = False,
        to: Annotated[str, typer.Option("--to", "--trainer", "-t")] = "",
    ) -> None:
        pass

    @bakery.command("weigh-out", cls=Command)
    def weigh_out(dough: Annotated[str, typer.Argument()], salt: str = "") -> None:
        pass

    bakery(["bake", "rye"], standalone_mode=False)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("`rack` must be 1 to 3", "--rack must be 1 to 3"),
        ("give another `to`, or `heat_up`.", "give another --to, or --heat-up."),
        ("(`heat_up=True`: say `rack=3`)", "(--heat-up: say --rack 3)"),
        ("say `to='a b'`", "say --to 'a b'"),
        ("`dough` is wet", "DOUGH is wet"),
        ("measured by `salt=sea`", "measured by --salt sea"),
        ("run `weigh_out(salt='sea salt')`", "run `degflow-pipe weigh-out --salt 'sea salt'`"),
        ("`weigh_out(dough='rye', salt=2)`", "`degflow-pipe weigh-out rye --salt 2`"),
        (
            "`bake(dough=rye, rack=3, to='0.3,1', heat_up=True)`",
            "`degflow-pipe bake rye --rack 3 --to 0.3,1 --heat-up`",
        ),
        ("`bake(to=0.3,1, rack=2)`", "`degflow-pipe bake --to 0.3,1 --rack 2`"),
        ("run `bake()` again", "run `degflow-pipe bake` again"),
        # What is no parameter of this command stays as it is.
        ("`salt` is for others", None),
        ("run `bake` again, then `weigh-out`", None),
        ("`rack: 3` in the recipe", None),
        ("`oven.rack` must be 1", None),
        ("the key `rack.depth`, a `racks`", None),
        ("`eat(dough='rye')` and `bake(yeast=1)` and `bake(rack)`", None),
        ("/home/`rack`.png, `rack`.png, `rack`/x and a`rack`", None),
        ("a ` alone, `to\n", None),
        ("`bake(to='\\x')`", "`degflow-pipe bake --to ''\"'\"'\\x'\"'\"''`"),
    ],
)
def test_a_message_is_said_as_the_running_command_takes_it(
    kitchen: None, said: str, shown: str | None
) -> None:
    assert spoken(said) == (said if shown is None else shown)


def test_a_caller_sees_the_parameter_a_user_the_flag_or_the_key(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    says = "must be a multiple of 64 (the model's), got 100"
    with pytest.raises(UsageError) as caught:
        check_grid(100, 64, 64)
    assert str(caught.value) == f"`patch` {says}"
    model = ("--checkpoint", tiny)
    typed = degflow("ingest", photo_folder, "--patch", 100, *model, cwd=tmp_path, code=2)
    assert typed.error == f"--patch {says}"
    (tmp_path / "recipe.yaml").write_text("kind: run\ningest: {patch: 100}")
    written = degflow("run", "recipe.yaml", photo_folder, *model, cwd=tmp_path, code=2)
    assert written.error == f"`ingest.patch` {says}"


def test_a_flag_goes_before_the_recipe_also_in_what_is_said(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    text = f"kind: run\ncheckpoint: {tiny}\ngenerate: {{t_grid: x8}}"
    (tmp_path / "recipe.yaml").write_text(text)
    ask = ("run", "recipe.yaml", photo_folder)
    says = "8 is outside the scales of this checkpoint, 1 to 4 (t = 1); LR of HR / 8, at levels"
    done = degflow(*ask, cwd=tmp_path, code=2)
    assert done.error == f"`generate.t_grid`: {says} up to that: `generate.sr_scale: 8`"
    done = degflow(*ask, "--t-grid", "x2,x8", cwd=tmp_path, code=2)
    assert done.error == f"--t-grid: {says} up to that: `generate.sr_scale: 8`"


def test_another_command_is_said_as_it_is_typed(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    ask = ("preview", photo_folder / "astronaut.png", "--checkpoint", tiny)
    done = degflow(*ask, "--noise", "calibrated", cwd=tmp_path, code=2)
    assert re.fullmatch(
        r"--noise calibrated: tiny-\w+ has no noise model: measure it with `degflow-pipe "
        r"calibrate`, or say --noise none",
        done.error,
    )


def test_names_of_photos_are_no_words_of_ours(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "`patch`.png").write_text("no picture")
    done = degflow("ingest", "photos", "--checkpoint", tiny, cwd=tmp_path, code=1)
    assert "photos/`patch`.png: not a PNG" in done.error and "--patch.png" not in done.err


def test_a_note_and_a_table_speak_flags_too(
    degflow: Run, tiny: str, photo_folder: Path, tmp_path: Path
) -> None:
    ask = ("degrade", photo_folder, "--checkpoint", tiny, "--max-pixels", 28_000)
    done = degflow(*ask, "--t-grid", "1", cwd=tmp_path)
    assert done.out.count("raise --max-pixels if it is a photo") == 1


def test_choices_are_those_of_the_library() -> None:
    assert get_args(choices.TrainerName) == tuple(TRAINERS)
    assert get_args(choices.Preset) == tuple(PRESETS)


def test_completion_lists_choices(environment: dict[str, str], tmp_path: Path) -> None:
    asked = {"_DEGFLOW_PIPE_COMPLETE": "complete_bash", "COMP_CWORD": "3"}
    asked["COMP_WORDS"] = "degflow-pipe shard --layout "
    command = [sys.executable, "-m", "degflow_pipe"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**environment, **asked}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["pairs", "grouped"], done
