"""The published procedure, as the paper states it, to measure against (Kim et al., AAAI 2026).

One patch at a time: SciPy's RK45 on the CPU at rtol = atol = 1e-5, each evaluation of v a trip to
the device and back, each level decoded by itself from its latent and the HR skips, one PNG a level.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

# SciPy comes without types; with its stubs installed the mark is unused.
from scipy.integrate import solve_ivp  # type: ignore[import-untyped, unused-ignore]

from degflow_pipe.errors import DegflowError
from degflow_pipe.model.networks import Networks
from degflow_pipe.model.rae import Skips
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.pictures.formats import PictureFormat

T_START = 1e-3
TOLERANCE = 1e-5
PNG = PictureFormat("png", "png", ())
"""OpenCV's own choice of compression."""


@torch.inference_mode()
def published_patch(model: Networks, hr: np.ndarray, levels: list[float], out: Path) -> int:
    """Write a patch's LR at rising levels as PNG; returns the evaluations of v.

    hr: (P, P, 3) uint8, P a multiple of the model's strides. out: a folder that nothing else is in,
    as the files are written plainly. Raises DegflowError where SciPy cannot solve.
    """
    z0, skips = model.encode(to_tensor(hr))
    context = model.velocity.context(Skips(*skips.features))

    def velocity(t: float, flat: np.ndarray) -> np.ndarray:
        z = torch.from_numpy(flat).float().to(model.device).view_as(z0)
        v = model.velocity(z, torch.full((1,), t, device=model.device), context)
        return np.asarray(v.flatten().cpu().double())

    times = [max(t, T_START) for t in levels]
    unique = sorted(set(times))
    found = solve_ivp(
        velocity,
        (T_START, max(unique[-1], 2 * T_START)),
        z0.flatten().cpu().double().numpy(),
        method="RK45",
        t_eval=unique,
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )
    if not found.success:
        raise DegflowError(f"the published procedure failed: {found.message}")
    for i, flat in enumerate(found.y.T[unique.index(t)] for t in times):
        z = torch.from_numpy(flat).float().to(model.device).view_as(z0)
        picture = model.rae.decoder(z, Skips(*skips.features)).clamp(-1, 1).add(1).mul(0.5)
        (out / f"{i:03d}.png").write_bytes(PNG.encode(to_picture(picture)[0]))
    return int(found.nfev)
