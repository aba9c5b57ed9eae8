"""What is left: real LR minus generated LR, taken apart into what the checkpoint lacks.

- bands: what went over from HR, as a filter and as power, in real and in generated LR;
- parts: how much of the difference a tone of the picture, a tone, a contrast, a shift and a blur of
  each tile would mend, one after the other, by least squares over the three channels of the tile;
- noise: what is left after these, beside the same of LR with the drawn noise, as a fit takes a
  little of any noise: power by band, deviation by brightness, kurtosis, and whether it runs along
  edges;
- grid: traces of JPEG blocks and of demosaicing, real beside generated and HR.

Grey levels, 0 to 255, RGB. Figures of a scene are means that go on as means over scenes, so powers
and mean squares; `over_scenes` makes deviations, ratios and shares of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from degflow_pipe.metrics import spectrum
from degflow_pipe.metrics.grids import BLOCK, blockiness, grid_line, mosaic
from degflow_pipe.metrics.residual_figures import (
    BandFigures,
    FitFigures,
    GridFigures,
    NoiseFigures,
    PartFigures,
    PlaceFigures,
    Residual,
    RestFigures,
    ToneFigures,
)
from degflow_pipe.noise.by_opencv import local
from degflow_pipe.pictures.arrays import tiles

TILE = 64
"""Side in pixels of a tile, which has one tone, contrast, shift and blur."""
FINE_TILE = 16
"""Side of the smaller tiles, for what changes within a tile, as the shift of a near thing does."""
PARTS = ("picture tone", "tile tone", "contrast", "shift", "blur")
"""What is taken out, in this order."""
BRIGHTNESS = np.linspace(0, 255, 9)
"""Grey levels between which a deviation is measured."""
LEAST_PIXELS = 1000
"""Values of a scene, on the average, that a deviation is given for; None for fewer."""
LEAST_COHERENCE = 0.05
"""Of real LR with HR, below which a ratio of transfers is chance, and given as None."""
AMPLIFIED = 8
"""How many times a difference is enlarged to be seen."""


@dataclass(frozen=True)
class Apart:
    """A difference of two pictures, taken apart by tiles.

    energies: (6,), mean square of all, and of what each of PARTS leaves. left: (N, side, side, 3)
    float64, the rest. contrast: what the local deviation of the first picture is to be multiplied
    with to give the second's, dy and dx: pixels that the second lies further down and right, blur:
    variance in square pixels that the second is more blurred; for the whole picture. shift: root
    mean square of the tiles' own shifts in pixels, tiles counted by their detail.
    """

    energies: np.ndarray
    left: np.ndarray
    contrast: float
    dy: float
    dx: float
    blur: float
    shift: float


def taken_apart(expected: np.ndarray, real: np.ndarray, side: int = TILE) -> Apart:
    """real minus expected, both (H, W, 3) uint8 or float of one shape, sides of `side` or more."""
    if expected.shape != real.shape or min(real.shape[:2]) < side:
        raise ValueError(
            f"pictures of one shape and {side} pixels are needed, got {expected.shape}, "
            f"{real.shape}"
        )
    x = expected.astype(np.float64)
    rest = tiles(real - x, side)
    energies = [np.mean(rest**2)]
    rest -= rest.mean((0, 1, 2))
    energies.append(np.mean(rest**2))
    rest -= rest.mean((1, 2), keepdims=True)
    energies.append(np.mean(rest**2))
    # To first order, a shift goes with the gradient and a blur with the Laplacian.
    ways = [x, cv2.Sobel(x, -1, 0, 1, ksize=1) / 2, cv2.Sobel(x, -1, 1, 0, ksize=1) / 2]
    ways.append(cv2.Laplacian(x, -1, ksize=1) / 2)
    columns = np.stack([_centred(tiles(way, side)) for way in ways], axis=-1)
    normal = np.einsum("nhwci,nhwcj->nij", columns, columns, optimize=True)
    moment = np.einsum("nhwci,nhwc->ni", columns, rest, optimize=True)
    for count in (1, 3, 4):
        fit = _solved(normal[:, :count, :count], moment[:, :count])
        energies.append(energies[2] - np.sum(fit * moment[:, :count]) / rest.size)
        if count == 3:
            detail = normal[:, 1, 1] + normal[:, 2, 2]
            squares = np.sum(fit[:, 1:] ** 2, axis=1)
            shift = math.sqrt(np.sum(detail * squares) / max(np.sum(detail), 1e-9))
    rest -= np.einsum("nhwci,ni->nhwc", columns, fit, optimize=True)
    gain, down, right, blur = _solved(normal.sum(0), moment.sum(0)).tolist()
    return Apart(np.array(energies), rest, 1 + gain, -down, -right, blur, shift)


def _centred(planes: np.ndarray) -> np.ndarray:
    return planes - planes.mean((1, 2), keepdims=True)


def _solved(normal: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Least squares of each tile; what a flat tile does not tell is 0."""
    return (np.linalg.pinv(normal, hermitian=True) @ moment[..., None])[..., 0]


