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
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Annotated, Any

import cv2
import numpy as np
import torch

from degflow_pipe.errors import UsageError
from degflow_pipe.noise import kernels
from degflow_pipe.pictures.arrays import rounded
from degflow_pipe.settings import AtMost, read, shown

NODES = np.array([0, 1, 2, 3, *range(4, 33, 2)]) / 64
"""Frequencies, cycles a pixel, at which a spectrum is given, both ways."""
BRIGHTNESS = np.linspace(0, 255, 9)
"""Grey levels at which the gain of the flat field is given."""
MOST = 1e9
"""No power and no gain is larger."""
MOST_KNOTS = 100
LEAST_SIDE = 64
"""Pixels of a picture's side, at least, that noise can be measured on."""
CONTRAST_SIGMA = 2.0
"""Pixels; width of the Gaussian window of a local standard deviation."""
KERNELS = len(kernels.DERIVATIVES) * len(kernels.LENGTHS)


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
        if len(self.blurs) < 2 or any(len(pair) != 2 for pair in self.blurs):
            raise UsageError(f"`blurs` must be pairs [t, sigma], got {shown(self.blurs)}")
        levels, sigmas = ([pair[i] for pair in self.blurs] for i in (0, 1))
        if (
            (levels[0], levels[-1]) != (0, 1)
            or levels != sorted(set(levels))
            or sigmas != sorted(sigmas)
            # Not by the ends alone, which let nan between them through.
            or not all(0 <= v <= MOST for v in (*levels, *sigmas))
            or self._sigma(times[0]) <= 0
        ):
            raise UsageError(
                f"`blurs` must go from t = 0 to 1, sigma from 0 up and above 0 at the knots, "
                f"got {shown(self.blurs)}"
            )

    @property
    def digest(self) -> str:
        """Twelve hex digits that tell noise models apart."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def add(
        self, picture: np.ndarray, t: float, rng: np.random.Generator, own: float = 1.0
    ) -> np.ndarray:
        """A picture without noise, (H, W, 3) float in [0, 255], as uint8 with the noise of level t.

        own: share of its own noise that HR still had when the camera saw it, 1 but where it was
        reduced. The same picture, t, own and state of rng give the same bytes.
        """
        picture = picture.astype(np.float32)
        return rounded(picture + self.drawn(picture, t, rng, own))

    def drawn(
        self, picture: np.ndarray, t: float, rng: np.random.Generator, own: float = 1.0
    ) -> np.ndarray:
        """The noise alone, (H, W, 3) float32 in grey levels, for a picture as `add` takes it."""
        left, right, weight = self._around(t, own)
        brightness, contrast = local(picture)
        noise = torch.zeros(3, *picture.shape[:2])
        kernels_drawn = np.zeros(picture.shape, np.float32)
        for knot, share in ((left, 1 - weight), (right, weight)):
            if knot is None or share <= 0:
                continue
            gain = np.interp(brightness, BRIGHTNESS, knot.gain).astype(np.float32)
            for axes, power, variance in (
                (knot.flat_axes, knot.flat, gain),
                (knot.edge_axes, knot.edge, contrast),
            ):
                fields = _fields(np.asarray(power), picture.shape[:2], rng)
                colours = torch.tensordot(torch.tensor(axes).T, fields, 1)
                noise += torch.from_numpy(np.sqrt(variance * share)) * colours
            variances = np.reshape(knot.kernels, (-1, len(kernels.LENGTHS), 3, 3)) * share
            size = (self._sigma(t) / self._sigma(knot.t)) ** 2
            variances *= np.power(size, kernels.ORDERS)[:, None, None, None]
            kernels_drawn += kernels.drawn(variances, picture, rng)
        return np.asarray(noise.permute(1, 2, 0)) + kernels_drawn

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
    """The generator of one patch's noise at one level: of its bytes, not of its place in a batch.

    hr: (H, W, 3) uint8; t: told apart to nine decimals. Raises UsageError for a seed below 0.
    """
    if seed < 0:
        raise UsageError(f"`seed` must be 0 or more, got {seed}")
    key = hashlib.blake2b(np.ascontiguousarray(hr).tobytes(), digest_size=16).digest()
    return np.random.default_rng([seed, int.from_bytes(key, "big"), round(t * 1e9)])


def local(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and contrast at each pixel, (H, W) float32: local mean and deviation of luma."""
    luma = cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)
    mean = cv2.GaussianBlur(luma, (0, 0), CONTRAST_SIGMA)
    # Of what is left of the mean, as the square of the grey levels would cost float32 its digits.
    rest = cv2.GaussianBlur((luma - mean) ** 2, (0, 0), CONTRAST_SIGMA)
    return np.clip(mean, 0, 255), np.sqrt(np.maximum(rest, 0))


def hats(values: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """How much each of K nodes counts at N values, (N, K), where straight lines join the nodes."""
    return np.stack([np.interp(values, nodes, node) for node in np.eye(len(nodes))], axis=-1)


def _fields(power: np.ndarray, sides: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    """Gaussian fields (3, H, W) float32 with the given powers (3, K²), by their spectra.

    They are periodic, which no picture shows. By torch, which keeps to its one thread where many
    workers share the cores; numpy's products would not.
    """
    white = torch.from_numpy(rng.standard_normal((3, *sides), np.float32))
    return torch.fft.irfft2(torch.fft.rfft2(white) * _amplitude(power.tobytes(), sides), s=sides)


@lru_cache(maxsize=16)
def _amplitude(power: bytes, sides: tuple[int, int]) -> torch.Tensor:
    """(3, H, W // 2 + 1) float32; kept, as patches of one size have many levels in common."""
    height, width = sides
    vertical, horizontal = (
        torch.from_numpy(hats(np.abs(frequency), NODES))
        for frequency in (np.fft.fftfreq(height), np.fft.rfftfreq(width))
    )
    surfaces = torch.from_numpy(np.frombuffer(power).reshape(3, len(NODES), len(NODES)).copy())
    return (vertical @ surfaces @ horizontal.T).sqrt().float()
