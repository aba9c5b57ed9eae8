"""report: one HTML file that shows what a store, shards, a checkpoint or a result hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from degflow_pipe import files
from degflow_pipe.errors import FileError, UsageError
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.reports.page import LIMIT, Page, render
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
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Reported:
    """Write one self-contained HTML file about what is at `path`.

    path: a store, a folder of shards, a checkpoint or a folder of `camera`, or what `evaluate`,
    `proxy` or `align` wrote. grid: of a store with several, the levels that are shown, by name or
    title. What was measured is read; of a store and shards some patches are measured, evenly chosen
    and the same each time. Equal sources give equal bytes.

    Raises UsageError where `path` is none of these, `grid` is for no store or `out` is there and
    not to be overwritten, and the error of what cannot be read.
    """
    if files.exists(out) and not overwrite:
        raise UsageError(f"{out} is there already: give another name as `out`, or `overwrite`")
    kind, read = _reader(path, grid)
    if grid is not None and kind != STORE:
        raise UsageError(f"`grid` is for a store, and {path} is none")
    page = read(progress or Silent())
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


def _reader(path: Path, grid: str | None) -> tuple[str, Callable[[Progress], Page]]:
    """The kind of what is there, and what makes a page of it. Raises UsageError for neither."""
    from degflow_pipe.reports import checkpoints, results, shards, stores

    if not files.exists(path):
        raise UsageError(f"{path} is not there")
    if found := results.kind_of(path):
        return found, lambda progress: results.of_result(path, found)
    kind = kind_of_folder(path)
    if kind == STORE:
        return kind, lambda progress: stores.of_store(path, grid, progress)
    if kind == SHARDS:
        return kind, lambda progress: shards.of_shards(path, progress)
    assert kind == CHECKPOINT
    return kind, lambda progress: checkpoints.of_checkpoint(path)
