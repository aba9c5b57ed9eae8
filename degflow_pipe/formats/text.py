"""Text that comes from outside, such as a file's name, made fit to be kept and shown."""

from __future__ import annotations

import unicodedata

_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that show what follows in another order: a name could pass for another one."""


def printable(text: str, keep: str = "") -> str:
    r"""Valid UTF-8 without characters that steer a terminal, each of which is shown as its escape.

    Bytes of a name that are no UTF-8 become `\xe9`, control and direction marks `\x1b` or `\u202e`.
    keep: control characters that stay, such as a line's end.
    """
    if text.isascii() and text.isprintable():
        return text
    whole = text.encode("utf-8", "surrogateescape" if _from_bytes(text) else "backslashreplace")
    return "".join(
        character if character in keep or not _steers(character) else _escaped(character)
        for character in whole.decode("utf-8", "backslashreplace")
    )


def _from_bytes(text: str) -> bool:
    """Whether every surrogate stands for a byte, as in the names that the system gives."""
    return all("\udc80" <= c <= "\udcff" for c in text if "\ud800" <= c <= "\udfff")


def _steers(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp") or character in _DIRECTIONS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
