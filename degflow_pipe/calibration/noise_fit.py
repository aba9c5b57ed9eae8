"""Fits `NoiseModel`: what is left between real LR and the expected one, on training pairs.

First the kernels that differ from place to place (`kernel_fit`). Then, in tiles of 64 pixels: the
power that the residual has beyond what these draw, at each node of frequency and along each of a
field's colour axes, is a straight line in the tile's contrast. Its height at no contrast is the
flat field, its slope the edge field. What the expected LR has too much of, HR's detail that leaked
into it, is in the residual too; so each node is brought down to the power that the expected LR
lacks.

What is measured is the field's power smoothed, by the window of a tile, by the unevenness that the
field is multiplied with, and by the straight lines between nodes; drawing smooths it once more. So
the power to draw is the one that, smoothed in the same way, gives what was measured; found by
Richardson's and Lucy's iteration (Lucy, Astronomical Journal 79, 1974), which keeps it from 0 up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from degflow_pipe.calibration.kernel_fit import KernelFit
from degflow_pipe.metrics.spectrum import hann_window
from degflow_pipe.noise import by_opencv, kernels, stock
from degflow_pipe.noise.fields import hats
from degflow_pipe.noise.knot import KERNELS_SIDE
from degflow_pipe.noise.model import LEAST_SIDE, KnotNoise
from degflow_pipe.noise.nodes import BRIGHTNESS, NODES
from degflow_pipe.pictures.arrays import tiles

TILE = LEAST_SIDE
TILES = 96
"""Tiles of a picture that are looked at, evenly spread."""
CALM = 0.25
"""Share of the tiles, those of the least contrast, that tell the flat field's colours."""
LEAST_SHARE = 0.1
"""Of a node's power that the residual must have to be compared with what is lacking."""
BAND = 1 / 16
"""Cycles a pixel; width of the bands in which the kernels may be no stronger than the residual."""
SHARPENING = 10
"""Iterations that take the smoothing back; 40 change no band of City100 by 2 %."""
LEAST = 1e-9
"""Grey levels squared, far below rounding; what is divided by is no smaller."""
ROUNDING = 1 / 12
"""Power of the real LR's rounding to bytes, which the noise will go through once more."""


