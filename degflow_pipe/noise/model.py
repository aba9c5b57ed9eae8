"""What a mean cannot draw: the noise of a camera's LR, fitted on real pairs and drawn anew.

The networks give the LR that is expected of an HR photo; a real LR differs from it by sensor noise,
compression, alignment and sharpening. A knot's noise is a random kernel at each place (`kernels`),
which moves and sharpens edges, and two Gaussian fields: a flat one that is everywhere, its variance
a function of brightness, and an edge field whose variance is proportional to the local contrast of
the LR; each with its own spectrum and colours. A spectrum is a surface over vertical and horizontal
frequency, as pixels and enlarging favour the directions of rows and columns. Pictures are
(H, W, 3) RGB in grey levels, 0 to 255; spectra are in grey levels squared.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from degflow_pipe.errors import UsageError
from degflow_pipe.noise.nodes import BRIGHTNESS, DERIVATIVES, LENGTHS, NODES
from degflow_pipe.noise.numbers import check_seed, digest_of_hr, other_key
from degflow_pipe.settings import AtMost, read, shown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from degflow_pipe.noise import by_opencv, by_torch

DRAWING = 5
"""Raised when the same model, seed and picture give another LR than before."""
MOST = 1e9
"""No power and no gain is larger."""
MOST_KNOTS = 100
LEAST_SIDE = 64
"""Pixels of a picture's side, at least, that noise can be measured on."""
MOST_SIDES = 2
"""Of stocks that a knot keeps; see `stock.side_for`."""
LEAST_SIGMA, MOST_SIGMA = 0.01, 100.0
"""Pixels of blur at a knot. Weights go with up to the fourth power of what levels have of it."""
_MAKING = threading.Lock()
"""Of stocks: threads that begin together would each make the same."""
KERNELS = len(DERIVATIVES) * len(LENGTHS)


@dataclass(frozen=True)
class KnotNoise:
    """The noise at one level.

    t: the level. flat_axes, edge_axes: 3 rows, unit colours (R, G, B) along which a field's parts
    are independent. flat: (3, K²), power of the flat field along each axis at the K NODES of
    vertical frequency and, for each of these, the K of horizontal frequency. edge: (3, K²), that of
    the edge field at a contrast of one grey level. gain: (9,), relative variance of the flat field
    at BRIGHTNESS. kernels: (15, 9), covariance of the weights of R, G and B, row by row, for each
    derivative and, for each of these, each length of `kernels`.
    """

    t: float
    flat_axes: Annotated[list[list[float]], AtMost(MOST)]
    edge_axes: Annotated[list[list[float]], AtMost(MOST)]
    flat: Annotated[list[list[float]], AtMost(MOST)]
    edge: Annotated[list[list[float]], AtMost(MOST)]
    gain: Annotated[list[float], AtMost(MOST)]
    kernels: Annotated[list[list[float]], AtMost(MOST)]

    def __post_init__(self) -> None:
        nodes = len(NODES) ** 2
        if not 0 < self.t <= 1:
            raise UsageError(f"`t` must be in (0, 1], got {self.t}")
        for name, rows, wanted, least in (
            ("flat_axes", self.flat_axes, [3] * 3, -1.0),
            ("edge_axes", self.edge_axes, [3] * 3, -1.0),
            ("flat", self.flat, [nodes] * 3, 0.0),
            ("edge", self.edge, [nodes] * 3, 0.0),
            ("gain", [self.gain], [len(BRIGHTNESS)], 0.0),
            ("kernels", self.kernels, [9] * KERNELS, -MOST),
        ):
            found = [len(row) for row in rows]
            # Not by min and max, which let nan through.
            if found != wanted or not all(least <= v <= MOST for row in rows for v in row):
                raise UsageError(
                    f"`{name}` must hold {len(wanted)} x {wanted[0]} numbers from "
                    f"{least:g}, got {shown(found)}"
                )

    def __getstate__(self) -> dict[str, Any]:
        return asdict(self)  # without the stocks, which each process makes for itself

    def stocks(self, side: int, device: torch.device) -> by_opencv.Stocks | by_torch.Stocks:
        """Of that side in pixels; kept for a few. Threads that want the same one wait for it."""
        with _MAKING:
            return self._stocks(side, device)

    @cached_property
    def _stocks(self) -> Callable[[int, torch.device], by_opencv.Stocks | by_torch.Stocks]:
        from degflow_pipe.noise.knot import stocks_of

        return lru_cache(maxsize=MOST_SIDES)(partial(stocks_of, self))


