"""Shards to read: tiny real tars of both layouts, in which LR follows from HR exactly."""

from __future__ import annotations

import json
import tarfile
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import webdataset as wds

SIDE = 16
LEVELS = (0.1, 0.35, 1.0)


def scale_of(t: float) -> float:
    return round(1 + 3 * t, 6)


def lr_of(hr: np.ndarray, t: float) -> np.ndarray:
    """The LR of the same size: each pixel tells the HR's pixel and the level."""
    return hr ^ np.uint8(round(t * 100))


def coded(rgb: np.ndarray, ending: str = "png") -> bytes:
    ok, data = cv2.imencode(f".{ending}", np.ascontiguousarray(rgb[:, :, ::-1]))
    assert ok
    return data.tobytes()


def samples_of(
    layout: str, patches: int, native: float | None, ending: str, side: int
) -> list[dict[str, Any]]:
    """Members of each sample; native: HR size / LR size, with HR made of LR by repeats."""
    rng = np.random.default_rng(7)
    samples: list[dict[str, Any]] = []
    for n in range(patches):
        base = {"source": f"photos/{n}.jpg", "source_sha256": "9f86", "y": 0, "x": 16 * n}
        base |= {"patch": side, "checkpoint": None, "grid": "g"}
        hr = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        lrs = {t: lr_of(hr, t) for t in LEVELS}
        if native is not None:
            small = rng.integers(0, 256, (round(side / native),) * 2 + (3,), dtype=np.uint8)
            hr = cv2.resize(small, (side, side), interpolation=cv2.INTER_NEAREST)
            lrs = dict.fromkeys(LEVELS, small)
        key, infos = f"{n:08d}-9f86d081", {}
        for t, lr in lrs.items():
            infos[t] = {"level": f"t{round(t * 1000):04d}", "t": t, "scale": scale_of(t)}
            infos[t] |= {"hr_size": list(hr.shape[:2]), "lr_size": list(lr.shape[:2])}
            infos[t]["effective_scale"] = native or 1.0
        if layout == "grouped":
            sample = {"__key__": key, f"hr.{ending}": coded(hr, ending)}
            sample["json"] = {**base, "levels": list(infos.values())}
            for t, lr in lrs.items():
                sample[f"lr_{infos[t]['level']}.{ending}"] = coded(lr, ending)
            samples.append(sample)
        else:
            for t, lr in lrs.items():
                sample = {
                    "__key__": f"{key}-{infos[t]['level']}",
                    f"lr.{ending}": coded(lr, ending),
                }
                samples.append(
                    sample | {f"hr.{ending}": coded(hr, ending), "json": base | infos[t]}
                )
    return samples


def write_shards(
    folder: Path,
    layout: str = "pairs",
    patches: int = 8,
    per_tar: int = 3,
    native: float | None = None,
    ending: str = "png",
    side: int = SIDE,
    version: int = 2,
) -> Path:
    """A finished shard folder, as the writer makes it, or made it when there was one index."""
    folder.mkdir(exist_ok=True)
    samples = samples_of(layout, patches, native, ending, side)
    tars: list[str] = []
    lines: list[str] = []
    firsts: list[str] = []
    for start in range(0, len(samples), per_tar):
        tar, group = f"degflow-{start // per_tar:06d}.tar", samples[start : start + per_tar]
        tars.append(tar)
        with wds.TarWriter(str(folder / tar), mtime=0) as writer:
            for sample in group:
                writer.write(sample)
        with tarfile.open(folder / tar) as written:
            spans = {m.name: [m.offset_data, m.size] for m in written.getmembers()}
        for sample in group:
            key = sample["__key__"]
            members = {ext: spans[f"{key}.{ext}"] for ext in sample if ext != "__key__"}
            line = {"key": key, "tar": tar, "members": members, "json": sample["json"]}
            lines.append(json.dumps(line) + "\n")
        if version == 2:
            (folder / tar).with_suffix(".index.jsonl").write_text("".join(lines))
            firsts, lines = [*firsts, group[0]["__key__"]], []
    if version == 1:
        (folder / "degflow.index.jsonl").write_text("".join(lines))
    about = {"format": "degflow-pipe shards", "version": version, "name": "degflow", "tars": tars}
    about |= {"first_keys": firsts} if version == 2 else {}
    about |= {"samples": len(samples), "pairs": patches * len(LEVELS), "layout": layout}
    (folder / "degflow.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="session")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("grouped"), "grouped")


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("native"), native=2)


@pytest.fixture(params=["pairs", "grouped"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def name_of(info: dict[str, Any]) -> tuple[int, float]:
    return info["x"], info["t"]


EVERY = sorted((16 * n, t) for n in range(8) for t in LEVELS)


def pixels(x: torch.Tensor) -> np.ndarray:
    assert x.dtype == torch.float32 and x.is_contiguous() and x.min() >= 0 and x.max() <= 1
    return (x * 255).round().to(torch.uint8).numpy()


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_line(folder: Path, **changes: Any) -> None:
    """Change the first line of the first index."""
    index = folder / "degflow-000000.index.jsonl"
    first, *rest = index.read_text().splitlines()
    index.write_text("\n".join([json.dumps(json.loads(first) | changes), *rest]) + "\n")


def taken(loader: Any, count: int | None = None) -> list[tuple[Any, bytes]]:
    found = []
    for _, hr, info in islice(loader, count):
        for one, i in zip(hr, info, strict=True) if isinstance(info, list) else [(hr, info)]:
            found.append((name_of(i), pixels(one.contiguous()).tobytes()))
    return found
