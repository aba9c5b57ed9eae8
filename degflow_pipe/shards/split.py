"""Which photos are set apart for validation: none of them is on both sides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from degflow_pipe import files
from degflow_pipe.errors import UsageError
from degflow_pipe.store import PatchRecord

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
        """`5%`; a file that names a photo a line; or names with commas between them, as they are in
        the store. Raises UsageError.
        """
        if percent := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*%", text.strip()):
            share = float(percent[1]) / 100
            if not 0 < share < 1:
                raise UsageError(f"`validate` must be above 0% and below 100%, got {text!r}")
            return cls(share=share)
        if files.is_file(Path(text)):
            if files.size(Path(text)) > MAX_LIST:
                raise UsageError(f"`validate`: {text} has more than {MAX_LIST} bytes")
            lines = files.read_bytes(Path(text)).decode("utf-8", "replace").splitlines()
        else:
            lines = text.split(",")
        names = frozenset(line.strip() for line in lines if line.strip())
        if not names:
            raise UsageError(
                f"`validate` wants a share such as 5%, or names of photos, got {text!r}"
            )
        return cls(names=names)

    def validates(self, patch: PatchRecord) -> bool:
        """Whether the patch's photo is set apart."""
        return patch.source in self.names or int(patch.sha256[:16], 16) < self.share * 2**64

    def check(self, patches: Iterable[PatchRecord]) -> None:
        """Raises UsageError where a name is of no photo, or one side has none."""
        sides, seen = set(), set()
        for patch in patches:
            sides.add(self.validates(patch))
            seen.add(patch.source)
        if unknown := sorted(self.names - seen):
            raise UsageError(f"`validate`: the store has no photo {unknown[0]!r}")
        if sides == {False}:
            raise UsageError(
                f"`validate`: no hash of the {len(seen)} photos is among the {self.share:.4g} that "
                f"are set apart: choose more, or name photos"
            )
        if sides == {True}:
            raise UsageError("`validate`: no photo is left to train on")
