"""doctor: a whole export of each trainer is fine, a copy that was broken on purpose is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest

from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.exports.doctor import doctor
from degflow_pipe.exports.export import export
from degflow_pipe.exports.trainers import TRAINERS

LR = {
    "basicsr": "lq/*.png",
    "neosr": "lq/*.png",
    "trainner-redux": "lq/*.png",
    "realesrgan": "lq/*.png",
    "kair": "L/*.png",
    "liif": "LR/**/*.png",
    "ddir": "Train/LR*/*.png",
    "interflow": "**/*_LR*.png",
    "realsr": "**/*_LR[0-9].png",
    "edsr": "LR_bicubic/X*/*.png",
    "rcan": "DIV2K/DIV2K_train_LR_bicubic/X*/*.png",
    "han": "TrainLR/X*/*.png",
    "metasr": "LR_bicubic/X*/*.png",
    "mmagic": "lq/*.png",
    "ciaosr": "lq/*.png",
    "hat": "lq/*.png",
    "mambair": "lq/*.png",
    "swinir": "L/*.png",
}
"""Where each trainer's LR lie. Those of one folder are of one size."""
WHOLE = {to: (2.0, 3.0, 4.0) for to in ("liif", "realsr", "edsr", "rcan", "han")}
"""Levels that a trainer of whole scales takes."""
WIDE = ("interflow", "realsr")
"""Trainers that crop more than 64 pixels."""


