"""Files of torch.save from anybody: nothing in them is run, and none takes memory at will.

What is read are tensors, numbers, texts, lists and dicts.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from degflow_pipe import files
from degflow_pipe.checkpoint.weights import first_few
from degflow_pipe.errors import CheckpointError
from degflow_pipe.settings import shown

LARGEST_PICKLE = 8 << 20
"""Bytes of a file that are not tensors; the published ones have some 100,000."""
LARGEST_DIRECTORY = 16 << 20
"""Bytes of the list of a file's members."""
LONGEST_END = 22 + 65535 + 76
"""Bytes at a zip's end that may hold the records of where that list is."""
PICKLED = (
    "refused, and nothing in it was run: it holds pickled objects ({}), which can run code or take "
    "memory at will; have it saved again with tensors, numbers, texts, lists and dicts only"
)
LONGEST_REFUSAL = 500
"""Characters of what is said of a file."""


def refusal(path: Path, text: str) -> CheckpointError:
    """The error for a file; what it quotes from the file cannot steer a terminal or flood it."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return CheckpointError(f"{path}: {plain[:LONGEST_REFUSAL]}")


def load_tensors(path: Path, limit: int) -> Any:
    """What torch.save wrote, on the CPU; tensors are read from the file where they are used.

    limit: bytes that the file may have. Raises CheckpointError naming the file and what is wrong.
    """
    _check_archive(path, limit)
    try:
        with warnings.catch_warnings(action="ignore"):  # its tensors are checked by who asked
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise refusal(
            path,
            PICKLED.format(found[1] if found else "of unknown kind"),
        ) from error
    except Exception as error:  # a hostile file can make torch's reader raise anything
        raise refusal(
            path, f"damaged, or not a file of torch.save: {type(error).__name__}: {error}"
        ) from error


def check_keys(value: Any, keys: tuple[str, ...] | None) -> dict[Any, Any]:
    """A plain dict of the value, with these keys and no others where they are given.

    Raises CheckpointError for anything else.
    """
    if not isinstance(value, dict):
        raise CheckpointError(f"a dict was expected, found a {type(value).__name__}")
    found = dict(dict.items(value))  # a pickle may hide an object's own methods behind values
    if keys is not None and set(found) != set(keys):
        raise CheckpointError(f"the keys {', '.join(keys)} were expected, found {shown([*found])}")
    return found


def check_state(
    value: Any, wanted: Mapping[str, Tensor], what: str, file_size: int
) -> dict[str, Tensor]:
    """Copies of the tensors of a state dict, which must be as `wanted` and finite.

    what: which state dict, for errors. Raises CheckpointError for any other.
    """
    try:
        found = check_keys(value, None)
        wrong = [
            f"{key} is not of {tensor.dtype}, shape {list(tensor.shape)}"
            for key, tensor in wanted.items()
            if key not in found or not _alike(found[key], tensor)
        ]
        wrong += [f"{shown(key)} is unexpected" for key in found if key not in wanted]
        # A view may repeat a few bytes, and so be far larger than its file.
        claimed = sum(tensor.numel() * tensor.element_size() for tensor in wanted.values())
        if wrong or claimed > file_size:
            raise CheckpointError(first_few(wrong) or "it claims more bytes than its file has")
        copies = {key: Tensor.detach(found[key]).clone() for key in wanted}
        wrong = [key for key, copy in copies.items() if not bool(torch.isfinite(copy).all())]
        if wrong:
            raise CheckpointError(f"NaN or infinite numbers in {first_few(wrong)}")
    except CheckpointError as error:
        raise CheckpointError(f"{what}: {error}") from error
    return copies


def _alike(found: Any, wanted: Tensor) -> bool:
    return (
        type(found) in (Tensor, torch.nn.Parameter)
        and found.layout == torch.strided
        and found.device.type == "cpu"
        and found.dtype == wanted.dtype
        and found.shape == wanted.shape
    )


def _check_archive(path: Path, limit: int) -> None:
    """A whole zip, not compressed and of sensible size, which is what torch.save writes."""
    if files.is_folder(path):
        raise refusal(path, "a folder; give the file that torch.save wrote")
    size = files.size(path)
    if size > limit:
        raise refusal(path, f"{size} bytes are too many, at most {limit} are read")
    if size == 0:  # also what a pipe or a device says, which would never end
        raise refusal(path, "not a file of torch.save, or not whole (empty); download it again")
    try:
        with files.reading(path) as file:
            _check_directory(path, file, size)
            archive = zipfile.ZipFile(file)
            members = archive.infolist()
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED:
                    raise refusal(path, "compressed, so not a file of torch.save")
                if member.filename.endswith(".pkl") and member.file_size > LARGEST_PICKLE:
                    raise refusal(path, f"{member.file_size} bytes that are not tensors")
            if sum(member.file_size for member in members) > size:
                raise refusal(path, "its parts claim more bytes than the whole file has")
            broken = archive.testzip()
            if broken is not None:
                raise refusal(path, f"damaged at {broken}; download it again")
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    _check_pickle(path, archive.read(name))
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise refusal(
            path, f"not a file of torch.save, or not whole ({error}); download it again"
        ) from error


def _check_directory(path: Path, file: BinaryIO, size: int) -> None:
    """Refuses a list of members that would fill the memory; it is read as a whole.

    Source: PKWARE's APPNOTE.TXT 6.3.10, 4.3.14 and 4.3.16.
    """
    file.seek(max(size - LONGEST_END, 0))
    tail = file.read(LONGEST_END)
    for mark, place, form in ((b"PK\x05\x06", 12, "<I"), (b"PK\x06\x06", 40, "<Q")):
        at = tail.rfind(mark)
        if at < 0:
            continue
        (length,) = struct.unpack_from(form, tail, at + place)
        if length > LARGEST_DIRECTORY and length != 0xFFFFFFFF:
            raise refusal(path, f"its list of members has {length} bytes")
    file.seek(0)


def _check_pickle(path: Path, data: bytes) -> None:
    """Refuses Python's own objects: torch allows some that take memory at will, as bytearray."""
    for opcode, argument, _ in pickletools.genops(data):
        named = str(argument).replace(" ", ".")
        ours = named == "collections.OrderedDict"
        python = named.startswith(("builtins.", "__builtin__.", "collections."))
        if opcode.name == "GLOBAL" and python and not ours:
            raise refusal(path, PICKLED.format(named))
