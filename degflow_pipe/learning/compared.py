"""The comparison that `camera` makes of its checkpoint: which it takes, and what the card tells."""

from __future__ import annotations

from typing import Any

from degflow_pipe.errors import UsageError
from degflow_pipe.proxy.recipe import IMPLICIT, ProxyRecipe, proxy_recipe


def proxy_of(values: dict[str, Any]) -> ProxyRecipe:
    """The proxy's recipe. Raises UsageError for what `camera` cannot take of one."""
    asked = proxy_recipe(values)
    if asked.network == IMPLICIT:
        raise UsageError("`network` cannot be implicit here: `proxy` trains that one")
    if other := [key for key in ("data", "test", "also") if getattr(asked, key)]:
        raise UsageError(f"`{other[0]}` is not taken here: the camera's own pairs are compared")
    if asked.sources and "ours" not in asked.sources:
        raise UsageError("`sources` must hold ours, which the card tells of")
    return asked


def at_best_noise(compared: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a comparison, of each source the one whose added noise serves it best."""
    best = compared["best"]
    return [
        row
        for row in compared["rows"]
        if best.get(row["source"], row["added_noise"]) == row["added_noise"]
    ]


def proxy_section(compared: dict[str, Any]) -> str:
    """Of the card: a table of the sources, each at its best added noise; compared: figures.json."""
    rows = "\n".join(
        f"| {row['source']} | {row['mean']['psnr']:.2f} | {_share(row)} |"
        for row in at_best_noise(compared)
    )
    return (
        f"## SR of real LR, by what the network was trained on\n\n"
        f"{compared['seeds']} trainings of {compared['steps']} steps; untouched: LR as it is.\n\n"
        f"| source | PSNR, dB | recovered |\n|---|---|---|\n{rows}\n"
    )


def _share(row: dict[str, Any]) -> str:
    share = row["recovered"].get("psnr")
    return "-" if share is None else f"{100 * share:.0f}%"
