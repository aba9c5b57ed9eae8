"""Finished shards into training pairs: streamed tar by tar, or any pair by its number.

Both ways read both layouts: a "grouped" sample (one HR, many LR) comes out as one pair a level.
"""

from __future__ import annotations

import json
import random
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import torch
import webdataset as wds  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset
from webdataset.utils import pytorch_worker_info  # type: ignore[import-untyped, unused-ignore]

from degflow_pipe import files
from degflow_pipe.errors import DegflowError, ShardError, UsageError

FORMAT, VERSION = "degflow-pipe shards", 1
INDEX = ".index.jsonl"
TOLERANCE = 1e-6
"""How far a level's t or scale may lie outside the range asked for."""
MAX_WORKERS = 4096
AGAIN = "copy the shards again or make them again"

Info = dict[str, Any]
Sample = tuple[Tensor, Tensor, Any]


def sr_pairs(
    shards: str | Path | Sequence[str],
    *,
    name: str | None = None,
    crop: int | None = None,
    batch: int | None = None,
    drop_last: bool = False,
    levels: Sequence[float] | None = None,
    t: tuple[float, float] | None = None,
    scales: tuple[float, float] | None = None,
    flips: bool = True,
    shuffle: int = 1000,
    seed: int = 0,
) -> PairStream:
    """Stream `(LR, HR, info)` for training; hand it to `DataLoader(..., batch_size=None)`.

    LR (3, h, w) and HR (3, H, W) are float32 RGB in [0, 1], info is the pair's JSON as a dict; with
    `batch`, LR is (n, 3, h, w), HR (n, 3, H, W) and info a list of n. A second iteration is the
    next epoch, with other crops in another order, through a DataLoader too.

    shards: a folder of finished shards (`name` says which data set, where it holds several), or
        a tar URL, a brace pattern or a list of URLs as webdataset takes them.
    crop: side of a random HR crop in pixels, a multiple of HR size / LR size; None: all of it.
    batch: pairs in a batch, all of one LR size and one scale; what is left over at the end of an
        epoch makes smaller batches unless `drop_last`.
    levels, t, scales: only pairs whose t is listed; whose t, or scale, is in (low, high), ends
        included. All that are given must hold.
    flips: flip and turn LR and HR alike, at random; what is not square is turned by 180 degrees.
    shuffle: how many coded pairs wait to be drawn at random; 0 keeps the order of the tars.
    seed: with the epoch, the rank and the worker it settles every random choice.

    Ranks (RANK and WORLD_SIZE, or torch.distributed) and then DataLoader workers share the tars
    out: have one tar or more for each worker of each rank, as one without a tar yields nothing.

    Raises UsageError for a wrong argument or where no pair of the folder is wanted, ShardError
    for a folder that is missing, unfinished, damaged or too new. While reading: UsageError for a
    crop that does not fit a pair, ShardError for a damaged tar or picture.
    """
    chosen = None if levels is None else tuple(levels)
    ask = _Ask(crop, batch, drop_last, chosen, t, scales, flips, shuffle, seed)
    if isinstance(shards, Path) or (isinstance(shards, str) and _is_folder(shards)):
        found = _find_shards(Path(shards), name)
        _require_some(found, ask)
        return PairStream([str(found.folder.absolute() / tar) for tar in found.tars], True, ask)
    urls = wds.shardlists.expand_source(shards if isinstance(shards, str) else list(shards))
    if not urls:
        raise UsageError(f"shards must name one tar at least, got {shards!r}")
    return PairStream(urls, False, ask)


