"""Both stages of training on tiny pairs: exact resume, and errors that name the place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from degflow_pipe import json_files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import CheckpointError, DataError, PhotoError, UsageError
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pairs.pairs import Pairs, find_scenes
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.stages.verify import verify
from degflow_pipe.training.loop import step_rng
from degflow_pipe.training.rae import RAETrainee
from degflow_pipe.training.recipe import StageSettings, TrainRecipe, train_recipe
from degflow_pipe.training.schedule import learning_rate
from degflow_pipe.training.stages import train_lfm, train_rae

LEVELS = [("HR", 0.0, "*_hr.png"), ("LR2", 0.4, "*_lr2.png"), ("LR4", 1.0, "*_lr4.png")]
STEPS = 6
ROOT = Path(__file__).parents[2]


def recipe_of(**changes: dict[str, Any]) -> TrainRecipe:
    """A recipe of the smallest networks; changes: `data={...}`, `rae={...}`, `lfm={...}`."""
    stage = {"steps": STEPS, "batch": 2, "patch": 64, "lr": 1e-3, "warmup": 2, "save_every": 2}
    values: dict[str, Any] = {
        "kind": "train",
        "name": "smallest",
        "model": {
            "rae": {"width": 2, "latent_channels": 2},
            "velocity": {"width": 4, "multipliers": [1, 1, 1, 1], "blocks": 1},
            "solver": {"method": "rk4", "steps": 1},
        },
        "data": {
            "levels": [{"name": n, "t": t, "files": files} for n, t, files in LEVELS],
            "validate": "coffee",
            "s_max": 4.0,
            "source": "photos of scikit-image, blurred",
            "licence": "as scikit-image's photos",
        },
        "rae": dict(stage),
        "lfm": {**stage, "perceptual": "none"},
    }
    for name, change in changes.items():
        values[name] = {**values[name], **change}
    return train_recipe(values)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Bits are compared, and sums of several threads may round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pairs(scenes: Path, tmp_path: Path) -> Path:
    """A copy of `scenes` to damage."""
    return Path(shutil.copytree(scenes, tmp_path / "pairs"))


@pytest.fixture(scope="session")
def trained_rae(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stage 1 in one go. Do not write here."""
    out = tmp_path_factory.mktemp("rae") / "out"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train_rae(recipe_of(), scenes, out, "cpu")
    torch.set_num_threads(threads)
    return out


