"""shard: levels -> pairs -> WebDataset tars, an index and a sum of each, and a data set card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from degflow_pipe import files, folders, json_files
from degflow_pipe.engines.engine import Engine, check_workers
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.engines.ticks import Amount
from degflow_pipe.errors import DegflowError, FileError, ShardError, StoreError, UsageError
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import Grid
from degflow_pipe.places import text_of
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.shards.card import contact_sheet, write_card
from degflow_pipe.shards.layout import (
    INDEX,
    SUMS_LIMIT,
    VALIDATE,
    PackedLevel,
    ShardSettings,
    packed_levels,
    settings_json,
)
from degflow_pipe.shards.plan import Plan, Run, sides_of
from degflow_pipe.shards.split import Split
from degflow_pipe.shards.summary import FORMAT, VERSION
from degflow_pipe.shards.tars import Maker, TarDone, TarJob
from degflow_pipe.stages.meant import MeantLevels
from degflow_pipe.stages.tars import Shown, Tars
from degflow_pipe.store import BLOCKS, Encoder, Made, Store
from degflow_pipe.store.lacking import lacking
from degflow_pipe.store.records import Rows
from degflow_pipe.watching import SlowUnit, StageWatch, Watch

KIND = folders.SHARDS
"""Of the folder, for `folders.one_writer`."""
CARD, SHEET = "README.md", "contact_sheet.png"
TARS_AT_ONCE = 4
"""Tars that share the threads, so that none of them waits where a tar begins or ends."""


@dataclass
class ValidationSummary:
    """What was set apart for validation, in a folder of its own; see `ShardSummary`."""

    tars: int
    made: int
    samples: int
    pairs: int
    patches: int
    bytes: int


@dataclass
class ShardSummary:
    """What a shard run left in the folder; made: tars that were made now. validation: of the photos
    that were set apart, in a folder of their own.
    """

    out: str
    name: str
    tars: int
    made: int
    samples: int
    pairs: int
    patches: int
    bytes: int
    validation: ValidationSummary | None = None
    slowest: list[SlowUnit] = field(default_factory=list, compare=False)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def shard(
    store: Path,
    out: Path,
    settings: ShardSettings | None = None,
    *,
    grid: str | None = None,
    maker: Maker | None = None,
    encoders: Mapping[int, Encoder] | None = None,
    workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    watch: Watch | None = None,
    engine: Engine = run_in_threads,
) -> ShardSummary:
    """Write the pairs of one grid as tars; complete tars that still fit are left as they are.

    grid: its name in the store, needed where the store holds several. maker: makes the levels of
    its own grid as they are wanted, of the store's latents of `encoders`, by the number of the
    camera, where it has them; the store needs none. The shards are the same. overwrite: replace a
    data set of other settings in the same folder, and look at every tar that is left by its sum.
    watch: is told of each tar.

    Raises StoreError where patches or levels are missing, ShardError where `out` holds another data
    set, FileError where it is not a folder of shards, UsageError where a size cannot be had.
    """
    settings = settings or ShardSettings()
    at_once = check_workers(workers, engine)
    source = Store.open(store)
    chosen, made = levels_to_pack(source, grid, maker)
    encoders = dict(encoders or {})
    parts = parts_of(source, out, settings, chosen, encoders, made)
    told = StageWatch(watch)
    work = _Work(
        *(source, settings, chosen, encoders, maker),
        *(at_once, overwrite, progress or Silent(), told, engine),
    )
    wanted = settings_json(settings, source.settings.patch, chosen)
    # Sizes that cannot be had are refused before anything is written.
    packed_levels(chosen, source.settings.patch, settings)
    looks = [_look(part.out, settings, wanted, overwrite) for part in parts]
    if not settings.validate and check_validation(out, overwrite):
        files.remove(out / VALIDATE)
    if not all(look.same for look in looks):
        # No side is finished while a photo may be on both.
        for part in parts:
            files.remove(part.out / f"{settings.name}.json")
    summary, *others = [work.done(part.out, part.plan) for part in parts]
    summary = replace(summary, slowest=told.slowest)
    if not others:
        return summary
    (apart,) = others
    figures = {one.name: getattr(apart, one.name) for one in fields(ValidationSummary)}
    return replace(summary, validation=ValidationSummary(**figures))


def levels_to_pack(
    source: Store, grid: str | None, maker: Maker | None
) -> tuple[Grid, dict[int, Made] | None]:
    """The grid that is packed, and what the store says of its levels where it is to have them;
    raises as `shard`.
    """
    _require_whole(source)
    if maker is not None:
        return maker.grid, None
    chosen = _choose_grid(source, grid)
    return chosen, _complete_levels(source, chosen)


class Part(NamedTuple):
    """A folder of tars, and which there are."""

    out: Path
    plan: Plan


def parts_of(
    source: Store,
    out: Path,
    settings: ShardSettings,
    grid: Grid,
    encoders: Mapping[int, Encoder],
    made: dict[int, Made] | None,
) -> list[Part]:
    """The tars of a store's patches, and apart from them those for validation, where there are
    some. Raises UsageError for names that no photo has.
    """
    latents = {i: source.latents(encoder).made for i, encoder in encoders.items()}

    def plan(runs: list[Run] | None) -> Plan:
        patch = source.settings.patch
        return Plan(source.units, patch, grid, settings, latents, made, runs=runs)

    if not settings.validate:
        return [Part(out, plan(None))]
    trained, apart = _sides(source, settings)
    return [Part(out, plan(trained)), Part(out / VALIDATE, plan(apart))]


@dataclass(frozen=True)
class _Work:
    """What the shards of a store are made of, and how."""

    store: Store
    settings: ShardSettings
    grid: Grid
    encoders: dict[int, Encoder]
    maker: Maker | None
    at_once: int
    overwrite: bool
    progress: Progress
    told: StageWatch
    engine: Engine

    def done(self, out: Path, plan: Plan) -> ShardSummary:
        """Make the tars of a folder."""
        store, settings, grid = self.store, self.settings, self.grid
        packed = packed_levels(grid, store.settings.patch, settings)
        shown = Shown(store, plan, grid, self.maker)
        with folders.one_writer(out, KIND), Ledger(out / settings.ledger) as ledger:
            wants = settings_json(settings, store.settings.patch, grid)
            look = _look(out, settings, wants, self.overwrite)
            tars = Tars(plan, settings, out, ledger, by_sum=self.overwrite)
            tars.forget_others()
            missing = tars.missing()
            whole = not missing and look.finished and look.tars == plan.tars
            if not whole or not _sums_are_told(out, settings, tars):
                tars.take_back(missing)
                files.remove(out / f"{settings.name}.json")
                self._make(out, plan, tars, missing, shown)
                _require_unchanged(store)
                _finish(out, settings, tars, wants, shown, packed)
        return ShardSummary(
            out=str(out),
            name=settings.name,
            tars=plan.tars,
            made=len(missing),
            samples=tars.samples,
            pairs=tars.pairs,
            patches=plan.patches,
            bytes=tars.bytes,
        )

    def _make(self, out: Path, plan: Plan, tars: Tars, missing: list[int], shown: Shown) -> None:
        job = TarJob(
            *(
                text_of(self.store.path),
                text_of(out),
                self.settings,
                self.grid,
                self.encoders,
                self.maker,
            ),
            at_once=self.at_once if self.engine is run_in_threads else 1,
            shown=tuple(shown.numbers),
        )
        tars_at_once = min(self.at_once, TARS_AT_ONCE) if job.at_once > 1 else self.at_once
        known = plan.pairs - sum(map(plan.pairs_of, missing))
        apart = self.settings.validate and out.name == VALIDATE
        name = "shard validate" if apart else "shard"
        with (
            self.progress.task(name, plan.pairs, known, counts="pairs") as task,
            closing(
                self.engine(
                    *(job, map(plan.work, missing), tars_at_once),
                    hear=(so_far := Amount(task.advance)).hear,
                )
            ) as records,
        ):
            try:
                for number, made_now in zip(missing, records, strict=True):
                    tars.note(number, made_now.record)
                    self._tell(out, job, number, made_now)
                    shown.known |= made_now.shown
                    so_far.whole(made_now.record.pairs)
            except DegflowError:
                _require_unchanged(self.store)  # else what was changed looks damaged
                raise

    def _tell(self, out: Path, job: TarJob, number: int, done: TarDone) -> None:
        tar = self.settings.tar(number)
        if self.settings.validate and out.name == VALIDATE:
            tar = f"{VALIDATE}/{tar}"
        made = {"samples": done.record.samples, "pairs": done.record.pairs}
        made |= {} if done.evaluations is None else {"evaluations": done.evaluations}
        self.told.unit("shard", tar, done.took, job.device, made)


def _choose_grid(store: Store, name: str | None) -> Grid:
    grids = store.grids()
    if not grids:
        raise StoreError(f"{store.path} holds no levels: run `generate()` first")
    if name is None and len(grids) > 1:
        told = "; ".join(
            f"{grid.title or grid.name} by {grid.checkpoint}, noise {grid.noise}, "
            f"{grid.precision}, {', '.join(level.label for level in grid.levels[:3])}"
            f"{f' and {len(grid) - 3} more' if len(grid) > 3 else ''} "
            f"(x{grid.scales[0]:.3g} to x{grid.scales[-1]:.3g})"
            f"{f', LR of HR / {grid.sr_scale:g}' if grid.sr_scale else ''}"
            for grid in map(store.grid, grids)
        )
        raise UsageError(f"{store.path} holds {len(grids)} grids: name one as `grid`: {told}")
    return store.grid(grids[0]) if name is None else store.find_grid(name)


def _require_whole(store: Store) -> None:
    """Raises StoreError where the store does not hold all that was put into it."""
    if missing := lacking(store):
        more = f" ({len(missing) - 1} more: see `verify`)" if missing[1:] else ""
        raise StoreError(f"{missing[0]}{more}")
    if not store.units:
        raise StoreError(f"{store.path} holds no patches: run `ingest(photos=...)` first")


def _require_unchanged(store: Store) -> None:
    """Raises StoreError where the units on disk are not those that were read."""
    if Store.open(store.path).units != store.units:
        raise StoreError(f"{store.path} was changed while it was sharded: run `shard` again")


def _complete_levels(store: Store, grid: Grid) -> dict[int, Made]:
    """What is known of every block's levels. Raises StoreError where some are not made yet."""
    levels = store.levels(grid)
    counts = {block: unit.in_block(block % BLOCKS) for block, unit in store.blocks()}
    missing = [counts[block] for block, unit in store.blocks() if not levels.has(block, unit)]
    if missing:
        asked = {
            "store": str(store.path),
            **MeantLevels.of(grid).options,
            "checkpoint": grid.checkpoint,
        }
        call = ", ".join(f"{name}={value!r}" for name, value in asked.items())
        raise StoreError(
            f"{store.path}: {sum(missing)} of {sum(counts.values())} patches lack the levels of "
            f"{grid.name}: run `generate({call})` again"
        )
    return levels.made


