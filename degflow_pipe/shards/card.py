"""The data set card (README.md with the Hugging Face hub's header) and its contact sheet."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import files
from degflow_pipe.levels import Grid
from degflow_pipe.pictures.formats import PictureFormat, parse_format
from degflow_pipe.pictures.sheet import as_large, label_bar, row_of
from degflow_pipe.shards.layout import VALIDATE, PackedLevel, ShardSettings

SHEET_LEVELS, SHEET_SIDE = 6, 160

Shown = tuple[np.ndarray, np.ndarray]


def contact_sheet(shown: Sequence[Shown], grid: Grid) -> bytes:
    """PNG: HR and up to SHEET_LEVELS levels, evenly chosen, of patches.

    shown: HR (P, P, 3) and LR (T, p, p, 3) of each, uint8; smaller LR are shown in HR's size, pixel
    by pixel.
    """
    chosen = spread(range(len(grid)), SHEET_LEVELS)
    rows = [
        row_of([hr, *(as_large(level, hr) for level in lr[chosen])], SHEET_SIDE) for hr, lr in shown
    ]
    labels = ["HR", *(grid.levels[i].label for i in chosen)]
    sheet = np.concatenate([label_bar(labels, SHEET_SIDE), *rows])
    return parse_format("png").encode(sheet)


def spread(items: Sequence[int], count: int) -> list[int]:
    """Up to `count` items, first and last among them, evenly apart."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def write_card(
    path: Path,
    figures: dict[str, Any],
    settings: ShardSettings,
    grid: Grid,
    levels: Sequence[PackedLevel],
    side: str = "train",
) -> None:
    """Write README.md: what the data set is, its figures, its levels, and how to read it.

    side: `train`, or `validation` for what was set apart.
    """
    rows = []
    for packed in levels:
        error = figures["mean_squared_error"][packed.level.name]
        psnr = f"{10 * math.log10(255**2 / error):.2f}" if error > 0 else "equal"
        size = f"{packed.packing.lr} of {packed.packing.hr}"
        rows.append(
            f"| {packed.level.name} | {packed.level.label} | {packed.scale:g} | {size} | {psnr} |"
        )
    patch = figures["settings"]["patch"]
    hr_format, lr_format = settings.formats()
    pictures = lr_format.name if hr_format.name == lr_format.name else _both(hr_format, lr_format)
    stem = "lr" if settings.layout == "pairs" else f"lr_{grid.levels[0].name}"
    lr = f"{stem}.{lr_format.ending}"
    size = _size_category(figures["pairs"])
    hr_sides = {packed.packing.hr for packed in levels}
    cut = ""
    if len(hr_sides) > 1 and settings.layout == "grouped":
        cut = """
    side = info["levels"][0]["hr_size"][0]  # each level uses so much of HR, from the top left
    hr = hr[:side, :side]"""
    text = f"""---
pretty_name: {settings.name}
task_categories:
- image-to-image
tags:
- super-resolution
- webdataset
- degflow-pipe
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: {side}
    path: {settings.name}-*.tar{_validation(settings) if side == "train" else ""}
---

# {settings.name}

HR/LR pairs for super-resolution. HR are patches of photos; LR were generated from them by
{_made_by(grid)} at {len(grid)} degradation level{"s" if len(grid) > 1 else ""}.
The pictures carry the licence of the photos they were made from.

![HR and levels](contact_sheet.png)

| | |
|---|---|
| pairs | {figures["pairs"]} |
| HR patches | {figures["patches"]} of {patch} x {patch} |
| samples | {figures["samples"]}, layout `{settings.layout}` |
| tars | {len(figures["tars"])}, {figures["bytes"] / 1e6:.1f} MB |
| pictures | {pictures} |
| LR size | {f"HR / {grid.sr_scale:g}" if grid.sr_scale else settings.lr_size} |

| level | asked for as | scale | LR side of HR side | PSNR to HR of the mean error, dB |
|---|---|---|---|---|
{chr(10).join(rows)}
{_cameras(grid)}{_chain(settings)}
## Reading

```python
import webdataset as wds
pairs = wds.WebDataset("{settings.name}-000000.tar", shardshuffle=False).decode("rgb")
for sample in pairs:
    hr, lr, info = sample["hr.{hr_format.ending}"], sample["{lr}"], sample["json"]{cut}
```
"""
    files.write_text(path, text)


def _validation(settings: ShardSettings) -> str:
    path = f"{VALIDATE}/{settings.name}-*.tar"
    return f"\n  - split: validation\n    path: {path}" if settings.validate else ""


def _made_by(grid: Grid) -> str:
    if "," not in grid.checkpoint:
        return f"the DegFlow checkpoint `{grid.checkpoint}`"
    return "a bank of cameras, each patch by one of them that its JSON names,"


def _cameras(grid: Grid) -> str:
    """The cameras of a bank."""
    lines = "\n".join(f"- {camera}" for camera in grid.about)
    return f"\n## Cameras\n\n{lines}\n" if grid.about else ""


def _both(hr_format: PictureFormat, lr_format: PictureFormat) -> str:
    return f"HR {hr_format.name}, LR {lr_format.name}"


def _chain(settings: ShardSettings) -> str:
    """What was done to LR after their levels; empty where nothing was."""
    chain = settings.read_chain()
    if chain is None:
        return ""
    steps = "\n".join(json.dumps(step) for step in chain.content)
    return f"""
## After the camera

After its level each LR went through the chain `{chain.name}`, seed {settings.chain_seed}.
What was drawn for it is in its sample's JSON under `chain`. The contact sheet and the PSNR above
are of the levels, before the chain. Its steps, in order:

```
{steps}
```
"""


def _size_category(count: int) -> str:
    """The hub's names for sizes: n<1K, 1K<n<10K, ..."""
    bounds = [(10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M")]
    if count < bounds[0][0]:
        return "n<1K"
    for (_, low), (high, name) in pairwise(bounds):
        if count < high:
            return f"{low}<n<{name}"
    return "n>10M"
