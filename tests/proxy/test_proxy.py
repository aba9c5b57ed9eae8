"""proxy: what the comparison is made of, its arithmetic, and what it keeps."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.levels import parse_numbers, parse_t
from degflow_pipe.metrics.fidelity import fidelity, psnr
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.progress import Silent, Task
from degflow_pipe.proxy.architectures import Architecture
from degflow_pipe.proxy.budget import Budget
from degflow_pipe.proxy.network import restored, train
from degflow_pipe.proxy.proxy import OneScale, ProxySettings, proxy
from degflow_pipe.proxy.results import ProxyComparison, SourceRow, best_noise, source_rows
from degflow_pipe.proxy.sources import Place, Source, best_sigma, by_hand, held

SETTINGS = DataSettings(
    s_max=4.0,
    source="photos of scikit-image, blurred",
    licence="as theirs",
    validate="c",
    levels=[
        {"name": "HR", "t": 0.0, "files": "*_HR.png"},
        {"name": "LR", "t": 1.0, "files": "*_LR.png"},
    ],
)
SMALL = Budget(steps=3, batch=2, crop=32, width=8, blocks=1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    photos = (data.coffee(), data.astronaut(), data.chelsea())
    for name, photo in zip("abc", photos, strict=True):
        hr = np.ascontiguousarray(photo[:256, :320])
        Image.fromarray(hr).save(folder / f"{name}_HR.png")
        Image.fromarray(cv2.GaussianBlur(hr, (0, 0), 2.0)).save(folder / f"{name}_LR.png")
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ProxySettings:
    return ProxySettings(
        grid=parse_t("0.5,1"),
        out=tmp_path_factory.mktemp("proxy"),
        sources=("gaussian", "esrgan_style", "ours_grid_clean"),
        added_noise=(0.0,),
        seeds=2,
        patches=18,
        budget=SMALL,
    )


class Stopped(BaseException):
    """What Ctrl-C raises, in a test."""


class Recorded(Silent):
    """Keeps the names of tasks and their notes; stops as Ctrl-C would, `after` advances into `at`.

    It is a task and a progress at once, as tasks do not overlap.
    """

    def __init__(self, at: str = "", after: int = 0) -> None:
        self.at, self.after = at, after
        self.names: list[str] = []
        self.notes: list[str] = []
        self.advances = 0

    @contextmanager
    def task(
        self, name: str, total: float | None, done: float = 0, counts: str = ""
    ) -> Iterator[Task]:
        self.names.append(name)
        self.advances = 0
        yield self

    def advance(self, count: float = 1) -> None:
        self.advances += 1
        if self.after and self.names[-1].startswith(self.at) and self.advances == self.after:
            raise Stopped

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def result(tiny_model: DegFlow, pairs: Path, settings: ProxySettings) -> ProxyComparison:
    return proxy(tiny_model, SETTINGS, pairs, settings)


def test_every_source_asked_for_and_both_ends_have_a_row(result: ProxyComparison) -> None:
    found = [(row.source, row.added_noise) for row in result.rows]
    wanted = ("bicubic", "gaussian", "esrgan_style", "ours_grid_clean", "real")
    assert found == [(name, 0.0) for name in ("untouched", *wanted)]
    assert (result.level, result.t, result.scenes) == ("LR", 1.0, ["c"])
    assert result.checkpoint.startswith("tiny-")
    assert (result.grid, result.seeds, result.steps) == ([0.5, 1.0], 2, 3)
    for row in result.rows[1:]:
        assert set(row.mean) == set(row.std) == {"psnr", "ssim", "psnr_y", "ssim_y"}
        # Trainings of other seeds begin from other weights and crops.
        assert row.std["psnr"] > 0


def test_real_lr_as_it_is_has_a_row(
    result: ProxyComparison, pairs: Path, settings: ProxySettings
) -> None:
    hr, lr = (np.asarray(Image.open(pairs / f"c_{level}.png")) for level in ("HR", "LR"))
    row = result.rows[0]
    assert row.mean == fidelity(lr, hr) and set(row.std.values()) == {0.0}
    assert "untouched" not in result.best
    assert not list((settings.out / "runs").glob("untouched*")), "nothing is trained for it"


def test_figures_and_a_page_lie_in_the_folder(
    result: ProxyComparison, settings: ProxySettings
) -> None:
    assert json.loads((settings.out / "figures.json").read_text()) == result.to_dict()
    page = np.asarray(Image.open(settings.out / "pictures.png"))
    assert page.shape[0] > 100 and page.std() > 10


def test_what_is_trained_is_not_trained_again(
    tiny_model: DegFlow, pairs: Path, settings: ProxySettings, result: ProxyComparison
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (settings.out / "runs").iterdir()}
    more = replace(settings, sources=(*settings.sources, "bsrgan_style"))
    again = proxy(tiny_model, SETTINGS, pairs, more)
    new = {row.source for row in again.rows} - {row.source for row in result.rows}
    assert new == {"bsrgan_style"}
    assert [row for row in again.rows if row.source not in new] == result.rows
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_same_again_elsewhere_gives_the_same_figures(
    tiny_model: DegFlow,
    pairs: Path,
    settings: ProxySettings,
    result: ProxyComparison,
    tmp_path: Path,
) -> None:
    assert proxy(tiny_model, SETTINGS, pairs, replace(settings, out=tmp_path)) == result


def test_a_changed_setting_is_a_new_training(
    tiny_model: DegFlow,
    pairs: Path,
    settings: ProxySettings,
    result: ProxyComparison,
    tmp_path: Path,
) -> None:
    out = shutil.copytree(settings.out, tmp_path / "out")
    before = set((out / "runs").glob("*.json"))
    fewer = replace(settings, out=out, sources=("bicubic",), seeds=1)
    for changes in (
        {"budget": replace(SMALL, steps=4)},
        {"patches": 20},
        {"added_noise": (2.0,)},
    ):
        proxy(tiny_model, SETTINGS, pairs, replace(fewer, **changes))
        found = set((out / "runs").glob("*.json"))
        assert len(found - before) == 2, f"bicubic and real with {changes}"
        before = found


def test_another_scale_is_a_new_training(
    tiny_model: DegFlow,
    pairs: Path,
    settings: ProxySettings,
    result: ProxyComparison,
    tmp_path: Path,
) -> None:
    """Bicubic LR of the same patches is another one where t = 1 is another scale."""
    out = shutil.copytree(settings.out, tmp_path / "out")
    smaller = replace(SETTINGS, s_max=2.0)
    wanted = replace(settings, sources=("bicubic",), seeds=1)
    kept = proxy(tiny_model, smaller, pairs, replace(wanted, out=out))
    assert kept == proxy(tiny_model, smaller, pairs, replace(wanted, out=tmp_path / "fresh"))


def test_pages_show_the_networks_of_their_own_figures(
    tiny_model: DegFlow,
    pairs: Path,
    settings: ProxySettings,
    result: ProxyComparison,
    tmp_path: Path,
) -> None:
    """Also where the folder holds later trainings of the same sources, and larger networks."""
    fewer = replace(settings, out=tmp_path, sources=("bicubic",), seeds=1)
    proxy(tiny_model, SETTINGS, pairs, fewer)
    page = (tmp_path / "pictures.png").read_bytes()
    longer = replace(fewer, budget=replace(SMALL, steps=40, lr=1e-2, width=12))
    proxy(tiny_model, SETTINGS, pairs, longer)
    assert (tmp_path / "pictures.png").read_bytes() != page
    proxy(tiny_model, SETTINGS, pairs, fewer)
    assert (tmp_path / "pictures.png").read_bytes() == page


def test_stopped_at_any_time_it_goes_on_to_the_same_figures(
    tiny_model: DegFlow,
    pairs: Path,
    settings: ProxySettings,
    result: ProxyComparison,
    tmp_path: Path,
) -> None:
    again = replace(settings, out=tmp_path)
    for at, after in (("bicubic, noise 0, seed 1 (2 of 10)", 2), ("generate", 1)):
        with pytest.raises(Stopped):
            proxy(tiny_model, SETTINGS, pairs, again, Recorded(at, after))
    (first_block,) = tmp_path.glob("lr/*/*.npy")
    made = first_block.stat().st_mtime_ns
    kept = Recorded()
    assert proxy(tiny_model, SETTINGS, pairs, again, kept) == result
    assert first_block.stat().st_mtime_ns == made
    left = [note.partition(" dB")[2].partition(",")[0] for note in kept.notes if "PSNR" in note]
    assert left == ["; 3 trainings left", "; 2 trainings left", "; 1 training left", ""]
    trained = [name.partition(" (")[0] for name in kept.names if ", noise 0, " in name]
    assert trained == [
        f"{name}, noise 0, seed {seed}" for name in ("ours_grid_clean", "real") for seed in (0, 1)
    ]


def test_what_is_left_is_what_more_seeds_want(
    tiny_model: DegFlow, pairs: Path, settings: ProxySettings, tmp_path: Path
) -> None:
    one = replace(settings, out=tmp_path, sources=("bicubic",), seeds=1)
    proxy(tiny_model, SETTINGS, pairs, one)
    more = Recorded()
    proxy(tiny_model, SETTINGS, pairs, replace(one, seeds=2), more)
    left = [note.partition(" dB")[2].partition(",")[0] for note in more.notes if "PSNR" in note]
    assert left == ["; 1 training left", ""]


def test_all_sources_are_cut_at_the_same_places(
    tiny_model: DegFlow, tmp_path: Path, settings: ProxySettings
) -> None:
    """Where LR is HR and bicubic does nothing, two sources are one, and differ by crops alone."""
    for name, photo in zip("abc", (data.coffee(), data.astronaut(), data.chelsea()), strict=True):
        for level in ("HR", "LR"):
            Image.fromarray(photo[:200, :220]).save(tmp_path / f"{name}_{level}.png")
    same = replace(SETTINGS, s_max=1.0001)
    wanted = replace(
        settings, out=tmp_path / "out", sources=("bicubic",), added_noise=(3.0,), seeds=1
    )
    untouched, bicubic, real = proxy(tiny_model, same, tmp_path, wanted).rows
    assert untouched.mean["psnr"] == 120, "LR is HR"
    assert (bicubic.source, real.source) == ("bicubic", "real")
    assert bicubic.mean == real.mean
    assert bicubic.recovered == real.recovered == {}


def test_without_matplotlib_only_the_page_is_left_out(
    tiny_model: DegFlow,
    pairs: Path,
    settings: ProxySettings,
    result: ProxyComparison,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = shutil.copytree(settings.out, tmp_path / "out")
    (out / "pictures.png").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    told = Recorded()
    assert proxy(tiny_model, SETTINGS, pairs, replace(settings, out=out), told) == result
    assert "pip install 'degflow-pipe[plots]'" in told.notes[-1]
    assert not (out / "pictures.png").exists()


def test_recovered_is_the_share_of_the_gap_between_the_best_ends() -> None:
    def runs(*values: float) -> list[dict[str, float]]:
        return [{"psnr": value, "perceptual": 40 - value} for value in values]

    found = {
        ("bicubic", 0.0): runs(26.9, 27.1),
        ("bicubic", 4.0): runs(26.0, 26.0),
        ("ours", 0.0): runs(27.5, 28.5),
        ("real", 0.0): runs(28.9, 29.1),
        ("real", 4.0): runs(28.0, 28.0),
    }
    rows, unresolved = source_rows(found)
    assert unresolved == []
    table = {(row.source, row.added_noise): row for row in rows}
    shares = {key: row.recovered["psnr"] for key, row in table.items()}
    assert shares == {
        ("bicubic", 0.0): pytest.approx(0.0, abs=1e-9),
        ("bicubic", 4.0): -0.5,
        ("ours", 0.0): 0.5,
        ("real", 0.0): 1.0,
        ("real", 4.0): 0.5,
    }
    assert table["ours", 0.0].recovered["perceptual"] == 0.5
    assert table["ours", 0.0].std["psnr"] == 0.5
    assert best_noise([*table.values()]) == {"bicubic": 0.0, "ours": 0.0, "real": 0.0}


def test_the_best_added_noise_is_each_source_s_own() -> None:
    psnr_of = {("a", 0.0): 1.0, ("a", 4.0): 3.0, ("a", 8.0): 3.0, ("b", 0.0): 2.0, ("b", 4.0): 1.0}
    table = [
        SourceRow(name, noise, mean={"psnr": value}, std={"psnr": 0.0}, recovered={})
        for (name, noise), value in psnr_of.items()
    ]
    assert best_noise(table) == {"a": 4.0, "b": 0.0}


@pytest.mark.parametrize("real", [{"psnr": 27.0}, {"psnr": 26.0, "perceptual": 0.3}])
def test_without_a_gap_nothing_is_recovered(real: dict[str, float]) -> None:
    """Real may come out worse than bicubic after a few steps: a share would be upside down."""
    bicubic = {"psnr": 27.0, "perceptual": 0.2}
    found = {("bicubic", 0.0): [{key: bicubic[key] for key in real}] * 3, ("real", 0.0): [real] * 3}
    rows, unresolved = source_rows(found)
    assert [row.recovered for row in rows] == [{}, {}] and unresolved == list(real)


@pytest.mark.parametrize(
    ("bicubic", "real", "resolved"),
    [
        ([27.0], [29.0], False),  # one seed tells no spread
        ([27.0, 27.4, 26.9], [27.2, 27.5, 27.3], False),  # 0.23 dB and seeds that differ by 0.2
        ([27.0, 27.02, 26.98], [27.24, 27.25, 27.23], True),
        ([27.0, 27.1], [29.0, 29.1], True),
        ([29.0, 29.1], [27.0, 27.1], False),
    ],
)
def test_a_gap_that_the_seeds_do_not_resolve_has_no_share(
    bicubic: list[float], real: list[float], resolved: bool
) -> None:
    """Both ways round: of PSNR more is better, of the perceptual distance less."""
    runs = {
        name: [{"psnr": v, "perceptual": 100 - v} for v in values]
        for name, values in (("bicubic", bicubic), ("ours", real), ("real", real))
    }
    rows, unresolved = source_rows({(name, 0.0): found for name, found in runs.items()})
    assert (unresolved == []) == resolved
    ours = rows[1].recovered
    assert ours == (pytest.approx({"psnr": 1.0, "perceptual": 1.0}) if resolved else {})


def test_training_on_the_right_blur_sharpens() -> None:
    """A network taught to undo a blur undoes it on a photo that it has not seen."""
    hr = np.ascontiguousarray(data.astronaut()[:192, 100:292])
    lr = cv2.GaussianBlur(hr, (0, 0), 1.5)

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        places = np.random.default_rng(step).integers(0, 160, (4, 2))
        return tuple(np.stack([p[y : y + 32, x : x + 32] for y, x in places]) for p in (lr, hr))  # type: ignore[return-value]

    with Silent().task("", None) as task:
        budget = replace(SMALL, steps=500, lr=3e-3)
        network = train(
            lambda: Architecture().build(budget), draw, budget, 0, torch.device("cpu"), task
        )
    unseen = np.ascontiguousarray(data.coffee()[100:221, 100:251])
    blurred = cv2.GaussianBlur(unseen, (0, 0), 1.5)
    assert psnr(restored(network, blurred), unseen) > psnr(blurred, unseen) + 0.5


def test_sources_give_lr_of_the_place_they_are_asked_for() -> None:
    hr = np.stack([data.coffee()[:96, :96], data.chelsea()[:96, :96]])
    place = Place(1, 20, 40, 32)
    for name in ("bicubic", "gaussian", "esrgan_style", "bsrgan_style"):
        lr = by_hand(name, hr, 2.0, 2.0)(place, np.random.default_rng(0))
        assert (lr.shape, lr.dtype) == ((32, 32, 3), np.uint8)
        there = np.corrcoef(lr.ravel(), place.cut(hr[1]).ravel())[0, 1]
        assert there > np.corrcoef(lr.ravel(), hr[1, 50:82, 10:42].ravel())[0, 1]


def test_random_degradations_are_drawn_anew_for_every_crop() -> None:
    hr = data.coffee()[None, :96, :96]
    source = by_hand("bsrgan_style", hr, 0.0, 2.0)
    place = Place(0, 20, 40, 32)
    first, same, other = (source(place, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_levels_of_a_grid_are_all_drawn() -> None:
    lr = np.arange(3, dtype=np.uint8).reshape(1, 3, 1, 1, 1) * np.ones((1, 3, 8, 8, 3), np.uint8)
    source = partial(held, lr, [0.2, 0.5, 1.0], None)
    found = {int(source(Place(0, 0, 0, 4), np.random.default_rng(i)).max()) for i in range(40)}
    assert found == {0, 1, 2}


@pytest.mark.parametrize("sigma", [0.8, 1.7, 3.0])
def test_the_best_sigma_is_found(sigma: float) -> None:
    hr = np.stack([data.coffee()[:128, :128], data.chelsea()[:128, :128]])
    real = np.stack([cv2.GaussianBlur(patch, (0, 0), sigma) for patch in hr])
    assert best_sigma(hr, real) == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ("bicubik",)}, "'bicubik' is not one of bicubic"),
        ({"added_noise": (-1.0,)}, "`added_noise` must be grey levels"),
        ({"added_noise": (0.0, float("nan"))}, "`added_noise` must be grey levels"),
        ({"added_noise": (101.0,)}, "`added_noise` must be grey levels"),
        ({"added_noise": ()}, "`added_noise` must be grey levels"),
        ({"seeds": 0}, "`seeds` must be 1 at least"),
        ({"sources": ("ours_more",)}, "has ours_more: say with `more` where the other photos are"),
        ({"sources": ("real_more",)}, "has real_more: say with `more` where the other photos are"),
    ],
)
def test_wrong_requests_are_refused(
    settings: ProxySettings, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        replace(settings, **changes)


def test_photos_without_real_lr_are_trained_on_beside_the_others(
    pairs: Path, settings: ProxySettings, tmp_path: Path
) -> None:
    model = DegFlow.load("city100-compact", "cpu")
    (tmp_path / "more").mkdir()
    Image.fromarray(data.rocket()[:256, :320]).save(tmp_path / "more" / "rocket.png")
    wanted = replace(
        settings,
        sources=("ours", "ours_more"),
        seeds=1,
        patches=2,
        more=tmp_path / "more",
        out=tmp_path / "proxy",
    )
    first = proxy(model, SETTINGS, pairs, wanted)
    psnr_of = {row.source: row.mean["psnr"] for row in first.rows}
    assert psnr_of["ours_more"] != psnr_of["ours"]

    Image.fromarray(data.rocket()[100:356, 100:420]).save(tmp_path / "more" / "rocket.png")
    progress = Recorded()
    again = proxy(model, SETTINGS, pairs, wanted, progress)
    trained = [name.partition(" (")[0] for name in progress.names if "seed" in name]
    assert trained == ["ours_more, noise 0, seed 0"]
    changed = {row.source: row.mean["psnr"] for row in again.rows}
    assert changed.pop("ours_more") != psnr_of.pop("ours_more")
    assert changed == psnr_of


def test_real_pairs_lie_beside_what_is_generated_of_all_hr(
    pairs: Path, settings: ProxySettings, tmp_path: Path
) -> None:
    """Of the pairs' own patches the real LR, of these again and of the others generated ones."""
    (tmp_path / "more").mkdir()
    Image.fromarray(data.rocket()[:256, :320]).save(tmp_path / "more" / "rocket.png")
    wanted = replace(settings, patches=2, more=tmp_path / "more", out=tmp_path / "proxy")
    work = OneScale(DegFlow.load("city100-compact", "cpu"), SETTINGS, pairs, wanted, Silent())
    assert {"ours_more", "real_more"} <= set(work.names)
    both, ours = work.make("real_more"), work.make("ours_more")
    count = len(work.hr)

    def lr(source: Source, patch: int) -> np.ndarray:
        return source(Place(patch, 0, 0, 64), np.random.default_rng(3))

    for i in range(count):
        assert np.array_equal(lr(both, i), work.real[i, :64, :64])
    for i in range(2 * count):
        assert np.array_equal(lr(both, count + i), lr(ours, i))
    hr = work.hr_of("real_more")
    assert len(hr) == 3 * count
    for i in range(len(hr)):  # whose it is, and not another's
        psnrs = [psnr(lr(both, i), one[:64, :64]) for one in hr]
        assert psnrs[i] == max(psnrs)
    assert work.deciding("real_more")["more"] == work.deciding("ours_more")["more"]


