"""tune-solver: the cheapest way to the levels that 8-bit pictures cannot tell from the exact one.

First the solver of the ODE, then how few levels have to be decoded for straight lines to do between
their pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from degflow_pipe.calibration.results import TunedSolver
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import own_checkpoint, read_info, write_info
from degflow_pipe.errors import PhotoError
from degflow_pipe.folders import locked
from degflow_pipe.levels import parse_t_grid
from degflow_pipe.model.config import SolverConfig
from degflow_pipe.model.devices import one_thread_each
from degflow_pipe.model.networks import Networks
from degflow_pipe.pictures.arrays import middle, to_picture, to_tensor
from degflow_pipe.pictures.photos import find_photos, read_photo
from degflow_pipe.progress import Progress, Silent

SIDE = 256
"""Pixels of the middle of each photo that are compared."""
LEAST_SIDE = 64
MOST_PHOTOS = 16
GRID = "0.025:1.0:0.025"
EVERY = 2
"""Levels of GRID from one that may be decoded to the next; those between are only compared."""
LONGEST = 8
"""Of such steps, those that a straight line goes over at most."""
MOST_LINES = 10
"""More of them are not worth it: a single level between two that are decoded takes both."""
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


def tune_solver(
    checkpoint: str, photos: list[str], device: str = "auto", progress: Progress | None = None
) -> TunedSolver:
    """Find the cheapest solver that is good enough on these photos, write it into the checkpoint.

    Good enough: at each of the levels 0.025, 0.05 ... 1, 99.9% of the 8-bit pixels are within one
    grey level of the solve at rtol = atol = 1e-6 with each level decoded. Candidates are tried by
    their number of evaluations, fixed steps first; then the fewest levels to decode are found. The
    checkpoint's id changes with its solver, so stores that were made with it before are no longer
    its own. Raises PhotoError where no photo of 64 pixels or more can be read, UsageError for a
    shipped checkpoint by name, FileError where another process is writing to the folder.
    """
    folder = own_checkpoint(checkpoint)
    read_info(folder)  # a folder that is no checkpoint is not locked
    with locked(folder):
        return _tune(folder, photos, device, progress or Silent())


def _tune(folder: Path, photos: list[str], device: str, progress: Progress) -> TunedSolver:
    model = DegFlow.load(str(folder), device, "float32")
    before = model.config.solver
    pictures = _pictures(photos)
    levels = parse_t_grid(GRID).t
    with one_thread_each(model.device), progress.task("tune solver", None) as task:
        wanted, needed = [], 0
        reference = converged(model)
        for hr in pictures:
            pictures_of_it, evaluations = solved(model, hr, levels, reference)
            wanted.append(pictures_of_it)
            needed = max(needed, evaluations)
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
        decode_at = _decode_at(model, pictures, levels, tried.solver, wanted)
        if decode_at:
            solver = replace(tried.solver, decode_at=decode_at)
            tried = _try(model, pictures, levels, solver, wanted)
    info = read_info(folder)
    info = replace(info, model=replace(info.model, solver=tried.solver))
    write_info(folder, info)
    return TunedSolver(
        checkpoint=info.id,
        photos=len(pictures),
        before=before,
        solver=tried.solver,
        evaluations=tried.evaluations,
        reference_evaluations=needed,
        share_within_1=tried.share_within_1,
        max_diff=tried.max_diff,
        lines=max(len(decode_at) - 1, 0),
    )


def _decode_at(
    model: DegFlow,
    pictures: list[np.ndarray],
    levels: list[float],
    solver: SolverConfig,
    wanted: list[np.ndarray],
) -> tuple[float, ...]:
    """The fewest levels between whose pictures straight lines are good enough; () for none."""
    t = [0.0, *levels]
    within = dict.fromkeys(_lines(len(t)), 0.0)
    for hr, reference in zip(pictures, wanted, strict=True):
        z, skips = model.encode(to_tensor(hr))
        decoded = list(model.levels(z, t, skips, solver).pictures)
        for a, b in within:
            between = np.arange(a + 1, b)
            weights = [(t[i] - t[a]) / (t[b] - t[a]) for i in between]
            drawn = [to_picture(decoded[a].lerp(decoded[b], weight))[0] for weight in weights]
            difference = largest_difference(np.stack(drawn), reference[between - 1])
            within[a, b] = within[a, b] + (difference <= 1).mean((1, 2)) / len(pictures)
    good = [line for line, shares in within.items() if np.min(shares) >= SHARE]
    best: dict[int, tuple[int, ...]] = {0: (0,)}
    for a, b in good:
        if a in best and (b not in best or len(best[a]) + 1 < len(best[b])):
            best[b] = (*best[a], b)
    found = best.get(len(t) - 1, ())
    return tuple(t[i] for i in found) if len(found) - 1 <= MOST_LINES else ()


def _lines(levels: int) -> list[tuple[int, int]]:
    """Both ends of every line that is tried, by the first end, as indices of levels."""
    ends = range(0, levels, EVERY)
    return [(a, b) for a in ends for b in ends if a < b <= a + LONGEST * EVERY]


def _pictures(photos: list[str]) -> list[np.ndarray]:
    found, reasons = [], []
    for file in find_photos(photos):
        try:
            picture = middle(read_photo(file).pixels, SIDE)
        except PhotoError as error:
            reasons.append(str(error))
            continue
        if min(picture.shape[:2]) < LEAST_SIDE:
            reasons.append(f"{file}: smaller than {LEAST_SIDE} pixels")
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


def converged(model: Networks) -> SolverConfig:
    """The solve that others are held against, rtol = atol = 1e-6."""
    return _adaptive(REFERENCE_TOLERANCE, model.config.solver.t_start)


def exact(model: Networks) -> Networks:
    """The same networks in float32."""
    return Networks(model.rae, model.velocity, model.config)


def solved(
    model: Networks, hr: np.ndarray, levels: list[float], solver: SolverConfig | None = None
) -> tuple[np.ndarray, int]:
    """Decoded levels without noise, (T, H, W, 3) uint8, and the evaluations of v that they took.

    solver: another than the checkpoint's.
    """
    z, skips = model.encode(to_tensor(hr))
    made = model.levels(z, levels, skips, solver)
    return np.stack([to_picture(lr)[0] for lr in made.pictures]), made.evaluations


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
        made, taken = solved(model, hr, levels, solver)
        evaluations = max(evaluations, taken)
        difference = largest_difference(made, reference)
        most = max(most, int(difference.max()))
        within += (difference <= 1).mean((1, 2))
        left = len(pictures) - i - 1
        if (within.min() + left) / len(pictures) < SHARE:
            break
    return Tried(solver, evaluations, float(within.min() / (i + 1)), most)
