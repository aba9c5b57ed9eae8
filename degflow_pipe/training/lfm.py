"""Stage 2: the velocity learns the path of the latents, the autoencoder frozen.

Kim et al., AAAI 2026, stage 2, with the options that `LFMSettings` names.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degflow_pipe.metrics.fidelity import mean_psnr, psnr
from degflow_pipe.model.networks import Networks
from degflow_pipe.model.rae import RAE, Skips
from degflow_pipe.model.spline import NaturalCubicSpline
from degflow_pipe.model.velocity import VelocityNet
from degflow_pipe.pairs.pairs import Pairs
from degflow_pipe.pairs.settings import PairLevel
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.training.losses import perceptual_loss
from degflow_pipe.training.recipe import TrainRecipe

T_MARGIN = 1e-5
"""t is drawn from U(T_MARGIN, 1 - T_MARGIN)."""


class LFMTrainee:
    """MSE of v against z'_t, with the perceptual and endpoint losses that the recipe asks for."""

    name = "lfm"

    def __init__(
        self, recipe: TrainRecipe, rae: RAE, train: Pairs, held_out: Pairs, device: torch.device
    ) -> None:
        torch.manual_seed(recipe.lfm.seed)
        self.network = VelocityNet(recipe.model.velocity, recipe.model.rae).to(device)
        self.rae = rae.to(device).eval().requires_grad_(False)
        self.settings = recipe.lfm
        self.recipe = recipe
        self.knots = recipe.data.knots
        self.levels = recipe.data.pair_levels[1:]
        self.train, self.held_out, self.device = train, held_out, device
        self.positions = torch.tensor([level.t for level in self.knots], device=device)
        self.perceptual = perceptual_loss(recipe.lfm.perceptual, device)
        self.latent_variance = 1.0
        if recipe.lfm.latent_loss == "normalized":
            self.latent_variance = self._measure_variance()

    @torch.no_grad()
    def _latents(self, crops: Tensor) -> tuple[Tensor, Skips]:
        """Knots (K, B, C, h, w) of crops (K, B, 3, H, W), and the skips of HR."""
        z_hr, skips = self.rae.encoder(crops[0])
        others = [self.rae.encoder.latent(level) for level in crops[1:]]
        return torch.stack([z_hr, *others]), skips

    def _draw_t(self, rng: np.random.Generator, part: slice = slice(None)) -> Tensor:
        t = rng.uniform(T_MARGIN, 1 - T_MARGIN, self.settings.batch)[part]
        return torch.from_numpy(t).float().to(self.device)

    def _measure_variance(self) -> float:
        """Variance of z'_t over 16 batches of a generator of their own."""
        rng = np.random.default_rng([self.settings.seed, 0x5EED])
        slopes = []
        for _ in range(16):
            crops = self.train.crops(rng, self.settings.batch, self.settings.patch)
            knots, _ = self._latents(crops.to(self.device))
            slopes.append(NaturalCubicSpline(knots, self.positions)(self._draw_t(rng)).d1)
        return float(torch.cat(slopes).var())

    def loss(self, rng: np.random.Generator, part: slice, forward: nn.Module) -> Tensor:
        self.network.train()
        s = self.settings
        crops = self.train.crops(rng, s.batch, s.patch, part).to(self.device)
        knots, skips = self._latents(crops)
        spline = NaturalCubicSpline(knots, self.positions)
        t = self._draw_t(rng, part)
        z, d1, d2, d3 = spline(t)
        v = forward(z, t, self.network.context(skips))
        loss = F.mse_loss(v, d1) / self.latent_variance
        if self.perceptual is None and s.endpoint == "none":
            return loss
        # Third-order Taylor step to the next knot; the gradient flows through v alone.
        following = spline.next_knot(t)
        dt = (self.positions[following] - t).view(-1, 1, 1, 1)
        z_next = z + v * dt + d2 * dt**2 / 2 + d3 * dt**3 / 6
        picture = self.rae.decoder(z_next, skips)
        target = crops[following, torch.arange(len(t), device=self.device)]
        if self.perceptual is not None:
            loss = loss + s.perceptual_weight * self.perceptual(picture, target)
        if s.endpoint == "l1":
            loss = loss + s.endpoint_weight * F.l1_loss(picture, target)
        return loss

    def validate(self, network: nn.Module) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """PSNR of generated against real LR at each level, whole held-out pictures, scene mean.

        Held-out levels are generated too. The pictures are the last scene's, real beside generated.
        """
        assert isinstance(network, VelocityNet)
        model = Networks(self.rae, network, self.recipe.model)
        return validate_generated(model, self.held_out, self.levels)


def validate_generated(
    model: Networks, held_out: Pairs, levels: list[PairLevel]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """PSNR of generated against real LR at `levels`, and the last scene's real beside generated."""
    found: dict[str, list[float]] = {level.name: [] for level in levels}
    shown = {}
    for scene in held_out.scenes:
        hr, *others = held_out.pictures(scene)
        assert hr is not None
        generated = model.expected(to_tensor(hr), [level.t for level in levels])[0]
        for level, lr, real in zip(levels, generated, others, strict=True):
            if real is not None:
                found[level.name].append(psnr(to_picture(lr), real))
                shown[level.name] = np.concatenate([real, to_picture(lr)], axis=1)
    return mean_psnr(found), shown
