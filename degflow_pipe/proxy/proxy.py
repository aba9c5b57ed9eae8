"""proxy: SR networks trained on each source of LR for the same HR patches, tested on real pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import Grid
from degflow_pipe.pairs.pairs import Pairs, find_scenes
from degflow_pipe.pairs.settings import DataSettings, PairLevel
from degflow_pipe.pictures.patches import check_size
from degflow_pipe.pictures.photos import find_photos, read_photo
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.proxy.architectures import Architecture
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
)
from degflow_pipe.proxy.generated import generated
from degflow_pipe.proxy.network import restored, train
from degflow_pipe.proxy.results import Figures, ProxyComparison, best_noise, source_rows
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


@dataclass(frozen=True, kw_only=True)
class ProxySettings(ComparisonSettings):
    """What to compare; see `ComparisonSettings` for the rest, and SOURCES for the sources.

    level: name of the real LR, the last knot by default. grid: levels of `ours_grid`. more: folder
    of HR photos, of which `ours_more` has as many patches again. network: what is trained.
    """

    grid: Grid
    added_noise: tuple[float, ...] = (0.0, 4.0)
    level: str = ""
    more: Path | None = None
    network: Architecture = field(default_factory=Architecture)

    def __post_init__(self) -> None:
        check_asked(self.sources, SOURCES, self.added_noise, self.seeds)
        if "ours_more" in self.sources and self.more is None:
            raise UsageError("`sources` has ours_more: say with `more` where the other photos are")


def proxy(
    model: DegFlow,
    data: DataSettings,
    root: Path,
    settings: ProxySettings,
    progress: Progress | None = None,
    processes: Processes | None = None,
) -> ProxyComparison | None:
    """Train on each source and test on the held-out real pairs.

    Finished trainings are kept in settings.out and not done again. Raises UsageError for a level, a
    noise model or a network that is not there, DataError for wrong pairs and for a level that no
    scene for training or none held out has. processes: see `share`; None is returned in all of them
    but the first.
    """
    settings.network.build(settings.budget)  # says what is wrong before anything is read
    return SameSize(model, data, root, settings, progress or Silent()).compare(processes)


class SameSize(Comparison[Source, nn.Module, Figures, ProxyComparison]):
    """A network whose SR is as large as its LR, tested at one level."""

    settings: ProxySettings

    def __init__(
        self,
        model: DegFlow,
        data: DataSettings,
        root: Path,
        settings: ProxySettings,
        progress: Progress,
    ) -> None:
        self.level = _level(data.pair_levels, settings.level)
        self.place = data.pair_levels.index(self.level)
        train, held_out = (
            Pairs(
                having(scenes, self.place, f"{split} scenes, level {self.level.name}", root), data
            )
            for split, scenes in zip(("training", "held-out"), find_scenes(data, root), strict=True)
        )
        self.scale = data.scale_of_t(self.level.t)
        known = [name for name in SOURCES if name != "ours_more" or settings.more]
        names = chosen_sources(settings.sources, known, NOISY, model)
        super().__init__(model, settings, names, train, held_out, progress)
        self.hr, there = self.patches([self.place])
        self.real = there[self.place][1]
        self.more = self._more() if "ours_more" in self.names else self.hr[:0]
        self._made: dict[tuple[float, ...], np.ndarray] = {}

    def make(self, name: str) -> Source:
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

    def deciding(self, name: str) -> dict[str, Any]:
        key: dict[str, Any] = {
            "level": self.level.name,
            "scale": self.scale,
            "patches": hashlib.sha256(self.hr.tobytes() + self.real.tobytes()).hexdigest(),
        }
        if self.settings.network != Architecture():
            key["network"] = asdict(self.settings.network)
        if name in OURS:
            key |= {"checkpoint": self.model.info.id, "noise": _noise_digest(self.model, name)}
            key["grid"] = self._levels(name)
        if name == "ours_more":
            key["more"] = hashlib.sha256(self.more.tobytes()).hexdigest()
        return key

    def network(self) -> nn.Module:
        return self.settings.network.build(self.settings.budget)

    def fit(self, name: str, added: float, seed: int, task: Task) -> nn.Module:
        hr = np.concatenate([self.hr, self.more]) if name == "ours_more" else self.hr
        draw = partial(self._draw, self.source(name), hr, added, seed)
        return train(self.network, draw, self.settings.budget, seed, self.model.device, task)

    def test(self, network: nn.Module) -> Figures:
        return means(
            [judged(self._restored(network, lr), hr, self.perceptual) for hr, lr in self._pairs()]
        )

    def untouched(self) -> Figures:
        return means([judged(lr, hr, self.perceptual) for hr, lr in self._pairs()])

    def told(self, figures: Figures) -> str:
        return f"{figures['psnr']:.2f}"

    def result(self, found: dict[tuple[str, float], list[Figures]]) -> ProxyComparison:
        rows, unresolved = source_rows(found)
        return ProxyComparison(
            checkpoint=self.model.info.id,
            grid=self.settings.grid.t,
            seeds=self.settings.seeds,
            level=self.level.name,
            t=self.level.t,
            scenes=[scene.name for scene in self.held_out.scenes],
            network=self.settings.network.name,
            steps=self.settings.budget.steps,
            perceptual=self.settings.perceptual,
            rows=rows,
            best=best_noise(rows),
            unresolved=unresolved,
        )

    def page(self, result: ProxyComparison) -> Iterator[list[Picture]]:
        """A row for each of some scenes: each source at its best added noise."""
        shown = [(f"{n}, noise {a:g}", self.trained(n, a)) for n, a in result.best.items()]
        for hr, lr in islice(self._pairs(), SHOWN):
            sr = [(label, self._restored(network, lr)) for label, network in shown]
            yield [("HR", hr), (f"real {self.level.name}", lr), *sr]

    def _more(self) -> np.ndarray:
        """As many patches as `hr` has, of other photos, evenly: (N, P, P, 3) uint8."""
        assert self.settings.more is not None
        found = list(find_photos([str(self.settings.more)]))
        rng = np.random.default_rng(1)
        patches: list[np.ndarray] = []
        with self.progress.task("read photos", len(found), counts="photos") as task:
            for i, photo in enumerate(found):
                pixels = read_photo(photo).pixels
                check_size(pixels, PATCH, str(photo))
                for _ in range(len(self.hr) * (i + 1) // len(found) - len(patches)):
                    y, x = (int(rng.integers(side - PATCH + 1)) for side in pixels.shape[:2])
                    patches.append(pixels[y : y + PATCH, x : x + PATCH])
                task.advance()
        return np.stack(patches)

    def _draw(
        self, source: Source, hr_patches: np.ndarray, added: float, seed: int, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The crops of one step: where they lie depends on (seed, step), not on the source."""
        rng = step_rng(seed, step)
        side = self.settings.budget.crop
        lr, hr = [], []
        for i in range(self.settings.budget.batch):
            y, x = (int(v) for v in rng.integers(PATCH - side + 1, size=2))
            place = Place(int(rng.integers(len(hr_patches))), y, x, side)
            flip, turns = bool(rng.integers(2)), int(rng.integers(4))
            # From 1: numpy takes [seed, step, 0] for [seed, step], the generator of the places.
            own = np.random.default_rng([seed, step, i + 1])
            made = source(place, own)
            made = np.rint(made + added * own.standard_normal(made.shape, np.float32))
            pair = np.stack(
                [np.clip(made, 0, 255).astype(np.uint8), place.cut(hr_patches[place.patch])]
            )
            pair = np.rot90(pair[:, :, ::-1] if flip else pair, turns, axes=(1, 2))
            lr.append(pair[0])
            hr.append(pair[1])
        return np.stack(lr), np.stack(hr)

    def _levels(self, name: str) -> list[float]:
        return self.settings.grid.t if "grid" in name else [self.level.t]

    def _generated(self, t: list[float]) -> np.ndarray:
        """Generated LR of all patches without noise, (N, T, P, P, 3) uint8."""
        if tuple(t) not in self._made:
            self._made[tuple(t)] = self._of_patches(self.hr, t)
        return self._made[tuple(t)]

    def _of_patches(self, hr: np.ndarray, t: list[float]) -> np.ndarray:
        return generated(self.model, hr, t, "none", self.settings.out / "lr", self.progress)

    def _pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Held-out (HR, real LR), one scene at a time: whole sets would not fit."""
        for scene in self.held_out.scenes:
            pictures = self.held_out.pictures(scene)
            hr, lr = pictures[0], pictures[self.place]
            assert hr is not None and lr is not None
            yield hr, lr

    def _restored(self, network: nn.Module, lr: np.ndarray) -> np.ndarray:
        return restored(network, lr, self.settings.network.multiple)


def _level(levels: list[PairLevel], name: str) -> PairLevel:
    """The level asked for, the last knot by default."""
    if not name:
        return [level for level in levels if not level.held_out][-1]
    for level in levels[1:]:
        if level.name == name:
            return level
    known = ", ".join(level.name for level in levels[1:])
    raise UsageError(f"`level`: the pairs have no level {name!r}, only {known}")


def _noise_digest(model: DegFlow, name: str) -> str:
    if name.endswith("clean"):
        return "none"
    noise = model.noise_model("calibrated")
    assert noise is not None
    return noise.digest
