"""remove: photos out of a store, with their patches, latents and levels.

The other patches of a unit move to a unit of a free number, with all that belongs to them, before
the unit goes. What is to go is written down first, so that a removal that was stopped is brought to
its end by whoever writes to the store next.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from degflow_pipe import files, folders
from degflow_pipe.errors import FileError, StoreError, UsageError
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.settings import AtLeast, read
from degflow_pipe.store import Store, UnitRecord
from degflow_pipe.store.records import Ledger, photo_key
from degflow_pipe.store.store import KIND


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

    A photo that the store has lost altogether goes by the key that `verify` calls it. What was
    dropped as a repetition of one of their patches does not come back. Levels of the photos that
    stay are kept; shards are to be made again. Raises UsageError where no photo in the store has
    one of the names, StoreError for a store that is missing or damaged.
    """
    target = Store.open(store)
    with folders.one_writer(store, KIND):
        resumed = finish_removal(target)
        found: dict[str, str] = {}
        before = 0
        for _, record in target.records():
            before += len(record.patches)
            found |= {patch.sha256: patch.source for patch in record.patches}
            found |= {photo.sha256: photo.source for photo in record.finished}
        lost = set(names) & set(target.ledger().photos)
        unknown = set(names) - set(found.values()) - lost
        if unknown and not resumed:  # whose last photo may have gone already
            raise UsageError(f"{store} holds no photo {min(unknown)!r}; nothing was removed")
        chosen = {sha256 for sha256, name in found.items() if name in set(names)}
        with (progress or Silent()).task("remove", len(target.units())) as task:
            drop_photos(target, {*chosen, *lost}, task)
        left = sum(len(record.patches) for _, record in target.records())
    return RemoveSummary(str(store), len(chosen) + len(lost), before - left, left)


def drop_photos(store: Store, photos: Collection[str], task: Task | None = None) -> None:
    """Take photos out of a store that is locked.

    photos: hashes of their files, or what `photo_key` makes of them.
    """
    _note(store, photos)
    ledger = store.ledger()
    gone = {photo_key(sha256) for sha256 in photos}
    kept = {key: n for key, n in ledger.photos.items() if key not in gone}
    store.write_ledger(Ledger(ledger.complete, kept))
    for unit in store.units():
        record = store.record(unit)
        finished = [photo for photo in record.finished if photo.sha256 not in photos]
        places = [i for i, patch in enumerate(record.patches) if patch.sha256 not in photos]
        if len(places) < len(record.patches):
            _move(store, unit, replace(record, finished=finished), places, photos)
        elif len(finished) < len(record.finished):
            store.write_record(unit, replace(record, finished=finished))
        if task is not None:
            task.advance()
    files.remove(store.removal_path)


def _note(store: Store, photos: Collection[str], **move: Any) -> None:
    """Write down which photos are on their way out, and which unit is moving where."""
    files.write_summed(store.removal_path, {"photos": sorted(photos), "move": move})


def _move(
    store: Store, unit: int, record: UnitRecord, places: list[int], photos: Collection[str]
) -> None:
    """Write what stays of a unit, the patches in `places` and the photos of `record`, as another
    one, and drop it.
    """
    if not places:
        _hand_on(store, unit, record)
        store.drop(unit)
        return
    to = store.units()[-1] + 1
    move = {"old": unit, "new": to}
    _note(store, photos, **move, whole=False)
    store.make_room(to + 1)
    patches = [record.patches[i] for i in places]
    hr, latents = store.hr(unit)[places], store.latents(unit)[places]
    store.write_patches(to, hr, latents, patches, record.finished, record.computed)
    for name in store.grids():
        if store.has_levels(name, unit):
            grid, computed = store.grid(name), store.levels_record(name, unit).computed
            store.make_grid(grid)
            store.write_levels(grid, to, store.levels(name, unit)[places], computed)
    _note(store, photos, **move, whole=True)
    store.drop(unit)
    _note(store, photos)


def _hand_on(store: Store, unit: int, record: UnitRecord) -> None:
    """Give the records of photos that stay, without a patch in this unit, to another unit."""
    others = [number for number in store.units() if number != unit]
    if record.finished and others:
        other = store.record(others[0])
        finished = [*other.finished, *record.finished]
        store.write_record(others[0], replace(other, finished=finished))


def finish_removal(store: Store) -> bool:
    """Bring a removal that was stopped to its end; returns whether there was one."""
    path = store.removal_path
    if not files.exists(path):
        return False
    try:
        noted = read(_Noted, files.read_summed(path), "removal")
        move = read(_Move, noted.move, "move") if noted.move else None
    except (FileError, UsageError) as error:
        raise StoreError(f"{path} is damaged: {error}; delete it and `remove` again") from error
    if move is not None:
        store.drop(move.old if move.whole else move.new)
    drop_photos(store, set(noted.photos))
    return True


@dataclass(frozen=True)
class _Noted:
    photos: list[str]
    move: dict[str, Any]


@dataclass(frozen=True)
class _Move:
    old: Annotated[int, AtLeast(0)]
    new: Annotated[int, AtLeast(0)]
    whole: bool
