"""doctor: what a trainer would refuse, or pair wrongly without a word, in a folder of pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from degflow_pipe import files
from degflow_pipe.choices import one_of
from degflow_pipe.engines.engine import check_workers
from degflow_pipe.engines.threads import in_order
from degflow_pipe.errors import DataError, FileError, PhotoError, UsageError
from degflow_pipe.exports import owned
from degflow_pipe.exports.contents import AGAIN, ExportContents
from degflow_pipe.exports.findings import Found, Header, Picture, Report
from degflow_pipe.exports.likeness import Look, content_of, judge, likeness, look_at
from degflow_pipe.exports.record import Record
from degflow_pipe.exports.results import Diagnosis
from degflow_pipe.exports.settings import Facts, Settings, read_settings
from degflow_pipe.exports.trainer import Size, Trainer
from degflow_pipe.exports.trainers import TRAINERS, find_trainer
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.shards.layout import INDEX

SAMPLE = 2000
"""Pairs whose pixels are read, by default."""
RUN = 40
"""Pairs that are sampled side by side: a shifted index shows where the photo or patch changes."""
LARGE = 2**25
"""Pixels of a pair from which it is in memory alone, whatever the number of workers."""
MARGIN = 0.05
"""By how much another HR must correlate better with an LR than its own does."""
UNLIKE = 0.5
"""Correlation with its own HR below which an LR is not of it."""

_one_large = Lock()


def doctor(
    folder: Path,
    to: str,
    *,
    sample: int = SAMPLE,
    options: Path | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Diagnosis:
    """Pair up a folder as the trainer `to` does, and say what is wrong with that.

    Names, lists, numbers and sizes are looked at in all pairs; the pixels of `sample` of them (0:
    of all) are read, and their content compared: an LR must look more like its own HR than like
    the neighbours', and lie upon it, in its colours and tones. An export of ours must have the
    pairs that its pairs.jsonl says, at the ratios of size that they were written with. Sizes and
    pixels are as the trainer's reader has them, turned by EXIF or not. The option file, `options`
    or the one of the folder, is held against the data. The folder need not be an export of ours.

    Raises DataError where there is no folder or no such option file, UsageError for a wrong
    argument.
    """
    trainer = find_trainer(to)
    at_once = check_workers(workers)
    if sample < 0:
        raise UsageError(f"`sample` must be 0 (all pairs) or more, got {sample}")
    if not files.is_folder(folder):
        raise DataError(f"{folder}: no such folder")
    report = Report()
    made_for = owned.made_for(folder)
    ours = made_for == trainer.name
    if ours and (unfinished := _unfinished(folder)):
        report.add("unfinished", unfinished)
        return Diagnosis(to, str(folder), None, 0, 0, {}, report.findings, fine=False)
    if ours and options is None and not files.is_there(folder / trainer.options):
        report.add("options", f"{trainer.options}, which export wrote, is gone: {AGAIN}")
    path, settings = _settings(trainer, folder, options, report)
    found = list(trainer.pair_up(folder, report, settings))
    if not found and (instead := _instead(trainer, folder, made_for)):
        if options is None:
            report.findings.clear()  # which all come of it
        report.add("pairs", f"{folder}: {to} finds no pairs here; {instead}")
    elif not found and not report.findings:
        report.add("pairs", f"{folder}: {to} finds no pairs here")
    record = Record.of(folder) if ours else Record()
    record.look_for_missing(found, report)
    renamed = record.renamed(found)
    with (progress or Silent()).task(f"doctor {to}", len(found), counts="pairs") as task:
        sizes, readable = _sizes(trainer, found, record, report, at_once, task)
    if settings is not None:
        trainer.check_options(settings, sizes.facts(folder), report)
    runs = list(_runs(readable, sample))
    most = sum(min(len(run), RUN) for run in runs)
    compared = 0
    looks: list[Look] = []

    def look(run: Sequence[Found]) -> list[Look]:
        return _look(trainer, run)

    with (progress or Silent()).task(f"compare {to}", most, counts="pairs") as task:
        for seen in in_order(look, runs, at_once):
            looks += _compare(seen, renamed, report)
            compared += sum(not one.problem for one in seen[:RUN])
            task.advance(min(len(seen), RUN))
    if "renamed" in report.findings:  # else their tones are judged against other pictures
        looks = [one for one in looks if one.lr_name not in renamed]
    for kind, text in judge(looks):
        report.add(kind, text)
    return Diagnosis(
        trainer=to,
        folder=str(folder),
        options=None if path is None else str(path),
        pairs=len(found),
        compared=compared,
        ratios={f"{ratio:g}": count for ratio, count in sorted(sizes.ratios.items())},
        findings=report.findings,
        fine=not report.findings,
    )


def _instead(trainer: Trainer, folder: Path, made_for: str) -> str:
    """What the folder is, where it is another thing than pairs for the trainer; else empty.

    made_for: see `owned.made_for`.
    """
    if made_for == trainer.name:
        return ""
    if files.names(folder, INDEX):
        return "these are shards: `export` them first"
    others = [made_for]
    if made_for not in TRAINERS:
        # An option file tells as much: places such as HR are those of several trainers.
        others = [one.name for one in TRAINERS.values() if files.is_there(folder / one.options)]
    if not others or trainer.name in others:
        return ""
    return f"it was made for {one_of(others)}: name that, or export the shards to {trainer.name}"


def _unfinished(folder: Path) -> str:
    """What an export was not ended or is damaged by; empty for a whole one."""
    try:
        ended = ExportContents.of(folder).pairs is not None
    except FileError as error:
        return str(error)
    return "" if ended else f"{folder} is an export that was not ended: {AGAIN}"


def _settings(
    trainer: Trainer, folder: Path, options: Path | None, report: Report
) -> tuple[Path | None, Settings | None]:
    """The option file that was asked for, or the folder's, and what it says."""
    if options is not None and not files.is_there(options):
        raise DataError(f"{options}: no such option file")
    path = options or folder / trainer.options
    if not files.is_there(path):
        return None, None
    return path, read_settings(path, report)


