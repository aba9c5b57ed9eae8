"""Files of weights (safetensors), held against the network before memory is taken for them."""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from degflow_pipe import files, json_files
from degflow_pipe.errors import CheckpointError
from degflow_pipe.model.published import Shapes, misfits, shapes_of

HEADER_LIMIT = 4 * 1024**2
"""Bytes that describe the tensors of a file; ours have some 100,000."""
FLOAT_BYTES = 4
"""All weights are float32."""


def weights_bytes(tensors: dict[str, Tensor]) -> bytes:
    """What a file of these tensors holds."""
    return save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})


def read_tensors(path: Path, shapes: Shapes, of: str, sha256: str = "") -> dict[str, Tensor]:
    """The tensors of a file, float32, of these names and shapes and no others.

    of: what says the shapes, for errors. sha256: of the file, where it is known. Raises
    CheckpointError where the file is damaged, does not fit, or holds NaN or infinite numbers.
    """
    wanted = FLOAT_BYTES * sum(math.prod(shape) for shape in shapes.values())
    with files.reading(path) as file:
        size = files.size(path)
        if size > wanted + HEADER_LIMIT:
            raise CheckpointError(
                f"{path} does not fit {of}: it has {size} bytes, its networks {wanted}"
            )
        data = file.read(wanted + HEADER_LIMIT)
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in {of}")
    wrong = misfits(_described(path, data), shapes)
    if wrong:
        raise CheckpointError(f"{path} does not fit {of}: {first_few(wrong)}")
    try:
        tensors = load(data)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    check_finite(tensors, str(path))
    return tensors


def read_into(network: nn.Module, path: Path, of: str, sha256: str = "") -> None:
    """The file's tensors into a network of the same sizes; raises as `read_tensors`."""
    network.load_state_dict(read_tensors(path, shapes_of(network.state_dict()), of, sha256))


def check_finite(tensors: dict[str, Tensor], where: str) -> None:
    """Raises CheckpointError naming the tensors that hold NaN or infinite numbers."""
    wrong = [key for key, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if wrong:
        raise CheckpointError(
            f"{where}: NaN or infinite numbers in {first_few(wrong)}: these weights are of no use"
        )


def _described(path: Path, data: bytes) -> Shapes:
    """Shapes by name as the file's header says them. Source: safetensors' README, "Format"."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > min(HEADER_LIMIT, len(data) - 8):
            raise ValueError(f"a header of {length} bytes")
        header = json_files.parse(data[8 : 8 + length].rstrip(b" "))
        found: Shapes = {}
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            if tensor["dtype"] != "F32":
                raise ValueError(f"{name} is of {tensor['dtype']}, expected F32")
            found[name] = tuple(int(side) for side in tensor["shape"])
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged, or no file of safetensors: {type(error).__name__}: "
            f"{str(error)[:200]}"
        ) from error
    return found


def first_few(wrong: list[str], count: int = 3) -> str:
    """The first few, and how many there are."""
    more = f"; and {len(wrong) - count} more" if len(wrong) > count else ""
    return "; ".join(wrong[:count]) + more
