"""Photos that were damaged after they were written: how many are taken, and how wrong those are.

    python tests/hostile/mutated_photos.py --count 5000 --seed 0 --photos FOLDER

Prints a table by format and one by kind of damage. A pixel is wrong where a channel is more than 16
grey levels off what the whole file decodes to; a photo that is taken with more than 0.5 % of wrong
pixels, or in another size, is counted as taken wrong. The exit code is 1 where one took more than a
minute, or the process more than 1 GB. With --results FILE each is written down as it comes, and
what is in FILE is not tried again.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from skimage import data

from degflow_pipe.decoding.decode import decode
from degflow_pipe.errors import PhotoError
from degflow_pipe.pictures.photos import find_photos

OFF = 16
"""Grey levels, in any channel, beyond which a pixel is wrong."""
WRONG = 0.005
"""Share of wrong pixels beyond which a photo must not be taken."""
SECONDS, MEGABYTES = 60.0, 1024
VARIANTS = 16
"""Whole files of each format; each is damaged many times."""

Encode = Callable[[np.ndarray, np.random.Generator], bytes]


def _pillow(kind: str, **fixed: object) -> Encode:
    def encode(picture: np.ndarray, rng: np.random.Generator) -> bytes:
        options = dict(fixed)
        if "quality" in options:
            options["quality"] = int(rng.integers(40, 97))
        if kind == "JPEG":
            options |= {"subsampling": int(rng.choice([0, 2])), "optimize": bool(rng.integers(2))}
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind, **options)
        return file.getvalue()

    return encode


def _tiff(compression: str | None, predictor: bool = False) -> Encode:
    def encode(picture: np.ndarray, rng: np.random.Generator) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            picture,
            photometric="rgb",
            compression=compression,
            predictor=predictor,
            rowsperstrip=int(rng.choice([16, 64])),
        )
        return file.getvalue()

    return encode


FORMATS: dict[str, Encode] = {
    "PNG": _pillow("PNG"),
    "JPEG baseline": _pillow("JPEG", quality=0),
    "JPEG restarts": _pillow("JPEG", quality=0, restart_marker_rows=1),
    "JPEG progressive": _pillow("JPEG", quality=0, progressive=True),
    "WebP lossy": _pillow("WEBP", quality=0),
    "WebP lossless": _pillow("WEBP", lossless=True, method=2),
    "TIFF plain": _tiff(None),
    "TIFF LZW": _tiff("lzw"),
    "TIFF LZW predictor": _tiff("lzw", predictor=True),
    "TIFF deflate": _tiff("zlib"),
    "TIFF JPEG": _tiff("jpeg"),
    "AVIF": _pillow("AVIF", quality=0, speed=8),
}
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"\x00\x00\x00\x00IEND\xaeB`\x82"}


def _flip(content: bytearray, rng: np.random.Generator) -> bytearray:
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return content


def _bytes(content: bytearray, rng: np.random.Generator) -> bytearray:
    for at in rng.integers(len(content), size=8):
        content[at] = rng.integers(256)
    return content


def _cut(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: rng.integers(len(content))]


def _mended(content: bytearray, rng: np.random.Generator) -> bytearray:
    kind = "PNG" if content[:4] == b"\x89PNG" else "JPEG"
    return _cut(content, rng) + ENDS[kind]


def _zeros(content: bytearray, rng: np.random.Generator) -> bytearray:
    length = int(rng.choice([512, 4096]))
    at = int(rng.integers(len(content)))
    at -= at % 512 if rng.integers(2) else 0
    content[at : at + length] = bytes(len(content[at : at + length]))
    return content


DAMAGES = {
    "a bit flipped": _flip,
    "8 bytes changed": _bytes,
    "cut": _cut,
    "cut, end mended on": _mended,
    "zeros": _zeros,
}


@dataclass(frozen=True)
class Trial:
    """What came of one photo: refused, with the reason, or its share of wrong pixels."""

    format: str
    damage: str
    number: int
    wrong: float | None
    reason: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def taken_wrong(self) -> bool:
        return self.wrong is not None and self.wrong > WRONG


@lru_cache
def _pictures(folder: str | None) -> list[np.ndarray]:
    found = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    for file in find_photos([folder]) if folder else ():
        found.append(decode(file.path.read_bytes(), file.name).pixels)
    return [np.ascontiguousarray(_middle(picture)) for picture in found]


def _middle(picture: np.ndarray) -> np.ndarray:
    y, x = (max(side - 560, 0) // 2 for side in picture.shape[:2])
    return picture[y : y + 560, x : x + 560]


@cache
def _whole(name: str, variant: int, seed: int, folder: str | None) -> tuple[bytes, np.ndarray]:
    rng = np.random.default_rng([seed, list(FORMATS).index(name), variant])
    pictures = _pictures(folder)
    content = FORMATS[name](pictures[rng.integers(len(pictures))], rng)
    return content, decode(content, "whole").pixels


def trial(seed: int, number: int, folder: str | None = None) -> Trial:
    """Damage one photo and decode it; the same for the same numbers."""
    rng = np.random.default_rng([seed, number])
    name = list(FORMATS)[number % len(FORMATS)]
    damage = list(DAMAGES)[number // len(FORMATS) % len(DAMAGES)]
    content, pixels = _whole(name, int(rng.integers(VARIANTS)), seed, folder)
    damaged = bytes(DAMAGES[damage](bytearray(content), rng))
    began = time.monotonic()
    wrong, reason = None, ""
    try:
        found = decode(damaged, "damaged").pixels
        wrong = 1.0
        if found.shape == pixels.shape:
            off = np.abs(found.astype(np.int16) - pixels).max(axis=2)
            wrong = float((off > OFF).mean())
    except PhotoError as error:
        reason = str(error)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**2
    return Trial(name, damage, number, wrong, reason, time.monotonic() - began, peak)


def trials(numbers: list[int], seed: int, folder: str | None, workers: int) -> Iterator[Trial]:
    """In processes of their own; one that takes longer than SECONDS ends all."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        running = [pool.apply_async(trial, (seed, number, folder)) for number in numbers]
        for number, result in zip(numbers, running, strict=True):
            try:
                # The first ones also make the whole files.
                yield result.get(10 * SECONDS)
            except multiprocessing.TimeoutError:
                sys.exit(f"photo {number} takes more than {10 * SECONDS:g} s")


