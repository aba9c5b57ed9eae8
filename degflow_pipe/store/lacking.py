"""What a store should hold and does not: it is told before anything is built on it."""

from __future__ import annotations

from collections import Counter

from degflow_pipe import files
from degflow_pipe.store.records import photo_key
from degflow_pipe.store.store import Store


def lacking(store: Store) -> list[str]:
    """What was done once and is not there: files of units, patches of photos; what was begun
    and not ended. Nothing where the store is whole.

    A photo that has lost all that could name it is called by its `photo_key`.
    """
    said: list[str] = []
    held: Counter[str] = Counter()
    begun: dict[str, str] = {}
    finished: dict[str, str] = {}
    for unit, record in store.records():
        if not store.has_patches(unit, record):
            said.append(
                f"unit {unit} of {store.path}: its files are not there or not of their length: "
                f"ingest its photos again"
            )
        held.update(photo_key(patch.sha256) for patch in record.patches)
        begun |= {photo_key(patch.sha256): patch.source for patch in record.patches}
        finished |= {photo_key(photo.sha256): photo.source for photo in record.finished}
    ledger = store.ledger()
    for key, kept in ledger.photos.items():
        if held[key] < kept:
            name = finished.get(key) or begun.get(key)
            again = "ingest it again" if name else "its name is lost too: ingest all photos again"
            said.append(
                f"{store.path}: the photo {name or key} has lost {kept - held[key]} of its {kept} "
                f"patches: {again}, or `remove` it"
            )
    said += [
        f"{store.path}: the photo {name} was begun and not finished: ingest it again"
        for key, name in begun.items()
        if key not in finished and key not in ledger.photos
    ]
    if begun and not ledger.complete:
        said.append(
            f"{store.path}: an ingest was not run to its end: run it again, or another to its end, "
            f"without --strict where a photo stopped it"
        )
    if files.exists(store.removal_path):
        said.append(f"{store.path}: a removal was not run to its end: run it again")
    return said
