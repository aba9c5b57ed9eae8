"""Pictures side by side under labels: contact sheets and preview strips."""

from __future__ import annotations

import cv2
import numpy as np

from degflow_pipe.pictures.arrays import middle


def label_bar(labels: list[str], side: int) -> np.ndarray:
    """A white bar (24, side * n, 3) uint8 with one label above each column."""
    bar = np.full((24, side * len(labels), 3), 255, np.uint8)
    for i, label in enumerate(labels):
        place = (i * side + 4, 17)
        cv2.putText(bar, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return bar


def as_large(small: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) uint8 in the size of another, pixel by pixel."""
    if small.shape == picture.shape:
        return small
    height, width = picture.shape[:2]
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def row_of(pictures: list[np.ndarray], side: int) -> np.ndarray:
    """Pictures (H, W, 3) uint8 side by side, each cropped about its middle to at most `side`."""
    cells = []
    for picture in pictures:
        crop = middle(picture, side)
        cell = np.full((side, side, 3), 255, np.uint8)
        cell[: crop.shape[0], : crop.shape[1]] = crop
        cells.append(cell)
    return np.concatenate(cells, axis=1)
