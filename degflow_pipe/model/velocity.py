"""Velocity net v(z, t): an NCSN++ U-Net over latents.

Song et al., Score-Based Generative Modeling through SDEs, ICLR 2021 (NCSN++), without FIR filters;
blocks after BigGAN (Brock et al., ICLR 2019). Name suffixes: b batch, c channels, h height,
w width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degflow_pipe.model.config import COMPRESSION, RAEConfig, VelocityConfig
from degflow_pipe.model.rae import ChannelNorm, Skips

_RESCALE = 1.0 / math.sqrt(2.0)


def time_frequencies(kind: str, count: int) -> Tensor:
    """Angular frequencies, (count,) float32, that t in [0, 1] is multiplied with.

    `sinusoidal`: the published embedding of 999*t, from 999 down to 0.0999 in geometric steps.
    `smooth`: from pi down to pi/64, so that no feature turns more than half a wave over [0, 1].
    """
    # Named, as on the device `meta` torch would import its compiler for this: a second.
    ramp = torch.arange(count, dtype=torch.float32, device="cpu") / max(count - 1, 1)
    if kind == "sinusoidal":
        return 999.0 * torch.exp(-math.log(10_000.0) * ramp)
    return math.pi * torch.exp(-math.log(64.0) * ramp)


def _norm(channels: int, view: str) -> nn.Module:
    if view == "local":
        return ChannelNorm(channels)
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


def _bent(norm: nn.Module, x: Tensor) -> Tensor:
    """SiLU of the norm."""
    if isinstance(norm, ChannelNorm):
        return norm.then(F.silu, x)
    return F.silu(norm(x))


def _small_(conv: nn.Conv2d) -> nn.Conv2d:
    """Shrink a convolution to (almost) zero, so that its block starts as the identity."""
    with torch.no_grad():
        conv.weight.mul_(1e-5)
        if conv.bias is not None:
            conv.bias.zero_()
    return conv


class TimeEmbedding(nn.Module):
    """t (B,) to features (B, 4 * width)."""

    def __init__(self, config: VelocityConfig) -> None:
        super().__init__()
        frequencies = time_frequencies(config.time_embedding, config.width // 2)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.linear0 = nn.Linear(config.width, 4 * config.width)
        self.linear1 = nn.Linear(4 * config.width, 4 * config.width)

    def forward(self, t_b: Tensor) -> Tensor:
        angles = t_b[:, None] * self.get_buffer("frequencies")[None, :]
        features = torch.cat([angles.sin(), angles.cos()], dim=1)
        return self.linear1(F.silu(self.linear0(features)))


class Dropout(nn.Module):
    """Dropout whose mask for part i of n equal parts of a batch is that part of the whole's mask.

    So several processes that share a batch, seeded alike, drop what one process would drop.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.part = (0, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        i, n = self.part
        b = len(x)
        keep = torch.rand(n * b, *x.shape[1:], device=x.device)[i * b : (i + 1) * b] >= self.p
        return x * keep / (1 - self.p)


class Block(nn.Module):
    """BigGAN residual block with the time features added between its convolutions.

    resample: `none`, `up` (nearest) or `down` (2x2 mean), applied to both branches.
    """

    def __init__(
        self, channels: int, out_channels: int, config: VelocityConfig, resample: str
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm0 = _norm(channels, config.view)
        self.conv0 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time = nn.Linear(4 * config.width, out_channels)
        self.norm1 = _norm(out_channels, config.view)
        self.dropout = Dropout(config.dropout)
        self.conv1 = _small_(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        reshaped = channels != out_channels or resample != "none"
        self.shortcut = nn.Conv2d(channels, out_channels, 1) if reshaped else nn.Identity()

    def _resample(self, x: Tensor) -> Tensor:
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        return x

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv0(self._resample(_bent(self.norm0, x)))
        h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.conv1(self.dropout(_bent(self.norm1, h)))
        return (self.shortcut(self._resample(x)) + h) * _RESCALE


class Attention(nn.Module):
    """Single-head self-attention over the pixels of the bottleneck."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels, "global")
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
        with torch.no_grad():
            self.out.weight.mul_(1e-5)
            self.out.bias.zero_()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c)
        mixed = F.scaled_dot_product_attention(
            self.query(tokens), self.key(tokens), self.value(tokens)
        )
        y = self.out(mixed).reshape(b, h, w, c).permute(0, 3, 1, 2)
        return (x + y) * _RESCALE


class SkipContext(nn.Module):
    """HR skips brought to the latent's size: one strided patch convolution for each, summed.

    The stride equals the kernel, so every pixel of the skip is seen once.
    """

    def __init__(self, rae: RAEConfig, out_channels: int) -> None:
        super().__init__()
        self.f0 = nn.Conv2d(rae.width, out_channels, COMPRESSION, COMPRESSION)
        self.f1 = nn.Conv2d(rae.width, out_channels, COMPRESSION // 2, COMPRESSION // 2)
        self.f2 = nn.Conv2d(2 * rae.width, out_channels, COMPRESSION // 4, COMPRESSION // 4)

    def forward(self, skips: Skips) -> Tensor:
        return self.f0(skips.f0) + self.f1(skips.f1) + self.f2(skips.f2)


class VelocityNet(nn.Module):
    """v(z, t), with what it sees of the HR picture prepared once a picture by `context`."""

    def __init__(self, config: VelocityConfig, rae: RAEConfig) -> None:
        super().__init__()
        width = config.width
        self.time = TimeEmbedding(config)
        self.conv_in = nn.Conv2d(rae.latent_channels, width, 3, padding=1)
        self.skip_context = SkipContext(rae, width) if config.condition == "skips" else None

        def block(channels: int, out: int, resample: str = "none") -> Block:
            return Block(channels, out, config, resample)

        self.down = nn.ModuleList()
        channels, kept = width, [width]
        for level, multiplier in enumerate(config.multipliers):
            for _ in range(config.blocks):
                self.down.append(block(channels, width * multiplier))
                channels = width * multiplier
                kept.append(channels)
            if level + 1 < len(config.multipliers):
                self.down.append(block(channels, channels, "down"))
                kept.append(channels)
        attention = [Attention(channels)] if config.view == "global" else []
        self.middle = nn.ModuleList(
            [block(channels, channels), *attention, block(channels, channels)]
        )
        self.up = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(config.multipliers))):
            for _ in range(config.blocks + 1):
                self.up.append(block(channels + kept.pop(), width * multiplier))
                channels = width * multiplier
            if level > 0:
                self.up.append(block(channels, channels, "up"))
        self.norm_out = _norm(channels, config.view)
        self.conv_out = _small_(nn.Conv2d(channels, rae.latent_channels, 3, padding=1))
        self.to(memory_format=torch.channels_last)

    def context(self, skips: Skips | None) -> Tensor | None:
        """What the net sees of the HR picture, (B, width, h, w), or None where it sees z alone.

        Raises ValueError where the net is conditioned on skips and none are given.
        """
        if self.skip_context is None:
            return None
        if skips is None:
            raise ValueError("this velocity is conditioned on the HR skips: pass skips=...")
        return self.skip_context(skips)

    def forward(self, z_bchw: Tensor, t_b: Tensor, context: Tensor | None = None) -> Tensor:
        """Velocity dz/dt.

        z: (B, C, h, w) float, h and w multiples of 8 at the published depth; t: (B,) nominally in
        [0, 1], a little past either end allowed; context: what `context(skips)` returned.
        Returns (B, C, h, w).
        """
        time = self.time(t_b)
        h = self.conv_in(z_bchw.contiguous(memory_format=torch.channels_last))
        if context is not None:
            h = h + context
        kept = [h]
        for module in self.down:
            h = module(h, time)
            kept.append(h)
        for module in self.middle:
            h = module(h, time)
        for module in self.up:
            if module.resample == "none":
                h = torch.cat([h, kept.pop()], dim=1)
            h = module(h, time)
        return self.conv_out(_bent(self.norm_out, h))
