"""evaluate on a multi-level set: every candidate's figures, held-out levels, sweep, pages."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import read_info, write_info
from degflow_pipe.checkpoint.verdict import OnHeldOut
from degflow_pipe.errors import CheckpointError, DataError
from degflow_pipe.evaluation.evaluate import EvaluationSettings, data_of, evaluate
from degflow_pipe.evaluation.judging import keep
from degflow_pipe.evaluation.results import Evaluation
from degflow_pipe.levels import parse_t
from degflow_pipe.metrics.blur import equivalent_blur
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.pictures.arrays import to_picture, to_tensor

BLURS = {"LR2": (0.3, 1.0, False), "LR3": (0.6, 1.6, True), "LR4": (1.0, 2.2, False)}
"""t, sigma in pixels, held out."""
SETTINGS = DataSettings(
    s_max=4.0,
    source="photos of scikit-image, blurred",
    licence="as theirs",
    validate="a,b",
    levels=[
        {"name": "HR", "t": 0.0, "files": "*_HR.png"},
        *(
            {"name": name, "t": t, "files": f"*_{name}.png", "held_out": held_out}
            for name, (t, _, held_out) in BLURS.items()
        ),
    ],
)


ONE = parse_t("1")


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """Two scenes to hold out and one to train on, 256 x 320 pixels, at four levels."""
    found = {}
    crops = (data.coffee()[:256, :320], data.chelsea()[:256, :320], data.astronaut()[:256, :320])
    for scene, hr in zip("abc", crops, strict=True):
        found[f"{scene}_HR"] = hr
        for name, (_, sigma, _) in BLURS.items():
            found[f"{scene}_{name}"] = cv2.GaussianBlur(hr, (0, 0), sigma)
    return found


@pytest.fixture(scope="module")
def folder(pictures: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs")
    for name, picture in pictures.items():
        Image.fromarray(np.ascontiguousarray(picture)).save(path / f"{name}.png")
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSettings:
    out = tmp_path_factory.mktemp("out")
    return EvaluationSettings(parse_t("0.3,0.6,1"), sweep=True, out=out)


@pytest.fixture(scope="module")
def found(tiny_model: DegFlow, folder: Path, settings: EvaluationSettings) -> Evaluation:
    return evaluate(tiny_model, SETTINGS, folder, settings)


def mean_over(found: Evaluation, level: str, candidate: str, figure: str = "psnr") -> float:
    return found.levels[level].candidates[candidate][figure].mean


def test_every_level_of_the_held_out_scenes_is_measured(found: Evaluation) -> None:
    assert found.scenes == ["a", "b"]
    held_out = {name: level.held_out for name, level in found.levels.items()}
    assert held_out == {"LR2": False, "LR3": True, "LR4": False}
    assert found.levels["LR3"].t == 0.6


def test_figures_are_of_the_model_s_own_pictures(
    found: Evaluation, tiny_model: DegFlow, pictures: dict[str, np.ndarray]
) -> None:
    t = [t for t, _, _ in BLURS.values()]
    made = {s: to_picture(tiny_model.degrade(to_tensor(pictures[f"{s}_HR"]), t)[0]) for s in "ab"}
    for i, name in enumerate(BLURS):
        each = [psnr(made[s][i], pictures[f"{s}_{name}"]) for s in "ab"]
        row = found.levels[name].candidates["generated"]["psnr"]
        assert row.mean == pytest.approx(np.mean(each), abs=1e-6)
        assert row.std == pytest.approx(np.std(each), abs=1e-6)
        assert [row.min, row.max] == pytest.approx(sorted(each), abs=1e-6)
        to_hr = np.mean([psnr(made[s][i], pictures[f"{s}_HR"]) for s in "ab"])
        assert found.curve.psnr_to_hr[i] == pytest.approx(to_hr, abs=1e-6)
        against_hr = found.levels[name].against_hr["generated"]
        assert against_hr.psnr_to_hr == pytest.approx(to_hr, abs=1e-6)


def test_what_one_would_do_instead_stands_beside(
    found: Evaluation, pictures: dict[str, np.ndarray]
) -> None:
    hr = np.mean([psnr(pictures[f"{s}_HR"], pictures[f"{s}_LR4"]) for s in "ab"])
    assert mean_over(found, "LR4", "hr") == pytest.approx(hr)
    # The levels are Gaussian blurs, so the oracle all but finds them.
    assert mean_over(found, "LR4", "gaussian") > hr + 10
    random = {way: mean_over(found, "LR4", way) for way in ("esrgan_style", "bsrgan_style")}
    assert len({*random.values(), hr, mean_over(found, "LR4", "bicubic")}) == 4


def test_the_verdict_is_made_of_what_is_shown(found: Evaluation) -> None:
    """tiny has no noise; its knots are LR2 and LR4."""
    above = min(
        mean_over(found, level, "generated")
        - max(mean_over(found, level, other) for other in ("bicubic", "gaussian"))
        for level in ("LR2", "LR4")
    )
    by_name = {one.name: one for one in found.verdict.findings}
    assert by_name["above_blur"].figure == pytest.approx(above, abs=1e-3)
    assert by_name["noise"].grade == by_name["scale_map"].grade == "not measured"
    assert found.not_kept == "these are not the scenes that were held out of its training"


def own_of(tiny: str, tmp_path: Path) -> Path:
    """The tiny checkpoint as one that learned SETTINGS' pairs but for scenes a and b."""
    own = Path(shutil.copytree(tiny, tmp_path / "own"))
    info = read_info(own)
    held_out = {**info.training, "validation_scenes": ["a", "b"]}
    write_info(own, replace(info, training=held_out, data=asdict(SETTINGS)))
    return own