def without_seconds(path: Path) -> Any:
    """A record but for the times in it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k not in ("seconds", "sum")}
        return value

    return plain(json.loads(path.read_text()))


def test_stage_1_that_was_stopped_gives_the_weights_of_one_that_was_not(
    scenes: Path, trained_rae: Path, tmp_path: Path, stopping: Any, recorder: Any
) -> None:
    with pytest.raises(InterruptedError):
        train_rae(recipe_of(), scenes, tmp_path / "out", "cpu", stopping(5))
    assert not (tmp_path / "out" / "rae.safetensors").exists()
    train_rae(recipe_of(), scenes, tmp_path / "out", "cpu", recorder)
    assert recorder.tasks == [("train rae", STEPS, 4)]  # saved every 2 steps, stopped in the 5th
    assert recorder.advanced == 2
    name = "rae.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (trained_rae / name).read_bytes()
    record = without_seconds(tmp_path / "out" / "rae.json")
    assert record == without_seconds(trained_rae / "rae.json")
    assert set(record["figures"]) == {"psnr_HR", "psnr_LR2", "psnr_LR4"}


@pytest.mark.parametrize("options", [{}, {"latent_loss": "normalized", "endpoint": "l1"}])
def test_stage_2_that_was_stopped_gives_the_weights_of_one_that_was_not(
    scenes: Path, trained_rae: Path, tmp_path: Path, stopping: Any, options: dict[str, Any]
) -> None:
    recipe = recipe_of(lfm=options)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    info = train_lfm(recipe, scenes, whole, trained_rae, "cpu")
    for stop in (3, 3):  # twice: the second run goes on from step 2 and stops in the 5th
        with pytest.raises(InterruptedError):
            train_lfm(recipe, scenes, parts, trained_rae, "cpu", stopping(stop))
        assert not (parts / "config.json").exists()
    again = train_lfm(recipe, scenes, parts, trained_rae, "cpu")
    assert again.id == info.id
    name = "model.safetensors"
    assert (parts / name).read_bytes() == (whole / name).read_bytes()
    variance = info.training["lfm"]["latent_variance"]
    assert (variance == 1.0) == (options == {})


def test_training_changes_the_weights_and_seeds_tell_runs_apart(
    scenes: Path, trained_rae: Path, tmp_path: Path
) -> None:
    found = [(trained_rae / "rae.safetensors").read_bytes()]
    for changes in ({"seed": 1}, {"steps": 2}, {"lr": 2e-3}):
        out = tmp_path / str(changes)
        train_rae(recipe_of(rae=changes), scenes, out, "cpu")
        found.append((out / "rae.safetensors").read_bytes())
    assert len(set(found)) == 4


def test_a_finished_stage_that_is_run_again_trains_no_more(
    scenes: Path, trained_rae: Path, tmp_path: Path, recorder: Any
) -> None:
    out = Path(shutil.copytree(trained_rae, tmp_path / "out"))
    train_rae(recipe_of(), scenes, out, "cpu", recorder)
    assert recorder.advanced == 0
    assert (out / "rae.safetensors").read_bytes() == (trained_rae / "rae.safetensors").read_bytes()
    assert without_seconds(out / "rae.json") == without_seconds(trained_rae / "rae.json")


def test_the_log_tells_of_every_saved_step(trained_rae: Path) -> None:
    lines = [json.loads(line) for line in (trained_rae / "rae.log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6]
    assert [line["step"] for line in lines if "psnr_HR" in line] == [6]


@pytest.mark.parametrize(
    "changes",
    [
        {"rae": {"lr": 5e-4}},
        {"rae": {"seed": 1}},
        {"data": {"validate": "chelsea"}},
    ],
)
def test_the_state_of_another_recipe_is_refused(
    scenes: Path, trained_rae: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    out = Path(shutil.copytree(trained_rae, tmp_path / "out"))
    refusal = r"rae\.state\.pt is the state of another recipe.*; only `steps`, .* may change"
    with pytest.raises(UsageError, match=refusal):
        train_rae(recipe_of(**changes), scenes, out, "cpu")
    assert (out / "rae.safetensors").read_bytes() == (trained_rae / "rae.safetensors").read_bytes()


def test_longer_training_goes_on_and_says_what_differs(
    scenes: Path, trained_rae: Path, tmp_path: Path, stopping: Any, recorder: Any
) -> None:
    """Twice longer, stopped on the way: what it says is kept until the record is written."""
    out = Path(shutil.copytree(trained_rae, tmp_path / "out"))
    longer = recipe_of(rae={"steps": 10})
    with pytest.raises(InterruptedError):
        train_rae(longer, scenes, out, "cpu", stopping(3))
    train_rae(longer, scenes, out, "cpu", recorder)
    assert recorder.tasks == [("train rae", 10, 8)]
    assert not any("goes on" in note for note in recorder.notes), "told when it was made longer"
    again = type(recorder)()
    record = train_rae(recipe_of(rae={"steps": 14}), scenes, out, "cpu", again)
    (told,) = (note for note in again.notes if "goes on" in note)
    assert "from step 10 to 14" in told and "learning rate has fallen as for 10 steps" in told
    assert record["continued"] == [[6, 6], [10, 10]]
    assert json.loads((out / "rae.json").read_text())["continued"] == [[6, 6], [10, 10]]
    info = train_lfm(recipe_of(rae={"steps": 14}), scenes, out, device="cpu")
    assert info.training["rae"]["continued"] == [[6, 6], [10, 10]]
    card = (out / "README.md").read_text()
    assert "| rae | 14, went on at 6 of 6, went on at 10 of 10 |" in card
    with pytest.raises(UsageError, match=r"is at step 14, rae\.steps is 8: say 14 or more"):
        train_rae(recipe_of(rae={"steps": 8}), scenes, out, "cpu")


@pytest.mark.parametrize(
    "schedule", [{"warmup": 50}, {"lr_end": 1e-3}], ids=["in the warm-up", "a constant rate"]
)
def test_longer_training_has_the_bytes_of_one_asked_for_at_first(
    scenes: Path, tmp_path: Path, recorder: Any, schedule: dict[str, Any]
) -> None:
    """Where the learning rate until then does not depend on the number of steps."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_rae(recipe_of(rae={**schedule, "steps": 7}), scenes, whole, "cpu")
    train_rae(recipe_of(rae={**schedule, "steps": 4}), scenes, parts, "cpu")
    record = train_rae(recipe_of(rae={**schedule, "steps": 7}), scenes, parts, "cpu", recorder)
    assert recorder.advanced == 3 and "continued" not in record
    assert not any("goes on" in note for note in recorder.notes)
    name = "rae.safetensors"
    assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_the_loss_stands_beside_the_amount_and_the_psnr(
    scenes: Path, tmp_path: Path, recorder: Any
) -> None:
    train_rae(recipe_of(), scenes, tmp_path / "out", "cpu", recorder)
    lines = [json.loads(s) for s in (tmp_path / "out" / "rae.log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert recorder.shown == [f"loss {loss:.4g}" for loss in losses] and len(losses) == 3
    assert any(f"loss {losses[-1]:.4g}, psnr_HR" in note for note in recorder.notes)


def test_the_state_of_other_pictures_is_refused(
    pairs: Path, trained_rae: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(trained_rae, tmp_path / "out"))
    for path in pairs.glob("chelsea_*.png"):
        with Image.open(path) as picture:
            picture.transpose(Image.Transpose.ROTATE_90).save(path)
    with pytest.raises(UsageError, match="other data"):
        train_rae(recipe_of(), pairs, out, "cpu")


def test_what_does_not_decide_the_weights_may_change(
    scenes: Path, trained_rae: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(trained_rae, tmp_path / "out"))
    moved = Path(shutil.copytree(scenes, tmp_path / "moved"))
    recipe = recipe_of(rae={"save_every": 5, "log_every": 7}, data={"source": "elsewhere"})
    train_rae(recipe, moved, out, "cpu")
    assert (out / "rae.safetensors").read_bytes() == (trained_rae / "rae.safetensors").read_bytes()


def test_the_state_of_a_velocity_for_another_autoencoder_is_refused(
    scenes: Path, trained_rae: Path, tmp_path: Path, stopping: Any
) -> None:
    """Latents of another autoencoder are other latents: going on would mix the two."""
    other = tmp_path / "other"
    train_rae(recipe_of(rae={"seed": 1}), scenes, other, "cpu")
    out = tmp_path / "out"
    with pytest.raises(InterruptedError):
        train_lfm(recipe_of(), scenes, out, trained_rae, "cpu", stopping(3))
    with pytest.raises(UsageError, match=r"lfm\.state\.pt is the state of another"):
        train_lfm(recipe_of(), scenes, out, other, "cpu")


def test_stage_2_writes_a_checkpoint_that_is_whole_and_loads(
    scenes: Path, trained_rae: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    info = train_lfm(recipe_of(), scenes, out, trained_rae, "cpu")
    assert (info.name, info.s_max) == ("smallest", 4.0)
    assert info.levels == [{"name": n, "t": t} for n, t, _ in LEVELS]
    assert info.training["validation_scenes"] == ["coffee"]
    assert verify(out).damage == []
    model = DegFlow.load(str(out), "cpu")
    assert model.info.id == info.id
    assert model.info.to_dict() == json_files.read_summed(out / "config.json")
    hr = np.array(Image.open(scenes / "coffee_hr.png"))
    made = to_picture(model.degrade(to_tensor(hr), [0.4, 1.0]))[0]
    for i, name in enumerate(("lr2", "lr4")):
        real = np.array(Image.open(scenes / f"coffee_{name}.png"))
        figure = info.training["lfm"]["figures"][f"psnr_{name.upper()}"]
        assert psnr(made[i], real) == pytest.approx(figure, abs=1e-6)
    card = (out / "README.md").read_text()
    assert "# smallest" in card
    assert "Held-out scenes: coffee" in card


def test_the_figures_of_stage_1_are_those_of_the_rebuilt_pictures(
    scenes: Path, trained_rae: Path, tmp_path: Path
) -> None:
    train_lfm(recipe_of(), scenes, tmp_path / "out", trained_rae, "cpu")
    model = DegFlow.load(str(tmp_path / "out"), "cpu")
    figures = json.loads((trained_rae / "rae.json").read_text())["figures"]
    _, skips = model.encode(to_tensor(np.array(Image.open(scenes / "coffee_hr.png"))))
    for name in ("HR", "LR2", "LR4"):
        real = np.array(Image.open(scenes / f"coffee_{name.lower()}.png"))
        rebuilt = to_picture(model.decode(model.encode(to_tensor(real))[0], skips))[0]
        assert psnr(rebuilt, real) == pytest.approx(figures[f"psnr_{name}"], abs=1e-3)


def test_stage_2_without_stage_1_is_refused_with_the_way_on(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no rae.safetensors: run `train_rae"):
        train_lfm(recipe_of(), scenes, tmp_path / "out", device="cpu")


def test_an_autoencoder_of_another_width_is_refused(
    scenes: Path, trained_rae: Path, tmp_path: Path
) -> None:
    recipe = train_recipe(
        {
            "name": "wider",
            "model": {"rae": {"width": 4, "latent_channels": 2}},
            "data": vars(recipe_of().data),
        }
    )
    with pytest.raises(CheckpointError, match=r"does not fit rae\.json and the recipe's model"):
        train_lfm(recipe, scenes, tmp_path / "out", trained_rae, "cpu")


def test_a_loss_that_is_no_longer_finite_stops_and_the_state_before_is_good(
    scenes: Path, trained_rae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, calls = RAETrainee.loss, []

    def explode(self: RAETrainee, *args: Any) -> torch.Tensor:
        calls.append(1)
        return loss(self, *args) * (float("nan") if len(calls) > 3 else 1)

    with monkeypatch.context() as patched:
        patched.setattr(RAETrainee, "loss", explode)
        with pytest.raises(DataError, match=r"the loss of rae is nan at step 4: lower rae\.lr"):
            train_rae(recipe_of(), scenes, tmp_path / "out", "cpu")
    assert not (tmp_path / "out" / "rae.safetensors").exists()
    train_rae(recipe_of(), scenes, tmp_path / "out", "cpu")  # goes on from step 2
    name = "rae.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (trained_rae / name).read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_state_is_named(
    scenes: Path, trained_rae: Path, tmp_path: Path, content: bytes | None
) -> None:
    out = Path(shutil.copytree(trained_rae, tmp_path / "out"))
    state = out / "rae.state.pt"
    state.write_bytes(state.read_bytes()[:-50] if content is None else content)
    with pytest.raises(DataError, match=r"rae\.state\.pt is damaged: delete it to start anew"):
        train_rae(recipe_of(), scenes, out, "cpu")


def test_a_damaged_autoencoder_is_named(scenes: Path, trained_rae: Path, tmp_path: Path) -> None:
    rae = Path(shutil.copytree(trained_rae, tmp_path / "rae"))
    (rae / "rae.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"rae\.safetensors is damaged.*train_rae\(\)` again"):
        train_lfm(recipe_of(), scenes, tmp_path / "out", rae, "cpu")


def test_a_level_without_files_is_named(pairs: Path, tmp_path: Path) -> None:
    for path in pairs.glob("*_lr2.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"no file matches '\*_lr2\.png' \(level LR2\) below"):
        train_rae(recipe_of(), pairs, tmp_path / "out", "cpu")


def test_a_scene_that_lacks_a_level_is_named(pairs: Path, tmp_path: Path) -> None:
    (pairs / "chelsea_lr4.png").unlink()
    with pytest.raises(DataError, match="scene chelsea has no file for level LR4"):
        train_rae(recipe_of(), pairs, tmp_path / "out", "cpu")


@pytest.mark.parametrize(
    "validate, counts",
    [
        ("tulip", "3 scenes for training and 0"),
        ("astronaut, chelsea,coffee", "0 scenes for training and 3"),
    ],
)
def test_an_empty_split_is_refused(
    scenes: Path, tmp_path: Path, validate: str, counts: str
) -> None:
    with pytest.raises(DataError, match=counts):
        train_rae(recipe_of(data={"validate": validate}), scenes, tmp_path / "out", "cpu")


@pytest.mark.parametrize("scene", ["chelsea", "coffee"])
def test_a_pair_of_two_sizes_is_named(pairs: Path, tmp_path: Path, scene: str) -> None:
    """coffee is held out, the others are trained on."""
    path = pairs / f"{scene}_lr4.png"
    with Image.open(path) as image:
        image.crop((0, 0, 90, 96)).save(path)
    with pytest.raises(
        DataError, match=rf"{scene}_lr4\.png is 90 x 96, its HR .*_hr\.png is 96 x 96"
    ):
        train_rae(recipe_of(rae={"steps": 20}), pairs, tmp_path / "out", "cpu")


def test_a_scene_smaller_than_the_training_patch_is_named(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"_hr\.png is 96 x 96: 128 pixels on a side are needed"):
        train_rae(recipe_of(rae={"patch": 128}), scenes, tmp_path / "out", "cpu")


def test_a_damaged_picture_is_named(pairs: Path, tmp_path: Path) -> None:
    path = pairs / "coffee_lr2.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(PhotoError, match=r"coffee_lr2\.png: damaged or truncated"):
        train_rae(recipe_of(), pairs, tmp_path / "out", "cpu")


@pytest.mark.filterwarnings("ignore::UserWarning")  # torchvision's, of lpips' old arguments
@pytest.mark.parametrize("perceptual", ["lpips-vgg", "lpips-alex", "lpips-squeeze"])
def test_lpips_without_its_weights_says_where_they_are_looked_for(
    scenes: Path,
    trained_rae: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    perceptual: str,
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(torch.hub, "urlopen", no_network, raising=False)
    recipe = recipe_of(lfm={"perceptual": perceptual})
    with pytest.raises(DataError, match=f"`lfm.perceptual`: {perceptual} needs") as caught:
        train_lfm(recipe, scenes, tmp_path / "out", trained_rae, "cpu")
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in str(caught.value)
    assert "perceptual: none" in str(caught.value)


def test_the_learning_rate_rises_then_falls_as_a_cosine() -> None:
    settings = StageSettings(steps=1100, warmup=100, lr=2e-4, lr_end=1e-6)
    rates = [learning_rate(settings, step) for step in range(1100)]
    assert rates[0] == pytest.approx(2e-6)
    assert rates[49] == pytest.approx(1e-4)
    assert rates[99] == rates[100] == pytest.approx(2e-4)
    assert rates[600] == pytest.approx((2e-4 + 1e-6) / 2)
    assert all(a < b for a, b in pairwise(rates[:100]))
    assert all(a > b for a, b in pairwise(rates[100:]))
    assert 1e-6 < rates[-1] < 1.01e-6
    assert learning_rate(settings, 5000) == pytest.approx(1e-6)


def test_the_learning_rate_without_a_warm_up_starts_at_its_top() -> None:
    settings = StageSettings(steps=10, warmup=0, lr=0.5, lr_end=0.1)
    assert learning_rate(settings, 0) == 0.5
    assert learning_rate(settings, 5) == pytest.approx(0.3)
    longer = StageSettings(steps=4, warmup=8, lr=0.5)
    assert [learning_rate(longer, step) for step in range(4)] == [0.0625, 0.125, 0.1875, 0.25]


def test_a_step_draws_by_seed_and_step_alone() -> None:
    def draws(seed: int, step: int) -> tuple[float, float]:
        rng = step_rng(seed, step)
        return float(rng.random()), float(torch.rand(1))

    first = draws(0, 3)
    torch.manual_seed(99)
    assert draws(0, 3) == first
    others = {draws(0, 4), draws(1, 3), first}
    assert len({a for a, _ in others}) == len({b for _, b in others}) == 3


def curve(folder: Path, name: str) -> list[float]:
    lines = (folder / f"{name}.log.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_a_batch_in_parts_gives_the_curve_of_the_whole(
    scenes: Path, trained_rae: Path, tmp_path: Path, clip: float
) -> None:
    """The velocity has dropout, so it is taken out; the sums round otherwise, no more."""
    stage = {"batch": 4, "log_every": 1, "clip": clip}
    for parts in (1, 2):
        recipe = recipe_of(lfm={**stage, "accumulate": parts})
        recipe = replace(recipe, model=without_dropout(recipe.model))
        train_lfm(recipe, scenes, tmp_path / str(parts), trained_rae, "cpu")
    whole, parts_ = curve(tmp_path / "1", "lfm"), curve(tmp_path / "2", "lfm")
    assert len(whole) == STEPS
    assert parts_ == pytest.approx(whole, rel=1e-4)


def without_dropout(model: Any) -> Any:
    return replace(model, velocity=replace(model.velocity, dropout=0.0))


def test_clipping_changes_the_weights_and_bounds_the_step(
    scenes: Path, trained_rae: Path, tmp_path: Path
) -> None:
    train_rae(recipe_of(rae={"clip": 1e-4}), scenes, tmp_path / "out", "cpu")
    name = "rae.safetensors"
    assert (tmp_path / "out" / name).read_bytes() != (trained_rae / name).read_bytes()


def test_the_mean_of_the_weights_is_kept_and_resumes(
    scenes: Path, trained_rae: Path, tmp_path: Path, stopping: Any
) -> None:
    recipe, name = recipe_of(rae={"ema": 0.9}), "rae.safetensors"
    train_rae(recipe, scenes, tmp_path / "whole", "cpu")
    with pytest.raises(InterruptedError):
        train_rae(recipe, scenes, tmp_path / "parts", "cpu", stopping(5))
    train_rae(recipe, scenes, tmp_path / "parts", "cpu")
    mean = (tmp_path / "whole" / name).read_bytes()
    assert (tmp_path / "parts" / name).read_bytes() == mean
    assert mean != (trained_rae / name).read_bytes()
    state = torch.load(tmp_path / "whole" / "rae.state.pt", weights_only=True)
    whole = torch.load(trained_rae / "rae.state.pt", weights_only=True)
    for key, value in whole["network"].items():
        assert torch.equal(value, state["network"][key])  # the steps are those without a mean


def test_bf16_trains_and_differs(scenes: Path, trained_rae: Path, tmp_path: Path) -> None:
    train_rae(recipe_of(rae={"precision": "bf16", "log_every": 1}), scenes, tmp_path, "cpu")
    name = "rae.safetensors"
    assert (tmp_path / name).read_bytes() != (trained_rae / name).read_bytes()
    assert curve(tmp_path, "rae")[-1] == pytest.approx(curve(trained_rae, "rae")[-1], rel=0.2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_fp16_needs_a_gpu(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        train_rae(recipe_of(rae={"precision": "fp16"}), scenes, tmp_path / "out", "cpu")


def test_tensorboard_has_the_curve_and_the_pictures(trained_rae: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained_rae / "tensorboard" / "rae"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 4, 6]
    assert {"lr", "psnr_HR", "psnr_LR2", "psnr_LR4"} <= set(events.Tags()["scalars"])
    assert set(events.Tags()["images"]) == {"HR", "LR2", "LR4"}


def test_two_processes_give_the_curve_of_one(
    scenes: Path, trained_rae: Path, tmp_path: Path
) -> None:
    """Launched as torch and Accelerate launch several; the velocity's dropout is on."""
    values = {
        "kind": "train",
        "name": "smallest",
        "model": {
            "rae": {"width": 2, "latent_channels": 2},
            "velocity": {"width": 4, "multipliers": [1, 1, 1, 1], "blocks": 1, "dropout": 0.3},
            "solver": {"method": "rk4", "steps": 1},
        },
        "data": {
            "levels": [{"name": n, "t": t, "files": files} for n, t, files in LEVELS],
            "validate": "coffee",
            "s_max": 4.0,
            "source": "",
            "licence": "",
        },
        "rae": {"steps": STEPS, "batch": 4, "patch": 64, "lr": 1e-3, "warmup": 2, "log_every": 1},
        "lfm": {"steps": STEPS, "batch": 4, "patch": 64, "lr": 1e-3, "log_every": 1},
    }
    values["lfm"]["perceptual"] = "none"
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(values))
    one, two = tmp_path / "one", tmp_path / "two"
    train_rae(train_recipe(values), scenes, one, "cpu")
    train_lfm(train_recipe(values), scenes, one, None, "cpu")
    for stage in ("rae", "lfm"):
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        words += ["-m", "degflow_pipe", "train", stage]
        words += [str(path), "--data", str(scenes), "-o", str(two), "--device", "cpu"]
        done = subprocess.run(
            [sys.executable, *words],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        # Two processes did train: one says that it is one of two.
        assert done.stderr.count(f"train {stage} in 2 processes") == 1, done.stderr
        assert len(curve(two, stage)) == STEPS  # one process writes the log
        assert curve(two, stage) == pytest.approx(curve(one, stage), rel=1e-4)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UsageError, match=r"`rae.batch` must be a multiple of `rae.accumulate`"):
        recipe_of(rae={"batch": 4, "accumulate": 3})


@pytest.mark.parametrize("head", ["blurs", "lens"])
def test_training_starts_from_a_checkpoint(
    scenes: Path, tiny: str, tiny_model: DegFlow, tmp_path: Path, head: str
) -> None:
    """With a learning rate of next to nothing its weights are those of the checkpoint, whose head
    is `blurs`; `lens` has the same ones.
    """
    model = tiny_model.config.to_dict()
    model["rae"]["head"] = head
    still = {"start": tiny, "lr": 1e-12, "lr_end": 1e-12, "steps": 1}
    recipe = recipe_of(model=model, rae=still, lfm=still)
    train_rae(recipe, scenes, tmp_path, "cpu")
    info = train_lfm(recipe, scenes, tmp_path, device="cpu")
    for stage in ("rae", "lfm"):
        assert info.training[stage]["started_from"] == tiny_model.info.id
        assert "start" not in info.training[stage]["settings"], "where it lies is nobody's business"
    said = tiny_model.info.data
    card = (tmp_path / "README.md").read_text()
    assert (
        f"Started from: {tiny_model.info.id}, trained on {said['source']} ({said['licence']})"
    ) in card
    trained = DegFlow.load(str(tmp_path), "cpu")
    for part in ("rae", "velocity"):
        first, last = (getattr(m, part).state_dict() for m in (tiny_model, trained))
        for key, value in first.items():
            torch.testing.assert_close(last[key], value, rtol=0, atol=1e-9)


def test_start_of_another_head_is_refused_by_its_name(
    scenes: Path, tiny: str, tmp_path: Path
) -> None:
    model = {"rae": {"width": 4, "latent_channels": 4, "head": "rgb"}}
    with pytest.raises(CheckpointError, match=r"model\.rae\.head blurs, the recipe rgb"):
        train_rae(recipe_of(model=model, rae={"start": tiny}), scenes, tmp_path, "cpu")


def test_start_of_another_architecture_is_refused(scenes: Path, tiny: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"rae\.start.*model\.rae\.width 4, the recipe 2"):
        train_rae(recipe_of(rae={"start": tiny}), scenes, tmp_path, "cpu")


@pytest.mark.parametrize("name", ["../up", "", "a b", "x" * 33])
def test_level_names_are_plain(name: str) -> None:
    levels = [{"name": n, "t": t, "files": files} for n, t, files in LEVELS]
    levels[1]["name"] = name
    with pytest.raises(UsageError, match="of a level must be 1 to 32"):
        recipe_of(data={"levels": levels})


class Answer(nn.Module):
    """Stands for the autoencoder: answers with grey as a function of t, from two knots' weights."""

    def __init__(self, grey: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.grey = grey

    def forward(self, x_level: Tensor, x_hr: Tensor, weights: Tensor) -> Tensor:
        assert torch.allclose(weights.sum(1), torch.ones(len(weights), dtype=weights.dtype))
        flat = self.grey(weights[:, 1]).view(-1, 1, 1, 1) / 127.5 - 1
        return flat.float().expand_as(x_hr)


def test_between_the_knots_the_decoder_is_held_against_the_lens(tmp_path: Path) -> None:
    """Flat pictures: what the blur leaves over grows as s squared does, from 60 to 180 grey."""
    for name, grey in (("hr", 60), ("lr4", 180)):
        for scene in ("astronaut", "coffee"):
            flat = np.full((96, 96, 3), grey, np.uint8)
            Image.fromarray(flat).save(tmp_path / f"{scene}_{name}.png")
    levels = [{"name": n, "t": t, "files": files} for n, t, files in (LEVELS[0], LEVELS[2])]
    recipe = recipe_of(data={"levels": levels}, rae={"between": 1.0, "batch": 6})
    pairs = [Pairs(scenes, recipe.data) for scenes in find_scenes(recipe.data, tmp_path)]
    trainee = RAETrainee(recipe, pairs[0], pairs[1], torch.device("cpu"))

    def loss(grey: Callable[[Tensor], Tensor]) -> float:
        return float(trainee.loss(np.random.default_rng(0), slice(0, 6), Answer(grey)))

    assert loss(lambda t: 60 + 120 * ((1 + 3 * t) ** 2 - 1) / 15) < 1e-8
    assert loss(lambda t: 60 + 120 * t) > 1e-3


def test_training_between_the_knots_resumes_and_tells_the_runs_apart(
    scenes: Path, tmp_path: Path, stopping: Any
) -> None:
    recipe = recipe_of(rae={"between": 0.5})
    train_rae(recipe, scenes, tmp_path / "whole", "cpu")
    train_rae(recipe_of(), scenes, tmp_path / "knots", "cpu")
    with pytest.raises(InterruptedError):
        train_rae(recipe, scenes, tmp_path / "halves", "cpu", stopping(5))
    train_rae(recipe, scenes, tmp_path / "halves", "cpu")
    weights = [
        (tmp_path / run / "rae.safetensors").read_bytes() for run in ("whole", "halves", "knots")
    ]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_a_share_between_is_checked() -> None:
    with pytest.raises(UsageError, match=r"rae\.between` must be in \[0, 1\]"):
        recipe_of(rae={"between": 1.5})
