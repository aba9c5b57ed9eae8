"""evaluate --residual on a small pair: figures, pages and tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

RECIPE = """
kind: train
name: mini
model: {preset: compact}
data:
  levels:
    - {name: HR, t: 0.0, files: "*_hr.png"}
    - {name: LR, t: 1.0, files: "*_lr.png"}
  validate: a
  s_max: 4.0
  source: a photo of scikit-image, blurred
  licence: as theirs
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A held-out scene of the kind that the recipe below names, its LR 5 grey levels too red."""
    folder = tmp_path_factory.mktemp("pairs")
    hr = data.astronaut()[:256, :256] // 2 + 60
    Image.fromarray(hr).save(folder / "a_hr.png")
    lr = cv2.GaussianBlur(hr, (0, 0), 1.5).astype(np.int32) + np.array([5, 0, 0])
    Image.fromarray(lr.astype(np.uint8)).save(folder / "a_lr.png")
    for name in ("b_hr", "b_lr"):
        Image.fromarray(hr[:, ::-1].copy()).save(folder / f"{name}.png")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def test_evaluate_shows_and_writes_what_is_left(
    degflow: Callable[..., Any], tiny: str, pairs: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: degflow-pipe[plots]")
    asked = ["evaluate", tiny, pairs, "--recipe", pairs / "recipe.yaml", "--t-grid", "0.5:1:0.5"]
    figures = degflow(*asked, "--residual", "--json", "-o", "ev", cwd=tmp_path).json
    found = figures["residual"]["LR"]
    assert found["scenes"] == 1 and len(found["centres"]) == 10
    assert found["tone"]["difference"][0] - found["tone"]["difference"][1] > 3
    total = figures["levels"]["LR"]["candidates"]["generated"]["psnr"]["mean"]
    assert 10 * np.log10(255**2 / found["parts"]["real"]["left"][0]) == pytest.approx(total)
    assert json.loads((tmp_path / "ev" / "figures.json").read_text()) == figures
    pages = {path.stem for path in (tmp_path / "ev").glob("residual_*.png")}
    assert pages == {
        f"residual_LR_{name}" for name in ("transfer", "parts", "noise", "grid", "pictures")
    }
    for page in (tmp_path / "ev").glob("residual_*.png"):
        with Image.open(page) as picture:
            picture.load()
    shown = degflow(*asked, "--residual", cwd=tmp_path)
    for words in ("transfer generated / real", "tile tone", "mosaic", "rest real"):
        assert words in shown.out
    assert f"{found['parts']['real']['left'][0]:.3g}" in shown.out
    without = degflow(*asked, "--json", cwd=tmp_path).json
    assert without["residual"] == {} and without["levels"] == figures["levels"]
