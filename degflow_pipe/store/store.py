"""A store on disk; see the package for what lies where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from degflow_pipe import files, json_files
from degflow_pipe.errors import FileError, StoreError, UsageError
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import Grid, Told, lr_side
from degflow_pipe.places import Remote
from degflow_pipe.settings import read
from degflow_pipe.store.arrays import ZARR, FileArray, group_text
from degflow_pipe.store.description import DESCRIPTION, described, read_description
from degflow_pipe.store.layers import Layer, checked, sums_of
from degflow_pipe.store.records import (
    BLOCK,
    BLOCKS,
    MAX_UNITS,
    UNIT,
    Encoder,
    Made,
    PatchRecord,
    PhotoRecord,
    Rows,
    StoreSettings,
    Unit,
    blocks_of,
    check_digest,
    check_number,
    check_room,
    check_title,
    grid_fields,
    grid_of_fields,
    photo_key,
    photo_of_record,
    rows_of_record,
    told_of_record,
    told_record,
    unit_of_record,
    unit_record,
)

AGAIN = "ingest its photos again"
KIND = "store"
"""Of the folder, for `folders.one_writer`."""
SKIPPED = "skipped.json"
REMOVAL, MOVE = "removal.json", "move.json"
ENCODER, GRID = "encoder.json", "grid.json"
INGEST = "ingest.json"
"""How the last ingest ended."""
SKIPPED_LIMIT = 2**26
"""Bytes of the list of photos left out."""

Found = TypeVar("Found")


class Store:
    """A store on disk. What its ledgers say is read when it is first asked for, once."""

    def __init__(self, path: Path, settings: StoreSettings) -> None:
        self.path = path
        self.settings = settings
        p = settings.patch
        self._hr = FileArray(path / "hr", UNIT, (p, p, 3), "uint8", 1)
        self._ledgers: dict[str, Ledger] = {}
        self._units: dict[int, Unit] | None = None
        self._photos: dict[str, PhotoRecord] | None = None
        self._layers: dict[str, Layer] = {}
        self._writing: ExitStack | None = None
        self._entered: set[str] = set()
        """Ledgers that are open for writing."""
        self._roomy = 0
        """Units that all arrays of a remote store have been given room for."""
        self._in_order = True
        """Whether the units are; one that takes a free number is not where it belongs."""

    @classmethod
    def create(cls, path: Path, settings: StoreSettings) -> Store:
        """A new empty store. Raises FileError where the folder cannot be written."""
        # First, so that a making that is cut off is known for what it is, and mended.
        json_files.write_summed(path / DESCRIPTION, described(settings))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a store. Raises StoreError where there is none, or it is damaged or of another
        version.
        """
        return cls(path, read_description(path))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write to the ledgers within; one writer at a time (see `folders.one_writer`).

        What zarr's readers need is written where it is missing or damaged, and so are ledgers:
        what damaged lines said is to be made again.
        """
        with ExitStack() as stack:
            self._writing, self._entered = stack, set()
            try:
                for path, text in self.wrong_groups().items():
                    files.write_text(path, text)
                for name in self._ledger_names():
                    self._to_write(name)
                self._hr.make_room(self._room())
                yield
                self._fit()
            finally:
                self._writing = None

    def wrong_groups(self) -> dict[Path, str]:
        """What zarr.json of the groups should say, of those that do not."""
        wanted = {self.path / ZARR: group_text({"degflow": described(self.settings)})}
        wanted |= {self.path / name / ZARR: group_text() for name in ("latents", "levels")}
        return {
            path: text
            for path, text in wanted.items()
            if not files.exists(path) or files.read_bytes(path) != text.encode()
        }

    def _ledger_names(self) -> list[str]:
        return [
            *("photos", "hr"),
            *(f"latents/{name}" for name in self._described("latents", ENCODER)),
            *(f"levels/{name}" for name in self._described("levels", GRID)),
        ]

    def _described(self, kind: str, description: str) -> list[str]:
        folder = self.path / "done" / kind
        return [n for n in files.names(folder) if files.exists(folder / n / description)]

    def _ledger(self, name: str) -> Ledger:
        if name not in self._ledgers:
            self._ledgers[name] = Ledger(self.path / "done" / name, numbers=name != "photos")
        return self._ledgers[name]

    def _to_write(self, name: str) -> Ledger:
        """A ledger within `writing`."""
        assert self._writing is not None, "a store is written to within `writing`"
        ledger = self._ledger(name)
        if name not in self._entered:
            self._entered.add(name)
            self._writing.enter_context(ledger)
        return ledger

    def sync(self) -> None:
        """Let what the ledgers say so far outlast a power cut."""
        for ledger in self._ledgers.values():
            ledger.sync()

    def read_ahead(self) -> None:
        """Find the place of what is told of every unit, for threads that ask for it."""
        for name in self._ledger_names():
            self._ledger(name)

    def require_ledgers(self) -> None:
        """Raises StoreError where it cannot be told which photos and patches there are: only
        `ingest` may forget what damaged lines said, as it tells of what is lacking.
        """
        for name in ("photos", "hr"):
            for told in self._ledger(name).damage:
                raise StoreError(f"{told}: {_again(name)}")

    def damaged_ledgers(self) -> list[str]:
        """What of the ledgers cannot be read, and what to do."""
        found = []
        for name in self._ledger_names():
            found += [f"{told}: {_again(name)}" for told in self._ledger(name).damage]
        return found

    # ---- HR

    @property
    def units(self) -> dict[int, Unit]:
        """What is known of each unit, by its number, in rising order. Raises StoreError."""
        if self._units is None:
            read_units = self._records("hr", unit_of_record)
            self._units = dict(sorted((int(key), unit) for key, unit in read_units))
        if not self._in_order:
            self._units, self._in_order = dict(sorted(self._units.items())), True
        return self._units

    def _records(
        self, name: str, take: Callable[[dict[str, Any]], Found]
    ) -> Iterator[tuple[str, Found]]:
        ledger = self._ledger(name)
        for key, record in ledger.records():
            try:
                if name != "photos":
                    check_number(key, MAX_UNITS * (BLOCKS if name.startswith("levels") else 1))
                found = take(record)
            except UsageError as error:
                raise StoreError(self._damaged_at(name, key, error)) from error
            yield key, found

    def _damaged_at(self, name: str, key: object, error: Exception) -> str:
        where = f"{self._ledger(name).folder} is damaged at {str(key)[:60]}"
        return f"{where}: {error}: delete the folder and {_again(name)}"

    def patches(self, number: int) -> list[PatchRecord]:
        """Where the patches of a unit came from. Raises StoreError where they are damaged."""
        try:
            return rows_of_record(self._ledger("hr").record(number)).patches()
        except UsageError as error:
            raise StoreError(self._damaged_at("hr", number, error)) from error

    def every_patch(self) -> Iterator[tuple[int, list[PatchRecord]]]:
        """The patches of each unit, in no fixed order of units, a segment of the ledger at once."""
        for number, _, rows in self.every_unit():
            yield number, rows.patches()

    def every_unit(self) -> Iterator[tuple[int, Unit, Rows]]:
        """The same beside what is known of each unit; `units` need not be read afterwards."""

        def take(record: dict[str, Any]) -> tuple[Unit, Rows]:
            return unit_of_record(record), rows_of_record(record)

        units: dict[int, Unit] = {}
        for key, (unit, rows) in self._records("hr", take):
            units[int(key)] = unit
            yield int(key), unit, rows
        if self._units is None:
            self._units = dict(sorted(units.items()))

    def has_hr(self, number: int, unit: Unit | None = None) -> bool:
        """Whether the file of a unit's HR is there, of its length. unit: see `hr`."""
        return self._hr.length(number) == (unit or self.units[number]).bytes

    def write_hr(self, number: int, hr: np.ndarray) -> Unit:
        """One unit's n <= UNIT patches, (n, P, P, 3) uint8; `note_unit` is to follow."""
        return Unit(len(hr), sums_of(hr), self._hr.write(number, hr))

    def salvage(self, number: int) -> list[int]:
        """Keep the whole blocks of a unit whose HR is damaged, and let its file be of another
        length, so that the next ingest of its photos writes it; `remove` still finds those blocks.

        Returns the places of the patches that are lost; none where all are whole.
        """
        unit, whole = self.units[number], {}
        for place in range(unit.blocks):
            with suppress(StoreError):
                whole[place] = self.block_hr(number * BLOCKS + place)
        lost = [i for i in range(unit.count) if i // BLOCK not in whole]
        if not lost:
            return []
        if whole:
            hr = np.zeros((UNIT, *next(iter(whole.values())).shape[1:]), np.uint8)
            for place, values in whole.items():
                hr[place * BLOCK : place * BLOCK + len(values)] = values
            if self._hr.replace(number, hr) != unit.bytes:
                return lost
        self._hr.remove(number)
        return lost

    def note_unit(self, number: int, unit: Unit, patches: list[PatchRecord]) -> None:
        """Say that a unit's HR is there."""
        self._hr.noted(number, unit.bytes)
        self._to_write("hr").write(number, unit_record(unit, patches))
        if self._units is not None:
            self._in_order = self._in_order and number >= next(reversed(self._units), -1)
            self._units[number] = unit

    def make_room(self, number: int) -> None:
        """Let HR and latents hold the unit of that number; called by one writer, ahead."""
        if number < self._roomy:
            return
        count = number + 1
        if isinstance(self.path, Remote):  # where looking at each takes a request
            count = self._roomy = 1 << number.bit_length()
        self._hr.make_room(count)
        for name in self.encoders():
            self.latents(self.encoder(name)).make_room(count)

    def _fit(self) -> None:
        """Let zarr's readers see the units that there are, and no more."""
        self._hr.fit(self._room())
        for layer in self.described_layers():
            layer.fit(self._room())

    def check_room(self) -> None:
        """Raises StoreError where zarr's description of the HR is damaged."""
        if self.units:
            self._hr.room()

    def _room(self) -> int:
        """Files that arrays of units have room for."""
        if self._units is not None:
            return max(self._units, default=-1) + 1
        keys = self._ledger("hr").every_key()
        try:
            for key in keys:
                check_number(key, MAX_UNITS)
        except UsageError as error:
            raise StoreError(self._damaged_at("hr", key, error)) from error
        return max(map(int, keys), default=-1) + 1

    def hr(self, number: int, unit: Unit | None = None) -> np.ndarray:
        """The n HR patches of a unit, (n, P, P, 3) uint8. Raises StoreError for damaged ones.

        unit: what is known of it, where the ledger need not be asked; so for the others below.
        """
        unit = unit or self.units[number]
        return checked(self._hr, number, 0, unit.count, unit.sha256, AGAIN)

    def block_hr(self, block: int, unit: Unit | None = None) -> np.ndarray:
        """The HR patches of a block, (n, P, P, 3) uint8. Raises StoreError for damaged ones."""
        number, place = divmod(block, BLOCKS)
        unit = unit or self.units[number]
        start, sums = place * BLOCK, unit.sha256[place : place + 1]
        end = start + unit.in_block(place)
        return checked(self._hr, number, start, end, sums, AGAIN)

    def drop(self, number: int) -> None:
        """Take a unit out of the store, its latents and levels; its number is free again."""
        for layer in self.layers():
            layer.drop(number)
        self._hr.remove(number)
        self._to_write("hr").remove(number)  # last: what is half gone can be dropped again
        self.units.pop(number, None)

    # ---- latents and levels

    def layers(self) -> Iterator[Layer]:
        """All that was made of the HR."""
        yield from (self.latents(self.encoder(name)) for name in self.encoders())
        yield from (self.levels(self.grid(name)) for name in self.grids())

    def described_layers(self) -> Iterator[Layer]:
        """Those of `layers` whose descriptions are not damaged."""
        for name in self.encoders():
            with suppress(StoreError):
                yield self.latents(self.encoder(name))
        yield from map(self.levels, self.readable_grids())

    def _layer(self, name: str, array: FileArray, again: str) -> Layer:
        if name not in self._layers:

            def records() -> Iterator[tuple[int, Made]]:
                return ((int(key), made) for key, made in self._records(name, Made.from_dict))

            def write(number: int, made: Made | None, told: Told) -> None:
                if made is None:
                    self._to_write(name).remove(number)
                else:
                    more = {"told": told_record(told)} if told else {}
                    self._to_write(name).write(number, {**made.to_dict(), **more})

            def told(number: int) -> Told:
                try:
                    return told_of_record(self._ledger(name).record(number), array.item[0])
                except UsageError as error:
                    raise StoreError(self._damaged_at(name, number, error)) from error

            self._layers[name] = Layer(array, again, records, write, told)
        return self._layers[name]

    def encoders(self) -> list[str]:
        """Ids of the encoders whose latents the store may hold, sorted."""
        return self._described("latents", ENCODER)

    def encoder(self, name: str) -> Encoder:
        """Raises StoreError where its description is damaged."""
        path = self.path / "done" / "latents" / name / ENCODER
        try:
            found = read(Encoder, json_files.read_summed(path), "encoder")
            if found.id != name:
                raise UsageError(f"it is of {found.id}")
        except (UsageError, FileError) as error:
            said = str(error) if isinstance(error, FileError) else f"{path} is damaged: {error}"
            raise StoreError(f"{said}: delete the file and run `ingest` again") from error
        return found

    def make_encoder(self, encoder: Encoder) -> None:
        """Let the store hold that encoder's latents of every unit; called by one writer, ahead."""
        path = self.path / "done" / "latents" / encoder.id / ENCODER
        try:
            known = self.encoder(encoder.id) if files.exists(path) else None
        except StoreError:
            known = None
        if known is None:
            json_files.write_summed(path, asdict(encoder))
        elif known.shape != encoder.shape:
            raise StoreError(f"{path} says that latents have the shape {known.shape}")
        self.latents(encoder).make_room(self._room())

    def latents(self, encoder: Encoder) -> Layer:
        """The latents of an encoder: (n, C, h, w) float32 a unit."""
        path = self.path / "latents" / encoder.id
        array = FileArray(path, UNIT, tuple(encoder.shape), "float32", 1)
        return self._layer(f"latents/{encoder.id}", array, "ingest")

    def grids(self) -> list[str]:
        """Names of the grids in the store, sorted."""
        return self._described("levels", GRID)

    def grid(self, name: str) -> Grid:
        """The levels of a grid in the store. Raises StoreError where there is no such grid."""
        if name not in self.grids():
            titles = {grid.name: grid.title for grid in self.readable_grids()}
            known = ", ".join(titles.get(one) or one for one in self.grids()) or "none"
            raise StoreError(f"{self.path} has no grid {name}; it has {known}")
        return self._grid(name)

    def find_grid(self, name: str) -> Grid:
        """The same by its name, or by what people call it."""
        if name not in self.grids():
            for grid in self.readable_grids():
                if grid.title and grid.title == name:
                    return grid
        return self.grid(name)

    def readable_grids(self) -> Iterator[Grid]:
        """Those whose descriptions are not damaged."""
        for name in self.grids():
            with suppress(StoreError):
                yield self._grid(name)

    def _grid(self, name: str) -> Grid:
        path = self.path / "done" / "levels" / name / GRID
        try:
            grid = grid_of_fields(json_files.read_summed(path))
            check_digest(grid.pictures, "grid.pictures")
            if grid.name != name:
                raise UsageError(f"its levels are those of {grid.name}")
        except (UsageError, FileError) as error:
            raise StoreError(
                f"{path}: grid {name} is damaged: {error}: delete the file and run `generate` again"
            ) from error
        return grid

    def check_levels(self, grid: Grid) -> Grid:
        """The grid as the store has it, or will: one that a checkpoint made before it was renamed
        names it as it was.

        Raises UsageError for more levels than fit in memory, or what a grid cannot be called,
        StoreError where the store has another grid of that name.
        """
        side = lr_side(self.settings.patch, grid.sr_scale)
        check_room("levels", BLOCK, (len(grid), side, side, 3), 1)
        if grid.title:
            check_title(grid.title)
            for other in self.readable_grids():
                if other.name != grid.name and grid.title in (other.title, other.name):
                    raise StoreError(
                        f"{self.path} has another grid called {grid.title}: delete that first"
                    )
        if grid.name not in self.grids():
            return grid
        known = self.grid(grid.name)
        if known != grid:
            raise StoreError(f"{self.path}: the grid {grid.name} is another one there")
        return replace(known, title=grid.title or known.title)

    def make_grid(self, grid: Grid) -> Grid:
        """Let the store hold the grid's levels for every ingested unit; called ahead.

        Returns the grid as the store has it, and raises as `check_levels`.
        """
        held = self.check_levels(grid)
        if grid.name not in self.grids() or held.title != self.grid(grid.name).title:
            json_files.write_summed(
                self.path / "done" / "levels" / grid.name / GRID, grid_fields(held)
            )
        self.levels(held).make_room(self._room())
        return held

    def drop_grid(self, name: str) -> None:
        """Take out a grid and its levels, not within `writing`, or what a stop has left of it.

        Its description goes first, and what the ledger says last: where it is stopped between, a
        later `make_grid` finds what is there, and no more than that.
        """
        for path in (self.path / "done" / "levels" / name / GRID, *self._grid_folders(name)):
            files.remove(path)

    def has_left(self, name: str) -> bool:
        """Whether there is anything of a grid of that name."""
        plain = re.fullmatch(r"[a-z0-9_-]{1,200}", name) is not None
        return plain and any(map(files.exists, self._grid_folders(name)))

    def _grid_folders(self, name: str) -> tuple[Path, Path]:
        return self.path / "levels" / name, self.path / "done" / "levels" / name

    def levels(self, grid: Grid) -> Layer:
        """The LR of a grid: (n, T, p, p, 3) uint8 a block; p: see `levels.lr_side`."""
        p = lr_side(self.settings.patch, grid.sr_scale)
        path = self.path / "levels" / grid.name
        said = grid_fields(replace(grid, title=""))
        array = FileArray(path, BLOCK, (len(grid), p, p, 3), "uint8", 2, said)
        return self._layer(f"levels/{grid.name}", array, "generate")

    def blocks(self) -> Iterator[tuple[int, Unit]]:
        """Every block of the ingested units, in order, and what is known of its unit."""
        return blocks_of(self.units)

    # ---- photos

    def photos(self) -> dict[str, PhotoRecord]:
        """Every photo that was ingested to its end, by `photo_key`. Raises StoreError."""
        if self._photos is None:
            self._photos = dict(self._records("photos", photo_of_record))
        return dict(self._photos)

    def note_photo(self, photo: PhotoRecord) -> None:
        """Say that all patches of a photo are there."""
        self._to_write("photos").write(photo_key(photo.sha256), asdict(photo))
        if self._photos is not None:
            self._photos[photo_key(photo.sha256)] = photo

    def forget_photo(self, key: str) -> None:
        """Take back what was said of a photo."""
        self._to_write("photos").remove(key)
        if self._photos is not None:
            self._photos.pop(key, None)

    @property
    def complete(self) -> bool:
        """Whether the last ingest came to its end. Raises StoreError where that cannot be told."""
        path = self.path / "done" / INGEST
        try:
            return files.exists(path) and json_files.read_summed(path) == {"complete": True}
        except FileError as error:
            raise StoreError(f"{error}: run `ingest` again") from error

    def note_ingest(self, complete: bool) -> None:
        """Say that an ingest has begun, or has come to its end."""
        json_files.write_summed(self.path / "done" / INGEST, {"complete": complete})

    def skipped(self) -> dict[str, str]:
        """Photos left out, name to reason. Raises StoreError where the file is damaged."""
        path = self.path / SKIPPED
        if not files.exists(path):
            return {}
        try:
            found = json_files.read_summed(path, SKIPPED_LIMIT)["photos"]
            return {str(name): str(reason) for name, reason in dict(found).items()}
        except (FileError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{path} is damaged: delete it ({error})") from error

    def note_skipped(self, reasons: dict[str, str], ingested: set[str]) -> None:
        """Remember photos left out, and forget those of them that have been ingested since."""
        known = self.skipped()
        now = {name: why for name, why in (known | reasons).items() if name not in ingested}
        if now != known:
            json_files.write_summed(self.path / SKIPPED, {"photos": now})

    @property
    def removal_path(self) -> Path:
        """Where a removal that is under way writes down what is to go."""
        return self.path / REMOVAL

    @property
    def move_path(self) -> Path:
        """Where it writes down which unit is moving where."""
        return self.path / MOVE


def _again(ledger: str) -> str:
    """What makes again what a ledger tells of."""
    return f"run `{'generate' if ledger.startswith('levels') else 'ingest'}` again"
