"""export: finished shards -> the pictures, lists and option file of a trainer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from degflow_pipe import files, folders, json_files
from degflow_pipe.engines.engine import check_workers
from degflow_pipe.engines.threads import in_order
from degflow_pipe.errors import FileError, ShardError
from degflow_pipe.exports import owned
from degflow_pipe.exports.findings import whole_png
from degflow_pipe.exports.owned import DONE, MARK, MAX_MARK, PAIRS
from degflow_pipe.exports.source import NEAR, ShardPair, Source, chosen_levels
from degflow_pipe.exports.trainer import Folders, Plan, Roots, Row, Sink, Trainer
from degflow_pipe.exports.trainers import TRAINERS, find_trainer
from degflow_pipe.formats.said import number_of
from degflow_pipe.ledger import Ledger
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.reading.samples import picture
from degflow_pipe.shards.layout import VALIDATE

FORMAT, VERSION = "degflow-pipe export", 1
OPTIONS_SUM = "options_sha256"
"""Of the option file as it was written: one that differs was changed by the user, and stays."""
PAIRS_AT_ONCE = 32
"""Pairs that a worker makes before it takes the next ones."""


@dataclass
class ExportSummary:
    """What an export left in its folder. written: pictures made now; known: those there already;
    scales: what the trainer is told, one value for each level. lossy: which of `hr` and `lr` are
    JPEG in the shards: their PNG hold what JPEG left of them. linked: HR that are further names of
    the same file, and the bytes that saves. validation_pairs: of photos that were set apart, in the
    folder `validate` of its own. warnings: levels whose LR lose what the camera did.
    """

    out: str
    trainer: str
    pairs: int
    patches: int
    t: list[float]
    scales: list[float]
    options: str
    lossy: list[str] = field(default_factory=list)
    written: int = 0
    known: int = 0
    linked: int = 0
    saved_bytes: int = 0
    validation_pairs: int = 0
    warnings: list[str] = field(default_factory=list)

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
    relative: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportSummary:
    """Write finished shards as the trainer `to` reads them; whole pictures are left as they are.

    scale: HR over LR for a trainer of one scale, by default that of the shards' pictures. t,
    scales: only these levels. Photos that were set apart go into a folder `validate` in `out`,
    which the option files of BasicSR, HAT, MambaIR, neosr, traiNNer-redux, EDSR, Meta-SR and mmagic
    name. relative: paths in the option
    file are relative to the folder, for those who move it. overwrite: replace an export of other
    settings in the same folder; only files that it wrote are removed. At a URL it is `relative`,
    of pictures as files.

    All pictures are PNG: those of the shards byte for byte where neither sizes nor format change. A
    picture that is there already is whole where it has the shards' bytes or, made smaller, where it
    is a PNG of its size whose every chunk has its sum. An option file that you changed stays; one
    that you did not is written anew, with the folder's path of today.

    Raises UsageError for levels, scales or sizes that the trainer cannot take, ShardError for
    shards that are unfinished or damaged, FileError where files are in the way that no export
    wrote.
    """
    trainer = find_trainer(to)
    at_once = check_workers(workers)
    apart = files.is_folder(shards / VALIDATE)
    trainer.check_out(out, relative)
    source = Source(shards)
    roots = Roots("" if relative else owned.root_text(out), apart, source.patches)
    plans = trainer.plans(chosen_levels(source.levels, t, scales), scale)
    summary = ExportSummary(
        out=str(out),
        trainer=to,
        pairs=source.patches * len(plans),
        patches=source.patches,
        t=[plan.level.t for plan in plans],
        scales=[plan.told for plan in plans],
        options=str(out / trainer.options),
        warnings=_below_their_grid(plans),
        lossy=source.lossy,
    )
    made = made_of(trainer, source, plans)
    with folders.one_writer(out, folders.EXPORT):
        options_sum = _clear_way(out, trainer, made, overwrite)
        json_files.write_summed(out / MARK, {**made, OPTIONS_SUM: options_sum})
        with (progress or Silent()).task(f"export {to}", summary.pairs, counts="pairs") as task:
            for warning in summary.warnings:
                task.note(warning)
            if source.lossy:
                told = " and ".join(side.upper() for side in source.lossy)
                task.note(f"{told} are JPEG in {shards}: their PNG hold what JPEG left of them")
            for unit in _run(trainer, source, plans, out, at_once):
                summary.written += unit.written
                summary.known += unit.known
                summary.linked += unit.linked
                summary.saved_bytes += unit.saved_bytes
                task.advance(len(unit.rows))
            text = trainer.option_file(plans, roots)
            options_sum = _write_options(out / trainer.options, text, options_sum, task)
        json_files.write_summed(out / MARK, {**made, OPTIONS_SUM: options_sum})
        json_files.write(out / DONE, _figures(made, summary, plans))
    if apart:
        again: dict[str, Any] = {"scale": scale, "t": t, "scales": scales, "relative": relative}
        validation = export(
            shards / VALIDATE,
            to,
            out / VALIDATE,
            **again,
            workers=workers,
            overwrite=overwrite,
            progress=progress,
        )
        summary.validation_pairs = validation.pairs
    return summary


def _below_their_grid(plans: Sequence[Plan]) -> list[str]:
    """What is lost where LR as large as HR are shrunk further than the camera's own pixels."""
    shrunk = {plan: plan.level.lr / plan.packing.lr for plan in plans}
    below = [plan for plan, by in shrunk.items() if by > plan.level.scale * (1 + NEAR)]
    if not below:
        return []
    by = max(shrunk[plan] for plan in below)
    return [
        f"warning: LR of {len(below)} of {number_of(len(plans), 'levels')}, such as "
        f"{below[0].level}, are shrunk up to {by:g} times, further than the camera's own pixels: "
        f"most of what it did is lost. Make pairs of that scale with `generate(sr_scale={by:g})`, "
        f"and shard those"
    ]


