"""bench: ours, the published procedure and the limit on the same photos, weights and levels."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from degflow_pipe import defaults
from degflow_pipe.bench.by_hand import by_hand
from degflow_pipe.bench.device import device_figures
from degflow_pipe.bench.jobs import Jobs
from degflow_pipe.bench.limit import decoder_flops, level_seconds
from degflow_pipe.bench.published_procedure import published_patch
from degflow_pipe.bench.reading import reading_speed
from degflow_pipe.bench.results import Benchmark, BenchSettings, Difference, Parts, Seconds
from degflow_pipe.calibration.tune_solver import converged, exact, largest_difference, solved
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import write_checkpoint
from degflow_pipe.choices import Preset, check_choice
from degflow_pipe.engines.engine import check_workers
from degflow_pipe.engines.load import busy
from degflow_pipe.errors import PhotoError
from degflow_pipe.levels import Grid
from degflow_pipe.model.config import PRESETS
from degflow_pipe.model.devices import one_thread_each, wait
from degflow_pipe.model.networks import Networks
from degflow_pipe.model.rae import RAE
from degflow_pipe.model.velocity import VelocityNet
from degflow_pipe.noise.drawing import Sources
from degflow_pipe.pictures.arrays import to_tensor
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.pictures.patches import check_grid, check_size, crop_patches, starts
from degflow_pipe.pictures.photos import find_photos, picture_size, read_photo
from degflow_pipe.progress import Progress, Silent

REPEATS = 3


def bench(
    photos: list[str],
    model: DegFlow,
    grid: Grid,
    asked: BenchSettings,
    *,
    against: DegFlow | None = None,
    batch: int = defaults.BATCH,
    workers: int = 0,
    progress: Progress | None = None,
) -> Benchmark:
    """Measure everything in one run, in a temporary folder.

    against: the model of the published procedure; the same one by default. Raises PhotoError where
    no patch can be cut from the photos.
    """
    at_once = check_workers(workers)
    check_grid(asked.patch, asked.patch, model.config.side_multiple)
    other, progress = against or model, progress or Silent()
    every = _patches(photos, asked.patch, progress)
    patches = np.stack(list(itertools.islice(every, asked.patches)))
    few = patches[: asked.compare]
    held = None if asked.folder is None else _patches_of_folder(asked.folder, asked.patch, progress)
    load = _load(progress)
    with tempfile.TemporaryDirectory(prefix="degflow-bench-") as temporary:
        folder = Path(temporary)
        how: dict[str, Any] = {"batch": batch, "workers": workers, "progress": progress}
        timed = Jobs(patches, folder / "jobs", model, grid, asked, **how).timed()
        with progress.task("reading", None):
            reading = reading_speed(timed.shards, folder / "unpacked", asked.patch // 2, at_once)
        published, published_nfe = _published(exact(other), few, grid, folder, progress)
    with one_thread_each(model.device):
        on_cpu = model.device.type == "cpu"
        together, threads = (1, at_once) if on_cpu else (batch, 1)
        level = level_seconds(model, patches[:together], threads)
        parts = _parts(model, patches[0], grid, asked)
        on_device = device_figures(model, patches[:together], grid, asked.noise)
        difference = _difference(model, few, grid)
        hand_made = by_hand(patches, model.info.s_max, at_once)
    decoded = len({end for t in grid.t for end in model.config.solver.decoded(t)[:2]})
    ours, without = timed.ours, timed.without_noise
    seconds = Seconds(ours, without, published, level * len(grid))
    return Benchmark(
        checkpoint=model.info.id,
        against=other.info.id,
        device=_device(model),
        precision=model.precision,
        load_before=load,
        workers=at_once,
        patches=len(patches),
        levels=len(grid),
        seconds=seconds,
        patches_a_second=1 / ours,
        lr_a_second=len(grid) / ours,
        noise_costs=ours / without - 1,
        by_hand=hand_made,
        speedup=published / ours,
        of_limit=seconds.limit / ours,
        decoded=decoded,
        of_limit_decoded=level * decoded / ours,
        published_nfe=published_nfe,
        nfe=difference.nfe,
        max_diff=difference.max_diff,
        share_within_1=difference.share_within_1,
        parts=parts,
        on_device=on_device,
        reading=reading,
        decoder_gflops=decoder_flops(model, patches[0]) / 1e9,
        peak_mb=timed.peak_mb,
        folder_seconds=None if held is None else ours * held,
        asked=asked,
    )


def _load(progress: Progress) -> float:
    """The machine's, over a minute; a note where it is too much."""
    if load := busy():
        with progress.task("bench", None) as task:
            task.note(f"other work is running here (load {load:.1f}): the ratios tell little")
    return load


