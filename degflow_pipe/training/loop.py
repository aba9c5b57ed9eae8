"""The loop both stages share: schedule, processes, saved state, exact resume, validation, log.

A step's crops and dropout depend on (seed, step) alone, so a run that was stopped and resumed
draws the same ones as a run that was not, and several processes draw the parts of what one would.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from degflow_pipe import files, logs
from degflow_pipe.checkpoint.torch_files import check_keys, check_state, load_tensors
from degflow_pipe.errors import CheckpointError, DataError, Stopped, UsageError
from degflow_pipe.model.velocity import Dropout
from degflow_pipe.progress import Progress, Task
from degflow_pipe.settings import LARGEST, shown
from degflow_pipe.training.processes import Processes
from degflow_pipe.training.recipe import StageSettings
from degflow_pipe.training.scalars import Scalars
from degflow_pipe.training.schedule import are_turns, learning_rate, same_until
from degflow_pipe.training.stops import Stops

STATE = (
    *("recipe", "step", "seconds", "steps", "continued"),
    *("network", "optimizer", "mean", "scaler"),
)
"""Keys of a saved state."""
LONGEST = 1e9
"""Seconds of training."""
MAY_CHANGE = (
    "only `steps`, `validate_every`, `save_every`, `log_every`, the recipe's name, data.root, "
    "data.source and data.licence may change, and the device and the number of processes"
)
"""Between two runs that go on with one state; pipelines/README.md says it too."""


@dataclass(frozen=True)
class Trained:
    """What a training ended with.

    figures: of the last validation, and `seconds`, the time spent in steps over all runs.
    continued: [step, steps] for each time that it went on for another number of steps than those
    its learning rate had followed until then: see `same_until`.
    """

    figures: dict[str, float]
    continued: list[list[int]]


class Trainee(Protocol):
    """What the loop trains: `network`, and how one batch turns into a loss."""

    name: str

    @property
    def network(self) -> nn.Module:
        """The network whose parameters are trained."""

    def loss(self, rng: np.random.Generator, part: slice, forward: nn.Module) -> Tensor:
        """Draw the whole batch with rng and return the mean loss of its samples `part`.

        forward: `network`, wrapped for its precision and its processes.
        """

    def validate(self, network: nn.Module) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Figures on the held-out scenes, and pictures (H, W, 3) uint8 of one of them."""


def step_rng(seed: int, step: int, turn: int = 0) -> np.random.Generator:
    """The generator of one step; torch's (dropout) is seeded with it and the turn too."""
    words = [seed, step, turn] if turn else [seed, step]
    torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))
    return np.random.default_rng([seed, step])


def recipe_digest(recipe: Any) -> str:
    """Short digest of the settings that decide the weights, kept in the saved state."""
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def train(
    trainee: Trainee,
    settings: StageSettings,
    digest: str,
    folder: Path,
    processes: Processes,
    progress: Progress,
) -> Trained:
    """Train to settings.steps, from the state in `folder` where there is one.

    The first process writes NAME.state.pt every save_every steps, NAME.log.jsonl and TensorBoard's
    files. trainee.network ends as the weights to keep, the mean ones where settings.ema asks for
    it. A state that was trained for another number of steps goes on; where its learning rate was
    not that of this training, that is told, and kept as `continued`. Raises UsageError where the
    folder holds the state of another recipe or of more steps, DataError where the loss is not
    finite; the last saved state is kept. Ctrl-C or SIGTERM ends it after a whole step, which is
    saved; Stopped says where.
    """
    if settings.batch % (settings.accumulate * processes.count):
        raise UsageError(
            f"{settings.section}.batch {settings.batch} does not divide into {processes.count} "
            f"processes of {settings.accumulate} parts each"
        )
    run = _Run(trainee, settings, digest, folder, processes)
    trained = run.step >= settings.steps
    with (
        progress.task(
            f"train {trainee.name}", settings.steps, done=run.step, counts="steps"
        ) as task,
        Scalars(folder, trainee.name, run.step, processes.first) as scalars,
    ):
        # Whether to validate is decided alike in every process, as they wait for one another.
        if processes.count > 1 and processes.first:
            task.note(f"train {trainee.name} in {processes.count} processes")
        if run.goes_on and processes.first:
            task.note(run.goes_on)
        try:
            figures = run.validate(task, scalars) if trained else _steps(run, task, scalars)
        except Stopped as stopped:
            raise Stopped(run.kept()) from stopped
    run.keep_mean()
    return Trained({**figures, "seconds": run.seconds}, run.continued)


