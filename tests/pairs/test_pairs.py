"""Scenes of aligned pictures, and the crops that are drawn from them."""

from __future__ import annotations

import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from degflow_pipe.errors import DataError, PhotoError
from degflow_pipe.pairs.pairs import Pairs, find_scenes
from degflow_pipe.training.recipe import DataSettings


def data_of(folder: Path, validate: str, files: tuple[str, str]) -> DataSettings:
    for name in ("001", "002", "003", "061", "070", "71"):
        for pattern in files:
            path = folder / pattern.replace("*", name)
            path.parent.mkdir(exist_ok=True)
            path.touch()
    levels = [{"name": f"L{i}", "t": float(i), "files": pattern} for i, pattern in enumerate(files)]
    return DataSettings(4.0, "", "", levels=levels, validate=validate)


@pytest.mark.parametrize(
    "validate, held_out",
    [
        ("061-070", ["061", "070"]),
        ("002", ["002"]),
        ("2", None),
        ("001, 060-71", ["001", "061", "070", "71"]),
        ("1-2", ["001", "002"]),
    ],
)
def test_scenes_are_held_out_by_name_and_by_ranges_of_numbers(
    tmp_path: Path, validate: str, held_out: list[str] | None
) -> None:
    settings = data_of(tmp_path, validate, ("HR/img_*.png", "LR/*_x4.png"))
    if held_out is None:
        with pytest.raises(DataError, match="leaves 6 scenes for training and 0"):
            find_scenes(settings, tmp_path)
        return
    train, validation = find_scenes(settings, tmp_path)
    assert [scene.name for scene in validation] == held_out
    assert sorted([s.name for s in train] + held_out) == ["001", "002", "003", "061", "070", "71"]
    scene = train[0]
    assert scene.files == (
        tmp_path / "HR" / f"img_{scene.name}.png",
        tmp_path / "LR" / f"{scene.name}_x4.png",
    )


def hr_and_lr() -> DataSettings:
    """Pairs such as `a_hr.png`, `a_lr.png`, of which scene b is held out."""
    levels = [
        {"name": "HR", "t": 0.0, "files": "*_hr.png"},
        {"name": "LR", "t": 1.0, "files": "*_lr.png"},
    ]
    return DataSettings(4.0, "", "", levels=levels, validate="b")


@pytest.fixture
def numbered(tmp_path: Path) -> Pairs:
    """One scene of 64 x 72 whose second level is the negative of the first."""
    hr = np.random.default_rng(0).integers(0, 256, (64, 72, 3), dtype=np.uint8)
    Image.fromarray(hr).save(tmp_path / "a_hr.png")
    Image.fromarray(255 - hr).save(tmp_path / "a_lr.png")
    shutil.copy(tmp_path / "a_hr.png", tmp_path / "b_hr.png")
    shutil.copy(tmp_path / "a_lr.png", tmp_path / "b_lr.png")
    settings = hr_and_lr()
    return Pairs(find_scenes(settings, tmp_path)[0], settings)


def test_crops_are_aligned_at_all_levels_and_repeat(numbered: Pairs) -> None:
    crops = numbered.crops(np.random.default_rng(1), 8, 64)
    assert crops.shape == (2, 8, 3, 64, 64)
    assert crops.dtype == torch.float32
    assert (float(crops.min()), float(crops.max())) == (-1.0, 1.0)
    assert torch.allclose(crops[1], -crops[0], atol=1e-6)
    assert torch.equal(crops, numbered.crops(np.random.default_rng(1), 8, 64))
    assert not torch.equal(crops, numbered.crops(np.random.default_rng(2), 8, 64))


