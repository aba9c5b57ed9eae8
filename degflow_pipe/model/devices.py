"""Where the networks compute, how precisely, and that it repeats."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING

from degflow_pipe.choices import Precision, check_choice
from degflow_pipe.errors import DegflowError, UsageError

if TYPE_CHECKING:
    import torch

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
        import torch

        torch.cuda.synchronize(device)


def choose_device(name: str) -> torch.device:
    """The device of a name: see `device_of`."""
    import torch

    return torch.device(device_of(name))


def device_of(name: str) -> str:
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda` or `cuda:N`, as torch calls it.
    Torch is loaded only where there may be a GPU.

    Raises UsageError for another name, or for CUDA where there is none: it never falls back.
    """
    if name == "auto" and not _has_driver():
        return "cpu"
    named = re.fullmatch(r"(auto|cpu|cuda)(?::([0-9]{1,3}))?", name)
    if named is None or name.startswith("auto:"):
        raise UsageError(f"`device` must be auto, cpu, cuda or cuda:N, got {name!r}")
    if named[1] == "cpu":
        return "cpu"
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if int(named[2] or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"`device={name}`: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return name


def _has_driver() -> bool:
    """Whether a GPU's driver can be loaded; without one torch finds no GPU."""
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return os.path.exists("/dev/kfd")  # ROCm's, whose GPUs torch calls cuda too


def choose_precision(name: str, device: str) -> str:
    """`float32` or `bfloat16`; `auto` is bfloat16 on CUDA. device: see `device_of`.

    Raises UsageError for another name, and where what compiles for CUDA is missing.
    """
    check_choice("precision", name, Precision)
    on_gpu = device.startswith("cuda")
    if name == "auto":
        name = "bfloat16" if on_gpu else "float32"
    if name == "bfloat16" and on_gpu and find_spec("triton") is None:
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
    import torch

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
