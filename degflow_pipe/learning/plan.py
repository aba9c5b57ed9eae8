"""What a camera is trained with: sizes and steps, from the pairs, the device and the time there is.

The training is that of the shipped checkpoints (`train-city100-compact`), shortened where the pairs
are so few that they would be learned by heart, or the time so short.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from degflow_pipe.calibration.tune_solver import MOST_PHOTOS
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.evaluation.evaluate import LEAST_SIDE
from degflow_pipe.learning.found import check_in_common
from degflow_pipe.pairs.pairs import Pairs
from degflow_pipe.pictures.photos import picture_size
from degflow_pipe.progress import Silent
from degflow_pipe.proxy.budget import Budget
from degflow_pipe.proxy.network import SmallSR, train
from degflow_pipe.recipes import compact_stages
from degflow_pipe.settings import override
from degflow_pipe.training.recipe import TrainRecipe
from degflow_pipe.training.speed import step_seconds

STEPS = {"rae": 5000, "lfm": 1500, "joint": 1500}
"""As the shipped checkpoints, on 63 megapixels of HR."""
LEAST = {"rae": 100, "lfm": 50, "joint": 50}
LOOKS = 40
"""Times that `rae` looks at each pixel of the training HR, at most."""
PROXY_STEPS, LEAST_PROXY = 600, 60
SEEDS = 3
START_SHARE = 0.5
"""Of the steps, where training starts from a checkpoint."""
SOURCES = ["bicubic", "gaussian", "ours", "real"]
CALIBRATE, EVALUATE, TUNE = 25.0, 60.0, 32.0
"""What these take, in steps of `rae`: a megapixel of HR to train on, one held out, and a photo."""


@dataclass(frozen=True)
class Plan:
    """Steps of each stage and of the proxy's trainings, and what is expected to take how long.

    seconds: by step, in the order that they are done. start: checkpoint whose weights training
    starts from, empty for random ones.
    """

    steps: dict[str, int]
    proxy_steps: int
    seconds: dict[str, float]
    why: str
    start: str = ""

    @property
    def told(self) -> str:
        parts = ", ".join(f"{name} {_minutes(s)}" for name, s in self.seconds.items())
        return f"about {_minutes(sum(self.seconds.values()))} in all: {parts} (steps: {self.why})"


def planned(
    recipe: TrainRecipe,
    pairs: tuple[Pairs, Pairs],
    device: torch.device,
    minutes: float | None,
    spent: float,
    start: str = "",
) -> Plan:
    """Choose. recipe: its name, data and model; start: see `Plan`.

    minutes: that all of it may take; None for as long as it takes; then the same pairs give the
    same plan, however fast the device. spent: seconds of it that are gone. Raises DataError for
    pairs that are too small or no pairs, UsageError where the time does not do for the least.
    """
    train_pixels, held_pixels = _pixels(pairs)
    check_in_common(pairs[0])
    asked = {
        name: override(getattr(recipe, name), said, name) for name, said in stages(STEPS).items()
    }
    recipe = replace(recipe, **asked)
    seen = recipe.rae.batch * recipe.rae.patch**2
    share = min(1.0, LOOKS * train_pixels / (seen * STEPS["rae"]))
    why = "as the shipped checkpoints"
    if share < 1:
        why = f"{share:.0%} of the shipped checkpoints', as there are few pixels to learn from"
    if start:
        share *= START_SHARE
        why = f"{START_SHARE:.0%} of what random weights take ({why}), from those of {start}"
    step = step_seconds(recipe, pairs, device)
    proxy_step = _proxy_seconds(device)
    apart = {
        "calibrate": CALIBRATE * step["rae"] * train_pixels / 1e6,
        "tune-solver": TUNE * step["rae"] * min(len(pairs[0].scenes), MOST_PHOTOS),
        "evaluate": EVALUATE * step["rae"] * held_pixels / 1e6,
    }

    def seconds(share: float, proxy_share: float) -> dict[str, float]:
        training = {name: s * _steps(STEPS[name], share, LEAST[name]) for name, s in step.items()}
        trainings = len(SOURCES) * SEEDS * _steps(PROXY_STEPS, proxy_share, LEAST_PROXY)
        return {**training, **apart, "proxy": trainings * proxy_step}

    proxy_share = 1.0
    if minutes is not None and sum(seconds(share, 1.0).values()) > 60 * minutes - spent:
        proxy_share = _fitting(lambda f: sum(seconds(f * share, f).values()), minutes, spent)
        share *= proxy_share
        right = _minutes(sum(seconds(share / proxy_share, 1.0).values())) if proxy_share else "more"
        why = f"{proxy_share:.0%} of what is right, which takes {right}, for {minutes:g} minutes"
        why += f", from the weights of {start}" if start else ""
    return Plan(
        {name: _steps(full, share, LEAST[name]) for name, full in STEPS.items()},
        _steps(PROXY_STEPS, proxy_share, LEAST_PROXY),
        {name: round(s, 1) for name, s in seconds(share, proxy_share).items()},
        why,
        start,
    )


def _fitting(seconds: Callable[[float], float], minutes: float, spent: float) -> float:
    """The largest share of everything that fits; what does not shrink is taken off first.

    seconds: that a share takes. Raises UsageError where the least does not fit.
    """
    left = 60 * minutes - spent
    if seconds(0.0) > left:
        gone = f", and {_minutes(spent)} are gone" if spent >= 1 else ""
        raise UsageError(
            f"`minutes={minutes:g}` is too short: measuring and the least of a training take "
            f"about {_minutes(seconds(0.0))} here, as timed just now beside whatever else this "
            f"machine does{gone}; give more, or leave it out"
        )
    return float(max(f for f in np.linspace(0, 1, 201) if seconds(float(f)) <= left))


def _pixels(pairs: tuple[Pairs, Pairs]) -> tuple[int, int]:
    """Of the HR to train on, and held out."""
    sizes = [[(scene.hr, picture_size(scene.hr)) for scene in side.scenes] for side in pairs]
    small = [str(path) for side in sizes for path, size in side if min(size) < LEAST_SIDE]
    if small:
        more = f" and {len(small) - 3} more" if len(small) > 3 else ""
        raise DataError(
            f"pairs of {LEAST_SIDE} pixels on a side are needed, and {', '.join(small[:3])}{more} "
            f"have fewer: take them and their LR out of the folder, or make the pairs again by "
            f"`align()` with a `least` of {LEAST_SIDE}"
        )
    train, held_out = (sum(height * width for _, (height, width) in side) for side in sizes)
    return train, held_out


def _proxy_seconds(device: torch.device) -> float:
    """A step of the proxy's network."""
    crops = np.full((8, 64, 64, 3), 128, np.uint8)

    def trained(steps: int) -> None:
        budget = Budget(steps=steps)
        with Silent().task("", None) as task:
            train(
                lambda: SmallSR(budget.width, budget.blocks),
                lambda _: (crops, crops),
                budget,
                0,
                device,
                task,
            )

    trained(1)
    began = time.perf_counter()
    trained(5)
    return (time.perf_counter() - began) / 5


def _steps(full: int, share: float, least: int) -> int:
    """A share of the steps, in tens, so that a small change of speed makes no other number."""
    return max(least, int(full * share) // 10 * 10)


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def stages(steps: dict[str, int], start: str = "") -> dict[str, Any]:
    """The stages of a recipe, of that many steps. start: see `Plan`."""
    found = compact_stages()
    if start:  # `joint` goes on from what these two leave
        found |= {name: {"start": start, **found[name]} for name in ("rae", "lfm")}
    for name, stage in found.items():
        stage |= {
            "steps": steps[name],
            "warmup": min(stage["warmup"], steps[name] // 10),
            "validate_every": steps[name],
            "save_every": 100,
        }
    return found


def root_of(folder: Path, out: Path) -> str:
    """A folder of pairs as the recipe in `out` says it: from there where it lies in it."""
    if folder.is_relative_to(out):
        return folder.relative_to(out).as_posix()
    return str(folder)
