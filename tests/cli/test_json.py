"""Keys of every `--json`, and the types of their values: `json_keys.json` beside this has them.

They are those of the dataclasses that the commands return. Whoever changes one renews the picture,
looks at what changed in it, and says so in the changelog:

    DEGFLOW_RENEW_JSON_KEYS=1 python -m pytest tests/cli/test_json.py

A key is spelled as it is, any key of a mapping as `*`; a list has the type of its items. What may
be null is `{"or null": type}`, and `{"one of": [...]}` are those of a command that has several.
`--json` of every test of the commands is held against the picture in `conftest.py`.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from degflow_pipe.alignment.results import AlignSummary, CheckSummary
from degflow_pipe.bench.results import Benchmark
from degflow_pipe.calibration.results import Calibrated, TunedSolver
from degflow_pipe.checkpoint.results import Exported, Imported
from degflow_pipe.cli.app import app
from degflow_pipe.estimates import Estimate
from degflow_pipe.evaluation.results import Evaluation
from degflow_pipe.exports.contents import ExportContents
from degflow_pipe.exports.export import ExportSummary
from degflow_pipe.exports.results import Diagnosis
from degflow_pipe.learning.results import CameraSummary
from degflow_pipe.proxy.results import ProxyComparison, ScalesComparison
from degflow_pipe.reports.report import Reported
from degflow_pipe.simulation.results import SimulateSummary
from degflow_pipe.stages.degrade import DegradeSummary
from degflow_pipe.stages.demo import DemoSummary
from degflow_pipe.stages.generate import GenerateSummary
from degflow_pipe.stages.grids import GridSummary
from degflow_pipe.stages.inspect import Inspected
from degflow_pipe.stages.inspection import (
    CheckpointContents,
    ShardsContents,
    StoreContents,
    Verified,
)
from degflow_pipe.stages.numbering import IngestSummary
from degflow_pipe.stages.preview import Preview
from degflow_pipe.stages.remove import RemoveSummary
from degflow_pipe.stages.run import RunSummary
from degflow_pipe.stages.shard import ShardSummary
from degflow_pipe.stages.target import TargetSummary
from degflow_pipe.training.results import TrainedAutoencoder, TrainedCheckpoint

PICTURE = Path(__file__).parent / "json_keys.json"

RESULTS: dict[str, Any] = {
    "ingest": [(IngestSummary, {"device": str}), Estimate],
    "remove": RemoveSummary,
    "generate": [(GenerateSummary, {"device": str}), Estimate],
    "grid delete": GridSummary,
    "grid merge": GridSummary,
    "shard": [ShardSummary, Estimate],
    "run": [RunSummary, Estimate],
    "demo": DemoSummary,
    "inspect": Inspected,
    "preview": Preview,
    "degrade": DegradeSummary,
    "info": [StoreContents, ShardsContents, ExportContents, CheckpointContents],
    "verify": Verified,
    "report": Reported,
    "train rae": TrainedAutoencoder,
    "train lfm": TrainedCheckpoint,
    "train joint": TrainedCheckpoint,
    "camera": CameraSummary,
    "evaluate": Evaluation,
    "calibrate": Calibrated,
    "proxy": [ProxyComparison, ScalesComparison],
    "bench": Benchmark,
    "tune-solver": TunedSolver,
    "checkpoint import": Imported,
    "checkpoint export": Exported,
    "simulate": SimulateSummary,
    "align": [AlignSummary, CheckSummary],
    "target": TargetSummary,
    "export": [ExportSummary, Estimate],
    "doctor": Diagnosis,
}
"""What each command returns; a tuple is one mapping made of several, a list one of several."""


def shape(kind: Any) -> Any:
    """A type as the picture has it."""
    if isinstance(kind, dict):
        return {key: shape(inner) for key, inner in kind.items()}
    if isinstance(kind, tuple):
        return {key: inner for part in kind for key, inner in shape(part).items()}
    if isinstance(kind, list):
        return {"one of": [shape(one) for one in kind]}
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: shape(hints[field.name]) for field in fields(kind)}
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (only,) = (one for one in inner if one is not NoneType)
        return {"or null": shape(only)}
    if origin is dict:
        return {"*": shape(inner[1])}
    if origin in (list, tuple):
        return [shape(inner[0])]
    if origin is Literal:
        return type(inner[0]).__name__
    return "any" if kind is Any else kind.__name__


def commands(group: Any, head: str = "") -> set[str]:
    """Every command that has `--json`."""
    inner = getattr(group, "commands", {})
    if not inner:
        return {head} if any("--json" in option.opts for option in group.params) else set()
    return {name for word, one in inner.items() for name in commands(one, f"{head} {word}".strip())}


def test_every_command_is_in_the_picture() -> None:
    assert commands(typer.main.get_command(app)) == set(RESULTS)


def test_keys_and_types_are_as_they_were() -> None:
    found = {command: shape(kind) for command, kind in RESULTS.items()}
    if os.environ.get("DEGFLOW_RENEW_JSON_KEYS"):
        PICTURE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert json.loads(PICTURE.read_text()) == found


def test_every_result_says_what_its_fields_are() -> None:
    """A docstring beside the one that a dataclass has of itself."""
    kinds = [part for kind in RESULTS.values() for part in _dataclasses(kind)]
    assert len(kinds) > 30
    for kind in kinds:
        assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}("), kind


def _dataclasses(kind: Any) -> list[Any]:
    """All dataclasses within a type."""
    if isinstance(kind, dict | list | tuple):
        inner = kind.values() if isinstance(kind, dict) else kind
    elif is_dataclass(kind):
        hints = get_type_hints(kind)
        return [kind, *(one for field in hints.values() for one in _dataclasses(field))]
    else:
        inner = get_args(kind)
    return [found for one in inner for found in _dataclasses(one)]
