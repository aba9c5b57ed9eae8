"""degflow-pipe: real-world LR/HR training pairs for super-resolution.

The names below are the public face; they are imported when first used, so that what needs no torch
does not load it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from degflow_pipe.errors import (
    CheckpointError,
    DataError,
    DegflowError,
    FileError,
    PhotoError,
    ShardError,
    StoreError,
    UsageError,
)
from degflow_pipe.version import __version__

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow
    from degflow_pipe.exports.doctor import doctor
    from degflow_pipe.exports.export import export
    from degflow_pipe.folders import break_lock
    from degflow_pipe.levels import Grid, Level, parse_grid, parse_scales, parse_t, parse_t_grid
    from degflow_pipe.places import place_of
    from degflow_pipe.reading import SRPairs, sr_pairs
    from degflow_pipe.reading.lazy import LazyPairs
    from degflow_pipe.reports.report import report
    from degflow_pipe.shards.layout import ShardSettings
    from degflow_pipe.stages.align import align
    from degflow_pipe.stages.align_check import check_pairs
    from degflow_pipe.stages.align_scene import AlignSettings
    from degflow_pipe.stages.degrade import degrade
    from degflow_pipe.stages.generate import generate
    from degflow_pipe.stages.ingest import ingest
    from degflow_pipe.stages.remove import remove
    from degflow_pipe.stages.shard import shard
    from degflow_pipe.stages.target import target

_HOMES = {
    "AlignSettings": "stages.align_scene",
    "DegFlow": "checkpoint.degflow",
    "Grid": "levels",
    "LazyPairs": "reading.lazy",
    "Level": "levels",
    "SRPairs": "reading",
    "ShardSettings": "shards.layout",
    "align": "stages.align",
    "break_lock": "folders",
    "check_pairs": "stages.align_check",
    "degrade": "stages.degrade",
    "doctor": "exports.doctor",
    "export": "exports.export",
    "generate": "stages.generate",
    "ingest": "stages.ingest",
    "parse_grid": "levels",
    "parse_scales": "levels",
    "parse_t": "levels",
    "parse_t_grid": "levels",
    "place_of": "places",
    "remove": "stages.remove",
    "report": "reports.report",
    "shard": "stages.shard",
    "sr_pairs": "reading",
    "target": "stages.target",
}

__all__ = [
    "AlignSettings",
    "CheckpointError",
    "DataError",
    "DegFlow",
    "DegflowError",
    "FileError",
    "Grid",
    "LazyPairs",
    "Level",
    "PhotoError",
    "SRPairs",
    "ShardError",
    "ShardSettings",
    "StoreError",
    "UsageError",
    "__version__",
    "align",
    "break_lock",
    "check_pairs",
    "degrade",
    "doctor",
    "export",
    "generate",
    "ingest",
    "parse_grid",
    "parse_scales",
    "parse_t",
    "parse_t_grid",
    "place_of",
    "remove",
    "report",
    "shard",
    "sr_pairs",
    "target",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
