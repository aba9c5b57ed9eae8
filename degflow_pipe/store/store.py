"""A store on disk; see the package for what lies where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import files
from degflow_pipe.errors import DegflowError, FileError, StoreError, UsageError
from degflow_pipe.levels import Grid
from degflow_pipe.settings import read
from degflow_pipe.store.arrays import ZARR, UnitArray, digest, group_text
from degflow_pipe.store.records import (
    MAX_UNITS,
    UNIT,
    Ledger,
    LevelsRecord,
    PatchRecord,
    PhotoRecord,
    StoreSettings,
    UnitRecord,
    check_unit,
    grid_fields,
    grid_of_fields,
)

KIND = "store"
"""Of the folder, for `folders.one_writer`."""
FORMAT = "degflow-pipe store"
VERSION = 2
DESCRIPTION, LEDGER, GRID, SKIPPED = "store.json", "ingest.json", "grid.json", "skipped.json"
INGEST = "ingest"
LEDGER_LIMIT = 2**26
"""Bytes of the ledger; some thirty for a photo."""


class Store:
    """A store on disk."""

    def __init__(self, path: Path, settings: StoreSettings) -> None:
        self.path = path
        self.settings = settings
        p = settings.patch
        self._hr = UnitArray(path / "hr", (p, p, 3), "uint8", 1)
        self._latents = UnitArray(path / "latents", tuple(settings.latent_shape), "float32", 1)

    @classmethod
    def create(cls, path: Path, settings: StoreSettings) -> Store:
        """A new empty store. Raises FileError where the folder cannot be written."""
        # First, so that a making that is cut off is known for what it is, and mended.
        files.write_summed(path / DESCRIPTION, cls._description(settings))
        store = cls.open(path)
        store.mend()
        return store

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a store. Raises StoreError where there is none, or it is damaged or too new."""
        if not files.exists(path / DESCRIPTION):
            if files.exists(path / ZARR):
                raise StoreError(
                    f"{path} is not a {FORMAT} of version {VERSION}: it has no {DESCRIPTION}; "
                    f"ingest into another --store"
                )
            raise StoreError(f"no store at {path}: make one with `degflow-pipe ingest PHOTOS`")
        try:
            found = files.read_summed(path / DESCRIPTION)
        except FileError as error:
            raise StoreError(f"{error}: put a copy of it back") from error
        if found.pop("format", None) != FORMAT:
            raise StoreError(f"{path / DESCRIPTION} is not of a {FORMAT}")
        version, unit = found.pop("version", None), found.pop("unit", None)
        if version != VERSION:
            raise StoreError(
                f"{path} is of version {version!r}, this degflow-pipe reads {VERSION}: upgrade "
                f"degflow-pipe"
            )
        try:
            settings = read(StoreSettings, found, "store")
        except DegflowError as error:
            raise StoreError(f"{path / DESCRIPTION} is damaged: {error}") from error
        if unit != UNIT:
            raise StoreError(f"{path} is damaged: units of {unit} patches, {UNIT} expected")
        return cls(path, settings)

    @staticmethod
    def _description(settings: StoreSettings) -> dict[str, Any]:
        return {"format": FORMAT, "version": VERSION, "unit": UNIT, **asdict(settings)}

    def mend(self) -> None:
        """Write what zarr's readers need where it is missing or damaged; called by one writer."""
        for path, text in self._wrong_groups().items():
            files.write_text(path, text)
        self.make_room(self._units_made())

    def _wrong_groups(self) -> dict[Path, str]:
        """What zarr.json of the groups should say, of those that do not."""
        wanted = {
            self.path / ZARR: group_text({"degflow": self._description(self.settings)}),
            self.path / "levels" / ZARR: group_text(),
        }
        return {
            path: text
            for path, text in wanted.items()
            if not files.exists(path) or files.read_bytes(path) != text.encode()
        }

    def units(self, stage: str = INGEST) -> list[int]:
        """Complete units of `ingest`, or of the grid of that name, in order."""
        marks = files.names(self.path / "done" / stage, ".json")
        return [int(name[:8]) for name in marks if re.fullmatch(r"\d{8}\.json", name)]

    def _units_made(self) -> int:
        units = self.units()
        return units[-1] + 1 if units else 0

    def record(self, unit: int) -> UnitRecord:
        """What an ingested unit holds. Raises StoreError where its mark is damaged."""
        path = self._mark(INGEST, unit)
        try:
            return UnitRecord.from_dict(files.read_summed(path))
        except (UsageError, FileError) as error:
            raise StoreError(_damaged_mark(path, error)) from error

    def records(self) -> Iterator[tuple[int, UnitRecord]]:
        for unit in self.units():
            yield unit, self.record(unit)

    def has_patches(self, unit: int, record: UnitRecord) -> bool:
        """Whether the unit's files are there, each of its length."""
        lengths = {"hr": self._hr.length(unit), "latents": self._latents.length(unit)}
        return lengths == record.bytes

    def make_room(self, units: int) -> None:
        """Let the patch arrays hold at least that many units; called by one writer, ahead."""
        for array in (self._hr, self._latents):
            array.make_room(units)

    def write_patches(
        self,
        unit: int,
        hr: np.ndarray,
        latents: np.ndarray,
        patches: list[PatchRecord],
        finished: list[PhotoRecord],
        computed: dict[str, Any],
    ) -> None:
        """One unit's n <= UNIT patches: hr (n, P, P, 3) uint8, latents (n, C, h, w) float32."""
        mark = self._mark(INGEST, unit)
        files.remove(mark)
        record = UnitRecord(
            patches,
            finished,
            sha256={"hr": digest(hr), "latents": digest(latents)},
            bytes={"hr": self._hr.write(unit, hr), "latents": self._latents.write(unit, latents)},
            computed=computed,
        )
        files.write_summed(mark, record.to_dict())

    def write_record(self, unit: int, record: UnitRecord) -> None:
        """The mark alone of a unit whose arrays stay as they are."""
        files.write_summed(self._mark(INGEST, unit), record.to_dict())

    def drop(self, unit: int) -> None:
        """Take a unit out of the store, and its levels; its number is free again."""
        files.remove(self._mark(INGEST, unit))
        for grid in self.grids():
            files.remove(self._mark(grid, unit))
            self._levels(self.grid(grid)).remove(unit)
        for array in (self._hr, self._latents):
            array.remove(unit)

    def hr(self, unit: int) -> np.ndarray:
        """The n HR patches of a unit, (n, P, P, 3) uint8. Raises StoreError for damaged ones."""
        return self._whole(self._hr, unit, self.record(unit).sha256["hr"], INGEST)

    def latents(self, unit: int) -> np.ndarray:
        """The n latents of a unit, (n, C, h, w) float32. Raises StoreError for damaged ones."""
        return self._whole(self._latents, unit, self.record(unit).sha256["latents"], INGEST)

    def levels(self, grid: str, unit: int) -> np.ndarray:
        """The levels of a unit, (n, T, P, P, 3) uint8. Raises StoreError for damaged ones."""
        sha256 = self.levels_record(grid, unit).sha256["levels"]
        return self._whole(self._levels(self.grid(grid)), unit, sha256, grid)

    def _whole(self, array: UnitArray, unit: int, sha256: str, stage: str) -> np.ndarray:
        """A unit's part of an array. What zarr lacks reads as zeros, so the digest decides."""
        what, cure = f"unit {unit} of {array.path}", self._cure(stage, unit)
        try:
            values = array.read(unit, len(self.record(unit).patches))
        except StoreError as error:
            raise StoreError(f"{what} is damaged: {error}: {cure}") from error
        if digest(values) != sha256:
            raise StoreError(f"{what} is damaged, it differs from its SHA-256: {cure}")
        return values

    def _cure(self, stage: str, unit: int) -> str:
        again = "ingest its photos again" if stage == INGEST else "run `generate` again"
        return f"delete {self._mark(stage, unit)} and {again}"

    def grids(self) -> list[str]:
        """Names of the grids in the store, sorted."""
        done = self.path / "done"
        return [n for n in files.names(done) if files.exists(done / n / GRID)]

    def grid(self, name: str) -> Grid:
        """The levels of a grid in the store. Raises StoreError where there is no such grid."""
        if name not in self.grids():
            known = ", ".join(self.grids()) or "none"
            raise StoreError(f"{self.path} has no grid {name}; it has {known}")
        path = self.path / "done" / name / GRID
        try:
            grid = grid_of_fields(files.read_summed(path), name)
            if grid.name != name:
                raise UsageError(f"its levels are those of {grid.name}")
        except (UsageError, FileError) as error:
            raise StoreError(
                f"{path}: grid {name} is damaged: {error}: delete the file and run `generate` again"
            ) from error
        return grid

    def _levels(self, grid: Grid) -> UnitArray:
        p = self.settings.patch
        path = self.path / "levels" / grid.name
        return UnitArray(path, (len(grid), p, p, 3), "uint8", 2, grid_fields(grid))

    def make_grid(self, grid: Grid) -> None:
        """Let the store hold the grid's levels for every ingested unit; called ahead.

        Raises StoreError where the levels stood for other scales when they were made, UsageError
        for more levels than fit in memory.
        """
        array = self._levels(grid)
        check_unit("levels", array.item, 1)
        if grid.name not in self.grids():
            files.write_summed(self.path / "done" / grid.name / GRID, grid_fields(grid))
        elif (there := self.grid(grid.name)) != grid:
            raise StoreError(
                f"{self.path} holds the grid {grid.name} at the scales {_few(there.scales)}, the "
                f"checkpoint says {_few(grid.scales)} now: ingest into another --store, or give "
                f"the checkpoint as it was"
            )
        array.make_room(self._units_made())

    def write_levels(self, grid: Grid, unit: int, lr: np.ndarray, computed: dict[str, Any]) -> None:
        """One unit's LR of a grid: (n, T, P, P, 3) uint8. computed: see `LevelsRecord`."""
        mark = self._mark(grid.name, unit)
        files.remove(mark)
        sums = {"levels": digest(lr), "hr": self.record(unit).sha256["hr"]}
        length = self._levels(grid).write(unit, lr)
        files.write_summed(mark, LevelsRecord(sums, length, computed).to_dict())

    def levels_record(self, grid: str, unit: int) -> LevelsRecord:
        """What is known of a unit's levels. Raises StoreError where their mark is damaged."""
        path = self._mark(grid, unit)
        try:
            return LevelsRecord.from_dict(files.read_summed(path))
        except (UsageError, FileError) as error:
            raise StoreError(_damaged_mark(path, error)) from error

    def units_with_levels(self, grid: str) -> list[int]:
        """Ingested units whose levels are there and were made from the HR now in the store."""
        if grid not in self.grids():
            return []
        ingested = set(self.units())
        return [n for n in self.units(grid) if n in ingested and self.has_levels(grid, n)]

    def has_levels(self, grid: str, unit: int) -> bool:
        """Whether an ingested unit's levels are there and were made from its HR."""
        if not files.exists(self._mark(grid, unit)):
            return False
        levels = self.levels_record(grid, unit)
        same = levels.sha256["hr"] == self.record(unit).sha256["hr"]
        return same and self._levels(self.grid(grid)).length(unit) == levels.bytes

    def ledger(self) -> Ledger:
        """What the ingests before left. Raises StoreError where it is damaged."""
        path = self.path / "done" / LEDGER
        if not files.exists(path):
            return Ledger(complete=False)
        try:
            return read(Ledger, files.read_summed(path, LEDGER_LIMIT), "ledger")
        except (UsageError, FileError) as error:
            raise StoreError(f"{error}: delete it and run `ingest` again") from error

    def write_ledger(self, ledger: Ledger) -> None:
        files.write_summed(self.path / "done" / LEDGER, asdict(ledger))

    def skipped(self) -> dict[str, str]:
        """Photos left out, name to reason. Raises StoreError where the file is damaged."""
        path = self.path / SKIPPED
        if not files.exists(path):
            return {}
        try:
            found = files.read_summed(path, LEDGER_LIMIT)["photos"]
            return {str(name): str(reason) for name, reason in dict(found).items()}
        except (FileError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{path} is damaged: delete it ({error})") from error

    def note_skipped(self, reasons: dict[str, str], ingested: set[str]) -> None:
        """Remember photos left out, and forget those of them that have been ingested since."""
        known = self.skipped()
        now = {name: why for name, why in (known | reasons).items() if name not in ingested}
        if now != known:
            files.write_summed(self.path / SKIPPED, {"photos": now})

    def damage(self, unit: int) -> list[str]:
        """What is wrong with a unit: arrays that cannot be read or differ from their digests."""
        reads: list[Callable[[int], np.ndarray]] = [self.hr, self.latents]
        for grid in self.grids():
            if files.exists(self._mark(grid, unit)):
                reads.append(partial(self.levels, grid))
        wrong: dict[str, None] = {}
        for read_unit in reads:
            try:
                read_unit(unit)
            except DegflowError as error:
                wrong[str(error)] = None
        return list(wrong)

    def described_wrongly(self) -> list[str]:
        """Which of zarr's descriptions, and of the store's own beside the units, are damaged."""
        wrong = [
            f"{path} is damaged or missing: run `ingest` again, it writes it anew"
            for path in self._wrong_groups()
        ]
        checks: list[Callable[[], object]] = [self.skipped, self.ledger]
        rooms = [(self._hr, INGEST), (self._latents, INGEST)]
        for name in self.grids():
            try:
                rooms.append((self._levels(self.grid(name)), name))
            except StoreError as error:
                wrong.append(str(error))
        checks += [partial(self._check_room, array, stage) for array, stage in rooms]
        for check in checks:
            try:
                check()
            except DegflowError as error:
                wrong.append(str(error))
        return wrong

    def _check_room(self, array: UnitArray, stage: str) -> None:
        units = self.units(stage)
        if units and not units[-1] < array.room() <= MAX_UNITS:
            raise StoreError(f"{array.path / ZARR} has room for {array.room()} units alone")

    @property
    def removal_path(self) -> Path:
        """Where a removal that is under way writes down what is to go."""
        return self.path / "done" / "removal.json"

    def _mark(self, stage: str, unit: int) -> Path:
        return self.path / "done" / stage / f"{unit:08d}.json"


def _damaged_mark(path: Path, error: DegflowError) -> str:
    again = "ingest its photos again" if path.parent.name == INGEST else "run `generate` again"
    said = str(error) if str(path) in str(error) else f"{path} is damaged: {error}"
    return f"{said}: delete it and {again}"


def _few(scales: tuple[float, ...]) -> str:
    return f"{scales[0]:g} to {scales[-1]:g}"
