"""The report of a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degflow_pipe import files
from degflow_pipe.errors import StoreError
from degflow_pipe.formats.said import Skips, noun_of, size_of, skips_of
from degflow_pipe.levels import Grid
from degflow_pipe.progress import Progress
from degflow_pipe.reports.charts import histogram
from degflow_pipe.reports.described import (
    FARTHEST,
    NAMED,
    NEAREST,
    REASONS,
    command,
    counted,
    facts_of_maker,
    judged_makers,
    levels_shown,
    noise_of,
    spread,
)
from degflow_pipe.reports.drawn import SCENES, Album, Entry, cut, decibels, nearness
from degflow_pipe.reports.measured import Measured
from degflow_pipe.reports.page import (
    ROWS,
    Chart,
    Check,
    Fact,
    Judgement,
    Number,
    Page,
    Table,
)
from degflow_pipe.stages.meant import MeantLevels
from degflow_pipe.store import BLOCK, BLOCKS, PhotoRecord, Store

DRAWN_BLOCKS = 400
"""Blocks, at most, whose drawn levels are counted."""


@dataclass(frozen=True)
class Patch:
    """A patch that was looked at. levels: of those that are shown; psnr: of the strongest, dB;
    evenly: whether it is one of those that are shown in any case.
    """

    name: str
    hr: np.ndarray
    levels: list[np.ndarray]
    psnr: float
    evenly: bool


def of_store(path: Path, grid: str | None, progress: Progress) -> Page:
    """grid: which levels are shown, by name or title; those of most patches by default.

    Raises StoreError for a store that is damaged where it is read, or has no such grid.
    """
    store = Store.open(path)
    if damaged := store.damaged_ledgers():
        raise StoreError(damaged[0])
    photos = list(store.photos().values())
    grids = [store.grid(name) for name in store.grids()]
    chosen = store.find_grid(grid) if grid is not None else _fullest(store, grids)
    patches = sum(unit.count for unit in store.units.values())
    page = Page(
        "Store of degflow-pipe", path.name or files.real(path).name, _lead(store, photos, chosen)
    )
    page.numbers = _numbers(store, photos, patches, grids)
    page.judgements = [_state(store, grids, patches)]
    if chosen is not None:
        page.judgements += judged_makers(chosen.checkpoint)
        _show(store, chosen, page, progress)
    page.histograms += _histograms(store, photos)
    page.facts = _facts(store, photos, chosen)
    page.origins = [table for table in (_grids(store, grids), _photos(photos)) if table.rows]
    page.skips = skips_of(store.skipped(), NAMED, REASONS) + _beyond(photos)
    page.costs = [_disk(store, grids)]
    page.commands, page.commands_said = _commands(store, photos, grids)
    return page


def _made_patches(store: Store, grid: Grid) -> int:
    levels = store.levels(grid)
    return sum(u.in_block(n % BLOCKS) for n, u in store.blocks() if n in levels.made)


def _fullest(store: Store, grids: list[Grid]) -> Grid | None:
    return max(grids, key=lambda grid: _made_patches(store, grid), default=None)


def _called(grid: Grid) -> str:
    return grid.title or grid.name


def _lead(store: Store, photos: list[PhotoRecord], grid: Grid | None) -> str:
    side = store.settings.patch
    used = sum(photo.kept > 0 for photo in photos)
    text = f"HR patches of {side} x {side} pixels of {used:,} {noun_of(used, 'photos')}"
    if grid is None:
        return f"{text}; no levels of degradation were made of them yet."
    labels = [level.label for level in grid.levels]
    said = labels[0] if len(labels) == 1 else f"{len(labels)} levels, {labels[0]} to {labels[-1]}"
    size = f" of HR / {grid.sr_scale:g}" if grid.sr_scale else ""
    return f"{text}, and LR{size} at {said}, by {grid.checkpoint[:200] or 'an unknown checkpoint'}."


def _numbers(
    store: Store, photos: list[PhotoRecord], patches: int, grids: list[Grid]
) -> list[Number]:
    pairs = sum(_made_patches(store, grid) * len(grid) for grid in grids)
    used = sum(photo.kept > 0 for photo in photos)
    return [
        Number(f"{patches:,}", f"HR patches of {store.settings.patch} pixels a side"),
        Number(f"{used:,}", noun_of(used, "photos")),
        Number(f"{pairs:,}", "LR/HR pairs"),
        Number(size_of(sum(_bytes(store, grids).values())), "on disk"),
    ]


def _state(store: Store, grids: list[Grid], patches: int) -> Judgement:
    """Whether everything is there that was begun."""
    checks = [_check("ingest", store.complete, "came to its end", "was stopped: run ingest again")]
    for name in store.encoders():
        encoder, latents = store.encoder(name), store.latents(store.encoder(name))
        there = sum(unit.count for n, unit in store.units.items() if n in latents.made)
        checks.append(_share(f"latents of {encoder.checkpoint}", there, patches, "ingest"))
    for grid in grids:
        there = _made_patches(store, grid)
        checks.append(_share(f"levels {_called(grid)}", there, patches, "generate"))
    whole = all(check.state == "good" for check in checks)
    word = "Whole" if whole else "Not whole yet"
    said = "By its ledgers; the files themselves are read by `degflow-pipe verify`."
    return Judgement("What is there", "good" if whole else "care", word, said, checks)


def _check(name: str, fine: bool, good: str, otherwise: str) -> Check:
    return Check(
        name, "good" if fine else "care", "done" if fine else "open", good if fine else otherwise
    )


def _share(name: str, there: int, of: int, cure: str) -> Check:
    said = f"{there:,} of {of:,} patches have them"
    return _check(name, there == of, said, f"{said}: run {cure} again")


def _looked_at(store: Store, grid: Grid, progress: Progress) -> Iterator[Patch]:
    """All patches of some blocks, which are chosen evenly of those that have levels."""
    layer, shown = store.levels(grid), levels_shown(len(grid))
    blocks = spread([(n, u) for n, u in store.blocks() if n in layer.made], SCENES)
    each = -(-SCENES // max(len(blocks), 1))
    with progress.task("look at patches", len(blocks), counts="blocks") as task:
        for block, unit in blocks:
            hr, lr = store.block_hr(block, unit), layer.read(block, unit)
            records = store.patches(block // BLOCKS)[block % BLOCKS * BLOCK :]
            evenly = spread(range(len(hr)), each)
            for i, (whole, levels) in enumerate(zip(hr, lr, strict=True)):
                name = f"{records[i].source}, patch at {records[i].x}, {records[i].y}"
                last = levels[-1]
                yield Patch(
                    name, whole, [levels[j] for j in shown], nearness(whole, last), i in evenly
                )
            task.advance()


def _show(store: Store, grid: Grid, page: Page, progress: Progress) -> None:
    """Scenes and curves of some patches: evenly chosen ones, and the two ends by PSNR."""
    numbers = levels_shown(len(grid))
    labels = [grid.levels[i].label for i in numbers]
    by_scale = len(set(grid.scales)) == len(grid.scales)
    x = grid.scales if by_scale else grid.t
    measured = Measured(
        labels, [float(x[i]) for i in numbers], "scale s" if by_scale else "level t"
    )
    kept: list[Patch] = []
    ends: tuple[Patch, Patch] | None = None
    looked = 0
    for patch in _looked_at(store, grid, progress):
        if patch.evenly:
            kept.append(patch)
            measured.add(cut(patch.hr), [cut(lr, patch.hr) for lr in patch.levels])
        low, high = ends or (patch, patch)
        ends = (patch if patch.psnr < low.psnr else low, patch if patch.psnr > high.psnr else high)
        looked += 1
    if ends is None:
        return
    shown = {id(patch): patch for patch in (*kept, *ends)}
    album = Album()
    album.add_all([_entry(one, labels) for one in shown.values()], FARTHEST, NEAREST, progress)
    page.scenes = album.scenes
    enlarged = ", enlarged" if grid.sr_scale else ""
    told = "" if len(numbers) == len(grid) else f", at {len(numbers)} of {len(grid)} levels"
    page.pictures_said = (
        f"Pixels as they are in the store, coded without loss{told}. Patches are chosen evenly, "
        f"the same each time, after those of {looked:,} looked at whose LR{enlarged} is the "
        f"farthest from HR by PSNR and the nearest to it."
    )
    page.curves = measured.charts()
    if grid.told and (drawn := _drawn(store, grid)):
        page.histograms.append(drawn)


def _entry(patch: Patch, labels: list[str]) -> Entry:
    pictures = [("HR", "", cut(patch.hr))]
    pictures += [
        (label, decibels(patch.hr, lr), cut(lr, patch.hr))
        for label, lr in zip(labels, patch.levels, strict=True)
    ]
    return Entry(patch.name, "", pictures, patch.psnr)


def _drawn(store: Store, grid: Grid) -> Chart | None:
    """Of levels that each patch draws its own: which scales were drawn."""
    layer = store.levels(grid)
    blocks = spread([n for n, _ in store.blocks() if n in layer.made], DRAWN_BLOCKS)
    scales = [one.scale for n in blocks for row in layer.told(n) for one in row]
    several = len({round(scale, 6) for scale in scales}) > 1
    return histogram("Scales that patches drew", "scale s", scales, "levels") if several else None


def _histograms(store: Store, photos: list[PhotoRecord]) -> list[Chart]:
    found = []
    details = [patch.detail for _, patches in store.every_patch() for patch in patches]
    if details:
        said = "Mean difference between neighbouring pixels; flat patches are left out by it."
        found.append(
            histogram("Detail of patches", "detail, grey levels", details, "patches", said)
        )
    if len(kept := [photo.kept for photo in photos if photo.kept]) > 1:
        found.append(histogram("Patches of a photo", "patches", kept, "photos"))
    for name, title, across in (
        ("sharpness", "Sharpness", "fine detail, grey levels"),
        ("blockiness", "JPEG blocks", "steps along JPEG's grid, grey levels"),
        ("clipped", "Clipped pixels", "share of pixels at 0 or 255"),
        ("noise", "Noise", "standard deviation, grey levels"),
    ):
        values = [v for photo in photos if (v := getattr(photo.quality, name)) is not None]
        if len(values) > 1:
            found.append(histogram(f"{title} of photos", across, values, "photos"))
    return found


def _facts(store: Store, photos: list[PhotoRecord], grid: Grid | None) -> list[Fact]:
    found = [
        Fact("colours of the photos", counted(photo.colour for photo in photos)),
        Fact("licence of the photos", "not recorded in a store: that of the photos named below"),
    ]
    if grid is not None:
        found += [
            Fact("levels shown", _called(grid)),
            Fact("checkpoint", grid.checkpoint or "not known"),
            Fact("noise of LR", noise_of(grid.noise)),
            Fact("precision", grid.precision or "not known"),
            *(Fact("camera", about) for about in grid.about[:40]),
            *facts_of_maker(grid.checkpoint),
        ]
        if grid.sr_scale:
            found.insert(2, Fact("size of LR", f"HR / {grid.sr_scale:g}"))
    return [fact for fact in found if fact.said]


def _grids(store: Store, grids: list[Grid]) -> Table:
    rows = [
        [
            _called(grid),
            ", ".join(level.label for level in grid.levels[:30]),
            f"{_made_patches(store, grid):,}",
            grid.checkpoint[:200],
        ]
        for grid in grids[:ROWS]
    ]
    columns = ("grid", "levels", "patches", "checkpoint")
    return Table("Grids of levels", columns, rows, text=frozenset({0, 1, 3}), total=len(grids))


def _photos(photos: list[PhotoRecord]) -> Table:
    """Those that gave patches, by name."""
    used = sorted((p for p in photos if p.kept), key=lambda photo: photo.source)
    rows = [
        [
            photo.source,
            f"{photo.kept:,}",
            f"{photo.flat:,}",
            f"{photo.duplicate:,}",
            _shown(photo.quality.sharpness),
            _shown(photo.quality.noise),
            photo.sha256[:16],
        ]
        for photo in used[:ROWS]
    ]
    columns = ("photo", "patches", "flat", "repeated", "sharpness", "noise", "SHA-256 begins")
    return Table("Photos", columns, rows, total=len(used))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _beyond(photos: list[PhotoRecord]) -> list[Skips]:
    """Photos that a limit of quality left out."""
    groups: dict[str, list[str]] = {}
    for photo in photos:
        if photo.beyond:
            groups.setdefault(photo.beyond, []).append(photo.source)
    return [
        Skips(f"beyond {limit.replace('_', ' ')}", len(names), sorted(names)[:12])
        for limit, names in sorted(groups.items())
    ]


def _bytes(store: Store, grids: list[Grid]) -> dict[str, int]:
    """By what the ledgers say of each file."""
    found = {"HR": sum(unit.bytes for unit in store.units.values())}
    for name in store.encoders():
        encoder = store.encoder(name)
        of = f"latents of {encoder.checkpoint}"
        found[of] = sum(made.bytes for made in store.latents(encoder).made.values())
    for grid in grids:
        made_levels = store.levels(grid).made.values()
        found[f"levels {_called(grid)}"] = sum(made.bytes for made in made_levels)
    return found


def _disk(store: Store, grids: list[Grid]) -> Table:
    found = _bytes(store, grids)
    count = max(sum(unit.count for unit in store.units.values()), 1)
    rows = [[name, size_of(held), size_of(held / count)] for name, held in found.items()]
    total = sum(found.values())
    rows.append(["all", size_of(total), size_of(total / count)])
    said = "By the ledgers. A store does not record how long it took: give `report` the `events`."
    return Table("Disk", ("what", "bytes", "a patch"), rows, said)


def _commands(store: Store, photos: list[PhotoRecord], grids: list[Grid]) -> tuple[list[str], str]:
    crops = Counter(photo.crop for photo in photos)
    name = store.path.name or files.real(store.path).name
    made = []
    encoders = [store.encoder(name) for name in store.encoders()]
    checkpoints: list[str | None] = [one.checkpoint for one in encoders]
    for (stride, detail, limits), _ in crops.most_common(10):
        asked = {name: value for name, value in vars(limits).items() if value is not None}
        made += [
            command(
                "ingest",
                "PHOTOS",
                store=name,
                patch=store.settings.patch,
                stride=None if stride == store.settings.patch else stride,
                min_detail=f"{detail:g}",
                **asked,
                checkpoint=checkpoint,
            )
            for checkpoint in checkpoints or [None]
        ]
    for grid in grids[:20]:
        options = MeantLevels.of(grid).options
        made.append(
            command(
                "generate",
                store=name,
                checkpoint=grid.checkpoint or None,
                **options,
                precision=grid.precision or None,
                name=grid.title or None,
            )
        )
    if grids:
        made.append(
            command("shard", store=name, grid=_called(grids[0]) if len(grids) > 1 else None)
        )
    many = " Photos were cropped in several ways, a line each." if len(crops) > 1 else ""
    said = f"PHOTOS are those named above; a checkpoint of your own is named by its folder.{many}"
    return made, said