def _steps(run: _Run, task: Task, scalars: Scalars) -> dict[str, float]:
    """Every step that is left; returns the figures of the last validation."""
    settings = run.settings
    figures: dict[str, float] = {}
    losses, started = [], time.monotonic()
    with Stops(together=run.processes.count > 1) as stops:
        while run.step < settings.steps:
            losses.append(run.one_step())
            task.advance()
            stopping = run.processes.any(stops.asked)
            done = run.step == settings.steps
            validating = done or run.step % settings.validate_every == 0
            saving = validating or stopping or run.step % settings.save_every == 0
            if saving or run.step % settings.log_every == 0:
                now = time.monotonic()
                run.seconds, started = run.seconds + now - started, now
                run.loss = mean = sum(losses) / len(losses)
                task.show(f"loss {mean:.4g}")
                run.log({"step": run.step, "loss": mean, "seconds": round(run.seconds, 1)})
                scalars.add({"loss": mean, "lr": learning_rate(settings, run.step - 1)}, run.step)
                losses = []
            if saving:
                run.save()
            if stopping:
                run.processes.wait()  # one that ended would have the others killed as they save
                stops.act()
            if validating:
                with stops.let_through():
                    figures = run.validate(task, scalars)
                started = time.monotonic()  # validation is not training time
    return figures


