"""Measures of a pair's pixels: is the LR its HR's, in place, in the same colours and tones?

The limits are from real pairs. Of patches of City100 (Nikon, iPhone) and RealSR (x4), 64 and 192
pixels large, up to 3 in 1000 are suspects for a shift and none for colours; with LR shifted by 4
pixels of HR 84 to 99 % are, with swapped colours 69 to 97 %. What is done to all LR of a set is
therefore told by the share of suspects and by medians, what is done to one LR by stricter limits.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

THUMB = 16
"""Side in pixels of the pictures in small that are compared."""
FLAT = 2.0
"""Grey levels: a picture whose thumbnail varies by less says nothing."""
MOST = 384
"""Side in pixels of the middle of HR in which a shift is looked for."""
REACH = 10
"""Pixels of the LR, or a third of the side, by which a shift is looked for."""
DETAIL = 2.0
"""Grey levels: less detail than this has no place to tell."""

MOVED = 1.3
"""Pixels of HR by which an LR must be off to be a suspect."""
GAIN, SURE_GAIN = 0.05, 0.15
"""By how much LR and HR correlate better at the other place: of a suspect, and of one alone."""
FIT, SURE_FIT = 0.8, 0.9
"""Their correlation there."""
DRIFT = 0.75
"""Pixels of HR: the median of all pairs' shifts."""
BETTER = 0.6
"""What the colours are off by in the best order, of what they are off by in their own."""
COLOUR, SURE_COLOUR = 3.0, 8.0
"""Grey levels by which the best order must fit better."""
COLOURED, PALE = 8.0, 0.2
"""Colour in grey levels (see `_colour`) that a picture clearly has, and the share of it that the
other one has at least: real LR have 0.36 of HR's and more, HR 0.67 of LR's."""
ALL = 0.8
"""Share of the pairs from which on one finding tells of all of them."""
SHARE, FEWEST = 0.1, 3
"""Share of the pairs, and their number, that must be suspects for all of them to be told."""
GAMMA, SURE_GAMMA = math.log(1.1), math.log(1.35)
"""Of the median of all pairs, and of one alone; medians of the real sets are within 1 %."""
CONTRAST = math.log(1.12)
"""Of the median of all pairs; medians of the real sets are within 5 %."""


@dataclass(frozen=True)
class Look:
    """A pair in small: names, and what was measured; None where the pictures do not tell.

    hr, lr: THUMB x THUMB grey levels less their mean; shift: (y, x) in pixels of HR at which LR
    lies best; fit, gain: correlation there, and how much better that is; order: colours of LR in
    the best order, off and best: how many grey levels it is off in its own order and in that one;
    hr_colour, lr_colour: see `_colour`; gamma, contrast: logarithms of LR's against HR's.
    """

    hr_name: str
    lr_name: str
    hr: np.ndarray | None = None
    lr: np.ndarray | None = None
    problem: str = ""
    shift: tuple[float, float] | None = None
    fit: float = 0.0
    gain: float = 0.0
    order: str = "RGB"
    off: float = 0.0
    best: float = 0.0
    hr_colour: float = 0.0
    lr_colour: float = 0.0
    gamma: float | None = None
    contrast: float | None = None

    @property
    def moved(self) -> float:
        return math.hypot(*self.shift) if self.shift is not None else 0.0


def content_of(hr_name: str, lr_name: str, hr: np.ndarray, lr: np.ndarray) -> Look:
    """What a pair shows and no more, (H, W, 3) and (h, w, 3) uint8 RGB of any sizes."""
    return Look(hr_name, lr_name, _grey(_thumb(hr)), _grey(_thumb(lr)))


def look_at(hr_name: str, lr_name: str, hr: np.ndarray, lr: np.ndarray) -> Look:
    """Measure a pair, (H, W, 3) and (h, w, 3) uint8 RGB, H / h and W / w being alike."""
    a, b = _thumb(hr), _thumb(lr)
    order, off, best = _order(a, b)
    shift, fit, gain = _shift(hr, lr)
    return Look(
        hr_name,
        lr_name,
        _grey(a),
        _grey(b),
        shift=shift,
        fit=fit,
        gain=gain,
        order=order,
        off=off,
        best=best,
        hr_colour=_colour(a),
        lr_colour=_colour(b),
        gamma=_gamma(a, b),
        contrast=_contrast(a, b) if min(lr.shape[:2]) >= 2 * THUMB else None,
    )


def likeness(a: np.ndarray, b: np.ndarray) -> float | None:
    """Correlation of two thumbnails; None where one is flat."""
    if min(a.std(), b.std()) < FLAT:
        return None
    return float((a * b).mean() / (a.std() * b.std()))


