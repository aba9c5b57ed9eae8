"""What an export wrote, by its own list, held against what its trainer finds there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import splitext
from pathlib import Path
from typing import Any

from degflow_pipe.exports import owned
from degflow_pipe.exports.findings import Found, Report
from degflow_pipe.formats.said import number_of

Names = tuple[str, str]
"""Paths of an HR and its LR below the export, without endings: LMDB has none."""
Sizes = tuple[tuple[int, int], tuple[int, int]]
"""Height and width in pixels, of HR and LR."""


@dataclass(frozen=True)
class Record:
    """The pairs that an export wrote, and their sizes; none of a folder that is no export."""

    sizes: Mapping[Names, Sizes] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Record:
        """By pairs.jsonl, a file of the folder, and so not trusted: odd lines are left out."""
        found = {}
        for row in owned.rows(folder / owned.PAIRS):
            hr, lr = row.get("hr"), row.get("lr")
            large, small = _size(row.get("hr_size")), _size(row.get("lr_size"))
            if isinstance(hr, str) and isinstance(lr, str) and large and small:
                found[_plain(hr), _plain(lr)] = large, small
        return cls(found)

    def of_pair(self, pair: Found) -> Sizes | None:
        """The sizes that a pair was written with; None for one that the export did not write."""
        return self.sizes.get(_names(pair))

    def held_to(self, found: Sequence[Found], report: Report) -> list[Found]:
        """The pairs to look at: all, but where some that were written are not among them and
        nothing tells why yet, which is a finding. What is paired otherwise then comes of that.
        """
        there = set(map(_names, found))
        gone = [names for names in self.sizes if names not in there]
        if not gone or not found or report.findings:
            return list(found)
        hr, lr = gone[0]
        report.add(
            "export",
            f"{number_of(len(gone), 'pairs')} of the {len(self.sizes):,} that export wrote are not "
            f"paired so, or not there, the first of them {hr} with {lr}",
        )
        return [pair for pair in found if _names(pair) in self.sizes]


def _plain(name: str) -> str:
    return splitext(name)[0]


def _names(pair: Found) -> Names:
    return _plain(pair.hr.name), _plain(pair.lr.name)


def _size(value: Any) -> tuple[int, int] | None:
    match value:
        case [int(height), int(width)] if height > 0 and width > 0:
            return height, width
    return None
