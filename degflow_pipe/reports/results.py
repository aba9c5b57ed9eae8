"""Which result of `evaluate`, `proxy` or `align` a path is, and its report."""

from __future__ import annotations

from pathlib import Path

from degflow_pipe import files
from degflow_pipe.reports import aligned, comparisons, evaluations
from degflow_pipe.reports.page import Page
from degflow_pipe.reports.parsed import read_result

EVALUATION, PROXY, PAIRS = "evaluation", "proxy", "pairs"
CONFIG, FIGURES = "config.json", "figures.json"


def kind_of(path: Path) -> str:
    """`evaluation`, `proxy` or `pairs`; empty where it is none of them.

    path: the folder, or a JSON file of figures: `camera` writes an evaluation into one file.
    """
    if files.is_file(path):
        return _kind_of_file(path) if path.suffix == ".json" else ""
    if files.exists(path / CONFIG):
        return ""  # a checkpoint, with what was found about it beside it
    if files.exists(path / aligned.FIGURES):
        return PAIRS
    return next((kind for file in _figures(path) if (kind := _kind_of_file(file))), "")


def _figures(folder: Path) -> list[Path]:
    """The files of figures in a folder: a proxy has one a network."""
    names = files.names(folder, ".json")
    return [folder / name for name in names if name.startswith("figures")]


def _kind_of_file(path: Path) -> str:
    found = read_result(path)
    if found.has("curve") and found.has("levels"):
        return EVALUATION
    if found.has("rows") or (found.has("levels") and found.has("seeds")):
        return PROXY
    return PAIRS if path.name == aligned.FIGURES else ""


def of_result(path: Path, kind: str) -> Page:
    """Raises FileError where its figures are damaged."""
    folder, paths = path, _figures(path) if files.is_folder(path) else [path]
    if files.is_file(path):
        folder = path.parent
    if kind == PAIRS:
        return aligned.of_pairs(folder)
    # What was drawn lies beside figures that have their usual name; `camera` gives them another.
    beside = folder if files.is_folder(path) or path.name == FIGURES else None
    if kind == EVALUATION:
        return evaluations.of_evaluation(paths[0], beside)
    return comparisons.of_proxy(paths, beside)
