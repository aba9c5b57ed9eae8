"""What `info` prints: what it is, how much, how it was made, and what comes next.

The whole is in the JSON; this is for whoever asks in passing.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from degflow_pipe.cli.output import print_head, print_rows, show
from degflow_pipe.cli.summaries import Lines, few, own_checkpoint, skipped_lines, tallied
from degflow_pipe.cli.tables import MEND, show_verdict
from degflow_pipe.formats.said import number_of, size_of

if TYPE_CHECKING:
    from degflow_pipe.exports.contents import ExportContents
    from degflow_pipe.stages.inspection import (
        CheckpointContents,
        GridContents,
        ShardsContents,
        StoreContents,
    )


def show_contents(
    found: StoreContents | ShardsContents | ExportContents | CheckpointContents,
    as_json: bool,
    path: str,
) -> None:
    """A store, shards, an export or a checkpoint; the verdict on the last comes first."""
    if as_json:
        show(found, True)
        return
    lines: dict[str, Any] = {
        "store": _store,
        "shards": _shards,
        "export": _export,
        "checkpoint": _checkpoint,
    }
    head, *rest = lines[found.kind](found, path)
    print_head(f"{path}: {head[1]}")
    if found.kind == "checkpoint":
        show_verdict(found.verdict)  # type: ignore[union-attr]
    print_rows([*rest, ("all of it", f"degflow-pipe info {shlex.quote(path)} --json")])


def _store(found: StoreContents, path: str) -> Lines:
    at, side = shlex.quote(path), found.patch
    yield (
        "",
        (
            f"a store of {number_of(found.patches, 'HR patches')} of {side} x {side} pixels, from "
            f"{number_of(found.photos, 'photos')}"
        ),
    )
    if not found.complete:
        yield "unfinished", "an ingest was stopped before its end: run it again"
    if found.colours:
        yield "photos", tallied(found.colours)
    if found.beyond:
        yield "left out", f"{tallied(found.beyond)} (photos beyond a limit of ingest)"
    yield from skipped_lines(found.skipped)
    for latents in found.latents.values():
        yield "latents", f"by {latents.checkpoint}: {_share(latents.patches, found.patches)}"
    for name, grid in found.grids.items():
        yield "levels", f"{_grid(grid)}: {_share(grid.patches, found.patches)} ({name})"
    whole = [name for name, grid in found.grids.items() if grid.patches == found.patches]
    for name, grid in found.grids.items():
        if name not in whole:
            lacking = number_of(found.patches - grid.patches, "patches")
            yield "not whole", f"{name} lacks {lacking}: run `generate` with its levels"
    if not found.patches:
        yield "next", f"degflow-pipe ingest PHOTOS --store {at}"
    elif not whole:
        ids = [latents.checkpoint for latents in found.latents.values()]
        own = " --checkpoint CHECKPOINT" if ids and own_checkpoint(ids[0]) else ""
        yield "next", f"degflow-pipe generate --store {at}{own}"
    else:
        chosen = f" --grid {shlex.quote(whole[0])}" if len(found.grids) > 1 else ""
        yield "next", f"degflow-pipe shard --store {at}{chosen} --out SHARDS"


def _share(count: int, every: int) -> str:
    part = "all" if count == every else f"{count:,}"
    return f"{part} of {number_of(every, 'patches')}"


def _grid(grid: GridContents) -> str:
    size = f", LR of HR / {grid.sr_scale:g}" if grid.sr_scale else ""
    levels = "level" if len(grid.levels) == 1 else "levels"
    return (
        f"{grid.title + ': ' if grid.title else ''}{len(grid.levels)} {levels} "
        f"{few(grid.levels)}{size}, by {grid.checkpoint}, noise {grid.noise}, {grid.precision}"
    )


def _shards(found: ShardsContents, path: str) -> Lines:
    at = shlex.quote(path)
    yield (
        "",
        (
            f"{number_of(found.pairs, 'LR/HR pairs')} of {number_of(found.patches, 'patches')}, in "
            f"{number_of(len(found.tars), 'tars')} of {size_of(found.bytes)}"
        ),
    )
    settings = found.settings
    yield "levels", few(list(found.mean_squared_error))
    yield "made by", f"{settings.get('checkpoint')}, noise {settings.get('noise')}"
    small = "as large as HR" if found.lr_size == "same" else "HR over each level's scale"
    if found.sr_scale:
        small = f"HR / {found.sr_scale:g}, for networks of x{found.sr_scale:g}"
    yield "LR", f"{small}, {found.picture_format}"
    yield "HR", f"{settings.get('patch')} x {settings.get('patch')} pixels, {found.hr_format}"
    if found.chain is not None:
        yield "chain", found.chain
    if settings.get("validate"):
        yield "validate", f"photos set apart are in {at}/validate"
    yield "next", f"degflow-pipe export {at} --to TRAINER -o OUT, or sr_pairs({path!r}) in Python"


def _export(found: ExportContents, path: str) -> Lines:
    at = shlex.quote(path)
    if found.pairs is None:
        yield "", f"an export to {found.trainer} that was not ended"
    else:
        yield "", f"an export to {found.trainer} of {number_of(found.pairs, 'LR/HR pairs')}"
    yield "levels", few([level.level for level in found.levels])
    yield "LR", f"HR over {few(sorted({f'{level.effective_scale:g}' for level in found.levels}))}"
    yield "made of", f"shards named {found.shards}"
    if found.options is not None:
        yield "options", found.options
    if found.pairs is None:
        yield "next", "run the `export` that was stopped again: it leaves what is whole"
    else:
        yield "next", f"degflow-pipe doctor {at} --to {found.trainer}"


def _checkpoint(found: CheckpointContents, path: str) -> Lines:
    yield "", f"a checkpoint, {found.id}: {found.verdict.overall}"
    knots = ", ".join(f"{level['name']} at t = {level['t']:g}" for level in found.levels)
    yield "levels", f"{knots}; t = 1 is x{found.scale.s_max:g}"
    if found.data.get("source"):
        yield "trained", f"on {found.data['source']}"
    if found.data.get("licence"):
        yield "licence", f"{found.data['licence']} (of the training data)"
    stages = [f"{name}{psnr}" for name, stage in found.training.items() if (psnr := _psnr(stage))]
    if stages:
        yield "stages", "; ".join(stages)
    noise = "none" if found.calibration is None else "measured, drawn unless you say none"
    yield "noise", noise
    solver = found.model.solver
    yield "solver", f"{solver.method}, {solver.steps} steps"
    if found.verdict.overall == "not usable":
        yield "next", MEND
    else:
        yield "next", f"degflow-pipe preview PHOTO --checkpoint {shlex.quote(path)}"


def _psnr(stage: Any) -> str:
    """The PSNR that a stage of training ended with; empty for what is no stage."""
    figures = stage.get("figures", {}) if isinstance(stage, dict) else {}
    known = [f"{key} {value:.2f} dB" for key, value in figures.items() if key.startswith("psnr")]
    return f", {known[0]}" if known else ""
