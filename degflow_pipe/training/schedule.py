"""The learning rate of each step, and what becomes of it where a training is made longer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from degflow_pipe.settings import LARGEST
from degflow_pipe.training.recipe import StageSettings

MOST_TURNS = 100
"""Times that a training may be made longer."""


def learning_rate(settings: StageSettings, step: int) -> float:
    """Linear warm-up, then a cosine from lr to lr_end over the remaining steps."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    span = max(settings.steps - settings.warmup, 1)
    phase = min((step - settings.warmup) / span, 1.0)
    return settings.lr_end + 0.5 * (settings.lr - settings.lr_end) * (1 + math.cos(math.pi * phase))


def same_until(step: int, settings: StageSettings, steps: int) -> bool:
    """Whether each of the first `step` steps has the learning rate that it has in training for
    `steps` in all, so that going on gives the weights of one that was asked for at first.
    """
    other = replace(settings, steps=steps)
    return all(learning_rate(settings, i) == learning_rate(other, i) for i in range(step))


def are_turns(continued: Any, step: int) -> bool:
    """Whether a state of `step` steps can hold this as `Trained.continued`."""
    return (
        isinstance(continued, list)
        and len(continued) <= MOST_TURNS
        and all(
            isinstance(turn, list)
            and len(turn) == 2
            and all(type(v) is int for v in turn)
            and 0 < turn[0] <= min(turn[1], step)
            and turn[1] <= LARGEST
            for turn in continued
        )
    )
