"""Finished shards as an export sees them: their levels, and their pairs patch by patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from degflow_pipe import files
from degflow_pipe.errors import FileError, ShardError, UsageError
from degflow_pipe.reading.index import cut, read_index, whole_shards
from degflow_pipe.reading.samples import Info, member
from degflow_pipe.shards.summary import AGAIN, Summary

NEAR = 0.05
"""How far a level's scale may lie from the one it stands for: trainers name scales by a decimal."""
SAME_T = 1e-6
MAX_SIDE = 2**16
"""Pixels of a patch's side."""


@dataclass(frozen=True)
class ShardLevel:
    """A level of the shards: its name, t and SR scale, and the sides of HR and LR in pixels."""

    name: str
    t: float
    scale: float
    hr: int
    lr: int

    def __str__(self) -> str:
        return f"{self.name} (x{self.scale:g})"


@dataclass(frozen=True)
class Span:
    """A coded picture within a tar: [offset, size] in bytes as the index says it."""

    tar: Path
    place: Any
    is_png: bool
    where: str

    def read(self) -> bytes:
        """Raises ShardError where the place is not within the tar."""
        (data,) = cut(self.tar, [self.place], self.where)
        return data


@dataclass(frozen=True)
class ShardPair:
    """A pair of the shards: its key, its patch's key and number from 1, and its level.

    hr, lr: where the coded pictures are, and whether they are PNG. source, sha256: the photo's name
    and the SHA-256 of its file in hex, as the shards say them; t, scale: this pair's own; camera:
    of a bank, that made it. hr_side: of the stored HR, of which a pair may use less.
    """

    key: str
    patch: str
    number: int
    level: str
    hr: Span
    hr_side: int
    lr: Span
    source: str
    sha256: str
    t: float
    scale: float
    camera: str | None


class Source:
    """The finished shards of a folder. Raises ShardError where they are missing or damaged.

    lossy: which of `hr` and `lr` are JPEG in them.
    """

    def __init__(self, folder: Path) -> None:
        self.shards: Summary = whole_shards(folder)
        self.lossy: list[str] = []
        self.levels, self.patches = self._survey()
        self.sums = self._sums()

    def _sums(self) -> dict[str, str]:
        """SHA-256 of each tar, as the folder's own sums say it."""
        path = self.shards.folder / f"{self.shards.name}.sha256"
        try:
            lines = files.read_bytes(path).decode().splitlines()
            found = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
            return {tar: found[tar] for tar in self.shards.tars}
        except (FileError, ValueError, KeyError) as error:
            raise ShardError(f"{path} does not hold the sums of the tars; {AGAIN}") from error

    def _survey(self) -> tuple[list[ShardLevel], int]:
        """The levels in rising order, and the number of patches; every patch has all levels."""
        found: dict[str, ShardLevel] = {}
        counts: dict[str, int] = {}
        jpeg: set[str] = set()
        for tar, members, pairs in read_index(self.shards):
            jpeg |= {name[:2] for name in members if name.endswith((".jpg", ".jpeg"))}
            for key, _, info in pairs:
                where = f"{self.shards.index_of(tar)}: {key}"
                level = _level(where, info)
                if "draw" in info:  # each patch has drawn its own; the highest stands for all
                    first = found.pop(level.name, level)
                    highest = max(first, level, key=lambda one: one.scale)
                    level = replace(first, t=highest.t, scale=highest.scale)
                if found.setdefault(level.name, level) != level:
                    raise ShardError(f"{where} differs from its level; {AGAIN}")
                counts[level.name] = counts.get(level.name, 0) + 1
        if len(set(counts.values())) != 1:
            raise ShardError(f"{self.shards.index}: some patches lack some levels; {AGAIN}")
        self.lossy = sorted(jpeg & {"hr", "lr"})
        return sorted(found.values(), key=lambda level: level.t), next(iter(counts.values()))

    def units(self, at_once: int) -> Iterator[list[ShardPair]]:
        """All pairs in the order of keys, those of `at_once` patches at a time."""
        for _, unit in groupby(self._pairs(), key=lambda pair: (pair.number - 1) // at_once):
            yield list(unit)

    def _pairs(self) -> Iterator[ShardPair]:
        number, held = 0, ""
        for name, members, pairs in read_index(self.shards):
            tar = self.shards.folder / name
            hr = self._span(tar, members, "hr", pairs[0][0])
            hr_side = max(_level(key, info).hr for key, _, info in pairs)
            for key, lr_name, info in pairs:
                patch = key.removesuffix(f"-{info['level']}")
                if patch != held:
                    number, held = number + 1, patch
                lr = self._span(tar, members, lr_name, key)
                source, sha256 = (_text(info.get(field)) for field in ("source", "source_sha256"))
                yield ShardPair(
                    *(key, patch, number, info["level"], hr, hr_side, lr, source, sha256),
                    t=float(info["t"]),
                    scale=float(info["scale"]),
                    camera=_text(info["camera"]) if "camera" in info else None,
                )

    def _span(self, tar: Path, members: dict[str, Any], stem: str, key: str) -> Span:
        where = f"{tar}: {key}"
        return Span(tar, member(members, stem, where), f"{stem}.png" in members, where)


def _level(where: str, info: Info) -> ShardLevel:
    """The level that a pair's JSON describes. Raises ShardError."""
    try:
        (hr, hr_width), (lr, lr_width) = info["hr_size"], info["lr_size"]
        whole = all(type(side) is int for side in (hr, lr))
        if not whole or hr != hr_width or lr != lr_width or not 0 < lr <= hr <= MAX_SIDE:
            raise ValueError("hr_size and lr_size must be the sides of squares, HR the larger")
        return ShardLevel(info["level"], float(info["t"]), float(info["scale"]), hr, lr)
    except (KeyError, TypeError, ValueError) as error:
        raise ShardError(f"{where}: damaged: {error!r}; {AGAIN}") from error


def _text(value: Any) -> str:
    """A text of the index as any reader of JSON takes it: without halves of surrogates."""
    return str(value or "").encode("utf-8", "backslashreplace").decode()


def chosen_levels(
    levels: Sequence[ShardLevel], t: Sequence[float] | None, scales: Sequence[float] | None
) -> list[ShardLevel]:
    """The levels whose t is listed, or whose scale is nearest to one listed, within NEAR; else all.

    Raises UsageError where both lists are given, or for a value that no level has.
    """
    if t is not None and scales is not None:
        raise UsageError("choose levels by `t` or by `scales`, not by both")
    if t is None and scales is None:
        return list(levels)
    option, wanted, near = ("`t`", t, SAME_T) if t is not None else ("`scales`", scales, NEAR)
    there = ", ".join(f"{level.t:g} (x{level.scale:.3g})" for level in levels)
    chosen = set()
    for value in wanted or []:

        def off(level: ShardLevel, value: float = value) -> float:
            if t is None and level.name == f"x{value:g}".replace(".", "_"):
                return 0.0  # as it was asked for, whatever the pair's own scale
            return abs((level.t if t is not None else level.scale) - value)

        best = min(levels, key=off)
        if off(best) > near + 1e-9:
            raise UsageError(f"{option}: the shards have no level {value:g}; they have t {there}")
        # Realisations of one level go together.
        chosen |= {level.name for level in levels if off(level) <= off(best) + 1e-9}
    if not chosen:
        raise UsageError(f"{option}: choose one level at least; the shards have t {there}")
    return [level for level in levels if level.name in chosen]
