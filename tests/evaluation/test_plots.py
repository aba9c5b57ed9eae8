"""Pages are PNGs that hold what they were given, equal for equal input, and whole or not there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.errors import UsageError

pytest.importorskip("matplotlib", reason="matplotlib is not installed: degflow-pipe[plots]")

from degflow_pipe.evaluation.plots import Panel, panel_page, picture_page, spectrum_page, sweep_page

CROP = np.ascontiguousarray(data.astronaut()[60:124, 150:230])
T = [0.0, 0.5, 1.0]


def sweep(path: Path, best: float = 0.5, title: str = "scene") -> None:
    psnr = [float("inf"), 33.0, 36.0]
    sweep_page(path, {"PSNR": (T, psnr), "SSIM": (T, [1.0, 0.8, 0.9])}, 1.0, {"PSNR": best}, title)


def spectrum(path: Path, title: str = "scene") -> None:
    lines = {"real": [100.0, 10.0, 0.1], "generated": [90.0, 12.0, 0.0]}
    spectrum_page(path, [0.1, 0.25, 0.4], lines, title)


def pictures(path: Path, title: str = "scene") -> None:
    picture_page(path, [[("HR", CROP), ("real", CROP // 2)], [("generated", CROP)]], title)


def panels(path: Path, title: str = "scene", last: float | None = 3.0) -> None:
    line = Panel("a line", "x", "y", [0.1, 0.2, 0.3], {"real": [1.0, None, last]}, level=1)
    bars = Panel("bars", "", "y", ["calm", "busy"], {"real": [3.0, 4.0], "drawn": [3.0, 3.1]})
    panel_page(path, [line, bars], title)


PAGES = [sweep, spectrum, pictures, panels]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_a_png_and_equal_for_equal_input(
    page: Callable[..., None], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        page(tmp_path / "new" / f"{name}.png")
    page(tmp_path / "new" / "other.png", title="another")
    made = {path.stem: path for path in (tmp_path / "new").iterdir()}
    assert sorted(made) == ["a", "b", "other"]  # nothing is left aside
    assert min(read(made["a"]).shape[:2]) > 200
    assert made["a"].read_bytes() == made["b"].read_bytes()
    assert not np.array_equal(read(made["a"]), read(made["other"]))


def test_the_best_t_is_drawn(tmp_path: Path) -> None:
    sweep(tmp_path / "a.png", best=0.5)
    sweep(tmp_path / "b.png", best=0.75)
    assert not np.array_equal(read(tmp_path / "a.png"), read(tmp_path / "b.png"))


def test_a_panel_shows_its_values_and_leaves_out_what_is_none(tmp_path: Path) -> None:
    for name, last in (("a", 3.0), ("b", 2.5), ("c", None)):
        panels(tmp_path / f"{name}.png", last=last)
    made = [read(tmp_path / f"{name}.png") for name in "abc"]
    assert not np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


def test_pictures_are_shown_in_their_own_colours(tmp_path: Path) -> None:
    red, blue = (np.zeros((40, 40, 3), np.uint8) for _ in range(2))
    red[..., 0], blue[..., 2] = 200, 120
    picture_page(tmp_path / "page.png", [[("a", red)], [("b", blue)]], "colours")
    page = read(tmp_path / "page.png").reshape(-1, 3)
    for colour in ([200, 0, 0], [0, 0, 120]):
        assert np.mean(np.all(page == colour, axis=1)) > 0.1


@pytest.mark.parametrize("page", PAGES)
def test_without_matplotlib_it_says_what_to_install(
    page: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"pip install 'degflow-pipe\[plots\]'"):
        page(tmp_path / "page.png")
    assert not (tmp_path / "page.png").exists()
