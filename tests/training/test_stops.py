"""Training that is stopped keeps every whole step, and one folder has one writer."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from degflow_pipe.checkpoint.folder import CheckpointInfo
from degflow_pipe.errors import DataError, FileError, Stopped
from degflow_pipe.folders import MARK, check_ours, one_writer
from degflow_pipe.training.recipe import TrainRecipe, train_recipe
from degflow_pipe.training.stages import train_joint, train_lfm, train_rae

STEPS = 6
LEVELS = [("HR", 0.0, "*_hr.png"), ("LR4", 1.0, "*_lr4.png")]


def recipe_of(**rae: Any) -> TrainRecipe:
    stage = {"steps": STEPS, "batch": 2, "patch": 64, "lr": 1e-3, "warmup": 2, "save_every": 100}
    return train_recipe(
        {
            "name": "smallest",
            "model": {
                "rae": {"width": 2, "latent_channels": 2},
                "velocity": {"width": 4, "multipliers": [1, 1], "blocks": 1},
                "solver": {"method": "rk4", "steps": 1},
            },
            "data": {
                "levels": [{"name": n, "t": t, "files": files} for n, t, files in LEVELS],
                "validate": "coffee",
                "s_max": 4.0,
                "source": "photos of scikit-image, blurred",
                "licence": "as scikit-image's photos",
            },
            "rae": {**stage, **rae},
            "lfm": {**stage, "perceptual": "none"},
            "joint": stage,
        }
    )


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def stopped_by_signals() -> Iterator[None]:
    """The handlers of the command."""

    def stop(number: int, frame: Any) -> None:
        raise Stopped("stopped")

    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class SignalAt:
    """A network's step at which a signal arrives, in the middle of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, step: int) -> None:
        plain, self.steps = torch.optim.Adam.step, 0

        def raising(optimizer: Any, *args: Any, **options: Any) -> Any:
            self.steps += 1
            if self.steps == step:
                signal.raise_signal(number)
            return plain(optimizer, *args, **options)

        monkeypatch.setattr(torch.optim.Adam, "step", raising)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_finishes_and_saves_its_step_and_goes_on_to_the_same_bits(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    train_rae(recipe_of(), scenes, tmp_path / "whole", "cpu")
    out = tmp_path / "parts"
    for step, done in ((2, 2), (1, 3)):
        with monkeypatch.context() as patched:
            SignalAt(patched, number, step)
            with pytest.raises(Stopped, match=rf"step {done} of 6, .* saved in .*rae\.state\.pt"):
                train_rae(recipe_of(), scenes, out, "cpu")
    train_rae(recipe_of(), scenes, out, "cpu")
    name = "rae.safetensors"
    assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("stage", ["lfm", "joint"])
def test_the_later_stages_are_stopped_alike(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    recipe, out = recipe_of(), tmp_path / "out"
    train_rae(recipe, scenes, out, "cpu")
    if stage == "joint":
        train_lfm(recipe, scenes, out, None, "cpu")

    def train() -> CheckpointInfo:
        if stage == "lfm":
            return train_lfm(recipe, scenes, out, None, "cpu")
        return train_joint(recipe, scenes, out, "cpu")

    with monkeypatch.context() as patched:
        SignalAt(patched, signal.SIGTERM, 4)
        with pytest.raises(Stopped, match=rf"train {stage}: step 4 of 6, .*{stage}\.state\.pt"):
            train()
    assert train().id
    assert (out / f"{stage}.log.jsonl").read_text().count('"step": 4') == 1


def test_a_second_signal_does_not_wait(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = torch.optim.Adam.step

    def twice(optimizer: Any, *args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return plain(optimizer, *args, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", twice)
    with pytest.raises(Stopped, match="before its first step was saved"):
        train_rae(recipe_of(), scenes, tmp_path / "out", "cpu")
    assert not (tmp_path / "out" / "rae.state.pt").exists()


def test_the_second_training_in_one_folder_is_refused(scenes: Path, tmp_path: Path) -> None:
    with (
        one_writer(tmp_path / "out", "training"),
        pytest.raises(FileError, match="out: another process is writing"),
    ):
        train_rae(recipe_of(), scenes, tmp_path / "out", "cpu")


def test_a_folder_of_somebody_else_is_left_as_it_is(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileError, match=r"it holds mine\.txt"):
        train_rae(recipe_of(), scenes, tmp_path, "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "mark", ["[]", "{}", '{"kind": [0, 0]}', '{"kind": "a\\nb"}', "", "[" * 999]
)
def test_a_damaged_mark_is_told_in_a_line(mark: str, tmp_path: Path) -> None:
    (tmp_path / MARK).write_text(mark)
    with pytest.raises(FileError, match=rf"{MARK}( is damaged|: not JSON)"):
        check_ours(tmp_path, "training")


def test_a_readme_of_somebody_else_is_not_replaced(scenes: Path, tmp_path: Path) -> None:
    train_rae(recipe_of(), scenes, tmp_path / "out", "cpu")
    (tmp_path / "out" / "README.md").write_text("mine")
    with pytest.raises(FileError, match=r"README\.md was not written by degflow-pipe"):
        train_lfm(recipe_of(), scenes, tmp_path / "out", None, "cpu")
    assert (tmp_path / "out" / "README.md").read_text() == "mine"


def _nan(state: Any) -> None:
    next(iter(state["network"].values())).fill_(float("nan"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.update(step=10**18), "step"),
        (lambda s: s.update(step=2.0), "step"),
        (lambda s: s.update(steps=5), "step 6 of 5"),
        (lambda s: s.update(steps="6"), "step 6 of '6'"),
        (lambda s: s.update(continued=[[7, 7]]), "continued"),
        (lambda s: s.update(continued=[[1, 2]] * 101), "continued"),
        (lambda s: s.update(seconds=float("inf")), "seconds"),
        (lambda s: s.pop("mean"), "keys"),
        (lambda s: s.update(more=1), "keys"),
        (_nan, "NaN"),
        (lambda s: s["network"].popitem(), "network"),
        (lambda s: s["optimizer"]["state"][0].update(exp_avg=torch.zeros(5)), "parameter 0"),
        (lambda s: s["optimizer"]["state"].update({10**6: {}}), "parameter 1000000"),
        (lambda s: s.update(optimizer=[]), "dict was expected"),
    ],
)
def test_a_state_that_cannot_be_is_refused(
    scenes: Path, tmp_path: Path, change: Any, named: str
) -> None:
    out = tmp_path / "out"
    train_rae(recipe_of(), scenes, out, "cpu")
    path = out / "rae.state.pt"
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    with pytest.raises(DataError, match=rf"rae\.state\.pt is damaged: delete it .*{named}"):
        train_rae(recipe_of(), scenes, out, "cpu")