# Noise


def noise_power(left: np.ndarray, bands: int) -> np.ndarray:
    """(N, S, S, 3) to the power of its green channel by band, (B,), in grey levels squared."""
    window = spectrum.hann_window(left.shape[1])
    power = np.mean(np.abs(np.fft.fft2(left[..., 1] * window)) ** 2, axis=0)
    return spectrum.by_band(power / np.sum(window**2), bands)


def kurtosis(values: np.ndarray) -> float:
    """Fourth moment over the squared second, of any shape: 3 for Gaussian noise, 0 for none."""
    centred = values - np.mean(values)
    square = np.mean(centred**2)
    return float(np.mean(centred**4) / square**2) if square > 0 else 0.0


def noise_figures(expected: np.ndarray, left: np.ndarray, bands: int) -> dict[str, Any]:
    """How what is left is spread: over bands, over brightness, and in calm and busy places.

    expected: (H, W, 3) uint8; left: (N, 64, 64, 3), of its tiles. Places where `expected` is below
    8 or above 247 are left out, as noise is cut off there. Calm is the quarter of the others with
    the least local contrast, busy the tenth with the most. By brightness: calm places alone.
    """
    brightness, contrast = (tiles(p[..., None], TILE)[..., 0] for p in local(expected))
    usable = (brightness >= 8) & (brightness <= 247)
    if not np.any(usable):
        usable = np.ones_like(usable)
    low, high = np.quantile(contrast[usable], (0.25, 0.9))
    calm, busy = usable & (contrast <= low), usable & (contrast >= high)
    place = np.searchsorted(BRIGHTNESS[1:-1], brightness[calm], side="right")
    squares = np.sum(left[calm] ** 2, axis=-1)
    places = len(BRIGHTNESS) - 1
    return {
        "power": noise_power(left, bands).tolist(),
        "count": (3.0 * np.bincount(place, minlength=places)).tolist(),
        "squares": np.bincount(place, squares, places).tolist(),
        "calm": _place_figures(left[calm]),
        "busy": _place_figures(left[busy]),
    }


def _place_figures(left: np.ndarray) -> dict[str, float]:
    """(P, 3): mean square, kurtosis, and the mean square of what the three channels share."""
    return {
        "square": float(np.mean(left**2)),
        "kurtosis": kurtosis(left),
        "grey_square": float(np.mean(left.mean(-1) ** 2)),
    }


