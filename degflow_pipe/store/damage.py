"""What of a store is damaged, as reading all of it shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from degflow_pipe.errors import DegflowError
from degflow_pipe.store.records import BLOCKS
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
    return _raised(reads) + _untold(store, number)


def _untold(store: Store, number: int) -> list[str]:
    """Blocks of a unit whose levels are there, and not what they are."""
    unit = store.units[number]
    return [
        f"block {block} of {store.path}: it is not told what its levels of {grid.name} are: delete "
        f"{layer.file(block)} and run `generate` again"
        for grid in store.readable_grids()
        if grid.told
        for layer in [store.levels(grid)]
        for block in layer.numbers(number)
        if layer.has(block, unit) and len(layer.told(block)) != unit.in_block(block % BLOCKS)
    ]


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
    return wrong + _raised(checks)


def _raised(checks: list[Callable[[], object]]) -> list[str]:
    """What the checks raise, each thing once."""
    wrong: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except DegflowError as error:
            wrong[str(error)] = None
    return list(wrong)
