"""What the commands of the main job print when they are done: what came of it, what was left out
and why, and what comes next. The whole is in the JSON.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from degflow_pipe import defaults
from degflow_pipe.cli.output import print_lines, show
from degflow_pipe.formats.said import number_of, size_of, skips_of

if TYPE_CHECKING:
    from degflow_pipe.exports.export import ExportSummary
    from degflow_pipe.exports.results import Diagnosis
    from degflow_pipe.reports.report import Reported
    from degflow_pipe.stages.degrade import DegradeSummary
    from degflow_pipe.stages.demo import DemoSummary
    from degflow_pipe.stages.generate import GenerateSummary
    from degflow_pipe.stages.grids import GridSummary
    from degflow_pipe.stages.inspection import Verified
    from degflow_pipe.stages.numbering import IngestSummary
    from degflow_pipe.stages.preview import Preview
    from degflow_pipe.stages.remove import RemoveSummary
    from degflow_pipe.stages.run import RunSummary
    from degflow_pipe.stages.shard import ShardSummary
    from degflow_pipe.watching import SlowUnit

NAMED = 3
"""Photos that are named for each reason, at most."""
SHOWN = 5
"""Of a list whose rest is counted."""
REASONS = 8
"""Why photos were skipped, at most; the rest is counted."""
Lines = Iterator[tuple[str, str]]
"""A word for each line, and what it says."""


def few(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first of them, and how many more."""
    names = list(names)
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")


