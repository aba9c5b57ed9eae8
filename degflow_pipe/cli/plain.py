"""Help as people read it, where Typer's own would show how it is built."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup


def _plain(parameters: list[Any]) -> list[Any]:
    """Flags have no type, and arguments are in capitals, as in the README."""
    for one in parameters:
        if getattr(one, "is_flag", False):
            one.metavar = ""
        elif isinstance(one, TyperArgument) and one.metavar is None and one.name:
            one.metavar = one.name.upper()
    return parameters


def _unbroken(text: str | None) -> str | None:
    """Help whose lines break where the terminal's do, and not where the code's did."""
    return text and re.sub(r"(?<!\n)\n(?!\n)", " ", text)


class PlainCommand(TyperCommand):
    """A command with such help."""

    def get_params(self, ctx: Any) -> list[Any]:
        self.help = _unbroken(self.help)
        return _plain(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """A group with such help, of its commands too."""

    def get_params(self, ctx: Any) -> list[Any]:
        for command in (self, *self.commands.values()):
            command.help = _unbroken(command.help)
        return _plain(super().get_params(ctx))
