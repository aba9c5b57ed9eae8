"""Stage 1: the residual autoencoder learns to rebuild every level from its latent and HR skips."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degflow_pipe.metrics.fidelity import mean_psnr, psnr
from degflow_pipe.model.padding import crop, pad
from degflow_pipe.model.rae import RAE
from degflow_pipe.model.spline import NaturalCubicSpline
from degflow_pipe.pairs.intermediate import between_knots, mean_error
from degflow_pipe.pairs.pairs import Pairs
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.training.recipe import TrainRecipe


class RAETrainee:
    """Mean squared error between D(E(x_level).z; E(HR).skips) and the level, drawn at random.

    With `rae.between`, some samples decode a latent of between the knots instead.
    """

    name = "rae"

    def __init__(
        self, recipe: TrainRecipe, train: Pairs, held_out: Pairs, device: torch.device
    ) -> None:
        torch.manual_seed(recipe.rae.seed)
        self.network = RAE(recipe.model.rae).to(device)
        self.settings = recipe.rae
        self.data = recipe.data
        self.levels = [level.name for level in recipe.data.pair_levels]
        self.multiple = recipe.model.side_multiple
        self.train, self.held_out, self.device = train, held_out, device

    def loss(self, rng: np.random.Generator, part: slice, forward: nn.Module) -> Tensor:
        self.network.train()
        batch = self.settings.batch
        crops = self.train.crops(rng, batch, self.settings.patch, part).to(self.device)
        level = torch.from_numpy(rng.integers(len(crops), size=batch)[part]).to(self.device)
        if self.settings.between:
            t = rng.uniform(size=batch)[part]
            between = rng.random(batch)[part] < self.settings.between
            return self._loss_between(crops, level, t, between, forward)
        x_hr, x_level = crops[0], crops[level, torch.arange(len(level), device=self.device)]
        return F.mse_loss(forward(x_level, x_hr), x_level)

    def _loss_between(
        self, crops: Tensor, level: Tensor, t: np.ndarray, between: np.ndarray, forward: nn.Module
    ) -> Tensor:
        """As the other loss, but at t: (b,) where `between` (b,), a bool, says so."""
        positions = np.array([knot.t for knot in self.data.knots])
        times = np.where(between, t * positions[-1], positions[level.cpu().numpy()])
        knots = torch.eye(len(positions), device=self.device)
        # The spline is linear in its knots: that of unit vectors gives the weight of each.
        spline = NaturalCubicSpline(
            knots[:, None].expand(-1, len(times), -1), torch.from_numpy(positions)
        )
        weights = spline(torch.from_numpy(times)).z
        targets = torch.stack(
            [
                between_knots(crops[:, i], times[i], self.data)
                if between[i]
                else crops[level[i], i]
                for i in range(len(times))
            ]
        )
        return mean_error(forward(crops[1:], crops[0], weights), targets, between)

    @torch.no_grad()
    def validate(self, network: nn.Module) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """PSNR of each rebuilt level on whole held-out pictures, averaged over scenes.

        Held-out levels are rebuilt too. The pictures are the last scene's, real beside rebuilt.
        """
        network.eval()
        found: dict[str, list[float]] = {name: [] for name in self.levels}
        shown = {}
        for scene in self.held_out.scenes:
            pictures = self.held_out.pictures(scene)
            hr = pictures[0]
            assert hr is not None
            x_hr = self._model_input(hr)
            for name, picture in zip(self.levels, pictures, strict=True):
                if picture is None:
                    continue
                y = crop(network(self._model_input(picture), x_hr), hr.shape[:2])
                rebuilt = to_picture(y.add(1).mul(0.5))[0]
                found[name].append(psnr(rebuilt, picture))
                shown[name] = np.concatenate([picture, rebuilt], axis=1)
        return mean_psnr(found), shown

    def _model_input(self, picture: np.ndarray) -> Tensor:
        return pad(to_tensor(picture).to(self.device).mul(2).sub(1), self.multiple)
