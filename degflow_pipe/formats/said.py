"""Amounts as a person reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True)
class Skips:
    """Photos that were left out for one reason. names: the first of them."""

    reason: str
    count: int
    names: Sequence[str]


def skips_of(reasons: Mapping[str, str], named: int, most: int) -> list[Skips]:
    """Photos that were left out, by reason, the most frequent first. reasons: by name. named: names
    of each, at most; most: reasons, the others being counted together.

    Reasons that differ in their numbers alone are one, which is told by the first of them.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for name, why in sorted(reasons.items()):
        # A reason begins with the photo's path, which would make each of them another one.
        _, found, rest = why.partition(f"{name}: ")
        said = rest if found else why
        groups.setdefault(re.sub(r"\d+", "0", said), {}).setdefault(said, []).append(name)
    ordered = sorted(
        ((list(alike), sorted(chain.from_iterable(alike.values()))) for alike in groups.values()),
        key=lambda group: (-len(group[1]), group[0]),
    )
    made = [
        Skips(f"such as {said[0]}" if said[1:] else said[0], len(names), names[:named])
        for said, names in ordered[:most]
    ]
    if others := [name for _, names in ordered[most:] for name in names]:
        made.append(Skips("other reasons", len(others), others[:named]))
    return made


def noun_of(count: int, what: str) -> str:
    """`photo` or `photos`, as there are. what: the plural."""
    if count != 1:
        return what
    return what.removesuffix("es") if what.endswith("ches") else what.removesuffix("s")


def number_of(count: int, what: str) -> str:
    """`1 photo`, `1,200 patches`. what: the plural."""
    return f"{count:,} {noun_of(count, what)}"


def size_of(count: float) -> str:
    """Bytes, to three digits."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def duration_of(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
