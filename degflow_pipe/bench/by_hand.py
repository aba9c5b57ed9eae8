"""Degradations made by hand, as one would use instead, on the same patches and as many cores.

They are `real_esrgan_style` and `bsrgan_style` of `evaluation.baselines`: written from the papers,
not the papers' code, and giving LR of HR's size as ours are. Only pictures are made: they are read
from memory, and neither coded nor written, which our job does besides.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np

from degflow_pipe.evaluation.baselines import BASELINES

NAMES = ("real_esrgan_style", "bsrgan_style")
A_WORKER, LEAST = 4, 8
"""LR that each worker makes, and all of them at least: their settings are random, so one tells
little."""


def by_hand(hr: np.ndarray, scale: float, workers: int) -> dict[str, float]:
    """LR a second of each of NAMES.

    hr: (N, P, P, 3) uint8, taken in turn; scale: SR scale s from 1; workers: threads that make LR
    at the same time. OpenCV computes on the thread that calls it: they share the cores already.
    """
    count = max(A_WORKER * workers, LEAST)

    def made(name: str, number: int) -> None:
        BASELINES[name](hr[number % len(hr)], None, scale, np.random.default_rng(number))

    found = {}
    with _opencv_on_one_thread(), ThreadPoolExecutor(workers) as pool:
        for name in NAMES:
            made(name, count)  # so that nothing is loaded within a time
            began = time.perf_counter()
            list(pool.map(made, [name] * count, range(count)))
            found[name] = count / (time.perf_counter() - began)
    return found


@contextmanager
def _opencv_on_one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
