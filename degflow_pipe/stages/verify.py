"""verify and info: what a store, a shard folder or a checkpoint holds, and whether it is whole."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from degflow_pipe import files, folders, json_files
from degflow_pipe.checkpoint import folder as checkpoint
from degflow_pipe.checkpoint.folder import CONFIG, read_info
from degflow_pipe.choices import meant
from degflow_pipe.engines.engine import check_workers
from degflow_pipe.engines.threads import in_order
from degflow_pipe.errors import DegflowError, ShardError, StoreError, UsageError
from degflow_pipe.ledger import Ledger
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.shards.layout import INDEX, SUMS_LIMIT, VALIDATE
from degflow_pipe.shards.summary import AGAIN, Summary, read_summary
from degflow_pipe.shards.tars import TarRecord, tar_members
from degflow_pipe.shipped import names
from degflow_pipe.stages.inspection import (
    CHECKED,
    CheckpointContents,
    ShardsContents,
    StoreContents,
    Verified,
)
from degflow_pipe.stages.shard import KIND as SHARD_FOLDER
from degflow_pipe.store import Store
from degflow_pipe.store.arrays import ZARR
from degflow_pipe.store.damage import damage as unit_damage
from degflow_pipe.store.damage import described_wrongly
from degflow_pipe.store.description import DESCRIPTION
from degflow_pipe.store.lacking import lacking
from degflow_pipe.store.store import KIND as STORE_FOLDER

STORE, SHARDS, CHECKPOINT = "store", "shards", "checkpoint"


def kind_of(path: Path) -> str:
    """`store`, `shards` or `checkpoint`. Raises UsageError where `path` is none of them."""
    if files.exists(path / CONFIG):
        return CHECKPOINT
    if files.exists(path / DESCRIPTION) or files.exists(path / ZARR):
        return STORE  # an old one says what it is when it is opened
    if files.names(path, ".tar") or files.names(path, INDEX):
        return SHARDS
    kind = folders.kind_of(path)
    if kind == STORE_FOLDER:
        return STORE
    if not files.exists(path):
        raise UsageError(
            f"{path}: there is no such file or folder, and no such checkpoint"
            f"{meant(path.name, names('checkpoints'))}"
        )
    if kind == folders.EXPORT:
        raise UsageError(
            f"{path} is an export: `doctor(folder={str(path)!r}, to=TRAINER)` holds it against "
            f"what was written and its trainer's rules"
        )
    if kind:
        raise UsageError(
            f"{path} is a folder of degflow-pipe's ({kind}) without a store, shards or a "
            f"checkpoint in it: run the command that made it again, or, where that had ended, look "
            f"at it with `report`"
        )
    raise UsageError(
        f"{path} is neither a store, nor shards, nor an export, nor a checkpoint; where a command "
        f"was stopped before it was whole, run that again"
    )


def info(path: Path) -> StoreContents | ShardsContents | CheckpointContents:
    """What is there: kind, counts, settings. Raises the error of what cannot be read."""
    kind = kind_of(path)
    if kind == CHECKPOINT:
        return CheckpointContents.of(read_info(path))
    if kind == SHARDS:
        return ShardsContents.of(read_summary(path))
    store = Store.open(path)
    if damaged := store.damaged_ledgers():
        raise StoreError(damaged[0])
    return StoreContents.of(store)


def verify(path: Path, *, workers: int = 0, progress: Progress | None = None) -> Verified:
    """Read everything and hold it against its sums; what shards set apart for validation too."""
    found = _verified(path, workers, progress)
    settings = read_summary(path).figures.get("settings") if found.kind == SHARDS else None
    if isinstance(settings, dict) and settings.get("validate") and path.name != VALIDATE:
        if not files.is_folder(path / VALIDATE):
            lost = (
                f"{path / VALIDATE}, what was set apart, is missing: run the `shard` that made it "
                f"again"
            )
            return Verified(SHARDS, found.checked, [*found.damage, lost], whole=False)
        apart = _verified(path / VALIDATE, workers, progress)
        damage = [*found.damage, *apart.damage]
        return Verified(SHARDS, found.checked + apart.checked, damage, whole=not damage)
    return found


def _verified(path: Path, workers: int, progress: Progress | None) -> Verified:
    kind = kind_of(path)
    workers = check_workers(workers)
    check: Callable[[Any], list[str]]
    if kind == CHECKPOINT:
        units: list[Any] = [path]
        check = checkpoint.damage
    elif kind == STORE:
        store = Store.open(path)
        units, check = list(store.units), partial(unit_damage, store)
        for layer in store.layers():
            _ = layer.made  # else each thread would read the ledger for itself
    else:
        shards = read_summary(path)
        listed = path / f"{shards.name}.sha256"
        if not files.exists(listed):
            raise ShardError(f"{listed} is missing: {AGAIN}")
        sums = read_sums(listed)
        units = [(path / name, digest) for name, digest in sums.items()]
        check = _file_damage
    damage: list[str] = []
    with (progress or Silent()).task("verify", len(units), counts=CHECKED[kind]) as task:
        for found in in_order(check, units, workers):
            damage += found
            task.advance()
    if kind == SHARDS:
        if not damage:  # else its cause is told already
            damage += _index_damage(shards, set(sums))
        damage += _mark_damage(shards, sums)
        damage += folders.mark_damage(path, SHARD_FOLDER)
    elif kind == STORE:
        damage += _store_damage(store) + folders.mark_damage(path, STORE_FOLDER)
    return Verified(kind, len(units), list(dict.fromkeys(damage)), whole=not damage)


def _store_damage(store: Store) -> list[str]:
    """What is wrong with a store beside its units: descriptions, what is lacking, old levels."""
    wrong = described_wrongly(store)
    try:
        wrong += lacking(store)
        for grid in store.grids():
            levels = store.levels(store.grid(grid))
            wrong += [
                f"block {block} of {store.path}: levels of {grid} are not there, or not of its "
                f"patches: run `generate` again"
                for block, unit in store.blocks()
                if block in levels.made and not levels.has(block, unit)
            ]
        for encoder in map(store.encoder, store.encoders()):
            latents = store.latents(encoder)
            wrong += [
                f"unit {number} of {store.path}: latents of {encoder.checkpoint} are not there, or "
                f"not of its patches: run `ingest` again with that checkpoint"
                for number, unit in store.units.items()
                if number in latents.made and not latents.has(number, unit)
            ]
    except DegflowError as error:
        wrong.append(str(error))
    return list(dict.fromkeys(wrong))


def read_sums(path: Path) -> dict[str, str]:
    """Lines of `sha256sum`; a name that is not a plain file name is refused."""
    sums = {}
    for line in files.read_bytes(path, SUMS_LIMIT).decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if not name or Path(name).name != name:
            raise ShardError(f"{path} is damaged: {line!r} is not a sum and a file name")
        sums[name] = digest
    return sums


def _file_damage(file: tuple[Path, str]) -> list[str]:
    path, digest = file
    if not files.exists(path):
        return [f"{path} is missing: run the `shard` that made it again"]
    if files.sha256(path) == digest:
        return []
    return [
        f"{path} differs from its SHA-256: mend it of its store, or run the `shard` that made it "
        f"again, to `overwrite` it"
    ]


def _mark_damage(shards: Summary, sums: dict[str, str]) -> list[str]:
    """NAME.json and the ledger of the tars, which a copy of the shards may lack."""
    path = shards.folder / f"{shards.name}.json"
    again = "run the `shard` that made them again, to `overwrite` them"
    damage = []
    try:
        json_files.read_summed(path)
    except DegflowError as error:
        damage.append(f"{error}: {again}")
    ledger = Ledger(shards.folder / f".{shards.name}")
    damage += [f"{told}: {again}" for told in ledger.damage]
    for key, data in ledger.records():
        record = TarRecord.from_dict(data)
        tar = shards.tars[int(key)] if key.isdecimal() and int(key) < len(shards.tars) else ""
        index = f"{tar.removesuffix('.tar')}{INDEX}"
        if record is None or (sums.get(tar), sums.get(index)) != (
            record.sha256,
            record.index_sha256,
        ):
            damage.append(f"{ledger.folder} is damaged at {key[:60]}: {again}")
    if ledger.every_key() and len(ledger) != len(shards.tars):
        damage.append(f"{ledger.folder} lacks some tars: {again}")
    return damage


def _index_damage(shards: Summary, summed: set[str]) -> list[str]:
    """The index against the tars, line by line, and the counts against NAME.json."""
    needed = [*shards.tars, *(index.name for index in shards.indexes)]
    damage = [f"{n} has no sum in {shards.name}.sha256" for n in needed if n not in summed]
    samples = 0
    try:
        for index in shards.indexes:
            with files.reading(index) as lines:
                for tar in shards.tars_of(index):
                    for key, members in tar_members(shards.folder / tar):
                        line = json_files.parse(lines.readline(files.TEXT_LIMIT) or b"null")
                        known = line and (line["key"], line["tar"], line["members"])
                        if known != (key, tar, members):
                            return [*damage, f"{index.name} differs from {tar} at sample {key}"]
                        samples += 1
                if lines.readline():
                    damage.append(f"{index.name} names samples that no tar holds")
    except (
        *(DegflowError, tarfile.TarError, ValueError, KeyError, TypeError),
        *(RecursionError, OverflowError, EOFError),  # of tarfile, where headers are nested or lie
    ) as error:
        return [*damage, f"{shards.folder}: {type(error).__name__}: {error}"]
    if samples != shards.samples:
        damage.append(f"{shards.folder}: {samples} samples found, {shards.samples} expected")
    return damage
