"""doctor on pixels: LR beside its HR, in other colours, of other tones, turned, and named apart."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe import export
from degflow_pipe.exports.doctor import doctor
from degflow_pipe.exports.likeness import judge, look_at
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.shard import shard

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def photos(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of patches of 128 pixels of three photos, at four scales. Do not write here."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee"):
        Image.fromarray(getattr(data, name)()[:384, :384]).save(folder / f"{name}.png")
    make_store(folder / "a.zarr", [str(folder)], scales="1.5,2,3,4", patch=128, stride=128)
    shard(folder / "a.zarr", folder / "shards", ShardSettings())
    return folder / "shards"


@pytest.fixture(scope="module")
def exported(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """`exported(scale)`: an export to neosr; made once, do not write to it."""
    made: dict[int, Path] = {}

    def make(scale: int) -> Path:
        if scale not in made:
            made[scale] = tmp_path_factory.mktemp(f"x{scale}")
            export(photos, "neosr", made[scale], scale=scale, relative=True)
        return made[scale]

    return make


def kinds(folder: Path, to: str = "neosr") -> set[str]:
    return set(doctor(folder, to).findings)


def changed(source: Path, out: Path, change: Change, every: int = 1) -> Path:
    """A copy of an export in which every so many LR were changed."""
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(".*"))
    for path in sorted((out / "lq").iterdir())[every // 2 :: every]:
        cv2.imwrite(str(path), np.ascontiguousarray(change(cv2.imread(str(path)))))
    return out


def shifted(y: int, x: int) -> Change:
    """Moved by whole pixels of the LR; at the edge pixels are repeated."""

    def change(picture: np.ndarray) -> np.ndarray:
        margin = max(abs(y), abs(x))
        wide = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        height, width = picture.shape[:2]
        return wide[margin - y : margin - y + height, margin - x : margin - x + width]

    return change


def powered(gamma: float) -> Change:
    return lambda picture: (255 * (picture / 255.0) ** gamma).round().astype(np.uint8)


def order(channels: list[int]) -> Change:
    return lambda picture: picture[..., channels]


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_our_own_pairs_are_fine_at_every_scale(exported: Callable[[int], Path], scale: int) -> None:
    found = doctor(exported(scale), "neosr")
    assert found.findings == {} and found.compared == found.pairs >= 100


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("y, x", [(0, 2), (2, 0), (3, -3), (0, 5), (-8, 0)])
def test_lr_that_all_lie_beside_are_found(
    exported: Callable[[int], Path], tmp_path: Path, scale: int, y: int, x: int
) -> None:
    assert "shift" in kinds(changed(exported(scale), tmp_path / "out", shifted(y, x)))


def test_what_all_lr_lie_beside_is_told_once(
    exported: Callable[[int], Path], tmp_path: Path
) -> None:
    """Those that lie elsewhere than all others are told beside it."""
    folder = changed(exported(4), tmp_path / "out", shifted(0, 1))
    first, *others = doctor(folder, "neosr").findings["shift"].examples
    assert re.fullmatch(r"LR lie (3\.\d|4\.\d) pixels of HR beside HR in all", first)
    assert not others
    odd = sorted((folder / "lq").iterdir())[13::27]
    for path in odd:
        cv2.imwrite(str(path), shifted(0, -3)(cv2.imread(str(path))))
    first, *others = doctor(folder, "neosr").findings["shift"].examples
    assert "in all" in first and others
    assert all(any(path.name in text for path in odd) for text in others)


def test_half_of_the_lr_that_lie_beside_are_named(
    exported: Callable[[int], Path], tmp_path: Path
) -> None:
    """The median of all is a place where none, or not all of them, lie."""
    folder = changed(exported(4), tmp_path / "out", shifted(0, 1), every=2)
    found = doctor(folder, "neosr").findings["shift"]
    names = {path.name for path in sorted((folder / "lq").iterdir())[1::2]}
    assert found.count >= len(names) / 2
    assert all(any(name in text for name in names) for text in found.examples)


@pytest.mark.parametrize("pixels", [2, 4, 8])
def test_some_lr_that_lie_beside_are_found(
    exported: Callable[[int], Path], tmp_path: Path, pixels: int
) -> None:
    """One in 27: most of those that are far off, and none of the others."""
    folder = changed(exported(1), tmp_path / "out", shifted(0, pixels), every=27)
    names = {path.name for path in sorted((folder / "lq").iterdir())[13::27]}
    found = doctor(folder, "neosr").findings
    told = found["shift"].examples if "shift" in found else []
    assert len(told) >= (1 if pixels == 2 else len(names) / 2)
    assert all(any(name in text for name in names) for text in told)


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("channels", [[2, 1, 0], [1, 0, 2], [1, 2, 0]])
@pytest.mark.parametrize("every", [1, 27])
def test_other_orders_of_the_colours_are_found(
    exported: Callable[[int], Path], tmp_path: Path, scale: int, channels: list[int], every: int
) -> None:
    assert "colour" in kinds(changed(exported(scale), tmp_path / "out", order(channels), every))


def grey(picture: np.ndarray) -> np.ndarray:
    return np.repeat(picture.mean(axis=2, keepdims=True).round().astype(np.uint8), 3, axis=2)


@pytest.mark.parametrize("side, other", [("lq", "gt"), ("gt", "lq")])
def test_a_grey_picture_beside_one_with_colours_is_found(
    exported: Callable[[int], Path], tmp_path: Path, side: str, other: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(exported(4), out, ignore=shutil.ignore_patterns(".*"))
    path = sorted((out / side).iterdir())[0]
    cv2.imwrite(str(path), grey(cv2.imread(str(path))))
    (told,) = doctor(out, "neosr").findings["grey"].examples
    assert told == f"{side}/{path.name} has no colour, and {other}/{path.name} has"


def test_pairs_that_are_grey_on_both_sides_are_fine() -> None:
    hr = grey(data.astronaut()[:256, :256])
    lr = cv2.resize(hr, (64, 64), interpolation=cv2.INTER_AREA)
    assert judge([look_at("hr", "lr", hr, lr)] * 5) == []


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize(
    "gamma, every", [(0.45, 1), (2.2, 1), (0.8, 1), (1.2, 1), (2.2, 27), (0.45, 27)]
)
def test_another_gamma_is_found(
    exported: Callable[[int], Path], tmp_path: Path, scale: int, gamma: float, every: int
) -> None:
    assert "tone" in kinds(changed(exported(scale), tmp_path / "out", powered(gamma), every))


def test_another_contrast_is_found(exported: Callable[[int], Path], tmp_path: Path) -> None:
    """The range of video, 16 to 235."""

    def narrow(picture: np.ndarray) -> np.ndarray:
        return (16 + picture * (219 / 255)).astype(np.uint8)

    assert "tone" in kinds(changed(exported(2), tmp_path / "out", narrow))


@pytest.mark.parametrize("turn", [lambda p: p[:, ::-1], lambda p: p[::-1], lambda p: np.rot90(p)])
def test_lr_that_are_turned_are_found(
    exported: Callable[[int], Path], tmp_path: Path, turn: Change
) -> None:
    assert kinds(changed(exported(2), tmp_path / "out", turn)) & {"content", "shift"}


# Sizes and pixels as the reader turns them


def pair_folders(folder: Path, to: str, orientation: int | None, stored: Change) -> Path:
    """Twelve pairs, LR of half the HR's size, 96 x 64, as JPEG with an EXIF orientation."""
    hr, lr = ("HR", "LR") if to == "liif" else ("H", "L") if to == "kair" else ("gt", "lq")
    for place in (hr, lr):
        (folder / place).mkdir(parents=True)
    photo = data.astronaut()
    for i in range(12):
        picture = photo[i * 32 : i * 32 + 128, i * 20 : i * 20 + 192]
        small = cv2.resize(picture, (96, 64), interpolation=cv2.INTER_AREA)
        Image.fromarray(picture).save(folder / hr / f"{i:03d}.jpg", quality=95)
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        image = Image.fromarray(np.ascontiguousarray(stored(small)))
        image.save(folder / lr / f"{i:03d}.jpg", quality=95, exif=exif)
    return folder


