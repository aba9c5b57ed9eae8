"""Option files as trainers read them, and the rules that they must keep, held against the data."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from degflow_pipe import files
from degflow_pipe.choices import one_of
from degflow_pipe.errors import DegflowError
from degflow_pipe.exports.findings import Report
from degflow_pipe.exports.networks import Network
from degflow_pipe.settings import shown

MAX_BYTES = 256 * 1024
"""Of an option file: the longest that trainers ship have 10 kB."""


class Settings:
    """What an option file says; a value is found by its keys with dots between them."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self.name, self.values = name, values

    def get(self, key: str) -> Any:
        """None where it is not there."""
        value: Any = self.values
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return None
            value = value[part]
        return value

    def has(self, key: str) -> bool:
        """Whether the key is there, if only as null."""
        head, _, last = key.rpartition(".")
        holder = self.get(head) if head else self.values
        return isinstance(holder, Mapping) and last in holder

    def count(self, key: str) -> int | None:
        """A whole number of 1 or more; None for anything else."""
        value = self.get(key)
        return value if type(value) is int and value >= 1 else None


@dataclass(frozen=True)
class Facts:
    """What the data have: the folder, the least side of HR and of LR in pixels, and how many times
    HR is the LR in most pairs. None where there are no pairs to tell.
    """

    folder: Path
    hr: int | None = None
    lr: int | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Rules:
    """What a trainer's option file must hold.

    source: where the trainer's code asks for it; required: keys; together: keys that need others
    below them where they are there; roots: keys of paths, and the place that each must name (""
    being the folder itself); networks: those that are known, by `network`; factors: keys that must
    be the scale; crop_hr, crop_lr: the key of the crop's side, of HR or LR.
    """

    source: str
    required: tuple[str, ...]
    together: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    roots: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    networks: Mapping[str, Network] = field(default_factory=dict)
    factors: tuple[str, ...] = ()
    fixed: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    crop_hr: str = ""
    crop_lr: str = ""


def read_settings(path: Path, report: Report) -> Settings | None:
    """An option file by its ending; a finding and None where it cannot be read.

    YAML by the safe loader, TOML, JSON with KAIR's comments, which begin with // (KAIR,
    utils/utils_option.py at 090344b), the options of a command line, and a Python file of plain
    values, of which nothing is run.
    """
    name = path.name
    try:
        text = files.read_bytes(path, MAX_BYTES).decode()
    except DegflowError as error:
        report.add("options", str(error))
        return None
    except UnicodeDecodeError:
        report.add("options", f"{name}: not UTF-8")
        return None
    try:
        if path.suffix == ".toml":
            values = tomllib.loads(text)
        elif path.suffix == ".json":
            values = json.loads("\n".join(line.split("//")[0] for line in text.split("\n")))
        elif path.suffix == ".sh":
            values = _command_line(text)
        elif path.suffix == ".py":
            values = _plain_python(text)
        else:
            values = yaml.safe_load(text)
    except Exception as error:  # the loaders raise nearly anything on odd tags and deep nesting
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        mend = "mend it, or delete it and run the `export` that wrote it again"
        report.add("options", f"{name}: cannot be read: {problem}: {mend}")
        return None
    if not isinstance(values, dict) or not values:
        report.add("options", f"{name}: no settings in it")
        return None
    return Settings(name, values)


def _command_line(text: str) -> dict[str, Any]:
    """The options of a command by their names: whole numbers as int, those without a value True."""
    values: dict[str, Any] = {}
    key = ""
    for word in shlex.split(text.replace("\\\n", " "), comments=True):
        if word.startswith("--"):
            key, _, value = word[2:].partition("=")
            word = value
        if key:
            number = re.fullmatch(r"\d{1,9}", word)
            values[key] = int(word) if number else word or True
    return values


def _plain_python(text: str) -> dict[str, Any]:
    """What the lines `name = value` of a Python file give, value being plain."""
    values: dict[str, Any] = {}
    for line in ast.parse(text).body:
        if isinstance(line, ast.Assign):
            for target in line.targets:
                if isinstance(target, ast.Name):
                    values[target.id] = _plain_value(line.value, values)
    return values