def table(found: list[Trial], by: str) -> str:
    groups: dict[str, list[Trial]] = defaultdict(list)
    for one in found:
        groups[getattr(one, by)].append(one)
    heads = (by, "tried", "refused", "taken, right", "taken wrong", "most wrong")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, group in groups.items():
        counts = Counter(
            "refused" if t.wrong is None else "wrong" if t.taken_wrong else "right" for t in group
        )
        most = max((t.wrong for t in group if t.wrong is not None), default=0.0)
        lines.append(
            f"| {name} | {len(group)} | {counts['refused']} | {counts['right']} | "
            f"{counts['wrong']} | {most:.1%} |"
        )
    return "\n".join(lines)


def _kept(results: Path | None) -> list[Trial]:
    if results is None or not results.exists():
        return []
    return [Trial(**json.loads(line)) for line in results.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=Path, help="more photos than scikit-image's")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="name those that were taken wrong")
    parser.add_argument("--results", type=Path, help="JSON lines, of one seed and set of photos")
    asked = parser.parse_args()
    folder = None if asked.photos is None else str(asked.photos)
    found = _kept(asked.results)
    left = sorted(set(range(asked.count)) - {one.number for one in found})
    for one in trials(left, asked.seed, folder, asked.workers):
        found.append(one)
        if asked.results is not None:
            with asked.results.open("a") as lines:
                lines.write(json.dumps(asdict(one)) + "\n")
    print(table(found, "format"), table(found, "damage"), sep="\n\n")
    if asked.list:
        for one in found:
            if one.taken_wrong:
                print(f"{one.number}: {one.format}, {one.damage}: {one.wrong:.1%} wrong")
    slowest, largest = max(t.seconds for t in found), max(t.megabytes for t in found)
    print(f"\nslowest {slowest:.1f} s; most memory of a process {largest:.0f} MB")
    sys.exit(slowest > SECONDS or largest > MEGABYTES)


if __name__ == "__main__":
    main()
