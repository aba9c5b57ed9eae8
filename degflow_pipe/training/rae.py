"""Stage 1: the residual autoencoder learns to rebuild every level from its latent and HR skips."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degflow_pipe.metrics import mean_psnr, psnr
from degflow_pipe.model.padding import crop, pad
from degflow_pipe.model.rae import RAE
from degflow_pipe.pictures import to_picture, to_tensor
from degflow_pipe.training.pairs import Pairs
from degflow_pipe.training.recipe import StageSettings, TrainRecipe


class RAETrainee:
    """Mean squared error between D(E(x_level).z; E(HR).skips) and the level, drawn at random."""

    name = "rae"

    def __init__(
        self, recipe: TrainRecipe, train: Pairs, held_out: Pairs, device: torch.device
    ) -> None:
        torch.manual_seed(recipe.rae.seed)
        self.network = RAE(recipe.model.rae).to(device)
        self.settings: StageSettings = recipe.rae
        self.levels = [level.name for level in recipe.data.pair_levels]
        self.multiple = recipe.model.side_multiple
        self.train, self.held_out, self.device = train, held_out, device

    def loss(self, rng: np.random.Generator, part: slice, forward: nn.Module) -> Tensor:
        self.network.train()
        batch = self.settings.batch
        crops = self.train.crops(rng, batch, self.settings.patch, part).to(self.device)
        level = torch.from_numpy(rng.integers(len(crops), size=batch)[part]).to(self.device)
        x_hr, x_level = crops[0], crops[level, torch.arange(len(level), device=self.device)]
        return F.mse_loss(forward(x_level, x_hr), x_level)

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
