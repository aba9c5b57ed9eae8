"""proxy: SR networks trained on each source of LR for the same HR patches, tested on real pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.folders import check_ours
from degflow_pipe.levels import Grid
from degflow_pipe.metrics.fidelity import WINDOW
from degflow_pipe.metrics.perceptual import Perceptual
from degflow_pipe.pairs.pairs import Pairs, Scene, find_scenes
from degflow_pipe.pairs.settings import DataSettings, PairLevel
from degflow_pipe.pictures.arrays import middle
from degflow_pipe.pictures.patches import check_size
from degflow_pipe.pictures.photos import find_photos, read_photo
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.proxy.architectures import Architecture
from degflow_pipe.proxy.comparison import (
    CROP,
    PATCH,
    PATCHES,
    Figures,
    Run,
    check_asked,
    chosen_sources,
    draw_page,
    judged,
    means,
)
from degflow_pipe.proxy.generated import generated
from degflow_pipe.proxy.network import Budget, restored, train
from degflow_pipe.proxy.share import share, writing
from degflow_pipe.proxy.sources import Place, Source, by_hand, held
from degflow_pipe.training.loop import step_rng
from degflow_pipe.training.processes import Processes

BY_HAND = ("bicubic", "gaussian", "esrgan_style", "bsrgan_style")
OURS = ("ours_clean", "ours", "ours_grid_clean", "ours_grid", "ours_more")
NOISY = ("ours", "ours_grid", "ours_more")
SOURCES = (*BY_HAND, *OURS, "real")
"""`ours` are generated with the checkpoint's noise, `_clean` without; `_grid` at many levels;
`_more` of other HR patches too, which have no real LR."""
SHOWN = 4


@dataclass(frozen=True)
class Asked:
    """What to compare.

    sources: some of SOURCES, none for all that the checkpoint can make; `bicubic` and `real` are
    always there. level: name of the real LR, the last knot by default. grid: levels of `ours_grid`.
    added_noise: white noise in grey levels that every source is tried with. seeds: trainings of
    each. patches: about how many of HR all share, one of each scene at least. more: folder of HR
    photos, of which `ours_more` has as many patches again. network: what is trained. out: folder
    for what was made.
    """

    grid: Grid
    out: Path
    sources: tuple[str, ...] = ()
    level: str = ""
    added_noise: tuple[float, ...] = (0.0, 4.0)
    seeds: int = 1
    perceptual: str = "none"
    patches: int = PATCHES
    more: Path | None = None
    network: Architecture = field(default_factory=Architecture)
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        check_asked(self.sources, SOURCES, self.added_noise, self.seeds)
        if "ours_more" in self.sources and self.more is None:
            raise UsageError("`sources` has ours_more: say with `more` where the other photos are")


def proxy(
    model: DegFlow,
    data: DataSettings,
    root: Path,
    asked: Asked,
    progress: Progress | None = None,
    processes: Processes | None = None,
) -> dict[str, Any] | None:
    """Train on each source and test on the held-out real pairs.

    Returns checkpoint, level, t, grid, network, seeds, steps, perceptual, scenes; rows: for each
    source and added noise the figures of SR against HR (mean and spread over seeds) and
    `recovered`, the share of the gap between bicubic and real, each at its best added noise, that
    it closes; best: by source, the added noise of its highest PSNR. Finished trainings are kept in
    asked.out and not done again. Raises UsageError for a level, a noise model or a network that is
    not there, DataError for wrong pairs and for a level that no scene for training or none held out
    has. processes: see `share`; None is returned in all of them but the first.
    """
    asked.network.build(asked.budget)  # says what is wrong before anything is read
    check_ours(asked.out, "proxy")
    work = _Work(model, data, root, asked, progress or Silent())  # says what is wrong
    with writing(asked.out, processes):
        trainings = list(product(work.names, asked.added_noise, range(asked.seeds)))
        if not share(processes, trainings, work.prepare, lambda one: work.run(*one)):
            return None
        found: dict[tuple[str, float], list[Figures]] = {}
        for name, noise, seed in trainings:
            found.setdefault((name, noise), []).append(work.run(name, noise, seed))
        table = rows(found)
        result = {
            "checkpoint": model.info.id,
            "grid": asked.grid.t,
            "seeds": asked.seeds,
            "level": work.level.name,
            "t": work.level.t,
            "scenes": [scene.name for scene in work.held_out.scenes],
            "network": asked.network.name,
            "steps": asked.budget.steps,
            "perceptual": asked.perceptual,
            "rows": table,
            "best": best_noise(table),
        }
        files.write_json(asked.out / "figures.json", result)
        work.draw(result)
        return result


def rows(found: dict[tuple[str, float], list[Figures]]) -> list[dict[str, Any]]:
    """A row for each source and added noise: mean, std over seeds, and recovered by figure.

    A figure in which real is no better than bicubic has no gap, and none of it is recovered.
    """
    table: list[dict[str, Any]] = [
        {
            "source": name,
            "added_noise": noise,
            "mean": {key: float(np.mean([run[key] for run in runs])) for key in runs[0]},
            "std": {key: float(np.std([run[key] for run in runs])) for key in runs[0]},
        }
        for (name, noise), runs in found.items()
    ]

    def best(source: str, key: str) -> float:
        values = [row["mean"][key] for row in table if row["source"] == source]
        return min(values) if key == "perceptual" else max(values)

    for row in table:
        row["recovered"] = {}
        for key, value in row["mean"].items():
            low, high = best("bicubic", key), best("real", key)
            if high < low if key == "perceptual" else high > low:
                row["recovered"][key] = (value - low) / (high - low)
    return table


def best_noise(table: list[dict[str, Any]]) -> dict[str, float]:
    """By source, the added noise of its row with the highest PSNR; of equal ones the first."""
    found: dict[str, dict[str, Any]] = {}
    for row in table:
        best = found.setdefault(row["source"], row)
        if row["mean"]["psnr"] > best["mean"]["psnr"]:
            found[row["source"]] = row
    return {source: row["added_noise"] for source, row in found.items()}


class _Work:
    """Patches, sources and trainings of one comparison."""

    def __init__(
        self, model: DegFlow, data: DataSettings, root: Path, asked: Asked, progress: Progress
    ) -> None:
        self.model, self.asked, self.progress = model, asked, progress
        self.level = _level(data.pair_levels, asked.level)
        self.place = data.pair_levels.index(self.level)
        self.train, self.held_out = (
            Pairs(
                having(scenes, self.place, f"{split} scenes, level {self.level.name}", root), data
            )
            for split, scenes in zip(("training", "held-out"), find_scenes(data, root), strict=True)
        )
        self.scale = data.scale_of_t(self.level.t)
        known = [name for name in SOURCES if name != "ours_more" or asked.more]
        self.names = chosen_sources(asked.sources, known, NOISY, model)
        self.perceptual = Perceptual(asked.perceptual, model.device)
        self.hr, self.real = self._patches()
        self.more = self._more() if "ours_more" in self.names else self.hr[:0]
        self._sources: dict[str, Source] = {}
        self._made: dict[tuple[float, ...], np.ndarray] = {}

    def _patches(self) -> tuple[np.ndarray, np.ndarray]:
        """The same patches of HR and real LR, (N, P, P, 3) uint8, evenly from training scenes.

        Held-out scenes are checked as well, before anything is trained.
        """
        rng = np.random.default_rng(0)
        scenes = self.train.scenes
        each = -(-self.asked.patches // len(scenes))
        hr, real = [], []
        with self.progress.task("read pairs", len(scenes) + len(self.held_out.scenes)) as task:
            for scene in self.held_out.scenes:
                self.held_out.check(scene, WINDOW)
                task.advance()
            for scene in scenes:
                self.train.check(scene, PATCH)
                a, b = self._pair(self.train, scene)
                for _ in range(each):
                    y, x = (int(rng.integers(side - PATCH + 1)) for side in a.shape[:2])
                    hr.append(a[y : y + PATCH, x : x + PATCH])
                    real.append(b[y : y + PATCH, x : x + PATCH])
                task.advance()
        return np.stack(hr), np.stack(real)

    def _more(self) -> np.ndarray:
        """As many patches as `hr` has, of other photos, evenly: (N, P, P, 3) uint8."""
        assert self.asked.more is not None
        found = list(find_photos([str(self.asked.more)]))
        rng = np.random.default_rng(1)
        patches: list[np.ndarray] = []
        with self.progress.task("read photos", len(found)) as task:
            for i, photo in enumerate(found):
                pixels = read_photo(photo.path).pixels
                check_size(pixels, PATCH, str(photo.path))
                for _ in range(len(self.hr) * (i + 1) // len(found) - len(patches)):
                    y, x = (int(rng.integers(side - PATCH + 1)) for side in pixels.shape[:2])
                    patches.append(pixels[y : y + PATCH, x : x + PATCH])
                task.advance()
        return np.stack(patches)

    def _hr_of(self, name: str) -> np.ndarray:
        return np.concatenate([self.hr, self.more]) if name == "ours_more" else self.hr

    def _pair(self, pairs: Pairs, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        """HR and real LR of a scene, whole pictures."""
        pictures = pairs.pictures(scene)
        hr, lr = pictures[0], pictures[self.place]
        assert hr is not None and lr is not None
        return hr, lr

    def _run(self, name: str, noise: float, seed: int) -> Run:
        key = {
            "source": name,
            "added_noise": noise,
            "seed": seed,
            "perceptual": self.asked.perceptual,
            "budget": asdict(self.asked.budget),
            "level": self.level.name,
            "scale": self.scale,
            "patches": hashlib.sha256(self.hr.tobytes() + self.real.tobytes()).hexdigest(),
            "scenes": self.held_out.fingerprint(),
        }
        if self.asked.network != Architecture():
            key |= {"network": asdict(self.asked.network)}
        if name in OURS:
            key |= {"checkpoint": self.model.info.id, "noise": _noise_digest(self.model, name)}
            key |= {"grid": self._levels(name)}
        if name == "ours_more":
            key |= {"more": hashlib.sha256(self.more.tobytes()).hexdigest()}
        return Run(self.asked.out, f"{name}-{noise:g}-{seed}", key)

    def run(self, name: str, noise: float, seed: int) -> Figures:
        """Figures of one training, from the folder where it was done before."""
        run = self._run(name, noise, seed)
        if (known := run.figures()) is not None:
            return dict(known)
        source = self._source(name)
        title = f"{name}, noise {noise:g}, seed {seed}"
        with self.progress.task(title, self.asked.budget.steps) as task:
            draw = partial(self._draw, source, self._hr_of(name), noise, seed)
            network = train(self._network, draw, self.asked.budget, seed, self.model.device, task)
            figures = self._test(network)
            task.note(f"{title}: PSNR {figures['psnr']:.2f} dB")
        run.keep(network, figures)
        return figures

    def _draw(
        self, source: Source, hr_patches: np.ndarray, noise: float, seed: int, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The crops of one step: where they lie depends on (seed, step), not on the source."""
        rng = step_rng(seed, step)
        side = self.asked.budget.crop
        lr, hr = [], []
        for i in range(self.asked.budget.batch):
            y, x = (int(v) for v in rng.integers(PATCH - side + 1, size=2))
            place = Place(int(rng.integers(len(hr_patches))), y, x, side)
            flip, turns = bool(rng.integers(2)), int(rng.integers(4))
            # From 1: numpy takes [seed, step, 0] for [seed, step], the generator of the places.
            own = np.random.default_rng([seed, step, i + 1])
            made = source(place, own)
            made = np.rint(made + noise * own.standard_normal(made.shape, np.float32))
            pair = np.stack(
                [np.clip(made, 0, 255).astype(np.uint8), place.cut(hr_patches[place.patch])]
            )
            pair = np.rot90(pair[:, :, ::-1] if flip else pair, turns, axes=(1, 2))
            lr.append(pair[0])
            hr.append(pair[1])
        return np.stack(lr), np.stack(hr)

    def prepare(self) -> None:
        """Generate what the sources hold."""
        for name in self.names:
            self._source(name)

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            self._sources[name] = self._make(name)
        return self._sources[name]

    def _make(self, name: str) -> Source:
        if name == "real":
            return partial(held, self.real[:, None], [self.level.t], None)
        if name in BY_HAND:
            return by_hand(name, self.hr, self.real, self.scale)
        t = self._levels(name)
        noise = None if name.endswith("clean") else self.model.noise_model("calibrated")
        lr = self._generated(t)
        if name == "ours_more":
            lr = np.concatenate([lr, self._of_patches(self.more, t)])
        return partial(held, lr, t, noise)

    def _levels(self, name: str) -> list[float]:
        return self.asked.grid.t if "grid" in name else [self.level.t]

    def _generated(self, t: list[float]) -> np.ndarray:
        """Generated LR of all patches without noise, (N, T, P, P, 3) uint8."""
        if tuple(t) not in self._made:
            self._made[tuple(t)] = self._of_patches(self.hr, t)
        return self._made[tuple(t)]

    def _of_patches(self, hr: np.ndarray, t: list[float]) -> np.ndarray:
        return generated(self.model, hr, t, "none", self.asked.out / "lr", self.progress)

    def _pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Held-out (HR, real LR), one scene at a time: whole sets would not fit."""
        for scene in self.held_out.scenes:
            yield self._pair(self.held_out, scene)

    def _network(self) -> nn.Module:
        return self.asked.network.build(self.asked.budget)

    def _restored(self, network: nn.Module, lr: np.ndarray) -> np.ndarray:
        return restored(network, lr, self.asked.network.multiple)

    def _test(self, network: nn.Module) -> Figures:
        return means(
            [judged(self._restored(network, lr), hr, self.perceptual) for hr, lr in self._pairs()]
        )

    def draw(self, result: dict[str, Any]) -> None:
        """A page of crops: each source at its best added noise, first seed."""
        shown = []
        for name, noise in result["best"].items():
            network = self._run(name, noise, 0).loaded(self._network())
            shown.append((f"{name}, noise {noise:g}", network.to(self.model.device)))
        page = []
        with self.progress.task("draw", min(SHOWN, len(self.held_out.scenes))) as task:
            for hr, lr in islice(self._pairs(), SHOWN):
                row = [("HR", middle(hr, CROP)), (f"real {self.level.name}", middle(lr, CROP))]
                row += [(label, middle(self._restored(one, lr), CROP)) for label, one in shown]
                page.append(row)
                task.advance()
            draw_page(self.asked.out / "pictures.png", page, "SR of real LR, by source", task)


def _level(levels: list[PairLevel], name: str) -> PairLevel:
    """The level asked for, the last knot by default."""
    if not name:
        return [level for level in levels if not level.held_out][-1]
    for level in levels[1:]:
        if level.name == name:
            return level
    known = ", ".join(level.name for level in levels[1:])
    raise UsageError(f"`level`: the pairs have no level {name!r}, only {known}")


def having(scenes: list[Scene], place: int, wanted: str, root: Path) -> list[Scene]:
    """Scenes that have a file for the level at `place`. Raises DataError where there is none."""
    found = [scene for scene in scenes if scene.files[place] is not None]
    if not found:
        raise DataError(f"{wanted}: no file below {root}: choose another level as `level`")
    return found


def _noise_digest(model: DegFlow, name: str) -> str:
    if name.endswith("clean"):
        return "none"
    noise = model.noise_model("calibrated")
    assert noise is not None
    return noise.digest
