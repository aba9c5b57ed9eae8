"""How the LR of a grid are made, as data: cameras and shares, levels, sizes, noise and seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from degflow_pipe import defaults
from degflow_pipe.cameras.asked import Asked, batch_size
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.cameras.camera import (
    T_DIGITS,
    Camera,
    LearnedCamera,
    Show,
    SimulatedCamera,
    at_whole_pixels,
)
from degflow_pipe.checkpoint.identity import digest_of, noise_id
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import NO_NOISE, Drawn, Grid, Level, Place, Told, with_draws
from degflow_pipe.model.devices import one_thread_each
from degflow_pipe.pictures.sizes import Sizes, check_camera_scale, seen_by_camera, sizes_at

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow

VERSION = 2
"""Raised when the same draws give other LR than before, or the same levels other sizes."""
SEEDS = 10**18
"""Above any seed: the noise of draw d is seeded by seed + d * SEEDS."""


@dataclass(frozen=True)
class LR:
    """values: (n, T, p, p, 3) uint8, p the patch's side, or less where the grid has an SR scale of
    its own. evaluations: of v for a patch. computed: what the last bits depend on, see
    `Batches.used`. told: what each level of each patch is, where the grid does not say it.
    """

    values: np.ndarray
    evaluations: int
    computed: dict[str, Any]
    told: Told = ()


class Make(Protocol):
    """Makes LR of HR."""

    def __call__(
        self,
        hr: np.ndarray,
        latents: Mapping[int, np.ndarray],
        places: Sequence[Place],
        tell: Callable[[int], None] | None = None,
    ) -> LR:
        """hr: (n, P, P, 3) uint8; latents: those that are known, (n, C, h, w) float32, by the
        number of the camera; places: where the patches come from; tell: takes how many more
        patches are done. They are cut into batches from the first on.
        """


@dataclass(frozen=True)
class Making:
    """cameras: with their shares of the patches. seed: of all that is drawn. size: patches at once.
    grid: what is made, see `checkpoint.identity`.
    """

    cameras: tuple[Camera, ...]
    shares: tuple[float, ...]
    grid: Grid
    seed: int
    size: int

    @classmethod
    def of(
        cls,
        cameras: DegFlow | Bank,
        grid: Grid,
        noise: str = "auto",
        seed: int = 0,
        batch: int = defaults.BATCH,
        *,
        sr_scale: float = 0.0,
        draws: int = 1,
    ) -> Making:
        """grid: the levels that are asked for, as the first camera has them. noise, seed: see
        `DegFlow.degrade`. sr_scale: see `pictures.sizes`; 0 for LR of HR's size. draws:
        realisations of each level, with noise of their own.

        Raises UsageError for noise that a checkpoint does not have, levels that a camera does not
        have or an LR at `sr_scale` cannot be had of, and draws that would all be equal.
        """
        if not 0 <= seed < SEEDS:
            raise UsageError(f"`seed` must be 0 or more and below 10^18, got {seed}")
        bank, sr_scale = Bank.of(cameras), float(sr_scale)
        size = batch_size(bank.first.device, batch)
        members: list[Camera] = [
            LearnedCamera(
                site,
                noise_id(site.info.noise_model(noise, sr_scale > 0), seed),
                size,
                own_pixels=sr_scale > 0,
            )
            for site in bank.sites
        ]
        members += [SimulatedCamera(number + 1, seed) for number in range(bank.simulated)]
        shares = [*bank.shares, *[bank.simulated_share / max(bank.simulated, 1)] * bank.simulated]
        levels = with_draws(grid, draws).levels
        for camera in members:
            for level in levels:
                _check_level(camera, level, sr_scale)
        alike = all(camera.noise == NO_NOISE for camera in members)
        if draws > 1 and alike and not any(len(set(level.ends)) > 1 for level in levels):
            raise UsageError(
                f"`draws`: {draws} realisations would be equal, as there is no noise and no level "
                f"that is drawn: ask for a range in `t_grid`, or for one"
            )
        made = _grid(tuple(levels), members, shares, bank, noise, seed, sr_scale)
        return cls(tuple(members), tuple(shares), made, seed, size)

    def camera_of(self, place: Place) -> int:
        """The number of the camera that a patch draws."""
        if len(self.cameras) == 1:
            return 0
        ends = np.cumsum(self.shares) / sum(self.shares)
        return min(
            int(np.searchsorted(ends, self._rng(place, "camera").random(), "right")), len(ends) - 1
        )

    def asked_of(self, place: Place) -> list[Asked]:
        """The levels that a patch draws, as its camera has them; scales not yet of whole pixels."""
        camera = self.cameras[self.camera_of(place)]
        return [self._asked(camera, level, place) for level in self.grid.levels]

    def _asked(self, camera: Camera, level: Level, place: Place) -> Asked:
        low, high = level.ends
        value = low
        if high > low:
            value = float(self._rng(place, level.name).uniform(low, high))
        # A plain level's t is exact as it is; what is drawn is told to as many digits.
        t = camera.t_of_scale(value) if level.by_scale else value
        t = round(t, T_DIGITS)
        scale = value if level.by_scale else camera.scale_of_t(t)
        return Asked(t, round(scale, T_DIGITS), self.seed + level.draw * SEEDS)

    def _rng(self, place: Place, what: str) -> np.random.Generator:
        """What a patch draws something from, apart from all else that it draws."""
        number = int.from_bytes(what.encode(), "big")
        return np.random.default_rng([self.seed, int(place.sha256, 16), place.y, place.x, number])

    @property
    def device(self) -> str:
        """Where it computes."""
        learned = self.cameras[0]
        assert isinstance(learned, LearnedCamera)
        return learned.site.device

    @contextmanager
    def open(self) -> Iterator[Make]:
        """Load the checkpoints, and torch's settings; within, the function makes LR of HR."""
        opened = _Opened(self, [camera.open() for camera in self.cameras])
        learned = self.cameras[0]
        assert isinstance(learned, LearnedCamera)
        with one_thread_each(learned.site.load().device):
            yield opened.make


