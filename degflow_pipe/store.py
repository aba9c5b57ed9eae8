"""The store: patches, latents and levels as zarr v3 arrays, and marks of what is complete.

    degflow.zarr/
      zarr.json                  attributes: format, version, patch, checkpoint, s_max
      hr/                        (N, P, P, 3) uint8
      latents/                   (N, C, P/8, P/8) float32
      levels/GRID/               (N, T, P, P, 3) uint8, attributes: the grid's t, scale, noise
      done/ingest/00000000.json  what unit 0 holds, written after its data
      done/GRID/00000000.json
      skipped.json               photos left out, with the reason

A unit is UNIT patches, one zarr shard of each array, written whole by one writer. A unit that an
ingest closed short keeps its empty places for ever, so that a unit never changes once it is done.
The store knows nothing of models: it is told shapes and an id.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import TransposeCodec, ZstdCodec
from zarr.codecs.numcodecs import Delta
from zarr.errors import ZarrUserWarning

from degflow_pipe import files
from degflow_pipe.errors import DegflowError, StoreError
from degflow_pipe.levels import Grid, parse_t
from degflow_pipe.settings import read

# Delta is no part of the zarr v3 specification yet, which zarr says at every array.
warnings.filterwarnings("ignore", "Numcodecs codecs are not in the Zarr", ZarrUserWarning)

FORMAT = "degflow-pipe store"
VERSION = 1
AGAIN = "delete the store and ingest again"
UNIT = 16
"""Patches in a unit of work."""
INGEST = "ingest"


@dataclass(frozen=True)
class StoreSettings:
    """What every patch of a store shares.

    patch: side in pixels. checkpoint: id of the checkpoint that made the latents. s_max: the SR
    scale of its t = 1. latent_shape: (C, h, w) of one patch.
    """

    patch: int
    checkpoint: str
    s_max: float
    latent_shape: list[int]


@dataclass(frozen=True)
class PatchRecord:
    """Where one patch came from.

    source: the photo's name; sha256: of the photo's file; y, x: top left corner in pixels; detail
    and digest: see `patches.Patch`.
    """

    source: str
    sha256: str
    y: int
    x: int
    detail: float
    digest: str


@dataclass(frozen=True)
class PhotoRecord:
    """A photo all of whose patches are in this unit or earlier ones."""

    source: str
    sha256: str
    kept: int
    flat: int
    duplicate: int


@dataclass(frozen=True)
class UnitRecord:
    """What a unit holds. sha256: digests of the arrays' bytes, by array name.

    computed: what the latents' last bits depend on, the kind of device and on a GPU the batch.
    """

    patches: list[PatchRecord]
    finished: list[PhotoRecord]
    sha256: dict[str, str]
    computed: dict[str, Any]


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order, in hex."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


class Store:
    """A store on disk; see the module's docstring for the layout."""

    def __init__(self, path: Path, group: zarr.Group, settings: StoreSettings) -> None:
        self.path = path
        self.settings = settings
        self._group = group

    @classmethod
    def create(cls, path: Path, settings: StoreSettings) -> Store:
        """A new empty store. Raises FileError where the folder cannot be written."""
        attributes = {"format": FORMAT, "version": VERSION, "unit": UNIT, **asdict(settings)}
        p = settings.patch
        with files.named(path, "write"):
            # The root's zarr.json comes last: a folder without it is not a store yet.
            _create(path / "hr", (p, p, 3), np.uint8, 1)
            _create(path / "latents", tuple(settings.latent_shape), np.float32, 1)
            zarr.create_group(str(path / "levels"), zarr_format=3, overwrite=True)
            zarr.create_group(str(path), zarr_format=3, attributes={"degflow": attributes})
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a store. Raises StoreError where there is none, or it is damaged or too new."""
        if not files.exists(path / "zarr.json"):
            raise StoreError(f"no store at {path}: make one with `degflow-pipe ingest PHOTOS`")
        try:
            group = zarr.open_group(str(path), mode="r+")
            found = dict(group.attrs).get("degflow")
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise StoreError(f"{path}: not a readable zarr group: {error}") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise StoreError(f"{path} is not a {FORMAT}, or its making was cut off: delete it")
        version, unit = found.pop("version", None), found.pop("unit", None)
        if version != VERSION:
            raise StoreError(
                f"{path} is of version {version!r}, this degflow-pipe reads {VERSION}: upgrade "
                f"degflow-pipe"
            )
        found.pop("format")
        try:
            settings = read(StoreSettings, found, "store")
        except DegflowError as error:
            raise StoreError(f"{path} is damaged: {error}") from error
        if unit != UNIT:
            raise StoreError(f"{path} is damaged: units of {unit} patches, {UNIT} expected")
        return cls(path, group, settings)

    def units(self, stage: str = INGEST) -> list[int]:
        """Complete units of `ingest`, or of the grid of that name, in order."""
        marks = files.names(self.path / "done" / stage, ".json")
        return [int(name[:8]) for name in marks if re.fullmatch(r"\d{8}\.json", name)]

    def record(self, unit: int) -> UnitRecord:
        """What an ingested unit holds. Raises StoreError where its mark is damaged."""
        path = self._mark(INGEST, unit)
        data = files.read_json(path)
        try:
            return UnitRecord(
                patches=[read(PatchRecord, p, "patch") for p in data["patches"]],
                finished=[read(PhotoRecord, p, "photo") for p in data["finished"]],
                sha256=dict(data["sha256"]),
                computed=dict(data.get("computed", {})),
            )
        except (KeyError, TypeError, DegflowError) as error:
            raise StoreError(f"{path} is damaged: {error}") from error

    def records(self) -> Iterator[tuple[int, UnitRecord]]:
        for unit in self.units():
            yield unit, self.record(unit)

    def forget(self, unit: int) -> None:
        """Drop the marks of a unit, so that it and its levels are made again."""
        for stage in [*self.grids(), INGEST]:
            files.remove(self._mark(stage, unit))

    def make_room(self, units: int) -> None:
        """Let the patch arrays hold at least that many units; called by one writer, ahead."""
        for name in ("hr", "latents"):
            self._grow(self._array(name), units)

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
        self._write("hr", unit, hr)
        self._write("latents", unit, latents)
        sums = {"hr": digest(hr), "latents": digest(latents)}
        record = UnitRecord(patches, finished, sums, computed)
        files.write_json(self._mark(INGEST, unit), asdict(record))

    def hr(self, unit: int) -> np.ndarray:
        """The n HR patches of a unit, (n, P, P, 3) uint8. Raises StoreError for damaged ones."""
        return self._whole("hr", unit, self.record(unit).sha256.get("hr"))

    def latents(self, unit: int) -> np.ndarray:
        """The n latents of a unit, (n, C, h, w) float32. Raises StoreError for damaged ones."""
        return self._whole("latents", unit, self.record(unit).sha256.get("latents"))

    def levels(self, grid: str, unit: int) -> np.ndarray:
        """The levels of a unit, (n, T, P, P, 3) uint8. Raises StoreError for damaged ones."""
        return self._whole(f"levels/{grid}", unit, self.level_sums(grid, unit)["levels"])

    def _whole(self, name: str, unit: int, sha256: str | None) -> np.ndarray:
        """A unit's part of an array. What zarr lacks reads as zeros, so the digest decides."""
        what = f"unit {unit} of {self.path / name}"
        cure = f"delete the unit's marks below {self.path}/done and run the stages again"
        first, count = unit * UNIT, len(self.record(unit).patches)
        with _readable(what, cure):
            values = np.asarray(self._array(name)[first : first + count])
        if digest(values) != sha256:
            raise StoreError(f"{what} is damaged, it differs from its SHA-256: {cure}")
        return values

    def grids(self) -> list[str]:
        """Names of the grids in the store, sorted."""
        folder = self.path / "levels"
        return [n for n in files.names(folder) if files.exists(folder / n / "zarr.json")]

    def grid(self, name: str) -> Grid:
        """The levels of a grid in the store. Raises StoreError where there is no such grid."""
        if name not in self.grids():
            known = ", ".join(self.grids()) or "none"
            raise StoreError(f"{self.path} has no grid {name}; it has {known}")
        found = dict(self._array(f"levels/{name}").attrs)
        levels, scales, noise = (found.get(key) for key in ("t", "scale", "noise"))
        if not isinstance(levels, list) or not levels:
            raise StoreError(f"{self.path}: grid {name} is damaged: it names no levels")
        grid = parse_t(",".join(str(t) for t in levels), f"grid {name}")
        if (
            not isinstance(scales, list)
            or not isinstance(noise, str)
            or len(scales) != len(grid)
            or not all(isinstance(s, int | float) and s >= 1 for s in scales)
        ):
            raise StoreError(
                f"{self.path}: grid {name} is damaged: it does not name the scale of each level "
                f"and the noise: {AGAIN}"
            )
        return replace(grid, scales=tuple(float(s) for s in scales), noise=noise)

    def make_grid(self, grid: Grid) -> None:
        """Let the store hold the grid's levels for every ingested unit; called ahead."""
        units = self.units()
        room = units[-1] + 1 if units else 0
        name = f"levels/{grid.name}"
        with files.named(self.path, "write"):
            if grid.name not in self.grids():
                p = self.settings.patch
                exact = [str(level.exact) for level in grid.levels]
                attributes = {"t": exact, "scale": list(grid.scales), "noise": grid.noise}
                _create(self.path / name, (len(grid), p, p, 3), np.uint8, 2, attributes)
        self._grow(self._array(name), room)

    def write_levels(self, grid: Grid, unit: int, lr: np.ndarray, computed: dict[str, Any]) -> None:
        """One unit's LR of a grid: (n, T, P, P, 3) uint8. computed: see `UnitRecord`."""
        self._write(f"levels/{grid.name}", unit, lr)
        sums = {"levels": digest(lr), "hr": self.record(unit).sha256["hr"]}
        files.write_json(self._mark(grid.name, unit), {"sha256": sums, "computed": computed})

    def level_sums(self, grid: str, unit: int) -> dict[str, str]:
        """The recorded SHA-256 of a unit's `levels`, and of the `hr` they were made from."""
        path = self._mark(grid, unit)
        try:
            found = files.read_json(path)["sha256"]
            return {"levels": str(found["levels"]), "hr": str(found["hr"])}
        except (KeyError, TypeError) as error:
            raise StoreError(f"{path} is damaged: no sha256 of the levels in it") from error

    def units_with_levels(self, grid: str) -> list[int]:
        """Ingested units whose levels are complete and were made from the HR now in the store."""
        ingested = set(self.units())
        return [
            unit
            for unit in self.units(grid)
            if unit in ingested
            and self.level_sums(grid, unit)["hr"] == self.record(unit).sha256.get("hr")
        ]

    def skipped(self) -> dict[str, str]:
        """Photos left out, name to reason."""
        path = self.path / "skipped.json"
        return files.read_json(path) if files.exists(path) else {}

    def note_skipped(self, reasons: dict[str, str], ingested: set[str]) -> None:
        """Remember photos left out, and forget those of them that have been ingested since."""
        known = self.skipped()
        now = {name: why for name, why in (known | reasons).items() if name not in ingested}
        if now != known:
            files.write_json(self.path / "skipped.json", now)

    def damage(self, unit: int) -> list[str]:
        """What is wrong with a unit: arrays that cannot be read or differ from their digests."""
        reads: list[Callable[[int], np.ndarray]] = [self.hr, self.latents]
        for grid in self.grids():
            if files.exists(self._mark(grid, unit)):
                reads.append(partial(self.levels, grid))
        wrong = []
        for read_unit in reads:
            try:
                read_unit(unit)
            except DegflowError as error:
                wrong.append(str(error))
        return wrong

    def _mark(self, stage: str, unit: int) -> Path:
        return self.path / "done" / stage / f"{unit:08d}.json"

    def _array(self, name: str) -> zarr.Array[Any]:
        with _readable(f"{self.path / name}", AGAIN):
            found = self._group[name]
        if not isinstance(found, zarr.Array):
            raise StoreError(f"{self.path / name} is damaged, not a zarr array: {AGAIN}")
        return found

    def _grow(self, array: zarr.Array[Any], units: int) -> None:
        if array.shape[0] < units * UNIT:
            with files.named(self.path, "write"):
                array.resize((units * UNIT, *array.shape[1:]))

    def _write(self, name: str, unit: int, values: np.ndarray) -> None:
        # A unit that is short of patches is filled up: a zarr shard is only ever written whole.
        missing = UNIT - len(values)
        whole = np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1)) if missing else values
        # What a killed run left there may be damaged, and zarr would read it.
        files.remove(self.path / name / "c" / str(unit))
        with files.named(self.path / name, "write"):
            self._array(name)[unit * UNIT : (unit + 1) * UNIT] = whole


@contextmanager
def _readable(what: str, cure: str) -> Iterator[None]:
    """Turn what zarr raises on damaged data into a StoreError that names it and what to do."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise StoreError(f"{what} is damaged, it cannot be read ({reason}): {cure}") from error


def _create(
    path: Path,
    item: tuple[int, ...],
    dtype: type,
    loose: int,
    attributes: dict[str, Any] | None = None,
) -> None:
    """An empty array of items; a chunk is one entry of the first `loose` axes, a shard one unit.

    Pictures are kept colour by colour as differences from pixel to pixel, in the room of a PNG.
    """
    axes = (*range(len(item) - 2), len(item), len(item) - 2, len(item) - 1)
    differences = [TransposeCodec(order=axes), Delta(dtype="uint8")]
    zarr.create_array(
        str(path),
        shape=(0, *item),
        chunks=((1,) * loose + item[loose - 1 :]),
        shards=(UNIT, *item),
        dtype=dtype,
        filters=differences if dtype is np.uint8 else None,
        compressors=ZstdCodec(level=1, checksum=True),
        fill_value=0,
        attributes=attributes,
        overwrite=True,
    )
