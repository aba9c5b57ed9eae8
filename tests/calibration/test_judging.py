"""What training pairs tell of themselves, on photos that were shifted and shuffled on purpose."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.calibration import calibrate as calibration
from degflow_pipe.calibration.judging import OfTraining
from degflow_pipe.checkpoint.verdict import Judged, OnTraining, verdict_of
from degflow_pipe.pairs.settings import DataSettings

PHOTOS = [np.ascontiguousarray(p[:380, :440]) for p in (data.coffee(), data.astronaut())]
RISING = np.linspace(0, 2, 21)


def blurred(hr: np.ndarray, shift: float = 0.0) -> np.ndarray:
    moved = cv2.warpAffine(
        hr,
        np.array([[1, 0, shift], [0, 1, 0]], np.float32),
        (hr.shape[1], hr.shape[0]),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )
    return cv2.GaussianBlur(moved, (0, 0), 1.5)


def found(lrs: list[np.ndarray], blurs: np.ndarray = RISING) -> OnTraining:
    judging = OfTraining()
    for hr, lr in zip(PHOTOS, lrs, strict=True):
        judging.add(hr, lr, lr)
    return judging.found(60, blurs)


def grade(name: str, one: OnTraining) -> str:
    return next(f.grade for f in verdict_of(Judged(one), None).findings if f.name == name)


def test_aligned_pairs_are_good() -> None:
    one = found([blurred(hr) for hr in PHOTOS])
    assert one.shift is not None and one.shift < 0.1
    assert (one.unmatched, one.fall, one.scenes) == (0.0, 0.0, 60)
    assert one.above_gaussian == 0, "LR is a Gaussian of HR"
    assert {grade(name, one) for name in ("alignment", "pairs", "levels", "scenes")} == {"good"}


@pytest.mark.parametrize("shift", [1.5, -1.5])
def test_pairs_that_lie_off_are_found(shift: float) -> None:
    one = found([blurred(hr, shift) for hr in PHOTOS])
    assert one.shift == pytest.approx(1.5, abs=0.15)
    assert (grade("alignment", one), grade("pairs", one)) == ("bad", "good")


def test_as_many_scenes_are_judged_as_blurs_are_measured_on(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few of them noise is measured on."""
    judged: list[np.ndarray] = []

    class Counting(OfTraining):
        def add(self, hr: np.ndarray, expected: np.ndarray, real: np.ndarray) -> None:
            judged.append(hr)
            super().add(hr, expected, real)

    monkeypatch.setattr(calibration, "OfTraining", Counting)
    monkeypatch.setattr(calibration, "BLUR_SCENES", 3)
    monkeypatch.setattr(calibration, "NOISE_SCENES", 2)
    monkeypatch.setattr(calibration, "STEPS", 4)
    for i in range(8):
        hr = np.ascontiguousarray(data.coffee()[10 * i : 10 * i + 256, :256])
        Image.fromarray(hr).save(tmp_path / f"{i}_HR.png")
        Image.fromarray(blurred(hr)).save(tmp_path / f"{i}_LR.png")
    levels = [{"name": n, "t": t, "files": f"*_{n}.png"} for n, t in (("HR", 0.0), ("LR", 1.0))]
    settings = DataSettings(s_max=4.0, source="s", licence="l", validate="7", levels=levels)
    calibration.calibrate(str(shutil.copytree(tiny, tmp_path / "own")), settings, tmp_path, "cpu")
    assert len(judged) == 4, "of seven scenes every second"


def test_pairs_of_different_scenes_are_found() -> None:
    one = found([blurred(hr) for hr in PHOTOS[::-1]])
    assert one.unmatched == 1.0 and one.shift is None
    assert (grade("alignment", one), grade("pairs", one)) == ("not measured", "bad")


def test_levels_that_fall_back_are_found() -> None:
    blurs = RISING.copy()
    blurs[12:] -= 0.5
    one = found([blurred(hr) for hr in PHOTOS], blurs)
    assert one.fall == pytest.approx((blurs[11] - blurs[12]) / blurs.max(), abs=1e-4)
    assert grade("levels", one) == "bad"
