"""Generated against real LR of held-out scenes, beside what one would use instead.

Pairs are whole pictures. A candidate is one way to an LR picture; a figure is one measure of it
against the real LR of its level.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from degflow_pipe import json_files
from degflow_pipe.calibration.calibrate import generated_blurs
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.verdict import Judged, OnHeldOut, verdict_of
from degflow_pipe.errors import CheckpointError, DataError, UsageError
from degflow_pipe.evaluation import baselines, judging, plots, residual_pages
from degflow_pipe.evaluation.against_hr import BANDS, AgainstHRRows
from degflow_pipe.evaluation.crops import Crops
from degflow_pipe.evaluation.results import (
    BlurOfScale,
    Curve,
    Evaluation,
    LevelFigures,
    Spread,
    Sweep,
)
from degflow_pipe.folders import one_writer
from degflow_pipe.levels import Grid
from degflow_pipe.metrics import residual, spectrum
from degflow_pipe.metrics.fidelity import EQUAL, fidelity, psnr
from degflow_pipe.metrics.noise_divergence import flat_places, noise_kl
from degflow_pipe.metrics.perceptual import Perceptual
from degflow_pipe.model.networks import SizedSkips
from degflow_pipe.noise.drawing import noisy
from degflow_pipe.pairs.pairs import Pairs, Scene, find_scenes
from degflow_pipe.pairs.settings import DataSettings, PairLevel
from degflow_pipe.pictures.arrays import middle, to_picture, to_tensor
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.settings import read

LEAST_SIDE = 256
"""Pixels on a side that spectra and noise are measured on, at least."""
CROP = 192
"""Side of the pieces on the page of pictures, in pixels."""
STEPS = 10
"""Equal steps of the scale that the blur of generated LR is measured at."""
LOWER_IS_BETTER = ("perceptual", "noise_kl", "spectrum")

CANDIDATES = (
    *("generated", "noisy", "hr", "bicubic", "gaussian", "esrgan_style", "bsrgan_style"),
    *("blend", "line", "blend_real", "line_real", "gaussian_line", "gaussian_lens", "rebuilt"),
)
"""Rows of the table but for the models of `beside`."""

Figures = dict[str, float]


@dataclass(frozen=True)
class EvaluationSettings:
    """What to evaluate beside the model at the real levels.

    perceptual: one of `perceptual.KINDS`. grid: levels of the curve against HR, and of the sweep.
    sweep: draw each figure against t for the levels that are no knots, or for all where all are.
    residual: take apart what is left between real and generated LR. beside: further models by name.
    out: folder for figures.json, the pages and the crops; None for none. crops: another folder for
    the crops, see `crops.Crops`; by default `out`.
    """

    grid: Grid
    perceptual: str = "none"
    sweep: bool = False
    residual: bool = False
    beside: dict[str, DegFlow] = field(default_factory=dict)
    out: Path | None = None
    crops: Path | None = None


def data_of(model: DegFlow) -> DataSettings:
    """What the checkpoint says of the pairs that it was trained on.

    Raises CheckpointError where it does not say.
    """
    try:
        return read(DataSettings, model.info.data, "data")
    except UsageError as error:
        raise CheckpointError(
            f"{model.info.name} does not say how its pairs are laid out ({error}): name a training "
            f"recipe as `recipe`"
        ) from error


def evaluate(
    model: DegFlow,
    data: DataSettings,
    root: Path,
    settings: EvaluationSettings,
    progress: Progress | None = None,
) -> Evaluation:
    """Figures of every candidate at every level of the held-out scenes.

    Candidates: `generated`; `noisy`, the same with the camera's noise, where the checkpoint was
    calibrated; the names of `beside`; `hr`, `bicubic`, `gaussian` (oracle), `esrgan_style`,
    `bsrgan_style`; at levels between two knots the mean of their generated pictures (`blend`) and
    of their latents (`line`, decoded), weighted by t, the same of their real pictures
    (`blend_real`, `line_real`: oracles), and HR blurred by what lies between the best Gaussians of
    the real ones, on a straight line in s (`gaussian_line`) or, squared, in s² (`gaussian_lens`);
    and `rebuilt`, the autoencoder's rebuild of the real picture, the ceiling.

    The verdict's figures are put into the checkpoint's config.json where `judging.keep` finds that
    they belong there; its id stays.

    Raises DataError for wrong pairs, for pictures of fewer than LEAST_SIDE pixels on a side, and
    where the perceptual weights cannot be had; UsageError where matplotlib is wanted and missing.
    """
    out, crops = settings.out, settings.crops or settings.out
    with nullcontext() if out is None else one_writer(out, "evaluation"):
        work = _Work(model, settings, Pairs(find_scenes(data, root, to_train=False)[1], data))
        with (progress or Silent()).task(
            "evaluate", len(work.pairs.scenes), counts="scenes"
        ) as task:
            for scene in work.pairs.scenes:
                work.pairs.check(scene, LEAST_SIDE)
                try:
                    work.add(scene)
                except DataError as error:
                    raise DataError(f"{root}, scene {scene.name}: {error}") from error
                task.advance()
        result = work.result()
        not_kept = judging.keep(model, work.judged(), result.scenes, data)
        by_scene = work.crops.by_scene(written=crops is not None)
        result = replace(result, not_kept=not_kept, by_scene=by_scene)
        if crops is not None:
            work.crops.write(crops)
        if out is not None:
            json_files.write(out / "figures.json", result.to_dict())
            work.draw(out, result)
    return result


class _Work:
    """Figures gathered scene by scene."""

    def __init__(self, model: DegFlow, settings: EvaluationSettings, pairs: Pairs) -> None:
        self.model, self.settings, self.pairs = model, settings, pairs
        self.levels = pairs.levels
        self.perceptual = Perceptual(settings.perceptual, model.device)
        self.found: dict[str, dict[str, list[Figures]]] = {}
        self.against_hr: dict[str, dict[str, AgainstHRRows]] = {}
        self.curves: list[list[float]] = []
        self.scales: list[float] = np.linspace(1, model.info.s_max, STEPS + 1).tolist()
        self.blurs: list[list[float]] = []
        self.sweeps: dict[str, list[list[Figures]]] = {}
        self.rows: list[list[tuple[str, np.ndarray]]] = []
        self.residuals: dict[str, list[dict[str, Any]]] = {}
        self.residual_rows: dict[str, list[list[tuple[str, np.ndarray]]]] = {}
        self.crops = Crops()
        self.evaluations = 0

    def add(self, scene: Scene) -> None:
        pictures = self.pairs.pictures(scene)
        hr = pictures[0]
        assert hr is not None
        t = [level.t for level in self.levels]
        z, skips = self.model.encode(to_tensor(hr))
        levels = self.model.levels(z, t, skips)
        expected, self.evaluations = list(levels.pictures), levels.evaluations
        made = [to_picture(lr)[0] for lr in expected]
        path = self.model.trajectory(z, t, skips)
        beside = {n: [*_generated(other, hr, t)] for n, other in self.settings.beside.items()}
        crop = self.crops.begin(scene.name, hr)
        for i, (level, real) in enumerate(zip(self.levels, pictures, strict=True)):
            if i == 0 or real is None:
                continue
            candidates = {
                "generated": made[i],
                **self._noisy(expected[i], hr, level.t),
                **{name: levels[i] for name, levels in beside.items()},
                **self._others(scene, level, hr, real),
                **self._between(i, pictures, made, path, skips),
                "rebuilt": self._decoded(self._latent(real), skips),
            }
            rows = self.found.setdefault(level.name, {})
            for name, picture in candidates.items():
                rows.setdefault(name, []).append(self._figures(picture, real))
            self._add_against_hr(level.name, hr, {"real": real, **candidates})
            crop.add(level.name, rows["generated"][-1]["psnr"], {"real": real, **candidates})
            if len(self.rows) < 4:
                shown = {"HR": hr, f"real {level.name}": real, **candidates}
                self.rows.append([(name, middle(picture, CROP)) for name, picture in shown.items()])
            if self.settings.residual:
                self._add_residual(level, hr, real, candidates)
        self.crops.add(crop)
        self._add_path(hr, pictures)

    def _latent(self, picture: np.ndarray) -> torch.Tensor:
        return self.model.encode(to_tensor(picture))[0]

    def _decoded(self, z: torch.Tensor, skips: SizedSkips) -> np.ndarray:
        return to_picture(self.model.decode(z, skips))[0]

    def _noisy(self, expected: torch.Tensor, hr: np.ndarray, t: float) -> dict[str, np.ndarray]:
        model = self.model.noise_model("auto")
        if model is None:
            return {}
        return {"noisy": noisy(expected, hr[None], t, model)[0].cpu().numpy()}

    def _others(
        self, scene: Scene, level: PairLevel, hr: np.ndarray, real: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What needs no model; random ones are seeded by scene and level."""
        scale = self.pairs.data.scale_of_t(level.t)
        ways: dict[str, baselines.Baseline] = {
            "bicubic": baselines.bicubic,
            "gaussian": baselines.best_gaussian,
            "esrgan_style": baselines.real_esrgan_style,
            "bsrgan_style": baselines.bsrgan_style,
        }
        found = {"hr": hr}
        for name, way in ways.items():
            seed = zlib.crc32(f"{scene.name} {level.name} {name}".encode())
            found[name] = way(hr, real, scale, np.random.default_rng(seed))
        return found

    def _between(
        self,
        i: int,
        pictures: list[np.ndarray | None],
        made: list[np.ndarray],
        path: torch.Tensor,
        skips: SizedSkips,
    ) -> dict[str, np.ndarray]:
        """Straight lines between the nearest knots on both sides, in pixels and in the latents."""
        knots = [j for j, level in enumerate(self.levels) if j != i and not level.held_out]
        below, above = [j for j in knots if j < i], [j for j in knots if j > i]
        if not below or not above:
            return {}
        a, b = below[-1], above[0]
        t = [level.t for level in self.levels]
        weight = (t[i] - t[a]) / (t[b] - t[a])
        found = {
            "blend": baselines.blend(made[a], made[b], weight),
            "line": self._decoded(torch.lerp(path[:, a], path[:, b], weight), skips),
        }
        hr, first, last = pictures[0], pictures[a], pictures[b]
        if hr is not None and first is not None and last is not None:
            s, s_a, s_b = (self.pairs.data.scale_of_t(t[j]) for j in (i, a, b))
            found |= baselines.gaussians_between(hr, (first, last), (s, s_a, s_b))
            found["blend_real"] = baselines.blend(first, last, weight)
            line = torch.lerp(self._latent(first), self._latent(last), weight)
            found["line_real"] = self._decoded(line, skips)
        return found

    def _figures(self, picture: np.ndarray, real: np.ndarray) -> Figures:
        figures = {
            **fidelity(picture, real),
            "noise_kl": noise_kl(picture, real),
            "spectrum": spectrum.spectrum_distance(picture, real, BANDS),
        }
        if self.perceptual.kind != "none":
            figures["perceptual"] = self.perceptual(picture, real)
        return figures

    def _add_against_hr(self, level: str, hr: np.ndarray, pictures: dict[str, np.ndarray]) -> None:
        rows = self.against_hr.setdefault(level, {})
        flat = flat_places(pictures["real"])
        for name in (name for name in ("real", "generated", "noisy") if name in pictures):
            lr = pictures[name]
            rows.setdefault(name, AgainstHRRows()).add(hr, lr, flat)

    def _add_residual(
        self, level: PairLevel, hr: np.ndarray, real: np.ndarray, candidates: dict[str, np.ndarray]
    ) -> None:
        made, with_noise = candidates["generated"], candidates.get("noisy")
        scale = self.pairs.data.scale_of_t(level.t)
        rows = self.residuals.setdefault(level.name, [])
        rows.append(residual.of_scene(hr, real, made, with_noise, scale, BANDS))
        pages = self.residual_rows.setdefault(level.name, [])
        if len(pages) < 4:
            shown = residual_pages.row(hr, real, made, with_noise)
            pages.append([(name, middle(picture, CROP)) for name, picture in shown.items()])

    def _add_path(self, hr: np.ndarray, pictures: list[np.ndarray | None]) -> None:
        """The curve against HR, and the figures against t of the swept levels."""
        held_out = [i for i, level in enumerate(self.levels) if level.held_out]
        swept = (held_out or range(1, len(self.levels))) if self.settings.sweep else []
        curve = []
        sweep: dict[int, list[Figures]] = {i: [] for i in swept if pictures[i] is not None}
        for picture in _generated(self.model, hr, self.settings.grid.t):
            curve.append(min(psnr(picture, hr), EQUAL))
            for i, rows in sweep.items():
                real = pictures[i]
                assert real is not None
                rows.append(self._figures(picture, real))
        self.curves.append(curve)
        levels = [self.model.t_of_scale(s) for s in self.scales]
        self.blurs.append(generated_blurs(self.model, hr, levels))
        for i, rows in sweep.items():
            self.sweeps.setdefault(self.levels[i].name, []).append(rows)

    def level_figures(self) -> dict[str, LevelFigures]:
        by_name = {level.name: level for level in self.levels}
        return {
            name: LevelFigures(
                t=by_name[name].t,
                held_out=by_name[name].held_out,
                candidates={way: _over_scenes(rows) for way, rows in ways.items()},
                bands=spectrum.centres(BANDS).tolist(),
                against_hr={lr: rows.result() for lr, rows in self.against_hr[name].items()},
            )
            for name, ways in self.found.items()
        }

    def judged(self) -> OnHeldOut:
        return judging.on_held_out([*self.level_figures().values()], len(self.pairs.scenes))

    def result(self) -> Evaluation:
        info, t = self.model.info, self.settings.grid.t
        judged = replace(info.judged or Judged(), held_out=self.judged())
        return Evaluation(
            scenes=[scene.name for scene in self.pairs.scenes],
            perceptual=self.settings.perceptual,
            evaluations=self.evaluations,
            levels=self.level_figures(),
            curve=Curve(t, np.mean(self.curves, axis=0).tolist()),
            blur=BlurOfScale(self.scales, np.mean(self.blurs, axis=0).tolist()),
            sweep={name: _swept(t, rows) for name, rows in self.sweeps.items()},
            residual={n: residual.over_scenes(r, BANDS) for n, r in self.residuals.items()},
            verdict=verdict_of(judged, info.calibration),
            checkpoint=info.id,
            source=self.pairs.data.source,
            licence=self.pairs.data.licence,
        )

    def draw(self, out: Path, result: Evaluation) -> None:
        """Pages of pictures, spectra and sweeps."""
        plots.picture_page(out / "pictures.png", self.rows, "held-out scenes, middle")
        for name, level in result.levels.items():
            lines = {lr: found.power for lr, found in level.against_hr.items()}
            plots.spectrum_page(out / f"spectrum_{name}.png", level.bands, lines, f"power, {name}")
        for name, figures in result.sweep.items():
            plots.sweep_page(
                out / f"sweep_{name}.png",
                {figure: (found.t, found.values) for figure, found in figures.items()},
                result.levels[name].t,
                {figure: found.best for figure, found in figures.items()},
                f"{name}: figures of the generated picture against the real one",
            )
        for name, left in result.residual.items():
            residual_pages.draw(out, name, left, self.residual_rows[name])


def _generated(model: DegFlow, hr: np.ndarray, t: list[float]) -> Iterator[np.ndarray]:
    """The picture of each level, one at a time: whole pictures of all levels would not fit."""
    z, skips = model.encode(to_tensor(hr))
    for lr in model.levels(z, t, skips).pictures:
        yield to_picture(lr)[0]


def _over_scenes(rows: list[Figures]) -> dict[str, Spread]:
    """Mean and spread over scenes of each figure."""
    found = {}
    for figure in rows[0]:
        values = [row[figure] for row in rows]
        found[figure] = Spread(*(float(of(values)) for of in (np.mean, np.std, np.min, np.max)))
    return found


def _swept(t: list[float], scenes: list[list[Figures]]) -> dict[str, Sweep]:
    """Each figure's mean over scenes at each t, and the t where it is best."""
    found = {}
    for figure in scenes[0][0]:
        values = np.mean([[row[figure] for row in rows] for rows in scenes], axis=0)
        best = np.argmin(values) if figure in LOWER_IS_BETTER else np.argmax(values)
        found[figure] = Sweep(t, values.tolist(), t[int(best)])
    return found
