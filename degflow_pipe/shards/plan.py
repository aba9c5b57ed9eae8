"""Which samples a tar holds, and a tar as a unit of work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from degflow_pipe.levels import Grid
from degflow_pipe.shards.layout import ShardSettings, settings_json
from degflow_pipe.store import BLOCK, BLOCKS, Made, Unit
from degflow_pipe.store.records import Rows, blocks_of


@dataclass(frozen=True)
class Piece:
    """The patches of a block that are in a tar: places `start` to `end` of it.

    latents, levels: what is known of them, where they are read from the store; latents by the
    number of the camera.
    """

    block: int
    unit: Unit
    start: int
    end: int
    latents: dict[int, Made]
    levels: Made | None


@dataclass(frozen=True)
class Row:
    """A patch of a tar: its block, its place there, and its levels from `first` to `end`."""

    piece: Piece
    place: int
    first: int
    end: int


@dataclass(frozen=True)
class TarWork:
    """A tar as a unit of work.

    first_level: of its first patch; end_level: of its last one. digest: changes whenever the tar's
    bytes would.
    """

    number: int
    pieces: tuple[Piece, ...]
    first_level: int
    end_level: int
    digest: str

    def rows(self, levels: int) -> Iterator[Row]:
        """Its patches in the order of keys; levels: how many a patch has."""
        count = sum(piece.end - piece.start for piece in self.pieces)
        i = 0
        for piece in self.pieces:
            for place in range(piece.start, piece.end):
                first = self.first_level if i == 0 else 0
                i += 1
                yield Row(piece, place, first, self.end_level if i == count else levels)


class Run(NamedTuple):
    """Patches of a block that follow each other, from the place `start` on."""

    block: int
    start: int
    length: int


def sides_of(
    units: Iterable[tuple[int, Rows]], apart: Callable[[str, str], bool]
) -> tuple[list[Run], list[Run]]:
    """The patches that stay and those that are set apart, in order. units: the patches of each, by
    its number. apart: of a photo, by its name and hash.
    """
    sides: tuple[list[Run], list[Run]] = [], []
    for number, rows in units:
        side = [apart(*photo) for photo in rows.photos]
        for place in range(0, len(rows.photo), BLOCK):
            block, at = number * BLOCKS + place // BLOCK, 0
            for is_apart, group in groupby(rows.photo[place : place + BLOCK], side.__getitem__):
                count = len(list(group))
                sides[is_apart].append(Run(block, at, count))
                at += count
    return sorted(sides[0]), sorted(sides[1])


class Plan:
    """The samples of a store, ordered by patch and level, cut into tars of `shard_size`.

    Each tar is found by its number alone, so that a plan takes no more memory than a number a
    block.
    """

    def __init__(
        self,
        units: Mapping[int, Unit],
        patch: int,
        grid: Grid,
        settings: ShardSettings,
        latents: Mapping[int, Mapping[int, Made]],
        levels: Mapping[int, Made] | None,
        runs: Sequence[Run] | None = None,
    ) -> None:
        """units: of the store; patch: side in pixels. latents: of each unit, by the number of the
        camera, levels: of each block, as the store says, where it has them. runs: of the patches
        that are wanted, in order; all by default.
        """
        self._units, self._latents, self._levels = units, latents, levels or {}
        self._size, self._t = settings.shard_size, len(grid)
        self._grouped = settings.layout == "grouped"
        self._per_patch = 1 if self._grouped else len(grid)
        if runs is None:
            runs = [
                Run(block, 0, unit.in_block(block % BLOCKS)) for block, unit in blocks_of(units)
            ]
        self._runs = np.array(runs, np.int64).reshape(-1, 3)
        self._ends = np.cumsum(self._runs[:, 2])
        wanted = [settings_json(settings, patch, grid), grid.scales]
        self._settings = json.dumps(wanted, sort_keys=True).encode()

    @property
    def patches(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def per_patch(self) -> int:
        """Samples of a patch."""
        return self._per_patch

    @property
    def samples(self) -> int:
        return self.patches * self._per_patch

    @property
    def tars(self) -> int:
        return -(-self.samples // self._size)

    @property
    def pairs(self) -> int:
        return self.patches * self._t

    def pairs_of(self, number: int) -> int:
        """Pairs of the tar of that number."""
        samples = min(self._size, self.samples - number * self._size)
        return samples * self._t // self._per_patch

    def works(self) -> Iterator[TarWork]:
        """Every tar, in order."""
        return (self.work(number) for number in range(self.tars))

    def work(self, number: int) -> TarWork:
        """The tar of that number."""
        first = number * self._size
        end = min(first + self._size, self.patches * self._per_patch)
        first_patch, first_level = divmod(first, self._per_patch)
        last_patch, last_level = divmod(end - 1, self._per_patch)
        if self._grouped:
            first_level, last_level = 0, self._t - 1
        pieces = tuple(self._pieces(first_patch, last_patch + 1))
        digest = self._digest(pieces, first_level, last_level + 1)
        return TarWork(number, pieces, first_level, last_level + 1, digest)

    def piece(self, patch: int) -> Piece:
        """One patch, by its number among those that there are."""
        return next(self._pieces(patch, patch + 1))

    def _pieces(self, first: int, end: int) -> Iterator[Piece]:
        """The patches from `first` to `end`, counted over those that there are."""
        at = int(np.searchsorted(self._ends, first, side="right"))
        start = first - (int(self._ends[at - 1]) if at else 0)
        while first < end:
            block, place, count = map(int, self._runs[at])
            number = block // BLOCKS
            taken = min(count - start, end - first)
            latents = {i: made[number] for i, made in self._latents.items() if number in made}
            yield Piece(
                *(block, self._units[number], place + start, place + start + taken),
                *(latents, self._levels.get(block)),
            )
            first, at, start = first + taken, at + 1, 0

    def _digest(self, pieces: tuple[Piece, ...], first: int, end: int) -> str:
        digest = hashlib.sha256(self._settings)
        digest.update(b"%d %d" % (first, end))
        for piece in pieces:
            made = "made" if piece.levels is None else piece.levels.sha256[0]
            hr = piece.unit.sha256[piece.block % BLOCKS]
            digest.update(f" {piece.block} {piece.start} {piece.end} {hr} {made}".encode())
        return digest.hexdigest()
