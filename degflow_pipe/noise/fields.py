"""Gaussian fields of a given spectrum, drawn once."""

from __future__ import annotations

import numpy as np

from degflow_pipe.noise.nodes import NODES
from degflow_pipe.noise.numbers import unit_spectrum


def hats(values: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """How much each of K nodes counts at N values, (N, K), where straight lines join the nodes."""
    return np.stack([np.interp(values, nodes, node) for node in np.eye(len(nodes))], axis=-1)


def stock_of(name: str, power: np.ndarray, axes: np.ndarray, side: int) -> np.ndarray:
    """Two realisations of a coloured field, (2, 3, side, side) float32, periodic.

    name: another name, another field. power: (3, K²), in squared units of the field, at the K NODES
    of vertical frequency and, for each of these, the K of horizontal frequency, along each of the
    `axes`, rows of (3, 3), unit colours.
    """
    vertical, horizontal = (
        hats(np.abs(frequency), NODES)
        for frequency in (np.fft.fftfreq(side), np.fft.rfftfreq(side))
    )
    surfaces = np.sqrt(vertical @ power.reshape(-1, len(NODES), len(NODES)) @ horizontal.T)
    found = np.zeros((2, 3, side, side), np.float32)
    for realisation, own in enumerate(found):
        for part, (surface, colours) in enumerate(zip(surfaces, axes, strict=True)):
            white = unit_spectrum(f"{name} {realisation} {part}", (side, side))
            plain = np.fft.irfft2(white * surface, (side, side)).astype(np.float32)
            for plane, share in zip(own, colours, strict=True):
                plane += np.float32(share) * plain
    return found
