"""A small SR network of the same size in and out, and its training under one fixed budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degflow_pipe.model.padding import crop, pad
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.progress import Task
from degflow_pipe.proxy.budget import Budget


def residual_blocks(width: int, count: int) -> nn.ModuleList:
    """What is added to the features, block by block."""
    return nn.ModuleList(
        nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        for _ in range(count)
    )


class SmallSR(nn.Module):
    """LR to HR of one pixel size: what is missing is computed at half size and added.

    (B, 3, H, W) float in [0, 1], H and W even, in and out.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(12, width, 3, padding=1)
        self.blocks = residual_blocks(width, blocks)
        self.out = nn.Conv2d(width, 12, 3, padding=1)
        self.to(memory_format=torch.channels_last)

    def forward(self, lr: Tensor) -> Tensor:
        h = self.stem(F.pixel_unshuffle(lr, 2).contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = h + block(h)
        return lr + F.pixel_shuffle(self.out(h), 2)


Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""A step to its LR and HR crops, both (B, H, W, 3) uint8."""


Network = TypeVar("Network", bound=nn.Module)


def fit(network: Network, loss_of: Callable[[int], Tensor], budget: Budget, task: Task) -> Network:
    """Adam on the loss of each of budget.steps steps; what is returned is for use."""
    optimizer = torch.optim.Adam(network.parameters(), lr=budget.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.steps)
    for step in range(budget.steps):
        loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        task.advance()
    return network.eval()


def train(
    build: Callable[[], Network],
    draw: Draw,
    budget: Budget,
    seed: int,
    device: torch.device,
    task: Task,
) -> Network:
    """L1 loss, from the weights that `build` draws by `seed`."""
    torch.manual_seed(seed)
    network = build().to(device)

    def loss_of(step: int) -> Tensor:
        lr, hr = (to_tensor(crops).to(device) for crops in draw(step))
        return F.l1_loss(network(lr), hr)

    return fit(network, loss_of, budget, task)


@torch.inference_mode()
def restored(network: nn.Module, lr: np.ndarray, multiple: int = 2) -> np.ndarray:
    """SR of one LR picture, both (H, W, 3) uint8; multiple: of the sides that the network takes."""
    x = to_tensor(lr).to(next(network.parameters()).device)
    return to_picture(crop(network(pad(x, multiple)), lr.shape[:2]))[0]
