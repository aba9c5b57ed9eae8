"""What the stages that use the model share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from degflow_pipe.degflow import DegFlow
from degflow_pipe.engine import check_workers
from degflow_pipe.errors import CheckpointError, DegflowError, UsageError


def compute_workers(model: DegFlow, workers: int) -> int:
    """Units computed at once: `workers` on the CPU, one on a GPU."""
    return check_workers(workers) if model.device.type == "cpu" else 1


def check_batch(batch: int) -> int:
    """Raises UsageError for a batch below 1."""
    if batch < 1:
        raise UsageError(f"--batch must be 1 at least, got {batch}")
    return batch


def checkpoint_id(model: DegFlow) -> str:
    """The id of a model's checkpoint. Raises CheckpointError for a model that was not loaded."""
    if model.info is None:
        raise CheckpointError("this model was not loaded from a checkpoint, so it has no id")
    return model.info.id


@contextmanager
def one_thread_each(model: DegFlow) -> Iterator[None]:
    """On the CPU each worker computes on one thread: bytes must not depend on the machine's cores.

    On CUDA the convolutions are pinned to deterministic ones in full float32. Raises DegflowError
    where a GPU's memory does not do.
    """
    threads = torch.get_num_threads()
    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        if model.device.type == "cpu":
            torch.set_num_threads(1)
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise DegflowError("out of GPU memory: give a smaller --batch") from error
        finally:
            torch.set_num_threads(threads)
