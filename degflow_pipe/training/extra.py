"""What training needs beside the package's own dependencies."""

from __future__ import annotations

from importlib.util import find_spec

from degflow_pipe.errors import UsageError


def check_installed() -> None:
    """Raises UsageError where Accelerate or TensorBoard is not installed."""
    if find_spec("accelerate") is None or find_spec("tensorboard") is None:
        raise UsageError(
            "training needs Accelerate and TensorBoard: pip install 'degflow-pipe[train]'"
        )
