"""Shots of one scene with a known truth: lens, turn, shift, light, blur, noise and JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import map_coordinates, spline_filter


@dataclass
class Shots:
    """hr, lr: (H, W, 3) uint8. truth: (2, H, W) places in the LR of HR's pixels, x before y. light:
    (H, W, 3) what the LR's levels were multiplied with there. moved: (H, W) bool, what shows
    something else in the LR. scale: pixels of HR to one of the LR.
    """

    hr: np.ndarray
    lr: np.ndarray
    truth: np.ndarray
    light: np.ndarray
    moved: np.ndarray
    scale: float

    def error(self, places: np.ndarray, used: np.ndarray) -> tuple[float, float]:
        """rms and most, in pixels of HR, of places (2, H, W) where used (H, W) says so."""
        off = np.hypot(*(places - self.truth))[used] * self.scale
        return float(np.sqrt(np.mean(off**2))), float(off.max())


def shots(photo: np.ndarray, seed: int, *, scale: float = 0.0, moved: float = 0.0) -> Shots:
    """photo: (H, W, 3) uint8, which is HR but for a little noise; what the LR sees around it is
    mirrored. scale: 0 draws one from 1.3 to 4; moved: share of the area that shows another part.
    """
    rng = np.random.default_rng(seed)
    scale = scale or float(rng.uniform(1.3, 4))
    height, width = photo.shape[:2]
    lr_size = int(height / scale * 1.25), int(width / scale * 1.25)
    to_hr = _lens(rng, scale, (height, width), lr_size)
    y, x = np.mgrid[: lr_size[0], : lr_size[1]].astype(float)
    seen = to_hr(np.stack([x, y], axis=-1))
    truth = _inverted(to_hr, (height, width), lr_size, scale)
    content, covered = _moved(photo.astype(np.float32), moved, rng)
    soft = cv2.GaussianBlur(content, (0, 0), rng.uniform(0.4, 0.6) * scale)
    channels = (spline_filter(soft[..., c], 3, mode="mirror") for c in range(3))
    places = np.moveaxis(seen, -1, 0)[::-1]
    lr = np.stack(
        [map_coordinates(c, places, order=3, prefilter=False, mode="mirror") for c in channels], -1
    )
    gain = rng.uniform(0.85, 1.1) * rng.uniform(0.93, 1.07, 3)
    vignette = rng.uniform(0, 0.3)

    def light(at: np.ndarray) -> np.ndarray:
        off = (at - np.array(lr_size[::-1]) / 2) / (np.hypot(*lr_size) / 2)
        return gain * (1 - vignette * (off**2).sum(-1))[..., None]

    lr = lr * light(np.stack([x, y], axis=-1)) + rng.normal(0, rng.uniform(0.5, 2.5), lr.shape)
    coded = cv2.imencode(".jpg", _bytes(lr)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    back = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert back is not None
    hr = _bytes(photo + rng.normal(0, 1, photo.shape))
    there = np.moveaxis(truth, 0, -1)
    return Shots(hr, np.ascontiguousarray(back[..., ::-1]), truth, light(there), covered, scale)


def _lens(rng, scale, size, lr_size):  # type: ignore[no-untyped-def]
    """From the LR's pixels to HR's: turned, shifted, tilted, then bent by up to 2 %."""
    height, width = size
    angle = np.radians(rng.uniform(-3, 3))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    k1 = rng.uniform(-0.02, 0.02)
    k2 = rng.uniform(-0.25, 0.25) * k1
    centre = np.array([width / 2, height / 2]) + rng.uniform(-0.04, 0.04, 2) * width
    tilt = rng.uniform(-0.02, 0.02, 2) / width
    middle = (np.array(lr_size[::-1]) - 1) / 2 + rng.uniform(-0.05, 0.05, 2) * lr_size[::-1]

    def to_hr(at: np.ndarray) -> np.ndarray:
        off = (at - middle) @ turn.T * scale
        flat = off / (1 + off @ tilt)[..., None] + (np.array([width, height]) - 1) / 2
        far = (((flat - centre) / (np.hypot(height, width) / 2)) ** 2).sum(-1, keepdims=True)
        return centre + (flat - centre) * (1 + k1 * far + k2 * far**2)

    return to_hr


def _inverted(to_hr, size, lr_size, scale):  # type: ignore[no-untyped-def]
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    wanted = np.stack([x, y], axis=-1)
    found = (wanted - (np.array(size[::-1]) - 1) / 2) / scale + (np.array(lr_size[::-1]) - 1) / 2
    right, down = np.array([0.5, 0]), np.array([0, 0.5])
    for _ in range(30):
        off = to_hr(found) - wanted
        a = to_hr(found + right) - to_hr(found - right)
        b = to_hr(found + down) - to_hr(found - down)
        det = a[..., 0] * b[..., 1] - b[..., 0] * a[..., 1]
        step = np.stack(
            [
                (b[..., 1] * off[..., 0] - b[..., 0] * off[..., 1]) / det,
                (a[..., 0] * off[..., 1] - a[..., 1] * off[..., 0]) / det,
            ],
            axis=-1,
        )
        found = found - step
        if np.abs(step).max() < 1e-9:
            break
    return np.moveaxis(found, -1, 0)


def _moved(photo, share, rng):  # type: ignore[no-untyped-def]
    """The photo with a square of it, of that share of the area, covered by another part."""
    covered = np.zeros(photo.shape[:2], bool)
    if not share:
        return photo, covered
    side = int(np.sqrt(share * covered.size))
    top, left = (rng.integers(0, length - side) for length in covered.shape)
    other = np.roll(photo[:, ::-1], (photo.shape[0] // 3, photo.shape[1] // 4), (0, 1))
    covered[top : top + side, left : left + side] = True
    return np.where(covered[..., None], other, photo), covered


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
