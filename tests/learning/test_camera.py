"""camera: one call from pairs to a judged checkpoint, whatever it is interrupted by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from skimage import data

from degflow_pipe import shipped
from degflow_pipe.calibration import tune_solver
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import read_info
from degflow_pipe.errors import CheckpointError, DataError, FileError, UsageError
from degflow_pipe.learning import camera as module
from degflow_pipe.learning import plan, recipe_text
from degflow_pipe.learning.camera import CameraSettings, camera
from degflow_pipe.learning.found import data_of_folder
from degflow_pipe.learning.results import CameraSummary
from degflow_pipe.pairs.pairs import Pairs, find_scenes
from degflow_pipe.proxy.recipe import proxy_recipe
from degflow_pipe.recipes import load_recipe
from degflow_pipe.stages.verify import verify
from degflow_pipe.training.recipe import TrainRecipe, train_recipe
from tests.alignment import scenes

STEPS = {"rae": 4, "lfm": 3, "joint": 2}
ALL = ["plan", *STEPS, "calibrate", "tune-solver", "evaluate", "proxy", "card"]
RESULT = (
    *("config.json", "model.safetensors", "README.md", "preview.png"),
    *("train.yaml", "proxy.yaml", "evaluation.json", "proxy/figures.json"),
)


@pytest.fixture(autouse=True, scope="module")
def smallest() -> Iterator[None]:
    """A training of a few steps, and a proxy of one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "STEPS", STEPS)
        patch.setattr(plan, "LEAST", dict.fromkeys(STEPS, 1))
        patch.setattr(plan, "PROXY_STEPS", 1)
        patch.setattr(plan, "LEAST_PROXY", 1)
        patch.setattr(plan, "_steps", lambda full, share, least: max(least, int(full * share)))
        patch.setattr(recipe_text, "SOURCES", ["bicubic", "ours", "real"])
        patch.setattr(recipe_text, "SEEDS", 1)
        patch.setattr(module, "PATCHES", 2)
        patch.setattr(module, "MOST_PHOTOS", 1)
        patch.setattr(module, "FEW", 0)
        patch.setattr(tune_solver, "GRID", "0.5:1.0:0.25")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos with blurred ones beside them, 256 pixels on a side."""
    folder = tmp_path_factory.mktemp("pairs") / "mine"
    folder.mkdir()
    for name in ("astronaut", "chelsea", "coffee"):
        hr = np.ascontiguousarray(getattr(data, name)()[20:276, 100:356])
        lr = cv2.GaussianBlur(hr, (0, 0), 1.5)
        for level, picture in (("hr", hr), ("x2.5", lr)):
            Image.fromarray(picture).save(folder / f"{name}_{level}.png")
    return folder


@pytest.fixture
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No steps are timed; `found` has timed some."""
    monkeypatch.setattr(plan, "step_seconds", lambda *_: dict.fromkeys(STEPS, 0.1))