class PairStream(IterableDataset[Sample]):
    """What `sr_pairs` returns: iterate over it, or have the workers of a DataLoader do so."""

    def __init__(self, urls: list[str], local: bool, ask: _Ask) -> None:
        self._urls, self._local, self._ask = urls, local, ask
        # Workers may live for one epoch only, so the count is kept where all of them see it.
        # Each counts in a slot of its own: no lock is needed.
        self._epochs = torch.zeros(MAX_WORKERS, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call, unused-ignore]

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration this epoch, counted from 0; for a training that goes on."""
        if epoch < 0:
            raise UsageError(f"epoch must be 0 or more, got {epoch}")
        self._epochs.fill_(epoch)

    def __iter__(self) -> Iterator[Sample]:
        rank, _, worker, _ = pytorch_worker_info()
        epoch = int(self._epochs[worker])
        self._epochs[worker] += 1
        return iter(self._pipeline([self._ask.seed, epoch, rank, worker]))

    def _pipeline(self, seeds: list[int]) -> Iterable[Sample]:
        ask, count = self._ask, len(self._urls)
        for_tars, for_pairs, for_crops = np.random.SeedSequence(seeds).spawn(3)
        crops = np.random.default_rng(for_crops)
        pipeline: Iterable[Sample] = wds.DataPipeline(
            wds.SimpleShardList(self._urls),
            wds.split_by_node,
            wds.split_by_worker,
            wds.shuffle(count, initial=count, rng=_order(for_tars)) if ask.shuffle else None,
            partial(_tar_samples, local=self._local),
            partial(_coded_pairs, ask=ask),
            wds.shuffle(ask.shuffle, rng=_order(for_pairs)) if ask.shuffle else None,
            wds.map(partial(_decoded, ask=ask, rng=crops)),
            partial(_batches, size=ask.batch, drop_last=ask.drop_last) if ask.batch else None,
        )
        return pipeline


class SRPairs(Dataset[Sample]):
    """Any pair of a folder of finished shards by its number, in the order of the keys.

    `pairs[i]` is `(LR, HR, info)`: float32 RGB in [0, 1], (3, h, w) and (3, H, W), and the pair's
    JSON as a dict. Only the two pictures are read. Files are open during an access only, so that
    the object may be pickled, forked and shared by threads.

    Raises ShardError where the folder is missing, unfinished, damaged or too new; `name` says
    which data set, where the folder holds several.
    """

    def __init__(self, folder: str | Path, name: str | None = None) -> None:
        self._shards = _find_shards(Path(folder), name)
        with files.reading(self._shards.index) as file:
            lengths = np.fromiter(map(len, file), np.int64)
        if len(lengths) != self._shards.samples:
            raise ShardError(
                f"{self._shards.index}: {len(lengths)} lines for {self._shards.samples} samples; "
                f"{AGAIN}"
            )
        self._ends = np.cumsum(lengths)
        """Where each line of the index ends, in bytes."""

    def __len__(self) -> int:
        return self._shards.samples * self._shards.levels

    def __getitem__(self, i: int) -> Sample:
        """Raises IndexError past the end, ShardError for a damaged index, tar or picture."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"pair {i} of {len(self)}")
        line, level = divmod(i % len(self), self._shards.levels)
        start = int(self._ends[line - 1]) if line else 0
        with files.reading(self._shards.index) as file:
            file.seek(start)
            entry = file.read(int(self._ends[line]) - start)
        name, members, pairs = self._shards.read_line(entry)
        key, lr_name, info = pairs[level]
        tar = self._shards.folder / name
        where = f"{tar}: {key}"
        spans = [_member(members, stem, where) for stem in (lr_name, "hr")]
        with files.reading(tar) as file:
            lr, hr = (_picture(_cut(file, span, where), where) for span in spans)
        return _planes(lr), _planes(hr), info

    def keys(self) -> Iterator[str]:
        """The key of each pair in order, read from the index one line at a time."""
        with files.reading(self._shards.index) as file:
            for line in file:
                yield from (key for key, _, _ in self._shards.read_line(line)[2])


@dataclass(frozen=True)
class _Ask:
    """The arguments of `sr_pairs`, checked."""

    crop: int | None
    batch: int | None
    drop_last: bool
    levels: tuple[float, ...] | None
    t: tuple[float, float] | None
    scales: tuple[float, float] | None
    flips: bool
    shuffle: int
    seed: int

    def __post_init__(self) -> None:
        for label, least in (("crop", 1), ("batch", 1), ("shuffle", 0), ("seed", 0)):
            value = getattr(self, label)
            if value is not None and value < least:
                raise UsageError(f"{label} must be {least} or more, got {value}")
        for label, span in (("t", self.t), ("scales", self.scales)):
            if span is not None and not (len(span) == 2 and span[0] <= span[1]):
                raise UsageError(f"{label} must be (low, high) with low <= high, got {span!r}")

    def wants(self, info: Info) -> bool:
        """Whether the pair is one of those asked for."""
        spans = [(info["t"], self.t), (info["scale"], self.scales)]
        listed = self.levels is None or any(
            abs(info["t"] - level) <= TOLERANCE for level in self.levels
        )
        return listed and all(
            span is None or span[0] - TOLERANCE <= value <= span[1] + TOLERANCE
            for value, span in spans
        )


@dataclass(frozen=True)
class _Shards:
    """A finished data set as its NAME.json tells of it; levels: pairs in each sample."""

    folder: Path
    index: Path
    tars: tuple[str, ...]
    samples: int
    levels: int

    def read_line(self, line: bytes) -> tuple[str, dict[str, Any], list[tuple[str, str, Info]]]:
        """The tar, the members and the pairs of one line of the index; raises ShardError."""
        try:
            entry = json.loads(line)
            key, tar, members = str(entry["key"]), entry["tar"], dict(entry["members"])
            pairs = _pairs_of(key, entry["json"])
            known = tar in self.tars
        except (ValueError, TypeError, KeyError) as error:
            raise ShardError(f"{self.index}: damaged line {line[:60]!r}; {AGAIN}") from error
        if not known or len(pairs) != self.levels:
            raise ShardError(
                f"{self.index}: {key} has {len(pairs)} levels in {tar!r}, where {self.levels} are "
                f"due, in a tar of this data set; {AGAIN}"
            )
        return tar, members, pairs


