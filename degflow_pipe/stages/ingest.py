"""ingest: photos -> patches -> latents, into the store.

The photos are one stream of patches in a fixed order, cut into units of UNIT patches. What is in
the store is left when an ingest is run again, and the patches that are not take the free numbers
from the lowest up: so an ingest that was stopped ends in the same store as one that was not, and
units that were lost are filled again by the photos they were of.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from degflow_pipe import defaults, files, folders
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.threads import Engine, check_workers, in_order
from degflow_pipe.errors import PhotoError, StoreError, UsageError
from degflow_pipe.model.devices import one_thread_each
from degflow_pipe.pictures.arrays import to_tensor
from degflow_pipe.pictures.patches import check_grid
from degflow_pipe.pictures.photos import PhotoFile, check_max_pixels, file_digest, find_photos
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.stages.batches import Batches
from degflow_pipe.stages.patch_stream import IngestSummary, PatchStream, PatchUnit
from degflow_pipe.stages.remove import drop_photos, finish_removal
from degflow_pipe.store import Store, StoreSettings
from degflow_pipe.store.arrays import ZARR
from degflow_pipe.store.lacking import lacking
from degflow_pipe.store.records import Ledger, photo_key
from degflow_pipe.store.store import DESCRIPTION, KIND


def ingest(
    photos: Sequence[str],
    store: Path,
    model: DegFlow,
    *,
    patch: int = defaults.PATCH,
    stride: int | None = None,
    min_detail: float = defaults.MIN_DETAIL,
    strict: bool = False,
    max_pixels: int = defaults.MAX_PIXELS,
    replace: bool = False,
    batch: int = defaults.BATCH,
    workers: int = 0,
    progress: Progress | None = None,
    engine: Engine = in_order,
) -> IngestSummary:
    """Crop photos into HR patches, encode their latents, and append both to the store.

    photos: files, folders and globs. patch, stride: in pixels (stride: the patch by default).
    min_detail: patches with less (see `patches.Patch.detail`) and repeated ones are dropped; 0
    keeps all. strict: a photo that cannot be used is an error, not a skip. max_pixels: a photo of
    more is not read. replace: where the store holds another photo of the same name, that one goes;
    else both stay. batch: patches encoded at once on a GPU. workers: 0 for one a core. A photo that
    is in the store already, by the hash of its file, is left as it is.

    Raises UsageError, PhotoError (strict, or where no photo can be used), StoreError for a store of
    another patch size or checkpoint, FileError where the store cannot be written.
    """
    stride = patch if stride is None else stride
    check_grid(patch, stride, model.config.side_multiple)
    if not 0 <= min_detail < float("inf"):
        raise UsageError(f"--min-detail must be 0 or more, got {min_detail}")
    batches = Batches(model, batch)
    workers = check_workers(workers)
    check_max_pixels(max_pixels)
    left_out: dict[str, int] = {}
    found = list(find_photos(photos, left_out))
    if files.exists(store / ZARR) and not folders.kind_of(store):
        Store.open(store)  # one of an older version says so
    with folders.one_writer(store, KIND), one_thread_each(model.device):
        target = _open(store, patch, model)
        finish_removal(target)
        outdated = _outdated(target, found) if replace else set()
        stream = PatchStream(
            target, patch, stride, min_detail, strict, workers, max_pixels, outdated
        )
        stream.summary.left_out = left_out
        target.write_ledger(Ledger(False, stream.ledger))

        def work(unit: PatchUnit) -> PatchUnit:
            return ingest_unit(unit, target, batches)

        with (progress or Silent()).task("ingest", len(found)) as task:
            for _ in engine(work, stream.units(found, task), workers):
                pass
            stream.note_known(task)
            _replace(target, stream, task)
        target.write_ledger(Ledger(True, stream.ledger))
        target.note_skipped(stream.summary.skipped, stream.ingested)
        stream.summary.lacking = len(lacking(target))
    summary = stream.summary
    summary.batch = batches.least
    summary.patches_in_store = sum(len(record.patches) for _, record in target.records())
    if not summary.patches_in_store:
        reasons = "; ".join(list(summary.skipped.values())[:3]) or "every patch was flat"
        raise PhotoError(f"no patch came of {len(found)} photos: {reasons}")
    if len(summary.skipped) == len(found):
        reasons = "; ".join(list(summary.skipped.values())[:3])
        raise PhotoError(f"none of {len(found)} photos could be used: {reasons}")
    return summary


def ingest_unit(unit: PatchUnit, store: Store, batches: Batches) -> PatchUnit:
    """Encode one unit's patches and write them, their latents and, last, the unit's mark."""
    hr, size = np.stack(unit.pixels), batches.size
    parts = [
        batches.compute(lambda x: batches.model.latents(to_tensor(x)), hr[i : i + size])
        for i in range(0, len(hr), size)
    ]
    latents = np.concatenate([part.cpu().numpy() for part in parts])
    store.write_patches(unit.number, hr, latents, unit.records, unit.finished, batches.used)
    return unit


def _open(path: Path, patch: int, model: DegFlow) -> Store:
    """The store, made where there is none; refused where it was made with other settings."""
    identity = model.info.id
    if not files.exists(path / DESCRIPTION):
        if left := folders.held(path):
            raise StoreError(
                f"{path} has lost its description, {DESCRIPTION}, and holds {left[0]}: put a copy "
                f"of it back, or ingest into another --store"
            )
        side = patch // 8
        shape = [model.config.rae.latent_channels, side, side]
        return Store.create(path, StoreSettings(patch, identity, model.info.s_max, shape))
    store = Store.open(path)
    if store.settings.patch != patch:
        raise StoreError(
            f"{path} holds patches of {store.settings.patch}, not {patch}: give --patch "
            f"{store.settings.patch} or another --store"
        )
    if store.settings.checkpoint != identity:
        raise StoreError(
            f"{path} was made with the checkpoint {store.settings.checkpoint}, not {identity}: "
            f"give that one with --checkpoint, or another --store"
        )
    store.mend()
    return store


def _outdated(store: Store, found: list[PhotoFile]) -> set[str]:
    """Hashes of photos in the store whose name one file, and one alone, bears now that differs.

    Two files of one name, given together, are no versions of each other.
    """
    held: dict[str, set[str]] = {}
    for _, record in store.records():
        for photo in record.finished:
            held.setdefault(photo.source, set()).add(photo.sha256)
    given: dict[str, set[str]] = {}
    for file in found:
        if file.name in held:
            with suppress(PhotoError):  # it will be skipped by name
                given.setdefault(file.name, set()).add(file_digest(file.path))
    return {old for name, new in given.items() if len(new) == 1 for old in held[name] - new}


def _replace(store: Store, stream: PatchStream, task: Task) -> None:
    """Take out the outdated photos whose successors are in the store now; tell of the others."""
    taken_in = {name for name, new in stream.given.items() if new & stream.finished.keys()}
    old = {
        sha256: photo.source
        for sha256, photo in stream.finished.items()
        if photo.source in stream.given and sha256 not in stream.given[photo.source]
    }
    go = {sha256 for sha256, name in old.items() if sha256 in stream.outdated and name in taken_in}
    if go:
        drop_photos(store, go)
        for sha256 in go:
            stream.ledger.pop(photo_key(sha256), None)
        stream.summary.replaced = len(go)
        task.note(f"replaced: {', '.join(sorted({old[sha256] for sha256 in go})[:3])}")
    if stay := sorted({name for sha256, name in old.items() if sha256 not in go}):
        task.note(
            f"the store holds other photos of the same names too ({', '.join(stay[:3])}), and they "
            f"stay: with --replace they go, where one file of the name is given"
        )
