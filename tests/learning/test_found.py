"""Which levels a folder of pairs has, at which scales, and what is held out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.learning.found import check_in_common, data_of_folder, holds_pairs, split
from degflow_pipe.pairs.pairs import Pairs, find_scenes

HR = np.ascontiguousarray(data.coffee()[:256, :320])
PHOTOS = {
    name: np.ascontiguousarray(getattr(data, name)()[:300, :400])
    for name in ("coffee", "astronaut", "chelsea")
}


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


def test_an_lr_of_another_size_than_the_others_is_named(tmp_path: Path) -> None:
    write(tmp_path, *(f"{name}_hr.png" for name in "abc"))
    write(tmp_path, "a_lr.png", "b_lr.png", picture=cv2.resize(HR, (161, 128)))
    write(tmp_path, "c_lr.png", picture=cv2.resize(HR, (130, 104)))
    with pytest.raises(DataError, match=r"c_lr\.png is 1/2\.46 of its HR, where most .* 1/2:"):
        data_of_folder(tmp_path, None, None)


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


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (("a_x2.png", "b_lr.png"), r"b_lr\.png has no HR beside it, b_hr\.png: add it"),
        (("a_x2.png", "b_hr.png", "b_X2.png"), r"a_x2\.png and .*b_X2\.png are of one level, x2"),
        (("a_x2.png", "a-x2.png"), "are of one level, x2"),
        (("a_x2.png", "a_x2.0.png"), "are of one level, x2"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_file_of_no_level_is_named(tmp_path: Path, others: list[str], message: str) -> None:
    write(tmp_path, "a_hr.png", *others)
    with pytest.raises(DataError, match=message):
        data_of_folder(tmp_path, None, None)


def test_zooms_of_a_phone_are_shots(tmp_path: Path) -> None:
    write(tmp_path, "cup_x1.jpg", "cup_x2.jpg")
    assert not holds_pairs(tmp_path)


def looked_at(folder: Path, lrs: dict[str, np.ndarray]) -> None:
    for name, photo in PHOTOS.items():
        write(folder, f"{name}_hr.png", picture=photo)
        write(folder, f"{name}_x2.png", picture=lrs[name])
    settings = data_of_folder(folder, None, None)
    train, held_out = find_scenes(settings, folder)
    check_in_common(Pairs(train + held_out, settings))


def test_pairs_have_much_in_common(tmp_path: Path) -> None:
    looked_at(tmp_path, {n: cv2.GaussianBlur(p, (0, 0), 2.0) for n, p in PHOTOS.items()})


@pytest.mark.parametrize("zoom", [1.15, 2.0])
def test_shots_that_are_called_pairs_are_refused(tmp_path: Path, zoom: float) -> None:
    def wide(photo: np.ndarray) -> np.ndarray:
        small = cv2.resize(photo, None, fx=1 / zoom, fy=1 / zoom, interpolation=cv2.INTER_AREA)
        down, right = (a - b for a, b in zip(photo.shape[:2], small.shape[:2], strict=True))
        edges = (down // 2, down - down // 2, right // 2, right - right // 2)
        return cv2.copyMakeBorder(small, *edges, cv2.BORDER_REFLECT)

    with pytest.raises(DataError, match=r"little in common at the same places.*`align\(\)`"):
        looked_at(tmp_path, {n: wide(p) for n, p in PHOTOS.items()})


def test_pairs_that_are_shuffled_are_refused(tmp_path: Path) -> None:
    blurred = [cv2.GaussianBlur(photo, (0, 0), 2.0) for photo in PHOTOS.values()]
    with pytest.raises(DataError, match="as have 3 of 3 pairs"):
        looked_at(tmp_path, dict(zip(PHOTOS, [*blurred[1:], blurred[0]], strict=True)))


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
