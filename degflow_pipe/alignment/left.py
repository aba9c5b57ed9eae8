"""What is left between HR and the warped LR, block by block, and why a block is not used."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from degflow_pipe.alignment.tiles import BLOCK

REASONS = ("outside", "clipped", "uncertain", "shifted", "unlike", "out of focus")
"""Why a block is kept out, the first that holds."""
CLIPPED = 0.25
"""Share of a block's pixels that may be clipped in one of the pictures."""
DOUBT = 0.07
"""Pixels of HR by which the warp may be wrong, as a deviation, where tiles say little."""
UNLIKE = 6.0
"""Times the usual square of the difference, for a block's detail, that are too much."""
ALIKE = 2.0
"""Grey levels of difference that are never too much."""
FOCUS = 1.0
"""Share of the blur's variance by which a tile may differ from the rest."""
LEAST_SHARE = 0.005


@dataclass(frozen=True)
class Difference:
    """Block by block, (rows, columns) float32: square of the difference of HR as blurred as the LR
    from the LR in HR's light, the mean over channels; squares of HR's slope and curvature, which
    say what a shift and another blur would make of it; shares of pixels outside the LR and clipped.
    """

    square: np.ndarray
    slope: np.ndarray
    curve: np.ndarray
    outside: np.ndarray
    clipped: np.ndarray


def unlike(found: Difference) -> np.ndarray:
    """(rows, columns) bool: blocks that differ by more than noise, the usual blur and their detail
    explain.
    """
    usable = (found.outside == 0) & (found.clipped < CLIPPED)
    if usable.sum() < 8:
        return np.zeros_like(usable)
    square = found.square.astype(float)
    parts = np.stack([np.ones_like(square), found.slope, found.curve], axis=-1).astype(float)
    design, target = parts[usable], square[usable]
    size = np.maximum(np.median(design, axis=0), 1e-6)
    design = design / size
    weights = np.ones(len(target))
    terms = np.array([np.median(target), 0.0, 0.0])
    for _ in range(20):
        # Squares scatter as they are large, so it is their ratio to what is usual that counts.
        root = weights / np.maximum(design @ terms, 0.25) ** 2
        normal = design.T @ (root[:, None] * design) + 1e-9 * np.eye(3)
        terms = np.maximum(np.linalg.solve(normal, design.T @ (root * target)), 0.0)
        ratio = target / np.maximum(design @ terms, 0.25)
        terms = terms * max(float(np.median(ratio)), 1e-3)
        weights = np.where(target / np.maximum(design @ terms, 0.25) < 3.0, 1.0, 0.0)
        if weights.sum() < 4:
            break
    usual = np.maximum((parts / size) @ terms, 0.25)
    return usable & (square > UNLIKE * usual) & (square > ALIKE**2)


def grown(mask: np.ndarray) -> np.ndarray:
    """(rows, columns) bool with what lies between its blocks, and a block around it: what moved has
    flat parts that look alike, and edges that reach into the next block.
    """
    if not mask.any():
        return mask
    shaped = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    padded = np.pad(mask.astype(np.uint8), 4)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, shaped)
    near = cv2.dilate(closed, np.ones((3, 3), np.uint8))
    return near[4:-4, 4:-4].astype(bool)


def without_specks(mask: np.ndarray, least: int = 2) -> np.ndarray:
    """(rows, columns) bool without parts of fewer blocks than `least`: of a thousand, noise makes
    a few.
    """
    count, labels, figures, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    small = [i for i in range(1, count) if figures[i, cv2.CC_STAT_AREA] < least]
    return mask & ~np.isin(labels, small)


def of_blocks(values: np.ndarray, shape: tuple[int, int], side: int, stride: int) -> np.ndarray:
    """(T,) bool of overlapping tiles, `side` blocks wide and `stride` apart, to (rows, columns):
    blocks of which the most of their tiles say so.
    """
    rows = (shape[0] - side) // stride + 1
    columns = (shape[1] - side) // stride + 1
    said, count = np.zeros(shape), np.zeros(shape)
    for number, value in enumerate(values):
        y, x = number // columns * stride, number % columns * stride
        said[y : y + side, x : x + side] += value
        count[y : y + side, x : x + side] += 1
    assert len(values) == rows * columns
    return said * 2 > count


def rectangles(clean: np.ndarray, least: int, most: int) -> list[tuple[int, int, int, int]]:
    """The largest rectangles of clean blocks, one after the other, (top, left, bottom, right) in
    pixels of HR: none less than `least` pixels on a side, and `most` of them.

    One alone where it has four fifths of what is clean.
    """
    left = clean.copy()
    found: list[tuple[int, int, int, int]] = []
    while len(found) < most:
        best = _largest(left, -(-least // BLOCK))
        if best is None:
            break
        top, first, bottom, last = best
        left[top:bottom, first:last] = False
        found.append((top * BLOCK, first * BLOCK, bottom * BLOCK, last * BLOCK))
        if len(found) == 1 and (bottom - top) * (last - first) >= 0.8 * clean.sum():
            break
    return found


def _largest(clean: np.ndarray, least: int) -> tuple[int, int, int, int] | None:
    """The largest rectangle of true blocks, of `least` on a side, by the runs above each row."""
    height = np.zeros(clean.shape[1], int)
    best, area = None, 0
    for row in range(clean.shape[0]):
        height = np.where(clean[row], height + 1, 0)
        open_: list[tuple[int, int]] = []
        for column, tall in enumerate([*height.tolist(), 0]):
            start = column
            while open_ and open_[-1][1] >= tall:
                start, high = open_.pop()
                wide = column - start
                if high * wide > area and min(high, wide) >= least:
                    best, area = (row - high + 1, start, row + 1, column), high * wide
            open_.append((start, tall))
    return best
