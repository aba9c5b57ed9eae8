"""store.json: what a store is, by which it is known, and what is told of what is none."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from degflow_pipe import files, json_files
from degflow_pipe.errors import DegflowError, FileError, StoreError
from degflow_pipe.settings import read
from degflow_pipe.store.arrays import ZARR
from degflow_pipe.store.records import BLOCK, UNIT, StoreSettings

DESCRIPTION = "store.json"
FORMAT = "degflow-pipe store"
VERSION = 3


def described(settings: StoreSettings) -> dict[str, Any]:
    """What store.json says, and zarr.json again."""
    sizes = {"unit": UNIT, "block": BLOCK}
    return {"format": FORMAT, "version": VERSION, **sizes, **asdict(settings)}


def read_description(path: Path) -> StoreSettings:
    """The settings of the store in a folder. Raises StoreError where there is none, or it is
    damaged or of another version.
    """
    if not files.exists(path / DESCRIPTION):
        raise StoreError(_why_none(path))
    try:
        found = json_files.read_summed(path / DESCRIPTION)
    except FileError as error:
        raise StoreError(f"{error}: {_again(path)}") from error
    if found.pop("format", None) != FORMAT:
        raise StoreError(f"{path / DESCRIPTION} is not of a {FORMAT}")
    version = found.pop("version", None)
    if version != VERSION:
        raise StoreError(_of_version(path, version))
    sizes = found.pop("unit", None), found.pop("block", None)
    try:
        settings = read(StoreSettings, found, "store")
    except DegflowError as error:
        raise StoreError(f"{path / DESCRIPTION} is damaged: {error}") from error
    if sizes != (UNIT, BLOCK):
        raise StoreError(f"{path} is damaged: units and blocks of {sizes} patches")
    return settings


def write_again(path: Path) -> bool:
    """Write store.json as zarr.json says it again, where it is not there or damaged; whether it
    was. What is of another version or of somebody else's stays.
    """
    try:
        read_description(path)
    except StoreError:
        try:
            said = json_files.read(path / ZARR)["attributes"]["degflow"]
            kept = {name: said[name] for name in ("format", "version", "unit", "block")}
            rest = {name: value for name, value in said.items() if name not in kept}
            settings = read(StoreSettings, rest, "store")
        except (DegflowError, LookupError, TypeError, AttributeError):
            return False
        if described(settings) != said:
            return False
        json_files.write_summed(path / DESCRIPTION, described(settings))
        return True
    return False


def _again(path: Path) -> str:
    return f"`verify(path='{path}', repair=True)` writes it again"


def _why_none(path: Path) -> str:
    """Why a folder that lacks the description is no store, and what to do."""
    if not files.exists(path / ZARR):
        return f"no store at {path}: make one with `ingest(photos=...)`"
    try:
        version = json_files.read(path / ZARR)["attributes"]["degflow"]["version"]
    except (FileError, LookupError, TypeError):
        return f"{path} is a zarr of somebody else's: ingest the photos into another `store`"
    if version == VERSION:
        return f"{path} has lost its description, {DESCRIPTION}: {_again(path)}"
    return _of_version(path, version)


def _of_version(path: Path, version: Any) -> str:
    old = type(version) is int and version < VERSION
    what = "ingest the photos into another `store`" if old else "upgrade degflow-pipe"
    return f"{path} is a store of version {version!r}, this degflow-pipe reads {VERSION}: {what}"
