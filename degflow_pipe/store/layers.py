"""What is made of HR and lies in files of its own: latents of an encoder, levels of a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe.errors import StoreError
from degflow_pipe.levels import Told
from degflow_pipe.store.arrays import FileArray, digest
from degflow_pipe.store.records import BLOCK, BLOCKS, Made, Unit, head


def sums_of(values: np.ndarray) -> tuple[str, ...]:
    """The digest of each block of a file's items."""
    return tuple(digest(values[i : i + BLOCK]) for i in range(0, len(values), BLOCK))


def checked(
    array: FileArray, number: int, start: int, end: int, sums: tuple[str, ...], again: str
) -> np.ndarray:
    """Items `start` to `end`, whole blocks, of a file, whose digests are known.

    What zarr lacks reads as zeros, so the digests decide. Raises StoreError, which says that the
    file is to be deleted, and what is to be done `again`; where zarr's description of the array is
    lost, that alone.
    """
    array.room()
    what, cure = f"{array.file(number)} is damaged", f"delete it and {again}"
    try:
        values = array.read(number, start, end)
    except StoreError as error:
        raise StoreError(f"{what}: {error}: {cure}") from error
    if sums_of(values) != sums:
        raise StoreError(f"{what}, it differs from its SHA-256: {cure}")
    return values


class Layer:
    """One array of what is made of HR, and its ledger.

    A file of latents is a unit, of levels a block; `number` is that of the file. unit: what is
    known of the unit that it belongs to. Made by `Store.latents` and `Store.levels`.
    """

    def __init__(
        self,
        array: FileArray,
        again: str,
        records: Callable[[], Iterator[tuple[int, Made]]],
        write: Callable[[int, Made | None, Told], None],
        told: Callable[[int], Told],
    ) -> None:
        self._array, self._again = array, f"run `{again}` again"
        self._records, self._write, self._told = records, write, told
        self._made: dict[int, Made] | None = None
        self._blocks = array.rows // BLOCK

    @property
    def made(self) -> dict[int, Made]:
        """What the ledger says, by the number of the file. Raises StoreError."""
        if self._made is None:
            self._made = dict(self._records())
        return self._made

    @property
    def items(self) -> int:
        """Patches of a file."""
        return self._array.rows

    def file(self, number: int) -> Path:
        """Where a file lies."""
        return self._array.file(number)

    def numbers(self, unit: int) -> range:
        """The numbers of the files of a unit."""
        files_of_unit = BLOCKS // self._blocks
        return range(unit * files_of_unit, (unit + 1) * files_of_unit)

    def make_room(self, units: int) -> None:
        """Let the array hold so many units; called by one writer, ahead."""
        self._array.make_room(units * BLOCKS // self._blocks)

    def fit(self, units: int) -> None:
        """Let the array hold so many units and no more; called when all are written."""
        self._array.fit(units * BLOCKS // self._blocks)

    def write(
        self, number: int, values: np.ndarray, unit: Unit, computed: Mapping[str, Any]
    ) -> Made:
        """Write a file of n items; `note` is to follow."""
        sums = sums_of(values)
        first = self._place(number)
        of = tuple(map(head, unit.sha256[first : first + len(sums)]))
        return Made(sums, self._array.write(number, values), of, computed)

    def note(self, number: int, made: Made, told: Told = ()) -> None:
        """Say that a file is there. told: what each level of each patch in it is, where they
        differ from patch to patch.
        """
        self._array.noted(number, made.bytes)
        self._write(number, made, told)
        self.made[number] = made

    def told(self, number: int) -> Told:
        """What was told of a file that is there. Raises StoreError where it is damaged."""
        return self._told(number)

    def drop(self, unit: int) -> None:
        """Take out the files of a unit."""
        for number in self.numbers(unit):
            self._write(number, None, ())
            self.made.pop(number, None)
            self._array.remove(number)

    def has(self, number: int, unit: Unit) -> bool:
        """Whether a file is there, of its length, and was made of the unit's HR."""
        made = self.made.get(number)
        if made is None:
            return False
        of_all = made.is_of(unit, self._place(number), self._blocks)
        return of_all and self._array.length(number) == made.bytes

    def read(self, number: int, unit: Unit, made: Made | None = None) -> np.ndarray:
        """The n items of a file. Raises StoreError for damaged ones.

        made: what the ledger says of it, where it need not be asked.
        """
        made = made or self.made[number]
        count = unit.count if self._blocks == BLOCKS else unit.in_block(self._place(number))
        return checked(self._array, number, 0, count, made.sha256, self._again)

    def block(self, block: int, unit: Unit, made: Made) -> np.ndarray:
        """The n items of a block, in whatever file it is; raises as `read`."""
        number, place = divmod(block, self._blocks)
        start = place * BLOCK
        end = start + unit.in_block(block % BLOCKS)
        sums = made.sha256[place : place + 1]
        return checked(self._array, number, start, end, sums, self._again)

    def room(self) -> None:
        """Raises StoreError where zarr's description of the array does not hold all files."""
        needed = max(self.made, default=-1) + 1
        if needed and self._array.room() < needed:
            raise StoreError(f"{self._array.path} has room for {self._array.room()} files alone")

    def _place(self, number: int) -> int:
        """The place, in its unit, of the first block of a file."""
        return number * self._blocks % BLOCKS
