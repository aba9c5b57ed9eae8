"""The verdict: which figures are good, and where it is told."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import find_checkpoint, read_info, write_judged
from degflow_pipe.checkpoint.verdict import (
    Judged,
    OnHeldOut,
    OnTraining,
    Verdict,
    steepest,
    verdict_of,
)
from degflow_pipe.errors import UsageError
from degflow_pipe.stages.verify import verify

TRAINING = OnTraining(60, shift=0.2, unmatched=0.0, above_gaussian=4.2, fall=0.0)
HELD_OUT = OnHeldOut(10, above_blur=1.7, above_gaussian=4.0, leak=0.01, noise=1.05)


def grades(found: Verdict) -> dict[str, str]:
    return {one.name: one.grade for one in found.findings if one.grade != "good"}


def judged(
    training: dict[str, Any] | None = None, held_out: dict[str, Any] | None = None
) -> Judged:
    return Judged(replace(TRAINING, **training or {}), replace(HELD_OUT, **held_out or {}))


def test_good_figures_make_a_good_checkpoint(shipped_calibration: Any) -> None:
    found = verdict_of(judged(), shipped_calibration)
    assert (found.overall, grades(found), found.warning) == ("good", {}, "")


@pytest.fixture(scope="module")
def shipped_calibration() -> Any:
    return DegFlow.load("city100-compact", "cpu").info.calibration


@pytest.mark.parametrize(
    ("training", "held_out", "finding", "grade"),
    [
        ({}, {"above_blur": -0.1}, "above_blur", "bad"),
        ({}, {"above_blur": 0.2}, "above_blur", "with care"),
        ({"fall": 0.05}, {}, "levels", "with care"),
        ({"fall": 0.5}, {}, "levels", "bad"),
        ({}, {"leak": 0.7}, "leak", "bad"),
        ({}, {"noise": 1.6}, "noise", "with care"),
        ({}, {"noise": 0.3}, "noise", "bad"),
        ({"unmatched": 1.0, "shift": None}, {}, "pairs", "bad"),
        ({"shift": 1.43}, {}, "alignment", "bad"),
        ({"scenes": 3}, {}, "scenes", "bad"),
        ({"scenes": 12}, {}, "scenes", "with care"),
        ({"above_gaussian": 6.5}, {}, "learned_by_heart", "bad"),
    ],
)
def test_each_fault_is_named_with_its_figure_its_limit_and_what_to_do(
    shipped_calibration: Any,
    training: dict[str, Any],
    held_out: dict[str, Any],
    finding: str,
    grade: str,
) -> None:
    found = verdict_of(judged(training, held_out), shipped_calibration)
    assert grades(found).pop(finding) == grade
    assert found.overall == ("not usable" if grade == "bad" else "usable with care")
    (one,) = (one for one in found.findings if one.name == finding)
    assert one.figure is not None and one.care is not None and f"{one.care:g})" in one.said
    count = "1 bad" if grade == "bad" else "1 with care"
    assert found.warning.startswith(f"{found.overall} ({count}): ")


def test_a_map_of_scales_that_hardly_moves_is_named(shipped_calibration: Any) -> None:
    """x1.91 at t = 0.05 and x1.98 at 0.47, after 60 steps."""
    degenerate = replace(
        shipped_calibration, scales=[[1.0, 0.0], [1.91, 0.05], [1.98, 0.47], [2.9, 1.0]]
    )
    assert grades(verdict_of(judged(), degenerate)) == {"scale_map": "bad"}
    assert steepest([[1.0, 0.0], [4.0, 1.0]]) == pytest.approx(1.0)
    assert steepest(shipped_calibration.scales) < 1.3


def test_what_was_not_measured_is_not_judged(shipped_calibration: Any) -> None:
    found = verdict_of(None, None)
    assert found.overall == "not judged" and set(grades(found).values()) == {"not measured"}
    assert found.warning == ""
    half = verdict_of(Judged(TRAINING), shipped_calibration)
    assert half.overall == "not judged"
    assert set(grades(half)) == {"above_blur", "leak", "noise", "learned_by_heart"}
    bad = verdict_of(Judged(replace(TRAINING, shift=2.0)), shipped_calibration)
    assert bad.overall == "not usable", "what is known to be bad is bad"


def test_nobody_is_told_to_train_longer_on_scenes_that_are_learned_by_heart() -> None:
    held_out = {"above_blur": -0.1, "leak": 0.7}
    alone = verdict_of(judged({"fall": 0.5}, held_out), None).line
    assert alone.count("train longer") == 3
    both = verdict_of(judged({"fall": 0.5, "above_gaussian": 6.5}, held_out), None).line
    assert "train longer" not in both and both.count("train on more scenes") == 3


@pytest.mark.parametrize(
    ("ratio", "way"), [(1.6, "1.60 times as strong"), (0.5, "2.00 times as weak")]
)
def test_noise_is_told_to_be_strong_or_weak(
    ratio: float, way: str, shipped_calibration: Any
) -> None:
    assert way in verdict_of(judged({}, {"noise": ratio}), shipped_calibration).line


def test_what_cannot_be_measured_says_why(shipped_calibration: Any) -> None:
    found = verdict_of(judged({}, {"noise": None}), shipped_calibration)
    assert (found.overall, grades(found)) == ("not judged", {"noise": "not measured"})
    said = {one.name: one.said for one in found.findings}
    assert said["noise"].startswith("not measured: there was no noise model; run `calibrate()`")
    found = verdict_of(judged({"shift": None}), shipped_calibration)
    assert (found.overall, grades(found)) == ("not judged", {"alignment": "not measured"})
    said = {one.name: one.said for one in found.findings}
    assert said["alignment"].startswith("not measured: no pair has enough in common")


@pytest.fixture
def folder(tiny: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "tiny"))


def test_it_is_kept_in_the_checkpoint_and_told_in_its_card(folder: Path) -> None:
    before = read_info(folder)
    for leak, overall in ((0.01, "not judged"), (0.5, "not usable")):  # it is not calibrated
        write_judged(folder, replace(read_info(folder), judged=judged({}, {"leak": leak})))
        info = read_info(folder)
        assert info.judged == judged({}, {"leak": leak}) and info.id == before.id
        assert info.verdict.overall == overall
        assert verify(folder).damage == []
        card = (folder / "README.md").read_text()
        assert card.count("## Verdict: ") == 1 and "# tiny" in card
        assert f"## Verdict: {overall}" in card


@pytest.mark.parametrize("write", range(4))
def test_it_is_whole_wherever_it_is_cut_off(
    folder: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """Writing of its files, one after the other; then it is judged again."""
    write_judged(folder, replace(read_info(folder), judged=judged()))
    found = replace(read_info(folder), judged=judged({}, {"leak": 0.5}))
    replaced: list[Path] = []
    keep = files.write_bytes

    def cut_off(path: Path, content: bytes) -> None:
        if len(replaced) == write:
            raise InterruptedError
        keep(path, content)
        replaced.append(path)

    monkeypatch.setattr(files, "write_bytes", cut_off)
    with nullcontext() if write == 3 else pytest.raises(InterruptedError):
        write_judged(folder, found)
    monkeypatch.undo()
    assert verify(folder).damage == [] and len(replaced) == write
    write_judged(folder, replace(read_info(folder), judged=judged({}, {"leak": 0.5})))
    assert verify(folder).damage == [] and read_info(folder).card_becomes == ""
    assert "## Verdict: not usable" in (folder / "README.md").read_text()


def test_a_card_that_was_edited_is_left(folder: Path) -> None:
    (folder / "README.md").write_text("A DegFlow checkpoint, by me")
    write_judged(folder, replace(read_info(folder), judged=judged()))
    assert (folder / "README.md").read_text() == "A DegFlow checkpoint, by me"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([], "judged must be a mapping"),
        ({"other": {}}, "judged must be a mapping"),
        ({"training": {"scenes": 3}}, "judged.training"),
        ({"held_out": {**vars(HELD_OUT), "leak": "much"}}, "judged.held_out.leak"),
        ({"training": {**vars(TRAINING), "unmatched": 2.0}}, "judged.training.unmatched"),
    ],
)
def test_figures_that_cannot_be_are_refused(values: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Judged.from_dict(values)


@pytest.mark.parametrize("name", ["city100-compact", "city100-iphone-compact"])
def test_the_shipped_ones_are_good(name: str) -> None:
    found = read_info(find_checkpoint(name)).verdict
    assert (found.overall, grades(found)) == ("good", {})
