"""The loop both stages share: schedule, saved state, exact resume, validation, log.

A step's crops and dropout depend on (seed, step) alone, so a run that was stopped and resumed
draws the same ones as a run that was not.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from degflow_pipe import files
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.progress import Progress
from degflow_pipe.training.recipe import StageSettings


class Trainee(Protocol):
    """What the loop trains: `network`, and how one batch turns into a loss."""

    name: str

    @property
    def network(self) -> nn.Module:
        """The network whose parameters are trained."""

    def loss(self, rng: np.random.Generator) -> Tensor:
        """Draw a batch with rng and return the scalar loss."""

    def validate(self) -> dict[str, float]:
        """Figures on the held-out scenes."""


def learning_rate(settings: StageSettings, step: int) -> float:
    """Linear warm-up, then a cosine from lr to lr_end over the remaining steps."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    span = max(settings.steps - settings.warmup, 1)
    phase = min((step - settings.warmup) / span, 1.0)
    return settings.lr_end + 0.5 * (settings.lr - settings.lr_end) * (1 + math.cos(math.pi * phase))


def step_rng(seed: int, step: int) -> np.random.Generator:
    """The generator of one step; torch's (dropout) is seeded with it too."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))
    return np.random.default_rng([seed, step])


def recipe_digest(recipe: Any) -> str:
    """Short digest of the settings that decide the weights, kept in the saved state."""
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def train(
    trainee: Trainee, settings: StageSettings, digest: str, folder: Path, progress: Progress
) -> dict[str, float]:
    """Train to settings.steps, from the state in `folder` where there is one.

    Writes NAME.state.pt every save_every steps and NAME.log.jsonl. Returns the last validation
    figures and `seconds`, the time spent in steps over all runs. Raises UsageError where the folder
    holds the state of another recipe, DataError where the loss is no longer finite.
    """
    optimizer = torch.optim.Adam(
        trainee.network.parameters(), lr=settings.lr, betas=(settings.betas[0], settings.betas[1])
    )
    state_path = folder / f"{trainee.name}.state.pt"
    log_path = folder / f"{trainee.name}.log.jsonl"
    step, seconds = 0, 0.0
    if files.exists(state_path):
        step, seconds = _resume(state_path, digest, trainee, optimizer)
    figures: dict[str, float] = {}
    running, started = [], time.monotonic()
    with progress.task(f"train {trainee.name}", settings.steps, done=step) as task:
        while step < settings.steps:
            rng = step_rng(settings.seed, step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, step)
            loss = trainee.loss(rng)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            running.append(loss.item())
            step += 1
            task.advance()
            validating = step % settings.validate_every == 0 or step == settings.steps
            if validating or step % settings.save_every == 0:
                mean = sum(running) / len(running)
                if not math.isfinite(mean):
                    raise DataError(
                        f"the loss of {trainee.name} is {mean} at step {step}: lower lr; the last "
                        f"saved state, if any, is kept in {state_path}"
                    )
                now = time.monotonic()
                seconds, started, running = seconds + now - started, now, []
                _save(state_path, digest, trainee, optimizer, step, seconds)
                _log(log_path, {"step": step, "loss": mean, "seconds": round(seconds, 1)})
            if validating:
                figures = trainee.validate()
                _log(log_path, {"step": step, **figures})
                shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
                task.note(f"{trainee.name} step {step}: {shown}")
                started = time.monotonic()  # validation is not training time
    if not figures:
        figures = trainee.validate()
    return {**figures, "seconds": seconds}


def _save(
    path: Path,
    digest: str,
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
) -> None:
    buffer = io.BytesIO()
    state = {
        "recipe": digest,
        "step": step,
        "seconds": seconds,
        "network": trainee.network.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, buffer)
    files.write_bytes(path, buffer.getvalue())


def _resume(
    path: Path, digest: str, trainee: Trainee, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    data = files.read_bytes(path)
    try:
        state = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        known = state["recipe"]
    except Exception as error:  # torch raises nearly anything on damaged files
        raise DataError(f"{path} is damaged: delete it to start anew ({error})") from error
    if known != digest:
        raise UsageError(
            f"{path} is the state of another recipe, other data or another autoencoder: give "
            f"another folder with -o, or delete the file to start anew"
        )
    trainee.network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["seconds"])


def _log(path: Path, record: dict[str, float]) -> None:
    files.append_line(path, json.dumps(record))
