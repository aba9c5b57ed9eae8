"""degrade: LR of whole photos, tile by tile, as if there were no tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.degflow import DegFlow
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.levels import parse_scales, parse_t
from degflow_pipe.photos import read_photo
from degflow_pipe.pictures import to_picture, to_tensor
from degflow_pipe.stages.degrade import degrade
from degflow_pipe.tiles import spans

LEVELS = parse_t("0.3,1")


@pytest.fixture(scope="module")
def model() -> DegFlow:
    return DegFlow.load("city100-compact", "cpu")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 x 720 pixels: two tiles each way, sides that no stride divides."""
    path = tmp_path_factory.mktemp("large") / "large.png"
    photo = np.concatenate([data.coffee(), data.coffee()[::-1]])[:600]
    Image.fromarray(np.concatenate([photo, photo[:, ::-1]], axis=1)[:, :723]).save(path)
    return path


def lr_of(out: Path, name: str) -> np.ndarray:
    return read_photo(out / name).pixels.astype(int)


def test_tiles_leave_no_seam(model: DegFlow, large: Path, tmp_path: Path) -> None:
    """At most one grey level from the untiled LR in 99.9% of pixels, no more at the borders."""
    degrade([str(large)], tmp_path, model, LEVELS, noise="none")
    hr = read_photo(large).pixels
    whole = to_picture(model.degrade(to_tensor(hr), LEVELS.t, "none")[0]).astype(int)
    joint = np.zeros(hr.shape[:2], bool)
    for axis, length in enumerate(hr.shape[:2]):
        found = spans(length, model.model.side_multiple)
        assert len(found) == 2
        np.moveaxis(joint, axis, 0)[found[1].start : found[0].end] = True
    for i, name in enumerate(("large_t0300.png", "large_t1000.png")):
        difference = np.abs(lr_of(tmp_path, name) - whole[i]).max(-1)
        assert (difference <= 1).mean() >= 0.999
        assert difference[joint].mean() < difference[~joint].mean() + 0.01


def test_noise_is_as_strong_where_tiles_meet(model: DegFlow, tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((520, 960, 3), 128, np.uint8)).save(grey)
    degrade([str(grey)], tmp_path / "lr", model, parse_t("1"))
    noise = lr_of(tmp_path / "lr", "grey_t1000.png") - 128
    left, right = spans(960, model.model.side_multiple)
    middle = (right.start + left.end) // 2
    meeting = noise[:, middle - 16 : middle + 16].std()
    assert meeting == pytest.approx(noise[:, 100:400].std(), rel=0.06)
    assert meeting > 0.5


def test_the_same_bytes_whatever_the_workers(model: DegFlow, large: Path, tmp_path: Path) -> None:
    for workers in (1, 3):
        degrade([str(large)], tmp_path / str(workers), model, parse_t("1"), workers=workers)
    one, three = (tmp_path / n / "large_t1000.png" for n in ("1", "3"))
    assert one.read_bytes() == three.read_bytes()


def test_levels_do_not_depend_on_their_company(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path
) -> None:
    """More levels than are held at once."""
    photo = sorted(photo_folder.iterdir())[0]
    degrade([str(photo)], tmp_path / "many", tiny_model, parse_t("0.1,0.2,0.3,0.4,0.5,0.6"))
    degrade([str(photo)], tmp_path / "one", tiny_model, parse_t("0.6"))
    name = f"{photo.stem}_t0600.png"
    assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert len(list((tmp_path / "many").glob("*.png"))) == 6


def test_a_folder_keeps_its_shape_and_what_is_done_is_left(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "lr"
    (photos / "sub").mkdir(parents=True)
    source = sorted(photo_folder.iterdir())[0]
    for place in ("a.png", "sub/b.png"):
        (photos / place).write_bytes(source.read_bytes())
    (photos / "broken.png").write_bytes(b"no picture")
    info = tiny_model.info
    assert info is not None
    grid = parse_scales("2,3", info.s_max, info.t_of_scale)
    first = degrade([str(photos)], out, tiny_model, grid, names=["x2", "x3"])
    assert (first.photos, first.pictures) == (2, 4)
    assert list(first.skipped) == ["broken.png"] and "not a" in first.skipped["broken.png"]
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == [
        "a_x2.png",
        "a_x3.png",
        "sub/b_x2.png",
        "sub/b_x3.png",
    ]
    assert lr_of(out, "a_x2.png").shape == read_photo(source).pixels.shape
    before = (out / "a_x2.png").stat().st_mtime_ns
    again = degrade([str(photos)], out, tiny_model, grid, names=["x2", "x3"])
    assert (again.photos, again.known) == (0, 2)
    assert (out / "a_x2.png").stat().st_mtime_ns == before


def test_lr_of_other_settings_is_not_mixed_in(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path
) -> None:
    photo = str(sorted(photo_folder.iterdir())[0])
    degrade([photo], tmp_path, tiny_model, parse_t("1"))
    with pytest.raises(FileError, match="--overwrite"):
        degrade([photo], tmp_path, tiny_model, parse_t("0.5"))
    assert degrade([photo], tmp_path, tiny_model, parse_t("0.5"), overwrite=True).pictures == 1


def test_two_photos_of_one_output_name_are_refused(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path
) -> None:
    photo = sorted(photo_folder.iterdir())[0]
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).write_bytes(photo.read_bytes())
    with pytest.raises(UsageError, match="under the same name"):
        degrade([str(tmp_path)], tmp_path / "lr", tiny_model, parse_t("1"))
    assert not (tmp_path / "lr").exists()


def test_no_photo_that_can_be_read_is_an_error(tiny_model: DegFlow, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(PhotoError, match=r"broken.png.*not a"):
        degrade([str(tmp_path)], tmp_path / "lr", tiny_model, parse_t("1"))