def along_edges(expected: np.ndarray, difference: np.ndarray) -> float:
    """How fast a difference changes along edges over how fast it does across them, in mean squares.

    expected: (H, W, 3) uint8, whose edges are meant: the tenth of the places with the most
    gradient; difference: (H, W, 3) float. About 1 for noise that knows nothing of edges, less for
    lines along them, as a shift, a blur or a sharpening leaves.
    """
    luma = cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY).astype(np.float64)
    right, down = cv2.Sobel(luma, -1, 1, 0), cv2.Sobel(luma, -1, 0, 1)
    # The direction in which squared gradients around a place are largest lies across its edge.
    products = (right**2, down**2, right * down)
    rr, dd, rd = (cv2.GaussianBlur(product, (0, 0), 1.5) for product in products)
    angle = np.arctan2(2 * rd, rr - dd)[..., None] / 2
    x, y = cv2.Sobel(difference, -1, 1, 0), cv2.Sobel(difference, -1, 0, 1)
    across = (x * np.cos(angle) + y * np.sin(angle)) ** 2
    along = (y * np.cos(angle) - x * np.sin(angle)) ** 2
    edges = rr + dd >= np.quantile(rr + dd, 0.9)
    return float(np.mean(along[edges]) / max(float(np.mean(across[edges])), 1e-9))


# Scenes