def test_it_is_kept_where_the_scenes_are_those_held_out(
    tiny: str, folder: Path, tmp_path: Path
) -> None:
    own = own_of(tiny, tmp_path)
    id_before = read_info(own).id
    result = evaluate(DegFlow.load(str(own), "cpu"), SETTINGS, folder, EvaluationSettings(ONE))
    after = read_info(own)
    assert result.not_kept == "" and after.id == id_before
    assert after.judged is not None and after.judged.training is None
    assert after.judged.held_out is not None and after.judged.held_out.scenes == 2
    assert after.verdict == result.verdict


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"levels": SETTINGS.levels[:1] + SETTINGS.levels[-1:]}, "the levels are not those"),
        ({"enlarge": "bicubic"}, "LR is not enlarged as it was in its training"),
    ],
)
def test_it_is_not_kept_where_a_recipe_says_other_pairs(
    tiny: str, tmp_path: Path, changed: dict[str, Any], why: str
) -> None:
    own = own_of(tiny, tmp_path)
    before = (own / "config.json").read_bytes()
    model, other = DegFlow.load(str(own), "cpu"), replace(SETTINGS, **changed)
    figures = OnHeldOut(scenes=2, above_blur=1.0, above_gaussian=1.0, leak=0.0, noise=None)
    assert keep(model, figures, ["a", "b"], other).startswith(why)
    assert (own / "config.json").read_bytes() == before
    assert keep(model, figures, ["a", "b"], SETTINGS) == ""


def test_straight_lines_stand_between_knots_only(
    found: Evaluation, pictures: dict[str, np.ndarray], tiny_model: DegFlow
) -> None:
    lines = {"blend", "line", "blend_real", "line_real", "gaussian_line", "gaussian_lens"}
    assert lines <= set(found.levels["LR3"].candidates)
    assert not lines & set(found.levels["LR4"].candidates)
    weight = (0.6 - 0.3) / (1.0 - 0.3)
    oracle, own = [], []
    for s in "ab":
        two, four = (pictures[f"{s}_{name}"].astype(float) for name in ("LR2", "LR4"))
        blend = np.rint(two + (four - two) * weight).astype(np.uint8)
        oracle.append(psnr(blend, pictures[f"{s}_LR3"]))
        z, skips = tiny_model.encode(to_tensor(pictures[f"{s}_HR"]))
        path = tiny_model.trajectory(z, [0.3, 1.0], skips)
        line = tiny_model.decode(torch.lerp(path[:, 0], path[:, 1], weight), skips)
        own.append(psnr(to_picture(line)[0], pictures[f"{s}_LR3"]))
    assert mean_over(found, "LR3", "blend_real") == pytest.approx(np.mean(oracle), abs=0.01)
    assert mean_over(found, "LR3", "line") == pytest.approx(np.mean(own), abs=0.01)


def test_the_sweep_marks_where_each_figure_is_best(found: Evaluation) -> None:
    assert set(found.sweep) == {"LR3"}, "the held-out level is swept"
    for figure, swept in found.sweep["LR3"].items():
        assert swept.t == [0.3, 0.6, 1.0]
        best = min if figure in ("noise_kl", "spectrum") else max
        assert swept.best == swept.t[swept.values.index(best(swept.values))]
    at = found.sweep["LR3"]["psnr"].values[1]
    assert at == pytest.approx(mean_over(found, "LR3", "generated"), abs=0.01)


