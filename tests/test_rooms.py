"""The house: each room imports what it says, and no arrow runs back up."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import degflow_pipe

PACKAGE = Path(degflow_pipe.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
LOOSE = sorted(path.stem for path in PACKAGE.glob("[!_]*.py"))
"""Modules that are a room of their own."""


@cache
def imports_of(room: str) -> frozenset[str]:
    """The rooms that a room imports, wherever in its modules."""
    found = set()
    folder = PACKAGE / room
    for path in folder.rglob("*.py") if folder.is_dir() else [PACKAGE / f"{room}.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "degflow_pipe":
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                parts = node.module.split(".")
                found |= {parts[1]} if parts[0] == "degflow_pipe" else set()
            elif isinstance(node, ast.Import):
                names = [alias.name.split(".") for alias in node.names]
                found |= {parts[1] for parts in names if parts[0] == "degflow_pipe" and parts[1:]}
    return frozenset(found & {*ROOMS, *LOOSE}) - {room}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_imports(room: str) -> None:
    said = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
    (named,) = re.findall(r"It imports ([a-z_, \n]+?)\.(?:\n|$)", said)
    rooms = set(re.split(r",\s+|\s+and\s+", " ".join(named.split())))
    assert rooms == imports_of(room)


def test_no_arrow_runs_back_up() -> None:
    """Raises CycleError, which names the rooms, where there is no order from the lowest up."""
    floors = TopologicalSorter({room: imports_of(room) for room in (*ROOMS, *LOOSE)})
    order = list(floors.static_order())
    assert order.index("errors") < order.index("store") < order.index("stages") < order.index("cli")


@pytest.mark.parametrize(
    "room, never",
    [
        ("model", {"files", "json_files", "folders", "checkpoint", "store", "pictures"}),
        ("noise", {"files", "json_files", "checkpoint", "store"}),
        ("formats", {"model", "checkpoint", "settings", "pictures"}),
        ("store", {"model", "noise", "checkpoint", "pictures", "engines"}),
        ("shards", {"model", "noise", "checkpoint", "stages"}),
        ("cameras", {"files", "json_files", "store", "shards", "stages", "engines"}),
        ("engines", {"stages", "store", "shards", "checkpoint", "model"}),
        ("metrics", {"files", "json_files", "checkpoint", "pairs", "store"}),
        ("training", {"store", "shards", "stages", "evaluation"}),
        ("evaluation", {"training", "stages", "store"}),
        ("stages", {"cli", "reading", "exports", "training"}),
    ],
)
def test_what_a_room_must_not_know(room: str, never: set[str]) -> None:
    assert not imports_of(room) & never


def test_tests_mirror_the_package() -> None:
    """A folder of tests has the name of a room, but for those of the whole."""
    whole = {"data", "hostile"}
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()}
    assert folders - whole - {"__pycache__"} <= set(ROOMS)
