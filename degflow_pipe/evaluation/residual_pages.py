"""Pages of what is left between real and generated LR: `residual`'s figures, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from degflow_pipe.evaluation.plots import Panel, panel_page, picture_page
from degflow_pipe.metrics.residual import AMPLIFIED, PARTS, residual_picture
from degflow_pipe.metrics.residual_figures import GridFigures, Residual

BANDS = "cycles a pixel"
PLACES = [str(k) for k in range(8)]


def row(
    hr: np.ndarray, real: np.ndarray, generated: np.ndarray, noisy: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Pictures of a scene by label, all (H, W, 3) uint8: what is left, beside what is drawn."""
    shown = {
        "HR": hr,
        "real LR": real,
        "generated, no noise": generated,
        f"{AMPLIFIED} x (real - generated)": residual_picture(real, generated),
    }
    if noisy is not None:
        shown["generated, with noise"] = noisy
        shown[f"{AMPLIFIED} x drawn noise"] = residual_picture(noisy, generated)
    return shown


def draw(out: Path, level: str, found: Residual, rows: list[list[tuple[str, np.ndarray]]]) -> None:
    """Five pages of one level, `residual_LEVEL_*.png`.

    rows: crops of what `row` gave. Raises UsageError where matplotlib is not installed.
    """
    pages = {
        "transfer": (_transfer(found), "what goes over from HR"),
        "parts": (_parts(found), "real minus generated, in parts"),
        "noise": (_noise(found), "the rest beside the drawn noise"),
        "grid": (_grid(found.grid), "traces of compression and demosaicing"),
    }
    for name, (panels, title) in pages.items():
        panel_page(out / f"residual_{level}_{name}.png", panels, f"{level}: {title}")
    path = out / f"residual_{level}_pictures.png"
    picture_page(path, rows, f"{level}: what is left, held-out scenes, middle")


def _transfer(found: Residual) -> list[Panel]:
    x, bands = found.centres, found.bands
    # Noise does not change what goes over, but for chance.
    filters = {name: bands[name].transfer for name in ("real", "generated")}
    coherence = {name: figures.coherence for name, figures in bands.items()}
    ratio, leak = {"generated / real": found.ratio}, {"generated": found.leak}
    return [
        Panel("transfer, in phase with HR", BANDS, "LR / HR", x, filters, level=0),
        Panel(
            "ratio of transfers", BANDS, "generated / real", x, ratio, level=1, at_least=(0.8, 1.2)
        ),
        Panel("coherence with HR", BANDS, "coherence", x, coherence, at_least=(0, 1)),
        Panel(
            "coherent beyond real LR",
            BANDS,
            "share of power",
            x,
            leak,
            level=0,
            at_least=(-0.2, 0.2),
        ),
    ]


def _parts(found: Residual) -> list[Panel]:
    left, fine = found.parts, found.fine_parts
    steps = ["all", *(f"- {part}" for part in PARTS)]
    steps = [step.replace(" tone", "\ntone") for step in steps]
    up, channels, tone = "mean square, grey levels²", ["R", "G", "B"], found.tone
    return [
        Panel("left, by tiles of 64 pixels", "", up, steps, {n: p.left for n, p in left.items()}),
        Panel("left, by tiles of 16 pixels", "", up, steps, {n: p.left for n, p in fine.items()}),
        Panel(
            "difference in tone",
            "",
            "grey levels",
            channels,
            {
                "of pictures, mean": tone.difference,
                "of pictures, rms": tone.scene_rms,
                "of tiles within a picture, deviation": tone.tile_std,
            },
            level=0,
        ),
        Panel(
            "share of the difference that each part takes",
            "",
            "share",
            [part.replace(" tone", "\ntone") for part in PARTS],
            {
                f"tiles of {side}, {name}": [figures.shares[part] for part in PARTS]
                for side, figures_of in ((64, left), (16, fine))
                for name, figures in figures_of.items()
            },
        ),
    ]


def _noise(found: Residual) -> list[Panel]:
    x, noise, sides = found.centres, found.noise, found.noise.sides
    power = {name: figures.power for name, figures in sides.items()}
    std = {name: figures.std for name, figures in sides.items()}
    tails = {n: [place.kurtosis for place in (f.calm, f.busy)] for n, f in sides.items()}
    grey = {n: [place.grey for place in (f.calm, f.busy)] for n, f in sides.items()}
    places = ["calm", "busy"]
    up = "power, grey levels²"
    panels = [
        Panel("power of the rest, green", BANDS, up, x, power, logarithmic=True),
        Panel("deviation by brightness, calm", "brightness", "grey levels", noise.brightness, std),
        Panel("kurtosis (Gaussian: 3)", "", "kurtosis", places, tails, level=3),
        Panel("alike in R, G and B (independent: 1/3)", "", "share", places, grey, level=1 / 3),
    ]
    edges = {name: [value] for name, value in found.along_edges.items()}
    title = "change along edges over across (knows none: 1)"
    panels.append(Panel(title, "", "ratio of squares", ["real - generated"], edges, level=1))
    if noise.ratio is not None:
        ratio = {"drawn / real": noise.ratio}
        panels.insert(1, Panel("ratio of powers", BANDS, "drawn / real", x, ratio, level=1))
    return panels


def _grid(grid: GridFigures) -> list[Panel]:
    names = [name for name in ("real", "generated", "noisy", "hr") if name in grid.blocks]
    panels = [
        Panel(
            f"{way} steps, by place modulo 8",
            "place",
            "over those elsewhere, minus 1",
            PLACES,
            {name: [v - 1 for v in grid.blocks[name][way]] for name in names},
            level=0,
            at_least=(-0.05, 0.05),
        )
        for way in ("horizontal", "vertical")
    ]
    return [
        *panels,
        Panel(
            "fine detail of green, by place in 2 x 2",
            "row, column",
            "over the mean, minus 1",
            ["0, 0", "0, 1", "1, 0", "1, 1"],
            {name: [v - 1 for v in grid.mosaic[name]] for name in names},
            level=0,
            at_least=(-0.05, 0.05),
        ),
        Panel(
            "period of an enlarged block of 8",
            "",
            "amplitude of log steps",
            names,
            {"8 s pixels": [grid.enlarged[name] for name in names]},
        ),
    ]
