"""Hand-written mappings (recipes, config.json) into dataclasses, naming the key that is wrong."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_args, get_type_hints

from degflow_pipe.errors import UsageError

T = TypeVar("T")


def override(base: T, values: Any, where: str) -> T:
    """A copy of the dataclass `base` with `values` (a mapping or None) written over it.

    Raises UsageError, naming `where.key`, for an unknown key or a value of another kind.
    """
    if values is None:
        return base
    merged = {f.name: getattr(base, f.name) for f in fields(base)}  # type: ignore[arg-type]
    merged.update(_checked(type(base), values, where))
    return type(base)(**merged)


def read(kind: type[T], values: Any, where: str) -> T:
    """A new dataclass `kind` from a mapping; every field without a default must be given."""
    checked = _checked(kind, values if values is not None else {}, where)
    try:
        return kind(**checked)
    except TypeError as error:
        missing = [
            f.name
            for f in fields(kind)  # type: ignore[arg-type]
            if f.name not in checked and f.default is MISSING and f.default_factory is MISSING
        ]
        raise UsageError(f"{where} lacks {', '.join(missing)}") from error


def _checked(kind: type, values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UsageError(f"{where} must be a mapping of keys to values, got {values!r}")
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    for key, value in values.items():
        if key not in names:
            raise UsageError(f"{where} has no key {key!r}; it has {', '.join(names)}")
        if not _fits(value, hints[key]):
            raise UsageError(f"{where}.{key} must be {_say(hints[key])}, got {value!r}")
    return values


def _fits(value: Any, hint: Any) -> bool:
    options = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return any(_fits_one(value, option) for option in options)


def _fits_one(value: Any, hint: Any) -> bool:
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
    origin = getattr(hint, "__origin__", hint)
    if origin in (list, tuple):
        return f"a list, each {_say(get_args(hint)[0])}"
    return names.get(hint, "a mapping" if origin is dict else str(hint))