def _check_level(camera: Camera, level: Level, sr_scale: float) -> None:
    """Raises UsageError where the camera does not have a level, or not within the SR scale."""
    for end in level.ends:
        if level.by_scale and not 1 <= end <= camera.s_max:
            raise UsageError(
                f"`t_grid`: x{end:g} is outside the scales of {camera.name}, 1 to {camera.s_max:g}"
            )
        scale = end if level.by_scale else camera.scale_of_t(end)
        if sr_scale:
            check_camera_scale(sr_scale, scale)


def _grid(
    levels: tuple[Level, ...],
    cameras: Sequence[Camera],
    shares: Sequence[float],
    bank: Bank,
    noise: str,
    seed: int,
    sr_scale: float,
) -> Grid:
    """All that the pixels depend on, and the scales, in a grid's fields."""
    told = len(cameras) > 1 or sr_scale > 0 or any(level.drawn for level in levels)
    first = cameras[0]
    (pictures,) = first.parts
    scale_map = first.scale_map
    if told:
        parts = [camera.parts for camera in cameras]
        pictures = digest_of([VERSION, parts, list(shares), seed, sr_scale])
        scale_map = digest_of([camera.scale_map for camera in cameras])
    scales = tuple(
        sr_scale or (level.ends[0] if level.by_scale else first.scale_of_t(level.t))
        for level in levels
    )
    carried = first.noise if len(cameras) == 1 else f"{noise}-{seed}-bank"
    return Grid(
        levels,
        scales=scales,
        noise=carried,
        checkpoint=bank.name,
        precision=bank.first.precision,
        pictures=pictures,
        scale_map=scale_map,
        sr_scale=sr_scale,
        told=told,
        cameras=tuple(camera.name for camera in cameras) if told else (),
        about=() if len(cameras) == 1 else tuple(map(_about, cameras, shares)),
    )


def _about(camera: Camera, share: float) -> str:
    return f"{camera.name}, share {share:.4g}: {camera.about}"