def check_split(store: Store, settings: ShardSettings) -> None:
    """Raises UsageError where the store's photos cannot be set apart so."""
    _sides(store, settings)


def _sides(store: Store, settings: ShardSettings) -> tuple[list[Run], list[Run]]:
    """The patches to train on, and those that are set apart; raises as `check_split`."""
    split, photos = Split.of(settings.validate), set[tuple[str, str]]()

    def units() -> Iterator[tuple[int, Rows]]:
        for number, _, rows in store.every_unit():
            photos.update(rows.photos)
            yield number, rows

    sides = sides_of(units(), split.validates)
    split.check(photos)
    return sides


def check_data_set(
    out: Path, settings: ShardSettings, patch: int, grid: Grid, overwrite: bool
) -> None:
    """Raises what `shard` would before it writes: for sizes that cannot be had, another data set
    in the folder.
    """
    packed_levels(grid, patch, settings)
    _look(out, settings, settings_json(settings, patch, grid), overwrite)


def _check_name(out: Path, settings: ShardSettings) -> None:
    """Raises ShardError where the folder holds a data set of another name."""
    for name in folders.held(out) if files.exists(out) else []:
        other = re.fullmatch(
            r"\.?([a-z0-9][a-z0-9_-]*?)(-\d{6}\.tar|-\d{6}\.index\.jsonl|\.json)", name
        )
        if other and other[1] != settings.name:
            raise ShardError(
                f"{out} holds the data set {other[1]} ({name}): give another folder as `out`"
            )


