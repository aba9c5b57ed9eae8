"""One HR for many factors (EDSR, RCAN, HAN, Meta-SR), and mmagic's list: names, sizes, breakage."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degflow_pipe import UsageError, export
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.exports.doctor import doctor
from degflow_pipe.exports.findings import Report
from degflow_pipe.exports.settings import Settings, _plain_python, read_settings
from degflow_pipe.exports.trainers import find_trainer
from degflow_pipe.levels import parse_scales
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.shard import shard

MANY = ("edsr", "rcan", "han", "metasr")
PLACES = {
    "edsr": ("HR/{:04d}.png", "LR_bicubic/X{s:g}/{:04d}x{s:g}.png"),
    "rcan": (
        "DIV2K/DIV2K_train_HR/{:04d}.png",
        "DIV2K/DIV2K_train_LR_bicubic/X{s:g}/{:04d}x{s:g}.png",
    ),
    "han": ("TrainHR/{:04d}_HR.png", "TrainLR/X{s:g}/{:04d}_LR.png"),
    "metasr": ("HR/{:04d}.png", "LR_bicubic/X{s:.2f}/{:04d}.png"),
}


def pictures(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


def side(path: Path) -> int:
    return int(cv2.imread(str(path)).shape[0])


@pytest.mark.parametrize("to", MANY)
def test_one_hr_has_an_lr_of_every_factor(shards: Path, tmp_path: Path, to: str) -> None:
    done = export(shards, to, tmp_path, scales=[2, 3, 4])
    hr, lr = PLACES[to]
    numbers = range(1, done.patches + 1)
    wanted = {hr.format(n) for n in numbers}
    wanted |= {lr.format(n, s=s) for n in numbers for s in (2.0, 3.0, 4.0)}
    assert pictures(tmp_path) == wanted
    for s in (2, 3, 4):
        assert side(tmp_path / lr.format(1, s=float(s))) == 64 // s
    assert side(tmp_path / hr.format(1)) == 64
    assert doctor(tmp_path, to).ratios == {"2": 6, "3": 6, "4": 6}
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert {tuple(row["hr_size"]) for row in rows} == {(64, 64)}


def test_an_lr_lies_where_the_reader_cuts_hr(shards: Path, tmp_path: Path) -> None:
    """An LR at x3 shows the top left 63 of 64 pixels: as an export at x3 alone has it."""
    export(shards, "edsr", tmp_path / "many", scales=[2, 3, 4])
    export(shards, "kair", tmp_path / "one", scales=[3], scale=3)
    alone = sorted((tmp_path / "one" / "L").iterdir())
    for number, path in enumerate(alone, 1):
        ours = tmp_path / "many" / f"LR_bicubic/X3/{number:04d}x3.png"
        assert np.array_equal(cv2.imread(str(ours)), cv2.imread(str(path)))


@pytest.mark.parametrize("to", MANY)
def test_levels_at_one_scale_have_a_number_each(shards: Path, tmp_path: Path, to: str) -> None:
    done = export(shards, to, tmp_path, scale=4)
    assert done.pairs == 36 and done.linked == 30
    hr, lr = PLACES[to]
    assert pictures(tmp_path) == {name.format(n, s=4.0) for n in range(1, 37) for name in (hr, lr)}
    found = doctor(tmp_path, to)
    assert found.findings == {} and found.ratios == {"4": 36}


@pytest.mark.parametrize(
    "to, scale, step", [("edsr", 2.0, 1), ("edsr", 3.0, 1), ("metasr", 1.5, 2), ("metasr", 3.5, 2)]
)
def test_what_the_reader_cuts_is_one_place(
    wide: Path, tmp_path: Path, to: str, scale: float, step: int
) -> None:
    """An LR crop, and HR from `scale` times its place on, as the readers cut them."""
    export(wide, to, tmp_path, scales=[scale, 4])
    hr, lr = (
        cv2.imread(str(tmp_path / place.format(2, s=scale)), cv2.IMREAD_GRAYSCALE)
        for place in PLACES[to]
    )
    side, last = 24, lr.shape[0] - 24
    for y, x in ((0, 0), (last // step * step, 0), (last // step * step,) * 2):
        small = lr[y : y + side, x : x + side].astype(np.float32)
        rows, columns = (slice(int(scale * n), int(scale * (n + side))) for n in (y, x))
        large = hr[rows, columns]
        assert large.shape == (scale * side, scale * side)
        like = cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
        (dx, dy), _ = cv2.phaseCorrelate(like - like.mean(), small - small.mean())
        assert np.hypot(dx, dy) < 0.3, "pixels of LR"


def test_meta_sr_has_scales_in_tenths(shards: Path, tmp_path: Path) -> None:
    export(shards, "metasr", tmp_path)
    folders = sorted(path.name for path in (tmp_path / "LR_bicubic").iterdir())
    assert folders == ["X1.50", "X2.00", "X2.50", "X3.00", "X3.50", "X4.00"]
    assert doctor(tmp_path, "metasr").findings == {}


@pytest.fixture(scope="module")
def small(
    make_store: Callable[..., Path],
    tiny_model: DegFlow,
    photo_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Shards whose LR were made at a quarter of the HR."""
    folder = tmp_path_factory.mktemp("small")
    make_store(folder / "a.zarr", [str(photo_folder / "chelsea.jpg")], None)
    generate(folder / "a.zarr", tiny_model, parse_scales("2,3", 4.0), sr_scale=4.0)
    shard(folder / "a.zarr", folder / "shards", ShardSettings())
    return folder / "shards"


