"""Hand-written mappings (recipes, config.json) into dataclasses, naming the key that is wrong.

Every number, text and list is bounded: by what stands beside its field, as
`Annotated[int, AtMost(100)]`, else by the bounds for all, so that no field is without one.
"""

from __future__ import annotations

import math
import re
import reprlib
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from degflow_pipe.choices import one_of
from degflow_pipe.errors import UsageError

T = TypeVar("T")

LARGEST = 10**9
"""No number is larger, nor smaller than -LARGEST, where its field does not say otherwise."""
LONGEST_TEXT = 4_096
"""Characters; also of a path."""
LONGEST_LIST = 100_000
"""Items of a list, and of what a mapping without fields holds altogether."""
DEEPEST = 20
"""Lists and mappings within one another where no field says what they hold."""


@dataclass(frozen=True)
class AtMost:
    """Bound of a field that is a number, or of each number that it holds."""

    value: float


@dataclass(frozen=True)
class AtLeast:
    """Lower bound of such a field."""

    value: float


@dataclass(frozen=True)
class Longest:
    """Characters of a text, at most."""

    value: int


@dataclass(frozen=True)
class Apart:
    """What the field holds has a reader of its own, with bounds of its own."""


Bound = AtMost | AtLeast | Longest | Apart


def override(base: T, values: Any, where: str) -> T:
    """A copy of the dataclass `base` with `values` (a mapping or None) written over it.

    Raises UsageError, naming `where.key`, for an unknown key or a value of another kind or size;
    what the dataclass itself refuses is named so too.
    """
    if values is None:
        return base
    merged = {f.name: getattr(base, f.name) for f in fields(base)}  # type: ignore[arg-type]
    merged.update(_checked(type(base), values, where))
    with _named(type(base), where):
        return type(base)(**merged)


def read(kind: type[T], values: Any, where: str) -> T:
    """A new dataclass `kind` from a mapping; every field without a default must be given.

    where: the key that the mapping stands under, empty for the whole. Raises UsageError as
    `override` does.
    """
    checked = _checked(kind, values if values is not None else {}, where)
    if missing := [name for name in _needed(kind) if name not in checked]:  # type: ignore[arg-type]
        raise UsageError(f"{_section(where)} lacks {', '.join(missing)}")
    with _named(kind, where):
        return kind(**checked)


def keys(kind: type) -> dict[str, str]:
    """By the name of each field, of `kind` or of the dataclasses in it, its key: `ingest.patch`."""
    found: dict[str, str] = {}
    for name, hint in get_type_hints(kind).items():
        found |= {inner: f"{name}.{inner}" for inner in _names(hint)} or {name: name}
    return found


def _names(kind: Any) -> list[str]:
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []


@contextmanager
def _named(kind: type, where: str) -> Iterator[None]:
    """An error that names a field of `kind` names its key instead."""
    try:
        yield
    except UsageError as error:
        names = "|".join(_names(kind))
        equals = ": " if where else "="

        def key(found: re.Match[str]) -> str:
            return f"`{_key(where, found[1])}{equals if found[2] == '=' else found[2]}"

        said = re.sub(rf"`({names})([`=.:])", key, str(error))
        raise UsageError(said) from error


def _key(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _section(where: str) -> str:
    """With a colon, as it is written: the command line has options of some of these names."""
    return f"`{where}:`" if where else "the recipe"


_short = reprlib.Repr()
_short.maxstring = _short.maxlong = _short.maxother = 60


def shown(value: Any) -> str:
    """A value as an error quotes it, however long it is."""
    return _short.repr(value)


def _checked(kind: type, values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UsageError(
            f"{_section(where)} must be a mapping of keys to values, got {shown(values)}"
        )
    hints = _hints(kind)
    for key, value in values.items():
        if key not in hints:
            raise UsageError(
                f"{_section(where)} has no key {shown(key)}; it has {', '.join(hints)}"
            )
        hint, bounds = hints[key]
        if type(value) is not hint and not _fits(value, hint):
            raise UsageError(f"`{_key(where, key)}` must be {_say(hint)}, got {shown(value)}")
        if bounds or not _is_plain(value):
            check_bounds(value, f"`{_key(where, key)}`", *bounds)
    return values


# Once for each kind: a ledger has as many records as a store has photos.
@cache
def _hints(kind: type) -> dict[str, tuple[Any, list[Bound]]]:
    """The type and the bounds of each field."""
    hints = get_type_hints(kind, include_extras=True)
    return {f.name: _bounds(hints[f.name]) for f in fields(kind)}


@cache
def _needed(kind: type) -> list[str]:
    """The fields without a default."""
    return [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]


def _bounds(hint: Any) -> tuple[Any, list[Bound]]:
    """A field's type and its bounds."""
    if get_origin(hint) is Annotated:
        inner, *bounds = get_args(hint)
        return inner, bounds
    return hint, []


def _is_plain(value: Any) -> bool:
    """Whether a value is within the bounds that all have, seen at a glance."""
    if type(value) is str:
        return len(value) <= LONGEST_TEXT
    return value is None or (type(value) in (int, float) and -LARGEST <= value <= LARGEST)


def check_bounds(value: Any, where: str, *bounds: Bound) -> None:
    """Raises UsageError, naming `where`, for a value that is too large, too long or too deep.

    bounds: of the value itself, or of each number in it where it is a list of numbers.
    """
    if any(isinstance(b, Apart) for b in bounds):
        return
    largest = next((b.value for b in bounds if isinstance(b, AtMost)), LARGEST)
    longest = next((b.value for b in bounds if isinstance(b, Longest)), LONGEST_TEXT)
    least = next((b.value for b in bounds if isinstance(b, AtLeast)), -math.inf)
    left, items = [(value, 0)], 0
    while left:
        item, depth = left.pop()
        items += 1
        if depth > DEEPEST or items > LONGEST_LIST:
            raise UsageError(f"{where} holds too much: {shown(value)}")
        if isinstance(item, dict):
            left += [(inner, depth + 1) for pair in item.items() for inner in pair]
        elif isinstance(item, list | tuple):
            if len(item) > LONGEST_LIST:
                raise UsageError(f"{where} has {len(item)} items, at most {LONGEST_LIST} are read")
            left += [(inner, depth + 1) for inner in item]
        elif isinstance(item, str):
            if len(item) > longest:
                raise UsageError(
                    f"{where} must be a text of {longest} characters at most, got {len(item)}"
                )
        elif isinstance(item, int | float) and not max(least, -largest) <= item <= largest:
            low = f"from {least:g} to" if least > -math.inf else "of"
            raise UsageError(
                f"{where} must be a number {low} {largest:g} at most, got {shown(item)}"
            )


def _fits(value: Any, hint: Any) -> bool:
    options = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return any(_fits_one(value, option) for option in options)


def _fits_one(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    origin = getattr(hint, "__origin__", hint)
    if origin is tuple:
        inner = get_args(hint)[0]
        return isinstance(value, list | tuple) and all(_fits_one(v, inner) for v in value)
    if origin is list:
        inner = get_args(hint)[0]
        return isinstance(value, list) and all(_fits_one(v, inner) for v in value)
    return hint is Any or isinstance(value, origin)


def _say(hint: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        str: "a text (in quotes)",
        bool: "true or false",
    }
    if isinstance(hint, types.UnionType):
        return " or ".join(_say(option) for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is Literal:
        return one_of(get_args(hint))
    origin = getattr(hint, "__origin__", hint)
    if origin in (list, tuple):
        return f"a list, each {_say(get_args(hint)[0])}"
    return names.get(hint, "a mapping" if origin is dict else str(hint))