@pytest.fixture(scope="module")
def exported(
    shards: Path, wide: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """`exported(to)`: an export; made once, do not write to it."""
    made: dict[str, Path] = {}

    def make(to: str) -> Path:
        if to not in made:
            made[to] = tmp_path_factory.mktemp(to)
            source = wide if to in WIDE else shards
            export(source, to, made[to], scales=WHOLE.get(to), relative=True)
        return made[to]

    return make


@pytest.fixture
def copied(exported: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """`copied(to)`: a copy of an export, to be broken."""

    def copy(to: str) -> Path:
        for path in exported(to).rglob("*"):
            inside = path.relative_to(exported(to))
            if path.is_file() and not inside.name.startswith("."):
                target = tmp_path / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        return tmp_path

    return copy


def lr_files(folder: Path, to: str) -> list[Path]:
    found = sorted(folder.glob(LR[to]))
    assert len(found) >= 6, f"{to}: {sorted(p.as_posix() for p in folder.rglob('*'))[:20]}"
    return found


@pytest.mark.parametrize("to", sorted(TRAINERS))
def test_an_export_is_fine(exported: Callable[[str], Path], to: str) -> None:
    found = doctor(exported(to), to)
    assert found.findings == {}
    assert found.trainer == to and found.pairs == found.compared > 0


@pytest.mark.parametrize("to", sorted(LR))
def test_a_missing_lr_is_found(copied: Callable[[str], Path], to: str) -> None:
    folder = copied(to)
    lr_files(folder, to)[2].unlink()
    assert doctor(folder, to).findings


@pytest.mark.parametrize("to", sorted(LR))
def test_lr_of_other_patches_are_found(copied: Callable[[str], Path], to: str) -> None:
    """Names, counts and sizes are all right; the content has moved on by half of the files."""
    folder = copied(to)
    places: dict[Path, list[Path]] = {}
    for path in lr_files(folder, to):
        places.setdefault(path.parent, []).append(path)
    for paths in places.values():
        contents = [path.read_bytes() for path in paths]
        half = len(paths) // 2
        for path, content in zip(paths, contents[half:] + contents[:half], strict=True):
            path.write_bytes(content)
    found = doctor(folder, to).findings
    assert sum(finding.count for finding in found.values()) >= 3


@pytest.mark.parametrize("to", sorted(LR))
def test_a_wrong_ratio_is_found(copied: Callable[[str], Path], to: str) -> None:
    folder = copied(to)
    path = lr_files(folder, to)[1]
    small = cv2.resize(cv2.imread(str(path)), (13, 13))
    cv2.imwrite(str(path), small)
    assert doctor(folder, to).findings


@pytest.mark.parametrize("to", sorted(LR))
def test_a_picture_that_cannot_be_read_is_found(copied: Callable[[str], Path], to: str) -> None:
    folder = copied(to)
    lr_files(folder, to)[1].write_bytes(b"no picture")
    assert doctor(folder, to).findings


FOUR = {"edsr", "rcan", "han", "metasr"}
"""Trainers of which a picture with an alpha channel is an error: they keep what imageio reads."""
PILLOW = {"liif", "ddir", "interflow", "realsr"}
ALL_DEEP = {"kair", "swinir", "trainner-redux"}
"""Trainers that take 16 bits for 8 in colour too; OpenCV's default has 8, whatever is stored."""


@pytest.mark.parametrize("to", sorted(LR))
def test_channels_and_depth_that_a_reader_does_not_bring_to_rgb_are_found(
    copied: Callable[[str], Path], to: str
) -> None:
    folder = copied(to)
    alpha, grey, colour = lr_files(folder, to)[1:4]
    pixels = cv2.imread(str(alpha))
    cv2.imwrite(str(alpha), np.dstack([pixels, np.full_like(pixels[..., 0], 255)]))
    cv2.imwrite(str(colour), cv2.imread(str(colour)).astype(np.uint16) * 257)
    cv2.imwrite(str(grey), cv2.imread(str(grey), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 257)
    told = {kind: " ".join(one.examples) for kind, one in doctor(folder, to).findings.items()}

    def is_told(kind: str, path: Path) -> bool:
        return path.relative_to(folder).as_posix() in told.get(kind, "")

    assert is_told("channels", alpha) == (to in FOUR)
    assert is_told("depth", grey) == (to in FOUR | PILLOW | ALL_DEEP)
    assert is_told("depth", colour) == (to in ALL_DEEP)
    assert not is_told("depth", alpha)


def rewritten(folder: Path, change: Callable[[dict[bytes, bytes]], dict[bytes, bytes]]) -> None:
    """Change what the database of the LR holds."""
    with lmdb.open(str(folder / "lq.lmdb"), map_size=2**28) as base, base.begin(write=True) as txn:
        held = {bytes(key): bytes(value) for key, value in txn.cursor()}
        for key in held:
            txn.delete(key)
        for key, value in change(held).items():
            txn.put(key, value)


def one_less(held: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return dict(list(held.items())[1:])


def half_on(held: dict[bytes, bytes]) -> dict[bytes, bytes]:
    values, half = list(held.values()), len(held) // 2
    return dict(zip(held, values[half:] + values[:half], strict=True))


def smaller(held: dict[bytes, bytes]) -> dict[bytes, bytes]:
    key = next(iter(held))
    return {**held, key: cv2.imencode(".png", np.zeros((13, 13, 3), np.uint8))[1].tobytes()}


@pytest.mark.parametrize("change", [one_less, half_on, smaller])
def test_a_broken_database_is_found(copied: Callable[[str], Path], change: Any) -> None:
    folder = copied("basicsr-lmdb")
    rewritten(folder, change)
    assert doctor(folder, "basicsr-lmdb").findings


def test_names_that_the_list_has_and_the_folder_has_not(copied: Callable[[str], Path]) -> None:
    folder = copied("basicsr")
    with (folder / "meta_info.txt").open("a") as file:
        file.write("nobody.png (64,64,3)\n")
    found = doctor(folder, "basicsr").findings
    assert any("nobody" in text for finding in found.values() for text in finding.examples)


def test_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`to` must be basicsr"):
        doctor(tmp_path, "esrgan")
    with pytest.raises(UsageError, match="`sample` must be 0"):
        doctor(tmp_path, "kair", sample=-1)
    with pytest.raises(DataError, match="no such folder"):
        doctor(tmp_path / "nowhere", "kair")
