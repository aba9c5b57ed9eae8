"""Small SR networks of one scale, and their training under one fixed budget."""

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


class SmallEnlarger(nn.Module):
    """LR to HR `scale` times as large: what is missing from the enlarged LR comes by pixel shuffle.

    (B, 3, h, w) float in [0, 1] to (B, 3, scale h, scale w).
    """

    def __init__(self, width: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = residual_blocks(width, blocks)
        self.tail = ShuffleTail(width, scale)
        self.to(memory_format=torch.channels_last)

    def forward(self, lr: Tensor) -> Tensor:
        h = self.stem(lr.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = h + block(h)
        return self.tail(h, lr)


class ShuffleTail(nn.Module):
    """Features and a picture of LR's size to SR: the picture by bicubic interpolation, and what the
    features add to it by pixel shuffle.
    """

    def __init__(self, width: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.out = nn.Conv2d(width, 3 * scale**2, 3, padding=1)

    def forward(self, features: Tensor, picture: Tensor) -> Tensor:
        large = F.interpolate(picture, scale_factor=self.scale, mode="bicubic")
        return large + F.pixel_shuffle(self.out(features), self.scale)


Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""A step to its LR and HR crops, (B, h, w, 3) and (B, H, W, 3) uint8."""


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
def restored(network: nn.Module, lr: np.ndarray, multiple: int = 2, scale: int = 1) -> np.ndarray:
    """SR of one LR picture, (h, w, 3) uint8 to (scale h, scale w, 3).

    multiple: of the sides that the network takes.
    """
    x = to_tensor(lr).to(next(network.parameters()).device)
    height, width = lr.shape[:2]
    return to_picture(crop(network(pad(x, multiple)), (scale * height, scale * width)))[0]