@dataclass
class _Sizes:
    """How many pairs have which ratio, and the least sides in pixels."""

    ratios: Counter[float]
    hr: int | None = None
    lr: int | None = None
    exchanged: list[Found] = field(default_factory=list)
    """Pairs whose LR is larger than its HR."""

    def facts(self, folder: Path) -> Facts:
        ratio = self.ratios.most_common(1)[0][0] if self.ratios else None
        return Facts(folder, self.hr, self.lr, ratio)


def _sizes(
    trainer: Trainer,
    found: Sequence[Found],
    record: Record,
    report: Report,
    workers: int,
    task: Task,
) -> tuple[_Sizes, list[Found]]:
    """Headers of all pairs against the trainer's rules, and the pairs that have readable ones."""
    sizes = _Sizes(Counter())
    readable = []
    met: set[str] = set()
    of: dict[float, list[str]] = {}
    alike: dict[tuple[float | None, Size], dict[Size, list[str]]] = {}

    def measure(pair: Found) -> Any:
        try:
            return pair.hr.header(trainer.turns), pair.lr.header(trainer.turns)
        except PhotoError as error:
            return error

    for pair, measured in zip(found, in_order(measure, found, workers), strict=True):
        task.advance()
        if isinstance(measured, PhotoError):
            report.add("unreadable", str(measured))
            continue
        for picture, header in zip((pair.hr, pair.lr), measured, strict=True):
            if picture.name not in met:  # an HR may have many LR
                met.add(picture.name)
                _channels(trainer, picture, header, report)
        hr, lr = (header.size for header in measured)
        sizes.hr = min(*hr, *([] if sizes.hr is None else [sizes.hr]))
        sizes.lr = min(*lr, *([] if sizes.lr is None else [sizes.lr]))
        if min(hr) < pair.least:
            report.add(
                "crop", f"{pair.hr.name} has {min(hr)} pixels, of which {pair.least} are cut"
            )
        ratio = trainer.fits(hr, lr, pair.wanted)
        said = f"{pair.lr.name} of {lr[0]} x {lr[1]} for {pair.hr.name} of {hr[0]} x {hr[1]}"
        if ratio is None:
            if min(lr) > max(hr):
                sizes.exchanged.append(pair)
            wanted = f", where {pair.wanted:g} times is due" if pair.wanted else ""
            report.add("ratio", f"{said}{wanted}")
            readable.append(replace(pair, fits=False))
            continue
        if (due := record.of_pair(pair)) and ratio != trainer.fits(*due, pair.wanted):
            (height, width), (small_height, small_width) = due
            report.add(
                "ratio",
                f"{said}, where export wrote {small_height} x {small_width} for {height} x {width}",
            )
            readable.append(replace(pair, fits=False))
            continue
        readable.append(pair)
        sizes.ratios[ratio] += 1
        of.setdefault(ratio, []).append(said)
        alike.setdefault((pair.wanted, hr), {}).setdefault(lr, []).append(said)
    if 2 * len(sizes.exchanged) > len(found):
        one = sizes.exchanged[0]
        places = " and ".join(side.name.rpartition("/")[0] for side in (one.hr, one.lr))
        del report.findings["ratio"]  # of which all the rest comes
        report.add(
            "ratio",
            f"LR are larger than their HR in {len(sizes.exchanged)} of {len(found)} pairs: "
            f"exchange {places}",
        )
        report.findings["ratio"].cure = ""
        return _Sizes(Counter()), []
    _other_sizes(alike, report)
    if trainer.one_scale:
        _other_ratios(of, report)
    return sizes, readable


