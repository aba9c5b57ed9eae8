"""Where the networks compute, how precisely, and that it repeats."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from threading import Lock

import torch

from degflow_pipe.choices import Precision, check_choice
from degflow_pipe.errors import DegflowError, UsageError

SHORT = 2e-4
"""Seconds that a thread waits at most for Python's lock: the one that keeps a GPU busy asks for it
with every call, among many that write files."""


_TURNS: dict[torch.device, Lock] = {}


def turn_of(device: torch.device) -> AbstractContextManager[object]:
    """What the thread holds that computes on a GPU, of all models there: the memory is that of one
    batch, and how convolutions round is set for all. On the CPU nothing is held.
    """
    return nullcontext() if device.type == "cpu" else _TURNS.setdefault(device, Lock())


def wait(device: torch.device) -> None:
    """Until all that a GPU was asked for is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def choose_device(name: str) -> torch.device:
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises UsageError for another name, or for CUDA where there is none: it never falls back.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"`device` must be auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"`device={name}`: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """`float32` or `bfloat16`; `auto` is bfloat16 on CUDA.

    Raises UsageError for another name, and where what compiles for CUDA is missing.
    """
    check_choice("precision", name, Precision)
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    if name == "bfloat16" and device.type == "cuda" and find_spec("triton") is None:
        raise UsageError(
            "`precision=bfloat16` on a GPU wants Triton, which compiles the decoder and is not "
            "installed: `pip install triton`, or say `precision=float32`"
        )
    return name


@contextmanager
def one_thread_each(device: torch.device) -> Iterator[None]:
    """Each worker computes on one thread: many that share the cores would wait for one another, and
    on the CPU bytes would depend on the machine's cores.

    On CUDA the convolutions are pinned to deterministic ones in full float32. Raises DegflowError
    where a GPU's memory does not do.
    """
    threads, interval = torch.get_num_threads(), sys.getswitchinterval()
    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        torch.set_num_threads(1)
        if device.type == "cuda":
            sys.setswitchinterval(SHORT)
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise DegflowError("out of GPU memory: free some, or give `device=cpu`") from error
        finally:
            torch.set_num_threads(threads)
            sys.setswitchinterval(interval)
