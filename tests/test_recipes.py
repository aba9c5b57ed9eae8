"""Recipes as people write them and as nobody should: numbers, and bounds for every field."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from degflow_pipe.chains.steps import STEPS
from degflow_pipe.errors import DegflowError, UsageError
from degflow_pipe.formats.yaml_text import parse_yaml
from degflow_pipe.model.config import RAEConfig, SolverConfig, VelocityConfig
from degflow_pipe.pairs.settings import DataSettings, LevelFiles
from degflow_pipe.proxy.budget import Budget
from degflow_pipe.proxy.recipe import ProxyRecipe
from degflow_pipe.recipes import load_recipe
from degflow_pipe.settings import AtLeast, AtMost, Longest, read, shown
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.recipe import IngestSettings, LevelSettings, RunRecipe
from degflow_pipe.training.recipe import JointSettings, LFMSettings, RAESettings

quick = settings(deadline=None, max_examples=100)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E-3", 1e-3),
        ("1.0e-3", 1e-3),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+3", 3),
        ("010", 10),
        ("1e5", 100_000),
        ("0x1f", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("off", "off"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0x", "0x"),
        ("1e", "1e"),
        ("2026-01-31", "2026-01-31"),
        ("'1e3'", "1e3"),
        ("[1, 2.5e3, x y]", [1, 2500.0, "x y"]),
    ],
)
def test_a_plain_word_means_what_it_looks_like(text: str, value: Any) -> None:
    found = parse_yaml(f"a: {text}\n".encode())["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('a: !!int ""', "tags"),
        ("a: !!timestamp x", "tags"),
        ("a: !!python/object/apply:os.system [true]", "tags"),
        ("a: !what ever", "tags"),
        ("a: &b [1]\nc: *b", "anchors and aliases"),
        ("a: &b [*b]", "anchors and aliases"),
        ("a: 1\na: 2", "'a' is there twice, line 2"),
        ("a: " + "[" * 40_000, "nested too deep"),
        ("- " * 40_000, "nested too deep"),
        ("{a: " * 20_000, "nested too deep"),
        ("? [a]\n: b", "a key must be a plain word"),
        ("a: 1" + "0" * 400, "too large a number"),
        ("a: 1e400", "not a number that can be"),
        ("a: .inf", "not a number that can be"),
        ('a: "\\0"', "NUL"),
        ('a: "\\ud800"', "surrogates"),
        ('a: "\\Uffffffff"', "too large|range"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: [1", "expected"),
        ("\x00", "not allowed"),
    ],
)
def test_what_no_recipe_needs_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refusal:
        parse_yaml(text.encode())
    assert len(str(refusal.value)) < 400 and "\n" not in str(refusal.value)


@quick
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        parse_yaml(data)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(-1e300, 1e300),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


@quick
@given(plain)
def test_what_pyyaml_writes_is_read_back(value: Any) -> None:
    text = yaml.dump(value, Dumper=_NoAliases, default_flow_style=None)
    assert parse_yaml(text.encode()) == value


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "large"])
def test_a_recipe_is_a_file_of_some_size(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "recipe.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("kind: run\nphotos: [" + "a," * 500_000 + "a]")
    with pytest.raises(DegflowError, match=r"recipe\.yaml"):
        load_recipe(str(path), "run")


READ = [
    *(RAEConfig, VelocityConfig, SolverConfig, IngestSettings, LevelSettings, RunRecipe),
    *(DataSettings, LevelFiles, RAESettings, LFMSettings, JointSettings, ProxyRecipe, Budget),
    *(ShardSettings, *STEPS.values()),
]


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**19, float("inf"), float("nan")])
@pytest.mark.parametrize("kind", READ)
def test_every_number_of_every_recipe_has_a_bound(kind: type, value: Any) -> None:
    for name, hint in get_type_hints(kind).items():
        if hint in (int, float, int | None, float | None):
            given = value if hint in (float, float | None) or isinstance(value, int) else 10**19
            with pytest.raises(UsageError, match=rf"`place.{name}` must be") as refusal:
                read(kind, {name: given}, "place")
            assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("kind", READ)
def test_every_text_and_list_of_every_recipe_has_a_bound(kind: type) -> None:
    for field in fields(kind):
        hint = get_type_hints(kind)[field.name]
        long: Any = "x" * 10**6 if hint in (str, str | None) else None
        if getattr(hint, "__origin__", None) in (list, tuple):
            item = {"a": 1} if "dict" in str(hint) else "x" if "str" in str(hint) else 1
            long = [item] * 10**6
        if long is not None and field.name != "added_noise":
            with pytest.raises(UsageError, match=rf"place.{field.name}") as refusal:
                read(kind, {field.name: long}, "place")
            assert len(str(refusal.value)) < 300


@dataclass(frozen=True)
class Bounded:
    number: Annotated[float, AtLeast(1), AtMost(2)] = 1.0
    numbers: Annotated[list[float], AtMost(5)] | None = None
    text: Annotated[str, Longest(3)] = ""
    rest: dict[str, Any] | None = None


@pytest.mark.parametrize(
    "values",
    [
        {"number": 0.5},
        {"number": 2.5},
        {"text": "four"},
        {"rest": {"a": float("nan")}},
        {"rest": {"a": [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]}},
        {"rest": {"a": [1] * 200_000}},
        {"rest": {"x" * 5000: 1}},
    ],
)
def test_bounds_beside_the_fields_are_kept(values: dict[str, Any]) -> None:
    assert read(Bounded, {"number": 2, "text": "abc", "rest": {"a": [1.5]}}, "b").number == 2
    with pytest.raises(UsageError, match=f"b.{next(iter(values))}"):
        read(Bounded, values, "b")


def test_an_error_quotes_little_of_a_long_value() -> None:
    for value in ("x" * 10**6, list(range(10**6)), {i: i for i in range(10**5)}, 10**4000):
        assert len(shown(value)) < 200