@pytest.mark.parametrize("to", [*MANY, "mmagic", "ciaosr", "hat", "mambair", "swinir"])
def test_lr_that_were_made_small_have_their_scale(small: Path, tmp_path: Path, to: str) -> None:
    done = export(small, to, tmp_path)
    assert done.scales == [4.0] * len(done.t)
    assert done.warnings == []
    found = doctor(tmp_path, to)
    assert found.findings == {} and set(found.ratios) == {"4"}


def test_an_hr_that_levels_share_is_the_largest_of_theirs(native: Path, tmp_path: Path) -> None:
    """The shards crop the HR of each level to a multiple of its scale."""
    made = export(native, "metasr", tmp_path)
    found = doctor(tmp_path, "metasr")
    assert found.fine and found.pairs == made.pairs


def test_levels_of_unequal_numbers_are_refused(native: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"edsr knows no scale 1\.5, that of the pictures of"):
        export(native, "edsr", tmp_path)
    with pytest.raises(UsageError, match="edsr wants LR of 1/4 of the HR"):
        export(native, "edsr", tmp_path, scale=4)


def test_lines_name_the_folder_and_what_is_in_it(shards: Path, tmp_path: Path) -> None:
    for to in MANY:
        done = export(shards, to, tmp_path / to, scales=[2, 4])
        words = shlex.split(Path(done.options).read_text().replace("\\\n", ""), comments=True)
        said = dict(zip(words[2::2], words[3::2], strict=True))
        assert words[:2] == ["python", "main.py"]
        assert Path(said["--dir_data"]) == tmp_path / to
        at_once = {"edsr": "MDSR", "metasr": "metardn"}
        assert [float(s) for s in said["--scale"].split("+")] == ([2, 4] if to in at_once else [4])
        assert said["--model"] == at_once.get(to, to.upper())


def test_several_factors_of_a_network_of_one_are_found(shards: Path, tmp_path: Path) -> None:
    options = Path(export(shards, "rcan", tmp_path / "out", scales=[2, 4]).options)
    options.write_text(options.read_text().replace("--scale 4", "--scale 2+4"))
    (said,) = doctor(tmp_path / "out", "rcan").findings["options"].examples
    assert "RCAN is trained at the first factor" in said


# What is broken


def moved(path: Path) -> None:
    """Shift a picture by 3 pixels."""
    cv2.imwrite(str(path), np.roll(cv2.imread(str(path)), (3, 3), axis=(0, 1)))


BROKEN_LR = [*MANY, "mmagic", "ciaosr", "hat", "mambair", "swinir"]