class _Opened:
    """A making whose cameras are loaded."""

    def __init__(self, making: Making, shows: list[Show]) -> None:
        self._making, self._shows = making, shows

    def make(
        self,
        hr: np.ndarray,
        latents: Mapping[int, np.ndarray],
        places: Sequence[Place],
        tell: Callable[[int], None] | None = None,
    ) -> LR:
        """See `Make`."""
        parts = []
        size = self._making.size
        for i in range(0, len(hr), size):
            part = slice(i, i + size)
            cut = {number: values[part] for number, values in latents.items()}
            parts.append(self._batch(hr[part], cut, places[part]))
            if tell is not None:
                tell(len(parts[-1].values))
        batch = min(part.computed.get("batch", size) for part in parts)
        return LR(
            np.concatenate([part.values for part in parts]),
            max(part.evaluations for part in parts),
            {**parts[0].computed, **({"batch": batch} if "batch" in parts[0].computed else {})},
            [told for part in parts for told in part.told],
        )

    def _batch(
        self, hr: np.ndarray, latents: Mapping[int, np.ndarray], places: Sequence[Place]
    ) -> LR:
        making = self._making
        plans = [self._plan(hr.shape[1], place) for place in places]
        side = plans[0].levels[0].sizes.lr if making.grid.sr_scale else hr.shape[1]
        made = np.empty((len(hr), len(making.grid), side, side, 3), np.uint8)
        evaluations, least = 0, making.size
        for number, levels, rows, columns in _groups(plans):
            seen, known = hr[rows], None
            if making.grid.sr_scale:
                sizes = levels[0].sizes
                seen = np.stack([seen_by_camera(one, sizes, sizes) for one in seen])
            elif number in latents:
                known = latents[number][rows]
            shown = self._shows[number](seen, known, [level.asked for level in levels], side)
            made[np.ix_(rows, columns)] = shown.values
            evaluations = max(evaluations, shown.evaluations)
            least = min(least, shown.batch or least)
        told = [self._told(plan) for plan in plans] if making.grid.told else ()
        return LR(made, evaluations, self._computed(least), told)

    def _plan(self, side: int, place: Place) -> _Plan:
        making = self._making
        number = making.camera_of(place)
        camera, sr_scale = making.cameras[number], making.grid.sr_scale
        levels = []
        for asked in making.asked_of(place):
            if not sr_scale:
                levels.append(_Planned(asked, Sizes(side, side, side)))
                continue
            sizes = sizes_at(side, sr_scale, asked.scale, camera.s_max)
            levels.append(_Planned(at_whole_pixels(camera, sizes, asked.seed), sizes))
        return _Plan(number, tuple(levels))

    def _told(self, plan: _Plan) -> list[Drawn]:
        # The store's name of a camera that was renamed since.
        name, noise = (
            self._making.grid.cameras[plan.camera],
            self._making.cameras[plan.camera].noise,
        )
        return [Drawn(name, noise, asked.t, round(asked.scale, 6)) for asked, _ in plan.levels]

    def _computed(self, batch: int) -> dict[str, Any]:
        from degflow_pipe.cameras.batches import Batches

        first = self._making.cameras[0]
        assert isinstance(first, LearnedCamera)
        model = first.site.load()
        return {**Batches(model, first.size).used(batch), "precision": model.precision}


class _Planned(NamedTuple):
    """One level of one patch."""

    asked: Asked
    sizes: Sizes


class _Plan(NamedTuple):
    """What a patch draws: the number of its camera, and its levels."""

    camera: int
    levels: tuple[_Planned, ...]


def _groups(
    plans: Sequence[_Plan],
) -> Iterator[tuple[int, list[_Planned], list[int], list[int]]]:
    """What is computed together: the number of a camera, levels that it is shown pictures of one
    size for, the patches, and the places of the levels among all.
    """
    alike: dict[_Plan, list[int]] = {}
    for i, plan in enumerate(plans):
        alike.setdefault(plan, []).append(i)
    for plan, rows in alike.items():
        by_size: dict[Sizes, list[int]] = {}
        for k, level in enumerate(plan.levels):
            by_size.setdefault(level.sizes, []).append(k)
        for columns in by_size.values():
            yield plan.camera, [plan.levels[k] for k in columns], rows, columns
