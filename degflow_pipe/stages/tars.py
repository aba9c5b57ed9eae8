"""What is known of the tars of a folder, and the patches that its contact sheet shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import numpy as np

from degflow_pipe import files
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import Grid
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.shards.plan import Plan
from degflow_pipe.shards.tars import Maker, TarRecord
from degflow_pipe.store import BLOCK, Store
from degflow_pipe.store.reading import block_places

SHOWN = 4
"""Patches, at most, that the contact sheet shows."""


class Tars:
    """What is known of the tars that are whole and stay, and sums over them.

    by_sum: they are looked at by their sums, else by their lengths.
    """

    def __init__(
        self, plan: Plan, settings: ShardSettings, out: Path, ledger: Ledger, by_sum: bool
    ) -> None:
        self.plan, self._settings, self._out, self._ledger = plan, settings, out, ledger
        self._by_sum, self._sizes = by_sum, files.sizes(out)
        self.samples = self.pairs = self.bytes = 0
        self.sums: dict[int, tuple[str, str]] = {}
        """SHA-256 of each tar and of its index."""
        self.first_keys: dict[int, str] = {}
        self.errors: dict[str, tuple[Fraction, int]] = {}
        """Of each level: the exact sum, as the order in which tars are made is anything."""
        for key, data in ledger.records():
            record = TarRecord.from_dict(data)
            if record is not None and self._is_ours(key) and self._stays(int(key), record):
                self._add(int(key), record)

    def _is_ours(self, key: str) -> bool:
        return key.isdecimal() and int(key) < self.plan.tars

    def forget_others(self) -> None:
        """Take back what the ledger says of tars of an earlier, larger data set."""
        for key in self._ledger.every_key():
            if not self._is_ours(key):
                self._ledger.remove(key)

    def missing(self) -> list[int]:
        """The tars that are to be made."""
        return [number for number in range(self.plan.tars) if number not in self.sums]

    def take_back(self, numbers: list[int]) -> None:
        """What the ledger says of tars that are to be made is true no longer: they are replaced
        before they are noted.
        """
        for number in numbers:
            self._ledger.remove(number)
        self._ledger.sync()

    def note(self, number: int, record: TarRecord) -> None:
        """A tar is there now."""
        self._ledger.write(number, record.to_dict())
        self._ledger.sync()  # a tar is much to make again
        self._add(number, record)

    def _stays(self, number: int, record: TarRecord) -> bool:
        tar = self._out / self._settings.tar(number)
        index = self._out / self._settings.index(number)
        if record.digest != self.plan.work(number).digest:
            return False
        for path, size in ((tar, record.bytes), (index, record.index_bytes)):
            if self._sizes.get(path.name) != size:
                return False
        sums = record.sha256, record.index_sha256
        return not self._by_sum or sums == (files.sha256(tar), files.sha256(index))

    def _add(self, number: int, record: TarRecord) -> None:
        self.samples += record.samples
        self.pairs += record.pairs
        self.bytes += record.bytes
        self.sums[number] = record.sha256, record.index_sha256
        self.first_keys[number] = record.first_key
        for level, (error, count) in record.squared_error.items():
            known, pairs = self.errors.get(level, (Fraction(0), 0))
            self.errors[level] = known + Fraction(error), pairs + count


class Shown:
    """The patches that the contact sheet shows, spread over the store.

    known: LR of those that were made for a tar just now, by the number of the patch.
    """

    def __init__(self, store: Store, plan: Plan, grid: Grid, maker: Maker | None) -> None:
        self._store, self.grid, self._maker = store, grid, maker
        count = plan.patches
        places = sorted({count * (2 * i + 1) // (2 * SHOWN) for i in range(SHOWN)})
        self._pieces = {
            piece.block * BLOCK + piece.start: piece for piece in map(plan.piece, places)
        }
        self.known: dict[int, np.ndarray] = {}

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(self._pieces)

    def pictures(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """HR and LR of each."""
        unmade = self._maker is not None and self._pieces.keys() - self.known.keys()
        with self._maker.open() if self._maker is not None and unmade else nullcontext() as make:
            for number, piece in self._pieces.items():
                place = number % BLOCK
                hr = self._store.block_hr(piece.block, piece.unit)
                if number in self.known:
                    yield hr[place], self.known[number]
                elif self._maker is None:
                    levels = self._store.levels(self.grid)
                    yield hr[place], levels.read(piece.block, piece.unit)[place]
                else:
                    assert make is not None
                    first = place // self._maker.size * self._maker.size
                    batch = slice(first, first + self._maker.size)
                    lr = make(hr[batch], {}, block_places(self._store, piece.block)[batch])
                    yield hr[place], lr.values[place - first]
