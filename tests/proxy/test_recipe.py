"""Proxy recipes: the shipped ones, what they say, and what is wrong in one."""

from __future__ import annotations

from typing import Any

import pytest

from degflow_pipe.errors import UsageError
from degflow_pipe.proxy.recipe import ProxyRecipe, proxy_recipe
from degflow_pipe.recipes import load_recipe

DATA = {"set": "realsr-v2", "scales": [2, 4], "s_max": 4.0, "source": "theirs", "licence": "free"}


def test_nothing_said_is_the_command_line_without_options() -> None:
    assert proxy_recipe({"kind": "proxy"}) == ProxyRecipe()


def test_shipped_city100() -> None:
    recipe = proxy_recipe(load_recipe("proxy-city100", "proxy"))
    assert (recipe.network, recipe.seeds, recipe.added_noise) == ("same-size", 3, [0, 4])
    assert recipe.data is None, "the checkpoint's own"


def test_shipped_protocol_of_the_paper() -> None:
    """Knots x1, x2, x4; generated x1.1 ... x4; x3 and RealArbiSR tested."""
    recipe = proxy_recipe(load_recipe("realsr-paper", "proxy"))
    assert recipe.data is not None and recipe.test is not None
    assert [(level.name, level.held_out) for level in recipe.data.pair_levels] == [
        ("HR", False),
        ("x2", False),
        ("x3", True),
        ("x4", False),
    ]
    assert list(recipe.scales) == [round(1 + i / 10, 1) for i in range(1, 31)]
    assert (recipe.test.set, recipe.test.scales) == ("realarbisr", [1.5, 2, 2.5, 3, 3.5, 4])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"sorces": ["ours"]}, "recipe has no key 'sorces'"),
        ({"seeds": "3"}, "`seeds` must be a whole number"),
        ({"budget": {"step": 3}}, "`budget:` has no key 'step'"),
        ({"budget": {"steps": 0}}, "`budget.steps` must be 1 at least"),
        ({"budget": {"lr": 2.0}}, "`budget.lr` must be between 0 and 1"),
        ({"data": {"set": "realsr-v2"}}, "`data:` lacks s_max"),
        ({"test": DATA}, "`test` is for `network=implicit`"),
        ({"network": "implicit", "level": "LR4"}, "`level` is for networks of one scale"),
        ({"scales": [2.0, 4]}, '`scales` is gone: write `t_grid: "x2.0,x4"`'),
        ({"network": "implicit", "t_grid": "0.5"}, "`t_grid` must be SR scales such as x1.5,x2"),
        ({"sr_scale": 13}, "`sr_scale` must be a whole number from 1 to 12"),
        ({"sr_scale": 2.5}, "`sr_scale` must be a whole number"),
        ({"network": "implicit", "sr_scale": 2}, "`sr_scale` is for networks of one scale"),
        ({"also": {"theirs": {"set": "nope"}}}, "`also.theirs:` lacks s_max"),
        ({"also": ["theirs"]}, "`also` must be"),
        ({"network_settings": {"dim": 3}}, "`network_settings` are those of one of spandrel's"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        proxy_recipe({"kind": "proxy", **values})
