"""A target: photos on a sheet with markers between them, and a first warp by the markers found.

Markers are ArUco's (Garrido-Jurado et al., Pattern Recognition 2014), drawn and found by OpenCV;
each has a number of its own, on all sheets.
"""

from __future__ import annotations

import cv2
import numpy as np

from degflow_pipe.alignment.coarse import LEAST_MATCHES, MAGSAC, Coarse, NoMatch, bent
from degflow_pipe.alignment.warp import Warp, projected

DICTIONARY = cv2.aruco.DICT_5X5_1000
NUMBERS = 1000
"""Markers that there are."""
CELLS = 7
"""On a side of a marker, its black border with it."""
GRIDS = {1: (1, 1), 2: (1, 2), 4: (2, 2), 6: (2, 3), 9: (3, 3)}
"""Rows and columns of photos, by their number."""
SHARE = 18
"""Times a marker's side is in the sheet's shorter side, about: in an LR that shows the sheet in 600
pixels of height, a cell of it has nearly five, and with three few were found."""
FOUND_IN = 2000
"""Pixels of the longer side that markers are looked for in; their corners are taken in all of them.
"""
LEAST_MARKERS = 2
"""That HR and LR must have in common."""


def numbers_of(per_sheet: int) -> int:
    """Markers on a sheet: at each corner of a photo's place, and in the middle of each side."""
    rows, columns = GRIDS[per_sheet]
    return len(_nodes(rows, columns))


def _nodes(rows: int, columns: int) -> list[tuple[float, float]]:
    """Places of markers in units of places of photos, row and column."""
    every = [(r / 2, c / 2) for r in range(2 * rows + 1) for c in range(2 * columns + 1)]
    return [(r, c) for r, c in every if r % 1 == 0 or c % 1 == 0]


def sheet(
    photos: list[np.ndarray], number: int, per_sheet: int, size: tuple[int, int]
) -> np.ndarray:
    """One sheet, (*size, 3) uint8, white: up to `per_sheet` photos (H, W, 3) uint8, each as large
    as its place lets it, with markers around each. number: of the sheet, from 0.
    """
    rows, columns = GRIDS[per_sheet]
    side = CELLS * max(min(size) // (SHARE * CELLS), 2)
    margin = side * 3 // 2
    step = [(length - margin) / count for length, count in zip(size, (rows, columns), strict=True)]
    made = np.full((*size, 3), 255, np.uint8)
    for place, photo in enumerate(photos):
        top, left = (margin + step[0] * (place // columns), margin + step[1] * (place % columns))
        room = step[0] - margin, step[1] - margin
        factor = min(room[0] / photo.shape[0], room[1] / photo.shape[1])
        height, width = (max(int(length * factor), 1) for length in photo.shape[:2])
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LANCZOS4
        y, x = int(top + (room[0] - height) / 2), int(left + (room[1] - width) / 2)
        made[y : y + height, x : x + width] = cv2.resize(photo, (width, height), interpolation=how)
    nodes = _nodes(rows, columns)
    words = cv2.aruco.getPredefinedDictionary(DICTIONARY)
    for index, (row, column) in enumerate(nodes):
        marker = cv2.aruco.generateImageMarker(words, number * len(nodes) + index, side)
        y, x = (round(step[i] * at + (margin - side) / 2) for i, at in enumerate((row, column)))
        made[y : y + side, x : x + side] = marker[..., None]
    return made


def markers(grey: np.ndarray) -> dict[int, np.ndarray]:
    """Markers in a picture (H, W) uint8: by number, the places (4, 2) of their corners, x and y.

    One that is there twice is left out.
    """
    factor = min(1.0, FOUND_IN / max(grey.shape))
    width, height = (round(side * factor) for side in grey.shape[::-1])
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    words = cv2.aruco.getPredefinedDictionary(DICTIONARY)
    corners, numbers, _ = cv2.aruco.ArucoDetector(words).detectMarkers(small)
    found: dict[int, np.ndarray] = {}
    twice: set[int] = set()
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 0.01)
    back = np.array([grey.shape[1] / width, grey.shape[0] / height])
    for number, four in zip([] if numbers is None else numbers.ravel(), corners, strict=True):
        twice |= {int(number)} & set(found)
        at = ((four.reshape(4, 2) + 0.5) * back - 0.5).astype(np.float32)
        cell = float(np.hypot(*(at - np.roll(at, 1, 0)).T).min()) / CELLS
        around = int(np.clip(cell * 0.7, 1, 30))
        refined = cv2.cornerSubPix(grey, at.reshape(-1, 1, 2), (around, around), (-1, -1), stop)
        found[int(number)] = np.asarray(refined, float).reshape(4, 2)
    return {number: at for number, at in sorted(found.items()) if number not in twice}


def coarse_by_markers(hr: np.ndarray, lr: np.ndarray) -> Coarse:
    """`coarse.coarse` by the markers that both show. Raises NoMatch."""
    of_hr, of_lr = markers(hr), markers(lr)
    for found, which in ((of_hr, "HR"), (of_lr, "LR")):
        if not found:
            raise NoMatch("no marker of a target in it", which)
    both = [number for number in of_hr if number in of_lr]
    if len(both) < LEAST_MARKERS:
        raise NoMatch(
            f"{len(both)} markers of HR's {len(of_hr)} in it: it shows another sheet, or too "
            f"little of this one"
        )
    source = np.concatenate([of_hr[number] for number in both])
    target = np.concatenate([of_lr[number] for number in both])
    matrix, mask = cv2.findHomography(source, target, cv2.RANSAC, 2 * MAGSAC)
    if matrix is None or np.linalg.det(matrix[:2, :2]) <= 0 or mask.sum() < 4 * LEAST_MARKERS:
        raise NoMatch(f"{len(both)} markers were found in it, which do not agree on one place")
    warp = Warp.of(matrix, (hr.shape[0], hr.shape[1]))
    apart = np.hypot(*(projected(matrix, source) - target).T)
    if len(source) >= LEAST_MATCHES:
        warp = bent(warp, source, target, max(float(np.median(apart)), 0.5))
    return Coarse(warp, len(source), int(mask.sum()))
