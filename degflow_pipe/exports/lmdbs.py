"""Pictures in LMDB as BasicSR has it, and what is built on it: gt.lmdb and lq.lmdb.

In each a meta_info.txt, whose lines begin with a name; the part before the first dot is the key, in
both the same (BasicSR, basicsr/data/data_util.py at 323cc14: `paired_paths_from_lmdb`; neosr,
neosr/data/data_util.py at c5d54ee, has the same).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from degflow_pipe import files
from degflow_pipe.errors import DegflowError, FileError, PhotoError, UsageError
from degflow_pipe.exports import owned
from degflow_pipe.exports.findings import Found, Picture, Report, same_names, text_lines
from degflow_pipe.exports.lmdb_pages import check_lmdb
from degflow_pipe.exports.settings import Settings
from degflow_pipe.exports.source import ShardLevel
from degflow_pipe.exports.trainer import Plan, Sink, Trainer

META = "meta_info.txt"
FILES = ("data.mdb", "lock.mdb", META)
FIRST_MAP = 2**24
"""Bytes of address space that a data base begins with; doubled where it does not do."""
COMMIT_EVERY = 1000
COMMIT_BYTES = 2**26
"""Pictures and bytes that are held in memory before they are written."""
MAX_KEY = 511
"""Bytes of a key that LMDB takes."""


class LmdbTrainer(Trainer):
    """A trainer that reads gt.lmdb and lq.lmdb."""

    places = ("gt.lmdb", "lq.lmdb")
    as_files = False

    def planned(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        _lmdb(self.name)
        return super().planned(levels, scale)

    def sink(self, out: Path) -> AbstractContextManager[Sink]:
        return _environments(out, self.places)

    def wrote(self, path: str) -> list[str]:
        place = path.partition("/")[0]
        folders = place, f"{place}{files.PART}"
        return [f"{folder}/{name}" for folder in folders for name in FILES]

    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
        hr, lr = (_keys(self.name, folder / place, folder, report) for place in self.places)
        if hr is None or lr is None:
            return
        for key in same_names(hr[0], lr[0], report, " ".join(self.places)):
            gone = [
                place
                for place, (_, env) in zip(self.places, (hr, lr), strict=True)
                if not _holds(env, key)
            ]
            if gone:
                report.add("list", f"{gone[0]}/{key}: in {META}, but no key of the data base")
            else:
                yield Found(_value(hr[1], key, self.places[0]), _value(lr[1], key, self.places[1]))


def _lmdb(trainer: str = "this") -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise UsageError(
            f'{trainer} needs the package lmdb: pip install "degflow-pipe[export]"'
        ) from error
    return lmdb


class _Environment:
    """A data base while it is written, aside: one writer, keys in the order they come."""

    def __init__(self, path: Path) -> None:
        self.path, self.aside = path, path.with_name(f"{path.name}{files.PART}")
        self.lines: list[str] = []
        self.held: list[tuple[bytes, bytes]] = []
        self.bytes, self.map = 0, FIRST_MAP
        _clear(self.aside)
        files.make_folder(self.aside)
        with _told(path):
            # No lock: its file would differ from run to run, and nobody else reads this.
            self.env = _lmdb().open(
                os.fspath(self.aside), map_size=self.map, lock=False, sync=False
            )

    def put(self, name: str, data: bytes, side: int) -> None:
        self.held.append((name.partition(".")[0].encode(), data))
        self.lines.append(f"{name} ({side},{side},3) 1")
        self.bytes += len(data)
        if len(self.held) >= COMMIT_EVERY or self.bytes >= COMMIT_BYTES:
            self._write()

    def _write(self) -> None:
        """Write what is held in one transaction; again in a larger map where it does not fit."""
        full = _lmdb().MapFullError
        with _told(self.path):
            while True:
                try:
                    with self.env.begin(write=True) as transaction:
                        for key, data in self.held:
                            transaction.put(key, data)
                    break
                except full:
                    self.map *= 2
                    self.env.set_mapsize(self.map)
        self.held, self.bytes = [], 0

    def stop(self) -> None:
        self.env.close()

    def finish(self) -> None:
        self._write()
        with _told(self.path):
            self.env.sync(True)
            self.env.close()
        files.write_text(self.aside / META, "".join(f"{line}\n" for line in self.lines))
        files.write_bytes(self.aside / "lock.mdb", b"")
        # File by file: what else lies in the folder is not ours.
        files.make_folder(self.path)
        with files.named(self.path, "write"):
            for name in FILES:
                (self.aside / name).replace(self.path / name)
        _clear(self.aside)


def _clear(aside: Path) -> None:
    """Take a data base that was not finished away; raises FileError where more is in its folder."""
    if not files.is_there(aside):
        return
    if aside.is_symlink() or not aside.is_dir() or set(os.listdir(aside)) - {*FILES}:
        raise FileError(f"{aside} is in the way, and not of ours: move it")
    owned.remove_files(aside.parent, [f"{aside.name}/{name}" for name in FILES])
    if aside.is_dir():
        with files.named(aside, "remove"):
            aside.rmdir()


class _Environments:
    in_workers = False

    def __init__(self, out: Path, places: Sequence[str]) -> None:
        self.begun = {place: _Environment(out / place) for place in places}

    def kept(self, path: str, side: int, data: bytes | None) -> bool:
        """A data base is made whole or again: its bytes would tell of interruptions."""
        return False

    def put(self, path: str, data: bytes, side: int) -> None:
        place, _, name = path.partition("/")
        self.begun[place].put(name, data, side)


@contextmanager
def _environments(out: Path, places: Sequence[str]) -> Iterator[Sink]:
    made = _Environments(out, places)
    try:
        yield made
    except BaseException:
        for environment in made.begun.values():
            environment.stop()
        raise
    for environment in made.begun.values():
        environment.finish()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What LMDB cannot do as a FileError that names the data base."""
    lmdb = _lmdb()
    try:
        yield
    except lmdb.Error as error:
        raise FileError(f"{path}: cannot write: {error}") from error


def _keys(trainer: str, path: Path, root: Path, report: Report) -> tuple[list[str], Any] | None:
    """The keys that meta_info.txt says, and the open data base; None where there is none."""
    lmdb = _lmdb(trainer)
    lines = text_lines(path / META, root, report)
    if lines is None:
        return None
    try:
        check_lmdb(path / "data.mdb")
        env = lmdb.open(str(path), readonly=True, lock=False, create=False)
    except (DegflowError, lmdb.Error) as error:
        report.add("structure", f"{path.name}: no LMDB data base: {error}")
        return None
    keys = [line.split(".")[0] for line in lines]
    report.add(
        "list", *(f"{path.name}/{META}: {key[:60]!r} is there twice" for key in _twice(keys))
    )
    return keys, env


def _twice(keys: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return [key for key in keys if key in seen or seen.add(key)]  # type: ignore[func-returns-value]


def _value(env: Any, key: str, place: str) -> Picture:
    """The picture that a data base holds under a key."""

    def read() -> bytes:
        with env.begin() as transaction:
            data = transaction.get(key.encode())
        if data is None:
            raise PhotoError(f"{place}/{key}: no such key")
        return bytes(data)

    return Picture(f"{place}/{key}", read)


def _holds(env: Any, key: str) -> bool:
    """Whether a data base has the key; the picture is not copied."""
    name = key.encode()
    if not 0 < len(name) <= MAX_KEY:
        return False
    with env.begin(buffers=True) as transaction:
        return transaction.get(name) is not None
