"""One LR onto one HR: warp, light, and what of it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from degflow_pipe.alignment.coarse import Coarse, coarse
from degflow_pipe.alignment.fine import Fine, fine
from degflow_pipe.alignment.left import (
    CLIPPED,
    DOUBT,
    FOCUS,
    REASONS,
    Difference,
    grown,
    of_blocks,
    unlike,
    without_specks,
)
from degflow_pipe.alignment.light import Light, fit_light
from degflow_pipe.alignment.tiles import (
    BETWEEN,
    BLOCK,
    WIDE,
    Tiles,
    bands,
    block_means,
    block_sums,
    blurred_band,
    solve,
)
from degflow_pipe.alignment.warp import Warp, inside, read_at, spline_of

BLACK, WHITE = 2, 253
"""Grey levels up to and from which a channel says nothing of light: what noise would put beyond
black is lost. Only what is bright is kept out for it."""
CUT = 0.02
"""Share of a block's pixels beyond these, at most, where it tells of light."""


@dataclass(frozen=True)
class Aligned:
    """An LR on HR's grid.

    warp: to places in `lr`, which is the part of the LR that shows what HR shows. sigma: of the
    blur, in pixels of HR, that makes HR like it. before, after: tiles of 96 pixels at the first
    warp and at the last; doubt: (T,) deviation of the warp at their middles. reasons: (rows,
    columns) uint8 of blocks, 0 for what is used, else a place in REASONS, from 1.
    """

    coarse: Coarse
    warp: Warp
    lr: np.ndarray
    sigma: float
    rounds: int
    light: Light
    before: Tiles
    after: Tiles
    reasons: np.ndarray

    def picture(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """A rectangle of HR as the LR shows it, in HR's light, (h, w, 3) uint8."""
        made = np.empty((bottom - top, right - left, 3), np.uint8)
        splines = _splines(self.lr)
        step = 512
        for first in range(top, bottom, step):
            last = min(first + step, bottom)
            places = self.warp.rows(first, last)[:, :, left:right]
            lr = np.stack([read_at(spline, places) for spline in splines], axis=-1)
            lit = self.light.applied(lr, first, left)
            made[first - top : last - top] = np.rint(np.clip(lit, 0, 255)).astype(np.uint8)
        return made


def align(hr: np.ndarray, lr: np.ndarray, *, max_shift: float = 0.5) -> Aligned:
    """hr, lr: (H, W, 3) uint8 RGB of one scene, HR the finer. max_shift: pixels of HR by which a
    tile may lie off after all, else it is kept out.

    Raises NoMatch or NoFit where they do not show one place.
    """
    grey = cv2.cvtColor(hr, cv2.COLOR_RGB2GRAY)
    found = coarse(grey, cv2.cvtColor(lr, cv2.COLOR_RGB2GRAY))
    return onto(hr, lr, found, max_shift)


def onto(hr: np.ndarray, lr: np.ndarray, found: Coarse, max_shift: float) -> Aligned:
    """The same from a first warp on."""
    box = found.warp.box((lr.shape[0], lr.shape[1]))
    assert box is not None  # it was found in there
    left, top, right, bottom = box
    part = np.ascontiguousarray(lr[top:bottom, left:right])
    first = found.warp.shifted((left, top))
    grey, grey_lr = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (hr, part))
    fitted = fine(grey, grey_lr, first)
    warp, scale = fitted.warp, fitted.warp.scale
    spline = spline_of(grey_lr)
    before = solve(block_sums(grey, spline, first, fitted.sigma), scale, WIDE, BETWEEN)
    after = solve(block_sums(grey, spline, warp, fitted.sigma), scale, WIDE, BETWEEN)
    light, difference = _lit(hr, part, warp, fitted.sigma)
    reasons = _reasons(fitted, after, difference, scale, max_shift)
    return Aligned(found, warp, part, fitted.sigma, fitted.rounds, light, before, after, reasons)


def _splines(lr: np.ndarray) -> list[np.ndarray]:
    return [spline_of(lr[..., channel]) for channel in range(3)]


