"""The verdict as it is met: `info` shows it, and what a bad checkpoint makes begins by it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from degflow_pipe.checkpoint.folder import read_info, write_judged
from degflow_pipe.checkpoint.verdict import Judged, OnHeldOut

Run = Callable[..., Any]
BAD = OnHeldOut(6, above_blur=-2.02, above_gaussian=0.3, leak=0.01, noise=1.0)


@pytest.fixture
def bad(tiny: str, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny, tmp_path / "bad"))
    write_judged(folder, replace(read_info(folder), judged=Judged(held_out=BAD)))
    return folder


def test_info_shows_every_finding(degflow: Run, bad: Path, tmp_path: Path) -> None:
    shown = degflow("info", bad, cwd=tmp_path)
    assert "verdict: not usable" in shown.out and "scale_map" in shown.out
    assert "run `degflow-pipe calibrate`" in shown.out
    verdict = degflow("info", bad, "--json", cwd=tmp_path).json["verdict"]
    assert verdict["overall"] == "not usable"
    (finding,) = (one for one in verdict["findings"] if one["name"] == "above_blur")
    assert (finding["grade"], finding["figure"], finding["bad"]) == ("bad", -2.02, 0)


def test_what_is_made_with_it_warns_once(
    degflow: Run, bad: Path, tiny: str, store: Path, photo_folder: Path, tmp_path: Path
) -> None:
    asks = (
        ("generate", "--store", store, "--t-grid", "0.5"),
        ("degrade", photo_folder / "astronaut.png", "--t-grid", "0.5", "-o", tmp_path / "lr"),
    )
    for ask in asks:
        told = degflow(*ask, "--checkpoint", bad, cwd=tmp_path).err
        assert told.count("warning: tiny: not usable (") == 1 and " bad" in told
        assert "warning" not in degflow(*ask, "--checkpoint", tiny, cwd=tmp_path).err
