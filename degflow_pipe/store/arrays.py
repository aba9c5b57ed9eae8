"""Zarr arrays of which a file holds many patches: described, written, and read with care.

A store may be a stranger's. What zarr.json says is not believed but known: only the very text that
`describe` gives is read by. What a chunk claims to unpack to is looked at before it is unpacked.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass, field
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from degflow_pipe import files, json_files
from degflow_pipe.errors import DegflowError, FileError, StoreError
from degflow_pipe.places import Remote

# Delta is no part of the zarr v3 specification yet, which zarr says at every array.
warnings.filterwarnings("ignore", "Numcodecs codecs are not in the Zarr", ZarrUserWarning)

ZARR = "zarr.json"
ZSTD = b"\x28\xb5\x2f\xfd"
ABSENT = 2**64 - 1
"""Offset and length of an inner chunk that zarr did not write, as all of it is 0."""


def index_bytes(chunks: int) -> int:
    """Bytes of a file beside its chunks: where each lies, and a CRC-32C."""
    return chunks * 16 + 4


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order, in hex."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def group_text(attributes: dict[str, Any] | None = None) -> str:
    """zarr.json of a group."""
    group = {"attributes": attributes or {}, "zarr_format": 3, "node_type": "group"}
    return json.dumps(group, indent=2)


@dataclass(frozen=True)
class FileArray:
    """An array of items, of which `rows` are one zarr shard and so one file.

    path: its folder. item: shape of one item. dtype: `uint8` or `float32`. loose: a chunk is one
    entry of the first `loose` axes. attributes: for zarr's readers. known: what is known of a
    remote one, else asked for again at every file: another process is not to write to it meanwhile.
    """

    path: Path
    rows: int
    item: tuple[int, ...]
    dtype: str
    loose: int
    attributes: dict[str, Any] = field(default_factory=dict)
    known: _Known = field(default_factory=lambda: _Known(), compare=False, repr=False)

    @property
    def chunk(self) -> tuple[int, ...]:
        return (1,) * self.loose + self.item[self.loose - 1 :]

    @property
    def index_bytes(self) -> int:
        return index_bytes(self.rows * prod(self.item[: self.loose - 1]))

    def describe(self, count: int) -> str:
        """The text of zarr.json where there is room for so many files (zarr specification, v3).

        Pictures are kept colour by colour as differences from pixel to pixel, in the room of a PNG.
        """
        n = len(self.item)
        order = [*range(n - 2), n, n - 2, n - 1]
        differences = [
            {"name": "transpose", "configuration": {"order": order}},
            {"name": "numcodecs.delta", "configuration": {"dtype": "uint8"}},
            {"name": "bytes"},
        ]
        floats = {"name": "bytes", "configuration": {"endian": "little"}}
        packed = {"name": "zstd", "configuration": {"level": 1, "checksum": True}}
        codecs = [*(differences if self.dtype == "uint8" else [floats]), packed]
        shard = {
            "chunk_shape": self.chunk,
            "codecs": codecs,
            "index_codecs": [floats, {"name": "crc32c"}],
            "index_location": "end",
        }
        return json.dumps(
            {
                "shape": [count * self.rows, *self.item],
                "data_type": self.dtype,
                "chunk_grid": {
                    "name": "regular",
                    "configuration": {"chunk_shape": [self.rows, *self.item]},
                },
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
                "fill_value": 0 if self.dtype == "uint8" else 0.0,
                "codecs": [{"name": "sharding_indexed", "configuration": shard}],
                "attributes": self.attributes,
                "zarr_format": 3,
                "node_type": "array",
                "storage_transformers": [],
            },
            indent=2,
        )

    def room(self) -> int:
        """Files that zarr.json has room for. Raises StoreError where it is not ours to the letter.

        It follows from the store's own description, so that `make_room` can write it anew.
        """
        if self.known.room is not None:
            return self.known.room
        path = self.path / ZARR
        text = ""
        if files.exists(path):
            text = files.read_bytes(path).decode(errors="replace")
        try:
            rows = json_files.parse(text)["shape"][0]
            if type(rows) is int and text == self.describe(rows // self.rows):
                if isinstance(self.path, Remote):
                    self.known.room = rows // self.rows
                return rows // self.rows
        except (ValueError, TypeError, KeyError, IndexError):
            pass
        state = "damaged" if text else "missing"
        raise StoreError(
            f"{path} is {state}: run `ingest` and `generate` again, they write it anew"
        )

    def make_room(self, count: int) -> None:
        """Write zarr.json where it is not there, damaged, or has no room for so many files.

        It has room for more then, up to twice as many, else each new file would write it; `fit`
        takes the rest back.
        """
        if self._room_or_none() < count:
            self._describe(1 << max(count - 1, 0).bit_length() if count else 0)

    def fit(self, count: int) -> None:
        """Write zarr.json where it is not there, damaged, or has room for more or fewer files."""
        if self._room_or_none() != count:
            self._describe(count)

    def _describe(self, room: int) -> None:
        files.write_text(self.path / ZARR, self.describe(room))
        if isinstance(self.path, Remote):
            self.known.room = room

    def _room_or_none(self) -> int:
        try:
            return self.room()
        except StoreError:
            return -1

    def file(self, number: int) -> Path:
        """Where the items from `number * rows` on lie."""
        return self.path / ".".join(["c", str(number), *"0" * len(self.item)])

    def length(self, number: int) -> int:
        """Bytes of a file; 0 where there is none."""
        path = self.file(number)
        if isinstance(path, Remote):
            if self.known.sizes is None:
                self.known.sizes = files.sizes(self.path)
            return self.known.sizes.get(path.name, 0)
        return files.length(path)

    def noted(self, number: int, size: int) -> None:
        """Say that a worker has written a file, of so many bytes."""
        self.known.noted(self.file(number), size)

    def remove(self, number: int) -> None:
        files.remove(self.file(number))
        self.noted(number, 0)

    def write(self, number: int, values: np.ndarray) -> int:
        """A file's n <= rows items; returns its bytes."""
        # What is short of items is filled up: a zarr shard is only ever written whole.
        missing = self.rows - len(values)
        whole = np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1)) if missing else values
        if isinstance(self.path, Remote):
            return self._sent(number, whole)
        # What a killed run left there may be damaged, and zarr would read it.
        self.remove(number)
        with files.named(self.path, "write"):
            # zarr writes nothing, and says nothing, where there is no room.
            assert number < self.room(), f"no room for file {number} of {self.path}"
            self._open()[number * self.rows : (number + 1) * self.rows] = whole
        return self.length(number)

    def replace(self, number: int, values: np.ndarray) -> int:
        """All items of a file, in place of what is there once they are whole; returns its bytes."""
        return self._sent(number, values)

    def read(self, number: int, start: int, end: int) -> np.ndarray:
        """Items `start` to `end` of a file; what zarr did not write reads as zeros. `room` is to be
        called before, as zarr.json is not looked at here.

        Raises StoreError where the file is none of this array, FileError where it cannot be opened.
        """
        remote = isinstance(self.path, Remote)
        if remote:
            data = self._received(number)
        elif files.exists(self.file(number)):
            with files.reading(self.file(number)) as file:
                self._check(file)
        first = number * self.rows
        try:
            if remote:
                return Held(self, data).read(start, end)
            return np.asarray(self._open()[first + start : first + end])
        except DegflowError:
            raise
        except MemoryError as error:
            raise DegflowError(f"out of memory at {self.file(number)}") from error
        except Exception as error:  # zarr and its codecs raise nearly anything on damaged data
            # Neither a permission nor a limit of the system is damage.
            if isinstance(error, OSError) and error.errno is not None:
                reason = error.strerror or str(error)
                raise FileError(f"{self.file(number)}: cannot read: {reason}") from error
            raise StoreError(f"it cannot be read ({str(error) or type(error).__name__})") from error

    def _open(self) -> zarr.Array[Any]:
        return zarr.open_array(str(self.path), mode="r+")

    def _sent(self, number: int, values: np.ndarray) -> int:
        """Write a file in one piece, as zarr would; returns its bytes."""
        held = Held(self)
        held.write(values)
        data = held.coded()
        if data:
            files.write_bytes(self.file(number), data)
        else:  # zarr writes nothing where all is 0
            self.remove(number)
        self.noted(number, len(data))
        return len(data)

    def _received(self, number: int) -> bytes:
        """The whole of a remote file, looked at; empty where there is none."""
        data = self.known.data.get(number)
        if data is None:
            data = b""
            # It may have been written since the files were listed.
            if self.length(number) or files.exists(self.file(number)):
                data = files.read_bytes(self.file(number), self._most)
                self._check(BytesIO(data))
            for old in list(self.known.data)[: 1 - HELD]:  # threads share it
                self.known.data.pop(old, None)
            self.known.data[number] = data
        return data

    @property
    def _most(self) -> int:
        """Bytes that a file can have."""
        parts = self.index_bytes // 16
        chunk = prod(self.chunk) * np.dtype(self.dtype).itemsize
        return parts * (chunk + chunk // 64 + 1024) + self.index_bytes

    def _check(self, file: IO[bytes]) -> None:
        """Raises StoreError where an inner chunk would unpack to another size than it has.

        The index of a shard is at its end: offset and length of each inner chunk, and a CRC-32C.
        A Zstandard frame says what it unpacks to (RFC 8878, 3.1.1.1), and we always write that.
        """
        tail = self.index_bytes
        wanted = prod(self.chunk) * np.dtype(self.dtype).itemsize
        length = file.seek(0, 2)
        if not tail <= length <= self._most:
            raise StoreError(f"its file has {length} bytes")
        file.seek(length - tail)
        places = np.frombuffer(file.read(tail - 4), "<u8").reshape(-1, 2).tolist()
        for offset, size in places:
            if offset == size == ABSENT:
                continue
            if offset + size > length - tail:
                raise StoreError("its index leads out of the file")
            file.seek(offset)
            claimed = _unpacked_size(file.read(min(size, 18)))
            if claimed != wanted:
                raise StoreError(f"a chunk of {wanted} bytes says that it has {claimed}")


HELD = 4
"""Remote files of an array that are held, as their parts are read one after the other."""


@dataclass
class _Known:
    """What is known of a remote array. room: of its zarr.json. sizes: of its files. data: of those
    that were read last.
    """

    room: int | None = None
    sizes: dict[str, int] | None = None
    data: dict[int, bytes] = field(default_factory=dict)

    def noted(self, path: Path, size: int) -> None:
        if not isinstance(path, Remote):
            return
        self.data.clear()
        if self.sizes is not None:
            self.sizes[path.name] = size


class Held:
    """One file of an array in memory alone, coded as it would be on disk.

    data: what is in it; nothing by default.
    """

    def __init__(self, array: FileArray, data: bytes = b"") -> None:
        self._index_bytes, self._name = array.index_bytes, array.file(0).name
        self._parts = {ZARR: _buffer(array.describe(1).encode())}
        if data:
            self._parts[self._name] = _buffer(data)
        self._array = zarr.open_array(MemoryStore(self._parts), mode="r+")

    def write(self, values: np.ndarray) -> int:
        """All its items; returns the bytes of their chunks."""
        self._array[:] = values
        return max(len(self.coded()) - self._index_bytes, 0)

    def coded(self) -> bytes:
        """The file as it lies on disk; empty where zarr writes none, as all is 0."""
        part = self._parts.get(self._name)
        return b"" if part is None else part.to_bytes()

    def read(self, start: int = 0, end: int | None = None) -> np.ndarray:
        return np.asarray(self._array[start:end])


def _buffer(data: bytes) -> Any:
    return default_buffer_prototype().buffer.from_bytes(data)


def _unpacked_size(head: bytes) -> int | None:
    """What a Zstandard frame says that it unpacks to; None where it says nothing.

    The two bits of its descriptor that mean nothing are 0 (3.1.1.1.1), though readers ignore one.
    """
    if head[:4] != ZSTD or len(head) < 6 or head[4] & 0x18:
        return None
    flags = head[4]
    single, kind = flags >> 5 & 1, flags >> 6
    at = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    width = (single, 2, 4, 8)[kind]
    field = head[at : at + width]
    if not width or len(field) < width:
        return None
    return int.from_bytes(field, "little") + (256 if kind == 1 else 0)