@pytest.mark.parametrize("text", ["0,x", "", "0,,4"])
def test_noise_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"--added-noise wants numbers such as 0,4; got '{text}'"):
        parse_numbers(text, "--added-noise", "0,4")


def test_noise_named_twice_is_tried_once() -> None:
    assert parse_numbers("4, 0,4.0", "--added-noise", "0,4") == (4.0, 0.0)


def test_a_level_that_is_not_there_is_refused(
    tiny_model: DegFlow, pairs: Path, settings: ProxySettings
) -> None:
    with pytest.raises(UsageError, match="`level`: the pairs have no level 'x2', only LR"):
        proxy(tiny_model, SETTINGS, pairs, replace(settings, level="x2"))


@pytest.mark.parametrize(("has", "lacks"), [("ab", "held-out"), ("c", "training")])
def test_a_level_that_a_split_lacks_is_refused_before_anything_is_trained(
    tiny_model: DegFlow, pairs: Path, settings: ProxySettings, tmp_path: Path, has: str, lacks: str
) -> None:
    folder = shutil.copytree(pairs, tmp_path / "pairs")
    for name in has:
        shutil.copy(folder / f"{name}_LR.png", folder / f"{name}_MID.png")
    middle = {"name": "MID", "t": 0.5, "files": "*_MID.png", "held_out": True}
    three = replace(SETTINGS, levels=[SETTINGS.levels[0], middle, SETTINGS.levels[1]])
    wanted = replace(settings, level="MID", out=tmp_path / "out")
    with pytest.raises(DataError, match=f"{lacks} scenes, level MID: no file below .*`level`"):
        proxy(tiny_model, three, folder, wanted)
    assert not wanted.out.exists()


