"""Stage 3: velocity and decoder learn together, on the pictures that the solver's path ends in.

The two published stages never meet: the decoder is trained on latents of real LR, which know more
than HR can tell, and the velocity on latents, which weigh what is seen and what is not alike. Here
the ODE is solved from HR's latent as it will be, and its pictures are held against the knots and,
between them, against `intermediate`. Ours, not the paper's.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from degflow_pipe.model.config import SolverConfig
from degflow_pipe.model.networks import Networks
from degflow_pipe.model.ode import integrate
from degflow_pipe.model.rae import RAE
from degflow_pipe.model.velocity import VelocityNet
from degflow_pipe.pairs.intermediate import between_knots, mean_error
from degflow_pipe.pairs.pairs import Pairs
from degflow_pipe.training.lfm import validate_generated
from degflow_pipe.training.recipe import TrainRecipe

DRAWS = 2
"""Levels between the knots that a batch is solved for; each sample is decoded at one level."""


class PathNetworks(nn.Module):
    """Both networks as they are used: HR to the pictures of a path. The encoder stays as it is."""

    def __init__(self, rae: RAE, velocity: VelocityNet, solver: SolverConfig) -> None:
        super().__init__()
        self.rae, self.velocity, self.solver = rae, velocity, solver
        self.rae.encoder.requires_grad_(False)

    def forward(self, x_hr: Tensor, levels: list[float], chosen: Tensor) -> Tensor:
        """x_hr: (B, 3, H, W) in [-1, 1]; levels: T; chosen: (B,), which of them. (B, 3, H, W)."""
        with torch.no_grad():
            z, skips = self.rae.encoder(x_hr)
        context = self.velocity.context(skips)
        path, _ = integrate(lambda z_t, t: self.velocity(z_t, t, context), z, levels, self.solver)
        return self.rae.decoder(path[torch.arange(len(z), device=z.device), chosen], skips)


class JointTrainee:
    """Mean squared error of the path's pictures at the knots and, for some samples, between."""

    name = "joint"

    def __init__(
        self,
        recipe: TrainRecipe,
        rae: RAE,
        velocity: VelocityNet,
        pairs: tuple[Pairs, Pairs],
        device: torch.device,
    ) -> None:
        self.network = PathNetworks(rae, velocity, recipe.model.solver).to(device)
        self.settings = recipe.joint
        self.recipe, self.data = recipe, recipe.data
        self.train, self.held_out = pairs
        self.device = device

    def loss(self, rng: np.random.Generator, part: slice, forward: nn.Module) -> Tensor:
        self.network.train()
        batch = self.settings.batch
        crops = self.train.crops(rng, batch, self.settings.patch, part).to(self.device)
        positions = [knot.t for knot in self.data.knots]
        levels = [*positions[1:], *(rng.uniform(size=DRAWS) * positions[-1])]
        between = (rng.random(batch) < self.settings.between)[part]
        knot = rng.integers(len(positions) - 1, size=batch)[part]
        drawn = rng.integers(DRAWS, size=batch)[part]
        chosen = np.where(between, len(positions) - 1 + drawn, knot)
        targets = torch.stack(
            [
                between_knots(crops[:, i], levels[choice], self.data)
                if between[i]
                else crops[choice + 1, i]
                for i, choice in enumerate(chosen)
            ]
        )
        pictures = forward(crops[0], levels, torch.from_numpy(chosen).to(self.device))
        return mean_error(pictures, targets, between)

    def validate(self, network: nn.Module) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """As in stage 2: generated against real LR on whole held-out pictures."""
        assert isinstance(network, PathNetworks)
        model = Networks(network.rae, network.velocity, self.recipe.model)
        return validate_generated(model, self.held_out, self.data.pair_levels[1:])
