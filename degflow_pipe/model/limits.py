"""How large a network may be, checked before any memory is taken for it."""

from __future__ import annotations

import math

from degflow_pipe.errors import UsageError
from degflow_pipe.model.config import ModelConfig
from degflow_pipe.model.published import our_shapes

MOST_WEIGHTS = 250_000_000
"""Of both networks together, a gigabyte; the published ones have 90 million."""


def check_size(config: ModelConfig) -> int:
    """The number of weights. Raises UsageError where both networks have more than MOST_WEIGHTS."""
    count = sum(math.prod(shape) for shape in our_shapes(config).values())
    if count > MOST_WEIGHTS:
        raise UsageError(
            f"model: networks of these widths, multipliers and blocks have {count:,} weights, at "
            f"most {MOST_WEIGHTS:,} are taken"
        )
    return count
