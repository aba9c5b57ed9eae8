"""Both stages of training on pairs of a few pixels: exact resume, and errors that name the place."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from degflow_pipe.degflow import DegFlow
from degflow_pipe.errors import CheckpointError, DataError, PhotoError, UsageError
from degflow_pipe.levels import parse_t
from degflow_pipe.metrics import psnr
from degflow_pipe.pictures import to_picture, to_tensor
from degflow_pipe.stages.verify import verify
from degflow_pipe.training.evaluate import evaluate
from degflow_pipe.training.loop import learning_rate, step_rng
from degflow_pipe.training.pairs import Pairs, find_scenes
from degflow_pipe.training.recipe import (
    DataSettings,
    LevelFiles,
    LFMSettings,
    StageSettings,
    TrainRecipe,
    train_recipe,
)
from degflow_pipe.training.stages import train_lfm, train_rae

LEVELS = [("HR", 0.0, "*_hr.png"), ("LR2", 0.4, "*_lr2.png"), ("LR4", 1.0, "*_lr4.png")]
STEPS = 6


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


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes of 96 x 96 at three levels. Do not write here."""
    folder = tmp_path_factory.mktemp("scenes")
    for name in ("astronaut", "chelsea", "coffee"):
        hr = np.ascontiguousarray(getattr(data, name)()[80:176, 160:256])
        Image.fromarray(hr).save(folder / f"{name}_hr.png")
        for level, sigma in (("lr2", 0.8), ("lr4", 1.8)):
            Image.fromarray(cv2.GaussianBlur(hr, (0, 0), sigma)).save(
                folder / f"{name}_{level}.png"
            )
    return folder


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
            return {k: plain(v) for k, v in value.items() if k != "seconds"}
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
        {"rae": {"steps": 8}},
        {"rae": {"seed": 1}},
        {"data": {"validate": "chelsea"}},
    ],
)
def test_the_state_of_another_recipe_is_refused(
    scenes: Path, trained_rae: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    out = Path(shutil.copytree(trained_rae, tmp_path / "out"))
    with pytest.raises(UsageError, match=r"rae\.state\.pt is the state of another recipe"):
        train_rae(recipe_of(**changes), scenes, out, "cpu")
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
    assert verify(out)["damage"] == []
    model = DegFlow.load(str(out), "cpu")
    assert model.info is not None
    assert model.info.id == info.id
    assert model.info.to_dict() == json.loads((out / "config.json").read_text())
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
    with pytest.raises(CheckpointError, match=r"holds no rae.safetensors: run `degflow-pipe train"):
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
    with pytest.raises(CheckpointError, match="not an autoencoder of width 4"):
        train_lfm(recipe, scenes, tmp_path / "out", trained_rae, "cpu")


def test_a_loss_that_is_no_longer_finite_stops_and_is_not_saved(
    scenes: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(rae={"lr": 1e30, "warmup": 0})
    with pytest.raises(DataError, match=r"the loss of rae is (nan|inf) at step \d: lower lr"):
        train_rae(recipe, scenes, tmp_path / "out", "cpu")
    assert not (tmp_path / "out" / "rae.safetensors").exists()
    state = tmp_path / "out" / "rae.state.pt"
    if state.exists():
        network = torch.load(state, weights_only=True)["network"]
        assert all(torch.isfinite(value).all() for value in network.values())


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
    with pytest.raises(DataError, match=rf"{scene}_lr4\.png is 90 x 96, its HR is 96 x 96"):
        train_rae(recipe_of(rae={"steps": 20}), pairs, tmp_path / "out", "cpu")


def test_a_scene_smaller_than_the_training_patch_is_named(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"_hr\.png is smaller than the training patch 128"):
        train_rae(recipe_of(rae={"patch": 128}), scenes, tmp_path / "out", "cpu")


def test_a_damaged_picture_is_named(pairs: Path, tmp_path: Path) -> None:
    path = pairs / "coffee_lr2.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(PhotoError, match=r"coffee_lr2\.png: damaged or truncated"):
        train_rae(recipe_of(), pairs, tmp_path / "out", "cpu")


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
    with pytest.raises(DataError, match=f"lfm.perceptual: {perceptual} needs") as caught:
        train_lfm(recipe, scenes, tmp_path / "out", trained_rae, "cpu")
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in str(caught.value)
    assert "perceptual: none" in str(caught.value)


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set `a.b.c` of a recipe's mapping; None takes the key away."""

    def apply(values: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            values = values[int(name)] if isinstance(values, list) else values.setdefault(name, {})
        if value is None:
            del values[last]
        else:
            values[last] = value

    return apply


@pytest.mark.parametrize(
    "path, value, reason",
    [
        ("colour", 1, "training recipe has no key 'colour'"),
        ("name", None, "needs a name"),
        ("name", 5, "needs a name"),
        ("data", None, "data lacks one of: levels, validate"),
        ("data.s_max", None, "data lacks one of: s_max"),
        ("data.s_max", 1, "data.s_max must be above 1, got 1"),
        ("data.s_max", "4", "data.s_max must be a number, got '4'"),
        ("data.colour", 1, "data has no key 'colour'"),
        ("data.levels", [], "data.levels must start with HR at t = 0"),
        ("data.levels.0.t", 0.2, r"data.levels must start with HR at t = 0.*\[0.2, 0.4, 1.0\]"),
        ("data.levels.1.t", 1.0, "rise strictly in t"),
        ("data.levels.2.t", 1.5, r"data.levels: t of LR4 must be in \[0, 1\], got 1.5"),
        ("data.levels.1.files", "lr2.png", r"files of LR2 must hold one \*"),
        ("data.levels.1.files", "*/*.png", r"files of LR2 must hold one \*"),
        ("data.levels.1.kind", "x", "data.levels has no key 'kind'"),
        ("rae.steps", "many", "rae.steps must be a whole number, got 'many'"),
        ("rae.steps", True, "rae.steps must be a whole number, got True"),
        ("rae.steps", 0, "rae.steps must be a whole number from 1, got 0"),
        ("rae.patch", 100, "rae.patch must be a multiple of 64, got 100"),
        ("rae.betas", [0.5], "rae.betas must be two numbers"),
        ("rae.lr", -1e-4, "lr must be"),
        ("rae.lr", float("nan"), "lr must be"),
        ("rae.betas", [0.5, 1.5], "betas must be"),
        ("rae.seed", -1, "seed must be"),
        ("data.s_max", float("nan"), "data.s_max must be above 1"),
        ("rae.momentum", 0.9, "rae has no key 'momentum'"),
        ("lfm.batch", 0, "lfm.batch must be a whole number from 1, got 0"),
        (
            "lfm.latent_loss",
            "huber",
            "lfm.latent_loss must be one of plain, normalized; got 'huber'",
        ),
        ("lfm.perceptual", "lpips", "lfm.perceptual must be one of"),
        ("lfm.endpoint", "l2", "lfm.endpoint must be one of"),
        ("lfm", [1], "lfm must be a mapping"),
        ("model", 3, "model must be a mapping, got 3"),
        ("model.preset", "huge", "model.preset 'huge' is not one of"),
        ("model.rae", {"width": 0}, "rae.width must be a whole number from 1, got 0"),
        ("model.velocity", {"width": 6}, "velocity.width must be .*got 6"),
        ("model.solver", {"method": "rk5"}, "solver.method must be one of"),
    ],
)
def test_a_wrong_recipe_names_the_key(path: str, value: Any, reason: str) -> None:
    values: dict[str, Any] = {
        "kind": "train",
        "name": "smallest",
        "data": {
            "levels": [{"name": n, "t": t, "files": files} for n, t, files in LEVELS],
            "validate": "coffee",
            "s_max": 4.0,
            "source": "",
            "licence": "",
        },
    }
    assert train_recipe(values).name == "smallest"
    change(path, value)(values)
    with pytest.raises(UsageError, match=reason):
        train_recipe(values)


def test_what_a_recipe_leaves_out_is_as_published() -> None:
    recipe = train_recipe({"name": "a", "data": vars(recipe_of().data), "lfm": {"steps": 7}})
    assert recipe.rae == StageSettings()
    assert recipe.lfm == LFMSettings(steps=7)


def test_the_learning_rate_rises_then_falls_as_a_cosine() -> None:
    settings = StageSettings(steps=1100, warmup=100, lr=2e-4, lr_end=1e-6)
    rates = [learning_rate(settings, step) for step in range(1100)]
    assert rates[0] == pytest.approx(2e-6)
    assert rates[49] == pytest.approx(1e-4)
    assert rates[99] == rates[100] == pytest.approx(2e-4)
    assert rates[600] == pytest.approx((2e-4 + 1e-6) / 2)
    assert all(a < b for a, b in zip(rates[:99], rates[1:100], strict=True))
    assert all(a > b for a, b in zip(rates[100:-1], rates[101:], strict=True))
    assert 1e-6 < rates[-1] < 1.01e-6
    assert learning_rate(settings, 5000) == pytest.approx(1e-6)


def test_the_learning_rate_without_a_warm_up_starts_at_its_top() -> None:
    settings = StageSettings(steps=10, warmup=0, lr=1.0, lr_end=0.0)
    assert learning_rate(settings, 0) == 1.0
    assert learning_rate(settings, 5) == pytest.approx(0.5)
    longer = StageSettings(steps=4, warmup=8, lr=1.0)
    assert [learning_rate(longer, step) for step in range(4)] == [0.125, 0.25, 0.375, 0.5]


def test_a_step_draws_by_seed_and_step_alone() -> None:
    def draws(seed: int, step: int) -> tuple[float, float]:
        rng = step_rng(seed, step)
        return float(rng.random()), float(torch.rand(1))

    first = draws(0, 3)
    torch.manual_seed(99)
    assert draws(0, 3) == first
    others = {draws(0, 4), draws(1, 3), first}
    assert len({a for a, _ in others}) == len({b for _, b in others}) == 3


def data_of(folder: Path, validate: str, files: tuple[str, str]) -> DataSettings:
    for name in ("001", "002", "003", "061", "070", "71"):
        for pattern in files:
            path = folder / pattern.replace("*", name)
            path.parent.mkdir(exist_ok=True)
            path.touch()
    levels = [{"name": f"L{i}", "t": float(i), "files": pattern} for i, pattern in enumerate(files)]
    return DataSettings(levels, validate, 4.0, "", "")


@pytest.mark.parametrize(
    "validate, held_out",
    [
        ("061-070", ["061", "070"]),
        ("002", ["002"]),
        ("2", None),
        ("001, 060-71", ["001", "061", "070", "71"]),
        ("1-2", ["001", "002"]),
    ],
)
def test_scenes_are_held_out_by_name_and_by_ranges_of_numbers(
    tmp_path: Path, validate: str, held_out: list[str] | None
) -> None:
    settings = data_of(tmp_path, validate, ("HR/img_*.png", "LR/*_x4.png"))
    if held_out is None:
        with pytest.raises(DataError, match="leaves 6 scenes for training and 0"):
            find_scenes(settings, tmp_path)
        return
    train, validation = find_scenes(settings, tmp_path)
    assert [scene.name for scene in validation] == held_out
    assert sorted([s.name for s in train] + held_out) == ["001", "002", "003", "061", "070", "71"]
    scene = train[0]
    assert scene.files == (
        tmp_path / "HR" / f"img_{scene.name}.png",
        tmp_path / "LR" / f"{scene.name}_x4.png",
    )


@pytest.fixture
def numbered(tmp_path: Path) -> Pairs:
    """One scene of 64 x 72 whose second level is the negative of the first."""
    hr = np.random.default_rng(0).integers(0, 256, (64, 72, 3), dtype=np.uint8)
    Image.fromarray(hr).save(tmp_path / "a_hr.png")
    Image.fromarray(255 - hr).save(tmp_path / "a_lr.png")
    shutil.copy(tmp_path / "a_hr.png", tmp_path / "b_hr.png")
    shutil.copy(tmp_path / "a_lr.png", tmp_path / "b_lr.png")
    levels = [
        LevelFiles("HR", 0.0, "*_hr.png").__dict__,
        LevelFiles("LR", 1.0, "*_lr.png").__dict__,
    ]
    train, _ = find_scenes(DataSettings(levels, "b", 4.0, "", ""), tmp_path)
    return Pairs(train)


def test_crops_are_aligned_at_all_levels_and_repeat(numbered: Pairs) -> None:
    crops = numbered.crops(np.random.default_rng(1), 8, 64)
    assert crops.shape == (2, 8, 3, 64, 64)
    assert crops.dtype == torch.float32
    assert (float(crops.min()), float(crops.max())) == (-1.0, 1.0)
    assert torch.allclose(crops[1], -crops[0], atol=1e-6)
    assert torch.equal(crops, numbered.crops(np.random.default_rng(1), 8, 64))
    assert not torch.equal(crops, numbered.crops(np.random.default_rng(2), 8, 64))


def test_crops_come_from_everywhere_in_all_eight_orientations(numbered: Pairs) -> None:
    hr = torch.from_numpy(numbered.pictures(numbered.scenes[0])[0]).permute(2, 0, 1)
    places = {}
    for x in range(9):
        window = hr[:, :, x : x + 64]
        for flip in (False, True):
            for turns in range(4):
                turned = torch.rot90(window.flip(2) if flip else window, turns, (1, 2))
                places[turned.numpy().tobytes()] = (x, flip, turns)
    assert len(places) == 72
    crops = numbered.crops(np.random.default_rng(0), 400, 64)[0]
    back = (crops.add(1).mul(127.5)).round().to(torch.uint8)
    found = [places[crop.numpy().tobytes()] for crop in back]
    assert {x for x, _, _ in found} == set(range(9))
    assert len({(flip, turns) for _, flip, turns in found}) == 8


def test_evaluation_holds_generated_pictures_against_real_ones(
    scenes: Path, tiny_model: DegFlow
) -> None:
    grid = parse_t("0,0.4,1")
    figures = evaluate(tiny_model, recipe_of(), scenes, grid)
    assert figures["scenes"] == ["coffee"]
    assert set(figures["levels"]) == {"LR2", "LR4"}
    hr = np.array(Image.open(scenes / "coffee_hr.png"))
    made = to_picture(tiny_model.degrade(to_tensor(hr), [0.4, 1.0]))[0]
    for picture, name in zip(made, ("LR2", "LR4"), strict=True):
        real = np.array(Image.open(scenes / f"coffee_{name.lower()}.png"))
        found = figures["levels"][name]
        assert found["generated"] == pytest.approx(psnr(picture, real), abs=1e-6)
        assert found["hr"] == pytest.approx(psnr(hr, real), abs=1e-6)
        assert found["gaussian"] > found["hr"] + 5  # the levels here are Gaussian blurs
    curve = figures["curve"]
    assert curve["t"] == [0.0, 0.4, 1.0]
    assert curve["psnr_to_hr"][1:] == pytest.approx([psnr(p, hr) for p in made], abs=1e-6)
    assert figures["evaluations"] > 0
