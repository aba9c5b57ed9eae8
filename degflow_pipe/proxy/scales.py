"""proxy for any scale: one network for all of them, tested at every level that real pairs have.

LR is as large as its scale says, H/s, as arbitrary-scale networks take it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import UsageError
from degflow_pipe.evaluation.degradation_steps import enlarged as bicubic
from degflow_pipe.pairs.pairs import Pairs, Scene, find_scenes
from degflow_pipe.pairs.settings import DataSettings, PairLevel
from degflow_pipe.pictures.arrays import shrunk, size_at
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.proxy.comparison import (
    PATCH,
    Comparison,
    ComparisonSettings,
    Picture,
    check_asked,
    chosen_sources,
    having,
    judged,
    means,
    said_of_all,
)
from degflow_pipe.proxy.generated import generated
from degflow_pipe.proxy.implicit import Crops, ImplicitSR, enlarged, train_implicit
from degflow_pipe.proxy.recipe import IMPLICIT, ProxyRecipe
from degflow_pipe.proxy.results import Figures, ScaleRows, ScalesComparison, source_rows
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


@dataclass(frozen=True, kw_only=True)
class ScalesSettings(ComparisonSettings):
    """What to compare; see `ComparisonSettings` for the rest, and SOURCES for the sources.

    scales: those that every source but `real` is trained at. test: other pairs and their folder,
    whose held-out scenes are tested on. The added noise is on the small LR.
    """

    scales: tuple[float, ...]
    test: tuple[DataSettings, Path] | None = None

    @classmethod
    def of(
        cls,
        recipe: ProxyRecipe,
        s_max: float,
        out: Path,
        test: tuple[DataSettings, Path] | None = None,
    ) -> ScalesSettings:
        """As a recipe says it; s_max: that the pairs and the checkpoint have both."""
        return cls(
            **said_of_all(recipe, out),
            scales=recipe.scales or default_scales(s_max),
            test=test,
        )

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
    settings: ScalesSettings,
    progress: Progress | None = None,
    processes: Processes | None = None,
) -> ScalesComparison | None:
    """Train on each source at settings.scales; test at every level that held-out scenes have.

    The held-out scenes are those of settings.test where it is given. Finished trainings are kept in
    settings.out and not done again. Raises UsageError for scales or a noise model that the
    checkpoint does not have, DataError for wrong pairs. processes: see `share`; None is returned in
    all of them but the first.
    """
    return AnyScale(model, data, root, settings, progress or Silent()).compare(processes)


class AnyScale(Comparison[list[Held], ImplicitSR, dict[str, Figures], ScalesComparison]):
    """One network for any scale, tested at several levels; figures are by name of the level."""

    kind = IMPLICIT
    title = "SR of real LR at any scale, by source"
    settings: ScalesSettings

    def __init__(
        self,
        model: DegFlow,
        data: DataSettings,
        root: Path,
        settings: ScalesSettings,
        progress: Progress,
    ) -> None:
        self.t = [model.t_of_scale(s) for s in settings.scales]
        test_data, test_root = settings.test or (data, root)
        train, _ = find_scenes(data, root)
        _, held_out = find_scenes(test_data, test_root, to_train=False)
        super().__init__(
            model,
            settings,
            chosen_sources(settings.sources, SOURCES, ("ours",), model),
            Pairs(having(train, 0, "training scenes", root), data),
            Pairs(having(held_out, 0, "held-out scenes", test_root), test_data),
            progress,
        )
        self.levels = [
            level
            for i, level in enumerate(test_data.pair_levels)
            if i and any(scene.files[i] for scene in self.held_out.scenes)
        ]
        levels = self.train.levels
        knots = [i for i, level in enumerate(levels) if i and not level.held_out]
        self.hr, there = self.patches(knots)
        self.real = {_scale(self.train, levels[i]): lr for i, lr in there.items()}
        """By the scale of each knot, which of the patches have real LR, and that LR."""

    def scale(self, level: PairLevel) -> float:
        """Of a level that is tested."""
        return _scale(self.held_out, level)

    def make(self, name: str) -> list[Held]:
        if name == "real":
            return [Held(s, places, _small(lr, s)) for s, (places, lr) in sorted(self.real.items())]
        every = np.arange(len(self.hr))
        return [
            Held(s, every, _small(lr, s))
            for s, lr in zip(self.settings.scales, self._large(name), strict=True)
        ]

    def _large(self, name: str) -> Iterable[np.ndarray]:
        """LR of all patches at each of the scales, as large as HR, before it is shrunk."""
        scales = self.settings.scales
        if name == "bicubic":
            return [self.hr] * len(scales)
        if name == "gaussian":
            knots = sorted(self.real.items())
            sigmas = [best_sigma(self.hr[places], lr) for _, (places, lr) in knots]
            line = np.interp(scales, [1.0, *(s for s, _ in knots)], [0.0, *sigmas])
            return (_blurred(self.hr, sigma) for sigma in line.tolist())
        noise = "none" if name == "ours_clean" else "calibrated"
        lr = generated(self.model, self.hr, self.t, noise, self.settings.out / "lr", self.progress)
        return lr.swapaxes(0, 1)

    def deciding(self, name: str) -> dict[str, Any]:
        held = self.source(name)
        digest = hashlib.sha256(self.hr.tobytes())
        for one in held:
            digest.update(one.lr.tobytes())
        return {
            "network": IMPLICIT,
            "crops": [SIDE, QUERIES],
            "scales": [one.scale for one in held],
            "patches": digest.hexdigest(),
            "levels": [[level.name, self.scale(level)] for level in self.levels],
        }

    def network(self) -> ImplicitSR:
        return ImplicitSR(self.settings.budget.width, self.settings.budget.blocks)

    def fit(self, name: str, added: float, seed: int, task: Task) -> ImplicitSR:
        draw = partial(self._draw, self.source(name), added, seed)
        return train_implicit(draw, self.settings.budget, seed, self.model.device, task)

    def test(self, network: ImplicitSR) -> dict[str, Figures]:
        return self._judged(lambda lr, hr: enlarged(network, lr, (hr.shape[0], hr.shape[1])))

    def untouched(self) -> dict[str, Figures]:
        return self._judged(bicubic)

    def _judged(self, sr_of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> dict[str, Figures]:
        """By level; sr_of: SR of an LR, as large as the HR beside it."""
        found: dict[str, list[Figures]] = {}
        for scene in self.held_out.scenes:
            for level, hr, lr in self._each(scene):
                sr = sr_of(lr, hr)
                found.setdefault(level.name, []).append(judged(sr, hr, self.perceptual))
        return {level.name: means(found[level.name]) for level in self.levels}

    def told(self, figures: dict[str, Figures]) -> str:
        return ", ".join(f"{level} {f['psnr']:.2f}" for level, f in figures.items())

    def result(self, found: dict[tuple[str, float], list[dict[str, Figures]]]) -> ScalesComparison:
        levels = {}
        for level in self.levels:
            at_level = {key: [one[level.name] for one in runs] for key, runs in found.items()}
            levels[level.name] = ScaleRows(
                self.scale(level), level.held_out, *source_rows(at_level)
            )
        return ScalesComparison(
            checkpoint=self.model.info.id,
            network=IMPLICIT,
            scales=list(self.settings.scales),
            seeds=self.settings.seeds,
            steps=self.settings.budget.steps,
            perceptual=self.settings.perceptual,
            scenes=[scene.name for scene in self.held_out.scenes],
            levels=levels,
        )

    def page(self, result: ScalesComparison) -> Iterator[list[Picture]]:
        """One scene: a row for each level, each source with its first added noise."""
        added = self.settings.added_noise[0]
        networks = [(name, self.trained(name, added)) for name in self.names]
        for level, hr, lr in self._each(self.held_out.scenes[0]):
            size = (hr.shape[0], hr.shape[1])
            large = cv2.resize(lr, size[::-1], interpolation=cv2.INTER_NEAREST)
            sr = [(name, enlarged(network, lr, size)) for name, network in networks]
            yield [("HR", hr), (f"real {level.name}", large), *sr]

    def _draw(self, held: list[Held], added: float, seed: int, step: int) -> Crops:
        """The crops of one step, each of a scale of its own."""
        rng = step_rng(seed, step)
        lrs, wanted = [], []
        for _ in range(self.settings.budget.batch):
            one = held[int(rng.integers(len(held)))]
            n = int(rng.integers(len(one.places)))
            flip, turns = 1 - 2 * int(rng.integers(2)), int(rng.integers(4))
            lr, hr = (
                np.rot90(patch[:, ::flip], turns) for patch in (one.lr[n], self.hr[one.places[n]])
            )
            y, x = (int(v) for v in rng.integers(len(lr) - SIDE + 1, size=2))
            crop = lr[y : y + SIDE, x : x + SIDE]
            crop = np.rint(crop + added * rng.standard_normal(crop.shape, np.float32))
            lrs.append(np.clip(crop, 0, 255).astype(np.uint8))
            wanted.append(queries(hr, len(lr), y, x, rng))
        coord, cell, rgb = (torch.from_numpy(np.stack(part)) for part in zip(*wanted, strict=True))
        return np.stack(lrs), coord, cell, rgb

    def _each(self, scene: Scene) -> list[tuple[PairLevel, np.ndarray, np.ndarray]]:
        """Level, HR and small real LR of a scene."""
        pictures = self.held_out.pictures(scene)
        hr = pictures[0]
        assert hr is not None
        return [
            (level, hr, shrunk(lr, size_at(hr, self.scale(level))))
            for level, lr in zip(self.held_out.levels, pictures, strict=True)
            if level in self.levels and lr is not None
        ]


def _scale(pairs: Pairs, level: PairLevel) -> float:
    return round(pairs.data.scale_of_t(level.t), 6)


def _small(pictures: np.ndarray, s: float) -> np.ndarray:
    """(N, P, P, 3) uint8 to (N, P/s, P/s, 3)."""
    return np.stack([shrunk(picture, size_at(picture, s)) for picture in pictures])


def _blurred(pictures: np.ndarray, sigma: float) -> np.ndarray:
    if sigma == 0:
        return pictures
    return np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in pictures])


def queries(
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
