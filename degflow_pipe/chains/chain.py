"""A chain: steps in order, read from a list or by the name of a ready one, drawn and applied."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from degflow_pipe import files
from degflow_pipe.chains.ready import READY
from degflow_pipe.chains.steps import STEPS, Action, Drawn, Either, Step
from degflow_pipe.choices import one_of
from degflow_pipe.errors import UsageError
from degflow_pipe.pictures.arrays import greyed, is_grey
from degflow_pipe.places import place_of
from degflow_pipe.recipes import read_values
from degflow_pipe.settings import read, shown

MOST = 16
"""Steps of a chain: a sample's JSON has what was drawn for each level."""
EITHER = "either"
OWN = "own"
"""What a chain is called that is not one of the ready ones."""

Asked = str | list[dict[str, Any]]
"""A ready chain's name, or steps as a recipe says them."""


@dataclass(frozen=True)
class Chain:
    """Steps in order; each is taken with its own probability."""

    steps: tuple[Step, ...]

    @property
    def content(self) -> list[dict[str, Any]]:
        """All that decides what is drawn, as JSON; `read_chain` reads it."""
        return [_content(step) for step in self.steps]

    @property
    def name(self) -> str:
        """That of the ready chain which has these steps, else OWN."""
        return next((name for name in READY if read_chain(name) == self), OWN)

    def draw(self, rng: np.random.Generator, grey: bool) -> list[Drawn]:
        """What is done to one picture: the steps that are taken, in order, as JSON.

        grey: whether the picture has no colour.
        """
        return [step.draw(rng, grey) for step in self.steps if rng.random() < step.probability]


def apply_drawn(lr: np.ndarray, drawn: Sequence[Drawn]) -> np.ndarray:
    """(H, W, 3) uint8 RGB after the steps that `Chain.draw` gave, in its size.

    A picture without colour stays so. Raises UsageError where it is too large for a step's file.
    """
    grey = is_grey(lr)
    for step in drawn:
        lr = STEPS[step["step"]].apply(lr, step)
        lr = greyed(lr) if grey else lr
    return lr


def chain_rng(seed: int, *place: str | int) -> np.random.Generator:
    """What is drawn for one LR follows from its place alone: its photo's SHA-256, its y and x, and
    its level's name, not from its number in a store or when it is made.
    """
    digest = hashlib.sha256("\0".join(map(str, (seed, *place))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def read_chain(asked: Any, where: str = "chain") -> Chain:
    """The chain of that name, or of a list of mappings: `step`, and the fields of that step.

    `either` has a list `of` steps, of which it takes one. where: the key that it stands under;
    steps are numbered from 1 below it. Raises UsageError, naming the key that is wrong.
    """
    if isinstance(asked, str):
        if asked not in READY:
            raise UsageError(
                f"`{where}` must be {one_of([*READY, 'a list of steps'])}, got {shown(asked)}"
            )
        asked = READY[asked]
    return Chain(_steps(asked, where, nested=False))


def load_chain(path_or_name: str) -> Asked:
    """A ready chain's name, or the list of steps that a YAML file holds, to be asked for.

    Raises UsageError, naming the file, where it is no chain.
    """
    if path_or_name in READY:
        return path_or_name
    path = place_of(path_or_name)
    if not files.exists(path):
        known = one_of([*READY, "a YAML file of steps"])
        raise UsageError(f"`chain` must be {known}, got {shown(path_or_name)}")
    asked = read_values(path)
    try:
        return Chain(_steps(asked, "chain", nested=False)).content
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _steps(asked: Any, where: str, nested: bool) -> tuple[Step, ...]:
    if not isinstance(asked, list) or not 1 <= len(asked) <= MOST:
        raise UsageError(f"`{where}` must be a list of 1 to {MOST} steps, got {shown(asked)}")
    return tuple(_step(asked[i], f"{where}.{i + 1}", nested) for i in range(len(asked)))


def _step(asked: Any, where: str, nested: bool) -> Step:
    known = [*STEPS, *([] if nested else [EITHER])]
    if not isinstance(asked, dict) or "step" not in asked:
        raise UsageError(f"`{where}:` must be a mapping that says its `step`, got {shown(asked)}")
    values = {key: value for key, value in asked.items() if key != "step"}
    name = asked["step"]
    if not isinstance(name, str) or name not in known:
        raise UsageError(f"`{where}.step` must be one of {', '.join(known)}, got {shown(name)}")
    if name != EITHER:
        return read(STEPS[name], values, where)
    if "of" in values:
        values["of"] = _steps(values["of"], f"{where}.of", nested=True)
    return read(Either, values, where)


def _content(step: Step) -> dict[str, Any]:
    """Its fields as JSON has them: equal ones alike, however they were written."""
    if isinstance(step, Either):
        inner = [_content(one) for one in step.of]
        return {"step": EITHER, "probability": _plain(step.probability), "of": inner}
    assert isinstance(step, Action)
    return {"step": step.name, **{key: _plain(value) for key, value in asdict(step).items()}}


def _plain(value: Any) -> Any:
    """2.0 is written 2."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
