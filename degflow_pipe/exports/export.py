"""export: finished shards -> the pictures, lists and option file of a trainer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from degflow_pipe import files, folders
from degflow_pipe.engine import check_workers, in_order
from degflow_pipe.errors import FileError, ShardError
from degflow_pipe.exports.findings import png_size
from degflow_pipe.exports.source import ShardPair, Source, chosen_levels
from degflow_pipe.exports.trainer import Plan, Row, Sink, Trainer
from degflow_pipe.exports.trainers import TRAINERS, find_trainer
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.reading.samples import picture
from degflow_pipe.shards.pictures import parse_format

FORMAT, VERSION = "degflow-pipe export", 1
DONE, PAIRS, MARK = "export.json", "pairs.jsonl", ".degflow/export.json"
PAIRS_AT_ONCE = 32
"""Pairs that a worker makes before it takes the next ones."""


@dataclass
class ExportSummary:
    """What an export left in its folder. written: pictures made now; known: those there already;
    scales: what the trainer is told, one value for each level.
    """

    out: str
    trainer: str
    pairs: int
    patches: int
    t: list[float]
    scales: list[float]
    options: str
    written: int = 0
    known: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def export(
    shards: Path,
    to: str,
    out: Path,
    *,
    scale: int | None = None,
    t: Sequence[float] | None = None,
    scales: Sequence[float] | None = None,
    workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportSummary:
    """Write finished shards as the trainer `to` reads them; whole pictures are left as they are.

    scale: HR over LR for a trainer of one scale, by default that of the shards' pictures. t,
    scales: only these levels. overwrite: replace an export of other settings in the same folder.

    All pictures are PNG: those of the shards byte for byte where neither sizes nor format change.
    The option file is written once; what you change in it stays.

    Raises UsageError for levels, scales or sizes that the trainer cannot take, ShardError for
    shards that are unfinished or damaged, FileError where other files are in the way.
    """
    trainer = find_trainer(to)
    at_once = check_workers(workers)
    source = Source(shards)
    plans = trainer.plans(chosen_levels(source.levels, t, scales), scale)
    summary = ExportSummary(
        out=str(out),
        trainer=to,
        pairs=source.patches * len(plans),
        patches=source.patches,
        t=[plan.level.t for plan in plans],
        scales=[plan.told for plan in plans],
        options=str(out / trainer.options),
    )
    made = _made(trainer, source, plans)
    with folders.one_writer(out, "export"):
        _clear_way(out, trainer, made, overwrite)
        files.write_json(out / MARK, made)
        with (progress or Silent()).task(f"export {to}", summary.pairs) as task:
            for unit in _run(trainer, source, plans, out, at_once):
                summary.written += unit.written
                summary.known += unit.known
                task.advance(len(unit.rows))
        if not files.exists(out / trainer.options):
            text = trainer.option_file(plans, summary.pairs)
            files.write_text(out / trainer.options, text)
        files.write_json(out / DONE, _figures(made, summary, plans))
    return summary


def _made(trainer: Trainer, source: Source, plans: Sequence[Plan]) -> dict[str, Any]:
    """What two runs must share to write into one folder."""
    return {
        "trainer": trainer.name,
        "levels": [
            {
                "level": plan.level.name,
                "t": plan.level.t,
                "scale": plan.level.scale,
                "told": plan.told,
                "hr_size": [plan.packing.hr] * 2,
                "lr_size": [plan.packing.lr] * 2,
                "effective_scale": plan.packing.effective_scale,
            }
            for plan in plans
        ],
        "shards": {"name": source.shards.name, "sums": source.sums},
    }


def _figures(made: dict[str, Any], summary: ExportSummary, plans: Sequence[Plan]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        **made,
        "pairs": summary.pairs,
        "patches": summary.patches,
        "scales": {
            "nominal": [plan.level.scale for plan in plans],
            "effective": [plan.packing.effective_scale for plan in plans],
        },
        "options": Path(summary.options).name,
    }


def _clear_way(out: Path, trainer: Trainer, made: dict[str, Any], overwrite: bool) -> None:
    """Take back the mark of a finished export; refuse what is not an export of these settings."""
    found = files.read_json(out / MARK) if files.exists(out / MARK) else None
    if found is None:
        places = [*trainer.places, *trainer.lists, trainer.options, PAIRS, DONE]
        in_way = [path for place in places for path in files.matches(place, out)]
        if in_way:
            raise FileError(
                f"{in_way[0]} is there already, and of no export: give another folder with --out"
            )
        return
    if found == made:
        files.remove(out / DONE)
        return
    other = TRAINERS.get(found.get("trainer", "") if isinstance(found, dict) else "")
    if other is None:
        raise FileError(f"{out / MARK} is damaged: give another folder with --out")
    if not overwrite:
        raise FileError(
            f"{out} holds an export to {other.name} of other settings or shards: give another "
            f"folder with --out, or --overwrite"
        )
    files.remove(out / DONE)
    for place in [*other.places, *other.lists, other.options, PAIRS]:
        for path in files.matches(place, out):
            files.remove(path)


def _run(
    trainer: Trainer, source: Source, plans: Sequence[Plan], out: Path, workers: int
) -> Iterator[_Unit]:
    """Make all pairs, their lists and pairs.jsonl; yields each unit when its lines are written."""
    chosen = {plan.level.name: plan for plan in plans}
    units = source.units(max(PAIRS_AT_ONCE // len(source.levels), 1))
    with ExitStack() as stack:
        sink = stack.enter_context(trainer.sink(out))
        listed: list[tuple[IO[bytes], Callable[[Row], str]]] = [
            (stack.enter_context(files.writing(out / PAIRS)), _json_line),
            *(
                (stack.enter_context(files.writing(out / name)), line)
                for name, line in trainer.lists.items()
            ),
        ]

        def work(unit: list[ShardPair]) -> _Unit:
            return _pictures(trainer, chosen, sink, unit)

        for unit in in_order(work, units, workers):
            for path, data, side in unit.pictures:
                sink.put(path, data, side)
            for row in unit.rows:
                for file, line in listed:
                    file.write(f"{line(row)}\n".encode())
            yield unit


def _json_line(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


@dataclass
class _Unit:
    """Some pairs: their lines, pictures still to be put (path, PNG, side), and how many pictures
    are new, and were there already.
    """

    rows: list[Row] = field(default_factory=list)
    pictures: list[tuple[str, bytes, int]] = field(default_factory=list)
    written: int = 0
    known: int = 0


def _pictures(
    trainer: Trainer, chosen: dict[str, Plan], sink: Sink, unit: list[ShardPair]
) -> _Unit:
    made = _Unit()
    seen: set[str] = set()
    for pair in unit:
        plan = chosen.get(pair.level)
        if plan is None:
            continue
        paths = trainer.where(pair, plan)
        made.rows.append(_row(pair, plan, paths))
        for path, is_hr in zip(paths, (True, False), strict=True):
            if path in seen:
                continue
            seen.add(path)
            if sink.kept(path):
                made.known += 1
                continue
            data, side = _picture(pair, plan, is_hr)
            made.written += 1
            if sink.in_workers:
                sink.put(path, data, side)
            else:
                made.pictures.append((path, data, side))
    return made


def _row(pair: ShardPair, plan: Plan, paths: tuple[str, str]) -> Row:
    return {
        "hr": paths[0],
        "lr": paths[1],
        "key": pair.key,
        "level": plan.level.name,
        "t": plan.level.t,
        "scale": plan.level.scale,
        "effective_scale": plan.packing.effective_scale,
        "hr_size": [plan.packing.hr] * 2,
        "lr_size": [plan.packing.lr] * 2,
    }


def _picture(pair: ShardPair, plan: Plan, is_hr: bool) -> tuple[bytes, int]:
    """A pair's HR or LR as PNG, and its side; decoded only where it must change."""
    span = pair.hr if is_hr else pair.lr
    stored = plan.level.hr if is_hr else plan.level.lr
    side = plan.packing.hr if is_hr else plan.packing.lr
    data = span.read()
    if span.is_png and stored == side:
        if png_size(data) != (side, side):
            raise ShardError(
                f"{span.where}: not a PNG of {side} x {side} pixels, as the index says"
            )
        return data, side
    pixels = picture(data, span.where)
    if pixels.shape[:2] != (stored, stored):
        raise ShardError(f"{span.where}: a picture is not of the size that the index says")
    if stored != side:
        # An LR is cropped and reduced as `shard --lr-size native` does it.
        pixels = pixels[:side, :side] if is_hr else plan.packing.apply(pixels, pixels)[1]
    return parse_format("png").encode(pixels), side
