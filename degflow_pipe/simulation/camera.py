"""A physical zoom camera: an HR photo as the same camera would take it at scale s.

The HR photo is taken for the camera's own picture at s = 1. At scale s the lens is s times wider:
the same sensor sees the scene s times smaller, so that optics of one size on the sensor are s times
larger in HR pixels. Light goes the way it goes in a camera, in linear light up to the tone curve:

    decode -> lens (diffraction, blur, colour fringes) -> sensor area -> Bayer mosaic and noise
    -> demosaic -> tone curve -> JPEG -> enlargement to the HR's size

Lengths are in HR pixels unless they are said to be in sensor pixels (one is s HR pixels wide).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from degflow_pipe.errors import UsageError
from degflow_pipe.pictures.arrays import rounded
from degflow_pipe.pictures.formats import parse_format

VERSION = 2
"""Raised when the same parameters give other pictures than before."""
MAX_SCALE = 16.0
MIN_SENSOR = 16
"""Sensor pixels on the shorter side of a picture, at least."""
WAVELENGTHS = (0.61, 0.54, 0.47)
"""Of red, green and blue light, in micrometres."""

_EDGE = 8
"""Sensor pixels computed beyond each side of the picture, which is mirrored there: a JPEG block."""
_HIGHEST = math.sqrt(0.5)
"""The highest frequency of a picture, along its diagonal, in cycles per pixel."""


@dataclass(frozen=True)
class ZoomCamera:
    """A camera with an APS-C sensor and a kit zoom. Raises UsageError for what cannot be.

    aperture: f-number. Diffraction's cutoff must lie above what the HR can hold.
    pixel_pitch: side of a sensor pixel in micrometres.
    blur_centre, blur_corner: standard deviation of the Gaussian that stands for focus error and
        aberrations, in sensor pixels, in the middle and at the corners of the picture.
    fringe: lateral chromatic aberration: red is moved outward, and blue inward, by this many HR
        pixels per unit of s - 1 at the corners, in proportion to the distance from the middle.
    full_well: electrons of a green pixel that is just white; fewer make more noise. Photons arrive
        as a Poisson process.
    read_noise: standard deviation of the electronics' Gaussian noise, in electrons.
    white_balance: what the sensor's red, green and blue are multiplied with, noise included.
    contrast: strength of the S-curve over the sRGB curve, in [0, 1); 0 is plain sRGB.
    jpeg_quality: 1 to 100, chroma in full.
    """

    aperture: float = 5.6
    pixel_pitch: float = 3.9
    blur_centre: float = 0.5
    blur_corner: float = 0.9
    fringe: float = 0.4
    full_well: float = 15000.0
    read_noise: float = 4.0
    white_balance: tuple[float, float, float] = (2.0, 1.0, 1.6)
    contrast: float = 0.3
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        _check("pixel_pitch", self.pixel_pitch, 0.5, 50)
        _check("aperture", self.aperture, 0.5, self.pixel_pitch / (_HIGHEST * WAVELENGTHS[0]))
        _check("blur_centre", self.blur_centre, 0, 5)
        _check("blur_corner", self.blur_corner, 0, 5)
        _check("fringe", self.fringe, 0, 5)
        _check("full_well", self.full_well, 1, 1e12)
        _check("read_noise", self.read_noise, 0, 1e6)
        for gain in self.white_balance:
            _check("white_balance", gain, 0.1, 10)
        _check("contrast", self.contrast, 0, 0.99)
        _check("jpeg_quality", self.jpeg_quality, 1, 100)

    def shoot(self, hr: np.ndarray, s: float, rng: np.random.Generator) -> np.ndarray:
        """The photo at scale s: (H, W, 3) uint8 sRGB, aligned with `hr`, which is of that shape.

        s: 1 to MAX_SCALE, fractions included. rng: where the noise comes from; nothing else is
        random. Raises UsageError for another s, and for a picture of less than MIN_SENSOR sensor
        pixels on a side.
        """
        check_scale(s)
        height, width = hr.shape[:2]
        if min(height, width) < MIN_SENSOR * s:
            raise UsageError(
                f"scale {s:g} needs a picture of {math.ceil(MIN_SENSOR * s)} pixels on a side at "
                f"least, got {width} x {height}: give a larger picture or a smaller scale"
            )
        rows, columns = _sensor_pixels(height, s), _sensor_pixels(width, s)
        sensor = np.empty((rows, columns, 3), np.float32)
        decode = self.decoding()
        for channel in range(3):
            light = self._lens(decode[hr[:, :, channel]], s, channel)
            sensor[:, :, channel] = self._sample(light, (height, width), s, channel)
        photo = self.develop(demosaic(self.expose(sensor, rng)))
        photo = parse_format(f"jpeg:{self.jpeg_quality}").round_trip(photo)
        return enlarge(photo, (height, width), s)

    def decoding(self) -> np.ndarray:
        """Linear light of the 256 grey levels, (256,) float32 in [0, 1]: `develop` backwards."""
        fine = np.linspace(0, 1, 65537)
        encoded = np.interp(np.arange(256) / 255, self._s_curve(fine), fine)
        dark = encoded / 12.92
        bright = ((encoded + 0.055) / 1.055) ** 2.4
        return np.where(encoded <= 0.04045, dark, bright).astype(np.float32)

    def develop(self, light: np.ndarray) -> np.ndarray:
        """Linear light (...) float, clipped to [0, 1], through sRGB and S-curve to uint8."""
        light = np.clip(light, 0, 1)
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        return np.rint(255 * self._s_curve(encoded)).astype(np.uint8)

    def _s_curve(self, v: np.ndarray) -> np.ndarray:
        """Rising from 0 at 0 to 1 at 1, steepest in the middle."""
        return (1 - self.contrast) * v + self.contrast * v * v * (3 - 2 * v)

    def psf(self, s: float, channel: int, blur: float) -> np.ndarray:
        """What the lens adds to the HR at scale s: (K, K) float32, K odd, of sum 1.

        Its transfer function is O(s f) / O(f): the optics O at scale s over those that are in the
        HR already, so it is a single 1 at s = 1. channel: 0, 1 or 2 for the colour of the light;
        blur: as blur_centre.
        """
        radius = math.ceil(5 * s * max(blur, 1))
        frequency = np.fft.fftfreq(2 * radius + 1)
        f = np.hypot(frequency[:, None], frequency)
        cutoff = self.pixel_pitch / (WAVELENGTHS[channel] * self.aperture)
        diffraction = diffraction_mtf(s * f / cutoff) / diffraction_mtf(f / cutoff)
        aberration = np.exp(-2 * (math.pi * blur * f) ** 2 * (s * s - 1))
        kernel = np.fft.fftshift(np.fft.ifft2(diffraction * aberration).real)
        return kernel.astype(np.float32)

    def _lens(self, light: np.ndarray, s: float, channel: int) -> np.ndarray:
        """(H, W) linear light, mirrored on all sides and blurred: (H + 2 m, W + 2 m) float32.

        The blend of the two PSFs follows the square of the distance from the middle.
        """
        margin = self._margin(s)
        light = np.pad(light, margin, mode="symmetric")
        centre = cv2.filter2D(light, -1, self.psf(s, channel, self.blur_centre))
        corner = cv2.filter2D(light, -1, self.psf(s, channel, self.blur_corner))
        y, x = (np.arange(side, dtype=np.float32) - (side - 1) / 2 for side in light.shape)
        half_diagonal = math.hypot(*(side - 2 * margin for side in light.shape)) / 2
        field = np.minimum((y[:, None] ** 2 + x**2) / half_diagonal**2, 1)
        return centre + field * (corner - centre)

    def _margin(self, s: float) -> int:
        """HR pixels beyond each side that the sensor's outermost pixels may see."""
        return math.ceil((_EDGE + 1) * s + 2 * self.fringe * s) + 1

    def _sample(
        self, light: np.ndarray, size: tuple[int, int], s: float, channel: int
    ) -> np.ndarray:
        """Light of one colour that falls on each sensor pixel, (rows, columns) in [0, 1].

        A fringe is a larger or smaller image of one colour, hence a smaller or larger grid in it.
        """
        moved = (1, 0, -1)[channel] * self.fringe * (s - 1)
        pitch = s / (1 + moved / (math.hypot(*size) / 2))
        for side in size:
            count = _sensor_pixels(side, s)
            middle = self._margin(s) + side / 2
            edges = middle + (np.arange(count + 1) - count / 2) * pitch
            light = _area_means(light, edges).T
        return light

    def expose(self, sensor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Linear light (h, w, 3) to the Bayer mosaic with its noise, (h, w) float32, balanced.

        Red at even rows and columns, blue at odd ones (RGGB). White is 1; noise may go below 0.
        """
        rows, columns = (np.arange(side) % 2 for side in sensor.shape[:2])
        colour = rows[:, None] + columns
        light = np.take_along_axis(sensor, colour[:, :, None], axis=2)[:, :, 0]
        electrons_of_white = self.full_well / np.array(self.white_balance)[colour]
        electrons = rng.poisson(np.maximum(light, 0) * electrons_of_white).astype(np.float64)
        electrons += rng.normal(0, self.read_noise, electrons.shape)
        return (electrons / electrons_of_white).astype(np.float32)


def check_scale(s: float, name: str = "scale") -> None:
    """Raises UsageError for a scale outside 1 to MAX_SCALE."""
    _check(name, s, 1, MAX_SCALE)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} must be {low:g} to {high:g}, got {value:g}")


def diffraction_mtf(v: np.ndarray) -> np.ndarray:
    """Contrast behind a round aperture at frequency v in units of its cutoff, 1 / (wavelength N).

    Goodman, Introduction to Fourier Optics, section 6.3.
    """
    v = np.minimum(v, 1)
    return 2 / math.pi * (np.arccos(v) - v * np.sqrt(1 - v * v))


def _sensor_pixels(side: int, s: float) -> int:
    """Sensor pixels along a side: they cover it and _EDGE more at either end."""
    return math.ceil(side / s - 1e-9) + 2 * _EDGE  # whole ones are told a little more by floats


def _area_means(signal: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Means of (N, M) between edges (n + 1,) in [1, N - 1] on the first axis: (n, M) float32.

    Element i is the mean over [i, i + 1]. Between whole edges the integral is interpolated by cubic
    convolution, which is exact for slopes: with elements of one level each, a sensor pixel of 1.5
    would see slopes up to 0.08 beside its middle, and at s = 1.5 red ones always to the same side.
    """
    sums = np.zeros((len(signal) + 1, signal.shape[1]))
    np.cumsum(signal, axis=0, out=sums[1:])
    means = np.diff(_cubic_at(sums, edges), axis=0) / np.diff(edges)[:, None]
    return means.astype(np.float32)


_GREEN = ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0))
_ALONG_ROW = (
    (0, 0, 0.5, 0, 0),
    (0, -1, 0, -1, 0),
    (-1, 4, 5, 4, -1),
    (0, -1, 0, -1, 0),
    (0, 0, 0.5, 0, 0),
)
_DIAGONAL = (
    (0, 0, -1.5, 0, 0),
    (0, 2, 0, 2, 0),
    (-1.5, 0, 6, 0, -1.5),
    (0, 2, 0, 2, 0),
    (0, 0, -1.5, 0, 0),
)


