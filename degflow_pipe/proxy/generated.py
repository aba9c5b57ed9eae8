"""Generated LR of many patches, kept in blocks, so that it is made once and resumed."""

from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path

import numpy as np

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.identity import pictures_id
from degflow_pipe.errors import DataError
from degflow_pipe.formats.said import number_of
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.progress import Progress

DIGEST = 32
"""Bytes of a SHA-256."""
BLOCK = 16
"""Patches whose LR is kept in one file."""


def generated(
    model: DegFlow,
    hr: np.ndarray,
    t: list[float],
    noise: str,
    out: Path,
    progress: Progress,
    whose: str = "",
) -> np.ndarray:
    """LR of patches hr (N, P, P, 3) uint8 at T levels, (N, T, P, P, 3) uint8.

    noise: `none` or `calibrated`, one draw for each patch and level. out: folder that holds the
    blocks of all that was asked for. whose: the patches, for the progress.
    """
    drawn = model.noise_model(noise)
    pictures = pictures_id(model.info, model.precision, "none")
    parts = [pictures, t, hashlib.sha256(hr.tobytes()).hexdigest()]
    parts += [] if drawn is None else [drawn.digest]
    folder = out / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    blocks = []
    with progress.task(
        f"generate {number_of(len(t), 'levels')}{whose}", len(hr), counts="patches"
    ) as task:
        for start in range(0, len(hr), BLOCK):
            few = hr[start : start + BLOCK]
            blocks.append(_block(folder / f"{start:06d}.npy", model, few, t, noise))
            task.advance(len(few))
    return np.concatenate(blocks)


def _block(path: Path, model: DegFlow, hr: np.ndarray, t: list[float], noise: str) -> np.ndarray:
    """From its file where it was made before; the file ends with the SHA-256 of what is before it.

    Raises DataError where the file is damaged.
    """
    if files.exists(path):
        return _kept(path, (len(hr), len(t), *hr.shape[1:]))
    lr = np.stack([to_picture(model.degrade(to_tensor(p), t, noise)[0]) for p in hr])
    buffer = io.BytesIO()
    np.save(buffer, lr, allow_pickle=False)
    data = buffer.getvalue()
    files.write_bytes(path, data + hashlib.sha256(data).digest())
    return lr


def _kept(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 of this shape, as _block kept it; its size is known before it is read."""
    head = io.BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, described)
    length = len(head.getvalue()) + math.prod(shape)
    data = files.read_bytes(path, length + DIGEST)
    lr, digest = data[:length], data[length:]
    if not lr.startswith(head.getvalue()) or hashlib.sha256(lr).digest() != digest:
        raise DataError(f"{path} is damaged: delete it to generate it again")
    return np.frombuffer(lr, np.uint8, offset=len(head.getvalue())).reshape(shape)
