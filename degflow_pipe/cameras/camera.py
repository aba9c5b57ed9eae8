"""The cameras there are: a checkpoint's, which was learned, and simulated ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from degflow_pipe.cameras.asked import Asked, Shown
from degflow_pipe.checkpoint.folder import CheckpointInfo
from degflow_pipe.checkpoint.identity import digest_of, pictures_id, scales_id
from degflow_pipe.checkpoint.site import Site
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import NO_NOISE
from degflow_pipe.noise.model import noise_rng
from degflow_pipe.pictures.arrays import greyed, is_grey
from degflow_pipe.pictures.sizes import Sizes, on_own_pixels
from degflow_pipe.simulation.camera import VERSION, WAVELENGTHS, ZoomCamera

T_DIGITS = 9
"""Decimals by which levels are told apart."""


Show = Callable[[np.ndarray, np.ndarray | None, Sequence[Asked], int], Shown]
"""HR (n, P, P, 3) uint8, and latents (n, C, h, w) float32 where they are known, to LR of as many
pixels a side: P, or the camera's own.
"""


def at_whole_pixels(camera: Camera | CheckpointInfo, sizes: Sizes, seed: int) -> Asked:
    """The camera's level whose scale gives those sizes. Reducing HR averages its noise away."""
    scale = min(max(sizes.camera_scale, 1.0), camera.s_max)
    kept = (sizes.seen / sizes.hr) ** 2
    return Asked(round(camera.t_of_scale(scale), T_DIGITS), scale, seed, kept)


class Camera(Protocol):
    """Data that can be pickled: `open` loads what it needs."""

    @property
    def name(self) -> str:
        """The checkpoint's id, or which simulated camera it is."""

    @property
    def about(self) -> str:
        """What it is, for people."""

    @property
    def s_max(self) -> float:
        """The scale of t = 1."""

    @property
    def parts(self) -> list[str]:
        """All that the pixels of its LR depend on, beside HR, level and seed."""

    @property
    def scale_map(self) -> str:
        """What the scales beside its levels depend on."""

    @property
    def noise(self) -> str:
        """What its LR carry, see `levels.Grid`."""

    def t_of_scale(self, s: float) -> float: ...

    def scale_of_t(self, t: float) -> float: ...

    def open(self) -> Show:
        """Load what it needs."""


@dataclass(frozen=True)
class LearnedCamera:
    """A checkpoint. noise: see `checkpoint.identity.noise_id`. size: patches computed at once.
    own_pixels: whether its LR are on its own pixels.
    """

    site: Site
    noise: str
    size: int
    own_pixels: bool

    @property
    def name(self) -> str:
        return self.site.info.id

    @property
    def about(self) -> str:
        return f"checkpoint, noise {self.noise}"

    @property
    def s_max(self) -> float:
        return self.site.info.s_max

    @property
    def parts(self) -> list[str]:
        return [pictures_id(self.site.info, self.site.precision, self.noise)]

    @property
    def scale_map(self) -> str:
        return scales_id(self.site.info)

    def t_of_scale(self, s: float) -> float:
        return self.site.info.t_of_scale(s)

    def scale_of_t(self, t: float) -> float:
        return self.site.info.scale_of_t(t)

    def open(self) -> Show:
        from degflow_pipe.cameras.batches import Batches, shown_at

        model = self.site.load()
        noise = model.noise_model("calibrated", self.own_pixels) if self.noise != NO_NOISE else None
        batches = Batches(model, self.size)

        def show(
            hr: np.ndarray, latents: np.ndarray | None, asked: Sequence[Asked], side: int
        ) -> Shown:
            return shown_at(batches, hr, latents, asked, noise, side)

        return show


@dataclass(frozen=True)
class SimulatedCamera:
    """One of the cameras that are drawn for a bank; t goes with its scale evenly, to S_MAX.

    number: from 1; another seed of the bank draws others. Its noise is the sensor's, of photons and
    electronics, and cannot be left out.
    """

    number: int
    seed: int

    S_MAX = 4.0

    @property
    def parameters(self) -> ZoomCamera:
        """From those of phones to those of cameras with an APS-C sensor."""
        rng = np.random.default_rng([self.seed, self.number, VERSION])
        pitch = _log_between(rng, 1.2, 6.0)
        most = pitch / _HIGHEST_CUTOFF  # else diffraction would take what the HR holds
        centre = rng.uniform(0.3, 0.9)
        return ZoomCamera(
            aperture=_log_between(rng, min(1.8, 0.9 * most), min(11.0, 0.98 * most)),
            pixel_pitch=pitch,
            blur_centre=centre,
            blur_corner=centre + rng.uniform(0, 0.6),
            fringe=rng.uniform(0, 0.8),
            full_well=_log_between(rng, 1500, 40_000),
            read_noise=_log_between(rng, 1.5, 15),
            white_balance=(rng.uniform(1.6, 2.4), 1.0, rng.uniform(1.3, 2.0)),
            contrast=rng.uniform(0, 0.5),
            jpeg_quality=int(rng.integers(75, 99)),
        )

    @property
    def name(self) -> str:
        return f"simulated-{self.number}"

    @property
    def about(self) -> str:
        p = self.parameters
        return (
            f"simulated: f/{p.aperture:.1f}, pixels of {p.pixel_pitch:.1f} um, blur "
            f"{p.blur_centre:.2f} to {p.blur_corner:.2f} pixels, fringe {p.fringe:.2f}, "
            f"{p.full_well:.0f} electrons, read noise {p.read_noise:.1f}, JPEG {p.jpeg_quality}"
        )

    @property
    def s_max(self) -> float:
        return self.S_MAX

    @property
    def parts(self) -> list[str]:
        return [f"simulated {VERSION} {digest_of([asdict(self.parameters)])}"]

    @property
    def scale_map(self) -> str:
        return f"simulated {self.S_MAX}"

    @property
    def noise(self) -> str:
        return "simulated"

    def t_of_scale(self, s: float) -> float:
        if not 1 <= s <= self.S_MAX:
            raise UsageError(f"scale {s:g} is outside those of {self.name}, 1 to {self.S_MAX:g}")
        return (s - 1) / (self.S_MAX - 1)

    def scale_of_t(self, t: float) -> float:
        return round(1 + t * (self.S_MAX - 1), 6)

    def open(self) -> Show:
        camera = self.parameters

        def show(
            hr: np.ndarray, latents: np.ndarray | None, asked: Sequence[Asked], side: int
        ) -> Shown:
            made = np.empty((len(hr), len(asked), side, side, 3), np.uint8)
            for i, own in enumerate(hr):
                for k, (t, scale, seed, _) in enumerate(asked):
                    lr = camera.shoot(own, scale, noise_rng(seed, own, t))
                    lr = on_own_pixels(lr, (side, side))
                    made[i, k] = greyed(lr) if is_grey(own) else lr
            return Shown(made, 0, None)

        return show


_HIGHEST_CUTOFF = 0.5**0.5 * max(WAVELENGTHS)
"""See `ZoomCamera`: of the aperture to the pixel's pitch."""


def _log_between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
