"""shard: levels -> pairs -> WebDataset tars, an index, sums and a data set card."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from degflow_pipe import files, folders
from degflow_pipe.engines.threads import Engine, check_workers, in_order, threads
from degflow_pipe.errors import FileError, ShardError, StoreError, UsageError
from degflow_pipe.levels import Grid
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.shards.card import contact_sheet, write_card
from degflow_pipe.shards.layout import (
    ShardSettings,
    TarPlan,
    plan_tars,
    settings_json,
)
from degflow_pipe.shards.summary import FORMAT, INDEX, VERSION
from degflow_pipe.shards.tars import Maker, Sources, index_part, kept_tar, shard_unit
from degflow_pipe.store import Store
from degflow_pipe.store.lacking import lacking

KIND = "set of shards"
"""Of the folder, for `folders.one_writer`."""
CARD = "README.md"
INDEX_PART = 2**30
"""Bytes of the index of one tar, some 700 for a pair."""
TARS_AT_ONCE = 4
"""Tars that share the workers, so that none of them waits where a tar begins or ends."""


@dataclass
class ShardSummary:
    """What a shard run left in the folder."""

    out: str
    name: str
    tars: int
    samples: int
    pairs: int
    patches: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def shard(
    store: Path,
    out: Path,
    settings: ShardSettings | None = None,
    *,
    grid: str | None = None,
    maker: Maker | None = None,
    workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    engine: Engine = in_order,
) -> ShardSummary:
    """Write the pairs of one grid as tars; complete tars that still fit are left as they are.

    grid: its name in the store, needed where the store holds several. maker: makes the levels of
    its own grid as they are wanted (call it within `one_thread_each`); the store needs none. The
    shards are the same. overwrite: replace a data set of other settings in the same folder, and
    look at every tar that is left by its sum.

    Raises StoreError where patches or levels are missing, ShardError where `out` holds another data
    set, FileError where it is not a folder of shards, UsageError where a size cannot be had.
    """
    settings = settings or ShardSettings()
    workers = check_workers(workers)
    source = Store.open(store)
    _require_whole(source)
    begun = _state(source)
    if maker is None:
        chosen = _choose_grid(source, grid)
        counts = _complete_units(source, chosen)
    else:
        chosen = maker.grid
        counts = {unit: len(record.patches) for unit, record in source.records()}
    sources = Sources(source, chosen, settings, maker)
    assert sources.levels  # sizes that cannot be had are refused before anything is written
    wanted = settings_json(settings, source.settings, chosen)
    with folders.one_writer(out, KIND):
        finished = _clear_way(out, settings, wanted, overwrite)
        plans = plan_tars(counts, len(chosen), settings)
        totals = _Totals()
        tars = sum(1 for _ in plan_tars(counts, len(chosen), settings))
        # A finished data set of which nothing has to be made is not read again.
        trusted = finished and all(
            kept_tar(plan, sources, out, trusted=True)
            for plan in plan_tars(counts, len(chosen), settings)
        )
        with (
            (progress or Silent()).task("shard", tars) as task,
            files.writing(out / f"{settings.name}{INDEX}") as index,
            threads(workers) as pool,
        ):

            def work(plan: TarPlan) -> dict[str, Any]:
                return shard_unit(plan, sources, out, workers, pool, trusted)

            for number, mark in enumerate(engine(work, plans, min(workers, TARS_AT_ONCE))):
                totals.add(mark)
                index.write(files.read_bytes(index_part(out, settings, number), INDEX_PART))
                task.advance()
        if _state(source) != begun:
            raise StoreError(f"{store} was changed while it was sharded: run `shard` again")
        _finish(out, sources, totals, wanted, sum(counts.values()))
    return ShardSummary(
        out=str(out),
        name=settings.name,
        tars=tars,
        samples=totals.samples,
        pairs=totals.pairs,
        patches=sum(counts.values()),
        bytes=totals.bytes,
    )


class _Totals:
    """Sums over the marks of the tars."""

    def __init__(self) -> None:
        self.samples = self.pairs = self.bytes = 0
        self.sums: list[tuple[str, str]] = []
        self.errors: dict[str, list[float]] = {}

    def add(self, mark: dict[str, Any]) -> None:
        self.samples += mark["samples"]
        self.pairs += mark["pairs"]
        self.bytes += mark["bytes"]
        self.sums.append((mark["tar"], mark["sha256"]))
        for level, (error, count) in mark["squared_error"].items():
            known = self.errors.setdefault(level, [0.0, 0])
            known[0], known[1] = known[0] + error, known[1] + count


def _choose_grid(store: Store, name: str | None) -> Grid:
    grids = store.grids()
    if not grids:
        raise StoreError(f"{store.path} holds no levels: run `degflow-pipe generate` first")
    if name is None and len(grids) > 1:
        raise UsageError(
            f"{store.path} holds {len(grids)} grids: name one with --grid: {', '.join(grids)}"
        )
    return store.grid(name if name is not None else grids[0])


def _state(store: Store) -> list[tuple[int, str]]:
    """What tells whether another process has changed the patches meanwhile."""
    return [(unit, record.sha256["hr"]) for unit, record in store.records()]


def _require_whole(store: Store) -> None:
    """Raises StoreError where the store does not hold all that was put into it."""
    if missing := lacking(store):
        more = f" ({len(missing) - 1} more: see `degflow-pipe verify`)" if missing[1:] else ""
        raise StoreError(f"{missing[0]}{more}")


def _complete_units(store: Store, grid: Grid) -> dict[int, int]:
    """Patches in each unit. Raises StoreError where a unit's levels are not made yet."""
    counts = {unit: len(record.patches) for unit, record in store.records()}
    missing = set(counts) - set(store.units_with_levels(grid.name))
    if missing:
        raise StoreError(
            f"{store.path}: {sum(counts[unit] for unit in missing)} of {sum(counts.values())} "
            f"patches lack the levels of {grid.name}: run `degflow-pipe generate --store "
            f"{store.path} --t {','.join(str(level.exact) for level in grid.levels)} "
            f"{_noise_options(grid)}` again, with the same --checkpoint"
        )
    return counts


