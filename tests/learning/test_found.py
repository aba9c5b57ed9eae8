"""Which levels a folder of pairs has, at which scales, and what is held out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.learning.found import data_of_folder, holds_pairs, split

HR = np.ascontiguousarray(data.coffee()[:256, :320])


def write(folder: Path, *names: str, picture: np.ndarray = HR) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(picture).save(folder / name)


def levels_of(folder: Path, s_max: float | None = None) -> list[tuple[str, float]]:
    found = data_of_folder(folder, s_max, None)
    return [(k.name, round(found.scale_of_t(k.t), 3)) for k in found.knots]


def test_names_tell_the_scales(tmp_path: Path) -> None:
    write(tmp_path, *(f"{n}_{level}.png" for n in "ab" for level in ("hr", "x2.9", "x1.5")))
    assert holds_pairs(tmp_path)
    assert levels_of(tmp_path) == [("HR", 1.0), ("X1.5", 1.5), ("X2.9", 2.9)]


def test_sizes_tell_the_scale(tmp_path: Path) -> None:
    write(tmp_path, "a_HR.png", "b_HR.png")
    write(tmp_path, "a_LR.png", "b_LR.png", picture=cv2.resize(HR, (160, 128)))
    assert levels_of(tmp_path) == [("HR", 1.0), ("LR", 2.0)]


def test_else_the_blur_tells_it_or_who_knows_says_it(tmp_path: Path) -> None:
    """A lens's blur is 0.91 sqrt(s² - 1) pixels."""
    write(tmp_path, "a_hr.png", "b_hr.png")
    blurred = cv2.GaussianBlur(HR, (0, 0), 0.91 * np.sqrt(3.0))
    write(tmp_path, "a_lr.png", "b_lr.png", picture=blurred)
    assert levels_of(tmp_path) == [("HR", 1.0), ("LR", pytest.approx(2.0, abs=0.11))]
    assert levels_of(tmp_path, 2.9) == [("HR", 1.0), ("LR", 2.9)]


def test_a_recipe_in_the_folder_is_taken(tmp_path: Path) -> None:
    write(tmp_path, "a_hr.png", "a_lr.png")
    (tmp_path / "train.yaml").write_text(
        "kind: train\nname: mine\ndata:\n  s_max: 3.0\n  source: s\n  licence: l\n  validate: a\n"
        '  levels:\n    - {name: HR, t: 0.0, files: "*_hr.png"}\n'
        '    - {name: far, t: 1.0, files: "*_lr.png"}\n'
    )
    assert levels_of(tmp_path) == [("HR", 1.0), ("far", 3.0)]


def test_two_endings_of_hr_are_named(tmp_path: Path) -> None:
    write(tmp_path, "a_hr.png", "a_lr.png", "b_hr.bmp", "b_lr.png")
    with pytest.raises(DataError, match=r"HR end in _hr\.bmp and in _hr\.png"):
        data_of_folder(tmp_path, 2.0, None)


def test_shots_are_no_pairs_and_folders_of_pairs_are_named(tmp_path: Path) -> None:
    write(tmp_path / "shots", "IMG_0001.jpg", "IMG_0002.jpg")
    assert not holds_pairs(tmp_path / "shots")
    write(tmp_path / "pairs", "a_hr.png", "a_lr.png")
    with pytest.raises(UsageError, match=r"holds no pairs, but its folders do \(pairs\)"):
        holds_pairs(tmp_path)
    with pytest.raises(UsageError, match="is no folder of shots or of pairs"):
        holds_pairs(tmp_path / "nowhere")


def test_whole_scenes_are_held_out() -> None:
    names = [f"{scene:03d}-{part:02d}" for scene in range(30) for part in (1, 2)]
    held = split(names)
    assert len(held) == 6 and {name[:-1] + "1" for name in held} == set(held[::2])
    assert split(names) == held == split(names[::-1])