def test_the_blur_is_measured_at_equal_steps_of_the_scale(
    found: Evaluation, tiny_model: DegFlow, pictures: dict[str, np.ndarray]
) -> None:
    blur = found.blur
    np.testing.assert_allclose(blur.s, np.linspace(1, 4, 11))
    made = [
        equivalent_blur(
            pictures[f"{s}_HR"],
            to_picture(tiny_model.degrade(to_tensor(pictures[f"{s}_HR"]), [1.0])[0, 0]),
        )
        for s in "ab"
    ]
    assert blur.sigma[0] == 0 < blur.sigma[5] < blur.sigma[10]
    assert blur.sigma[10] == pytest.approx(np.mean(made))


def test_bands_of_power_and_coherence_stand_real_beside_generated(found: Evaluation) -> None:
    for level in found.levels.values():
        assert set(level.against_hr) == {"real", "generated"}, "this checkpoint has no noise"
        for lr in level.against_hr.values():
            assert len(level.bands) == len(lr.power) == len(lr.coherence) == 10
            assert 0 < min(lr.coherence) <= max(lr.coherence) <= 1
    # The stronger blur has less of what is fine.
    fine = [found.levels[name].against_hr["real"].power[5] for name in BLURS]
    assert fine == sorted(fine, reverse=True)


def test_json_and_pages_are_written(found: Evaluation, settings: EvaluationSettings) -> None:
    assert settings.out is not None
    assert json.loads((settings.out / "figures.json").read_text()) == found.to_dict()
    pages = {path.stem for path in settings.out.glob("*.png")}
    assert pages == {"pictures", "sweep_LR3", *(f"spectrum_{name}" for name in BLURS)}
    for page in settings.out.glob("*.png"):
        with Image.open(page) as picture:
            picture.load()


def test_crops_of_the_scenes_are_written_as_they_are(
    found: Evaluation,
    tiny_model: DegFlow,
    settings: EvaluationSettings,
    pictures: dict[str, np.ndarray],
) -> None:
    """HR, real and generated LR of the same place, and PSNR of the whole picture."""
    assert settings.out is not None
    for i, of in enumerate(found.by_scene):
        rows, columns = (slice(start, start + 256) for start in of.crop)
        ways = {"": "HR", **{f"{level}_": level for level in BLURS}}
        for head, level in ways.items():
            name = "HR" if not head else f"{level}_real"
            path = settings.out / "crops" / f"{i + 1:02}_{of.scene}_{name}.webp"
            expected = pictures[f"{of.scene}_{level}"][rows, columns]
            assert np.array_equal(np.asarray(Image.open(path).convert("RGB")), expected)
        made = settings.out / "crops" / f"{i + 1:02}_{of.scene}_LR4_generated.webp"
        hr = to_tensor(pictures[f"{of.scene}_HR"])
        whole = to_picture(tiny_model.degrade(hr, [1.0], "none")[0])[0]
        assert np.array_equal(np.asarray(Image.open(made).convert("RGB")), whole[rows, columns])
        assert of.psnr["LR4"] == pytest.approx(psnr(whole, pictures[f"{of.scene}_LR4"]))
    assert [of.scene for of in found.by_scene] == found.scenes


def test_again_gives_the_same_figures(found: Evaluation, tiny_model: DegFlow, folder: Path) -> None:
    again = evaluate(tiny_model, SETTINGS, folder, EvaluationSettings(parse_t("1")))
    assert again.levels == found.levels
    assert again.sweep == {}


def test_small_pictures_are_refused_by_name(tiny_model: DegFlow, tmp_path: Path) -> None:
    for scene in "ac":
        for name in ("HR", *BLURS):
            Image.fromarray(data.coffee()[:200, :300]).save(tmp_path / f"{scene}_{name}.png")
    settings = replace(SETTINGS, validate="a")
    with pytest.raises(DataError, match=r"a_HR\.png.*256"):
        evaluate(tiny_model, settings, tmp_path, EvaluationSettings(parse_t("1")))


def test_checkpoint_that_does_not_tell_its_data(tiny_model: DegFlow) -> None:
    assert [level.name for level in data_of(tiny_model).knots] == ["HR", "LR2", "LR4"]
    silent = replace(tiny_model.info, data={})
    silent = DegFlow(tiny_model.rae, tiny_model.velocity, silent, tiny_model.folder)
    with pytest.raises(CheckpointError, match="`recipe`"):
        data_of(silent)
