"""What a store should hold and does not: it is told before anything is built on it."""

from __future__ import annotations

from collections import Counter

from degflow_pipe import files
from degflow_pipe.store.records import photo_key
from degflow_pipe.store.store import Store


def lacking(store: Store) -> list[str]:
    """What was done once and is not there: files of units, patches of photos; what was begun
    and not ended. Nothing where the store is whole.
    """
    said = store.damaged_ledgers()
    held: Counter[str] = Counter()
    begun: dict[str, str] = {}
    for _, _, rows in store.every_unit():
        for number, patches in Counter(rows.photo).items():
            source, sha256 = rows.photos[number]
            held[photo_key(sha256)] += patches
            begun[photo_key(sha256)] = source
    said += [
        f"unit {number} of {store.path}: its file is not there or not of its length: "
        f"ingest its photos again"
        for number in store.units
        if not store.has_hr(number)
    ]
    photos = store.photos()
    said += [
        f"{store.path}: the photo {photo.source} has lost {photo.kept - held[key]} of its "
        f"{photo.kept} patches: ingest it again, or `remove` it"
        for key, photo in photos.items()
        if held[key] < photo.kept
    ]
    said += [
        f"{store.path}: the photo {name} was begun and not finished: ingest it again, "
        f"or `remove` it"
        for key, name in begun.items()
        if key not in photos
    ]
    if not store.complete:
        said.append(
            f"{store.path}: an ingest was not run to its end: run it again, or another to its end"
        )
    if files.exists(store.removal_path):
        said.append(f"{store.path}: a removal was not run to its end: run it again")
    return said