def test_wrong_held_out_pictures_are_refused_before_anything_is_trained(
    tiny_model: DegFlow, pairs: Path, settings: ProxySettings, tmp_path: Path
) -> None:
    folder = shutil.copytree(pairs, tmp_path / "pairs")
    for level in ("HR", "LR"):
        Image.fromarray(data.chelsea()[:8, :300]).save(folder / f"c_{level}.png")
    with pytest.raises(DataError, match=r"c_HR\.png is 300 x 8: 11 pixels"):
        proxy(tiny_model, SETTINGS, folder, replace(settings, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_noise_that_the_checkpoint_lacks_is_refused_before_anything_is_trained(
    tiny_model: DegFlow, pairs: Path, settings: ProxySettings, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"measure it with `calibrate\(\)`"):
        proxy(tiny_model, SETTINGS, pairs, replace(settings, sources=("ours",), out=tmp_path))
    assert not list(tmp_path.iterdir())


def test_pictures_smaller_than_a_patch_are_refused(
    tiny_model: DegFlow, settings: ProxySettings, tmp_path: Path
) -> None:
    for name in "abc":
        for level in ("HR", "LR"):
            Image.fromarray(data.coffee()[:100, :100]).save(tmp_path / f"{name}_{level}.png")
    with pytest.raises(DataError, match="192 pixels on a side are needed"):
        proxy(tiny_model, SETTINGS, tmp_path, settings)
