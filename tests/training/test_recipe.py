"""Training recipes: what is wrong is named by its key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from degflow_pipe.errors import UsageError
from degflow_pipe.model.config import ModelConfig
from degflow_pipe.training.recipe import LFMSettings, RAESettings, train_recipe

LEVELS = [("HR", 0.0, "*_hr.png"), ("LR2", 0.4, "*_lr2.png"), ("LR4", 1.0, "*_lr4.png")]


def least() -> dict[str, Any]:
    """The mapping of a recipe with nothing but what must be there."""
    return {
        "kind": "train",
        "name": "smallest",
        "data": {
            "levels": [{"name": n, "t": t, "files": files} for n, t, files in LEVELS],
            "validate": "coffee",
            "s_max": 4.0,
            "source": "",
            "licence": "",
        },
    }


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set `a.b.c` of a recipe's mapping; None takes the key away."""

    def apply(values: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            values = values[int(name)] if isinstance(values, list) else values.setdefault(name, {})
        if value is None:
            del values[last]
        else:
            values[last] = value

    return apply


@pytest.mark.parametrize(
    "path, value, reason",
    [
        ("colour", 1, "training recipe has no key 'colour'"),
        ("name", None, "needs a name"),
        ("name", 5, "needs a name"),
        ("data", None, "`data:` lacks s_max, source, licence"),
        ("data.s_max", None, "`data:` lacks s_max"),
        ("data.s_max", 1, "`data.s_max` must be above 1, got 1"),
        ("data.s_max", "4", "`data.s_max` must be a number, got '4'"),
        ("data.colour", 1, "`data:` has no key 'colour'"),
        ("data.levels", [], "`data.set: generic` needs `data.levels`"),
        ("data.levels.0.t", 0.2, r"`data.levels` must start with HR at t = 0.*\[0.2, 0.4, 1.0\]"),
        ("data.levels.1.t", 1.0, "rise strictly in t"),
        ("data.levels.2.t", 1.5, r"`data.levels.t` of LR4 must be in \[0, 1\], got 1.5"),
        ("data.levels.1.files", "lr2.png", r"`data.levels.files` of LR2 must .* one \*"),
        ("data.levels.1.files", "*/*.png", r"`data.levels.files` of LR2 must .* one \*"),
        ("data.levels.1.files", "/abs/*.png", "`data.levels.files` of LR2 must be a path below"),
        ("data.levels.1.kind", "x", "`data.levels:` has no key 'kind'"),
        ("rae.steps", "many", "`rae.steps` must be a whole number, got 'many'"),
        ("rae.steps", True, "`rae.steps` must be a whole number, got True"),
        ("rae.steps", 0, "`rae.steps` must be a whole number from 1, got 0"),
        ("rae.patch", 100, "`rae.patch` must be a multiple of 64, got 100"),
        ("rae.betas", [0.5], "`rae.betas` must be two numbers"),
        ("rae.lr", -1e-4, "rae.*lr.* got .*-0.0001"),
        ("rae.lr", float("nan"), "rae.*lr.* got .*nan"),
        ("rae.lr_end", 0.1, "rae.*lr_end <= lr"),
        ("rae.betas", [0.5, 1.5], "`rae.betas` must be two numbers in"),
        ("rae.seed", -1, "`rae.seed` must be 0 or more"),
        ("lfm.warmup", -1, "lfm.*warmup.* must be 0 or more"),
        ("data.s_max", float("nan"), "`data.s_max` must be a number .* got nan"),
        ("rae.momentum", 0.9, "`rae:` has no key 'momentum'"),
        ("lfm.batch", 0, "`lfm.batch` must be a whole number from 1, got 0"),
        (
            "lfm.latent_loss",
            "huber",
            "`lfm.latent_loss` must be plain or normalized, got 'huber'",
        ),
        ("lfm.perceptual", "lpips", "`lfm.perceptual` must be none, lpips-vgg, "),
        ("lfm.endpoint", "l2", "`lfm.endpoint` must be none or l1, got"),
        ("lfm", [1], "`lfm:` must be a mapping"),
        ("model", 3, "model must be a mapping, got 3"),
        ("model.preset", "huge", "`model.preset` 'huge' is not one of"),
        ("model.rae", {"width": 0}, "`model.rae.width` must be a whole number from 1, got 0"),
        ("model.velocity", {"width": 6}, "`model.velocity.width` must be .*got 6"),
        ("model.solver", {"method": "rk5"}, "`model.solver.method` must be one of"),
    ],
)
def test_a_wrong_recipe_names_the_key(path: str, value: Any, reason: str) -> None:
    values = least()
    assert train_recipe(values).name == "smallest"
    change(path, value)(values)
    with pytest.raises(UsageError, match=reason):
        train_recipe(values)


def test_what_a_recipe_leaves_out_is_as_published() -> None:
    recipe = train_recipe({**least(), "lfm": {"steps": 7}})
    assert recipe.model == ModelConfig()
    assert recipe.rae == RAESettings()
    assert recipe.lfm == LFMSettings(steps=7)


def test_a_key_that_is_no_text_is_named() -> None:
    with pytest.raises(UsageError, match="no key '5'"):
        train_recipe({**least(), 5: 1})  # type: ignore[dict-item]
