"""proxy: SR networks trained on each source of LR for the same HR patches, tested on real pairs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from torch import nn

from degflow_pipe.cameras.asked import Asked
from degflow_pipe.cameras.camera import at_whole_pixels
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import CheckpointInfo
from degflow_pipe.checkpoint.identity import pictures_id, scales_id
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.evaluation.degradation_steps import enlarged
from degflow_pipe.levels import Grid
from degflow_pipe.pairs.pairs import Pairs, Scene, find_scenes
from degflow_pipe.pairs.settings import DataSettings, PairLevel
from degflow_pipe.pictures.photos import PhotoFile, find_photos
from degflow_pipe.pictures.sizes import Sizes, on_own_pixels, seen_by_camera, sizes_at
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.proxy.architectures import Architecture
from degflow_pipe.proxy.comparison import (
    PATCHES,
    Comparison,
    ComparisonSettings,
    Picture,
    check_asked,
    chosen_sources,
    cut,
    having,
    judged,
    means,
    said_of_all,
)
from degflow_pipe.proxy.generated import generated
from degflow_pipe.proxy.network import restored, train
from degflow_pipe.proxy.others import OtherPairs
from degflow_pipe.proxy.recipe import MOST_SCALE, ProxyRecipe, check_factor
from degflow_pipe.proxy.results import Figures, ProxyComparison, best_noise, source_rows
from degflow_pipe.proxy.sources import Place, Source, beside, best_sigma, by_hand, held
from degflow_pipe.proxy.unseen import HeldOut, patches_of
from degflow_pipe.training.loop import step_rng
from degflow_pipe.training.processes import Processes

BY_HAND = ("bicubic", "gaussian", "esrgan_style", "bsrgan_style")
MORE = ("ours_more", "real_more")
OURS = ("ours_clean", "ours", "ours_grid_clean", "ours_grid", *MORE)
NOISY = ("ours", "ours_grid", *MORE)
SOURCES = (*BY_HAND, *OURS, "real")
"""`ours` are generated with the checkpoint's noise, `_clean` without; `_grid` at many levels;
`_more` of other HR patches too, which have no real LR; `real_more` has the real LR beside these."""
SHOWN = 4
NAME = r"[A-Za-z0-9_-]{1,40}"
"""Of other pairs: it stands in the names of files."""


class _Patches(NamedTuple):
    """Of other pairs: hr (N, P, P, 3), lr (N, T, p, p, 3) uint8, and the SHA-256 of both."""

    hr: np.ndarray
    lr: np.ndarray
    digest: str


@dataclass(frozen=True, kw_only=True)
class ProxySettings(ComparisonSettings):
    """What to compare; see `ComparisonSettings` for the rest, and SOURCES for the sources.

    level: name of the real LR, the last knot by default. grid: levels of `ours_grid`. more: folder
    of HR photos, of which `ours_more` has as many patches again. network: what is trained.
    sr_scale: HR over LR, whole; 0 for that of the pairs' pictures where `enlarge` of the data is
    `refuse`, else 1. also: other pairs by name, each a source with HR patches of its own.
    """

    grid: Grid
    added_noise: tuple[float, ...] = (0.0, 4.0)
    level: str = ""
    more: Path | None = None
    network: Architecture = field(default_factory=Architecture)
    sr_scale: int = 0
    also: Mapping[str, OtherPairs] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        recipe: ProxyRecipe,
        info: CheckpointInfo,
        out: Path,
        *,
        more: Path | None = None,
        also: Mapping[str, OtherPairs] | None = None,
        patches: int = PATCHES,
    ) -> ProxySettings:
        """As a recipe says it, for a checkpoint."""
        return cls(
            **said_of_all(recipe, out, patches),
            grid=recipe.grid(info),
            level=recipe.level,
            more=more,
            network=Architecture(recipe.network, recipe.network_settings),
            sr_scale=recipe.sr_scale,
            also=also or {},
        )

    def __post_init__(self) -> None:
        check_asked(self.sources, (*SOURCES, *self.also), self.added_noise, self.seeds)
        check_factor(self.sr_scale)
        for name in self.also:
            if name in SOURCES or not re.fullmatch(NAME, name):
                raise UsageError(
                    f"`also`: {name[:60]!r} must be 1 to 40 letters, digits, '_' or '-', and none "
                    f"of {', '.join(SOURCES)}"
                )
        lacking = [name for name in MORE if name in self.sources]
        if lacking and self.more is None:
            raise UsageError(
                f"`sources` has {lacking[0]}: say with `more` where the other photos are"
            )


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
    return OneScale(model, data, root, settings, progress or Silent()).compare(processes)


class OneScale(Comparison[Source, nn.Module, Figures, ProxyComparison]):
    """A network whose SR is as large as its LR, or sr_scale times, tested at one level."""

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
            having(scenes, self.place, f"{split} scenes, level {self.level.name}", root)
            for split, scenes in zip(("training", "held-out"), find_scenes(data, root), strict=True)
        )
        self.sr_scale = settings.sr_scale or _own_scale(data, train[0], self.place)
        # What is wrong is said before anything is read.
        photos = [] if settings.more is None else list(find_photos([str(settings.more)]))
        network = settings.network.tried(settings.budget, self.sr_scale)
        self.told_network = settings.network.told(network, self.sr_scale)
        self.scale = data.scale_of_t(self.level.t) if self.sr_scale == 1 else float(self.sr_scale)
        known = [name for name in SOURCES if name not in MORE or settings.more]
        known[-1:] = [*settings.also, known[-1]]
        asked_more = set(MORE) & set(settings.sources) or set(MORE)
        besides = [*settings.also, *(asked_more if settings.more else [])]
        names = chosen_sources(
            settings.sources, known, NOISY, model, self.sr_scale > 1, besides=besides
        )
        # LR are checked at the size of HR.
        checked = _enlarging(data) if self.sr_scale > 1 else data
        super().__init__(
            model, settings, names, Pairs(train, checked), Pairs(held_out, checked), progress
        )
        self.tested_on = HeldOut(held_out, progress)
        self.others = {name: self._other(name) for name in settings.also}
        self.hr, there = self.patches([self.place], self.sr_scale)
        self.real = there[self.place][1]
        self.more = self._more(photos) if set(MORE) & set(self.names) else self.hr[:0]
        self._made: dict[tuple[bool | float, ...], np.ndarray] = {}

    def make(self, name: str) -> Source:
        real = partial(held, self.real[:, None], [self.level.t], None)
        if name == "real":
            return real
        if name in BY_HAND:
            sigma = self._sigma if name == "gaussian" else 0.0
            return by_hand(name, self.hr, sigma, self.scale, self.sr_scale)
        if name in self.others:
            lr = self.others[name].lr
            return partial(held, lr, [1.0] * lr.shape[1], None)
        t = self._levels(name)
        noise = None
        if not name.endswith("clean"):
            noise = self.model.noise_model("calibrated", self.sr_scale > 1)
        lr = self._generated(t)
        if name in MORE:
            lr = np.concatenate([lr, self._generated(t, more=True)])
        shown = [self._shown(level) for level in t]
        ours = partial(held, lr, [one.t for one in shown], noise, own=[one.own for one in shown])
        return partial(beside, real, len(self.real), ours) if name == "real_more" else ours

    def hr_of(self, name: str) -> np.ndarray:
        """HR of the patches whose LR `make` gives, (N, P, P, 3) uint8."""
        if name in self.others:
            return self.others[name].hr
        if name in MORE:
            own = [self.hr, self.hr] if name == "real_more" else [self.hr]
            return np.concatenate([*own, self.more])
        return self.hr

    def deciding(self, name: str) -> dict[str, Any]:
        key: dict[str, Any] = {
            "level": self.level.name,
            "scale": self.scale,
            "patches": hashlib.sha256(self.hr.tobytes() + self.real.tobytes()).hexdigest(),
        }
        if self.settings.network != Architecture():
            key["network"] = asdict(self.settings.network)
        if self.sr_scale > 1:
            key["sr_scale"] = self.sr_scale
        if name == "gaussian":
            key["sigma"] = round(self._sigma, 4)
        if name in self.others:
            key["pairs"] = self.others[name].digest
        if name in OURS:
            info, noise = self.model.info, _noise_digest(self.model, name, self.sr_scale > 1)
            pictures = pictures_id(info, self.model.precision, noise)
            key |= {"checkpoint": info.id, "pictures": pictures, "grid": self._levels(name)}
            if self.sr_scale > 1:
                key["scales"] = scales_id(info)
        if name in MORE:
            key["more"] = hashlib.sha256(self.more.tobytes()).hexdigest()
        return key

    def network(self) -> nn.Module:
        return self.settings.network.build(self.settings.budget, self.sr_scale)

    def fit(self, name: str, added: float, seed: int, task: Task) -> nn.Module:
        draw = partial(self._draw, self.source(name), self.hr_of(name), added, seed)
        return train(self.network, draw, self.settings.budget, seed, self.model.device, task)

    def test(self, network: nn.Module) -> Figures:
        return means(
            [judged(self._restored(network, lr), hr, self.perceptual) for hr, lr in self._pairs()]
        )

    def untouched(self) -> Figures:
        return means(
            [
                judged(lr if self.sr_scale == 1 else enlarged(lr, hr), hr, self.perceptual)
                for hr, lr in self._pairs()
            ]
        )

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
            network=self.told_network,
            sr_scale=self.sr_scale,
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
            height, width = hr.shape[:2]
            large = cv2.resize(lr, (width, height), interpolation=cv2.INTER_NEAREST)
            yield [("HR", hr), (f"real {self.level.name}", large), *sr]

    def _more(self, photos: list[PhotoFile]) -> np.ndarray:
        """As many patches as `hr` has, of other photos: (N, P, P, 3) uint8."""
        photos = self.tested_on.apart(photos, "more HR")
        return patches_of(photos, len(self.hr), self.hr.shape[1], self.progress)

    def _other(self, name: str) -> _Patches:
        """Patches of other pairs, at all levels that are there for every scene."""
        other = self.settings.also[name]
        data = other.layout(max(self.scale, 2.0))
        # What they hold out is not trained on here either, and none of them is tested on.
        train, _ = find_scenes(data, other.root, to_test=False)
        kept = set(self.tested_on.apart([scene.hr for scene in train], name))
        train = [scene for scene in train if scene.hr in kept]
        levels = data.pair_levels
        knots = [i for i, level in enumerate(levels) if i and not level.held_out]
        if self.sr_scale > 1:
            data = _enlarging(data)
        with self.progress.task(f"read {name}", len(train), counts="scenes") as task:
            pairs = Pairs(train, data)
            hr, there = cut(pairs, knots, self.settings.patches, self.sr_scale, task)
        lr = np.stack([there[i][1] for i in knots], axis=1)
        return _Patches(hr, lr, hashlib.sha256(hr.tobytes() + lr.tobytes()).hexdigest())

    def _draw(
        self, source: Source, hr_patches: np.ndarray, added: float, seed: int, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The crops of one step: where they lie depends on (seed, step), not on the source."""
        rng = step_rng(seed, step)
        small = hr_patches.shape[1] // self.sr_scale
        side = min(self.settings.budget.crop, small)
        lr: list[np.ndarray] = []
        hr: list[np.ndarray] = []
        for i in range(self.settings.budget.batch):
            y, x = (int(v) for v in rng.integers(small - side + 1, size=2))
            place = Place(int(rng.integers(len(hr_patches))), y, x, side)
            flip, turns = bool(rng.integers(2)), int(rng.integers(4))
            # From 1: numpy takes [seed, step, 0] for [seed, step], the generator of the places.
            own = np.random.default_rng([seed, step, i + 1])
            made = source(place, own)
            made = np.rint(made + added * own.standard_normal(made.shape, np.float32))
            pair = (
                np.clip(made, 0, 255).astype(np.uint8),
                place.on_hr(self.sr_scale).cut(hr_patches[place.patch]),
            )
            for crops, crop in zip((lr, hr), pair, strict=True):
                crops.append(np.rot90(crop[:, ::-1] if flip else crop, turns))
        return np.stack(lr), np.stack(hr)

    @cached_property
    def _sigma(self) -> float:
        """Of `gaussian`, in pixels."""
        return best_sigma(self.hr, self.real)

    def _levels(self, name: str) -> list[float]:
        return self.settings.grid.t if "grid" in name else [self.level.t]

    def _generated(self, t: list[float], more: bool = False) -> np.ndarray:
        """Generated LR without noise of all patches, or those of other photos, made once.

        (N, T, P, P, 3) uint8.
        """
        key = (more, *t)
        if key not in self._made:
            whose = " of more HR" if more else ""
            self._made[key] = self._of_patches(self.more if more else self.hr, t, whose)
        return self._made[key]

    def _of_patches(self, hr: np.ndarray, t: list[float], whose: str) -> np.ndarray:
        kept = self.settings.out / "lr"
        if self.sr_scale == 1:
            return generated(self.model, hr, t, "none", kept, self.progress, whose)
        levels = []
        for number, level in enumerate(t, 1):
            told = f"{whose} ({number} of {len(t)})" if len(t) > 1 else whose
            sizes, asked = self._sizes(level), self._shown(level)
            seen = np.stack([seen_by_camera(one, sizes, sizes) for one in hr])
            large = generated(self.model, seen, [asked.t], "none", kept, self.progress, told)[:, 0]
            levels.append(np.stack([on_own_pixels(lr, (sizes.lr, sizes.lr)) for lr in large]))
        return np.stack(levels, axis=1)

    def _sizes(self, t: float) -> Sizes:
        """Of the patches at a level, which is no more than the camera's that `sr_scale` allows."""
        info = self.model.info
        camera_scale = min(info.scale_of_t(t), float(self.sr_scale))
        return sizes_at(self.hr.shape[1], self.sr_scale, camera_scale, info.s_max)

    def _shown(self, t: float) -> Asked:
        """What the camera is asked for a level: itself, or where LR are small, of whole pixels."""
        if self.sr_scale == 1:
            return Asked(t, self.model.info.scale_of_t(t), 0)
        return at_whole_pixels(self.model.info, self._sizes(t), 0)

    def _pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Held-out (HR, real LR), one scene at a time: whole sets would not fit."""
        for scene in self.held_out.scenes:
            if self.sr_scale > 1:
                yield self.held_out.pair_at(scene, self.place, self.sr_scale)
                continue
            pictures = self.held_out.pictures(scene)
            hr, lr = pictures[0], pictures[self.place]
            assert hr is not None and lr is not None
            yield hr, lr

    def _restored(self, network: nn.Module, lr: np.ndarray) -> np.ndarray:
        multiple = self.settings.network.multiple if self.sr_scale == 1 else 1
        return restored(network, lr, multiple, self.sr_scale)


def _level(levels: list[PairLevel], name: str) -> PairLevel:
    """The level asked for, the last knot by default."""
    if not name:
        return [level for level in levels if not level.held_out][-1]
    for level in levels[1:]:
        if level.name == name:
            return level
    known = ", ".join(level.name for level in levels[1:])
    raise UsageError(f"`level`: the pairs have no level {name!r}, only {known}")


def _own_scale(data: DataSettings, scene: Scene, place: int) -> int:
    """HR over LR of the pairs, where nothing says that LR are to be enlarged.

    Raises DataError for more than a network enlarges by.
    """
    if data.enlarge_by != "refuse":
        return 1
    found = Pairs([scene], data).scale_at(scene, place)
    if found > MOST_SCALE:
        raise DataError(
            f"HR is {found} times as large as {scene.files[place]}, and networks enlarge by "
            f"{MOST_SCALE} at most: say with `sr_scale` what they are to enlarge by"
        )
    return found


def _enlarging(data: DataSettings) -> DataSettings:
    return replace(data, enlarge="bicubic") if data.enlarge_by == "refuse" else data


def _noise_digest(model: DegFlow, name: str, own_pixels: bool) -> str:
    if name.endswith("clean"):
        return "none"
    noise = model.noise_model("calibrated", own_pixels)
    assert noise is not None
    return noise.digest
