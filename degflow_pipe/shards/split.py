"""Which photos are set apart for validation: none of them is on both sides."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from degflow_pipe import files
from degflow_pipe.errors import UsageError
from degflow_pipe.places import place_of

MAX_LIST = 2**24
"""Bytes of a list of names."""


@dataclass(frozen=True)
class Split:
    """Photos for validation: a share of them, or those of some names.

    By share, a photo's side follows from the hash of its file alone, so that it stays where it is
    when others are added or removed, whatever their order.
    """

    share: float = 0.0
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str) -> Split:
        """`5%`; a .txt file that names a photo a line; or names with commas between them, as they
        are in the store. Raises UsageError, and FileError for a file that is not there.
        """
        if percent := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*%", text.strip()):
            share = float(percent[1]) / 100
            if not 0 < share < 1:
                raise UsageError(f"`validate` must be above 0% and below 100%, got {text!r}")
            return cls(share=share)
        if text.endswith(".txt"):
            if files.size(place_of(text)) > MAX_LIST:
                raise UsageError(f"`validate`: {text} has more than {MAX_LIST} bytes")
            lines = files.read_bytes(place_of(text)).decode("utf-8-sig", "replace").splitlines()
        else:
            lines = text.split(",")
        names = frozenset(line.strip() for line in lines if line.strip())
        if not names:
            raise UsageError(
                f"`validate` wants a share such as 5%, or names of photos, got {text!r}"
            )
        return cls(names=names)

    @property
    def key(self) -> str:
        """Equal for equal splits."""
        if self.share:
            return f"{100 * self.share:g}%"
        digest = hashlib.sha256("\n".join(sorted(self.names)).encode()).hexdigest()
        return f"{len(self.names)} photos, {digest[:16]}"

    def validates(self, source: str, sha256: str) -> bool:
        """Whether a photo is set apart, by its name and the hash of its file."""
        return source in self.names or int(sha256[:16], 16) < self.share * 2**64

    def check(self, photos: Iterable[tuple[str, str]]) -> None:
        """Raises UsageError where a name is of no photo, or one side has none."""
        sides, seen = set(), set()
        for source, sha256 in photos:
            sides.add(self.validates(source, sha256))
            seen.add(source)
        if unknown := sorted(self.names - seen):
            held = sorted(seen)
            more = f" and {len(held) - 5} more" if len(held) > 5 else ""
            raise UsageError(
                f"`validate`: the store has no photo {unknown[0]!r}; it has "
                f"{', '.join(held[:5])}{more}"
            )
        if sides == {False}:
            raise UsageError(
                f"`validate`: none of the {len(seen)} photos falls into {self.key}: choose more, "
                f"or name photos"
            )
        if sides == {True}:
            raise UsageError("`validate`: no photo is left to train on")