def test_crops_come_from_everywhere_in_all_eight_orientations(numbered: Pairs) -> None:
    hr = torch.from_numpy(numbered.pictures(numbered.scenes[0])[0]).permute(2, 0, 1)
    places = {}
    for x in range(9):
        window = hr[:, :, x : x + 64]
        for flip in (False, True):
            for turns in range(4):
                turned = torch.rot90(window.flip(2) if flip else window, turns, (1, 2))
                places[turned.numpy().tobytes()] = (x, flip, turns)
    assert len(places) == 72
    crops = numbered.crops(np.random.default_rng(0), 400, 64)[0]
    back = (crops.add(1).mul(127.5)).round().to(torch.uint8)
    found = [places[crop.numpy().tobytes()] for crop in back]
    assert {x for x, _, _ in found} == set(range(9))
    assert len({(flip, turns) for _, flip, turns in found}) == 8


@pytest.mark.parametrize("wrong", ["other", "turned", "flat"])
def test_an_lr_of_something_else_is_refused_by_name(tmp_path: Path, wrong: str) -> None:
    hr = data.astronaut()[:256, :256]
    lrs = {
        "other": data.chelsea()[:256, :256],
        "turned": np.ascontiguousarray(hr[::-1, ::-1]),
        "flat": np.full_like(hr, 99),
    }
    for scene in "ab":
        Image.fromarray(hr).save(tmp_path / f"{scene}_hr.png")
        Image.fromarray(lrs[wrong] if scene == "a" else hr).save(tmp_path / f"{scene}_lr.png")
    settings = hr_and_lr()
    (train,), (held_out,) = find_scenes(settings, tmp_path)
    with pytest.raises(DataError, match=r"a_lr\.png (does not show|lies)"):
        Pairs([train], settings).check(train)
    Pairs([held_out], settings).check(held_out)


@pytest.mark.parametrize("noise", [0, 4])
def test_pairs_whose_names_are_swapped_are_refused(tmp_path: Path, noise: int) -> None:
    """Whatever the noise of the LR, which is fine detail too."""
    hr = data.astronaut()[:256, :256]
    lr = cv2.GaussianBlur(hr, (0, 0), 1.2) + np.random.default_rng(0).normal(0, noise, hr.shape)
    lr = np.clip(np.rint(lr), 0, 255).astype(np.uint8)
    for scene, pictures in (("a", (lr, hr)), ("b", (hr, lr))):
        for name, picture in zip(("hr", "lr"), pictures, strict=True):
            Image.fromarray(picture).save(tmp_path / f"{scene}_{name}.png")
    settings = hr_and_lr()
    (swapped,), (right,) = find_scenes(settings, tmp_path)
    with pytest.raises(DataError, match=r"a_lr\.png is sharper than its HR .*a_hr\.png.* swapped"):
        Pairs([swapped], settings).check(swapped)
    Pairs([right], settings).check(right)


def test_to_evaluate_needs_no_scene_to_train_on(tmp_path: Path) -> None:
    settings = data_of(tmp_path, "1-100", ("HR/*.png", "LR/*.png"))
    with pytest.raises(DataError, match="leaves 0 scenes for training"):
        find_scenes(settings, tmp_path)
    train, held_out = find_scenes(settings, tmp_path, to_train=False)
    assert not train and len(held_out) == 6


@pytest.mark.parametrize("enlarge", ["refuse", "bicubic"])
@pytest.mark.parametrize("level", ["hr", "lr"])
def test_pictures_that_cannot_be_a_pair_are_refused_by_their_headers(
    level: str, enlarge: str, numbered: Pairs
) -> None:
    """Decoding the one that claims a terabyte would fail in another way."""
    scene = numbered.scenes[0]
    path = scene.files[level == "lr"]
    assert path is not None
    claim = b"IHDR" + struct.pack(">IIBBBBB", 10**6, 10**6, 8, 2, 0, 0, 0)
    png = path.read_bytes()
    path.write_bytes(png[:12] + claim + struct.pack(">I", zlib.crc32(claim)) + png[33:])
    pairs = Pairs([scene], replace(numbered.data, enlarge=enlarge))
    if enlarge == "bicubic" and level == "hr":
        error, says = PhotoError, "more than the limit"
    else:
        error, says = DataError, "1000000 x 1000000.*pairs must have one size"
    with pytest.raises(error, match=says):
        pairs.check(scene)
