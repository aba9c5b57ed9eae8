"""report: one HTML file that shows what a store, shards, a checkpoint or a result hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from degflow_pipe import files, folders
from degflow_pipe.errors import FileError, UsageError
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.reports import results
from degflow_pipe.reports.page import LIMIT, Page, render
from degflow_pipe.reports.times import times_of
from degflow_pipe.stages.verify import CHECKPOINT, SHARDS, STORE
from degflow_pipe.stages.verify import kind_of as kind_of_folder


@dataclass(frozen=True)
class Reported:
    """The page that was written. kind: of the source; scenes: those with pictures; verdict: the
    first one of the page, empty where there is none.
    """

    report: str
    kind: str
    bytes: int
    scenes: int
    pictures: int
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def report(
    path: Path,
    out: Path,
    *,
    grid: str | None = None,
    pairs: Path | None = None,
    events: Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Reported:
    """Write one self-contained HTML file about what is at `path`.

    path: a store, a folder of shards, a checkpoint or a folder of `camera`, or what `evaluate`,
    `proxy` or `align` wrote. grid: of a store with several, the levels that are shown, by name or
    title. pairs: of a checkpoint, a folder of real pairs laid out as those that it was trained on,
    whose held-out scenes are shown beside what it generates, on `device`. events: of a store
    or shards, a file that `events` of `ingest`, `generate` or `shard` wrote, for the time that they
    took. What was measured is read; of a store and shards some patches are measured, evenly chosen
    and the same each time. Equal sources give equal bytes.

    Raises UsageError where `path` is none of these, `grid`, `pairs` or `events` is not for it or
    `out` is no .html, or there and not to be overwritten, and the error of what cannot be read.
    """
    kind = _kind_of(path)
    folders.check_file(out, ".html", overwrite)
    for name, value, wanted in (("grid", grid, STORE), ("pairs", pairs, CHECKPOINT)):
        if value is not None and kind != wanted:
            raise UsageError(f"`{name}` is for a {wanted}, and {path} is none")
    if events is not None and kind not in (STORE, SHARDS):
        raise UsageError(f"`events` is for a {STORE} or {SHARDS}, and {path} is none")
    times = None if events is None else times_of(events)  # before what takes long
    progress = progress or Silent()
    page = _page(path, kind, grid, pairs, device, progress)
    page.costs += [] if times is None else [times]
    with progress.task("draw the page", None):
        data = render(page).encode()
    if len(data) > LIMIT:
        raise FileError(
            f"{path}: its report would take {len(data)} bytes, more than the limit of {LIMIT}"
        )
    files.write_bytes(out, data)
    return Reported(
        report=str(out),
        kind=kind,
        bytes=len(data),
        scenes=len(page.scenes),
        pictures=sum(len(scene.frames) for scene in page.scenes) + len(page.sheets),
        verdict=page.judgements[0].word if page.judgements else "",
    )


def _kind_of(path: Path) -> str:
    """Raises UsageError where there is nothing that a report is made of."""
    if not files.exists(path):
        raise UsageError(f"{path} is not there")
    if found := results.kind_of(path):
        return found
    try:
        return kind_of_folder(path)
    except UsageError as error:
        raise UsageError(
            f"{path} is no store, no folder of shards, no checkpoint, and nothing that `evaluate`, "
            f"`proxy` or `align` wrote; where a command was stopped before it was whole, run that "
            f"again"
        ) from error


def _page(
    path: Path, kind: str, grid: str | None, pairs: Path | None, device: str, progress: Progress
) -> Page:
    # Each loads what it needs alone.
    if kind == STORE:
        from degflow_pipe.reports.stores import of_store

        return of_store(path, grid, progress)
    if kind == SHARDS:
        from degflow_pipe.reports.shards import of_shards

        return of_shards(path, progress)
    if kind == CHECKPOINT:
        from degflow_pipe.reports.checkpoints import of_checkpoint

        return of_checkpoint(path, pairs, device, progress)
    return results.of_result(path, kind)