def tallied(counts: Mapping[str, int]) -> str:
    """Names with their counts."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def skipped_lines(skipped: Mapping[str, str]) -> Lines:
    """Photos that could not be used, by the reason, the most frequent first."""
    if skipped:
        yield (
            "skipped",
            f"{number_of(len(skipped), 'photos')} that cannot be used (--json names all)",
        )
    for one in skips_of(skipped, NAMED, REASONS):
        more = one.count - len(one.names)
        names = ", ".join(one.names) + f" and {more:,} more" * bool(more)
        yield "", f"{one.count:,}: {one.reason} ({names})"


def _photo_lines(found: IngestSummary | DegradeSummary) -> Lines:
    """What `ingest` and `degrade` say of photos alike."""
    yield from skipped_lines(found.skipped)
    if found.left_out:
        yield "not photos", f"{tallied(found.left_out)} (files by their endings)"
    if found.colours:
        yield "colours", tallied(found.colours)
    if found.unchecked:
        yield "unchecked", f"{tallied(found.unchecked)} (damage of these may go unseen)"


def _work_line(slowest: list[SlowUnit], device: str = "", batch: int = 1) -> Lines:
    where = f"on {device}" if device else ""
    if where and device.startswith("cuda"):
        where += f", {number_of(batch, 'patches')} at once"
    slow = f"slowest {slowest[0].unit}, {slowest[0].seconds:.3g} s" if slowest else ""
    if said := "; ".join(filter(None, (where, slow))):
        yield "work", said


def own_checkpoint(named: str) -> str:
    """How the next command names a checkpoint; a shipped one, which stores tell of, needs no
    naming.
    """
    from degflow_pipe.shipped import names

    shipped = "|".join(map(re.escape, names("checkpoints")))
    is_shipped = re.fullmatch(rf"({shipped})(-[0-9a-f]{{12}})?", named)
    return "" if is_shipped and "," not in named else f" --checkpoint {shlex.quote(named)}"


def _ingest(
    found: IngestSummary, device: str, store: str, checkpoint: str, next_step: bool = True
) -> Lines:
    """store: what it is called; the store of a run that keeps none has no name. checkpoint: as it
    was named.
    """
    added = f"{number_of(found.patches, 'patches')} of {number_of(found.photos, 'photos')} added"
    yield "", f"{store}: {added}, {found.patches_in_store:,} in all"
    if found.known:
        yield (
            "known",
            f"{number_of(found.known, 'photos')} that were there, left as they are",
        )
    if found.replaced:
        yield "replaced", f"{number_of(found.replaced, 'photos')}, which went"
    if found.flat:
        yield "flat", f"{number_of(found.flat, 'patches')} of less than `min_detail`, left out"
    if found.duplicate:
        yield "repeated", f"{number_of(found.duplicate, 'patches')} that are there, left out"
    if found.beyond:
        limits = ", ".join(f"{count:,} by `{name}`" for name, count in found.beyond.items())
        yield "beyond", f"photos beyond a limit, left out: {limits}"
    yield from _photo_lines(found)
    if found.lacking:
        yield (
            "not whole",
            f"{number_of(found.lacking, 'findings')} of earlier ingests: see `verify`",
        )
    yield from _work_line(found.slowest, device, found.batch)
    if next_step:
        # By default the levels that the store has, else those of the main job.
        named = own_checkpoint(checkpoint)
        yield "next", f"degflow-pipe generate{_of_store(found.store)}{named}"


def _of_store(path: str) -> str:
    """How a command names a store; the one of the main job needs no naming."""
    return "" if path == str(defaults.STORE) else f" --store {shlex.quote(path)}"


def _generate(found: GenerateSummary, device: str, next_step: bool = True) -> Lines:
    per_patch = number_of(len(found.levels), "levels")
    all_of = f"{number_of(found.patches, 'patches')} at {per_patch}"
    yield "", f"{found.store}: {number_of(found.pairs, 'LR')} made, of {all_of}"
    if found.known:
        yield "known", f"{number_of(found.known, 'LR')} of before, left as they are"
    yield "levels", few(found.levels)
    yield "made by", f"{found.checkpoint}, noise {found.noise}, {found.precision}"
    if found.encoded:
        yield "encoded", f"{number_of(found.encoded, 'patches')} whose latents the store had not"
    if found.evaluations is not None:
        yield "solver", f"{number_of(found.evaluations, 'evaluations')} of the velocity a patch"
    yield from _work_line(found.slowest, device, found.batch)
    yield "grid", found.grid
    if next_step:
        # Shards of another grid lie where they would go by default.
        grid = f" --grid {found.grid} --out SHARDS" if found.grids > 1 else ""
        yield "next", f"degflow-pipe shard{_of_store(found.store)}{grid}"


def _shard(found: ShardSummary) -> Lines:
    tars = f"{number_of(found.tars, 'tars')} of {size_of(found.bytes)}"
    of = f"{number_of(found.pairs, 'LR/HR pairs')} of {number_of(found.patches, 'patches')}"
    yield "", f"{found.out}: {of}, in {tars}"
    if found.made < found.tars:
        yield "known", f"{number_of(found.tars - found.made, 'tars')} of before, left as they are"
    if found.samples != found.pairs:
        yield "samples", f"{found.samples:,}, a patch with all its levels each"
    if (apart := found.validation) is not None:
        pairs = f"{number_of(apart.pairs, 'pairs')} of {number_of(apart.patches, 'patches')}"
        yield "validate", f"{pairs} apart, in {number_of(apart.tars, 'tars')}"
    yield from _work_line(found.slowest)
    out = shlex.quote(found.out)
    yield "look", f"{found.out}/contact_sheet.png, or degflow-pipe report {out}"
    yield "next", f"degflow-pipe export {out} --to TRAINER -o OUT"
    yield "", f"or, in Python, sr_pairs({found.out!r})"


def _shown(found: Any, lines: Lines, as_json: bool) -> None:
    """What a command returned, as JSON or in lines, which are made where they are printed."""
    if as_json:
        show(found, True)
    else:
        print_lines(lines)


def show_ingest(found: IngestSummary, device: str, checkpoint: str, as_json: bool) -> None:
    _shown(
        {**found.to_dict(), "device": device},
        _ingest(found, device, found.store, checkpoint),
        as_json,
    )


def show_generate(found: GenerateSummary, device: str, as_json: bool) -> None:
    _shown({**found.to_dict(), "device": device}, _generate(found, device), as_json)


def show_shard(found: ShardSummary, as_json: bool) -> None:
    _shown(found, _shard(found), as_json)


def show_run(found: RunSummary, device: str, kept: bool, as_json: bool) -> None:
    """The three stages, each in its lines. kept: whether a store is."""
    if as_json:
        show(found, True)
        return
    store = found.ingest.store if kept else "photos"
    print_lines(_ingest(found.ingest, device, store, "", next_step=False))
    if found.generate is not None:
        print_lines(_generate(found.generate, device, next_step=False))
    print_lines(_shard(found.shard))


def show_demo(found: DemoSummary, asked: str, as_json: bool) -> None:
    """asked: how `generate` is asked for its levels; empty for those of the main job."""
    _shown(found, _demo(found, asked), as_json)


def _demo(found: DemoSummary, asked: str) -> Lines:
    yield next(_shard(found.shard))
    shards = shlex.quote(found.shard.out)
    yield "look", f"{found.strip}, and degflow-pipe report {shards}"
    yield "next", "with photos of your own:"
    yield "", f"degflow-pipe preview YOUR_PHOTO -o strip.png {asked}".rstrip()
    yield "", "degflow-pipe ingest YOUR_PHOTOS"
    yield "", f"degflow-pipe generate {asked or '--t-grid 0.1:1.0:0.05'}"
    yield "", "degflow-pipe shard"


def show_removed(found: RemoveSummary, as_json: bool) -> None:
    _shown(found, _removed(found), as_json)


def _removed(found: RemoveSummary) -> Lines:
    gone = f"{number_of(found.photos, 'photos')} with {number_of(found.patches, 'patches')} gone"
    yield "", f"{found.store}: {gone}, {number_of(found.patches_in_store, 'patches')} stay"
    yield "next", "make the shards that it was in again"


def show_degraded(found: DegradeSummary, as_json: bool) -> None:
    _shown(found, _degraded(found), as_json)


def _degraded(found: DegradeSummary) -> Lines:
    made = f"{number_of(found.pictures, 'LR')} of {number_of(found.photos, 'photos')} made"
    yield "", f"{found.out}: {made}, {number_of(len(found.levels), 'levels')} each"
    if found.known:
        yield "known", f"{number_of(found.known, 'photos')} whose LR are of before"
    yield "levels", few(found.levels)
    yield "made with", f"noise {found.noise}, {found.precision}"
    yield from _photo_lines(found)


def show_verified(found: Verified, path: str, as_json: bool) -> None:
    """What was read and what is damaged; the caller says what to do."""
    _shown(found, _verified(found, path), as_json)


def _verified(found: Verified, path: str) -> Lines:
    from degflow_pipe.stages.inspection import CHECKED

    read = f"{number_of(found.checked, CHECKED[found.kind])} read"
    state = "whole" if found.whole else f"not whole, {number_of(len(found.damage), 'findings')}"
    yield "", f"{path}: {state} ({found.kind}, {read})"
    for mended in found.mended:
        yield "mended", mended
    for damage in found.damage:
        yield "finding", damage


def show_exported(found: ExportSummary, as_json: bool) -> None:
    _shown(found, _exported(found), as_json)


def _exported(found: ExportSummary) -> Lines:
    pairs = f"{number_of(found.pairs, 'pairs')} of {number_of(found.patches, 'patches')}"
    yield "", f"{found.out}: {pairs} for {found.trainer}"
    if found.known:
        yield "known", f"{number_of(found.known, 'pictures')} of before, left as they are"
    scales = list(dict.fromkeys(found.scales))
    large = ": LR as large as HR" if scales == [1] else ""
    yield "scales", few(f"x{scale:g}" for scale in scales) + large
    if found.validation_pairs:
        yield "validate", f"{number_of(found.validation_pairs, 'pairs')} apart, in validate"
    if found.linked:
        saved = size_of(found.saved_bytes)
        yield "linked", f"{found.linked:,} HR are further names of one file, which saves {saved}"
    if found.lossy:
        yield "lossy", f"{' and '.join(found.lossy)} hold what JPEG left of them"
    yield "options", found.options
    out, to = shlex.quote(found.out), found.trainer
    yield "next", f"degflow-pipe doctor {out} --to {to}"


def show_diagnosis(found: Diagnosis, as_json: bool) -> None:
    _shown(found, _diagnosis(found), as_json)


def _diagnosis(found: Diagnosis) -> Lines:
    state = "fine" if found.fine else "not fit"
    pairs = f"{number_of(found.pairs, 'pairs')}, {found.compared:,} of them compared"
    yield "", f"{found.folder}: {state} for {found.trainer}, {pairs}"
    yield "options", found.options or "none"
    for ratio, count in found.ratios.items():
        yield "scale", f"x{ratio}: {number_of(count, 'pairs')}"
    for kind, finding in found.findings.items():
        for text in finding.examples:
            yield kind, text
        if (more := finding.count - len(finding.examples)) > 0:
            yield kind, f"{more:,} more"
        if finding.cure:
            yield kind, f"what to do: {finding.cure}"
    if found.fine and found.options:
        yield "next", f"train with {found.options}"


def show_grid(found: GridSummary, as_json: bool, made: bool) -> None:
    """A grid that was made of others, or taken out."""
    _shown(found, _grid(found, made), as_json)


def _grid(found: GridSummary, made: bool) -> Lines:
    what = f"{found.grid} ({found.title})" if found.title else found.grid
    done = "made; its parts stay" if made else "taken out, with all its levels"
    yield "", f"{found.store}: grid {what} {done}"
    if found.levels:
        yield "levels", f"{few(found.levels)}, of {number_of(found.patches, 'patches')}"
    if made:
        yield "next", f"degflow-pipe info {shlex.quote(found.store)}"


def show_reported(found: Reported, as_json: bool) -> None:
    _shown(found, _reported(found), as_json)


def _reported(found: Reported) -> Lines:
    yield "", f"{found.report}: a page of {size_of(found.bytes)}, to open in a browser"
    yield "of", f"{found.kind}, {number_of(found.scenes, 'scenes')} in pictures"
    if found.verdict:
        yield "verdict", found.verdict


def show_strip(found: Preview, as_json: bool) -> None:
    shown = few((f"{t:.3g}" for t in found.t), shown=20)
    _shown(found, iter([("", f"{found.strip}: HR, and its LR at t = {shown}")]), as_json)
