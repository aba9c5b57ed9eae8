"""A small SR network for any scale: a local implicit function over the LR's features.

Chen, Liu, Wang: Learning Continuous Image Representation with Local Implicit Image Function, CVPR
2021, with a small encoder, without feature unfolding, and with what is missing from the enlarged LR
as its output.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.progress import Task
from degflow_pipe.proxy.budget import Budget
from degflow_pipe.proxy.network import fit, residual_blocks

HIDDEN = 64
"""Width of the implicit function."""
AT_ONCE = 65536
"""HR pixels that are asked for at once when a whole picture is made."""

Crops = tuple[np.ndarray, Tensor, Tensor, Tensor]
"""LR (B, h, w, 3) uint8; coord (B, n, 2), cell (B, n, 2) and rgb (B, n, 3), see `Queries`."""


class ImplicitSR(nn.Module):
    """LR (B, 3, h, w) in [0, 1] and n places to their colours: see `forward`."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = residual_blocks(width, blocks)
        self.ask = nn.Sequential(
            nn.Linear(width + 4, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 3),
        )
        self.to(memory_format=torch.channels_last)

    def features(self, lr: Tensor) -> Tensor:
        """(B, width, h, w), the same for all places of a picture."""
        h = self.stem(lr.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = h + block(h)
        return h

    def colours(self, lr: Tensor, features: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """(B, n, 3) at places coord with pixels of size cell, both (B, n, 2), y and x in [-1, 1].

        Each of the four LR pixels around a place answers; the nearer one has more weight, the area
        of the rectangle between the place and the pixel opposite.
        """
        size = torch.tensor(lr.shape[-2:], device=lr.device)
        # In LR pixels, whose middles lie at whole numbers.
        place = (coord + 1) / 2 * size - 0.5
        low = place.floor()
        part = place - low
        b, n, _ = coord.shape
        flat = features.flatten(2)
        answers, weights = [], []
        for dy in (0, 1):
            for dx in (0, 1):
                step = torch.tensor([dy, dx], device=lr.device)
                near = torch.minimum((low + step).clamp(min=0), size - 1)
                index = (near[..., 0] * size[1] + near[..., 1]).long()
                feature = flat.gather(2, index[:, None].expand(b, flat.shape[1], n)).movedim(1, 2)
                answers.append(self.ask(torch.cat([feature, place - near, cell * size], dim=-1)))
                weights.append((1 - (part - step).abs()).prod(-1, keepdim=True))
        base = F.grid_sample(
            lr, coord.flip(-1)[:, None], mode="bilinear", padding_mode="border", align_corners=False
        )
        missing = sum(a * w for a, w in zip(answers, weights, strict=True))
        return base[:, :, 0].movedim(1, 2) + missing

    def forward(self, lr: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        return self.colours(lr, self.features(lr), coord, cell)


def train_implicit(
    draw: Callable[[int], Crops], budget: Budget, seed: int, device: torch.device, task: Task
) -> ImplicitSR:
    """L1 loss, from weights that `seed` draws."""
    torch.manual_seed(seed)
    network = ImplicitSR(budget.width, budget.blocks).to(device)

    def loss_of(step: int) -> Tensor:
        lr, *asked = draw(step)
        coord, cell, rgb = (part.to(device) for part in asked)
        return F.l1_loss(network(to_tensor(lr).to(device), coord, cell), rgb)

    return fit(network, loss_of, budget, task)


@torch.inference_mode()
def enlarged(network: ImplicitSR, lr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """SR of one LR picture (h, w, 3) uint8 at a size of (height, width) pixels."""
    x = to_tensor(lr).to(next(network.parameters()).device)
    features = network.features(x)
    height, width = size
    y, x_ = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    coord = torch.stack(
        torch.meshgrid((2 * y + 1) / height - 1, (2 * x_ + 1) / width - 1, indexing="ij"), dim=-1
    ).view(1, -1, 2)
    cell = torch.tensor([2 / height, 2 / width], device=x.device).expand_as(coord)
    parts = [
        network.colours(x, features, coord[:, i : i + AT_ONCE], cell[:, i : i + AT_ONCE])
        for i in range(0, height * width, AT_ONCE)
    ]
    return to_picture(torch.cat(parts, dim=1).view(1, height, width, 3).movedim(-1, 1))[0]
