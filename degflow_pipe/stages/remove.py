"""remove: photos out of a store, with their patches, latents and levels.

The other patches of a unit move to a unit of a free number, with all that belongs to them, before
the unit goes. What is to go is written down first, so that a removal that was stopped is brought to
its end by whoever writes to the store next.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np

from degflow_pipe import files, folders, json_files
from degflow_pipe.errors import FileError, StoreError, UsageError
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.settings import AtLeast, read
from degflow_pipe.store import BLOCK, BLOCKS, Store
from degflow_pipe.store.records import photo_key
from degflow_pipe.store.store import KIND

Noted = TypeVar("Noted")

NOTE_LIMIT = 2**28
"""Bytes of what is written down of a removal; some seventy for a photo."""


@dataclass(frozen=True)
class RemoveSummary:
    """What a removal took out of the store."""

    store: str
    photos: int
    patches: int
    patches_in_store: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def remove(names: Sequence[str], store: Path, *, progress: Progress | None = None) -> RemoveSummary:
    """Take photos out of a store by the names that they have in it.

    What was dropped as a repetition of one of their patches does not come back. Levels of the
    photos that stay are kept; shards are to be made again. Raises UsageError where no photo in the
    store has one of the names, StoreError for a store that is missing or damaged.
    """
    Store.open(store)
    with folders.one_writer(store, KIND):
        target = Store.open(store)
        with target.writing():
            resumed = finish_removal(target)
            found = {photo.sha256: photo.source for photo in target.photos().values()}
            for _, patches in target.every_patch():
                found |= {patch.sha256: patch.source for patch in patches}
            unknown = set(names) - set(found.values())
            if unknown and not resumed:  # whose last photo may have gone already
                raise UsageError(f"{store} holds no photo {min(unknown)!r}; nothing was removed")
            before = sum(unit.count for unit in target.units.values())
            chosen = {sha256 for sha256, name in found.items() if name in set(names)}
            with (progress or Silent()).task("remove", len(target.units), counts="units") as task:
                drop_photos(target, chosen, task)
            left = sum(unit.count for unit in target.units.values())
    return RemoveSummary(str(store), len(chosen), before - left, left)


def drop_photos(store: Store, photos: Collection[str], task: Task | None = None) -> None:
    """Take photos out of a store that is written to; photos: hashes of their files.

    Where a block of HR is damaged, the patches in it of photos that stay cannot move, and go too;
    from then on the store lacks them, and says so.
    """
    store.sync()  # what the note takes for done
    json_files.write_summed(store.removal_path, {"photos": sorted(photos)})
    for sha256 in photos:
        store.forget_photo(photo_key(sha256))
    for number in list(store.units):
        patches = store.patches(number)
        places = [i for i, patch in enumerate(patches) if patch.sha256 not in photos]
        if len(places) < len(patches):
            lost = _move(store, number, places)
            if lost and task is not None:
                names = ", ".join(sorted({patches[i].source for i in lost})[:3])
                task.note(f"{len(lost)} patches that were damaged go too: ingest {names} again")
        if task is not None:
            task.advance()
    store.sync()
    files.remove(store.move_path)
    files.remove(store.removal_path)


def _note_move(store: Store, old: int, new: int, whole: bool) -> None:
    """Write down which unit is moving where; whole: whether all of it is there."""
    store.sync()  # what the note takes for done
    json_files.write_summed(store.move_path, {"old": old, "new": new, "whole": whole})


def _move(store: Store, old: int, places: list[int]) -> list[int]:
    """Write what stays of a unit, the patches in `places`, as another one, and drop it.

    Returns those of the places whose HR is damaged.
    """
    blocks = _whole_blocks(store, old, {place // BLOCK for place in places})
    lost = [place for place in places if place // BLOCK not in blocks]
    places = [place for place in places if place // BLOCK in blocks]
    if places:
        new = max(store.units) + 1
        _note_move(store, old, new, whole=False)
        hr = np.stack([blocks[place // BLOCK][place % BLOCK] for place in places])
        _copy(store, old, new, places, hr)
        _note_move(store, old, new, whole=True)
    store.drop(old)
    return lost


def _whole_blocks(store: Store, number: int, places: set[int]) -> dict[int, np.ndarray]:
    """HR of those of a unit's blocks that are whole, by their places in it."""
    whole = {}
    for place in places:
        with suppress(StoreError):
            whole[place] = store.block_hr(number * BLOCKS + place)
    return whole


def _copy(store: Store, old: int, new: int, places: list[int], hr: np.ndarray) -> None:
    """Some patches of a unit as another one, with their latents and with whole blocks of levels."""
    before, patches = store.units[old], store.patches(old)
    store.make_room(new)
    unit = store.write_hr(new, hr)
    store.note_unit(new, unit, [patches[i] for i in places])
    for layer in store.layers():
        layer.make_room(new + 1)
        per_file = layer.items
        for i, number in enumerate(layer.numbers(new)):
            wanted = places[i * per_file : (i + 1) * per_file]
            sources = {layer.numbers(old)[place // per_file] for place in wanted}
            if not wanted or not all(layer.has(source, before) for source in sources):
                continue
            try:
                held = {source: layer.read(source, before) for source in sources}
                told = {source: layer.told(source) for source in sources}
            except StoreError:  # what is damaged is made again
                continue
            computed = layer.made[min(sources)].computed
            values = np.stack(
                [held[layer.numbers(old)[p // per_file]][p % per_file] for p in wanted]
            )
            moved = [told[layer.numbers(old)[p // per_file]] for p in wanted]
            rows = [row[p % per_file] for row, p in zip(moved, wanted, strict=True) if row]
            layer.note(number, layer.write(number, values, unit, computed), rows)


def finish_removal(store: Store) -> bool:
    """Bring a removal that was stopped to its end; returns whether there was one."""
    noted = _noted(store.removal_path, _Removal)
    if noted is None:
        return False
    if move := _noted(store.move_path, _Move):
        store.drop(move.old if move.whole else move.new)
    drop_photos(store, set(noted.photos))
    return True


def _noted(path: Path, kind: type[Noted]) -> Noted | None:
    """What was written down; None where nothing was. Raises StoreError where it is damaged."""
    if not files.exists(path):
        return None
    try:
        return read(kind, json_files.read_summed(path, NOTE_LIMIT), path.stem)
    except (FileError, UsageError) as error:
        raise StoreError(f"{path} is damaged: {error}; delete it and `remove` again") from error


@dataclass(frozen=True)
class _Removal:
    photos: list[str]


@dataclass(frozen=True)
class _Move:
    old: Annotated[int, AtLeast(0)]
    new: Annotated[int, AtLeast(0)]
    whole: bool