def demosaic(raw: np.ndarray) -> np.ndarray:
    """Bayer mosaic (h, w) float32, RGGB, to (h, w, 3): Malvar, He and Cutler, ICASSP 2004.

    Works on square roots of light, whose steps look alike in the dark and in the bright: that is
    3 dB nearer on sharp photos. Its filters are symmetric, so nothing moves; OpenCV's own take
    whole numbers and treat the outermost pixels otherwise.
    """
    raw = np.sign(raw) * np.sqrt(np.abs(raw))

    def filtered(kernel: np.ndarray) -> np.ndarray:
        # Mirrored at the pixels' middles, so that the colours go on alternating beyond the sides.
        kernel = np.ascontiguousarray(kernel, np.float32) / 8
        return cv2.filter2D(raw, -1, kernel, borderType=cv2.BORDER_REFLECT_101)

    photo = np.repeat(raw[:, :, None], 3, axis=2)
    green, diagonal = filtered(np.array(_GREEN)), filtered(np.array(_DIAGONAL))
    along_row, along_column = filtered(np.array(_ALONG_ROW)), filtered(np.array(_ALONG_ROW).T)
    even, odd = slice(0, None, 2), slice(1, None, 2)
    for colour, own, others in ((0, even, odd), (2, odd, even)):
        photo[own, own, 1] = green[own, own]
        photo[own, own, 2 - colour] = diagonal[own, own]
        photo[own, others, colour] = along_row[own, others]
        photo[others, own, colour] = along_column[others, own]
    return photo * np.abs(photo)


