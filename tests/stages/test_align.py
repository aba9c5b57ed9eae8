"""align: folders of shots to pairs that train reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.engines.engine import Engine
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.errors import DataError, FileError, PhotoError, UsageError
from degflow_pipe.pairs.pairs import Pairs, find_scenes
from degflow_pipe.recipes import load_recipe
from degflow_pipe.stages.align import align
from degflow_pipe.stages.align_check import check_pairs
from degflow_pipe.stages.align_scene import AlignSettings
from degflow_pipe.training.recipe import train_recipe
from tests.alignment import scenes

SMALL = AlignSettings(least=96)


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes, and one that cannot be used."""
    folder = tmp_path_factory.mktemp("shots")
    for seed, (name, photo) in enumerate(
        {"cup": data.coffee(), "cat": data.chelsea(), "eye": data.astronaut()}.items()
    ):
        made = scenes.shots(photo[:240, :360], seed, scale=2.0)
        _write(folder / name / "tele.png", made.hr)
        _write(folder / name / "wide.png", made.lr)
    _write(folder / "alone_1.png", data.coffee())
    return folder


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture(scope="module")
def unusable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene, and five that cannot be used."""
    folder = tmp_path_factory.mktemp("unusable")
    coffee, astronaut = data.coffee()[:240, :360], data.astronaut()[:240, :360]
    made = scenes.shots(coffee, 0, scale=2.0)
    _write(folder / "cup" / "tele.png", made.hr)
    _write(folder / "cup" / "wide.png", made.lr)
    _write(folder / "alone_1.png", coffee)
    _write(folder / "other" / "a.png", coffee)
    _write(folder / "other" / "b.png", astronaut)
    _write(folder / "copy" / "a.png", coffee)
    _write(folder / "copy" / "b.png", coffee)
    small = cv2.resize(coffee, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    _write(folder / "small" / "a.png", coffee)
    _write(folder / "small" / "b.png", small)
    (folder / "cut").mkdir()
    (folder / "cut" / "a.cr2").write_bytes(b"no raw")
    _write(folder / "cut" / "b.png", coffee)
    return folder


@pytest.fixture(scope="module")
def pairs(shots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pairs")
    summary = align(shots, out, SMALL, workers=1)
    assert summary.made == 3 and summary.knots == ["x2.0"]
    assert set(summary.failed) == {"alone"}
    return out


def test_the_other_scenes_go_on(unusable: Path, tmp_path: Path) -> None:
    summary = align(unusable, tmp_path / "out", SMALL, workers=1)
    assert summary.made == 1
    assert set(summary.failed) == {"alone", "other", "copy", "small", "cut"}
    assert "two zooms" in summary.failed["alone"]
    assert "another scene" in summary.failed["other"]
    assert "copy" in summary.failed["copy"]
    assert "what HR shows" in summary.failed["small"]
    assert "raw" in summary.failed["cut"]
    assert all("\n" not in reason for reason in summary.failed.values())


def test_the_recipe_is_taken_as_it_is(pairs: Path) -> None:
    recipe = train_recipe(load_recipe(str(pairs / "train.yaml"), "train"))
    train, held_out = find_scenes(recipe.data, pairs)
    assert train and held_out
    for scene in train + held_out:
        Pairs([scene], recipe.data).check(scene, 64)


def test_hr_keeps_its_pixels(pairs: Path, shots: Path) -> None:
    hr = np.asarray(Image.open(shots / "cup" / "tele.png"))
    found = sorted(pairs.glob("cup*_hr.png"))
    assert found
    for path in found:
        part = np.asarray(Image.open(path))
        off = cv2.matchTemplate(hr, part, cv2.TM_SQDIFF)
        top, left = np.unravel_index(off.argmin(), off.shape)
        assert np.array_equal(hr[top : top + len(part), left : left + part.shape[1]], part)
        assert path.with_name(path.name.replace("_hr", "_x2.0")).exists()


def test_the_same_bytes_again_and_with_two_workers(
    pairs: Path, shots: Path, tmp_path: Path
) -> None:
    assert align(shots, pairs, SMALL, workers=1).known == 3
    align(shots, tmp_path, SMALL, workers=2)
    names = sorted(p.name for p in pairs.glob("*.*") if p.is_file())
    assert names == sorted(p.name for p in tmp_path.glob("*.*") if p.is_file())
    for name in names:
        assert (tmp_path / name).read_bytes() == (pairs / name).read_bytes()


def test_the_same_bytes_again_where_they_lie_below_the_shots(shots: Path, tmp_path: Path) -> None:
    shutil.copytree(shots / "cup", tmp_path / "cup")
    (tmp_path / "cup" / "notes.txt").write_text("of the day")
    out = tmp_path / "pairs"
    written = []
    for known in (0, 1):
        summary = align(tmp_path, out, SMALL, workers=1)
        assert (summary.known, summary.left_out) == (known, {".txt": 1})
        written.append({path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()})
    assert written[0] == written[1] and out / "align.json" in written[0]


def stopping_after(units: int) -> Engine:
    """An engine that is stopped when that many of its units are recorded, and one more is made."""
    left = iter(range(units))

    def engine(job, given, workers, cost=None, hear=None):  # type: ignore[no-untyped-def]
        for made in run_in_threads(job, given, workers, cost):
            if next(left, None) is None:
                raise KeyboardInterrupt
            yield made

    return engine


def test_stopped_at_any_scene_it_goes_on_to_the_same_bytes(
    pairs: Path, shots: Path, tmp_path: Path
) -> None:
    for units in (2, 5, 5, 1):
        with pytest.raises(KeyboardInterrupt):
            align(shots, tmp_path, SMALL, workers=1, engine=stopping_after(units))
        assert not (tmp_path / "train.yaml").exists()
    summary = align(shots, tmp_path, SMALL, workers=1)
    assert summary.made + summary.known == 3 and summary.known == 2
    names = sorted(p.relative_to(pairs).as_posix() for p in pairs.glob("**/[!.]*.*"))
    assert names == sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("**/[!.]*.*"))
    for name in names:
        if not name.startswith(".degflow"):
            assert (tmp_path / name).read_bytes() == (pairs / name).read_bytes()


def test_a_lost_pair_is_made_again(pairs: Path, shots: Path) -> None:
    (lost, *_) = sorted(pairs.glob("cat*_hr.png"))
    before = lost.read_bytes()
    lost.unlink()
    summary = align(shots, pairs, SMALL, workers=1)
    assert (summary.made, summary.known) == (1, 2)
    assert lost.read_bytes() == before


def test_other_settings_are_refused(pairs: Path, shots: Path) -> None:
    with pytest.raises(FileError, match="overwrite"):
        align(shots, pairs, AlignSettings(least=128), workers=1)


def test_no_mark_of_old_pairs_is_left_on_new_ones(pairs: Path, shots: Path, tmp_path: Path) -> None:
    out, fewer = tmp_path / "pairs", tmp_path / "shots"
    shutil.copytree(pairs, out)
    for name in ("cup", "cat"):
        shutil.copytree(shots / name, fewer / name)
    before = (pairs / "train.yaml").read_bytes()
    with pytest.raises(FileError, match="pairs of eye by other shots"):
        align(fewer, out, SMALL, workers=1)
    assert (out / "train.yaml").read_bytes() == before and (out / "pages" / "eye.html").exists()
    (out / "mine.png").write_bytes(b"mine")
    next(out.glob("cup*_hr.png")).unlink()
    with pytest.raises(KeyboardInterrupt):
        align(fewer, out, SMALL, overwrite=True, workers=1, engine=stopping_after(2))
    assert not {"train.yaml", "align.json", "index.html"} & {p.name for p in out.iterdir()}
    assert sorted(p.stem for p in (out / "pages").iterdir()) == ["cat", "cup"]
    assert not list(out.glob("eye*")) and (out / "mine.png").read_bytes() == b"mine"
    assert align(fewer, out, SMALL, workers=1).known == 1
    assert "eye" not in (out / "index.html").read_text()


def test_a_picture_that_is_not_ours_stays(pairs: Path, shots: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    shutil.copytree(pairs, out)
    (out / "mine_hr.png").write_bytes(b"mine")
    before = {path: path.read_bytes() for path in out.rglob("[!.0]*.*")}
    with pytest.raises(FileError, match=r"mine_hr.png is of no scene .* move it elsewhere"):
        align(shots, out, AlignSettings(least=128), overwrite=True, workers=1)
    assert before == {path: path.read_bytes() for path in out.rglob("[!.0]*.*")}
    assert out / "train.yaml" in before and out / "pages" / "cup.html" in before


def test_check_tells_what_is_left(pairs: Path, tmp_path: Path) -> None:
    (level,) = check_pairs(pairs, workers=1).levels.values()
    assert level.shift_median < 0.1
    for path in pairs.glob("*_*.png"):
        picture = np.asarray(Image.open(path))
        turn = 2 if path.name.endswith("x2.0.png") else 0
        _write(tmp_path / path.name, np.ascontiguousarray(np.roll(picture, turn, 1)[:, 8:-8]))
    (level,) = check_pairs(tmp_path, workers=1).levels.values()
    assert abs(level.shift_median - 2) < 0.1
    recipe = train_recipe(load_recipe(str(pairs / "train.yaml"), "train"))
    (level,) = check_pairs(pairs, data=recipe.data, workers=1).levels.values()
    assert level.shift_median < 0.1 and abs(level.gain_median - 1) < 0.01
    with pytest.raises(DataError, match="more than the limit of 900"):
        check_pairs(pairs, max_pixels=900, workers=1)


def test_check_names_swapped_pairs_and_hr_alone(tmp_path: Path) -> None:
    hr = data.astronaut()[:320, :320]
    lr = cv2.GaussianBlur(hr, (0, 0), 1.5)
    for name, pictures in (("a", (hr, lr)), ("b", (lr, hr))):
        for side, picture in zip(("hr", "lr"), pictures, strict=True):
            _write(tmp_path / f"{name}_{side}.png", picture)
    _write(tmp_path / "c_hr.png", hr)
    found = check_pairs(tmp_path, workers=1)
    assert found.levels["lr"].pairs == 1
    assert found.failed == {
        "b_lr.png": "b_lr.png is sharper than its HR: are their names swapped?",
        "c_hr.png": "it is an HR without an LR beside it",
    }


def test_nothing_that_can_be_used_is_an_error(shots: Path, tmp_path: Path) -> None:
    shutil.copytree(shots / "cup", tmp_path / "shots" / "cup")
    with pytest.raises(PhotoError, match="no pair came"):
        align(
            tmp_path / "shots" / "cup" / "..",
            tmp_path / "out",
            AlignSettings(least=4000),
            workers=1,
        )
    with pytest.raises(UsageError, match="folder"):
        align(shots / "cup" / "tele.png", tmp_path / "out2")
