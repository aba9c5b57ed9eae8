"""What held-out scenes say of a checkpoint: figures for its verdict, kept where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from degflow_pipe import shipped
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import read_info, write_judged
from degflow_pipe.checkpoint.verdict import Judged, OnHeldOut
from degflow_pipe.errors import FileError, UsageError
from degflow_pipe.evaluation.results import AgainstHR, LevelFigures
from degflow_pipe.files import real
from degflow_pipe.folders import locked
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.settings import read

HALF = 0.5
"""Coherence below which a band is fine detail that real LR has lost."""


def on_held_out(levels: list[LevelFigures], scenes: int) -> OnHeldOut:
    """Of the levels that are knots, or of all where none is."""
    knots = [level for level in levels if not level.held_out] or levels
    noise = max((n for n in map(_noise, knots) if n is not None), key=_apart, default=None)
    return OnHeldOut(
        scenes=scenes,
        above_blur=round(min(map(_above_blur, knots)), 4),
        above_gaussian=round(
            float(np.mean([_psnr(k, "generated") - _psnr(k, "gaussian") for k in knots])), 4
        ),
        leak=round(max(map(_leak, knots)), 4),
        noise=None if noise is None else round(noise, 4),
    )


def _psnr(level: LevelFigures, candidate: str) -> float:
    return level.candidates[candidate]["psnr"].mean


def _shipped(level: LevelFigures) -> str:
    """The candidate as `degrade` gives it: with noise, where there is a noise model."""
    return "noisy" if "noisy" in level.candidates else "generated"


def _above_blur(level: LevelFigures) -> float:
    return _psnr(level, _shipped(level)) - max(_psnr(level, n) for n in ("bicubic", "gaussian"))


def _leak(level: LevelFigures) -> float:
    made: AgainstHR = level.against_hr[_shipped(level)]
    pairs = zip(made.coherence, level.against_hr["real"].coherence, strict=True)
    return max([0.0, *(ours - theirs for ours, theirs in pairs if theirs < HALF)])


def _noise(level: LevelFigures) -> float | None:
    if "noisy" not in level.against_hr:
        return None
    least = 0.01  # grey levels: pairs without noise have a ratio too
    return max(level.against_hr["noisy"].noise, least) / max(level.against_hr["real"].noise, least)


def _apart(ratio: float) -> float:
    return max(ratio, 1 / ratio)


def keep(model: DegFlow, found: OnHeldOut, scenes: list[str], data: DataSettings) -> str:
    """Put the figures into the checkpoint's config.json and card; returns why not, or nothing.

    data: of the pairs that they were measured on. They are kept where the scenes are those that
    were held out of its training, with its levels and LR enlarged as there, and the folder is not
    a shipped one and can be written to.
    """
    held_out = model.info.training.get("validation_scenes")
    if held_out is not None and held_out != scenes:
        return "these are not the scenes that were held out of its training"
    if model.info.data:
        try:
            own = read(DataSettings, model.info.data, "data")
        except UsageError as error:
            return f"it does not say how its own pairs are laid out ({error})"
        if [knot.t for knot in own.knots] != [knot.t for knot in data.knots]:
            return "the levels are not those that it was trained on"
        if own.enlarge_by != data.enlarge_by:
            return "LR is not enlarged as it was in its training"
    if real(model.folder).parent == real(shipped.folder("checkpoints")):
        return "it is a shipped checkpoint"
    try:
        with locked(model.folder):
            info = read_info(model.folder)
            if info.id != model.info.id or info.calibration != model.info.calibration:
                return "the checkpoint was changed while it was evaluated"
            judged = replace(info.judged or Judged(), held_out=found)
            write_judged(model.folder, replace(info, judged=judged))
    except FileError as error:
        return str(error)
    return ""