def enlarge(photo: np.ndarray, size: tuple[int, int], s: float) -> np.ndarray:
    """The sensor's photo (rows, columns, 3) uint8, enlarged s times to (*size, 3) by bicubic.

    The middles of both are one place, and each HR pixel's own place is computed, so that nothing
    moves however H / s falls.
    """
    values = photo.astype(np.float32)
    for side in size:  # rows, then columns
        place = (np.arange(side) + 0.5 - side / 2) / s + len(values) / 2 - 0.5
        values = _cubic_at(values, place).swapaxes(0, 1)
    return rounded(values)


def _cubic_at(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values (N, ...) at places (n,) in [1, N - 2] on the first axis: (n, ...), of one dtype.

    Cubic convolution with a = -0.5: Keys, IEEE Transactions on Acoustics, Speech and Signal
    Processing, 1981.
    """
    whole = np.clip(np.floor(places).astype(int), 1, len(values) - 3)
    d = (places - whole).reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
    taps = (
        ((-0.5 * d + 1) * d - 0.5) * d,
        (1.5 * d - 2.5) * d * d + 1,
        ((-1.5 * d + 2) * d + 0.5) * d,
        (0.5 * d - 0.5) * d * d,
    )
    result = taps[0] * values[whole - 1]
    for tap in (1, 2, 3):
        result += taps[tap] * values[whole - 1 + tap]
    return result
