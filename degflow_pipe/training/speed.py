"""How long a step of each stage takes here: a few are done, on the pairs to train on."""

from __future__ import annotations

import time

import torch

from degflow_pipe.model.rae import RAE
from degflow_pipe.model.velocity import VelocityNet
from degflow_pipe.pairs.pairs import Pairs
from degflow_pipe.training.joint import JointTrainee
from degflow_pipe.training.lfm import LFMTrainee
from degflow_pipe.training.loop import Trainee, step_rng
from degflow_pipe.training.rae import RAETrainee
from degflow_pipe.training.recipe import StageSettings, TrainRecipe

TRIED = 3
"""Steps that are timed, after one that is not."""


def step_seconds(
    recipe: TrainRecipe, pairs: tuple[Pairs, Pairs], device: torch.device
) -> dict[str, float]:
    """Seconds of a step of `rae`, `lfm` and `joint`, in fp32, from random weights."""
    first = RAETrainee(recipe, *pairs, device)
    found = {"rae": _timed(first, recipe.rae)}
    found["lfm"] = _timed(LFMTrainee(recipe, first.network, *pairs, device), recipe.lfm)
    rae, velocity = RAE(recipe.model.rae), VelocityNet(recipe.model.velocity, recipe.model.rae)
    found["joint"] = _timed(JointTrainee(recipe, rae, velocity, pairs, device), recipe.joint)
    return found


def _timed(trainee: Trainee, settings: StageSettings) -> float:
    weights = [p for p in trainee.network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=settings.lr)
    began = 0.0
    for step in range(TRIED + 1):
        if step == 1:
            began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        part = slice(0, settings.batch)
        loss = trainee.loss(step_rng(settings.seed, step), part, trainee.network)
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        optimizer.step()
        float(loss.detach())  # waits for a GPU
    return (time.perf_counter() - began) / TRIED
