"""What a comparison of sources is, whichever network is trained on them: its trainings are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.evaluation import plots
from degflow_pipe.formats.weights import read_into, weights_bytes
from degflow_pipe.metrics.fidelity import fidelity
from degflow_pipe.metrics.perceptual import Perceptual
from degflow_pipe.progress import Task
from degflow_pipe.proxy.network import Network

PATCH = 192
PATCHES = 480
"""HR patches that all sources share, and their side in pixels."""
CROP = 160
"""Side in pixels of what a page shows of a picture."""

Figures = dict[str, float]


def check_asked(
    sources: Sequence[str],
    known: Sequence[str],
    added_noise: Sequence[float],
    seeds: int,
    whose: str = "",
) -> None:
    """Raises UsageError for a source that is not known, noise out of range, or no seed.

    whose: said of the known sources.
    """
    unknown = [name for name in sources if name not in known]
    if unknown:
        raise UsageError(f"`sources`: {unknown[0]!r} is not one of {', '.join(known)}{whose}")
    # Not by min and max, which let nan through.
    if not added_noise or not all(0 <= noise <= 100 for noise in added_noise):
        raise UsageError(
            f"`added_noise` must be grey levels from 0 to 100, got {list(added_noise)}"
        )
    if seeds < 1:
        raise UsageError(f"`seeds` must be 1 at least, got {seeds}")


def chosen_sources(
    asked: Sequence[str], known: Sequence[str], noisy: Collection[str], model: DegFlow
) -> list[str]:
    """The sources to compare, in the order of `known`; `bicubic` and `real` are always there.

    asked: none for all that the checkpoint can make. noisy: those that need its noise. Raises
    UsageError where one is asked for and the checkpoint has none.
    """
    possible = [name for name in known if name not in noisy or model.noise_model("auto")]
    wanted = {*(asked or possible), "bicubic", "real"}
    if wanted & set(noisy):
        model.noise_model("calibrated")  # says what is missing before anything is trained
    return [name for name in known if name in wanted]


class Run:
    """One training: what decides it, and its two files, figures and weights, below a folder."""

    def __init__(self, out: Path, head: str, key: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        self._key, self._path = key, out / "runs" / f"{head}-{digest[:12]}.json"
        self._weights = self._path.with_suffix(".safetensors")

    def figures(self) -> Any:
        """What was kept; None where it was not done yet."""
        if not files.exists(self._path):
            return None
        kept = files.read_summed(self._path)
        key = {name: value for name, value in kept.items() if name != "figures"}
        if "figures" not in kept or files.json_text(key) != files.json_text(self._key):
            raise DataError(f"{self._path} is of another training: delete it to train again")
        return kept["figures"]

    def keep(self, network: nn.Module, figures: Any) -> None:
        files.write_bytes(self._weights, weights_bytes(network.state_dict()))
        files.write_summed(self._path, {**self._key, "figures": figures})

    def loaded(self, network: Network) -> Network:
        """A network of the same sizes, with the weights that were kept."""
        read_into(network, self._weights, self._path.name)
        return network.eval()


def judged(sr: np.ndarray, hr: np.ndarray, perceptual: Perceptual) -> Figures:
    """SR against HR, both (H, W, 3) uint8."""
    figures = fidelity(sr, hr)
    if perceptual.kind != "none":
        figures["perceptual"] = perceptual(sr, hr)
    return figures


def means(found: Sequence[Figures]) -> Figures:
    return {key: float(np.mean([one[key] for one in found])) for key in found[0]}


def draw_page(path: Path, page: list[list[tuple[str, np.ndarray]]], title: str, task: Task) -> None:
    """A page of crops; without matplotlib a note in its place, as the figures are complete."""
    try:
        plots.picture_page(path, page, title)
    except UsageError as error:
        task.note(f"{path} is left out: {error}")