def _plain_value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Literals, dict(key=value) and names from above; None for all that would have to be run."""
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return names.get(name)
        case ast.List(items) | ast.Tuple(items):
            return [_plain_value(item, names) for item in items]
        case ast.Dict(keys, items):
            return {
                str(_plain_value(key, names)): _plain_value(item, names)
                for key, item in zip(keys, items, strict=True)
                if key is not None
            }
        case ast.Call(func=ast.Name("dict"), args=[], keywords=pairs):
            return {pair.arg: _plain_value(pair.value, names) for pair in pairs if pair.arg}
    return None


def check_rules(rules: Rules, settings: Settings, facts: Facts, report: Report) -> None:
    """Findings where an option file breaks a trainer's rules, or does not fit the data."""

    def say(text: str) -> None:
        report.add("options", f"{settings.name}: {text}")

    for key in rules.required:
        if not settings.has(key):
            say(f"{key} is missing: {rules.source} asks for it")
    for key, others in rules.together.items():
        for other in others if settings.get(key) is not None else ():
            if settings.get(f"{key}.{other}") is None:
                say(f"{key} needs {other} beside it, or training ends: {rules.source}")
    for key, values in rules.fixed.items():
        value = settings.get(key)
        if value is not None and value not in values:
            say(f"{key} is {shown(value)}, and must be {one_of([str(one) for one in values])}")
    check_roots(settings, rules.roots, facts.folder, report)
    scale = settings.count("scale") if rules.network else None
    if scale is not None and facts.ratio is not None and scale != facts.ratio:
        say(f"scale is {scale}, and HR is {facts.ratio:g} times the LR")
    if scale is not None:
        for key in rules.factors:
            # Where it is the data's ratio, that scale is another has been said.
            if settings.get(key) not in (None, scale, facts.ratio):
                said = shown(settings.get(key))
                say(f"{key} is {said}, and scale {scale}: say one number in both")
        network = rules.networks.get(str(settings.get(rules.network)))
        if network is not None and not network.has(scale):
            say(f"{network.name} has no factor {scale}, only {network.factors}")
        _check_crop(rules, settings, facts, scale, network, report)


def _check_crop(
    rules: Rules,
    settings: Settings,
    facts: Facts,
    scale: int,
    network: Network | None,
    report: Report,
) -> None:
    def say(text: str) -> None:
        report.add("options", f"{settings.name}: {text}")

    hr, lr = settings.count(rules.crop_hr), settings.count(rules.crop_lr)
    for key, side in ((rules.crop_hr, hr), (rules.crop_lr, lr)):
        if key and settings.get(key) is not None and side is None:
            say(f"{key} is {shown(settings.get(key))}, and must be pixels")
    if rules.crop_hr and rules.crop_lr and (hr is None) == (lr is None):
        say(f"exactly one of {rules.crop_hr} and {rules.crop_lr} must be there: {rules.source}")
    if hr is not None and hr % scale:
        say(f"{rules.crop_hr} is {hr}, and must be a multiple of scale {scale}")
    small = lr if lr is not None else None if hr is None else hr // scale
    large = hr is not None and facts.hr is not None and hr > facts.hr
    if large:
        say(f"{rules.crop_hr} is {hr}, and the smallest HR has {facts.hr} pixels: crop less")
    if not large and small is not None and facts.lr is not None and small > facts.lr:
        say(f"crops have {small} pixels of LR, and the smallest LR has {facts.lr}")
    if network is not None and small is not None and small % network.even(scale):
        say(
            f"{network.name} at factor {scale} takes LR of a multiple of {network.even(scale)} "
            f"pixels, and crops have {small}"
        )


def check_roots(settings: Settings, roots: Mapping[str, str], folder: Path, report: Report) -> None:
    """A finding for each path of the option file that is not that of its place, absolute or
    relative to the folder, and one for all that lead to another folder; where a path leads is not
    looked at.
    """
    moved: dict[str, list[str]] = {}
    for key, place in roots.items():
        value = settings.get(key)
        # traiNNer-redux takes lists of roots.
        said = value[0] if isinstance(value, list) and len(value) == 1 else value
        if value is None or (isinstance(said, str) and is_place(said, place, folder)):
            continue
        if isinstance(said, str) and (not place or f"/{said}".endswith(f"/{place}")):
            root = said.removesuffix(place).rstrip("/") if place else said
            moved.setdefault(root or "/", []).append(key)
            continue
        meant = f"{place} of {folder}" if place else str(folder)
        report.add(
            "options",
            f"{settings.name}: {key} is {shown(value)}, and not {meant}: export again where the "
            f"folder was moved, or change it",
        )
    for root, keys in moved.items():
        lead = "leads" if len(keys) == 1 else "lead"
        report.add(
            "options",
            f"{settings.name}: {', '.join(keys)} {lead} to {shown(root)}, and not to {folder}: "
            f"export again where the folder was moved, or change that",
        )


def is_place(said: str, place: str, folder: Path) -> bool:
    """Whether a path is that of a place, relative to the folder or from the root."""
    if not said or "\0" in said:
        return False
    if os.path.normpath(said) == os.path.normpath(place or "."):
        return True
    try:
        whole = os.path.realpath(folder / place), os.path.abspath(folder / place)
        return os.path.isabs(said) and (
            os.path.normpath(said) in whole or os.path.realpath(said) == whole[0]
        )
    except (OSError, ValueError):  # too long, or not of this system's characters
        return False


def numbers(value: Any, count: int) -> Sequence[float] | None:
    """A list of so many finite numbers; None for anything else."""
    if not isinstance(value, list) or len(value) != count:
        return None
    # A bool is an int to Python, and 10^400 is no float.
    if not all(type(item) in (int, float) and abs(item) <= 1e6 for item in value):
        return None
    return [float(item) for item in value]
