"""What of a store is damaged, as reading all of it shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from degflow_pipe.errors import DegflowError
from degflow_pipe.store.store import Store


def damage(store: Store, number: int) -> list[str]:
    """What is wrong with a unit: files that cannot be read or differ from their digests.

    What is not there, or was made of other HR, is not looked at, nor what is described wrongly.
    """
    unit = store.units[number]
    reads: list[Callable[[], object]] = [
        *(partial(store.hr, number), partial(store.patches, number)),
        *(
            partial(layer.read, n, unit)
            for layer in store.described_layers()
            for n in layer.numbers(number)
            if layer.has(n, unit)
        ),
    ]
    return _told(reads)


def described_wrongly(store: Store) -> list[str]:
    """Which of zarr's descriptions, and of the store's own beside the units, are damaged."""
    wrong = [
        f"{path} is damaged or missing: run `ingest` again, it writes it anew"
        for path in store.wrong_groups()
    ]
    checks: list[Callable[[], object]] = [
        *(store.skipped, store.photos, lambda: store.complete, store.check_room),
        *(partial(store.encoder, name) for name in store.encoders()),
        *(partial(store.grid, name) for name in store.grids()),
        *(layer.room for layer in store.described_layers()),
    ]
    return wrong + _told(checks)


def _told(checks: list[Callable[[], object]]) -> list[str]:
    """What the checks raise, each thing once."""
    wrong: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except DegflowError as error:
            wrong[str(error)] = None
    return list(wrong)