@dataclass
class NoiseFit:
    """Gathers the residuals of one knot, picture by picture."""

    residuals: list[np.ndarray] = field(default_factory=list)
    reals: list[np.ndarray] = field(default_factory=list)
    contrasts: list[np.ndarray] = field(default_factory=list)
    brightnesses: list[np.ndarray] = field(default_factory=list)
    kernels: KernelFit = field(default_factory=KernelFit)
    spread: np.ndarray = field(default_factory=lambda: np.zeros((TILE, TILE)))
    """What the edge field's unevenness and the window spread a frequency to; see `_spread`."""

    def add(self, expected: np.ndarray, real: np.ndarray) -> None:
        """expected, real: (H, W, 3) in [0, 255], sides of LEAST_SIDE or more."""
        brightness, contrast = by_opencv.local(expected)
        self.kernels.add(expected, real)
        self.residuals.append(_tiles(real.astype(np.float32) - expected))
        self.reals.append(_tiles(real))
        contrasts = _tiles(contrast[..., None])[..., 0]
        self.contrasts.append(contrasts.mean((1, 2)))
        self.spread += _spread(np.sqrt(contrasts))
        self.brightnesses.append(_tiles(brightness[..., None]).mean((1, 2, 3)))

    def fitted(self, t: float) -> KnotNoise:
        """The knot's noise, from all that was added."""
        residual = np.concatenate(self.residuals)
        contrast, brightness = np.concatenate(self.contrasts), np.concatenate(self.brightnesses)
        real = np.concatenate(self.reals).astype(np.float32)
        expected = real - residual
        # A tile's own mean is exposure and white balance, which differ from shot to shot.
        residual -= residual.mean((1, 2), keepdims=True)
        variances = self.kernels.fitted()
        moved = _moved(variances, expected)
        share = _share_there(residual, moved)
        variances, moved = share * variances, np.sqrt(share) * moved

        def lines(axes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            power, whole, wanted, drawn = (
                _powers(planes, axes) for planes in (residual, expected, real, moved)
            )
            power *= _lacking(*(part.mean(0) for part in (power, wanted, whole)))
            return power - drawn, *_lines(power, drawn, contrast)

        flat_axes, edge_axes = _axes(residual, moved, contrast)
        left, flat, edge_of_flat = lines(flat_axes)
        gain = _gain(left, contrast, brightness, flat, edge_of_flat)
        edge = lines(edge_axes)[2]
        flat = _sharpened(flat, _spread(np.ones((1, TILE, TILE), np.float32)))
        edge = _sharpened(edge, self.spread)
        return KnotNoise(
            t=t,
            flat_axes=np.round(flat_axes, 6).tolist(),
            edge_axes=np.round(edge_axes, 6).tolist(),
            flat=np.round(np.maximum(flat - ROUNDING, 0), 6).tolist(),
            edge=np.round(edge, 6).tolist(),
            gain=np.round(gain, 4).tolist(),
            kernels=np.round(variances, 6).reshape(-1, 9).tolist(),
        )


def _moved(variances: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """What the kernels draw of tiles, (N, 64, 64, 3)."""
    weights = np.moveaxis(kernels.stock_of("fit", variances, KERNELS_SIDE), -3, -1)
    side, moved = weights.shape[2], np.zeros_like(expected)
    (cuts,) = stock.cuts_of(range(len(expected)), [side])
    for tile, cut, out in zip(expected, cuts, moved, strict=True):
        own = by_opencv.weights_of(weights, side, (TILE, TILE), cut)
        by_opencv.add_kernels(out, own, tile)
    return moved


def _share_there(residual: np.ndarray, moved: np.ndarray) -> float:
    """Share of the kernels' power, at most 1, that is nowhere more than what is there.

    residual, moved: (N, 64, 64, 3), what is left of real LR and what the kernels draw of it. Their
    weights are told by calm places; at a strong edge the expected LR need not err by as much more
    as its derivatives are larger.
    """
    band = np.hypot(NODES[:, None], NODES).ravel() // BAND
    there, drawn = (
        np.bincount(band.astype(int), _powers(part, np.eye(3)).mean(0).sum(0) * _bins())
        for part in (residual, moved)
    )
    told = drawn > LEAST_SHARE * drawn.max()
    return float(np.min(there[told] / np.maximum(drawn[told], LEAST), initial=1.0))


def _bins() -> np.ndarray:
    """How many frequencies of a tile each node stands for, (K²,)."""
    count = _lines_between().sum(0)
    return np.outer(count, count).ravel()


def _axes(
    residual: np.ndarray, moved: np.ndarray, contrast: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colours along which the flat and the edge field are independent, rows of (3, 3) float32 each.

    residual, moved: (N, 64, 64, 3), what is left of real LR and what the kernels draw of it.
    """
    left = sum(
        sign * np.einsum("nhwc,nhwd->ncd", part, part) / part[0, ..., 0].size
        for part, sign in ((residual, 1), (moved, -1))
    )
    calm = contrast <= np.quantile(contrast, CALM)
    # Of the calm tiles, and of what the others have beyond them.
    flat = left[calm].mean(0)
    edge = left[~calm].mean(0) - flat if not calm.all() else flat
    of_flat, of_edge = (np.linalg.eigh(part)[1].T.astype(np.float32) for part in (flat, edge))
    return of_flat, of_edge


def _tiles(picture: np.ndarray) -> np.ndarray:
    """(H, W, C) to (N, 64, 64, C), N at most TILES; a rest at the right and bottom is left out."""
    found = tiles(picture, TILE)
    return found[:: -(-len(found) // TILES)].copy()


def _lines_between() -> np.ndarray:
    """How much each node counts at the frequencies of a tile, (64, K)."""
    return hats(np.abs(np.fft.fftfreq(TILE)), NODES)


def _powers(tiles: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(N, 64, 64, 3) to its power along each axis at the nodes, (N, 3, K²), under a Hann window."""
    window, share = hann_window(TILE).astype(np.float32), _lines_between()
    share /= share.sum(0)
    found = np.empty((len(tiles), 3, len(NODES), len(NODES)))
    for i, tile in enumerate(tiles):
        centred = tile - tile.mean((0, 1))
        planes = np.einsum("hwc,ac->ahw", centred, axes) * window
        spectra = np.abs(np.fft.fft2(planes)) ** 2 / np.sum(window**2)
        found[i] = share.T @ spectra @ share
    # The constant part was taken out: its node holds what the next ones do.
    found[..., 0, 0] = (found[..., 0, 1] + found[..., 1, 0]) / 2
    return found.reshape(len(tiles), 3, -1)


def _spread(amplitudes: np.ndarray) -> np.ndarray:
    """What one frequency is spread to by the window and by fields' amplitudes: powers, (64, 64).

    amplitudes: (N, 64, 64), which a field is multiplied with in each tile.
    """
    window = hann_window(TILE).astype(np.float32)
    total = np.zeros((TILE, TILE))
    for amplitude in amplitudes:
        total += np.abs(np.fft.fft2(window * amplitude)) ** 2
    return total


def _sharpened(power: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The power at the nodes, (3, K²), that is measured as `power` when it is spread so."""
    between, smoothing = _lines_between(), np.fft.fft2(spread / max(float(spread.sum()), LEAST))
    share = between / between.sum(0)
    # A tile's mean is not measured.
    measured_bins = np.ones((TILE, TILE))
    measured_bins[0, 0] = 0

    def smoothed(plane: np.ndarray) -> np.ndarray:
        # Its own transpose, as the smoothing is even. Rounding must not make it negative.
        return np.maximum(np.fft.ifft2(np.fft.fft2(plane) * smoothing).real, 0)

    def measured(surface: np.ndarray) -> np.ndarray:
        return share.T @ smoothed(measured_bins * (between @ surface @ between.T)) @ share

    def back(surface: np.ndarray) -> np.ndarray:
        return between.T @ (measured_bins * smoothed(share @ surface @ share.T)) @ between

    shape = (len(NODES), len(NODES))
    counts = np.maximum(back(np.ones(shape)), LEAST)
    found = []
    for row in power:
        wanted = row.reshape(shape)
        surface = np.maximum(wanted, LEAST)
        for _ in range(SHARPENING):
            ratio = wanted / np.maximum(measured(surface), LEAST)
            # Without the tile's mean this node is not measured: it follows its neighbours.
            ratio[0, 0] = (ratio[0, 1] + ratio[1, 0]) / 2
            surface = surface * back(ratio) / counts
        surface[0, 0] = (surface[0, 1] + surface[1, 0]) / 2
        found.append(surface.ravel())
    return np.stack(found)


def _lacking(residual: np.ndarray, real: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Share of the residual's power by node that the expected LR lacks; all are (3, K²).

    Where the residual is small beside the picture the difference of the two powers tells nothing.
    """
    share = np.clip((real - expected) / np.maximum(residual, LEAST), 0, 1)
    return np.where(residual > LEAST_SHARE * real, share, 1.0)


def _lines(
    power: np.ndarray, drawn: np.ndarray, contrast: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Height and slope of power minus drawn against contrast, both (3, K²) and never below 0.

    A power spreads in proportion to itself, so a tile counts by its inverse square; twice over, as
    the expected power has to be known for that.
    """
    x = np.stack([np.ones_like(contrast), contrast], axis=1)
    # What the kernels draw goes with the derivatives' squares.
    squares = contrast**2 / max(float(np.mean(contrast**2)), LEAST)
    moved = drawn.mean(0) * squares[:, None, None]
    expected = (1 + contrast)[:, None, None] + moved
    flat = edge = np.zeros(power.shape[1:])
    for _ in range(3):
        weight = 1 / np.maximum(expected, 1e-6) ** 2
        normal = np.einsum("nab,ni,nj->abij", weight, x, x)
        moment = np.einsum("nab,nab,ni->abi", weight, power - drawn, x)
        # By the pseudoinverse, as tiles of one contrast, or one tile, tell no slope.
        line = (np.linalg.pinv(normal, rcond=1e-9, hermitian=True) @ moment[..., None])[..., 0]
        flat, edge = np.maximum(line[..., 0], 0), np.maximum(line[..., 1], 0)
        fields = flat + edge * contrast[:, None, None]
        expected = fields + moved
    # Where the power is no straight line the weights bend it; its mean is to stay.
    lacking = np.maximum((power - drawn).mean(0), 0)
    right = lacking / np.maximum(fields.mean(0), LEAST)
    return flat * right, edge * right


def _gain(
    power: np.ndarray,
    contrast: np.ndarray,
    brightness: np.ndarray,
    flat: np.ndarray,
    edge: np.ndarray,
) -> np.ndarray:
    """Relative variance of the flat field at BRIGHTNESS, from the calmer half of the tiles."""
    calm = contrast <= np.median(contrast)
    bins = _bins()
    flat_sum, edge_sum = max(float((flat @ bins).sum()), LEAST), float((edge @ bins).sum())
    left = (power[calm] @ bins).sum(1) - contrast[calm] * edge_sum
    relative = left / flat_sum
    # Each tile counts for the two nodes around it, as the gain is a chain of straight lines, and by
    # how much of its power is the flat field's: the rest is a difference of what is far larger.
    sure = flat_sum / (flat_sum + contrast[calm] * edge_sum)
    shares = hats(brightness[calm], BRIGHTNESS) * (sure**2)[:, None]
    # Ten tiles' worth of 1 hold what no tile tells about.
    gain = (shares.T @ relative + 10) / (shares.sum(0) + 10)
    return np.clip(gain, 0.05, 20)
