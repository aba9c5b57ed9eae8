"""tune-solver: the cheapest way to integrate that 8-bit pictures cannot tell from the exact one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from degflow_pipe.checkpoint import own_checkpoint, read_info, write_info
from degflow_pipe.degflow import DegFlow
from degflow_pipe.errors import PhotoError
from degflow_pipe.levels import parse_t_grid
from degflow_pipe.model.config import SolverConfig
from degflow_pipe.photos import find_photos, read_photo
from degflow_pipe.pictures import middle, to_picture, to_tensor
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.stages.common import one_thread_each

SIDE = 256
"""Pixels of the middle of each photo that are compared."""
LEAST_SIDE = 64
MOST_PHOTOS = 16
GRID = "0.05:1.0:0.05"
SHARE = 0.999
"""Of the pixels of every level, those within one grey level of the reference."""
REFERENCE_TOLERANCE = 1e-6
EVALUATIONS_A_STEP = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
MOST_EVALUATIONS = 64
TOLERANCES = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""For a velocity that no fixed steps follow, such as one that sees 999 t."""


@dataclass(frozen=True)
class Tried:
    """A solver against the reference: least share within one grey level, largest difference."""

    solver: SolverConfig
    evaluations: int
    share_within_1: float
    max_diff: int


@dataclass(frozen=True)
class TunedSolver:
    """What was found. evaluations: of v for a picture, all levels together."""

    checkpoint: str
    photos: int
    before: dict[str, Any]
    solver: dict[str, Any]
    evaluations: int
    reference_evaluations: int
    share_within_1: float
    max_diff: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def tune_solver(
    checkpoint: str, photos: list[str], device: str = "auto", progress: Progress | None = None
) -> TunedSolver:
    """Find the cheapest solver that is good enough on these photos, write it into the checkpoint.

    Good enough: at each of the levels 0.05, 0.1 ... 1, 99.9% of the decoded 8-bit pixels are within
    one grey level of the solve at rtol = atol = 1e-6. Candidates are tried by their number of
    evaluations, fixed steps first. The checkpoint's id changes with its solver, so stores that were
    made with it before are no longer its own. Raises PhotoError where no photo of 64 pixels or more
    can be read, UsageError for a shipped checkpoint by name.
    """
    folder = own_checkpoint(checkpoint)
    model = DegFlow.load(checkpoint, device)
    before = model.model.solver
    pictures = _pictures(photos)
    levels = parse_t_grid(GRID).t
    with one_thread_each(model), (progress or Silent()).task("tune solver", None) as task:
        wanted, needed = [], 0
        reference = converged(model)
        for hr in pictures:
            wanted.append(solved(model, hr, levels, reference))
            needed = max(needed, model.evaluations)
        for solver in _candidates(before.t_start):
            tried = _try(model, pictures, levels, solver, wanted)
            task.note(
                f"{_told(solver)}: {tried.evaluations} evaluations, "
                f"{100 * tried.share_within_1:.3f}% within 1, at most {tried.max_diff}"
            )
            task.advance()
            if tried.share_within_1 >= SHARE:
                break
        else:
            tried = Tried(reference, needed, 1.0, 0)
    info = read_info(folder)
    info = replace(info, model=replace(info.model, solver=tried.solver))
    write_info(folder, info)
    return TunedSolver(
        checkpoint=info.id,
        photos=len(pictures),
        before=asdict(before),
        solver=asdict(tried.solver),
        evaluations=tried.evaluations,
        reference_evaluations=needed,
        share_within_1=tried.share_within_1,
        max_diff=tried.max_diff,
    )


def _pictures(photos: list[str]) -> list[np.ndarray]:
    found, reasons = [], []
    for file in find_photos(photos):
        try:
            picture = middle(read_photo(file.path).pixels, SIDE)
        except PhotoError as error:
            reasons.append(str(error))
            continue
        if min(picture.shape[:2]) < LEAST_SIDE:
            reasons.append(f"{file.path}: smaller than {LEAST_SIDE} pixels")
            continue
        found.append(np.ascontiguousarray(picture))
        if len(found) == MOST_PHOTOS:
            break
    if not found:
        raise PhotoError(f"no photo to tune on: {'; '.join(reasons[:3])}")
    return found


def _candidates(t_start: float) -> Iterator[SolverConfig]:
    """All that are worth a try, by rising number of evaluations; then adaptive ones."""
    fixed = [
        (each * steps, method, steps)
        for method, each in EVALUATIONS_A_STEP.items()
        for steps in range(1, MOST_EVALUATIONS // each + 1)
    ]
    for _, method, steps in sorted(fixed):
        yield SolverConfig(method=method, steps=steps, t_start=t_start)
    for tolerance in TOLERANCES:
        yield _adaptive(tolerance, t_start)


def _adaptive(tolerance: float, t_start: float) -> SolverConfig:
    return SolverConfig(method="dopri5", rtol=tolerance, atol=tolerance, t_start=t_start)


def _told(solver: SolverConfig) -> str:
    size = f"{solver.rtol:g}" if solver.adaptive else f"x {solver.steps}"
    return f"{solver.method} {size}"


def converged(model: DegFlow) -> SolverConfig:
    """The solve that others are held against, rtol = atol = 1e-6."""
    return _adaptive(REFERENCE_TOLERANCE, model.model.solver.t_start)


def solved(
    model: DegFlow, hr: np.ndarray, levels: list[float], solver: SolverConfig | None = None
) -> np.ndarray:
    """Decoded levels without noise, (T, H, W, 3) uint8; solver: another than the checkpoint's."""
    z, skips = model.encode(to_tensor(hr))
    path = model.trajectory(z, levels, skips, solver)
    return np.stack([to_picture(lr)[0] for lr in model.decode_levels(path, skips)])


def largest_difference(made: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of each pixel's channels, in grey levels: (..., H, W, 3) uint8 to (..., H, W)."""
    return np.abs(made.astype(np.int16) - wanted).max(-1)


def _try(
    model: DegFlow,
    pictures: list[np.ndarray],
    levels: list[float],
    solver: SolverConfig,
    wanted: list[np.ndarray],
) -> Tried:
    """Compare; ends early where the pictures that are left cannot save it."""
    within = np.zeros(len(levels))
    most = evaluations = 0
    for i, (hr, reference) in enumerate(zip(pictures, wanted, strict=True)):
        made = solved(model, hr, levels, solver)
        evaluations = max(evaluations, model.evaluations)
        difference = largest_difference(made, reference)
        most = max(most, int(difference.max()))
        within += (difference <= 1).mean((1, 2))
        left = len(pictures) - i - 1
        if (within.min() + left) / len(pictures) < SHARE:
            break
    return Tried(solver, evaluations, float(within.min() / (i + 1)), most)
