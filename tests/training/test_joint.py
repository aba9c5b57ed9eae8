"""Stage 3: velocity and decoder together, on the path that generation takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import read_info
from degflow_pipe.errors import CheckpointError, UsageError
from degflow_pipe.model.config import SolverConfig
from degflow_pipe.training.recipe import TrainRecipe, train_recipe
from degflow_pipe.training.stages import train_joint, train_lfm, train_rae

STEPS = 6


def recipe_of(**joint: Any) -> TrainRecipe:
    stage = {"steps": STEPS, "batch": 2, "patch": 64, "lr": 1e-3, "warmup": 2, "save_every": 2}
    return train_recipe(
        {
            "name": "smallest",
            "model": {
                "rae": {"width": 2, "latent_channels": 2, "head": "blurs"},
                "velocity": {
                    "width": 4,
                    "multipliers": [1, 1, 1, 1],
                    "blocks": 1,
                    "time_embedding": "smooth",
                    "condition": "skips",
                },
                "solver": {"method": "heun2", "steps": 1},
            },
            "data": {
                "levels": [
                    {"name": "HR", "t": 0.0, "files": "*_hr.png"},
                    {"name": "LR2", "t": 0.4, "files": "*_lr2.png"},
                    {"name": "LR4", "t": 1.0, "files": "*_lr4.png"},
                ],
                "validate": "coffee",
                "s_max": 4.0,
                "source": "photos of scikit-image, blurred",
                "licence": "as theirs",
            },
            "rae": {**stage, "between": 0.5},
            "lfm": {**stage, "perceptual": "none"},
            "joint": {**stage, **joint},
        }
    )


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Bits are compared, and sums of several threads may round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def two_stages(scenes: Path, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    train_rae(recipe_of(), scenes, out, "cpu")
    train_lfm(recipe_of(), scenes, out, device="cpu")
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_decoder_and_velocity_are_trained_and_the_encoder_is_not(
    scenes: Path, two_stages: Path
) -> None:
    before = weights(two_stages)
    info = train_joint(recipe_of(), scenes, two_stages, "cpu")
    after = weights(two_stages)
    changed = {key.rsplit(".", 1)[0] for key in before if not torch.equal(before[key], after[key])}
    assert any(key.startswith("rae.decoder.") for key in changed)
    assert any(key.startswith("velocity.") for key in changed)
    assert not any(key.startswith("rae.encoder.") for key in changed)
    assert set(info.training) == {"rae", "lfm", "joint", "validation_scenes"}
    assert set(info.training["joint"]["figures"]) == {"psnr_LR2", "psnr_LR4", "seconds"}
    assert "| joint | 6 |" in (two_stages / "README.md").read_text()


def test_what_it_trains_is_what_generation_computes(scenes: Path, two_stages: Path) -> None:
    """The figure of its validation is that of the checkpoint it wrote, loaded anew."""
    info = train_joint(recipe_of(), scenes, two_stages, "cpu")
    found = info.training["joint"]["figures"]["psnr_LR4"]
    again = train_joint(recipe_of(), scenes, two_stages, "cpu")  # trained already: validates only
    assert again.training["joint"]["figures"]["psnr_LR4"] == found
    assert DegFlow.load(str(two_stages), "cpu").info == read_info(two_stages)


def test_it_lowers_its_loss(scenes: Path, two_stages: Path) -> None:
    recipe = recipe_of(steps=60, lr=3e-3, log_every=10, between=0.5)
    train_joint(recipe, scenes, two_stages, "cpu")
    lines = [json.loads(line) for line in (two_stages / "joint.log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]


def test_one_that_was_stopped_gives_the_weights_of_one_that_was_not(
    scenes: Path, two_stages: Path, tmp_path: Path, stopping: Any
) -> None:
    with pytest.raises(InterruptedError):
        train_joint(recipe_of(), scenes, two_stages, "cpu", stopping(5))
    train_joint(recipe_of(), scenes, two_stages, "cpu")
    stopped = (two_stages / "model.safetensors").read_bytes()
    (two_stages / "joint.state.pt").unlink()
    train_joint(recipe_of(), scenes, two_stages, "cpu")
    assert (two_stages / "model.safetensors").read_bytes() == stopped


def test_it_starts_from_a_checkpoint_that_is_named(
    scenes: Path, two_stages: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(start=str(two_stages), steps=1)
    info = train_joint(recipe, scenes, tmp_path / "other", "cpu")
    assert info.training["started_from"] == read_info(two_stages).id
    assert set(info.training) - {"started_from_data"} == {
        *("started_from", "joint", "validation_scenes")
    }


def test_without_the_stages_before_it_says_which_to_run(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"train_rae\(\)` first"):
        train_joint(recipe_of(), scenes, tmp_path, "cpu")


def test_an_adaptive_solver_is_refused(scenes: Path, tmp_path: Path) -> None:
    recipe = recipe_of()
    model = replace(recipe.model, solver=SolverConfig(method="dopri5"))
    with pytest.raises(UsageError, match="fixed steps"):
        train_joint(replace(recipe, model=model), scenes, tmp_path, "cpu")