def _write_options(path: Path, text: str, last: str | None, task: Task) -> str | None:
    """Write the option file, but over one that was changed since; the sum of the last one written.

    last: the sum of the one that an earlier run wrote.
    """
    if files.is_there(path) and _sum_of(path) not in (last, _sum(text.encode())):
        task.note(
            f"{path} was changed since export wrote it, and stays: `doctor` holds it to the data"
        )
        return last
    files.write_text(path, text)
    return _sum(text.encode())


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sum_of(path: Path) -> str | None:
    return files.sha256(path) if files.is_file(path) else None


def made_of(trainer: Trainer, source: Source, plans: Sequence[Plan]) -> dict[str, Any]:
    """What two runs must share to write into one folder."""
    return {
        "trainer": trainer.name,
        "levels": [
            {
                "level": plan.level.name,
                "t": plan.level.t,
                "scale": plan.level.scale,
                "told": plan.told,
                "hr_size": [plan.hr_side] * 2,
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


def _mark(out: Path) -> dict[str, Any] | None:
    """The mark of an export; None where there is none. Raises FileError where it is not ours."""
    path = out / MARK
    if not files.is_there(path):
        return None
    try:
        found = json_files.read_summed(path, MAX_MARK)
        known = {"trainer", "levels", "shards"} <= found.keys() and found["trainer"] in TRAINERS
    except (FileError, TypeError):
        known = False
    if not known:
        raise FileError(f"{path} is damaged: give another folder as `out`")
    return dict(found)


def _clear_way(out: Path, trainer: Trainer, made: dict[str, Any], overwrite: bool) -> str | None:
    """Take back the mark of a finished export, and remove the files of one of other settings.

    Returns the sum of the option file that an earlier run of these settings wrote. Raises as
    `in_the_way`.
    """
    way = in_the_way(out, trainer, made, overwrite)
    owned.remove_files(out, way.files)
    if way.other:
        files.remove(out / owned.WRITTEN)
    return way.options_sum


class Way(NamedTuple):
    """What of earlier exports is to go: files, and whether they are of other settings. options_sum:
    of the option file that a run of the same settings wrote.
    """

    files: list[str]
    other: bool = False
    options_sum: str | None = None


def in_the_way(out: Path, trainer: Trainer, made: dict[str, Any], overwrite: bool) -> Way:
    """Nothing is to go that the export's ledger and list do not name. Raises FileError where files
    of others would be among those of the new export.
    """
    found = _mark(out)
    if found is None:
        return Way([])
    options_sum = found.pop(OPTIONS_SUM, None)
    if found == made:
        return Way([DONE], options_sum=options_sum if isinstance(options_sum, str) else None)
    other = TRAINERS[found["trainer"]]()
    if not overwrite:
        raise FileError(
            f"{out} holds an export to {other.name} of other settings or shards: give another "
            f"folder as `out`, or `overwrite`"
        )
    parts = {part for path in owned.written(out, PAIRS) for part in other.wrote(path)}
    ours = {part for part in parts if owned.inside(out, part)}
    ours.update((*other.lists, PAIRS))
    if files.is_there(out / other.options):
        if _sum_of(out / other.options) != options_sum:
            raise FileError(
                f"{out / other.options} was changed since export wrote it: move it, or give "
                f"another folder as `out`"
            )
        ours.add(other.options)
    for place in (*trainer.places, *trainer.lists, trainer.options):
        for path in files.matches(place, out):
            inside = files.walk(path) if files.is_folder(path) else iter([path])
            for file in inside:
                if file.relative_to(out).as_posix() not in ours:
                    raise FileError(
                        f"{file} is of no export: move it, or give another folder as `out`"
                    )
    return Way([DONE, *sorted(ours)], other=True)


def _run(
    trainer: Trainer, source: Source, plans: Sequence[Plan], out: Path, workers: int
) -> Iterator[_Unit]:
    """Make all pairs, their lists and pairs.jsonl; yields each unit when its lines are written."""
    chosen = {plan.level.name: plan for plan in plans}
    units = source.units(max(PAIRS_AT_ONCE // len(source.levels), 1))
    with ExitStack() as stack:
        sink = stack.enter_context(trainer.sink(out))
        listed: list[tuple[IO[bytes], Callable[[Row], str]]] = [
            (stack.enter_context(files.writing(out / PAIRS)), json_line),
            *(
                (stack.enter_context(files.writing(out / name)), line)
                for name, line in trainer.lists.items()
            ),
        ]

        ledger = stack.enter_context(Ledger(out / owned.WRITTEN))

        def noted() -> Iterator[list[ShardPair]]:
            """The units, once it is known whose their pictures will be."""
            for number, pairs in enumerate(units):
                pictures = (trainer.where(p, chosen[p.level]) for p in pairs if p.level in chosen)
                owned.note(ledger, number, sorted({path for both in pictures for path in both}))
                yield pairs

        def work(unit: list[ShardPair]) -> _Unit:
            return _pictures(trainer, chosen, sink, unit)

        for unit in in_order(work, noted(), workers):
            for path, data, side in unit.pictures:
                sink.put(path, data, side)
            for row in unit.rows:
                for file, line in listed:
                    file.write(f"{line(row)}\n".encode())
            yield unit


def json_line(row: Row) -> str:
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
    linked: int = 0
    saved_bytes: int = 0


def _pictures(
    trainer: Trainer,
    chosen: dict[str, Plan],
    sink: Sink,
    unit: list[ShardPair],
) -> _Unit:
    made = _Unit()
    seen: set[str] = set()
    missing: list[tuple[str, ShardPair, Plan, bool, bytes | None]] = []
    links: list[tuple[str, str]] = []
    first_of: dict[tuple[str, int], str] = {}
    """Where the HR of a patch in a size is first."""
    asked = [(pair, chosen[pair.level]) for pair in unit if pair.level in chosen]
    widest = _widest(trainer, asked)
    for of_row, plan_of_row in asked:
        paths = trainer.where(of_row, plan_of_row)
        made.rows.append(row_of(of_row, plan_of_row, paths))
        for path, is_hr in zip(paths, (True, False), strict=True):
            if path in seen:
                continue
            seen.add(path)
            pair, plan = widest[path] if is_hr else (of_row, plan_of_row)
            data, side = as_it_is(pair, plan, is_hr), side_of(plan, is_hr)
            # Of other kinds than PNG each pair may have lost something else.
            alike = is_hr and pair.hr.is_png
            first = first_of.setdefault((pair.patch, side), path) if alike else path
            if sink.kept(path, side, data):
                made.known += 1
            elif first != path and isinstance(sink, Folders):
                links.append((path, first))
            else:
                missing.append((path, pair, plan, is_hr, data))
    for path, pair, plan, is_hr, data in missing:
        picture, side = data or smaller(pair, plan, is_hr), side_of(plan, is_hr)
        made.written += 1
        if sink.in_workers:
            sink.put(path, picture, side)
        else:
            made.pictures.append((path, picture, side))
    for path, first in links:
        assert isinstance(sink, Folders)
        saved = sink.link(path, first)
        made.written += 1
        made.linked += bool(saved)
        made.saved_bytes += saved
    return made


def _widest(
    trainer: Trainer, asked: Sequence[tuple[ShardPair, Plan]]
) -> dict[str, tuple[ShardPair, Plan]]:
    """By the path of an HR the pair whose HR it is: where levels share one, the largest of theirs,
    of which each of the others is the top left corner.
    """
    found: dict[str, tuple[ShardPair, Plan]] = {}
    for pair, plan in asked:
        path, _ = trainer.where(pair, plan)
        if path not in found or pair.hr_side > found[path][0].hr_side:
            found[path] = pair, plan
    return found


def row_of(pair: ShardPair, plan: Plan, paths: tuple[str, str]) -> Row:
    return {
        "hr": paths[0],
        "lr": paths[1],
        "key": pair.key,
        "level": plan.level.name,
        "t": pair.t,
        "scale": pair.scale,
        "effective_scale": plan.packing.effective_scale,
        "hr_size": [plan.hr_side] * 2,
        "lr_size": [plan.packing.lr] * 2,
        "source": pair.source,
        "source_sha256": pair.sha256,
        **({"camera": pair.camera} if pair.camera is not None else {}),
    }


def side_of(plan: Plan, is_hr: bool) -> int:
    return plan.hr_side if is_hr else plan.packing.lr


def stored_side(pair: ShardPair, plan: Plan, is_hr: bool) -> int:
    """Side of a pair's HR or LR in the shards."""
    return pair.hr_side if is_hr else plan.level.lr


def as_it_is(pair: ShardPair, plan: Plan, is_hr: bool) -> bytes | None:
    """A pair's HR or LR as the shards have it, where it is the PNG that is wanted; else None."""
    span = pair.hr if is_hr else pair.lr
    side = side_of(plan, is_hr)
    if not span.is_png or stored_side(pair, plan, is_hr) != side:
        return None
    data = span.read()
    if not whole_png(data, side):
        raise ShardError(
            f"{span.where}: damaged, or not a PNG of {side} x {side} pixels as the index says: "
            f"`verify` the shards"
        )
    return data


def smaller(pair: ShardPair, plan: Plan, is_hr: bool) -> bytes:
    """A pair's HR or LR, decoded, cut or made smaller, as PNG."""
    span = pair.hr if is_hr else pair.lr
    stored = stored_side(pair, plan, is_hr)
    pixels = picture(span.read(), span.where)
    if pixels.shape[:2] != (stored, stored):
        raise ShardError(f"{span.where}: a picture is not of the size that the index says")
    if (side := side_of(plan, is_hr)) != stored:
        # An LR is cropped and reduced as `shard` does it for `lr_size="native"`.
        pixels = pixels[:side, :side] if is_hr else plan.packing.apply(pixels, pixels)[1]
    return parse_format("png").encode(pixels)
