"""What else a machine does."""

from __future__ import annotations

import os

QUIET = 0.5
"""Load, over a minute, below which a machine does nothing else."""


def busy() -> float:
    """The load over the last minute where other work is running, else 0."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return load if load > QUIET else 0.0
