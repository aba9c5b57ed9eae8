"""Results as the commands write them, of small real pictures, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe import json_files
from degflow_pipe.alignment.results import AlignSummary, LevelAligned, SceneAligned
from degflow_pipe.checkpoint.verdict import Judged, OnHeldOut, OnTraining, verdict_of
from degflow_pipe.evaluation.results import (
    AgainstHR,
    BlurOfScale,
    Curve,
    Evaluation,
    LevelFigures,
    OfScene,
    Spread,
)
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.proxy.results import ProxyComparison, source_rows

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def evaluation() -> dict[str, Any]:
    """As `evaluate` and `camera` write it."""
    spread = Spread(mean=31.5, std=0.5, min=30.0, max=32.0)
    against = AgainstHR(psnr_to_hr=25.0, noise=0.4, power=[900.0, 20.0], coherence=[0.99, 0.2])
    ways = ("generated", "noisy", "bicubic", "gaussian", "hr")
    level = LevelFigures(
        t=1.0,
        held_out=False,
        candidates={way: {"psnr": spread, "ssim": spread} for way in ways},
        bands=[0.125, 0.375],
        against_hr={"real": against, "generated": against, "noisy": against},
    )
    judged = Judged(
        OnTraining(scenes=36, shift=0.19, unmatched=0.0, above_gaussian=4.3, fall=0.0),
        OnHeldOut(scenes=4, above_blur=1.15, above_gaussian=4.0, leak=0.02, noise=1.6),
    )
    return Evaluation(
        scenes=["010", "015"],
        perceptual="none",
        evaluations=3,
        levels={"x2.9": level},
        curve=Curve([0.5, 1.0], [32.0, 25.0]),
        blur=BlurOfScale([1.0, 2.9], [0.0, 1.4]),
        sweep={},
        residual={},
        verdict=verdict_of(judged, None),
        by_scene=[OfScene("010", {"x2.9": 31.0}, [0, 8]), OfScene("015", {"x2.9": 32.0}, [])],
        checkpoint="mine-0123456789ab",
        source="a camera",
        licence="mine",
    ).to_dict()


def comparison() -> dict[str, Any]:
    """As `proxy` writes it: generated LR recover 75 % of the gap."""
    of = {"bicubic": 24.0, "ours": 25.5, "real": 26.0}
    found = {
        (source, 0.0): [{"psnr": psnr + off, "ssim": 0.8} for off in (-0.01, 0.01)]
        for source, psnr in of.items()
    }
    rows, unresolved = source_rows(found)
    return ProxyComparison(
        checkpoint="mine-0123456789ab",
        grid=[0.5, 1.0],
        seeds=2,
        level="x2.9",
        t=1.0,
        scenes=["010", "015"],
        network="same-size",
        steps=600,
        perceptual="none",
        rows=rows,
        best=dict.fromkeys(of, 0.0),
        unresolved=unresolved,
    ).to_dict()


def aligned() -> dict[str, Any]:
    """As `align` writes it, of two scenes."""
    scenes = []
    for name, off in (("cup", 0.1), ("street", 0.3)):
        level = LevelAligned(
            level="x2.9",
            shot="wide.png",
            scale=2.89,
            exif_scale=None,
            rotation=-0.6,
            matches=286,
            agreeing=283,
            rounds=4,
            sigma=1.5,
            shift_before=[0.2, 0.6],
            shift_after=[off, 2 * off],
            kept=0.5,
            reasons={"uncertain": 0.48, "clipped": 0.0},
            light={"left": [0.6, 0.5, 0.6]},
        )
        scenes.append(
            SceneAligned(name, "tele.png", [96, 96], [level], {name: [0, 0, 96, 96]}, 0.5, [])
        )
    summary = AlignSummary(
        "out",
        pairs=2,
        megapixels=0.02,
        kept=0.5,
        levels={"x2.9": 2.9},
        knots=["x2.9"],
        shift_after=[0.2, 0.4],
        light_left=0.6,
        failed={"dark": "nothing to match"},
    )
    settings = {"max_shift": 0.5, "least": 192, "most": 8, "target": False}
    return {**asdict(summary), "settings": settings, "scenes": [asdict(one) for one in scenes]}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with a result of each kind: `evaluation`, `proxy`, `aligned`."""
    for folder, name, value in (
        ("evaluation", "figures.json", evaluation()),
        ("proxy", "figures.json", comparison()),
        ("aligned", "align.json", aligned()),
    ):
        json_files.write(tmp_path / folder / name, value)
    for name, picture in (("cup", data.coffee()), ("street", data.chelsea())):
        hr = Image.fromarray(np.ascontiguousarray(picture[:96, :96]))
        hr.save(tmp_path / "aligned" / f"{name}_hr.png")
        hr.resize((32, 32)).resize((96, 96)).save(tmp_path / "aligned" / f"{name}_x2.9.png")
    return tmp_path


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, DataSettings]:
    """Three scenes of 256 x 256 pixels, all held out, laid out as the tiny checkpoint's pairs."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, picture in zip("abc", (data.coffee(), data.chelsea(), data.astronaut()), strict=True):
        hr = np.ascontiguousarray(picture[:256, :256])
        Image.fromarray(hr).save(folder / f"{name}_hr.png")
        for level, sigma in (("lr2", 1.0), ("lr4", 2.0)):
            lr = cv2.GaussianBlur(hr, (0, 0), sigma)
            Image.fromarray(lr).save(folder / f"{name}_{level}.png")
    levels = [
        {"name": "HR", "t": 0.0, "files": "*_hr.png"},
        {"name": "LR2", "t": 0.333333333, "files": "*_lr2.png"},
        {"name": "LR4", "t": 1.0, "files": "*_lr4.png"},
    ]
    said = {"source": "photos of scikit-image, blurred", "licence": "as theirs"}
    return folder, DataSettings(s_max=4.0, validate="a,b,c", levels=levels, **said)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; skips with the reason where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as running:
        # Each launch has a profile of its own.
        opened = running.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=list(FLAGS), timeout=300_000
        )
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`visit(html)`: that page in a window of its own, whose `said` is what it wrote on the console
    and `asked` what it has requested beside itself. Options go to the window.
    """
    contexts = []

    def go(html: str, width: int = 1400, theme: str = "light", **options: Any) -> Any:
        path = tmp_path / "visited.html"
        path.write_text(html)
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=theme, **options)
        context.set_default_timeout(300_000)
        contexts.append(context)
        page = context.new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri())
        own = ("data:", path.as_uri())
        page.asked = [url for url in page.asked if not url.startswith(own)]
        return page

    yield go
    for context in contexts:
        context.close()