class _Look(NamedTuple):
    """What is in a folder of shards. same: nothing, or what the settings ask for. finished: all
    that belongs to it is there. tars: how many it is said to have.
    """

    same: bool
    finished: bool
    tars: int


def _look(out: Path, settings: ShardSettings, wanted: dict[str, Any], overwrite: bool) -> _Look:
    """Look at a folder, and refuse another data set. Raises ShardError, FileError where it is of
    something else.
    """
    folders.check_ours(out, KIND)
    _check_name(out, settings)
    path = out / f"{settings.name}.json"
    if not files.exists(path):
        return _Look(same=True, finished=False, tars=0)
    try:
        found = json_files.read_summed(path)
        card = found.get("card_sha256")
    except FileError as error:
        if not overwrite:
            raise ShardError(f"{error}: `overwrite` writes it anew; whole tars stay") from error
        found, card = {}, None
    same = _same(found.get("settings"), wanted)
    if not same and not overwrite:
        raise ShardError(
            f"{out} holds {settings.name} made with other settings (see {path}): give another "
            f"folder as `out`, or `overwrite`"
        )
    card_stays = files.exists(out / CARD) and files.sha256(out / CARD) == card
    if files.exists(out / CARD) and not card_stays and not overwrite:
        raise ShardError(
            f"{out / CARD} was changed since it was written: move it elsewhere, or say `overwrite`"
        )
    beside = (out / SHEET, out / f"{settings.name}.sha256")
    whole = not overwrite and card_stays and all(map(files.exists, beside))
    tars = found.get("tars")
    return _Look(same, whole, len(tars) if isinstance(tars, list) else 0)


