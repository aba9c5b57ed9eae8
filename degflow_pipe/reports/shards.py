"""The report of a folder of finished shards."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import files
from degflow_pipe.formats.said import noun_of, size_of
from degflow_pipe.progress import Progress
from degflow_pipe.reading.index import cut as cut_of_tar
from degflow_pipe.reading.index import read_lines, whole_shards
from degflow_pipe.reading.samples import MAX_SCALE, Info, hr_of, member, picture
from degflow_pipe.reports.charts import curve, histogram
from degflow_pipe.reports.described import (
    FARTHEST,
    NEAREST,
    command,
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
from degflow_pipe.shards.layout import VALIDATE
from degflow_pipe.shards.summary import Summary, read_summary
from degflow_pipe.stages.inspection import ShardsContents

APART = "VALIDATE.txt"
LINES = 2_000
"""Samples of an index that are read, at most: enough for all levels of a patch."""


@dataclass(frozen=True)
class Pair:
    """One pair of a tar: the member that is its LR, and what its JSON says."""

    tar: str
    members: dict[str, Any]
    lr: str
    info: Info


def of_shards(path: Path, progress: Progress) -> Page:
    """Raises ShardError for shards that are unfinished, or damaged where they are read."""
    shards = whole_shards(path)
    held = ShardsContents.of(shards)
    page = Page("Shards of degflow-pipe", shards.name, _lead(held))
    apart = _apart(path, held)
    page.numbers = [
        Number(f"{held.pairs:,}", "LR/HR pairs"),
        Number(f"{held.patches:,}", "HR patches"),
        Number(f"{len(held.tars):,}", noun_of(len(held.tars), "tars")),
        Number(size_of(held.bytes), "on disk"),
    ]
    if apart is not None:
        page.numbers.append(Number(f"{apart.pairs:,}", "pairs set apart to validate"))
    maker = _text(held.settings, "checkpoint")
    page.judgements = [_state(held, apart), *judged_makers(maker)]
    infos = _show(shards, page, progress)
    page.curves = [*_errors(held, infos), *page.curves]
    page.facts = _facts(held, maker)
    page.origins = [_sources(infos)]
    page.costs = [_disk(held, apart)]
    page.commands = [_command(held, path.name or files.real(path).name)]
    page.commands_said = (
        "STORE holds the levels; `degflow-pipe report STORE` says how that was made."
    )
    if APART in page.commands[0]:
        page.commands_said += f" {APART} names the photos that are set apart, one a line."
    return page


def _text(settings: dict[str, Any], key: str) -> str:
    said = settings.get(key)
    return said if isinstance(said, str) else ""


def _lead(held: ShardsContents) -> str:
    count = len(held.mean_squared_error)
    return (
        f"{held.patches:,} HR patches at {count} level{'s' if count > 1 else ''} of degradation, "
        f"as WebDataset tars: layout {held.layout}, HR {held.hr_format}, LR {held.picture_format}."
    )


def _apart(path: Path, held: ShardsContents) -> ShardsContents | None:
    """What was set apart for validation, where it is there."""
    there = held.settings.get("validate") and files.is_folder(path / VALIDATE)
    if not there or path.name == VALIDATE:
        return None
    return ShardsContents.of(read_summary(path / VALIDATE))


def _state(held: ShardsContents, apart: ShardsContents | None) -> Judgement:
    checks = [Check("tars", "good", "there", f"{len(held.tars):,}")]
    if apart is not None:
        said = f"{apart.patches:,} patches of photos of their own"
        checks.append(Check("validation", "good", "there", said))
    elif held.settings.get("validate"):
        checks.append(Check("validation", "care", "missing", "not in the folder: run shard again"))
    whole = all(check.state == "good" for check in checks)
    said = "As its index says; `degflow-pipe verify` holds every file against its sum."
    word = "Finished" if whole else "Not whole"
    return Judgement("What is there", "good" if whole else "care", word, said, checks)


def _errors(held: ShardsContents, infos: list[Info]) -> list[Chart]:
    """PSNR to HR of all pairs by level, of what NAME.json says; at the t that samples have."""
    t = {info.get("level"): float(info["t"]) for info in infos}
    points = sorted(
        (t[name], 10 * math.log10(255**2 / error))
        for name, error in held.mean_squared_error.items()
        if name in t and _is_number(error) and error > 0
    )
    if len(points) < 2:
        return []
    line = ([at for at, _ in points], [decibel for _, decibel in points])
    before = ", before the chain" if held.chain else ""
    said = f"Of the mean error of all {held.pairs:,} pairs{before}."
    return [curve("PSNR to HR, all pairs", "level t", "dB", {"PSNR": line}, said=said)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _patches(shards: Summary) -> Iterator[list[Pair]]:
    """The pairs of some patches each, of tars that are chosen evenly."""
    wanted = max(int(shards.figures["pairs"]) // max(int(shards.figures["patches"]), 1), 1)
    indexes = spread(shards.indexes, SCENES)
    each = -(-SCENES // len(indexes))
    for index in indexes:
        yield from spread(_whole(shards, index, wanted), each)


def _whole(shards: Summary, index: Path, wanted: int) -> list[list[Pair]]:
    """The patches of a tar that have all their levels in it; where none has, those that it has."""
    by_patch: dict[str, list[Pair]] = {}
    for tar, members, pairs in islice(read_lines(shards, index), LINES):
        for key, lr, info in pairs:
            patch = "-".join(key.split("-")[:2])
            by_patch.setdefault(patch, []).append(Pair(tar, members, lr, info))
    whole = [pairs for pairs in by_patch.values() if len(pairs) == wanted]
    return whole or list(by_patch.values())


def _show(shards: Summary, page: Page, progress: Progress) -> list[Info]:
    """Scenes and curves of some patches; returns the JSON of their pairs."""
    album, entries, infos = Album(), [], []
    measured: Measured | None = None
    chosen = list(_patches(shards))
    with progress.task("look at patches", len(chosen), counts="patches") as task:
        for pairs in chosen:
            infos += [pair.info for pair in pairs]
            shown = [pairs[i] for i in levels_shown(len(pairs))]
            pictures = [_pictures(shards, pair) for pair in shown]
            hr = cut(pictures[0][1])
            cuts = [cut(lr, whole) for lr, whole in pictures]
            labels = [_label(pair.info) for pair in shown]
            said = [
                ", ".join(filter(None, (decibels(whole, lr), _steps(pair.info))))
                for (lr, whole), pair in zip(pictures, shown, strict=True)
            ]
            last, whole = pictures[-1]
            shown_pictures = [("HR", "", hr), *zip(labels, said, cuts, strict=True)]
            entries.append(Entry(_named(pairs[0].info), "", shown_pictures, nearness(whole, last)))
            if measured is None:
                x = [float(pair.info["t"]) for pair in shown]
                measured = Measured(labels, x, "level t")
            if labels == measured.labels and all(
                whole.shape == pictures[0][1].shape for _, whole in pictures
            ):
                measured.add(hr, cuts)
            task.advance()
    album.add_all(entries, FARTHEST, NEAREST, progress)
    page.scenes = album.scenes
    page.pictures_said = (
        "Pixels as the shards hold them, coded without loss: patches of tars that are chosen "
        "evenly, the same each time; of these the farthest from HR and the nearest come first."
    )
    if measured is not None and measured.patches > 1:
        page.curves = measured.charts()
    scales = [_scale(info) for info in infos]
    if len({round(scale, 6) for scale in scales}) > 20:
        title = "Scales of the pairs that were looked at"
        page.histograms.append(histogram(title, "scale s", scales, "pairs"))
    return infos


def _steps(info: Info) -> str:
    chain = info.get("chain")
    if not isinstance(chain, list):
        return ""
    names = [str(step.get("step"))[:40] for step in chain[:8] if isinstance(step, dict)]
    return f"after {', '.join(names)}" if names else "the chain left it as it was"


def _scale(info: Info) -> float:
    """Of the camera's level, which is another one where LR are smaller than HR."""
    own = info.get("camera_scale")
    known = isinstance(own, int | float) and 1 <= own <= MAX_SCALE
    return float(own if known and own is not None else info["scale"])


