"""The recipe that a camera leaves: every choice that was made, for `train` and for people."""

from __future__ import annotations

from typing import Any

from degflow_pipe.formats.yaml_text import yaml_lines
from degflow_pipe.learning.plan import SEEDS, SOURCES, Plan, stages
from degflow_pipe.pairs.settings import DataSettings


def train_text(name: str, model: dict[str, Any], data: DataSettings, plan: Plan) -> str:
    """YAML of the training: see `train_recipe`. model: as the recipe is to say it."""
    values: dict[str, Any] = {
        "name": name,
        "model": model,
        "data": _said(data),
        **stages(plan.steps, plan.start),
    }
    head = [
        "# How this camera was trained: `camera` goes on by it, and `train rae`, `train lfm` and",
        "# `train joint` take it as it is.",
        f"# Steps: {plan.why}.",
        "kind: train",
    ]
    return "\n".join([*head, *yaml_lines(values)]) + "\n"


def proxy_text(plan: Plan) -> str:
    """YAML of the comparison: see `proxy_recipe`."""
    values = {
        "network": "same-size",
        "sources": SOURCES,
        "added_noise": [0],
        "seeds": SEEDS,
        "budget": {"steps": plan.proxy_steps},
    }
    head = ["# The comparison at the end of `camera`; `proxy` takes it as it is.", "kind: proxy"]
    return "\n".join([*head, *yaml_lines(values)]) + "\n"


def _said(data: DataSettings) -> dict[str, Any]:
    """What of the data is not as it is by default."""
    default = DataSettings.__dataclass_fields__
    told = {key: getattr(data, key) for key in default}
    return {key: value for key, value in told.items() if value not in ("", [], ".")}