def judge(looks: Sequence[Look]) -> list[tuple[str, str]]:
    """Findings, as (kind, text), of pairs whose LR are shifted, or of other colours or tones."""
    return [*_shifted(looks), *_coloured(looks), *_pale(looks), *_toned(looks)]


def _shifted(looks: Sequence[Look]) -> list[tuple[str, str]]:
    told = [(look, look.shift) for look in looks if look.shift is not None]
    shifts = [shift for _, shift in told]
    drift = 0.0, 0.0
    if len(told) >= FEWEST:
        drift = float(np.median([y for y, _ in shifts])), float(np.median([x for _, x in shifts]))
    drifts = math.hypot(*drift) >= DRIFT
    alike = drifts and sum(math.dist(one, drift) < MOVED for one in shifts) >= ALL * len(told)
    suspects = [
        look
        for look, shift in told
        if look.moved >= MOVED
        and look.fit >= FIT
        and look.gain >= GAIN
        # Where all lie alike, that is told once, beside those that lie elsewhere.
        and (not alike or math.dist(shift, drift) >= MOVED)
    ]
    found = _alone_or_all(
        [look for look, _ in told],
        suspects,
        lambda look: look.fit >= SURE_FIT and look.gain >= SURE_GAIN,
    )
    texts = [
        f"{look.lr_name} lies {look.moved:.1f} pixels of HR beside {look.hr_name}" for look in found
    ]
    if alike or (drifts and not found):
        texts.insert(0, f"LR lie {math.hypot(*drift):.1f} pixels of HR beside HR in all")
    return [("shift", text) for text in texts]


def _coloured(looks: Sequence[Look]) -> list[tuple[str, str]]:
    suspects = [
        look
        for look in looks
        if look.order != "RGB" and look.best < BETTER * look.off and look.off - look.best > COLOUR
    ]
    found = _alone_or_all(looks, suspects, lambda look: look.off - look.best > SURE_COLOUR)
    orders = Counter(look.order for look in found)
    order, count = max(orders.items(), key=lambda item: item[1], default=("", 0))
    if count < ALL * len(looks):
        order = ""
    texts = [f"LR have the colours of HR in the order {order} in all"] if order else []
    texts += [
        f"{look.lr_name} has the colours of {look.hr_name} in the order {look.order}"
        for look in found
        if look.order != order
    ]
    return [("colour", text) for text in texts]


def _pale(looks: Sequence[Look]) -> Iterator[tuple[str, str]]:
    pale: dict[str, list[str]] = {"LR": [], "HR": []}
    coloured = 0
    for look in looks:
        coloured += max(look.hr_colour, look.lr_colour) >= COLOURED
        if look.hr_colour >= COLOURED and look.lr_colour < PALE * look.hr_colour:
            pale["LR"].append(f"{look.lr_name} has no colour, and {look.hr_name} has")
        elif look.lr_colour >= COLOURED and look.hr_colour < PALE * look.lr_colour:
            pale["HR"].append(f"{look.hr_name} has no colour, and {look.lr_name} has")
    for side, texts in pale.items():
        if len(texts) >= max(FEWEST, ALL * coloured):
            texts = [f"{side} have no colour in all, and the other side has"]
        yield from (("grey", text) for text in texts)


def _toned(looks: Sequence[Look]) -> list[tuple[str, str]]:
    all_of = {}
    for what, limit, values in (
        ("gamma", GAMMA, [look.gamma for look in looks if look.gamma is not None]),
        ("contrast", CONTRAST, [look.contrast for look in looks if look.contrast is not None]),
    ):
        middle = float(np.median(values)) if len(values) >= FEWEST else 0.0
        if abs(middle) > limit:
            all_of[what] = middle
    texts = [
        f"LR have the tones of HR with {what} {math.exp(middle):.2f} in all"
        for what, middle in list(all_of.items())[:1]  # a gamma changes the contrast too
    ]
    usual = all_of.get("gamma", 0.0)
    texts += [
        f"{look.lr_name} has the tones of {look.hr_name} with gamma {math.exp(look.gamma):.2f}"
        for look in looks
        if look.gamma is not None and min(abs(look.gamma), abs(look.gamma - usual)) > SURE_GAMMA
    ]
    return [("tone", text) for text in texts]


def _alone_or_all(
    looks: Sequence[Look], suspects: Sequence[Look], sure: Callable[[Look], bool]
) -> list[Look]:
    """All suspects where they are many, else those that are sure."""
    if len(suspects) >= max(FEWEST, SHARE * len(looks)):
        return list(suspects)
    return [look for look in suspects if sure(look)]