def _label(info: Info) -> str:
    scale = _scale(info)
    return f"x{scale:.3g}, t = {float(info['t']):.2g}"


def _named(info: Info) -> str:
    place = ", ".join(str(v) if type(v := info.get(key)) is int else "?" for key in "xy")
    return f"{str(info.get('source', ''))[:200]}, patch at {place}"


def _pictures(shards: Summary, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """LR and HR of a pair."""
    tar = shards.folder / pair.tar
    spans = [member(pair.members, stem, str(tar)) for stem in (pair.lr, "hr")]
    lr, hr = (picture(data, str(tar)) for data in cut_of_tar(tar, spans, str(tar)))
    return lr, hr_of(hr, pair.info, str(tar))


def _sources(infos: list[Info]) -> Table:
    found = Counter(str(info.get("source", "not known"))[:200] for info in infos)
    rows = [[name, f"{count:,}"] for name, count in sorted(found.items())[:ROWS]]
    said = "The JSON of every sample names its photo; these are of the samples looked at."
    return Table(
        "Photos of the samples looked at", ("photo", "pairs"), rows, said, total=len(found)
    )


def _facts(held: ShardsContents, maker: str) -> list[Fact]:
    settings = held.settings
    chain = settings.get("chain")
    facts = [
        Fact("checkpoint", maker),
        Fact("grid of levels", _text(settings, "grid")),
        Fact("noise of LR", noise_of(noise) if (noise := _text(settings, "noise")) else ""),
        Fact("precision", _text(settings, "precision")),
        Fact("size of LR", f"HR / {held.sr_scale:g}" if held.sr_scale else held.lr_size),
        Fact("after the camera", held.chain or "nothing"),
        Fact("steps of the chain", json.dumps(chain)[:4000] if chain else ""),
        Fact("set apart to validate", _text(settings, "validate")),
        Fact("licence of the photos", "not recorded in shards: that of the photos named below"),
        *facts_of_maker(maker),
    ]
    return [fact for fact in facts if fact.said]


def _disk(held: ShardsContents, apart: ShardsContents | None) -> Table:
    sets = [("tars", held), *([("tars set apart to validate", apart)] if apart else [])]
    rows = [
        [name, size_of(one.bytes), size_of(one.bytes / max(one.pairs, 1))] for name, one in sets
    ]
    said = "Shards do not record how long they took: give `report` the `events`."
    return Table("Disk", ("what", "bytes", "a pair"), rows, said)


def _command(held: ShardsContents, name: str) -> str:
    settings = held.settings
    usual = {
        "name": "degflow",
        "shard_size": 1000,
        "layout": "pairs",
        "lr_size": "same",
        "uneven": "refuse",
        "chain_seed": 0,
    }
    options: dict[str, object] = {
        key: settings[key]
        for key, value in usual.items()
        if isinstance(settings.get(key), str | int) and settings[key] != value
    }
    options |= {"format": held.picture_format, "hr_format": held.hr_format}
    if held.chain:
        options["chain"] = held.chain if held.chain != "own" else "CHAIN.yaml"
    options |= {key: said for key in ("grid",) if (said := _text(settings, key))}
    if said := _text(settings, "validate"):
        options["validate"] = said if said.endswith("%") else APART
    return command("shard", store="STORE", **options, out=name)