def residual_picture(real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """8 times real minus generated about grey (128), all (H, W, 3) uint8, cut off at both ends."""
    difference = AMPLIFIED * (real.astype(np.int32) - generated)
    return np.clip(128 + difference, 0, 255).astype(np.uint8)


def of_scene(
    hr: np.ndarray,
    real: np.ndarray,
    generated: np.ndarray,
    noisy: np.ndarray | None,
    scale: float,
    bands: int,
) -> dict[str, Any]:
    """All figures of one scene, for `over_scenes`.

    Pictures are (H, W, 3) uint8 of one shape, 256 pixels a side or more; noisy: `generated` with
    its noise; scale: the SR scale of the level; bands: 1 to 16. Raises DataError from `spectrum`.
    """
    lrs = {"real": real, "generated": generated, **({} if noisy is None else {"noisy": noisy})}
    apart = {"real": taken_apart(generated, real)}
    fine = {"real": taken_apart(generated, real, FINE_TILE)}
    if noisy is not None:
        # What drawn noise gives is the measure of what chance alone would fit.
        apart["drawn"] = taken_apart(generated, noisy)
        fine["drawn"] = taken_apart(generated, noisy, FINE_TILE)
    difference = tiles(real.astype(np.float64) - generated, TILE).mean((1, 2))
    return {
        "bands": {name: _band_figures(hr, lr, bands) for name, lr in lrs.items()},
        "parts": {name: found.energies.tolist() for name, found in apart.items()},
        "fine_parts": {name: found.energies.tolist() for name, found in fine.items()},
        "tone": {
            "difference": difference.mean(0).tolist(),
            "squares": (difference.mean(0) ** 2).tolist(),
            "tile_squares": difference.var(0).tolist(),
        },
        "fit": {name: _fit_figures(found, fine[name]) for name, found in apart.items()},
        "noise": {n: noise_figures(generated, found.left, bands) for n, found in apart.items()},
        "along_edges": {
            name: along_edges(generated, picture.astype(np.float64) - generated)
            for name, picture in (("real", real), ("drawn", noisy))
            if picture is not None
        },
        "grid": _grid_figures({**lrs, "hr": hr}, scale),
    }


def _band_figures(hr: np.ndarray, lr: np.ndarray, bands: int) -> dict[str, list[float]]:
    found = spectrum.transfer(hr, lr, bands)
    return {
        "transfer": found.real.tolist(),
        "magnitude": found.magnitude.tolist(),
        "coherent": found.coherent.tolist(),
        "power": found.power.tolist(),
        "coherence": found.coherence.tolist(),
    }


def _grid_figures(pictures: dict[str, np.ndarray], scale: float) -> dict[str, Any]:
    blocks = {name: blockiness(picture) for name, picture in pictures.items()}
    places = {name: mosaic(picture) for name, picture in pictures.items()}
    return {
        "blocks": blocks,
        # Of each scene alone, as a grid may begin elsewhere in the next.
        "strongest_block": {name: max(map(max, ways.values())) for name, ways in blocks.items()},
        "enlarged": {name: grid_line(p, BLOCK * scale) for name, p in pictures.items()},
        "mosaic": places,
        "mosaic_std": {name: float(np.std(powers)) for name, powers in places.items()},
    }


def _fit_figures(apart: Apart, fine: Apart) -> dict[str, float]:
    return {
        "contrast": apart.contrast,
        "down": apart.dy,
        "right": apart.dx,
        "blur": apart.blur,
        "shift_squares": apart.shift**2,
        "fine_shift_squares": fine.shift**2,
    }


def over_scenes(scenes: list[dict[str, Any]], bands: int) -> Residual:
    """Figures of one level, of what `of_scene` gave for each of its scenes; bands: as there."""
    mean = _mean(scenes)
    real, made = mean["bands"]["real"], mean["bands"]["generated"]
    beyond = np.subtract(made["coherent"], real["coherent"])
    tone = mean["tone"]
    return Residual(
        scenes=len(scenes),
        centres=spectrum.centres(bands).tolist(),
        bands={name: BandFigures(**found) for name, found in mean["bands"].items()},
        ratio=[
            b / a if coherence >= LEAST_COHERENCE else None
            for a, b, coherence in zip(
                real["transfer"], made["transfer"], real["coherence"], strict=True
            )
        ],
        leak=(beyond / np.maximum(made["power"], 1e-9)).tolist(),
        parts={name: _shares(left) for name, left in mean["parts"].items()},
        fine_parts={name: _shares(left) for name, left in mean["fine_parts"].items()},
        tone=ToneFigures(
            difference=tone["difference"],
            scene_rms=np.sqrt(tone["squares"]).tolist(),
            tile_std=np.sqrt(tone["tile_squares"]).tolist(),
        ),
        fit={name: FitFigures(**_rooted(found)) for name, found in mean["fit"].items()},
        noise=_noise(mean["noise"]),
        along_edges=mean["along_edges"],
        grid=GridFigures(**mean["grid"]),
    )


def _mean(values: list[Any]) -> Any:
    """Means of numbers in dicts and lists of one shape."""
    if isinstance(values[0], dict):
        return {name: _mean([value[name] for value in values]) for name in values[0]}
    return np.mean(values, axis=0).tolist()


def _shares(left: list[float]) -> PartFigures:
    taken = -np.diff(left) / max(left[0], 1e-9)
    return PartFigures(left, dict(zip(PARTS, taken.tolist(), strict=True)))


def _rooted(fit: dict[str, float]) -> dict[str, float]:
    """Mean squares, named so, to their roots."""
    return {
        name.removesuffix("_squares"): math.sqrt(value) if name.endswith("_squares") else value
        for name, value in fit.items()
    }


def _noise(mean: dict[str, Any]) -> NoiseFigures:
    real, drawn, ratio = _rest(mean["real"]), None, None
    if "drawn" in mean:
        drawn = _rest(mean["drawn"])
        ratio = (np.array(drawn.power) / np.maximum(real.power, 1e-9)).tolist()
    return NoiseFigures(((BRIGHTNESS[1:] + BRIGHTNESS[:-1]) / 2).tolist(), real, drawn, ratio)


def _rest(mean: dict[str, Any]) -> RestFigures:
    std = [
        math.sqrt(square / count) if count >= LEAST_PIXELS else None
        for square, count in zip(mean["squares"], mean["count"], strict=True)
    ]
    return RestFigures(mean["power"], std, _place(mean["calm"]), _place(mean["busy"]))


def _place(mean: dict[str, float]) -> PlaceFigures:
    return PlaceFigures(
        std=math.sqrt(mean["square"]),
        kurtosis=mean["kurtosis"],
        grey=mean["grey_square"] / max(mean["square"], 1e-9),
    )
