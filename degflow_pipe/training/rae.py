"""Stage 1: the residual autoencoder learns to rebuild every level from its latent and HR skips."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from degflow_pipe.metrics import psnr
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
        self.levels = [level.name for level in recipe.data.knots]
        self.multiple = recipe.model.side_multiple
        self.train, self.held_out, self.device = train, held_out, device

    def loss(self, rng: np.random.Generator) -> Tensor:
        self.network.train()
        batch = self.settings.batch
        crops = self.train.crops(rng, batch, self.settings.patch).to(self.device)
        level = torch.from_numpy(rng.integers(len(crops), size=batch)).to(self.device)
        x_hr, x_level = crops[0], crops[level, torch.arange(batch, device=self.device)]
        return F.mse_loss(self.network(x_level, x_hr), x_level)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR of each rebuilt level on whole held-out pictures, averaged over scenes."""
        self.network.eval()
        found: dict[str, list[float]] = {name: [] for name in self.levels}
        for scene in self.held_out.scenes:
            pictures = self.held_out.pictures(scene)
            x = [self._model_input(picture) for picture in pictures]
            for name, picture, x_level in zip(self.levels, pictures, x, strict=True):
                y = crop(self.network(x_level, x[0]), picture.shape[:2])
                found[name].append(psnr(to_picture(y.add(1).mul(0.5))[0], picture))
        return {f"psnr_{name}": float(np.mean(values)) for name, values in found.items()}

    def _model_input(self, picture: np.ndarray) -> Tensor:
        return pad(to_tensor(picture).to(self.device).mul(2).sub(1), self.multiple)
