"""Sheets with markers, and shots of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.alignment.coarse import NoMatch
from degflow_pipe.alignment.target import GRIDS, coarse_by_markers, markers, numbers_of, sheet
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.stages.align import align
from degflow_pipe.stages.align_scene import AlignSettings
from degflow_pipe.stages.target import parse_size, target
from tests.alignment import scenes

PHOTOS = [data.coffee(), data.chelsea(), data.astronaut(), data.rocket()]


def grey(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).convert("L"))


@pytest.mark.parametrize("per_sheet", GRIDS)
def test_every_marker_of_a_sheet_is_found(per_sheet: int) -> None:
    made = [sheet(PHOTOS[:per_sheet], number, per_sheet, (840, 1188)) for number in (0, 3)]
    found = [markers(grey(one)) for one in made]
    count = numbers_of(per_sheet)
    assert set(found[0]) == set(range(count)) and set(found[1]) == set(range(3 * count, 4 * count))
    for corners in found[0].values():
        (left, top), (right, bottom) = corners[0], corners[2]
        assert abs(right - left - 42) < 1.5 and abs(bottom - top - 42) < 1.5
        inside = made[0][round(top) + 1, round(left) + 1]
        assert inside.max() == 0  # the black border, none of a photo


@pytest.fixture(scope="module")
def shots() -> Any:
    """Of a sheet on a white wall, at x1.3: what lies beyond it is mirrored, markers are not."""
    wall = np.pad(sheet(PHOTOS[:1], 0, 1, (640, 860)), ((70, 70), (90, 90), (0, 0)), "edge")
    return scenes.shots(wall, 3, scale=1.3)


def test_markers_say_where_hr_lies_in_the_lr(shots: Any) -> None:
    found = coarse_by_markers(grey(shots.hr), grey(shots.lr))
    assert found.matches >= 24 and found.agreeing >= 0.9 * found.matches
    off = shots.error(found.warp.rows(0, shots.hr.shape[0]), np.ones(shots.hr.shape[:2], bool))
    assert off[0] < 1.5 and off[1] < 5


def test_another_sheet_is_told(shots: Any) -> None:
    other = sheet(PHOTOS[:1], 1, 1, (640, 860))
    with pytest.raises(NoMatch, match=r"0 markers of HR's .* another sheet"):
        coarse_by_markers(grey(shots.hr), grey(other))
    with pytest.raises(NoMatch, match="no marker"):
        coarse_by_markers(grey(shots.hr), grey(data.coffee()))


def write(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, photo in enumerate(PHOTOS):
        Image.fromarray(photo).save(folder / f"{number}.png")
    (folder / "4.jpg").write_bytes(b"no photo")
    return folder


def test_sheets_are_written_the_same_again(tmp_path: Path) -> None:
    photos, out = write(tmp_path / "photos"), tmp_path / "sheets"
    asked = {"size": "1400x1000", "per_sheet": 2}
    summary = target([str(photos)], out, **asked)  # type: ignore[arg-type]
    assert (summary.sheets, summary.photos, summary.size) == (2, 4, [1400, 1000])
    assert list(summary.skipped) == ["4.jpg"] and summary.small
    with Image.open(out / "sheet-01.png") as image:
        assert image.size == (1400, 1000)
        assert len(markers(np.asarray(image.convert("L")))) == numbers_of(2)
    before = {path.name: path.read_bytes() for path in out.glob("[!.]*.*")}
    assert set(before) == {"sheet-01.png", "sheet-02.png", "target.pdf"}
    assert before["target.pdf"].count(b"/Type /Page\n") == 2
    target([str(photos)], out, **asked)  # type: ignore[arg-type]
    assert before == {path.name: path.read_bytes() for path in out.glob("[!.]*.*")}
    target([str(photos / "0.png")], out, size="1400x1000")
    assert not (out / "sheet-02.png").exists()


def test_sheets_of_more_pixels_than_pillow_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    photos, out = write(tmp_path / "photos"), tmp_path / "sheets"
    target([str(photos)], out, size="1400x1000", per_sheet=2)
    assert (out / "target.pdf").read_bytes().count(b"/Type /Page\n") == 2
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_no_pdf_of_old_sheets_is_left(tmp_path: Path) -> None:
    photos, out = write(tmp_path / "photos"), tmp_path / "sheets"
    target([str(photos)], out, size="1400x1000")
    (out / "mine.pdf").write_bytes(b"mine")
    with pytest.raises(PhotoError, match="no photo could be read"):
        target([str(photos / "4.jpg")], out, size="1400x1000")
    assert [path.name for path in out.glob("[!.]*.*")] == ["mine.pdf"]


def test_what_no_sheet_can_be_is_refused(tmp_path: Path) -> None:
    photos, out = write(tmp_path / "photos"), tmp_path / "sheets"
    assert parse_size("a4", 300) == (2480, 3508)
    for asked, said in {
        "0x5": "pixels such as",
        "b5": "a4, a3, letter",
        "9x9": "600 to 20000",
    }.items():
        with pytest.raises(UsageError, match=said):
            target([str(photos)], out, size=asked)
    with pytest.raises(UsageError, match="per_sheet"):
        target([str(photos)], out, per_sheet=5)
    with pytest.raises(PhotoError, match="no photo could be read"):
        target([str(photos / "4.jpg")], out)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "sheet-01.png").write_bytes(b"theirs")
    with pytest.raises(FileError, match="theirs"):
        target([str(photos)], tmp_path / "theirs")


def test_shots_of_sheets_become_pairs(shots: Any, tmp_path: Path) -> None:
    folder, out = tmp_path / "shots", tmp_path / "pairs"
    given = {"one": (shots.hr, shots.lr), "none": (data.coffee(), data.chelsea())}
    for name, pictures in given.items():
        (folder / name).mkdir(parents=True)
        for end, picture in zip("ab", pictures, strict=True):
            Image.fromarray(picture).save(folder / name / f"{end}.png")
    summary = align(folder, out, AlignSettings(target=True), workers=1)
    assert summary.made == 1 and summary.shift_after[0] < 0.1
    assert "no marker of a target" in summary.failed["none"]
    with pytest.raises(FileError, match="overwrite"):
        align(folder, out, AlignSettings(), workers=1)