def as_it_is(picture: np.ndarray) -> np.ndarray:
    return picture


@pytest.mark.parametrize("to", ["basicsr", "neosr", "trainner-redux", "kair", "liif"])
def test_sizes_are_those_after_the_turn_that_a_reader_makes(tmp_path: Path, to: str) -> None:
    """BasicSR and neosr read with OpenCV's default, which turns; the others do not turn."""
    turns = to in ("basicsr", "neosr")
    upright = pair_folders(tmp_path / "a", to, None, as_it_is)
    assert kinds(upright, to) == set()
    # Stored turned, with the EXIF that turns it back.
    lying = pair_folders(tmp_path / "b", to, 6, lambda picture: np.rot90(picture))
    assert ("ratio" in kinds(lying, to)) == (not turns)
    if turns:
        assert kinds(lying, to) == set()
    # Stored upright, with an EXIF that turns it over.
    over = pair_folders(tmp_path / "c", to, 6, as_it_is)
    assert ("ratio" in kinds(over, to)) == turns
    # By half a turn sizes stay, and the pixels tell.
    half = pair_folders(tmp_path / "d", to, 3, as_it_is)
    assert ("content" in kinds(half, to)) == turns


# LR named apart, as 0001x4.png for 0001.png


def named_apart(folder: Path, to: str, suffix: str) -> Path:
    lr = {"liif": "LR", "kair": "L"}.get(to, "lq")
    pair_folders(folder, to, None, as_it_is)
    for path in sorted((folder / lr).iterdir()):
        path.rename(path.with_stem(f"{path.stem}{suffix}"))
    return folder