def _is_folder(shards: str) -> bool:
    """Whether a folder is meant, there or not, rather than a tar, a pattern or a URL."""
    return Path(shards).is_dir() or not re.search(r"\.(tar|tgz)|:", shards)


def _find_shards(folder: Path, name: str | None) -> _Shards:
    """The data set `name`, or the only one of the folder; raises ShardError."""
    if not folder.is_dir():
        raise ShardError(f"{folder}: no such folder of shards")
    listed = set(files.names(folder))
    stems = sorted(text.removesuffix(INDEX) for text in listed if text.endswith(INDEX))
    stems = [stem for stem in stems if f"{stem}.json" in listed and name in (None, stem)]
    if not stems:
        raise ShardError(
            f"{folder}: no finished shards: {name or 'NAME'}.json and {name or 'NAME'}{INDEX} are "
            f"written when all tars are; run the step that makes the shards to its end"
        )
    if len(stems) > 1:
        raise ShardError(f"{folder}: holds {', '.join(stems)}; say which with name=")
    path = folder / f"{stems[0]}.json"
    try:
        about = files.read_json(path)
    except files.FileError as error:
        raise ShardError(f"{error}; {AGAIN}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ShardError(f"{path}: not the summary of {FORMAT}")
    if about.get("version") != VERSION:
        raise ShardError(
            f"{path}: version {about.get('version')!r}, this release reads {VERSION}; read it "
            f"with the release that made it, or a later one"
        )
    tars, samples, levels = _counts(path, about)
    for tar in tars:
        if not isinstance(tar, str) or re.search(r"[/\\]", tar) or tar not in listed:
            raise ShardError(f"{path}: tar {tar!r} is not a file of this folder; {AGAIN}")
    return _Shards(folder, folder / f"{stems[0]}{INDEX}", tuple(tars), samples, levels)


def _counts(path: Path, about: Info) -> tuple[list[Any], int, int]:
    """The tars, the samples and the pairs of each sample in a NAME.json; raises ShardError."""
    try:
        tars, samples, pairs = list(about["tars"]), int(about["samples"]), int(about["pairs"])
        levels = {"pairs": 1, "grouped": pairs // max(samples, 1)}[about["layout"]]
        if not tars or samples < 1 or samples * levels != pairs:
            raise ValueError(f"{pairs} pairs in {samples} samples in {len(tars)} tars")
    except (TypeError, ValueError, KeyError) as error:
        raise ShardError(f"{path}: damaged: {error!r}; {AGAIN}") from error
    return tars, samples, levels


def _require_some(shards: _Shards, ask: _Ask) -> None:
    """Raises UsageError where no pair of the index is wanted; reads up to the first that is."""
    seen: set[tuple[float, float]] = set()
    with files.reading(shards.index) as file:
        for line in file:
            infos = [info for _, _, info in shards.read_line(line)[2]]
            if any(map(ask.wants, infos)):
                return
            seen |= {(info["t"], info["scale"]) for info in infos}
            seen = {min(seen), max(seen)}
    if not seen:
        raise ShardError(f"{shards.index}: empty; {AGAIN}")
    raise UsageError(
        f"no pair has levels={ask.levels}, t={ask.t}, scales={ask.scales}: {shards.folder} has "
        f"(t, scale) from {min(seen)} to {max(seen)}"
    )


def _order(seeds: np.random.SeedSequence) -> random.Random:
    return random.Random(int(seeds.generate_state(1, np.uint64)[0]))


def _pairs_of(key: str, info: Info) -> list[tuple[str, str, Info]]:
    """The key, the LR's name without its ending and the info of each pair of a sample.

    Raises KeyError, TypeError or ValueError where the JSON is not that of a sample.
    """
    pairs = [(key, "lr", dict(info))]
    if "levels" in info:
        shared = {field: value for field, value in info.items() if field != "levels"}
        pairs = [
            (f"{key}-{level['level']}", f"lr_{level['level']}", {**shared, **level})
            for level in info["levels"]
        ]
    for _, _, pair in pairs:
        if not all(isinstance(pair[field], int | float) for field in ("t", "scale")):
            raise TypeError(f"{key}: t and scale must be numbers")
    return pairs


def _open(url: str, local: bool) -> AbstractContextManager[IO[bytes]]:
    return files.reading(Path(url)) if local else wds.gopen(url)


def _tar_samples(sources: Iterable[dict[str, str]], local: bool) -> Iterator[dict[str, Any]]:
    """The samples of each tar as webdataset groups them; an error names the tar."""
    for source in sources:
        url = source["url"]
        try:
            with _open(url, local) as stream:
                members = wds.tariterators.tar_file_expander([{"url": url, "stream": stream}])
                yield from wds.tariterators.group_by_keys(members, lcase=False)
        except DegflowError:
            raise
        except (OSError, ValueError, EOFError, tarfile.TarError, zlib.error) as error:
            why = next((text for text in error.args if isinstance(text, str)), repr(error))
            raise ShardError(f"{url}: cannot be read as a tar: {why}; {AGAIN}") from error


def _coded_pairs(
    samples: Iterable[dict[str, Any]], ask: _Ask
) -> Iterator[tuple[str, bytes, bytes, Info]]:
    """The wanted pairs of each sample: tar and key, LR and HR still coded, info."""
    for sample in samples:
        where = f"{sample['__url__']}: {sample['__key__']}"
        try:
            pairs = _pairs_of(where, json.loads(sample["json"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ShardError(f"{where} has no JSON of a training pair; {AGAIN}") from error
        for key, lr_name, info in pairs:
            if ask.wants(info):
                yield key, _member(sample, lr_name, key), _member(sample, "hr", key), info


def _member(members: dict[str, Any], stem: str, where: str) -> Any:
    """The member of this name, whatever kind of picture it is."""
    for name, value in members.items():
        if name.rpartition(".")[0] == stem:
            return value
    raise ShardError(f"{where} has no picture {stem!r}; {AGAIN}")


def _cut(file: IO[bytes], span: Any, where: str) -> bytes:
    """The bytes of a member; raises ShardError where [offset, size] is not within the tar."""
    end = file.seek(0, 2)
    if not (
        isinstance(span, list)
        and [type(number) for number in span] == [int, int]
        and 0 <= span[0] <= span[0] + span[1] <= end
    ):
        raise ShardError(f"{where} is at {span!r} by the index, the tar has {end} bytes; {AGAIN}")
    file.seek(span[0])
    return file.read(span[1])


def _decoded(pair: tuple[str, bytes, bytes, Info], ask: _Ask, rng: np.random.Generator) -> Sample:
    """The two pictures of a pair, cropped, flipped and turned alike."""
    where, coded_lr, coded_hr, info = pair
    lr, hr = _picture(coded_lr, where), _picture(coded_hr, where)
    if ask.crop is not None:
        lr, hr = _cropped(lr, hr, ask.crop, where, rng)
    if ask.flips:
        square = lr.shape[0] == lr.shape[1] and hr.shape[0] == hr.shape[1]
        turns = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
        step = 1 - 2 * int(rng.integers(2))
        lr, hr = np.rot90(lr[:, ::step], turns), np.rot90(hr[:, ::step], turns)
    return _planes(lr), _planes(hr), info


def _cropped(
    lr: np.ndarray, hr: np.ndarray, crop: int, where: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same random part of both, HR (crop, crop, 3), cut where the LR has whole pixels."""
    (h, w), (height, width) = lr.shape[:2], hr.shape[:2]
    scale = height // h
    sizes = f"{where} has HR {height} x {width}, LR {h} x {w}"
    if (h * scale, w * scale) != (height, width):
        raise UsageError(
            f"crop={crop} needs an HR that is a whole number of times the LR; {sizes}: leave crop "
            f"out, select other scales, or make the shards with LR of the HR's size"
        )
    if crop % scale or crop > min(height, width):
        raise UsageError(
            f"crop={crop} must be a multiple of {scale} and no larger than the patch; {sizes}"
        )
    side = crop // scale
    y, x = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
    top, left = y * scale, x * scale
    return lr[y : y + side, x : x + side], hr[top : top + crop, left : left + crop]


def _picture(data: bytes, where: str) -> np.ndarray:
    """Decode to (H, W, 3) uint8 RGB; raises ShardError."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise ShardError(f"{where}: a picture cannot be decoded; {AGAIN}")
    return bgr[:, :, ::-1]


def _planes(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [0, 1]; planes first, as bytes move faster."""
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
    return torch.from_numpy(planes).float().div_(255.0)


def _batches(samples: Iterable[Sample], size: int, drop_last: bool) -> Iterator[Sample]:
    """Batches of one LR size, one HR size and one scale; the incomplete ones come last."""
    waiting: dict[tuple[Any, ...], list[Sample]] = {}
    for sample in samples:
        kind = (sample[0].shape, sample[1].shape, sample[2]["scale"])
        waiting.setdefault(kind, []).append(sample)
        if len(waiting[kind]) == size:
            yield _stacked(waiting.pop(kind))
    if not drop_last:
        yield from map(_stacked, waiting.values())


def _stacked(samples: list[Sample]) -> Sample:
    lrs, hrs, infos = zip(*samples, strict=True)
    return torch.stack(lrs), torch.stack(hrs), list(infos)
