"""The library's words in the command line's: to who runs `ingest`, `patch` is --patch.

Messages of the library name a parameter in backticks, by its name in Python. Where a message is
printed, what the running command takes becomes its flag, and what a recipe said becomes the
recipe's key; every other word in backticks stays. A call, as `shard(overwrite=True)`, becomes the
command that does it.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import typer

from degflow_pipe.cli.plain import PlainCommand
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import in_t_grid

_running: typer.Context | None = None
"""Of the command that was called last: notes come from threads, and errors after it has ended."""

_RECIPES = {
    "run": ("degflow_pipe.stages.recipe", "RunRecipe"),
    "proxy": ("degflow_pipe.proxy.recipe", "ProxyRecipe"),
}
"""Commands whose recipe says what their options say too."""

_ALIASES = {
    "export": {"t": "t_grid", "scales": "t_grid"},
    "proxy": {"scales": "t_grid"},
}
"""Where one option says what the library takes as several parameters, or by another name."""

_VALUE = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[\w.+:,-]+"
_ARGUMENT = re.compile(rf"([a-z]\w*)=({_VALUE})(?:, |$)")
# Not within a path or another word, which a file's name may be.
_QUOTED = re.compile(
    r"(?<![\w/\\.`-])`(?:(?P<name>[a-z]\w*)(?:=(?P<value>[^`]+))?"
    r"|(?P<call>[a-z]\w*)\((?P<arguments>[^`]*)\))`(?![\w/\\`-]|\.\w)"
)


class Command(PlainCommand):
    """A command whose messages speak its flags, and which says what became of options that went."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_gone(self, args)
        return list(super().parse_args(ctx, args))

    def invoke(self, ctx: Any) -> Any:
        global _running
        _running = ctx
        return super().invoke(ctx)


def spoken(text: str) -> str:
    """A message of the library as the running command says it; as it is where none has begun."""
    return text if _running is None else _QUOTED.sub(_said, text)


def _said(found: re.Match[str]) -> str:
    assert _running is not None
    if found["call"]:
        return _command_line(found["call"], found["arguments"]) or found[0]
    value = None if found["value"] is None else _plain(found["value"])
    name = _ALIASES.get(_running.command.name or "", {}).get(found["name"], found["name"])
    key = _recipe_key(name)
    if key is not None:
        return f"`{key}`" if value is None else f"`{key}: {value}`"
    parameter = _named(_running.command, name)
    if parameter is None and value is not None:
        parameter = _elsewhere(name)
    return found[0] if parameter is None else " ".join(_words(parameter, value))


def _elsewhere(name: str) -> Any:
    """The option of that name, where the commands that have it all call it so."""
    assert _running is not None
    every = [_named(command, name) for _, command in _commands(_running.find_root().command)]
    found = [option for option in every if option and option.param_type_name == "option"]
    return found[0] if len({option.opts[0] for option in found}) == 1 else None


def _recipe_key(name: str) -> str | None:
    """The key that said it, where a recipe did and not the command line."""
    assert _running is not None
    home = _RECIPES.get(_running.command.name or "")
    source = _running.get_parameter_source(name)
    if home is None or _running.params.get("recipe") is None:
        return None
    if source is not None and source.name == "COMMANDLINE":
        return None
    from degflow_pipe.settings import keys

    return keys(getattr(import_module(home[0]), home[1])).get(name)


def _named(command: Any, name: str) -> Any:
    return next((found for found in command.params if found.name == name), None)


def _words(parameter: Any, value: str | None) -> list[str]:
    """A parameter and its value as they are typed, or as an argument is called in the help."""
    if parameter.param_type_name == "argument":
        return [parameter.name.upper() if value in (None, "...") else shlex.quote(str(value))]
    flag = parameter.opts[0]
    return [flag] if value in (None, "True") else [flag, shlex.quote(str(value))]


def _command_line(name: str, arguments: str) -> str | None:
    """`shard(overwrite=True)` as `degflow-pipe shard --overwrite`; None for what is no command."""
    assert _running is not None
    for path, command in _commands(_running.find_root().command):
        if path.replace(" ", "_").replace("-", "_") != name:
            continue
        words = ["degflow-pipe", path]
        for said in _ARGUMENT.finditer(arguments):
            parameter = _named(command, said[1])
            if parameter is None:
                return None
            words += _words(parameter, _plain(said[2]))
        return f"`{' '.join(words)}`" if not _ARGUMENT.sub("", arguments) else None
    return None


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in getattr(group, "commands", {}).items():
        yield f"{before}{name}", command
        yield from _commands(command, f"{before}{name} ")


def _plain(value: str) -> str:
    """A value as it is written in Python, without its quotes."""
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "'\"":
        return value
    try:
        return str(ast.literal_eval(value))
    except (SyntaxError, ValueError):  # not ours: a name with quotes in it
        return value


def _refuse_gone(command: Any, args: list[str]) -> None:
    """Raises UsageError for --t and --scales where --t-grid says levels."""
    takes = {flag for parameter in command.params for flag in parameter.opts}
    if "--t-grid" not in takes:
        return
    for i, word in enumerate(args):
        flag, _, value = word.partition("=")
        if word == "--":
            return
        if flag in {"--t", "--scales"} - takes:
            value = value or (args[i + 1] if i + 1 < len(args) else "")
            raise UsageError(f"{flag} is gone: write --t-grid {in_t_grid(flag[2:], value)}")