class Told:
    """A progress that stops the run at the begin of a task."""

    def __init__(self, stop_at: str = "") -> None:
        self.stop_at, self.names, self.notes = stop_at, [""], [""]

    @contextmanager
    def task(
        self, name: str, total: float | None, done: float = 0, counts: str = ""
    ) -> Iterator[Told]:
        self.names.append(name)
        yield self

    def advance(self, count: float = 1) -> None:
        if self.stop_at and self.names[-1].startswith(self.stop_at):
            raise InterruptedError(self.stop_at)

    def show(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def found(pairs: Path, told: Told, tmp_path_factory: pytest.TempPathFactory) -> CameraSummary:
    out = tmp_path_factory.mktemp("whole") / "my camera"
    return camera(pairs, out, device="cpu", progress=told)


def test_it_ends_with_a_checkpoint_that_is_whole_calibrated_and_judged(
    found: CameraSummary,
) -> None:
    assert (found.done, found.known) == (ALL, [])
    assert verify(Path(found.checkpoint)).damage == []
    info = DegFlow.load(found.checkpoint, "cpu").info
    assert info.id == found.id and info.name == "my camera"
    assert info.calibration is not None and info.s_max == 2.5
    assert info.judged is not None and info.judged.training and info.judged.held_out
    assert info.verdict == found.verdict
    assert found.verdict.overall == "not usable", "after a few steps, of two scenes"
    assert set(found.psnr) == {"untouched", "bicubic", "ours", "real"}
    assert found.recovered is None, "one seed resolves nothing"
    card = (Path(found.checkpoint) / "README.md").read_text()
    assert "## Verdict: not usable" in card and "| untouched | " in card
    with Image.open(found.preview) as strip:
        assert strip.width > 5 * 256


def test_every_choice_is_in_the_recipe_that_it_leaves(
    found: CameraSummary, pairs: Path, told: Told
) -> None:
    recipe = train_recipe(load_recipe(found.recipe, "train"))
    assert found.steps == STEPS == {name: getattr(recipe, name).steps for name in STEPS}
    assert recipe.data.root == str(pairs)
    assert [(level.name, level.t) for level in recipe.data.knots] == [("HR", 0.0), ("X2.5", 1.0)]
    assert recipe.data.validate in ("astronaut", "chelsea", "coffee")
    asked = proxy_recipe(load_recipe(str(Path(found.checkpoint) / "proxy.yaml"), "proxy"))
    assert (asked.budget.steps, asked.seeds) == (1, 1)
    (said,) = (note for note in told.notes if "held out, levels" in note)
    assert "2 pairs to train on, 1 held out, levels X2.5 (x2.5); on cpu: about" in said


def test_a_second_call_finds_all_done(found: CameraSummary, pairs: Path) -> None:
    """And leaves what its user made of it."""
    out = Path(found.checkpoint)
    card = out / "README.md"
    before = card.read_text()
    card.write_text(before + "\nMine.\n")
    try:
        again = camera(pairs, out, device="cpu")
        assert (again.done, again.known) == ([], ALL)
        assert card.read_text().endswith("Mine.\n")
    finally:
        card.write_text(before)


@pytest.mark.usefixtures("known_speed")
def test_interruptions_change_no_byte(found: CameraSummary, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "my camera"
    for place in ("train lfm", "calibrate", "evaluate", "real, noise 0"):
        with pytest.raises(InterruptedError):
            camera(pairs, out, device="cpu", progress=Told(place))
        with pytest.raises(CheckpointError, match="no checkpoint"):
            DegFlow.load(str(out), "cpu")
    last = camera(pairs, out, device="cpu")
    assert last.done == ["proxy", "card"]
    for name in RESULT:
        assert (out / name).read_bytes() == (Path(found.checkpoint) / name).read_bytes(), name


def test_what_is_damaged_on_the_way_is_made_again(
    pairs: Path, found: CameraSummary, tmp_path: Path
) -> None:
    """And what was made of it."""
    out = Path(shutil.copytree(found.checkpoint, tmp_path / "my camera"))
    (out / "config.json").unlink()
    (out / "evaluation.json").write_bytes(b"")
    last = camera(pairs, out, device="cpu")
    assert last.known == ALL[:6] and last.done == ["evaluate", "proxy", "card"]
    for name in RESULT:
        assert (out / name).read_bytes() == (Path(found.checkpoint) / name).read_bytes(), name


@pytest.mark.usefixtures("known_speed")
@pytest.mark.parametrize(
    ("minutes", "steps", "proxy"), [(None, 1.0, 10), (30, 1.0, 10), (4, 0.4, 4)]
)
def test_time_takes_off_steps_of_every_stage_alike(
    pairs: Path, monkeypatch: pytest.MonkeyPatch, minutes: float | None, steps: float, proxy: int
) -> None:
    """At 0.1 s a step: 530 s of training, 1 s of the proxy, 7 s of what does not shrink."""
    monkeypatch.setattr(plan, "STEPS", {"rae": 3000, "lfm": 1500, "joint": 800})
    monkeypatch.setattr(plan, "LOOKS", 1e9)
    monkeypatch.setattr(plan, "PROXY_STEPS", 10)
    monkeypatch.setattr(plan, "_proxy_seconds", lambda _: 0.025)
    data = data_of_folder(pairs, None, None)
    both = tuple(Pairs(scenes, data) for scenes in find_scenes(data, pairs))
    first = TrainRecipe(name="a", data=data)
    found = plan.planned(first, both, torch.device("cpu"), minutes, spent=20.0)
    shares = [found.steps[name] / full for name, full in plan.STEPS.items()]
    assert shares == pytest.approx([steps] * 3, abs=0.02)
    assert found.proxy_steps == pytest.approx(proxy, abs=1)
    if minutes is not None:
        assert sum(found.seconds.values()) <= 60 * minutes - 20


@pytest.mark.usefixtures("known_speed")
@pytest.mark.parametrize(
    ("pairs_that_are_few", "start", "wanted"),
    [
        (20, None, "city100-compact"),
        (0, None, ""),
        (20, "none", ""),
        (0, "city100-iphone-compact", "city100-iphone-compact"),
        (0, "a copy", "a copy"),
    ],
)
def test_few_pairs_start_from_a_shipped_checkpoint_and_take_half_of_the_steps(
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pairs_that_are_few: int,
    start: str | None,
    wanted: str,
) -> None:
    monkeypatch.setattr(module, "FEW", pairs_that_are_few)
    if start == "a copy":  # the recipe is read from anywhere
        found = shipped.find("checkpoints", "city100-compact")
        assert found is not None
        wanted = str(shutil.copytree(found, tmp_path / "a copy"))
        monkeypatch.chdir(tmp_path)
    told = Told("train rae")
    with pytest.raises(InterruptedError):
        camera(pairs, tmp_path / "out", CameraSettings(start=start), device="cpu", progress=told)
    recipe = train_recipe(load_recipe(str(tmp_path / "out" / "train.yaml"), "train"))
    assert (recipe.rae.start, recipe.lfm.start, recipe.joint.start) == (wanted, wanted, "")
    assert recipe.rae.steps == STEPS["rae"] // (2 if wanted else 1)
    assert recipe.model.rae.head == ("lens" if pairs_that_are_few else "blurs")
    (said,) = (note for note in told.notes if "held out, levels" in note)
    assert ("50% of what random weights take (as the shipped" in said) is bool(wanted)
    assert (f"), from those of {wanted})" in said) is bool(wanted)


def test_weights_of_another_architecture_are_no_start(
    pairs: Path, tiny: str, tmp_path: Path
) -> None:
    for start, wanted in ((tiny, "start: .* has model.rae.width"), ("nobody", "nobody")):
        with pytest.raises(CheckpointError, match=wanted):
            camera(pairs, tmp_path / "out", CameraSettings(start=start), device="cpu")
    assert not (tmp_path / "out" / "train.yaml").exists()


def test_other_pairs_in_a_folder_that_was_begun_are_refused(
    pairs: Path, found: CameraSummary, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(pairs, tmp_path / "other"))
    (other / "coffee_hr.png").rename(other / "tea_hr.png")
    (other / "coffee_x2.5.png").rename(other / "tea_x2.5.png")
    with pytest.raises(FileError, match="was begun with other files than"):
        camera(other, Path(found.checkpoint), device="cpu")


@pytest.mark.usefixtures("known_speed")
def test_what_lies_beside_the_pairs_is_no_other_file(pairs: Path, tmp_path: Path) -> None:
    """The output in the folder of the pairs, and what a file browser leaves there."""
    source = Path(shutil.copytree(pairs, tmp_path / "source"))
    for _ in range(2):
        with pytest.raises(InterruptedError):
            camera(source, source / "mine", device="cpu", progress=Told("train rae"))
        (source / "Thumbs.db").write_bytes(b"small")
        Image.new("RGB", (8, 8)).save(source / "mine" / "shown.png")


@pytest.mark.usefixtures("known_speed")
def test_a_pair_of_shots_that_is_damaged_is_aligned_again(tmp_path: Path) -> None:
    for seed, name in enumerate(("coffee", "astronaut", "chelsea")):
        made = scenes.shots(getattr(data, name)()[:300, :450], seed, scale=2.0)
        (tmp_path / "shots" / name).mkdir(parents=True)
        Image.fromarray(made.hr).save(tmp_path / "shots" / name / "tele.png")
        Image.fromarray(made.lr).save(tmp_path / "shots" / name / "wide.png")
    out, first, again = tmp_path / "out", Told("train rae"), Told("train rae")
    with pytest.raises(InterruptedError):
        camera(tmp_path / "shots", out, device="cpu", workers=1, progress=first)
    lr = sorted((out / "pairs").glob("*_x2.0.png"))[0]
    before = lr.read_bytes()
    lr.write_bytes(before[:1000])
    with pytest.raises(InterruptedError):
        camera(tmp_path / "shots", out, device="cpu", workers=1, progress=again)
    assert lr.read_bytes() == before
    assert any("held out, levels" in note for note in first.notes)
    assert not any("held out, levels" in note for note in again.notes), "it was planned once"


@pytest.mark.usefixtures("known_speed")
def test_shots_may_be_taken_again_while_nothing_is_planned(tmp_path: Path) -> None:
    shots, out = tmp_path / "shots", tmp_path / "out"

    def shoot(name: str, seed: int) -> None:
        made = scenes.shots(np.rot90(data.astronaut(), len(name)).copy(), seed, scale=2.0)
        (shots / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(made.hr).save(shots / name / "tele.png")
        Image.fromarray(made.lr).save(shots / name / "wide.png")

    shoot("astronaut", 0)
    with pytest.raises(DataError, match="holds pairs of 1 scene: two are the least"):
        camera(shots, out, device="cpu", workers=1)
    first = next((out / "pairs").glob("astronaut*_x2.0.png")).read_bytes()
    shoot("astronaut", 3)
    shoot("turned", 1)
    with pytest.raises(InterruptedError):
        camera(shots, out, device="cpu", workers=1, progress=Told("train rae"))
    assert {path.name[:4] for path in (out / "pairs").glob("*_hr.png")} == {"astr", "turn"}
    assert next((out / "pairs").glob("astronaut*_x2.0.png")).read_bytes() != first


@pytest.mark.usefixtures("known_speed")
def test_an_edit_of_its_recipe_is_taken(pairs: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "out", Told("calibrate")
    with pytest.raises(InterruptedError):
        camera(pairs, out, device="cpu", progress=Told("calibrate"))
    recipe = out / "train.yaml"
    text = recipe.read_text()
    recipe.write_text(text.replace("steps: 2\n", "steps: many\n"))
    with pytest.raises(UsageError, match=r"train\.yaml was edited .*joint\.steps.* or delete it"):
        camera(pairs, out, device="cpu")
    edited = text.replace("steps: 2\n", "steps: 3\n")
    assert edited != text
    recipe.write_text(edited)
    with pytest.raises(InterruptedError):
        camera(pairs, out, device="cpu", progress=again)
    assert recipe.read_text() == edited
    assert "train.yaml edited: what was made by it is done again" in again.notes
    assert read_info(out / "training").training["joint"]["settings"]["steps"] == 3


@pytest.fixture
def unjudged(found: CameraSummary, tmp_path: Path) -> Path:
    """A copy of a camera that is not finished, all trainings being done."""
    out = Path(shutil.copytree(found.checkpoint, tmp_path / "out"))
    (out / "config.json").unlink()
    return out


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        ("sources: [bicubic, real]", "`sources` must hold ours"),
        ("network: implicit", "`network` cannot be implicit here"),
        ("also: {x: {s_max: 2, source: s, licence: l, set: city100}}", "`also` is not taken here"),
    ],
)
def test_an_edit_of_its_proxy_that_cannot_be_is_refused(
    unjudged: Path, pairs: Path, edit: str, why: str
) -> None:
    recipe = unjudged / "proxy.yaml"
    values = {**load_recipe(str(recipe), "proxy"), "kind": "proxy"}
    recipe.write_text(yaml.safe_dump({**values, **yaml.safe_load(edit)}))
    with pytest.raises(UsageError, match=f"proxy.yaml was edited .*{why}"):
        camera(pairs, unjudged, device="cpu")


def test_an_edit_of_its_proxy_is_taken(unjudged: Path, pairs: Path) -> None:
    recipe = unjudged / "proxy.yaml"
    values = {**load_recipe(str(recipe), "proxy"), "kind": "proxy"}
    recipe.write_text(yaml.safe_dump({**values, "added_noise": [0.0, 4.0], "level": "X2.5"}))
    with pytest.raises(InterruptedError):
        camera(pairs, unjudged, device="cpu", progress=Told("ours, noise 4"))


@pytest.mark.usefixtures("known_speed")
def test_scenes_that_the_start_held_out_stay_held_out(
    found: CameraSummary, pairs: Path, tmp_path: Path
) -> None:
    """It has learned the others; whatever else is among the pairs now."""
    first = read_info(Path(found.checkpoint)).data["validate"]
    more = Path(shutil.copytree(pairs, tmp_path / "more"))
    for number in range(12):
        for ending in ("hr", "x2.5"):
            picture = Image.open(pairs / f"coffee_{ending}.png")
            picture.crop((0, 0, 256, 256)).save(more / f"new{number}_{ending}.png")
    start = CameraSettings(start=found.checkpoint)
    with pytest.raises(InterruptedError):
        camera(more, tmp_path / "out", start, device="cpu", progress=Told("train rae"))
    recipe = load_recipe(str(tmp_path / "out" / "train.yaml"), "train")
    assert recipe["data"]["validate"] == first


@pytest.mark.usefixtures("known_speed")
def test_a_start_that_held_out_none_of_the_scenes_is_told(
    found: CameraSummary, pairs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in pairs.glob("*.png"):
        shutil.copy(path, other / f"b{path.name}")
    told = Told("train rae")
    with pytest.raises(InterruptedError):
        start = CameraSettings(start=found.checkpoint)
        camera(other, tmp_path / "out", start, device="cpu", progress=told)
    assert [note for note in told.notes if "held out none of these scenes by name" in note]


def test_a_finished_one_tells_of_an_edit(found: CameraSummary, pairs: Path) -> None:
    recipe = Path(found.recipe)
    before = recipe.read_text()
    recipe.write_text(before.replace("steps: 2\n", "steps: 3\n"))
    try:
        with pytest.raises(FileError, match=r"train\.yaml was edited after .* or delete"):
            camera(pairs, Path(found.checkpoint), device="cpu")
    finally:
        recipe.write_text(before)


def test_a_folder_of_somebody_else_is_left_as_it_is(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileError, match=r"it holds mine\.txt"):
        camera(pairs, tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"minutes": 0.0}, "`minutes` must be above 0"),
        ({"minutes": float("nan")}, "`minutes` must be above 0"),
        ({"s_max": 1.0}, "`s_max` must be above 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CameraSettings(**asked)


@pytest.mark.usefixtures("known_speed")
def test_too_little_time_is_told_before_anything_is_trained(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`minutes=0\.0001` is too short: .* take about"):
        camera(pairs, tmp_path / "out", CameraSettings(minutes=0.0001), device="cpu")
    assert not (tmp_path / "out" / "train.yaml").exists()


def test_pairs_that_are_too_small_to_evaluate_are_named_first(tmp_path: Path) -> None:
    for name in ("a", "b"):
        photo = data.coffee()[:200, :300]
        for level in ("hr", "lr"):
            Image.fromarray(photo).save(tmp_path / f"{name}_{level}.png")
    out = tmp_path.parent / "out"
    with pytest.raises(DataError, match=r"pairs of 256 pixels .*[ab]_hr\.png, .*[ab]_hr\.png"):
        camera(tmp_path, out, CameraSettings(s_max=2), device="cpu")
    # Nothing came of it, so the folder is not bound to those pairs.
    for level in ("hr", "lr"):
        (tmp_path / f"a_{level}.png").unlink()
        Image.fromarray(photo).save(tmp_path / f"c_{level}.png")
    with pytest.raises(DataError, match=r"pairs of 256 pixels .*c_hr\.png"):
        camera(tmp_path, out, CameraSettings(s_max=2), device="cpu")


def test_figures_of_the_evaluation_and_the_proxy_lie_beside_it(found: CameraSummary) -> None:
    out = Path(found.checkpoint)
    evaluated = json.loads((out / "evaluation.json").read_text())
    assert list(evaluated["levels"]) == ["X2.5"] and evaluated["not_kept"] == ""
    (first, *_) = evaluated["by_scene"]
    for of in ("HR", "X2.5_real", "X2.5_generated"):
        assert (out / "crops" / f"01_{first['scene']}_{of}.webp").is_file()
    compared = json.loads((out / "proxy" / "figures.json").read_text())
    assert compared["checkpoint"] == found.id == read_info(out).id
