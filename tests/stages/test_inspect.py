"""inspect: photos are measured, told apart and shown, and nothing happens to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.errors import PhotoError, UsageError
from degflow_pipe.quality import LIMITS, Limits
from degflow_pipe.stages.inspect import inspect


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sharp photo, the same enlarged, and as JPEG; a file that is none. Do not write here."""
    folder = tmp_path_factory.mktemp("photos")
    sharp = data.coffee()[64:320, 128:384]
    Image.fromarray(sharp).save(folder / "sharp.png")
    enlarged = cv2.resize(sharp[64:192, 64:192], (256, 256), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(enlarged).save(folder / "enlarged.png")
    Image.fromarray(sharp).save(folder / "blocks.jpg", quality=30)
    (folder / "letter.png").write_text("dear reader")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_photos_are_told_apart(photos: Path, tmp_path: Path, recorder: Any) -> None:
    found = inspect([str(photos)], tmp_path / "sheet.png", progress=recorder)
    beyond = {row.photo: row.beyond for row in found.photos}
    assert beyond == {
        "blocks.jpg": ["max_blockiness"],
        "enlarged.png": ["min_sharpness"],
        "sharp.png": [],
    }
    assert found.beyond == 2 and set(found.skipped) == {"letter.png"}
    assert found.left_out == {".txt": 1}
    assert recorder.tasks == [("inspect", 4, 0)] and recorder.advanced == 4
    assert recorder.shown == ["1 skipped"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sheet.png"]


def test_a_histogram_counts_every_photo_where_it_belongs(photos: Path, tmp_path: Path) -> None:
    first = inspect([str(photos)], tmp_path / "a.png")
    values = {row.photo: row.sharpness for row in first.photos}
    assert values["sharp.png"] is not None
    limits = Limits(min_sharpness=values["sharp.png"], max_noise=1000)
    found = inspect([str(photos)], tmp_path / "b.png", limits=limits)
    for figure, histogram in found.histograms.items():
        ends = [*histogram.starts[1:], float("inf")]
        assert sum(histogram.counts) + histogram.unknown == 3
        for low, high, count in zip(histogram.starts, ends, histogram.counts, strict=True):
            told = [getattr(row, figure) for row in found.photos]
            assert count == sum(low <= value < high for value in told), figure
    assert found.histograms["sharpness"].starts.count(values["sharp.png"]) == 1
    assert found.histograms["sharpness"].beyond == 2
    assert found.histograms["noise"].starts[-1] == 1000
    assert found.histograms["noise"].beyond == found.histograms["clipped"].beyond == 0


def test_the_sheet_shows_both_ends_of_each_figure(photos: Path, tmp_path: Path) -> None:
    inspect([str(photos)], tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    side = 3 * 64
    assert sheet.shape == (len(LIMITS) * (24 + 24 + side), 8 * side, 3)
    sharpest = sheet[48 : 48 + side, 2 * side : 3 * side]
    piece = sharpest[1::3, 1::3]  # each pixel is shown as 3 x 3
    assert np.array_equal(piece.repeat(3, 0).repeat(3, 1), sharpest)
    pixels = np.asarray(Image.open(photos / "sharp.png"))
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (64, 64, 3))[::8, ::8, 0]
    assert any(np.array_equal(window, piece) for row in windows for window in row)
    assert np.all(sheet[48 : 48 + side, 3 * side :] == 255)  # there are three photos


def test_of_many_photos_the_ends_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(11):
        grey = np.full((64, 64, 3), 10 * (i + 1), np.uint8)
        grey[: 4 * i] = 255
        Image.fromarray(grey).save(folder / f"{i:02d}.png")
    inspect([str(folder)], tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    top = 2 * (48 + 192) + 48  # of the third row of pieces
    last = sheet[top + 191, 96::192, 0]
    assert (last // 10 - 1).tolist() == [0, 1, 2, 3, 7, 8, 9, 10]


def test_the_engine_does_not_matter(photos: Path, tmp_path: Path) -> None:
    one = inspect([str(photos)], tmp_path / "sheet.png", workers=1)
    sheet = (tmp_path / "sheet.png").read_bytes()
    other = {"workers": 2, "engine": run_in_processes, "overwrite": True}
    assert inspect([str(photos)], tmp_path / "sheet.png", **other) == one
    assert (tmp_path / "sheet.png").read_bytes() == sheet


def test_a_picture_that_is_there_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "sheet.png").write_text("mine")
    with pytest.raises(UsageError, match=r"sheet\.png is there already: give another name"):
        inspect([str(photos)], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_text() == "mine"


def test_no_photo_that_can_be_read_is_an_error(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"none of 1 photos could be used: .*letter\.png"):
        inspect([str(photos / "letter.png")], tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())