@dataclass(frozen=True)
class NoiseModel:
    """Noise at every level: that of the knots, joined by straight lines of their powers.

    Below the first knot the noise has the share of that knot's power that `onset` says: a camera's
    noise is the same at every scale, but HR brings its own, which a blur must first take away.
    onset: [t, share in [0, 1]] pairs, t rising from 0 to the first knot's. blurs: [t, sigma]
    pairs, t rising from 0 to 1, sigma not falling: equivalent blur of generated LR in pixels, the
    sigma of the Gaussian that best turns HR into it.

    Kernels differ from one another in proportion to their size: the weight of an n-th derivative
    goes as sigma to the n. As derivatives grow by as much where LR is sharper, what the kernels
    draw in pictures of no scale of their own stays the same.
    """

    knots: list[KnotNoise]
    onset: list[list[float]]
    blurs: list[list[float]]

    def __post_init__(self) -> None:
        times = [knot.t for knot in self.knots]
        if not times or times != sorted(set(times)):
            raise UsageError(f"`knots` must be one or more, t rising, got t = {shown(times)}")
        if not self.onset or any(len(pair) != 2 for pair in self.onset):
            raise UsageError(f"`onset` must be pairs [t, share], got {shown(self.onset)}")
        steps, shares = ([pair[i] for pair in self.onset] for i in (0, 1))
        if steps != sorted(set(steps)) or not all(0 <= v <= 1 for v in (*steps, *shares)):
            raise UsageError(f"`onset` must rise in t, all in [0, 1], got {shown(self.onset)}")
        if steps[0] != 0 or abs(steps[-1] - times[0]) > 1e-5:
            raise UsageError(
                f"`onset` must go from t = 0 to the first knot's, {times[0]:g}, got "
                f"{shown(self.onset)}"
            )
        if len(self.blurs) < 2 or any(len(pair) != 2 for pair in self.blurs):
            raise UsageError(f"`blurs` must be pairs [t, sigma], got {shown(self.blurs)}")
        levels, sigmas = ([pair[i] for pair in self.blurs] for i in (0, 1))
        if (
            (levels[0], levels[-1]) != (0, 1)
            or levels != sorted(set(levels))
            or sigmas != sorted(sigmas)
            # Not by the ends alone, which let nan between them through.
            or not all(0 <= v <= MOST for v in (*levels, *sigmas))
            or not all(LEAST_SIGMA <= self._sigma(t) <= MOST_SIGMA for t in (times[0], 1))
        ):
            raise UsageError(
                f"`blurs` must go from t = 0 to 1, sigma not falling, and be from {LEAST_SIGMA:g} "
                f"to {MOST_SIGMA:g} at the knots, got {shown(self.blurs)}"
            )

    @property
    def digest(self) -> str:
        """Twelve hex digits that tell noise models, and ways to draw them, apart."""
        text = json.dumps([DRAWING, self.to_dict()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def drawn(self, pictures: Tensor, t: float, keys: Sequence[int], own: float = 1.0) -> Tensor:
        """The noise of level t, (B, 3, H, W) float32 in grey levels.

        pictures: without noise, (B, 3, H, W) float32 RGB in [0, 255]. keys: of each, see
        `numbers.noise_key`. own: share of its own noise that HR still had when the camera saw it, 1
        but where it was reduced. The same picture, t, own and key give the same bytes on one kind
        of device, on the CPU whatever the batch.
        """
        from degflow_pipe.noise import by_opencv, by_torch, kernels, stock
        from degflow_pipe.noise.knot import Share

        side = stock.side_for((pictures.shape[-2], pictures.shape[-1]))
        shares = []
        for i, (knot, share) in enumerate(self._shares(t, own)):
            size = self._sigma(t) / self._sigma(knot.t)
            factors = [math.sqrt(share) * size**order for order in kernels.ORDERS]
            own_keys = keys if i == 0 else [other_key(key) for key in keys]
            stocks = knot.stocks(side, pictures.device)
            shares.append(Share(stocks, stock.cuts_of(own_keys, stocks.sides), factors, share))
        way = by_opencv if pictures.device.type == "cpu" else by_torch
        return way.noise_of(pictures, shares)

    def _shares(self, t: float, own: float) -> Iterator[tuple[KnotNoise, float]]:
        """The knots around t that have a share of the power, and their shares."""
        left, right, weight = self._around(t, own)
        if left is not None and weight < 1:
            yield left, 1 - weight
        if weight > 0:
            yield right, weight

    def _around(self, t: float, own: float) -> tuple[KnotNoise | None, KnotNoise, float]:
        """The knots on both sides of t, and the share of the right one's power."""
        first, last = self.knots[0], self.knots[-1]
        if t <= first.t:
            times, shares = zip(*self.onset, strict=True)
            return None, first, 1 - own * (1 - float(np.interp(t, times, shares)))
        for a, b in zip(self.knots, self.knots[1:], strict=False):
            if t <= b.t:
                return a, b, (t - a.t) / (b.t - a.t)
        return None, last, 1.0

    def _sigma(self, t: float) -> float:
        levels, sigmas = zip(*self.blurs, strict=True)
        return float(np.interp(t, levels, sigmas))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any, key: str = "noise") -> NoiseModel:
        """Raises UsageError naming what is wrong below `key`."""
        try:
            if not isinstance(data, dict):
                raise UsageError(f"`{key}` must be a mapping")
            knots = data.get("knots", [])
            if not isinstance(knots, list) or len(knots) > MOST_KNOTS:
                raise UsageError(f"`{key}.knots` must be a list of {MOST_KNOTS} at most")
            knots = [read(KnotNoise, knot, f"{key}.knots") for knot in knots]
            return read(cls, {**data, "knots": knots}, key)
        except UsageError as error:
            raise UsageError(
                f"{error}: delete calibration from config.json and run `calibrate()` again"
            ) from error


def noise_rng(seed: int, hr: np.ndarray, t: float) -> np.random.Generator:
    """numpy's generator of one patch at one level, for what is not drawn by `NoiseModel`.

    hr: (H, W, 3) uint8; t: told apart to nine decimals. Raises UsageError for a seed below 0.
    """
    check_seed(seed)
    return np.random.default_rng([seed, int.from_bytes(digest_of_hr(hr), "big"), round(t * 1e9)])