def _noise_options(grid: Grid) -> str:
    kind, _, rest = grid.noise.partition("-")
    return f"--noise {kind}" + (f" --seed {rest.partition('-')[0]}" if rest else "")


def check_folder(out: Path, settings: ShardSettings) -> None:
    """Raises ShardError where the folder holds a data set of another name."""
    for name in folders.held(out) if files.exists(out) else []:
        other = re.fullmatch(r"\.?([a-z0-9][a-z0-9_-]*?)(-\d{6}\.tar|\.index\.jsonl|\.json)", name)
        if other and other[1] != settings.name:
            raise ShardError(
                f"{out} holds the data set {other[1]} ({name}): give another folder with --out"
            )


def _clear_way(out: Path, settings: ShardSettings, wanted: dict[str, Any], overwrite: bool) -> bool:
    """Take back the mark of a finished data set that is to change; refuse another data set.

    Returns whether it was finished and is to stay as it is.
    """
    check_folder(out, settings)
    path = out / f"{settings.name}.json"
    if not files.exists(path):
        return False
    try:
        found = files.read_summed(path)
        card = found.get("card_sha256")
    except FileError as error:
        if not overwrite:
            raise ShardError(f"{error}: --overwrite writes it anew; whole tars stay") from error
        found, card = {}, None
    if found.get("settings") != wanted and not overwrite:
        raise ShardError(
            f"{out} holds {settings.name} made with other settings (see {path}): give another "
            f"folder with --out, or --overwrite"
        )
    if files.exists(out / CARD) and files.sha256(out / CARD) != card and not overwrite:
        raise ShardError(
            f"{out / CARD} was changed since it was written: move it elsewhere, or say --overwrite"
        )
    files.remove(path)
    return not overwrite


def _finish(
    out: Path, sources: Sources, totals: _Totals, wanted: dict[str, Any], patches: int
) -> None:
    """Everything beside the tars; NAME.json last, the mark of a finished data set."""
    settings = sources.settings
    tars = [tar for tar, _ in totals.sums]
    marks = out / settings.marks
    for name in [*files.names(out, ".tar"), *files.names(marks)]:
        # of an earlier, larger data set
        found = re.fullmatch(rf"({re.escape(settings.name)}-)?(\d{{6}})\.(tar|jsonl?)", name)
        if found and int(found[2]) >= len(tars):
            files.remove((out if found[1] else marks) / name)
    figures = {
        "format": FORMAT,
        "version": VERSION,
        "name": settings.name,
        "samples": totals.samples,
        "pairs": totals.pairs,
        "patches": patches,
        "bytes": totals.bytes,
        "tars": tars,
        "layout": settings.layout,
        "lr_size": settings.lr_size,
        "picture_format": settings.picture_format,
        "mean_squared_error": {k: error / count for k, (error, count) in totals.errors.items()},
        "settings": wanted,
    }
    files.write_bytes(out / "contact_sheet.png", contact_sheet(sources))
    write_card(out / CARD, figures, sources)
    figures["card_sha256"] = files.sha256(out / CARD)
    sums = [*totals.sums]
    for name in (f"{settings.name}{INDEX}", CARD, "contact_sheet.png"):
        sums.append((name, files.sha256(out / name)))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sums)
    files.write_text(out / f"{settings.name}.sha256", lines)
    files.write_summed(out / f"{settings.name}.json", figures)
