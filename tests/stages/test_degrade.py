"""degrade: LR of whole photos, tile by tile, as if there were no tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import parse_grid, parse_scales, parse_t
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.pictures.tiles import spans
from degflow_pipe.stages.degrade import degrade

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
        found = spans(length, model.config.side_multiple)
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
    left, right = spans(960, model.config.side_multiple)
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
    first = degrade([str(photos)], out, tiny_model, grid)
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
    again = degrade([str(photos)], out, tiny_model, grid)
    assert (again.photos, again.known) == (0, 2)
    assert (out / "a_x2.png").stat().st_mtime_ns == before


def test_lr_of_other_settings_is_replaced_when_asked(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path
) -> None:
    photo = sorted(photo_folder.iterdir())[0]
    degrade([str(photo)], tmp_path, tiny_model, parse_t("1"))
    with pytest.raises(FileError, match="`overwrite`"):
        degrade([str(photo)], tmp_path, tiny_model, parse_t("0.5"))
    degrade([str(photo)], tmp_path, tiny_model, parse_t("0.5"), overwrite=True)
    assert [path.name for path in tmp_path.glob("*.png")] == [f"{photo.stem}_t0500.png"]
    again = degrade([str(photo)], tmp_path, tiny_model, parse_t("0.5"), overwrite=True)
    assert (again.known, again.pictures) == (1, 0)


def test_a_degrade_that_was_stopped_goes_on_and_never_mixes(
    tiny_model: DegFlow,
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = sorted(photo_folder.iterdir())[0]
    grid = parse_t("0.5,1")
    degrade([str(photo)], tmp_path / "whole", tiny_model, grid)
    write = files.write_bytes

    def stopping(path: Path, content: bytes) -> None:
        if path.name.endswith("t1000.png"):
            raise KeyboardInterrupt
        write(path, content)

    out = tmp_path / "lr"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(files, "write_bytes", stopping)
        degrade([str(photo)], out, tiny_model, grid)
    assert len(list(out.glob("*.png"))) == 1
    with pytest.raises(FileError, match="`overwrite`"):
        degrade([str(photo)], out, tiny_model, parse_t("0.2"))
    degrade([str(photo)], out, tiny_model, grid)
    for name in (f"{photo.stem}_t0500.png", f"{photo.stem}_t1000.png"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    (out / f"{photo.stem}_t0500.png").unlink()
    assert degrade([str(photo)], out, tiny_model, grid).pictures == 2


def test_no_file_of_another_is_overwritten_and_no_output_is_an_input(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path
) -> None:
    photo = sorted(photo_folder.iterdir())[0]
    (tmp_path / "a.png").write_bytes(photo.read_bytes())
    out = tmp_path / "lr"
    for _ in range(2):
        degrade([str(tmp_path)], out, tiny_model, parse_t("1"))
        assert [path.name for path in out.rglob("*.png")] == ["a_t1000.png"]
    with pytest.raises(UsageError, match="all photos lie in the folder to write to"):
        degrade([str(tmp_path)], tmp_path, tiny_model, parse_t("1"))
    mine = tmp_path / "other" / "a_t1000.png"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(FileError, match="is not empty and was not made by degflow-pipe"):
        degrade([str(tmp_path / "a.png")], mine.parent, tiny_model, parse_t("1"))
    assert mine.read_bytes() == b"mine"


def test_impossible_wishes_are_told(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path
) -> None:
    photo = sorted(photo_folder.iterdir())[0]
    for levels, options, why in (
        (parse_grid("0.2..0.5", 4), {}, "name levels, such as 0.2,0.8"),
        (parse_t("1"), {"sr_scale": 2.0}, "x2 cannot be had of a camera's level x4"),
    ):
        with pytest.raises(UsageError, match=why):
            degrade([str(photo)], tmp_path, tiny_model, levels, **options)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="`seed` must be 0 or more"):
        DegFlow.load("city100-compact", "cpu").degrade(torch.zeros(1, 3, 64, 64), [1.0], seed=-1)


@pytest.fixture
def degraded(tiny_model: DegFlow, tmp_path: Path) -> Path:
    """LR of three photos, one of them in a folder and one called `-`."""
    for i, name in enumerate(("-.png", "a b.png", "sub/c.png")):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        crop = data.astronaut()[64 * i : 64 * i + 64, :64]
        Image.fromarray(np.ascontiguousarray(crop)).save(tmp_path / "photos" / name)
    degrade([str(tmp_path / "photos")], tmp_path / "lr", tiny_model, parse_t("1"))
    return tmp_path / "lr"


def again(out: Path, model: DegFlow, overwrite: bool = False) -> tuple[int, int]:
    """Photos whose LR was made, and was there, when the same is asked once more."""
    photos = [str(out.parent / "photos")]
    found = degrade(photos, out, model, parse_t("1"), overwrite=overwrite)
    return found.photos, found.known


def test_what_is_done_stands_in_one_ledger(tiny_model: DegFlow, degraded: Path) -> None:
    (segment,) = (degraded / ".degflow").iterdir()
    assert sorted(Ledger(segment.parent).every_key()) == ["%2D", "a%20b", "sub/c"]
    before = segment.read_bytes()
    assert again(degraded, tiny_model) == (0, 3)
    assert segment.read_bytes() == before


def test_a_seed_of_any_length_is_known_again(model: DegFlow, tmp_path: Path) -> None:
    """A whole number in a JSON file has its limit."""
    photo = tmp_path / "a.png"
    Image.fromarray(data.astronaut()[:64, :64]).save(photo)
    for known in (0, 1):
        found = degrade([str(photo)], tmp_path / "lr", model, parse_t("1"), seed=10**30)
        assert found.known == known


def test_a_ledger_that_was_damaged_costs_what_it_lost(tiny_model: DegFlow, degraded: Path) -> None:
    (segment,) = (degraded / ".degflow").iterdir()
    whole = segment.read_bytes()
    for damaged in (whole.replace(b"a%20b", b"a%20c"), whole[:40] + whole[41:], b"[]\n" + whole):
        segment.write_bytes(damaged)
        with pytest.raises(FileError, match=r"00000000.jsonl is damaged at .*: say `overwrite`"):
            again(degraded, tiny_model)
        assert segment.read_bytes() == damaged
        made, known = again(degraded, tiny_model, overwrite=True)
        assert made <= 1 and made + known == 3
        assert again(degraded, tiny_model) == (0, 3)


STRANGE: list[Any] = [
    {},
    {"made": 1, "files": {}},
    {"made": {"levels": {"../x": 1}, "ending": "png"}, "files": {}},
    {"made": {"levels": ["t1000"], "ending": "png"}, "files": {}},
    {"made": {"levels": {"t1000": 1}, "ending": "../x"}, "files": {}},
    {"made": {"levels": {"t1000": 1}, "ending": "png"}, "files": []},
    {"made": {"levels": {"t1000": 1}, "ending": 1}, "files": {}},
]


@pytest.mark.parametrize("record", STRANGE)
def test_what_a_stranger_wrote_into_the_ledger_is_not_followed(
    tiny_model: DegFlow, degraded: Path, record: dict[str, Any]
) -> None:
    with Ledger(degraded / ".degflow", numbers=False) as ledger:
        ledger.write("sub/c", record)
    (degraded / "x").write_text("mine")
    with pytest.raises(FileError, match="is damaged at sub/c: say `overwrite`"):
        again(degraded, tiny_model)
    assert again(degraded, tiny_model, overwrite=True) == (1, 2)
    assert again(degraded, tiny_model) == (0, 3)
    assert (degraded / "x").read_text() == "mine"


def test_a_format_that_cannot_hold_the_picture_says_so() -> None:
    with pytest.raises(UsageError, match="`picture_format=webp`: a picture of 16400 x 8 pixels"):
        parse_format("webp").encode(np.zeros((8, 16400, 3), np.uint8))


def test_a_link_to_itself_is_one_photo_less(tiny_model: DegFlow, tmp_path: Path) -> None:
    Image.fromarray(data.astronaut()[:64, :64]).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("b.png")
    summary = degrade([str(tmp_path)], tmp_path / "out", tiny_model, parse_t("1"), workers=1)
    assert list(summary.skipped) == ["b.png"]
    assert summary.photos == 1


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


def test_a_name_too_long_for_what_is_added_is_skipped_and_told(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    longest = "a" * (255 - len(".png")) + ".png"
    for name in (longest, "b.png"):
        (photos / name).write_bytes((photo_folder / "astronaut.png").read_bytes())
    found = degrade([str(photos)], tmp_path / "lr", tiny_model, parse_t("1"))
    assert found.photos == 1 and list(found.skipped) == [longest]
    assert "too long" in found.skipped[longest]
    assert [path.name for path in (tmp_path / "lr").glob("*.png")] == ["b_t1000.png"]


@pytest.mark.parametrize("names", [("a.png", "A.png"), ("caf\u00e9.png", "cafe\u0301.jpg")])
def test_names_that_are_one_on_some_file_systems_are_refused(
    tiny_model: DegFlow, photo_folder: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    photos = tmp_path / "photos"
    for folder, name in zip(("x", "y"), names, strict=True):
        (photos / folder).mkdir(parents=True)
        (photos / folder / name).write_bytes((photo_folder / "astronaut.png").read_bytes())
    sources = [str(photos / "x"), str(photos / "y")]
    with pytest.raises(UsageError, match="under the same name, but for case") as caught:
        degrade(sources, tmp_path / "lr", tiny_model, parse_t("1"))
    assert all(name in str(caught.value) for name in names)
    assert not (tmp_path / "lr").exists()


def test_what_cannot_be_checked_for_damage_is_told(tiny_model: DegFlow, tmp_path: Path) -> None:
    picture = Image.fromarray(data.astronaut()[:128, :128])
    picture.save(tmp_path / "a.webp", lossless=True)
    picture.save(tmp_path / "b.png")
    found = degrade([str(tmp_path)], tmp_path / "lr", tiny_model, parse_t("1"))
    assert found.photos == 2 and found.to_dict()["unchecked"] == {"lossless WebP": 1}


@pytest.mark.parametrize("height", range(100, 105))
def test_a_photo_of_any_size_has_an_lr_at_any_scale(
    tiny_model: DegFlow, tmp_path: Path, height: int
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (height, 117, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    grid = parse_grid("x2.9", 4.0)
    degrade([str(tmp_path / "a.png")], tmp_path / "lr", tiny_model, grid, sr_scale=2.9)
    made = read_photo(tmp_path / "lr" / "a_x2.9_lr2.9.png").pixels
    assert made.shape == (int(height / 2.9), int(117 / 2.9), 3)