@pytest.mark.parametrize("suffix", ["x2", "_x2", "x2.5", "_lr", "_LR2"])
@pytest.mark.parametrize("to", ["basicsr", "neosr", "trainner-redux"])
def test_lr_named_apart_are_paired_and_named(tmp_path: Path, to: str, suffix: str) -> None:
    found = doctor(named_apart(tmp_path, to, suffix), to)
    assert found.pairs == 12 and set(found.findings) == {"names"}
    text = found.findings["names"].examples[0]
    wanted = (
        f"rename the LR without {suffix}" if to == "neosr" else f'filename_tmpl: "{{}}{suffix}"'
    )
    assert wanted in text


@pytest.mark.parametrize("to", ["basicsr", "trainner-redux"])
def test_what_the_option_file_says_of_names_is_heeded(tmp_path: Path, to: str) -> None:
    folder = named_apart(tmp_path / "data", to, "x2")
    (tmp_path / "o.yml").write_text('datasets: {train: {filename_tmpl: "{}x2"}}\n')
    found = doctor(folder, to, options=tmp_path / "o.yml")
    assert found.pairs == 12 and "names" not in found.findings
    assert not {"no LR", "no HR"} & set(found.findings)
    for template in ("x2", "{}{}", "../{}", "{0.__class__}", "{}/{}", "3"):
        (tmp_path / "o.yml").write_text(f'datasets: {{train: {{filename_tmpl: "{template}"}}}}\n')
        assert doctor(folder, to, options=tmp_path / "o.yml").findings


@pytest.mark.parametrize("to", ["kair", "liif"])
def test_lr_named_apart_do_not_matter_where_places_pair(tmp_path: Path, to: str) -> None:
    folder = named_apart(tmp_path, to, "x2")
    found = doctor(folder, to)
    assert found.pairs == 12 and found.findings == {}
    lr = sorted((folder / ("LR" if to == "liif" else "L")).iterdir())
    lr[-1].rename(lr[0].with_name("000a.jpg"))
    (told,) = doctor(folder, to).findings["order"].examples
    assert told.startswith(f"{lr[0].parent.name}/000a.jpg has the name of no HR")


# Formats


@pytest.mark.parametrize("quality", [75, 95, 100])
def test_jpeg_keeps_colours_at_full_resolution(quality: int) -> None:
    """Red lines of one pixel on blue, which halved chroma makes purple."""
    chart = np.zeros((64, 64, 3), np.uint8)
    chart[:, ::2], chart[:, 1::2] = (255, 0, 0), (0, 0, 255)
    decoded = cv2.imdecode(
        np.frombuffer(parse_format(f"jpeg:{quality}").encode(chart), np.uint8), cv2.IMREAD_COLOR
    )
    off: Any = np.abs(decoded[..., ::-1].astype(int) - chart)
    assert off.mean() < 12
