"""proxy for any scale: one network for all of them, tested at every level that real pairs have.

LR is as large as its scale says, H/s, as arbitrary-scale networks take it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import UsageError
from degflow_pipe.folders import check_ours
from degflow_pipe.metrics.fidelity import WINDOW
from degflow_pipe.metrics.perceptual import Perceptual
from degflow_pipe.pairs.pairs import Pairs, Scene, find_scenes
from degflow_pipe.pairs.settings import DataSettings, PairLevel
from degflow_pipe.pictures.arrays import middle, shrunk, size_at
from degflow_pipe.progress import Progress, Silent
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
from degflow_pipe.proxy.implicit import Crops, ImplicitSR, enlarged, train_implicit
from degflow_pipe.proxy.network import Budget
from degflow_pipe.proxy.proxy import having, rows
from degflow_pipe.proxy.share import share, writing
from degflow_pipe.proxy.sources import best_sigma
from degflow_pipe.training.loop import step_rng
from degflow_pipe.training.processes import Processes

SOURCES = ("bicubic", "gaussian", "ours_clean", "ours", "real")
"""`gaussian` blurs HR by a sigma on lines between those that are best at the knots, before it is
shrunk; `real` has the scales of the knots alone."""
SIDE = 24
"""Side of an LR crop in pixels, at every scale."""
QUERIES = 576
"""HR pixels that are asked for in each crop."""


class Held(NamedTuple):
    """LR of a source at one scale: lr (N, h, h, 3) uint8, of the HR patches numbered `places`."""

    scale: float
    places: np.ndarray
    lr: np.ndarray


@dataclass(frozen=True)
class AskedScales:
    """What to compare.

    scales: those that every source but `real` is trained at. sources: some of SOURCES, none for
    all that the checkpoint can make; `bicubic` and `real` are always there. added_noise: white
    noise in grey levels on the small LR. seeds: trainings of each. patches: about how many of HR
    all share. test: other pairs and their folder, whose held-out scenes are tested on. out: folder
    for what was made.
    """

    scales: tuple[float, ...]
    out: Path
    sources: tuple[str, ...] = ()
    added_noise: tuple[float, ...] = (0.0,)
    seeds: int = 1
    perceptual: str = "none"
    patches: int = PATCHES
    test: tuple[DataSettings, Path] | None = None
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        check_asked(
            self.sources, SOURCES, self.added_noise, self.seeds, ", those of the implicit network"
        )
        if not self.scales or not all(1 <= s <= PATCH / SIDE for s in self.scales):
            raise UsageError(
                f"`scales` must be SR scales from 1 to {PATCH // SIDE}, got {list(self.scales)}"
            )


def default_scales(s_max: float) -> tuple[float, ...]:
    """Every half from 1.5 up to s_max, which is the last."""
    return (*(s for s in np.arange(1.5, s_max, 0.5).tolist()), s_max)


def proxy_scales(
    model: DegFlow,
    data: DataSettings,
    root: Path,
    asked: AskedScales,
    progress: Progress | None = None,
    processes: Processes | None = None,
) -> dict[str, Any] | None:
    """Train on each source at asked.scales; test at every level that held-out scenes have.

    The held-out scenes are those of asked.test where it is given. Returns checkpoint, network,
    scales, seeds, steps, perceptual, scenes, and levels: by name s, held_out and rows (see
    `proxy.rows`). Finished trainings are kept in asked.out and not done again. Raises UsageError
    for scales or a noise model that the checkpoint does not have, DataError for wrong pairs.
    processes: see `share`; None is returned in all of them but the first.
    """
    check_ours(asked.out, "proxy")
    work = _Work(model, data, root, asked, progress or Silent())  # says what is wrong
    with writing(asked.out, processes):
        trainings = list(product(work.names, asked.added_noise, range(asked.seeds)))
        if not share(processes, trainings, work.prepare, lambda one: work.run(*one)):
            return None
        found: dict[str, dict[tuple[str, float], list[Figures]]] = {}
        for name, noise, seed in trainings:
            for level, figures in work.run(name, noise, seed).items():
                found.setdefault(level, {}).setdefault((name, noise), []).append(figures)
        result = {
            "checkpoint": model.info.id,
            "network": "implicit",
            "scales": list(asked.scales),
            "seeds": asked.seeds,
            "steps": asked.budget.steps,
            "perceptual": asked.perceptual,
            "scenes": [scene.name for scene in work.test.scenes],
            "levels": {
                level.name: {
                    "s": work.scale(level),
                    "held_out": level.held_out,
                    "rows": rows(found[level.name]),
                }
                for level in work.levels
            },
        }
        files.write_json(asked.out / "figures-implicit.json", result)
        work.draw()
        return result


class _Work:
    """Patches, sources and trainings of one comparison."""

    def __init__(
        self, model: DegFlow, data: DataSettings, root: Path, asked: AskedScales, progress: Progress
    ) -> None:
        self.model, self.asked, self.progress = model, asked, progress
        self.t = [model.t_of_scale(s) for s in asked.scales]
        test_data, test_root = asked.test or (data, root)
        train, _ = find_scenes(data, root)
        _, held_out = find_scenes(test_data, test_root, to_train=False)
        self.train = Pairs(having(train, 0, "training scenes", root), data)
        self.test = Pairs(having(held_out, 0, "held-out scenes", test_root), test_data)
        self.levels = [
            level
            for i, level in enumerate(test_data.pair_levels)
            if i and any(scene.files[i] for scene in self.test.scenes)
        ]
        self.names = chosen_sources(asked.sources, SOURCES, ("ours",), model)
        self.perceptual = Perceptual(asked.perceptual, model.device)
        self.hr, self.real = self._patches()
        self._sources: dict[str, list[Held]] = {}

    def scale(self, level: PairLevel) -> float:
        """Of a level that is tested."""
        return _scale(self.test, level)

    def _patches(self) -> tuple[np.ndarray, dict[float, tuple[np.ndarray, np.ndarray]]]:
        """The same HR patches for all sources, (N, P, P, 3) uint8; by the scale of each knot, which
        of them have real LR, and that LR.
        """
        rng = np.random.default_rng(0)
        levels = self.train.levels
        knots = [i for i, level in enumerate(levels) if i and not level.held_out]
        each = -(-self.asked.patches // len(self.train.scenes))
        hr: list[np.ndarray] = []
        real: dict[int, tuple[list[int], list[np.ndarray]]] = {i: ([], []) for i in knots}
        scenes = len(self.train.scenes) + len(self.test.scenes)
        with self.progress.task("read pairs", scenes) as task:
            for scene in self.test.scenes:
                self.test.check(scene, WINDOW)
                task.advance()
            for scene in self.train.scenes:
                self.train.check(scene, PATCH)
                pictures = self.train.pictures(scene)
                assert pictures[0] is not None
                for _ in range(each):
                    y, x = (int(rng.integers(n - PATCH + 1)) for n in pictures[0].shape[:2])
                    for i in knots:
                        if (picture := pictures[i]) is not None:
                            real[i][0].append(len(hr))
                            real[i][1].append(picture[y : y + PATCH, x : x + PATCH])
                    hr.append(pictures[0][y : y + PATCH, x : x + PATCH])
                task.advance()
        kept = {
            _scale(self.train, levels[i]): (np.array(places), np.stack(patches))
            for i, (places, patches) in real.items()
            if patches
        }
        return np.stack(hr), kept

    def prepare(self) -> None:
        """Generate what the sources hold."""
        for name in self.names:
            self.source(name)

    def source(self, name: str) -> list[Held]:
        if name not in self._sources:
            self._sources[name] = self._make(name)
        return self._sources[name]

    def _make(self, name: str) -> list[Held]:
        if name == "real":
            return [Held(s, places, _small(lr, s)) for s, (places, lr) in sorted(self.real.items())]
        every = np.arange(len(self.hr))
        return [
            Held(s, every, _small(lr, s))
            for s, lr in zip(self.asked.scales, self._large(name), strict=True)
        ]

    def _large(self, name: str) -> Iterable[np.ndarray]:
        """LR of all patches at each of the scales, as large as HR, before it is shrunk."""
        scales = self.asked.scales
        if name == "bicubic":
            return [self.hr] * len(scales)
        if name == "gaussian":
            knots = sorted(self.real.items())
            sigmas = [best_sigma(self.hr[places], lr) for _, (places, lr) in knots]
            line = np.interp(scales, [1.0, *(s for s, _ in knots)], [0.0, *sigmas])
            return (_blurred(self.hr, sigma) for sigma in line.tolist())
        noise = "none" if name == "ours_clean" else "calibrated"
        lr = generated(self.model, self.hr, self.t, noise, self.asked.out / "lr", self.progress)
        return lr.swapaxes(0, 1)

    def _run(self, name: str, noise: float, seed: int) -> Run:
        held = self.source(name)
        digest = hashlib.sha256(self.hr.tobytes())
        for one in held:
            digest.update(one.lr.tobytes())
        key = {
            "network": "implicit",
            "source": name,
            "added_noise": noise,
            "seed": seed,
            "perceptual": self.asked.perceptual,
            "budget": asdict(self.asked.budget),
            "crops": [SIDE, QUERIES],
            "scales": [one.scale for one in held],
            "patches": digest.hexdigest(),
            "levels": [[level.name, self.scale(level)] for level in self.levels],
            "scenes": self.test.fingerprint(),
        }
        return Run(self.asked.out, f"implicit-{name}-{noise:g}-{seed}", key)

    def run(self, name: str, noise: float, seed: int) -> dict[str, Figures]:
        """Figures of one training by level, from the folder where it was done before."""
        run = self._run(name, noise, seed)
        if (known := run.figures()) is not None:
            return dict(known)
        title = f"implicit, {name}, noise {noise:g}, seed {seed}"
        with self.progress.task(title, self.asked.budget.steps) as task:
            draw = partial(self._draw, self.source(name), noise, seed)
            network = train_implicit(draw, self.asked.budget, seed, self.model.device, task)
            figures = self._test(network)
            told = ", ".join(f"{level} {f['psnr']:.2f}" for level, f in figures.items())
            task.note(f"{title}: PSNR {told} dB")
        run.keep(network, figures)
        return figures

    def _draw(self, held: list[Held], noise: float, seed: int, step: int) -> Crops:
        """The crops of one step, each of a scale of its own."""
        rng = step_rng(seed, step)
        lrs, asked = [], []
        for _ in range(self.asked.budget.batch):
            one = held[int(rng.integers(len(held)))]
            n = int(rng.integers(len(one.places)))
            flip, turns = 1 - 2 * int(rng.integers(2)), int(rng.integers(4))
            lr, hr = (
                np.rot90(patch[:, ::flip], turns) for patch in (one.lr[n], self.hr[one.places[n]])
            )
            y, x = (int(v) for v in rng.integers(len(lr) - SIDE + 1, size=2))
            crop = lr[y : y + SIDE, x : x + SIDE]
            crop = np.rint(crop + noise * rng.standard_normal(crop.shape, np.float32))
            lrs.append(np.clip(crop, 0, 255).astype(np.uint8))
            asked.append(_asked(hr, len(lr), y, x, rng))
        coord, cell, rgb = (torch.from_numpy(np.stack(part)) for part in zip(*asked, strict=True))
        return np.stack(lrs), coord, cell, rgb

    def _each(self, scene: Scene) -> list[tuple[PairLevel, np.ndarray, np.ndarray]]:
        """Level, HR and small real LR of a scene."""
        pictures = self.test.pictures(scene)
        hr = pictures[0]
        assert hr is not None
        return [
            (level, hr, shrunk(lr, size_at(hr, self.scale(level))))
            for level, lr in zip(self.test.levels, pictures, strict=True)
            if level in self.levels and lr is not None
        ]

    def _test(self, network: ImplicitSR) -> dict[str, Figures]:
        found: dict[str, list[Figures]] = {}
        for scene in self.test.scenes:
            for level, hr, lr in self._each(scene):
                sr = enlarged(network, lr, (hr.shape[0], hr.shape[1]))
                found.setdefault(level.name, []).append(judged(sr, hr, self.perceptual))
        return {level.name: means(found[level.name]) for level in self.levels}

    def draw(self) -> None:
        """A page of crops of one scene: a row for each level, first seed and first added noise."""
        networks = []
        for name in self.names:
            network = ImplicitSR(self.asked.budget.width, self.asked.budget.blocks)
            run = self._run(name, self.asked.added_noise[0], 0)
            networks.append((name, run.loaded(network)))
        page = []
        path = self.asked.out / "pictures-implicit.png"
        with self.progress.task("draw", len(self.levels)) as task:
            for level, hr, lr in self._each(self.test.scenes[0]):
                size = (hr.shape[0], hr.shape[1])
                large = cv2.resize(lr, size[::-1], interpolation=cv2.INTER_NEAREST)
                row = [("HR", middle(hr, CROP)), (f"real {level.name}", middle(large, CROP))]
                row += [(name, middle(enlarged(one, lr, size), CROP)) for name, one in networks]
                page.append(row)
                task.advance()
            draw_page(path, page, "SR of real LR at any scale, by source", task)


def _scale(pairs: Pairs, level: PairLevel) -> float:
    return round(pairs.data.scale_of_t(level.t), 6)


def _small(pictures: np.ndarray, s: float) -> np.ndarray:
    """(N, P, P, 3) uint8 to (N, P/s, P/s, 3)."""
    return np.stack([shrunk(picture, size_at(picture, s)) for picture in pictures])


def _blurred(pictures: np.ndarray, sigma: float) -> np.ndarray:
    if sigma == 0:
        return pictures
    return np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in pictures])


def _asked(
    hr: np.ndarray, side: int, y: int, x: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """coord, cell and rgb of some HR pixels within an LR crop at (y, x) of a patch.

    hr: (P, P, 3) uint8; side: of the patch's LR. coord and cell are in units of the crop.
    """
    ratio = len(hr) / side
    places = []
    for low in (y, x):
        first, end = np.ceil(low * ratio - 0.5), np.floor((low + SIDE) * ratio - 0.5)
        places.append(rng.integers(int(first), int(min(end, len(hr) - 1)) + 1, QUERIES))
    rows, columns = places
    middles = (np.stack(places, axis=1) + 0.5) / ratio - [y, x]
    coord = (2 * middles / SIDE - 1).astype(np.float32)
    cell = np.full((QUERIES, 2), 2 / (ratio * SIDE), np.float32)
    return coord, cell, hr[rows, columns] / np.float32(255)
