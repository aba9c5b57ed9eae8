"""BasicSR's PairedImageDataset, from folders with a list and from LMDB.

Folders: the first word of each line of meta_info_file is the name in both folders; without a list,
both folders must hold equally many files, and each name of gt must be in lq. LMDB: the part of each
line before the first dot is the key in both; the two lists must hold the same keys. In training HR
must be exactly `scale` times the LR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from degflow_pipe import files
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.exports.findings import (
    Found,
    Picture,
    Report,
    file_pair,
    same_names,
    text_lines,
    visible_files,
)
from degflow_pipe.exports.options import training_yaml
from degflow_pipe.exports.source import ShardLevel
from degflow_pipe.exports.trainer import Plan, Row, Sink, Trainer

META = "meta_info.txt"
MAP_SIZE = 2**40
"""Address space a data base may take; its file is no larger than what it holds."""
COMMIT_EVERY = 1000
"""Pictures that are held in memory before they are written."""


def _meta_line(row: Row) -> str:
    side = row["hr_size"][0]
    return f"{Path(row['hr']).name} ({side},{side},3)"


class BasicSR(Trainer):
    name = "basicsr"
    places = ("gt", "lq")
    options = "train_basicsr.yml"
    lists: ClassVar[Mapping[str, Callable[[Row], str]]] = {META: _meta_line}

    def option_file(self, plans: Sequence[Plan], pairs: int) -> str:
        return training_yaml(
            plans,
            {"meta_info_file": META, "filename_tmpl": "{}", "io_backend": {"type": "disk"}},
        )

    def pair_up(self, folder: Path, report: Report) -> Iterator[Found]:
        if not files.exists(folder / META):
            yield from self._by_folder(folder, report)
            return
        for number, line in enumerate(text_lines(folder / META, folder, report) or [], 1):
            name = line.split(" ")[0]
            hr, lr = folder / "gt" / name, folder / "lq" / Path(name).name
            gone = [path for path in (hr, lr) if not name or not files.exists(path)]
            if gone:
                path = gone[0].relative_to(folder).as_posix()
                report.add("list", f"{META}, line {number}: {path} is not there")
            else:
                yield file_pair(folder, f"gt/{name}", f"lq/{lr.name}")

    def _by_folder(self, folder: Path, report: Report) -> Iterator[Found]:
        hr, lr = (visible_files(folder / place, folder, report) for place in self.places)
        if hr is None or lr is None:
            return
        # No deeper: BasicSR looks into the two folders alone.
        hr_names = [path.name for path in hr if path.parent == folder / "gt"]
        lr_names = [path.name for path in lr if path.parent == folder / "lq"]
        for name in same_names(hr_names, lr_names, report, "gt lq"):
            yield file_pair(folder, f"gt/{name}", f"lq/{name}")


class BasicSRLmdb(Trainer):
    name = "basicsr-lmdb"
    places = ("gt.lmdb", "lq.lmdb")
    options = "train_basicsr.yml"

    def plans(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        _lmdb()
        return super().plans(levels, scale)

    def option_file(self, plans: Sequence[Plan], pairs: int) -> str:
        return training_yaml(plans, {"io_backend": {"type": "lmdb"}}, self.places)

    def sink(self, out: Path) -> AbstractContextManager[Sink]:
        return _environments(out, self.places)

    def pair_up(self, folder: Path, report: Report) -> Iterator[Found]:
        hr, lr = (_keys(folder / place, folder, report) for place in self.places)
        if hr is None or lr is None:
            return
        for key in same_names(hr[0], lr[0], report, "gt.lmdb lq.lmdb"):
            gone = [
                place
                for place, (_, env) in zip(self.places, (hr, lr), strict=True)
                if not _holds(env, key)
            ]
            if gone:
                report.add("list", f"{gone[0]}/{key}: in {META}, but no key of the data base")
            else:
                yield Found(_value(hr[1], key, "gt.lmdb"), _value(lr[1], key, "lq.lmdb"))


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise UsageError(
            'basicsr-lmdb needs the package lmdb: pip install "degflow-pipe[export]"'
        ) from error
    return lmdb


class _Environment:
    """A data base while it is written, aside: one writer, keys in the order they come."""

    def __init__(self, path: Path) -> None:
        self.path, self.aside = path, path.with_name(f"{path.name}{files.PART}")
        self.lines: list[str] = []
        files.remove(self.aside)
        files.make_folder(self.aside)
        with _told(path):
            # No lock: its file would differ from run to run, and nobody else reads this.
            self.env = _lmdb().open(str(self.aside), map_size=MAP_SIZE, lock=False, sync=False)
            self.transaction = self.env.begin(write=True)

    def put(self, name: str, data: bytes, side: int) -> None:
        with _told(self.path):
            self.transaction.put(name.partition(".")[0].encode(), data)
            self.lines.append(f"{name} ({side},{side},3) 1")
            if len(self.lines) % COMMIT_EVERY == 0:
                self.transaction.commit()
                self.transaction = self.env.begin(write=True)

    def stop(self) -> None:
        self.transaction.abort()
        self.env.close()

    def finish(self) -> None:
        with _told(self.path):
            self.transaction.commit()
            self.env.sync(True)
            self.env.close()
        files.write_text(self.aside / META, "".join(f"{line}\n" for line in self.lines))
        files.write_bytes(self.aside / "lock.mdb", b"")
        files.remove(self.path)
        files.renamed(self.aside, self.path.name)


class _Environments:
    in_workers = False

    def __init__(self, out: Path, places: Sequence[str]) -> None:
        self.begun = {place: _Environment(out / place) for place in places}

    def kept(self, path: str) -> bool:
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


def _keys(path: Path, root: Path, report: Report) -> tuple[list[str], Any] | None:
    """The keys that meta_info.txt says, and the open data base; None where there is none."""
    lmdb = _lmdb()
    lines = text_lines(path / META, root, report)
    if lines is None:
        return None
    try:
        env = lmdb.open(str(path), readonly=True, lock=False, create=False)
    except lmdb.Error as error:
        report.add("structure", f"{path.name}: no LMDB data base: {error}")
        return None
    return [line.split(".")[0] for line in lines], env


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
    with env.begin(buffers=True) as transaction:
        return bool(key) and transaction.get(key.encode()) is not None