def _channels(trainer: Trainer, picture: Picture, header: Header, report: Report) -> None:
    """Findings for a picture that the trainer's reader does not make three channels of 8 bit of."""
    if header.alpha and not trainer.alpha:
        report.add("channels", f"{picture.name} has an alpha channel: save it without")
    if header.deep and header.deep not in trainer.deep:
        report.add(
            "depth",
            f"{picture.name} is {header.deep} of 16 bits a value, of which {trainer.name} does not "
            f"make 8: save it with 8",
        )


def _other_sizes(
    alike: Mapping[tuple[float | None, Size], Mapping[Size, list[str]]], report: Report
) -> None:
    """Findings for LR that are unlike most of HR of one size, where the folder says the factor:
    there LR may show less than all of the HR, but each as much.

    alike: what is said of pairs, by the factor that is due and the size of HR, and by that of LR.
    """
    for (due, _), by_size in alike.items():
        usual, *others = sorted(by_size, key=lambda size: -len(by_size[size]))
        for size in others if due is not None else ():
            text = f"most LR of such an HR are {usual[0]} x {usual[1]}"
            report.add("ratio", *(f"{said}: {text}" for said in by_size[size]))


def _other_ratios(of: Mapping[float, list[str]], report: Report) -> None:
    """Findings for pairs of another ratio than most; of: what is said of them, by ratio."""
    most = max(of, key=lambda ratio: len(of[ratio]), default=0.0)
    for ratio, pairs in of.items():
        if ratio != most:
            text = f"ratio {ratio:g}, where most pairs have {most:g}"
            report.add("mixed scales", *(f"{said}: {text}" for said in pairs))


def _runs(found: Sequence[Found], sample: int) -> Iterator[list[Found]]:
    """The pairs to compare, in runs of RUN neighbours spread evenly over all of them, and the one
    after each run.
    """
    starts = list(range(0, len(found), RUN))
    if sample and len(found) > sample:
        count = max(sample // RUN, 1)
        step = max((len(found) - RUN) / max(count - 1, 1), 0)
        starts = [round(i * step) for i in range(count)]
    for start in starts:
        yield list(found[start : start + RUN + 1])


def _look(trainer: Trainer, run: Sequence[Found]) -> list[Look]:
    looks = []
    for pair in run:
        try:
            sizes = [side.header(trainer.turns).size for side in (pair.hr, pair.lr)]
            large = sum(height * width for height, width in sizes) > LARGE
            with _one_large if large else nullcontext():
                hr, lr = pair.hr.pixels(trainer.turns), pair.lr.pixels(trainer.turns)
                if not pair.fits:
                    looks.append(content_of(pair.hr.name, pair.lr.name, hr, lr))
                    continue
                if pair.wanted is not None:  # the rest of an HR of many factors is not cut
                    height, width = (round(side * pair.wanted) for side in lr.shape[:2])
                    hr = hr[:height, :width]
                looks.append(look_at(pair.hr.name, pair.lr.name, hr, lr))
                del hr, lr
        except PhotoError as error:
            looks.append(Look(pair.hr.name, pair.lr.name, problem=str(error)))
    return looks


def _compare(looks: Sequence[Look], renamed: Container[str], report: Report) -> list[Look]:
    """Findings for pictures that cannot be read, and for LR that are of another HR; the others.

    renamed: see `Record.renamed`; that such an LR is of another HR comes of that.
    """
    good = []
    for i, look in enumerate(looks[:RUN]):
        if look.hr is None or look.lr is None:
            report.add("unreadable", look.problem)
            continue
        own = likeness(look.lr, look.hr)
        others = [
            (like, other.hr_name)
            for other in (_others(looks, i) if own is not None else ())
            if other.hr is not None and (like := likeness(look.lr, other.hr)) is not None
        ]
        best, name = max(others, default=(-1.0, ""))
        kind = "renamed" if look.lr_name in renamed else "content"
        if own is not None and best > own + MARGIN and best >= UNLIKE:
            report.add(
                kind,
                f"{look.lr_name} looks like {name} ({best:.2f}), not like the {look.hr_name} "
                f"({own:.2f}) it is paired with",
            )
        elif own is not None and own < UNLIKE:
            report.add(kind, f"{look.lr_name} does not look like {look.hr_name} ({own:.2f})")
        else:
            good.append(look)
    return good


def _others(looks: Sequence[Look], i: int) -> Iterator[Look]:
    """The nearest pair on each side whose HR is another picture."""
    own = looks[i].hr
    assert own is not None
    for side in (reversed(looks[:i]), looks[i + 1 :]):
        for other in side:
            if other.hr is not None and not np.array_equal(own, other.hr):
                yield other
                break