def _thumb(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to (THUMB, THUMB, 3) float32."""
    if max(picture.shape) > MOST:  # parts of a grey level, and no floats of the whole
        picture = cv2.resize(picture, (MOST, MOST), interpolation=cv2.INTER_AREA)
    size = (THUMB, THUMB)
    return cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _grey(thumb: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(thumb, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey - grey.mean(), np.float64)


def _colour(thumb: np.ndarray) -> float:
    """What the colours of a picture are off its grey, in grey levels (rms); 0 for a grey one."""
    return float(np.sqrt(np.square(thumb - thumb.mean(axis=2, keepdims=True)).mean()))


def _order(hr: np.ndarray, lr: np.ndarray) -> tuple[str, float, float]:
    """The order of LR's colours that is nearest to HR's, and how far that and its own are off."""
    off = {
        order: float(np.sqrt(((hr - lr[..., list(order)]) ** 2).mean()))
        for order in itertools.permutations(range(3))
    }
    best = min(off, key=lambda order: off[order])
    return "".join("RGB"[i] for i in best), off[0, 1, 2], off[best]


def _gamma(hr: np.ndarray, lr: np.ndarray) -> float | None:
    """The logarithm of the median exponent that takes HR's values to LR's; ends are left out."""
    x, y = hr.ravel() / 255, lr.ravel() / 255
    inside = (x > 0.04) & (x < 0.96) & (y > 0.04) & (y < 0.96)
    if inside.sum() < 64:
        return None
    return float(np.median(np.log(np.log(y[inside]) / np.log(x[inside]))))


def _contrast(hr: np.ndarray, lr: np.ndarray) -> float | None:
    """The logarithm of the slope of LR's grey levels over HR's, blur being of no account."""
    half = (THUMB // 2, THUMB // 2)
    hr, lr = (_grey(cv2.resize(side, half, interpolation=cv2.INTER_AREA)) for side in (hr, lr))
    like = likeness(hr, lr)
    if like is None or like < FIT or hr.std() < 3 * FLAT:
        return None
    return float(np.log((hr * lr).mean() / hr.var()))


def _shift(hr: np.ndarray, lr: np.ndarray) -> tuple[tuple[float, float] | None, float, float]:
    """Where LR lies best upon HR, (y, x) in pixels of HR, the correlation there, and by how much
    that is better than where it lies; None where there is too little detail.

    The middle of LR, at the size of HR, is laid upon HR at all places, both freed of what is finer
    than LR and of what is much coarser.
    """
    ratio = hr.shape[0] / lr.shape[0]
    scale = max(ratio, 1.0)
    hr, lr = _middle(hr, lr, ratio)
    large = cv2.resize(lr, hr.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    bands = [_band(side, max(scale, 1.5)) for side in (hr, large)]
    height, width = bands[0].shape
    reach = min(round(REACH * scale), height // 3, width // 3)
    if reach < 2:
        return None, 0.0, 0.0
    middle = np.ascontiguousarray(bands[1][reach : height - reach, reach : width - reach])
    if middle.std() < DETAIL:
        return None, 0.0, 0.0
    fits = cv2.matchTemplate(bands[0], middle, cv2.TM_CCOEFF_NORMED)
    row, column = (int(i) for i in np.unravel_index(fits.argmax(), fits.shape))
    place = _peak(fits[:, column], row) - reach, _peak(fits[row], column) - reach
    return place, float(fits[row, column]), float(fits[row, column] - fits[reach, reach])


def _middle(hr: np.ndarray, lr: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """The middle of both, up to MOST pixels of HR, cut where LR has whole pixels and HR nearly."""
    cuts: list[tuple[slice, slice]] = []
    for length in lr.shape[:2]:
        small = min(length, max(round(MOST / ratio), 1))
        start = (length - small) // 2
        top = round(start * ratio)
        cuts.append((slice(top, top + round(small * ratio)), slice(start, start + small)))
    (rows, small_rows), (columns, small_columns) = cuts
    return hr[rows, columns], lr[small_rows, small_columns]


def _band(picture: np.ndarray, sigma: float) -> np.ndarray:
    grey = cv2.GaussianBlur(
        cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), sigma
    )
    return grey - cv2.GaussianBlur(grey, (0, 0), 4 * sigma)


def _peak(values: np.ndarray, i: int) -> float:
    """The place of a maximum to parts of a step, by a parabola through its neighbours."""
    if not 0 < i < len(values) - 1:
        return float(i)
    before, at, after = (float(value) for value in values[i - 1 : i + 2])
    bend = before - 2 * at + after
    return i + (0.5 * (before - after) / bend if bend < 0 else 0.0)
