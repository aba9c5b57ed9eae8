"""What the numbers of a noise model are of; read without torch, which drawing alone needs."""

from __future__ import annotations

import numpy as np

NODES = np.array([0, 1, 2, 3, *range(4, 33, 2)]) / 64
"""Frequencies, cycles a pixel, at which a spectrum is given, both ways."""
BRIGHTNESS = np.linspace(0, 255, 9)
"""Grey levels at which the gain of the flat field is given."""
DERIVATIVES = ("dx", "dy", "dxx", "dyy", "dxy")
"""Of an LR; what `kernels` draws are weights of these."""
LENGTHS = (64, 16, 4)
"""Pixels between the nodes of a weight's coarse, middle and fine part."""
CONTRAST_SIGMA = 2.0
"""Pixels; width of the Gaussian window of a local standard deviation."""
CONTRAST_REACH = round(4 * CONTRAST_SIGMA)
"""Pixels that the window goes each way."""