def _lit(hr: np.ndarray, lr: np.ndarray, warp: Warp, sigma: float) -> tuple[Light, Difference]:
    """The light, by means over blocks, then what differs in it."""
    size = hr.shape[0], hr.shape[1]
    splines = _splines(lr)
    means = [
        np.concatenate(rows) for rows in zip(*_means(hr, lr, splines, warp, sigma), strict=True)
    ]
    hr_means, lr_means, outside, clipped, beyond = means
    whole = (outside == 0)[..., None] & (beyond < CUT)
    light = fit_light(hr_means, lr_means, whole, size)
    square, slope, curve = (
        np.concatenate(rows)
        for rows in zip(*_squares(hr, splines, warp, sigma, light), strict=True)
    )
    return light, Difference(square, slope, curve, outside, clipped)


def _means(
    hr: np.ndarray, lr: np.ndarray, splines: list[np.ndarray], warp: Warp, sigma: float
) -> Iterator[tuple[np.ndarray, ...]]:
    """Of each band's blocks: means of HR and LR, shares outside of the LR, clipped in any channel,
    and of each channel that says nothing of light.
    """
    full = spline_of(np.where((lr >= WHITE).any(2), np.float32(255), np.float32(0)))
    for top, bottom in bands(hr.shape[0]):
        places = warp.rows(top, bottom)
        there = np.stack([read_at(spline, places) for spline in splines], axis=-1)
        here = blurred_band(hr, top, bottom, sigma)
        out = ~inside(places, splines[0].shape)
        cut = (hr[top:bottom] >= WHITE).any(2) | (read_at(full, places) > 127)
        beyond = [(part <= BLACK) | (part >= WHITE) for part in (hr[top:bottom], there)]
        shares = (part.astype(np.float32) for part in (out, cut, beyond[0] | beyond[1]))
        yield tuple(map(block_means, (here, there, *shares)))


def _squares(
    hr: np.ndarray, splines: list[np.ndarray], warp: Warp, sigma: float, light: Light
) -> Iterator[tuple[np.ndarray, ...]]:
    """Of each band's blocks: squares of the difference, of HR's slope and of its curvature."""
    for top, bottom in bands(hr.shape[0]):
        places = warp.rows(top, bottom)
        there = np.stack([read_at(spline, places) for spline in splines], axis=-1)
        here = blurred_band(hr, top, bottom, sigma)
        off = light.applied(there, top, 0) - here
        luma = here.mean(2)
        x, y = cv2.Scharr(luma, -1, 1, 0, scale=1 / 32), cv2.Scharr(luma, -1, 0, 1, scale=1 / 32)
        curve = cv2.Laplacian(luma, -1)
        yield (
            block_means((off**2).mean(2)),
            block_means(x**2 + y**2),
            block_means(curve**2),
        )


def _reasons(
    fitted: Fine, after: Tiles, difference: Difference, scale: float, max_shift: float
) -> np.ndarray:
    shape = difference.square.shape
    y, x = (np.arange(n) * BLOCK + (BLOCK - 1) / 2 for n in shape)
    middles = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    certain = after.usable & (after.doubt < max_shift / 2)
    off = np.hypot(*after.shift.T)
    shifted = certain & (off - 2 * after.doubt > max_shift)
    blur = (after.likeness > 0.8) & (
        np.abs(after.blur) - 3 * after.blur_doubt > FOCUS * max(fitted.sigma**2, 0.5)
    )
    found = {
        "outside": difference.outside > 0,
        "clipped": difference.clipped >= CLIPPED,
        "uncertain": (fitted.fitted.doubt(middles) > DOUBT).reshape(shape),
        "shifted": grown(without_specks(of_blocks(shifted, shape, WIDE, BETWEEN))),
        "unlike": grown(without_specks(unlike(difference))),
        "out of focus": of_blocks(certain & blur, shape, WIDE, BETWEEN),
    }
    reasons = np.zeros(shape, np.uint8)
    for number, name in reversed(list(enumerate(REASONS, 1))):
        reasons[found[name]] = number
    return reasons
