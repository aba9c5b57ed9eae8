"""Recipes and checkpoints that come with the package, found by name.

In a wheel they lie inside the package; in a checkout they are the top-level folders.
"""

from __future__ import annotations

from pathlib import Path

from degflow_pipe import files

_PACKAGE = Path(__file__).resolve().parent


def folder(kind: str) -> Path:
    """Where `pipelines` or `checkpoints` are."""
    inside = _PACKAGE / kind
    return inside if files.exists(inside) else _PACKAGE.parent / kind


def names(kind: str) -> list[str]:
    """Names of the shipped recipes (`pipelines`) or checkpoints (`checkpoints`)."""
    if kind == "pipelines":
        return [name.removesuffix(".yaml") for name in files.names(folder(kind), ".yaml")]
    return [name for name in files.names(folder(kind)) if files.is_folder(folder(kind) / name)]


def find(kind: str, name: str) -> Path | None:
    """The shipped file or folder of that name, or None."""
    if name not in names(kind):
        return None
    return folder(kind) / (f"{name}.yaml" if kind == "pipelines" else name)