@pytest.fixture(scope="module")
def exported(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def make(to: str) -> Path:
        out = tmp_path_factory.mktemp(to)
        scale = None if to in MANY else 2
        export(wide, to, out, scales=[2, 4], scale=scale, relative=True)
        return out

    return make


def lr_of(folder: Path, to: str) -> list[Path]:
    place = find_trainer(to).places[1]
    return sorted((folder / place).rglob("*.png"))


@pytest.mark.parametrize("to", BROKEN_LR)
def test_shifted_pairs_are_found(copied: Callable[[str], Path], to: str) -> None:
    folder = copied(to)
    assert doctor(folder, to).findings == {}
    for path in lr_of(folder, to):
        moved(path)
    assert "shift" in doctor(folder, to).findings


@pytest.mark.parametrize("to", BROKEN_LR)
def test_swapped_pairs_are_found(copied: Callable[[str], Path], to: str) -> None:
    folder = copied(to)
    a, b = (path for path in lr_of(folder, to)[::5][:2])
    data = a.read_bytes(), b.read_bytes()
    a.write_bytes(data[1])
    b.write_bytes(data[0])
    assert doctor(folder, to).findings


@pytest.mark.parametrize(
    "to, change, finding",
    [
        ("edsr", lambda f: (f / "HR/0003.png").unlink(), "no HR"),
        ("edsr", lambda f: (f / "LR_bicubic/X4/0003x4.png").unlink(), "no LR"),
        ("edsr", lambda f: (f / "LR_bicubic/X4").rename(f / "LR_bicubic/x4"), "structure"),
        ("edsr", lambda f: (f / "HR/0003.png").rename(f / "HR/0003.PNG"), "names"),
        ("rcan", lambda f: (f / PLACES["rcan"][0].format(3)).unlink(), "numbering"),
        ("han", lambda f: (f / "TrainHR/0003_HR.png").rename(f / "TrainHR/0003.png"), "names"),
        ("metasr", lambda f: (f / "LR_bicubic/X4.00").rename(f / "LR_bicubic/X4"), "structure"),
        ("mmagic", lambda f: (f / "meta_info.txt").unlink(), "list"),
        ("mmagic", lambda f: (f / "meta_info.txt").write_text("a.png (1,1,3)\n"), "list"),
        ("mmagic", lambda f: (f / "meta_info.txt").write_text("../a.png (1,1,3)\n"), "list"),
        ("hat", lambda f: (f / "meta_info.txt").unlink(), "list"),
    ],
)
def test_what_the_reader_would_not_find(
    copied: Callable[[str], Path], to: str, change: Callable[[Path], Any], finding: str
) -> None:
    folder = copied(to)
    change(folder)
    assert finding in doctor(folder, to).findings


def jpeg(path: Path) -> None:
    cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path)))
    path.unlink()


@pytest.mark.parametrize(
    "to, place",
    [
        ("edsr", "HR/0003.png"),
        ("edsr", "LR_bicubic/X4/0003x4.png"),
        ("han", "TrainHR/0003_HR.png"),
        ("han", "TrainLR/X2/0003_LR.png"),
    ],
)
def test_a_picture_of_another_kind_is_told_once(
    copied: Callable[[str], Path], to: str, place: str
) -> None:
    folder = copied(to)
    jpeg(folder / place)
    found = doctor(folder, to).findings
    (text,) = found.pop("names").examples
    assert not found
    assert text == f"{Path(place).with_suffix('.jpg')} is no .png, and not read: save it as .png"


@pytest.mark.parametrize("side", [0, 1])
def test_a_pair_of_two_kinds_is_told_once(copied: Callable[[str], Path], side: int) -> None:
    folder = copied("hat")
    (folder / "meta_info.txt").unlink()
    for name in ("train_hat.yml", "export.json", ".degflow/export.json"):
        (folder / name).unlink()
    place = find_trainer("hat").places[side]
    path = sorted((folder / place).iterdir())[2]
    jpeg(path)
    found = doctor(folder, "hat").findings
    (text,) = found.pop("names").examples
    assert not found and f"{place}/{path.stem}.jpg" in text and "have other endings" in text


@pytest.mark.parametrize("to", ["edsr", "han", "metasr", "swinir", "hat", "mmagic"])
def test_what_a_desktop_leaves_is_no_finding(copied: Callable[[str], Path], to: str) -> None:
    folder = copied(to)
    for place in {path.parent for path in folder.rglob("*.png")} | {folder}:
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (place / name).write_bytes(b"\0")
    assert doctor(folder, to).fine


def test_what_the_folder_is_instead_is_told(copied: Callable[[str], Path]) -> None:
    (text,) = doctor(copied("han"), "edsr").findings["pairs"].examples
    assert text.endswith("it was made for han: name that, or export the shards to edsr")


def test_nothing_is_told_of_what_comes_of_a_wrong_factor(copied: Callable[[str], Path]) -> None:
    folder = copied("edsr")
    two, four = (folder / f"LR_bicubic/X{factor}" for factor in (2, 4))
    shutil.rmtree(two)
    shutil.copytree(four, two)
    for path in two.iterdir():
        path.rename(path.with_name(path.name.replace("x4", "x2")))
    found = doctor(folder, "edsr")
    assert set(found.findings) == {"ratio"} and found.findings["ratio"].cure
    assert found.compared == found.pairs


def test_an_lr_of_another_factor_is_found(copied: Callable[[str], Path]) -> None:
    folder = copied("edsr")
    shutil.copy(folder / "LR_bicubic/X2/0002x2.png", folder / "LR_bicubic/X4/0002x4.png")
    shutil.copy(folder / "LR_bicubic/X4/0003x4.png", folder / "LR_bicubic/X2/0003x2.png")
    assert doctor(folder, "edsr").findings["ratio"].count == 2


