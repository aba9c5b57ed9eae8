"""Recipes: one YAML file that says a whole run, a training or a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from degflow_pipe import files, shipped
from degflow_pipe.choices import meant
from degflow_pipe.errors import UsageError
from degflow_pipe.formats.yaml_text import parse_yaml
from degflow_pipe.places import place_of
from degflow_pipe.settings import shown

COMPACT = "train-city100-compact"
MAX_BYTES = 100_000
"""Of a recipe; the longest of ours has 3,000."""


def load_recipe(path_or_name: str, *kinds: str) -> dict[str, Any]:
    """Read a recipe by path or shipped name; it must say that it is one of these kinds.

    The kinds are `run`, `train` and `proxy`. Raises UsageError where there is none, it is no YAML
    mapping, or of another kind.
    """
    path = place_of(path_or_name)
    if not files.exists(path):
        found = shipped.find("pipelines", path_or_name)
        if found is None:
            known = shipped.names("pipelines")
            here = [one.name for one in Path().iterdir() if one.suffix in (".yaml", ".yml")]
            raise UsageError(
                f"no recipe {path_or_name}: neither a file nor one of the shipped ones "
                f"({', '.join(known)}){meant(path_or_name, [*known, *here])}"
            )
        path = found
    if files.is_folder(path):
        first = ": it comes before the photos, such as quickstart" if "run" in kinds else ""
        raise UsageError(f"{path} is a folder, not a recipe{first}")
    values = read_values(path)
    if not isinstance(values, dict):
        raise UsageError(f"{path} must be a mapping of keys to values")
    if values.get("kind") not in kinds:
        wanted = " or ".join(map(repr, kinds))
        raise UsageError(
            f"{path} is a recipe of kind {shown(values.get('kind'))}, not {wanted}: it must say "
            f"`kind: {kinds[0]}`"
        )
    return values


def compact_stages() -> dict[str, dict[str, Any]]:
    """The settings of `rae`, `lfm` and `joint` that the shipped compact model was trained with."""
    path = shipped.find("pipelines", COMPACT)
    assert path is not None
    values = read_values(path)
    return {stage: dict(values[stage]) for stage in ("rae", "lfm", "joint")}


def read_values(path: Path) -> Any:
    """What a YAML file written by hand says. Raises UsageError where it is no YAML."""
    try:
        return parse_yaml(files.read_bytes(path, MAX_BYTES))
    except ValueError as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
