"""The data set card (README.md with the Hugging Face hub's header) and its contact sheet."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import files
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.sheet import label_bar, row_of
from degflow_pipe.shards.tars import Sources, UnitReader, spread

SHEET_LEVELS, SHEET_SIDE = 6, 160


def contact_sheet(sources: Sources) -> bytes:
    """PNG: HR and up to SHEET_LEVELS levels, evenly chosen, of patches spread over the store."""
    chosen = spread(list(range(len(sources.grid))), SHEET_LEVELS)
    rows = []
    for unit, place in sources.shown:
        reader = UnitReader(sources, unit)
        rows.append(row_of([reader.hr[place], *reader.levels(place)[chosen]], SHEET_SIDE))
    labels = ["HR", *(f"t = {sources.grid.t[i]:g}" for i in chosen)]
    sheet = np.concatenate([label_bar(labels, SHEET_SIDE), *rows])
    return parse_format("png").encode(sheet)


def write_card(path: Path, figures: dict[str, Any], sources: Sources) -> None:
    """Write README.md: what the data set is, its figures, its levels, and how to read it."""
    rows = []
    for packed in sources.levels:
        error = figures["mean_squared_error"][packed.level.name]
        psnr = f"{10 * math.log10(255**2 / error):.2f}" if error > 0 else "equal"
        size = f"{packed.packing.lr} of {packed.packing.hr}"
        rows.append(
            f"| {packed.level.name} | {packed.level.t:g} | {packed.scale:g} | {size} | {psnr} |"
        )
    settings, store = sources.settings, sources.store.settings
    ending = parse_format(settings.picture_format).ending
    lr = (
        f"lr.{ending}"
        if settings.layout == "pairs"
        else f"lr_{sources.grid.levels[0].name}.{ending}"
    )
    size = _size_category(figures["pairs"])
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
  - split: train
    path: {settings.name}-*.tar
---

# {settings.name}

HR/LR pairs for super-resolution. HR are patches of photos; LR were generated from them by the
DegFlow checkpoint `{store.checkpoint}` at {len(sources.grid)} degradation levels.
The pictures carry the licence of the photos they were made from.

![HR and levels](contact_sheet.png)

| | |
|---|---|
| pairs | {figures["pairs"]} |
| HR patches | {figures["patches"]} of {store.patch} x {store.patch} |
| samples | {figures["samples"]}, layout `{settings.layout}` |
| tars | {len(figures["tars"])}, {figures["bytes"] / 1e6:.1f} MB |
| pictures | {settings.picture_format} |
| LR size | {settings.lr_size} |

| level | t | scale | LR side of HR side | PSNR to HR of the mean error, dB |
|---|---|---|---|---|
{chr(10).join(rows)}

## Reading

```python
import webdataset as wds
pairs = wds.WebDataset("{settings.name}-000000.tar", shardshuffle=False).decode("rgb")
for sample in pairs:
    hr, lr, info = sample["hr.{ending}"], sample["{lr}"], sample["json"]
```
"""
    files.write_text(path, text)


def _size_category(count: int) -> str:
    """The hub's names for sizes: n<1K, 1K<n<10K, ..."""
    bounds = [(10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M")]
    if count < bounds[0][0]:
        return "n<1K"
    for (_, low), (high, name) in pairwise(bounds):
        if count < high:
            return f"{low}<n<{name}"
    return "n>10M"