@pytest.mark.parametrize("to", ["edsr", "rcan", "han"])
def test_an_lr_of_another_size_is_found(copied: Callable[[str], Path], to: str) -> None:
    """It would be laid upon the HR from the top left on, and nothing be said."""
    folder = copied(to)
    path = lr_of(folder, to)[3]
    height, width = cv2.imread(str(path)).shape[:2]
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (width - 1, height - 1)))
    (text,) = doctor(folder, to).findings["ratio"].examples
    assert path.name in text and f"most LR of such an HR are {height} x {width}" in text


@pytest.mark.parametrize("to", ["hat", "mambair", "mmagic", "ciaosr"])
def test_pictures_that_the_list_leaves_out_or_has_twice_are_found(
    copied: Callable[[str], Path], to: str
) -> None:
    folder = copied(to)
    lines = (folder / "meta_info.txt").read_text().splitlines()
    (folder / "meta_info.txt").write_text("\n".join([*lines[:-1], lines[0]]) + "\n")
    found = doctor(folder, to).findings["list"]
    left_out, twice = lines[-1].split(" ")[0], lines[0].split(" ")[0]
    assert found.count == 2
    assert any(f"{left_out} is not in meta_info.txt" in text for text in found.examples)
    assert any(f"'{twice}' is named twice" in text for text in found.examples)


def test_swinir_names_the_picture_that_is_alone(copied: Callable[[str], Path]) -> None:
    folder = copied("swinir")
    gone = lr_of(folder, "swinir")[2]
    gone.unlink()
    found = doctor(folder, "swinir").findings
    assert found["no LR"].examples == [f"H/{gone.name} has no LR"] and "counts" in found


def test_crops_for_swinir_are_whole_windows(copied: Callable[[str], Path]) -> None:
    folder = copied("swinir")
    options = folder / "train_swinir.json"
    told = json.loads(options.read_text().partition("\n")[2])
    side = told["datasets"]["train"]["H_size"]
    assert told["netG"]["img_size"] == side // 2 and side % 16 == 0
    options.write_text(options.read_text().replace(f'"H_size": {side}', f'"H_size": {side - 4}'))
    (text,) = doctor(folder, "swinir").findings["options"].examples
    assert "swinir at factor 2 takes LR of a multiple of 8 pixels" in text


def test_meta_sr_is_tested_as_seldom_as_it_has_batches(copied: Callable[[str], Path]) -> None:
    folder = copied("metasr")
    assert "--test_every 1000" in (folder / "train_metasr.sh").read_text()
    options = folder / "train_metasr.sh"
    said = options.read_text().replace("--test_every 1000", "--test_every 1")
    options.write_text(re.sub(r"--batch_size \d+", "--batch_size 2", said))
    (text,) = doctor(folder, "metasr").findings["counts"].examples
    assert text.startswith("test_every is 1, and ")


def test_a_python_file_is_read_and_never_run() -> None:
    text = """
import os
root = 'data'
model = dict(type='A', sizes=[1, 2], deep=dict(root=root))
run = os.system('false')
pair = {'a': (1, 2.5), **model}
"""
    found = _plain_python(text)
    assert found["model"] == {"type": "A", "sizes": [1, 2], "deep": {"root": "data"}}
    assert found["run"] is None and found["pair"] == {"a": [1, 2.5]}


KEYS = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
VALUES = st.one_of(
    st.integers(0, 10**9 - 1),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1).filter(
        lambda text: not text.startswith("--") and not text.isdigit() and "\\\n" not in text
    ),
)


@given(values=st.dictionaries(KEYS, VALUES, min_size=1, max_size=6))
def test_option_lines_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, int | str]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "train.sh"
    lines = [f"--{key} {shlex.quote(str(value))}" for key, value in values.items()]
    path.write_text("# a note: it's\npython main.py \\\n  " + " \\\n  ".join(lines) + "\n")
    report = Report()
    found = read_settings(path, report)
    assert found is not None and not report.findings and found.values == values


@given(text=st.text(), ending=st.sampled_from([".sh", ".py"]))
def test_any_text_is_settings_or_a_finding(
    tmp_path_factory: pytest.TempPathFactory, text: str, ending: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"train{ending}"
    path.write_bytes(text.encode("utf-8", "replace"))
    report = Report()
    found = read_settings(path, report)
    assert isinstance(found, Settings) != ("options" in report.findings)