def check_validation(out: Path, overwrite: bool) -> bool:
    """Whether an earlier run set photos apart, which are to go. Raises ShardError where it was not
    said so.
    """
    if not files.exists(out / VALIDATE):
        return False
    folders.check_ours(out / VALIDATE, KIND)
    if not overwrite:
        raise ShardError(
            f"{out / VALIDATE} holds photos that were set apart, which would be trained on too: "
            f"give the same `validate`, another folder as `out`, or `overwrite`"
        )
    return True


def _same(found: Any, wanted: dict[str, Any]) -> bool:
    """A checkpoint that was renamed makes the same: the grid's name says what it depends on."""
    return isinstance(found, dict) and {**found, "checkpoint": wanted["checkpoint"]} == wanted


def _finish(
    out: Path,
    settings: ShardSettings,
    tars: Tars,
    wanted: dict[str, Any],
    shown: Shown,
    packed: list[PackedLevel],
) -> None:
    """Everything beside the tars; NAME.json last, the mark of a finished data set."""
    count, chain = tars.plan.tars, settings.read_chain()
    files.remove(out / f"{settings.name}{INDEX}")  # of a version that had one for all tars
    for name in files.names(out / settings.ledger):
        if re.fullmatch(r"\d{6}\.jsonl?", name):
            files.remove(out / settings.ledger / name)
    for name in files.names(out):  # of an earlier, larger data set
        found = re.fullmatch(rf"{re.escape(settings.name)}-(\d{{6,}})(\.tar|{INDEX})", name)
        if found and int(found[1]) >= count:
            files.remove(out / name)
    figures = {
        "format": FORMAT,
        "version": VERSION,
        "name": settings.name,
        "samples": tars.samples,
        "pairs": tars.pairs,
        "patches": tars.plan.patches,
        "bytes": tars.bytes,
        "tars": [settings.tar(number) for number in range(count)],
        "first_keys": [tars.first_keys[number] for number in range(count)],
        "layout": settings.layout,
        "lr_size": settings.lr_size,
        "sr_scale": shown.grid.sr_scale,
        "picture_format": settings.picture_format,
        "mean_squared_error": {k: float(error / n) for k, (error, n) in tars.errors.items()},
        "settings": wanted,
        **({} if chain is None else {"chain": chain.name}),
    }
    files.write_bytes(out / SHEET, contact_sheet(list(shown.pictures()), shown.grid))
    side = "validation" if settings.validate and out.name == VALIDATE else "train"
    write_card(out / CARD, figures, settings, shown.grid, packed, side)
    figures["card_sha256"] = files.sha256(out / CARD)
    files.write_text(out / f"{settings.name}.sha256", _sums(out, settings, tars))
    json_files.write_summed(out / f"{settings.name}.json", figures)


def _sums(out: Path, settings: ShardSettings, tars: Tars) -> str:
    """Lines as `sha256sum` writes them, of all files of a data set but this and NAME.json."""
    sums = []
    for number in range(tars.plan.tars):
        tar, index = tars.sums[number]
        sums += [(settings.tar(number), tar), (settings.index(number), index)]
    sums += [(name, files.sha256(out / name)) for name in (CARD, SHEET)]
    return "".join(f"{digest}  {name}\n" for name, digest in sums)


def _sums_are_told(out: Path, settings: ShardSettings, tars: Tars) -> bool:
    """Whether the file of sums of a whole data set says what is known."""
    said = files.read_bytes(out / f"{settings.name}.sha256", SUMS_LIMIT)
    return said == _sums(out, settings, tars).encode()