class _Run:
    """One trainee on its way: weights, their mean, optimiser, step."""

    def __init__(
        self,
        trainee: Trainee,
        settings: StageSettings,
        digest: str,
        folder: Path,
        processes: Processes,
    ) -> None:
        self.trainee, self.settings, self.digest = trainee, settings, digest
        self.folder, self.processes = folder, processes
        self.state_path = folder / f"{trainee.name}.state.pt"
        self.step, self.seconds = 0, 0.0
        self.saved: int | None = None
        self.loss: float | None = None
        self.continued: list[list[int]] = []
        self.goes_on = ""
        betas = (settings.betas[0], settings.betas[1])
        optimizer = torch.optim.Adam(trainee.network.parameters(), lr=settings.lr, betas=betas)
        self.mean = deepcopy(trainee.network).requires_grad_(False) if settings.ema else None
        self.forward, self.optimizer = processes.prepare(trainee.network, optimizer)
        for module in trainee.network.modules():
            if isinstance(module, Dropout):
                module.part = (processes.number, processes.count)
        if files.exists(self.state_path):
            self._resume()

    def one_step(self) -> float:
        """One step of the optimiser over the whole batch; returns the mean loss."""
        settings, processes = self.settings, self.processes
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        size = settings.batch // (settings.accumulate * processes.count)
        total = 0.0
        for turn in range(settings.accumulate):
            rng = step_rng(settings.seed, self.step, turn)
            first = (turn * processes.count + processes.number) * size
            last = turn + 1 == settings.accumulate
            with processes.sync_gradients(self.forward, last):
                loss = self.trainee.loss(rng, slice(first, first + size), self.forward)
                processes.backward(loss / settings.accumulate)
            total += processes.mean(loss.detach()) / settings.accumulate
        self._check("loss", total)
        norm = processes.clip(self.forward.parameters(), settings.clip or math.inf)
        if not processes.scales:  # a scaler skips such a step and goes on with a smaller scale
            self._check("gradient's norm", norm)
        self.optimizer.step()
        self.step += 1
        self._update_mean()
        return total

    def _check(self, name: str, value: float) -> None:
        """Raises DataError for what is not finite, before it reaches the weights."""
        if math.isfinite(value):
            return
        kept = self.state_path if files.exists(self.state_path) else "none was saved yet"
        section = self.settings.section
        raise DataError(
            f"the {name} of {self.trainee.name} is {value} at step {self.step + 1}: lower "
            f"{section}.lr, or set {section}.clip; last good state: {kept}"
        )

    def _update_mean(self) -> None:
        if self.mean is None:
            return
        # Early on the mean follows faster, else it would hold on to the first random weights.
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            pairs = zip(self.mean.parameters(), self.trainee.network.parameters(), strict=True)
            for mean, now in pairs:
                mean.lerp_(now, 1 - decay)

    def validate(self, task: Task, scalars: Scalars) -> dict[str, float]:
        """Validate the weights to keep; every process waits, the first one computes."""
        figures: dict[str, float] = {}
        if self.processes.first:
            figures, pictures = self.trainee.validate(self.mean or self.trainee.network)
            self.log({"step": self.step, **figures})
            scalars.add(figures, self.step)
            scalars.add_pictures(pictures, self.step)
            shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            if self.loss is not None:
                shown = f"loss {self.loss:.4g}, {shown}"
            task.note(f"{self.trainee.name} step {self.step}: {shown}")
        self.processes.wait()
        return figures

    def keep_mean(self) -> None:
        if self.mean is not None:
            self.trainee.network.load_state_dict(self.mean.state_dict())

    def log(self, record: dict[str, float]) -> None:
        if self.processes.first:
            path = self.folder / f"{self.trainee.name}.log.jsonl"
            logs.append_line(path, json.dumps(record))

    def save(self) -> None:
        if not self.processes.first:
            return
        buffer = io.BytesIO()
        state = {
            "recipe": self.digest,
            "step": self.step,
            "seconds": self.seconds,
            "steps": self.settings.steps,
            "continued": self.continued,
            "network": self.trainee.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "mean": self.mean and self.mean.state_dict(),
            "scaler": self.processes.scaler_state(),
        }
        torch.save(state, buffer)
        files.write_bytes(self.state_path, buffer.getvalue())
        self.saved = self.step

    def kept(self) -> str:
        """Said where training is stopped."""
        name, again = self.trainee.name, "the same command goes on from there"
        if self.saved is None:
            return f"train {name}: before its first step was saved; the same command begins anew"
        return (
            f"train {name}: step {self.saved} of {self.settings.steps}, after {self.seconds:.0f} s "
            f"of training, is saved in {self.state_path}; {again}"
        )

    def _resume(self) -> None:
        try:
            saved = check_keys(load_tensors(self.state_path, files.WEIGHTS_LIMIT), STATE)
            if saved["recipe"] != self.digest:
                raise UsageError(
                    f"{self.state_path} is the state of another recipe, other data or another "
                    f"autoencoder: give another folder as `out`, or delete the file to start anew; "
                    f"{MAY_CHANGE}"
                )
            self._take(saved)
        except CheckpointError as error:
            raise DataError(
                f"{self.state_path} is damaged: delete it to start anew ({error})"
            ) from error

    def _take(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError for a state that this training cannot have been in."""
        step, seconds = state["step"], state["seconds"]
        steps, continued = state["steps"], state["continued"]
        if type(steps) is not int or type(step) is not int or not 0 < step <= steps <= LARGEST:
            raise CheckpointError(f"step {shown(step)} of {shown(steps)}")
        if not are_turns(continued, step):
            raise CheckpointError(f"continued {shown(continued)}")
        if type(seconds) is not float or not 0 <= seconds < LONGEST:
            raise CheckpointError(f"{shown(seconds)} seconds")
        size = files.size(self.state_path)
        for key, network in (("network", self.trainee.network), ("mean", self.mean)):
            if network is not None:
                wanted = network.state_dict()
                network.load_state_dict(check_state(state[key], wanted, key, size))
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments = check_keys(state["optimizer"], ("state", "param_groups"))["state"]
        held = {}
        for i in check_keys(moments, None):
            if type(i) is not int or not 0 <= i < len(parameters):
                raise CheckpointError(f"optimizer: parameter {shown(i)}")
            p = parameters[i]
            wanted = {"step": torch.tensor(0.0), "exp_avg": p, "exp_avg_sq": p}
            held[i] = check_state(moments[i], wanted, f"optimizer, parameter {i}", size)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": held, "param_groups": groups})
        self.processes.load_scaler(state["scaler"])
        self.step, self.seconds, self.saved = step, seconds, step
        self._take_schedule(steps, continued)

    def _take_schedule(self, steps: int, continued: list[list[int]]) -> None:
        """Raises UsageError where the recipe wants fewer steps than were taken."""
        wanted, section, step = self.settings.steps, self.settings.section, self.step
        if wanted < step:
            raise UsageError(
                f"{self.state_path} is at step {step}, {section}.steps is {wanted}: say {step} or "
                f"more, or delete the file to start anew"
            )
        self.continued = [list(turn) for turn in continued]
        if wanted != steps and not same_until(step, self.settings, steps):
            self.continued.append([step, steps])
            self.goes_on = (
                f"train {self.trainee.name} goes on from step {step} to {wanted}, but its learning "
                f"rate has fallen as for {steps} steps so far: these will not be the weights of "
                f"{wanted} steps asked for at first, which take another folder as `out`"
            )
