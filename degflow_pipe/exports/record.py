"""What an export wrote, by its own list, held against what its trainer finds there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from os.path import splitext
from pathlib import Path
from typing import Any

from degflow_pipe.exports import owned
from degflow_pipe.exports.findings import Found, Report
from degflow_pipe.settings import shown

Names = tuple[str, str]
"""Paths of an HR and its LR below the export, without endings: LMDB has none."""
Sizes = tuple[tuple[int, int], tuple[int, int]]
"""Height and width in pixels, of HR and LR."""
TELL_ALL = ("structure", "counts", "list", "numbering", "order", "pairs")
"""Findings after which it is no wonder that pairs are missing."""
TELL_EACH = ("no HR", "no LR", "names")
"""Findings that tell of one missing pair each."""


@dataclass(frozen=True)
class Record:
    """The pairs that an export wrote, and their sizes; none of a folder that is no export."""

    sizes: Mapping[Names, Sizes] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Record:
        """By pairs.jsonl, a file of the folder, and so not trusted: odd lines are left out."""
        found: dict[Names, Sizes] = {}
        kinds: dict[Sizes, Sizes] = {}  # a few, which all pairs share
        for row in islice(owned.rows(folder / owned.PAIRS), owned.MAX_LIST_LINES):
            hr, lr = row.get("hr"), row.get("lr")
            large, small = _size(row.get("hr_size")), _size(row.get("lr_size"))
            if isinstance(hr, str) and isinstance(lr, str) and large and small:
                found[_plain(hr), _plain(lr)] = kinds.setdefault((large, small), (large, small))
        return cls(found)

    def of_pair(self, pair: Found) -> Sizes | None:
        """The sizes that a pair was written with; None for one that the export did not write."""
        return self.sizes.get(_names(pair))

    def look_for_missing(self, found: Sequence[Found], report: Report) -> None:
        """A finding where fewer pairs are found than were written, and nothing tells of that yet.

        Pairs of other names may be those that were written, renamed: they count as such.
        """
        there = set(map(_names, found))
        gone = [names for names in self.sizes if names not in there]
        others = sum(names not in self.sizes for names in there)
        missing = len(gone) - others
        told = sum(report.findings[kind].count for kind in TELL_EACH if kind in report.findings)
        # An HR that is missing, of which it is told once, may have many LR.
        untold = min(len({hr for hr, _ in gone}), len({lr for _, lr in gone})) - told
        told_of_all = any(kind in report.findings for kind in TELL_ALL)
        if not found or told_of_all or min(missing, untold) <= 0:
            return
        hr, lr = map(shown, gone[0])
        report.add(
            "export",
            f"{missing:,} of the {len(self.sizes):,} pairs that export wrote are missing, the "
            f"first of them {hr} with {lr}",
        )

    def renamed(self, found: Sequence[Found]) -> set[str]:
        """Names of the LR of pairs of which one side, and not the other, is called as it was."""
        return {
            pair.lr.name
            for pair in found
            if (_plain(pair.hr.name) in self._hr) != (_plain(pair.lr.name) in self._lr)
        }

    @cached_property
    def _hr(self) -> set[str]:
        return {hr for hr, _ in self.sizes}

    @cached_property
    def _lr(self) -> set[str]:
        return {lr for _, lr in self.sizes}


def _plain(name: str) -> str:
    return splitext(name)[0]


def _names(pair: Found) -> Names:
    return _plain(pair.hr.name), _plain(pair.lr.name)


def _size(value: Any) -> tuple[int, int] | None:
    if isinstance(value, list) and len(value) == 2:
        height, width = value
        if type(height) is int and type(width) is int and min(height, width) > 0:
            return height, width
    return None
