"""Samples of one tar, from wherever it lies, in bounded memory."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import fsspec
import webdataset as wds

from degflow_pipe import files
from degflow_pipe.errors import DegflowError, ShardError
from degflow_pipe.formats.tarfiles import SAMPLE_LIMIT, each, sample_key
from degflow_pipe.reading.ask import key_number
from degflow_pipe.shards.summary import AGAIN

MEMBERS = 10_000
"""Of one sample."""


def local_samples(path: Path, keys: Container[int]) -> Iterator[dict[str, Any]]:
    """The samples of a plain tar on this machine whose key_number is in `keys`, no others read.

    As webdataset groups them: a dict of bytes by ending, and `__key__` and `__url__`. Raises
    FileError where it cannot be opened, ShardError where it is damaged.
    """
    return _samples(
        str(path), lambda: files.reading(path), "r:", lambda key: key_number(key) in keys
    )


def streamed_samples(url: str, step: int = 1, start: int = 0) -> Iterator[dict[str, Any]]:
    """Every `step`-th sample of a tar from `start` on, packed or not; raises ShardError."""

    def opened() -> AbstractContextManager[IO[bytes]]:
        if urlparse(url).scheme in ("", "file", *wds.gopen_schemes):
            return wds.gopen(url)
        found: AbstractContextManager[IO[bytes]] = fsspec.open(url, "rb")
        return found

    return islice(_samples(url, opened, "r|*", lambda _: True), start, None, step)


def _samples(
    url: str,
    opened: Callable[[], AbstractContextManager[IO[bytes]]],
    mode: str,
    wanted: Callable[[str], bool],
) -> Iterator[dict[str, Any]]:
    try:
        with opened() as stream:
            members = _members(url, stream, mode, wanted)
            yield from wds.tariterators.group_by_keys(members, lcase=False)
    except DegflowError:
        raise
    # What tarfile, its decompressors, webdataset and file systems make of a damaged tar is not
    # written down anywhere, and nothing of ours runs in here.
    except Exception as error:
        why = next((text for text in error.args if isinstance(text, str)), repr(error))
        if ended := re.search(r": exit (\d+) \(read\)", why):
            # webdataset names the whole command, in which a password may be.
            why = f"the command that fetches it ended with exit code {ended[1]}"
        raise ShardError(f"{url}: cannot be read as a tar: {why}; {AGAIN}") from error


def _members(
    url: str, stream: IO[bytes], mode: str, wanted: Callable[[str], bool]
) -> Iterator[dict[str, Any]]:
    """The wanted files in a tar, as webdataset takes them."""
    last, count, held, asked = None, 0, 0, False
    for archive, info in each(stream, mode):
        if not 0 <= info.size <= SAMPLE_LIMIT:
            raise tarfile.ReadError(f"{info.name!r} claims {info.size} bytes")
        info.name.encode()  # raises where it is no text
        key = sample_key(info)
        if key is None:
            continue
        if key == last:
            count, held = count + 1, held + info.size
        else:
            last, count, held, asked = key, 1, info.size, wanted(key)
        if count > MEMBERS or held > SAMPLE_LIMIT:
            raise tarfile.ReadError(f"{key!r} has {count} members of {held} bytes together")
        if asked:
            file = archive.extractfile(info)
            assert file is not None  # it is a regular one
            yield {"fname": info.name, "data": file.read(), "__url__": url}
