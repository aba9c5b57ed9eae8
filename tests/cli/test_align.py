"""align --check: what it measures of dark pairs, and what does not go with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

Run = Callable[..., Any]


@pytest.mark.parametrize("darker", [True, False])
def test_dark_and_bright_pairs_have_no_gain(degflow: Run, tmp_path: Path, darker: bool) -> None:
    hr = data.coffee()[:240, :360] / 255 * 9
    lr = cv2.GaussianBlur(hr, (0, 0), 1.0)
    for name, picture in {"hr": hr, "lr": lr}.items():
        least = 5 if darker else 241
        Image.fromarray(np.rint(picture + least).astype(np.uint8)).save(tmp_path / f"a_{name}.png")
    done = degflow("align", tmp_path, "--check", "--workers", 1, "--json", cwd=tmp_path)
    found = done.json
    assert found["levels"]["lr"]["gain_median"] is found["levels"]["lr"]["gain_spread"] is None
    assert found["worst"][0]["gain"] is None and found["levels"]["lr"]["shift_median"] < 0.5
    shown = degflow("align", tmp_path, "--check", "--workers", 1, cwd=tmp_path)
    assert "Warning" not in done.err + shown.err and "nan" not in shown.out


@pytest.mark.parametrize(
    "words",
    [
        ("--out", "x"),
        ("--target",),
        ("--max-shift", "0.5"),
        ("--least", "100"),
        ("--most", "8"),
        ("--pause", "9"),
        ("--overwrite",),
    ],
    ids=lambda words: words[0],
)
def test_what_makes_pairs_does_not_go_with_check(
    degflow: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = degflow("align", "pairs", "--check", *words, cwd=tmp_path, code=2)
    assert done.error == f"--check makes no pairs and writes nothing: leave out {words[0]}"
    assert not list(tmp_path.iterdir())
