"""align: shots that cannot be used are told in a line each, and the other scenes go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from skimage import data

from degflow_pipe import json_files
from degflow_pipe.alignment.results import AlignSummary
from degflow_pipe.errors import FileError, UsageError
from degflow_pipe.ledger import Ledger
from degflow_pipe.pictures.shots import noted, read_shot
from degflow_pipe.stages import measuring
from degflow_pipe.stages.align import align
from degflow_pipe.stages.align_scene import AlignSettings
from degflow_pipe.stages.scenes import find_scenes
from tests.alignment import scenes

SMALL = AlignSettings(least=96)
LIMIT = 300_000
"""Pixels of a shot, in these tests."""


def write(path: Path, picture: np.ndarray, focal: int = 0, model: str = "", **asked: Any) -> None:
    exif = Image.Exif()
    if focal:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = focal
    if model:
        exif[ExifTags.Base.Model] = model
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(picture).save(path, exif=exif, **asked)


def mosaic(path: Path, picture: np.ndarray) -> None:
    """A raw file, a DNG, as a camera with a Bayer pattern and the colours of sRGB writes it."""
    light = (picture / 255.0) ** 2.2 * 4095
    cells = np.empty(picture.shape[:2], np.uint16)
    for y, x, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        cells[y::2, x::2] = light[y::2, x::2, channel]
    of_xyz = [32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570]
    tags = [
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),
        (50708, 2, 5, "Test", True),
        (50717, 4, 1, 4095, True),
        (50721, 10, 9, [part for value in of_xyz for part in (value, 10000)], True),
        (50728, 5, 3, [95, 100, 100, 100, 109, 100], True),
        (50778, 3, 1, 21, True),
    ]
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, cells, photometric="cfa", metadata=None, extratags=tags)


@pytest.fixture(scope="module")
def made() -> Any:
    """HR of 240 x 360 pixels, and its LR at x2."""
    return scenes.shots(data.coffee()[:240, :360], 5, scale=2.0)


def one_shot(folder: Path, made: Any) -> None:
    write(folder / "a.png", made.hr)


def no_overlap(folder: Path, made: Any) -> None:
    write(folder / "a.png", data.astronaut()[:250])
    write(folder / "b.png", cv2.resize(data.astronaut()[262:], None, fx=0.7, fy=0.7))


def all_blurred(folder: Path, made: Any) -> None:
    write(folder / "a.png", cv2.GaussianBlur(made.hr, (0, 0), 25))
    write(folder / "b.png", cv2.GaussianBlur(made.lr, (0, 0), 12))


def blurred_hr(folder: Path, made: Any) -> None:
    write(folder / "a.png", cv2.GaussianBlur(made.hr, (0, 0), 2.5))
    write(folder / "b.png", made.lr)


def other_scene(folder: Path, made: Any) -> None:
    write(folder / "a.png", made.hr)
    write(folder / "b.png", data.chelsea())


def two_cameras(folder: Path, made: Any) -> None:
    write(folder / "a.jpg", made.hr, model="Eye 1")
    write(folder / "b.jpg", made.lr, model="Eye 2")


def a_copy(folder: Path, made: Any) -> None:
    write(folder / "a.png", made.hr)
    write(folder / "b.png", made.hr)


def a_bicubic_copy(folder: Path, made: Any) -> None:
    write(folder / "a.png", made.hr)
    write(folder / "b.png", np.asarray(Image.fromarray(made.hr).resize((180, 120))))


def a_jpeg_copy(folder: Path, made: Any) -> None:
    write(folder / "a.png", made.hr)
    small = Image.fromarray(made.hr).resize((120, 80), Image.Resampling.LANCZOS)
    write(folder / "b.jpg", np.asarray(small), quality=80)


def one_zoom(folder: Path, made: Any) -> None:
    write(folder / "a.png", made.hr)
    write(folder / "b.png", np.roll(made.hr, (9, 14), (0, 1)))


def broken_raw(folder: Path, made: Any) -> None:
    write(folder / "a.png", made.hr)
    mosaic(folder / "b.dng", made.lr[: made.lr.shape[0] // 2 * 2, : made.lr.shape[1] // 2 * 2])
    whole = (folder / "b.dng").read_bytes()
    (folder / "b.dng").write_bytes(whole[: len(whole) // 3])


def no_raw(folder: Path, made: Any) -> None:
    write(folder / "a.png", made.hr)
    (folder / "b.cr3").write_bytes(b"no raw at all" * 99)


def too_large(folder: Path, made: Any) -> None:
    write(folder / "a.png", cv2.resize(made.hr, None, fx=2, fy=2))
    write(folder / "b.png", made.lr)


def clipped(folder: Path, made: Any) -> None:
    bright = np.clip(made.hr.astype(int) * 5 + 180, 0, 255).astype(np.uint8)
    write(folder / "a.png", bright)
    write(folder / "b.png", np.clip(made.lr.astype(int) * 5 + 180, 0, 255).astype(np.uint8))


def mirrored(folder: Path, made: Any) -> None:
    write(folder / "a.png", made.hr)
    write(folder / "b.png", np.ascontiguousarray(made.lr[:, ::-1]))


UNUSABLE: dict[Callable[[Path, Any], None], str] = {
    one_shot: "a.png: one shot alone.*two zooms",
    no_overlap: "another scene, or too little of this one",
    all_blurred: "features in it: blurred",
    blurred_hr: "out of focus",
    other_scene: "another scene",
    two_cameras: r"several cameras \(Eye 1, Eye 2\): give each a folder",
    a_copy: "b.png is a copy of a.png",
    a_bicubic_copy: "b.png: shows exactly.* a copy of HR made smaller",
    a_jpeg_copy: "b.jpg: shows exactly.* a copy of HR made smaller",
    one_zoom: "HR's own zoom",
    broken_raw: "b.dng: damaged, or no camera raw",
    no_raw: "b.cr3: damaged, or no camera raw",
    too_large: "more than the limit of 300000: raise `max_pixels`",
    clipped: "clipped|features",
    mirrored: "another scene",
}
"""Folders of shots, and why no pair comes of them."""


@pytest.fixture(scope="module")
def summary(made: Any, tmp_path_factory: pytest.TempPathFactory) -> AlignSummary:
    """Of all of them beside scenes that are odd and can be used."""
    shots = tmp_path_factory.mktemp("shots")
    for make in UNUSABLE:
        make(shots / make.__name__, made)
    write(shots / "lies" / "a.jpg", made.hr, focal=26, model="Eye", quality=97)
    write(shots / "lies" / "b.jpg", made.lr, focal=104, model="Eye", quality=97)
    write(shots / "turned" / "a.png", made.hr)
    write(shots / "turned" / "b.png", np.rot90(made.lr))
    (shots / "print").mkdir()
    write(shots / "print" / "a.png", made.hr)
    Image.fromarray(made.lr).convert("CMYK").save(shots / "print" / "b.jpg", quality=95)
    write(shots / "three" / "a.png", made.hr)
    write(shots / "three" / "b.png", made.lr)
    write(shots / "three" / "c.png", data.chelsea())
    even = made.lr[: made.lr.shape[0] // 2 * 2, : made.lr.shape[1] // 2 * 2]
    write(shots / "raw" / "a.png", made.hr)
    mosaic(shots / "raw" / "b.dng", even)
    write(shots / "raw" / "b.jpg", even)
    return align(shots, tmp_path_factory.mktemp("pairs"), SMALL, max_pixels=LIMIT, workers=1)


@pytest.mark.parametrize("make", UNUSABLE, ids=lambda make: make.__name__)
def test_what_is_wrong_is_told_in_one_line(
    summary: AlignSummary, make: Callable[[Path, Any], None]
) -> None:
    said = summary.failed[make.__name__]
    assert re.search(UNUSABLE[make], said) and "\n" not in said and len(said) < 400


def test_the_other_scenes_go_on(summary: AlignSummary) -> None:
    assert set(summary.failed) == {make.__name__ for make in UNUSABLE}
    found = {s["name"]: s for s in json_files.read(Path(summary.out) / "align.json")["scenes"]}
    assert set(found) == {"lies", "turned", "print", "three", "raw"}
    for scene in found.values():
        (level,) = scene["levels"]
        assert scene["hr"].startswith("a.") and 1.9 < level["scale"] < 2.1
        assert level["shift_after"][0] < 0.2
    notes = " ".join(found["lies"]["notes"])
    assert "EXIF says that b.jpg was taken closest" in notes and "its EXIF says x0.4" in notes
    assert abs(abs(found["turned"]["levels"][0]["rotation"]) - 90) < 4
    assert "c.png" in " ".join(found["three"]["notes"])
    assert found["raw"]["levels"][0]["shot"] == "b.dng"


def test_a_shot_that_could_not_be_read_is_tried_again(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "shots", tmp_path / "pairs"
    write(folder / "cup" / "a.png", made.hr)
    write(folder / "cup" / "b.png", made.lr)
    write(folder / "cup" / "c.png", data.astronaut()[:360, :360])
    for known in (0, 1):
        summary = align(folder, out, SMALL, max_pixels=100_000, workers=1)
        assert summary.known == known
    with pytest.raises(FileError, match="overwrite"):
        align(folder, out, SMALL, max_pixels=LIMIT, workers=1)
    align(folder, out, SMALL, max_pixels=LIMIT, overwrite=True, workers=1)
    (scene,) = json_files.read(out / "align.json")["scenes"]
    assert "c.png: " in scene["notes"][0] and "limit" not in scene["notes"][0]

    measured_anew: list[str] = []
    real = measuring.measured
    monkeypatch.setattr(
        measuring,
        "measured",
        lambda one, *asked: measured_anew.append(one.name) or real(one, *asked),
    )
    align(folder, out, SMALL, max_pixels=LIMIT, workers=1)
    assert not measured_anew
    assert align(folder, out, SMALL, max_pixels=LIMIT, overwrite=True, workers=1).known == 1
    assert measured_anew == ["cup"]
    with Ledger(out / ".degflow", numbers=False) as ledger:
        kept = ledger.record("measured:cup")["measured"]
        ledger.write("measured:cup", {"measured": {**kept, "version": 0}})
    assert align(folder, out, SMALL, max_pixels=LIMIT, workers=1).known == 1
    assert measured_anew == ["cup", "cup"]


def test_raw_is_developed_by_the_curve_of_srgb(tmp_path: Path) -> None:
    levels = np.array([20, 45, 90, 160], np.uint8)
    mosaic(
        tmp_path / "a.dng", np.repeat(np.tile(levels.repeat(40)[:, None], (1, 64))[..., None], 3, 2)
    )
    pixels = read_shot(tmp_path / "a.dng").pixels[20::40, 32].astype(float) / 255
    light = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    seen, wanted = (each / each[-1] for each in (light[:, 1], (levels / 160.0) ** 2.2))
    assert np.allclose(seen, wanted, rtol=0.06, atol=0.0015)


def taken(path: Path, when: datetime) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.DateTime] = f"{when:%Y:%m:%d %H:%M:%S}"
    Image.fromarray(data.coffee()).save(path, exif=exif)


def test_a_cameras_own_names_are_grouped_by_time(tmp_path: Path) -> None:
    begin = datetime(2026, 2, 3, 12, 0)
    for number, second in enumerate((0, 20, 50, 200, 215, 4000)):
        taken(tmp_path / f"IMG_{1000 - number}.JPG", begin + timedelta(seconds=second))
    write(tmp_path / "IMG_2000.JPG", data.coffee())
    groups = {s.name: sorted(p.name for p in s.shots) for s in find_scenes(tmp_path)}
    assert groups == {
        "IMG_1000": ["IMG_1000.JPG", "IMG_998.JPG", "IMG_999.JPG"],
        "IMG_997": ["IMG_996.JPG", "IMG_997.JPG"],
        "IMG_995": ["IMG_995.JPG"],
        "IMG_2000": ["IMG_2000.JPG"],
    }
    assert len(find_scenes(tmp_path, pause=10)) == 7
    assert noted(tmp_path / "IMG_2000.JPG").time is None


def test_names_without_a_scene_or_a_time_are_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path / f"DSC_000{number}.png", data.coffee())
    with pytest.raises(UsageError, match=r"DSC_0001.png says neither.*give each scene a folder"):
        find_scenes(tmp_path)


def test_flat_shots_are_grouped_by_name(tmp_path: Path) -> None:
    for name in ("cup_26mm", "cup_77mm", "red wall-24", "red wall-70", "7_a", "7_b"):
        write(tmp_path / f"{name}.jpg", data.coffee())
    (tmp_path / "notes.txt").write_text("of the day")
    left_out: dict[str, int] = {}
    groups = {s.name: len(s.shots) for s in find_scenes(tmp_path, left_out=left_out)}
    assert groups == {"cup": 2, "red-wall": 2, "scene_7": 2} and left_out == {".txt": 1}


def test_no_scene_is_called_as_a_part_of_another_one(tmp_path: Path) -> None:
    folders = ("cup", "cup-01", "scene", "01", "001", "001-02", "x" * 97 + "-123")
    for name in folders:
        write(tmp_path / name / "a.png", data.coffee())
    names = [scene.name for scene in find_scenes(tmp_path)]
    assert {"cup", "cup_01", "scene", "scene_01", "scene_001", "scene_001_02"} < set(names)
    parts = {f"{name}-{part:02d}" for name in names for part in range(1, 100)}
    assert len(names) == len(folders) and not parts & set(names)
    write(tmp_path / "cup_01" / "a.png", data.coffee())
    with pytest.raises(UsageError, match=r"two scenes in .* would be called cup_01: rename one"):
        find_scenes(tmp_path)