def _published(
    model: Networks, patches: np.ndarray, grid: Grid, folder: Path, progress: Progress
) -> tuple[float, int]:
    """Mean seconds a patch of the published procedure, and its evaluations of v for one."""
    seconds, evaluations = [], []
    published_patch(model, patches[0], grid.t[:1], folder)  # what is loaded and chosen only once
    with progress.task("published procedure", len(patches), counts="patches") as task:
        for hr in patches:
            began = time.perf_counter()
            evaluations.append(published_patch(model, hr, grid.t, folder))
            seconds.append(time.perf_counter() - began)
            task.advance()
    return float(np.mean(seconds)), round(np.mean(evaluations))


def random_checkpoint(preset: str, folder: Path) -> Path:
    """A checkpoint of a preset's sizes with random weights, to measure speed on.

    Raises UsageError for an unknown preset.
    """
    check_choice("preset", preset, Preset)
    config = PRESETS[preset]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = {"rae": RAE(config.rae), "velocity": VelocityNet(config.velocity, config.rae)}
        parts = torch.nn.ModuleDict(networks)
    path = folder / f"random-{preset}"
    write_checkpoint(
        path,
        parts.state_dict(),
        "Random weights, to measure speed on.\n",
        name=path.name,
        model=config,
        levels=[{"name": "HR", "t": 0.0}, {"name": "LR", "t": 1.0}],
        s_max=4.0,
    )
    return path


def _patches(photos: list[str], side: int, progress: Progress) -> Iterator[np.ndarray]:
    """Patches of all photos that can be read; tells of others. PhotoError where there are none."""
    none = True
    for file in find_photos(photos):
        try:
            pixels = read_photo(file).pixels
            check_size(pixels, side, file.name)
        except PhotoError as error:
            _tell_skipped(str(error), progress)
            continue
        for patch in crop_patches(pixels, side, side):
            none = False
            yield np.ascontiguousarray(patch.pixels)
    if none:
        raise PhotoError(f"no patch of {side} x {side} pixels in {', '.join(photos)}")


def _tell_skipped(why: str, progress: Progress) -> None:
    with progress.task("bench", None) as task:
        task.note(f"left out: {why}")


def _parts(model: DegFlow, hr: np.ndarray, grid: Grid, asked: BenchSettings) -> Parts:
    """Seconds of each part for one patch on one thread, the least of some repeats."""
    noise = model.noise_model(asked.noise)
    encoding = parse_format(asked.picture_format)
    found: dict[str, list[float]] = {}

    def timed(name: str, work: Any) -> Any:
        began = time.perf_counter()
        result = work()
        wait(model.device)
        found.setdefault(name, []).append(time.perf_counter() - began)
        return result

    for _ in range(REPEATS):
        z, skips = timed("encode", lambda: model.encode(to_tensor(hr)))
        timed("integrate", lambda z=z, s=skips: model.trajectory(z, grid.t, s))
        lr = timed("levels", lambda z=z, s=skips: list(model.levels(z, grid.t, s).pictures))
        levels = list(zip(lr, grid.t, strict=True))
        sources = Sources(hr[None])
        drawn = timed("noise", lambda v=levels, s=sources: [s.noisy(x, t, noise)[0] for x, t in v])
        pictures = [picture.cpu().numpy() for picture in drawn]
        timed("code", lambda p=pictures: [encoding.encode(picture) for picture in p])
    least = {name: min(times) for name, times in found.items()}
    decode = least.pop("levels") - least["integrate"]
    return Parts(decode=decode, **least)


def _difference(model: DegFlow, patches: np.ndarray, grid: Grid) -> Difference:
    """LR without noise against a solve at 1e-6."""
    largest, nfe, within = 0, 0, []
    for hr in patches:
        wanted, _ = solved(exact(model), hr, grid.t, converged(model))
        made, nfe = solved(model, hr, grid.t)
        difference = largest_difference(made, wanted)
        largest = max(largest, int(difference.max()))
        within.append(float((difference <= 1).mean()))
    return Difference(nfe, largest, float(np.mean(within)))


def _patches_of_folder(folder: str, side: int, progress: Progress) -> int:
    """How many patches a folder's photos hold, by their sizes; flat ones are not known here.

    Tells of photos whose sizes cannot be read.
    """
    total = 0
    for file in find_photos([folder]):
        try:
            height, width = picture_size(file)
        except PhotoError as error:
            _tell_skipped(str(error), progress)
            continue
        if min(height, width) >= side:
            total += len(starts(height, side, side)) * len(starts(width, side, side))
    return total


def _device(model: DegFlow) -> str:
    if model.device.type == "cuda":
        return torch.cuda.get_device_name(model.device)
    return "cpu"
