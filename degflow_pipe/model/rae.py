"""Residual autoencoder (RAE): a picture to a latent and back, with skips from the HR picture.

Kim et al., AAAI 2026, stage 1. Name suffixes: b batch, c channels, h height, w width.
Pictures here are RGB in [-1, 1]; the public face, `checkpoint.degflow`, speaks [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degflow_pipe.model.blurs import SIGMAS, blurs, compared, mix
from degflow_pipe.model.config import MIXING, RAEConfig
from degflow_pipe.model.light import in_light_of
from degflow_pipe.model.planes import enlarged

EPS = 1e-5
NARROW = 16
"""Channels up to which `_normed` is faster."""
ROWS = 16384
"""Pixels that `_normed` takes at once, so that they stay in the cache."""


class Skips(NamedTuple):
    """Encoder features that the decoder reads, always those of the HR picture.

    f0: (B, D, H, W), f1: (B, D, H/2, W/2), f2: (B, 2D, H/4, W/4), float32. blurs:
    (B, K, 3, H, W), HR's Gaussian blurs, for the heads that mix them; None for the other.
    """

    f0: Tensor
    f1: Tensor
    f2: Tensor
    blurs: Tensor | None = None


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel (biased variance, eps 1e-5, affine)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_bchw: Tensor) -> Tensor:
        return self.then(None, x_bchw)

    def then(self, bend: Callable[[Tensor], Tensor] | None, x_bchw: Tensor) -> Tensor:
        """The norm, and after it a function of single values."""
        # On channels_last memory both permutes are views: the norm runs without a copy, and what
        # follows on memory that is plain to it, which takes two thirds of the time.
        x_bhwc = x_bchw.permute(0, 2, 3, 1)
        plain = x_bchw.device.type == "cpu" and x_bchw.dtype == torch.float32
        plain = plain and not torch.is_autocast_enabled("cpu")  # else its products are bfloat16
        if plain and len(self.weight) <= NARROW and not torch.is_grad_enabled():
            return _normed(x_bhwc, self.weight, self.bias, bend).permute(0, 3, 1, 2)
        y_bhwc = F.layer_norm(x_bhwc, self.weight.shape, self.weight, self.bias, eps=EPS)
        return (y_bhwc if bend is None else bend(y_bhwc)).permute(0, 3, 1, 2)


def _normed(
    x: Tensor, weight: Tensor, bias: Tensor, bend: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """`F.layer_norm` of (..., C) and what follows it, for few channels, by sums of products.

    torch's own takes a call for each pixel, so that 16 channels take it twice the time of this.
    """
    rows, mean = x.reshape(-1, len(weight)), x.new_full((len(weight), 1), 1 / len(weight))
    found = torch.empty_like(rows)
    for some, out in zip(rows.split(ROWS), found.split(ROWS), strict=True):
        torch.sub(some, some @ mean, out=out)
        out.mul_((out.square() @ mean).add_(EPS).rsqrt_())
        torch.addcmul(bias, out, weight, out=out)
        if bend is not None:
            out.copy_(bend(out))
    return found.view(x.shape)


class ResidualBlock(nn.Module):
    """x + conv1(GELU(norm1(conv0(GELU(norm0(x)))))), both convolutions 3x3 without bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm0 = ChannelNorm(channels)
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv0(self.norm0.then(F.gelu, x))
        return x + self.conv1(self.norm1.then(F.gelu, h))


class Stage(nn.Module):
    """Two residual blocks, each behind a learned per-channel gate that starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block0 = ResidualBlock(channels)
        self.block1 = ResidualBlock(channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.beta * self.block0(x)
        return x + self.gamma * self.block1(x)


class Upsample(nn.Sequential):
    """1x1 convolution to four times the channels, PixelShuffle(2), 1x1 convolution.

    Its weights; `Fusion.fused` computes it.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, 4 * channels, 1),
            nn.PixelShuffle(2),
            nn.Conv2d(channels, out_channels, 1),
        )

    @property
    def first(self) -> nn.Conv2d:
        return cast(nn.Conv2d, self[0])

    @property
    def last(self) -> nn.Conv2d:
        return cast(nn.Conv2d, self[2])


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


class Encoder(nn.Module):
    """Picture (B, 3, H, W) in [-1, 1], H and W multiples of 8, to latent and skips."""

    def __init__(self, config: RAEConfig) -> None:
        super().__init__()
        d = config.width
        self.blurs = config.head in MIXING
        self.stem = nn.Conv2d(3, d, 3, padding=1)
        self.stage0 = Stage(d)
        self.down1 = nn.Conv2d(d, d, 3, stride=2, padding=1)
        self.stage1 = Stage(d)
        self.down2 = nn.Conv2d(d, 2 * d, 3, stride=2, padding=1)
        self.stage2 = Stage(2 * d)
        self.down3 = nn.Conv2d(2 * d, 4 * d, 3, stride=2, padding=1)
        self.stage3 = Stage(4 * d)
        self.to_latent = nn.Conv2d(4 * d, config.latent_channels, 3, padding=1)

    def forward(self, x_bchw: Tensor) -> tuple[Tensor, Skips]:
        skips = self.skips(x_bchw)
        return self._deepest(skips.f2), skips

    def latent(self, x_bchw: Tensor) -> Tensor:
        """The latent alone, (B, C, H/8, W/8), of a picture whose skips nothing reads."""
        return self._deepest(self._features(x_bchw)[2])

    def skips(self, x_bchw: Tensor) -> Skips:
        """The skips alone, of a picture whose latent is known."""
        return Skips(*self._features(x_bchw), blurs(x_bchw) if self.blurs else None)

    def _features(self, x_bchw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f0 = self.stage0(self.stem(x_bchw.contiguous(memory_format=torch.channels_last)))
        f1 = self.stage1(self.down1(f0))
        return f0, f1, self.stage2(self.down2(f1))

    def _deepest(self, f2: Tensor) -> Tensor:
        return self.to_latent(self.stage3(self.down3(f2)))


class Fusion(nn.Conv2d):
    """1x1 convolution of decoder features and an HR skip, side by side, C channels each, to C.

    The skip's half is the same at every level, so it can be computed apart, once a picture.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(2 * channels, channels, 1)

    def of_skip(self, skip: Tensor) -> Tensor:
        """What the skip adds, bias included."""
        return F.conv2d(skip, self.weight[:, self.out_channels :], self.bias)

    def fused(self, up: Upsample, h: Tensor, of_skip: Tensor) -> Tensor:
        """The whole convolution of up(h), given what `of_skip` returned.

        Nothing bends between the three convolutions, so one of their product does, before its
        channels are spread over four pixels: two passes over the large picture less.
        """
        first, last = up.first, up.last
        # In float32 whatever the weights are, but under autocast, as they are rounded once more.
        after = self.weight[:, : self.out_channels, 0, 0].float() @ last.weight[:, :, 0, 0].float()
        before = torch.cat([first.weight[:, :, 0, 0], _bias(first)[:, None]], dim=1).float()
        # Channels of one pixel lie side by side, as they do in memory.
        product = after @ before.unflatten(0, (-1, 4)).transpose(0, 1)
        weight, bias = product.flatten(0, 1).split((first.in_channels, 1), dim=1)
        constant = self.weight[:, : self.out_channels, 0, 0].float() @ _bias(last).float()
        bias = bias[:, 0] + constant.repeat(4)
        spread = F.conv2d(h, weight[:, :, None, None].to(h.dtype), bias.to(h.dtype))
        b, _, height, width = spread.shape
        pixels = spread.permute(0, 2, 3, 1).reshape(b, height, width, 2, 2, self.out_channels)
        large = pixels.transpose(2, 3).reshape(b, 2 * height, 2 * width, self.out_channels)
        return large.permute(0, 3, 1, 2) + of_skip


class _Trunk(nn.Module):
    """What both decoders begin with: latent and HR skips to features at half size."""

    def __init__(self, config: RAEConfig) -> None:
        super().__init__()
        d = config.width
        self.from_latent = nn.Conv2d(config.latent_channels, 4 * d, 3, padding=1)
        self.stage3 = Stage(4 * d)
        self.up2 = Upsample(4 * d, 2 * d)
        self.fuse2 = Fusion(2 * d)
        self.stage2 = Stage(2 * d)
        self.up1 = Upsample(2 * d, d)
        self.fuse1 = Fusion(d)
        self.stage1 = Stage(d)

    def half_size(self, z_bchw: Tensor, of_f2: Tensor, of_f1: Tensor) -> Tensor:
        z_bchw = z_bchw.to(self.from_latent.weight.dtype)
        h = self.from_latent(z_bchw.contiguous(memory_format=torch.channels_last))
        h = self.stage2(self.fuse2.fused(self.up2, self.stage3(h), of_f2))
        return self.stage1(self.fuse1.fused(self.up1, h, of_f1))


class Decoder(_Trunk):
    """Latent (B, C, H/8, W/8) and HR skips to a picture (B, 3, H, W), nominally in [-1, 1]."""

    def __init__(self, config: RAEConfig) -> None:
        super().__init__(config)
        d = config.width
        self.up0 = Upsample(d, d)
        self.fuse0 = Fusion(d)
        self.stage0 = Stage(d)
        self.to_rgb = nn.Conv2d(d, 3, 3, padding=1)

    def prepare(self, skips: Skips, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
        """All that is the same at every level: what the skips add to the three fusions.

        dtype: of the weights that are to decode.
        """
        of_f2, of_f1 = self.fuse2.of_skip(skips.f2), self.fuse1.of_skip(skips.f1)
        return of_f2.to(dtype), of_f1.to(dtype), self.fuse0.of_skip(skips.f0).to(dtype)

    def decode(self, z_bchw: Tensor, of_f2: Tensor, of_f1: Tensor, of_f0: Tensor) -> Tensor:
        """A level's picture, of its latent and what `prepare` gave."""
        h = self.half_size(z_bchw, of_f2, of_f1)
        h = self.stage0(self.fuse0.fused(self.up0, h, of_f0))
        return self.to_rgb(F.gelu(h)).float()

    def forward(self, z_bchw: Tensor, skips: Skips) -> Tensor:
        return self.decode(z_bchw, *self.prepare(skips))


class BlurDecoder(_Trunk):
    """As `Decoder`, but the picture is a mix of HR's Gaussian blurs and a smooth rest.

    The weights and the rest are computed at half size and enlarged by straight lines: see `blurs`.
    The head `lens` takes out of the picture what would be another light than HR's: see `light`.
    """

    def __init__(self, config: RAEConfig) -> None:
        super().__init__(config)
        self.keeps_light = config.head == "lens"
        self.stage0 = Stage(config.width)
        self.to_mix = nn.Conv2d(config.width, 3 * len(SIGMAS), 3, padding=1)

    def prepare(self, skips: Skips, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
        """What the skips add to both fusions, and the blurs as `mix` wants them, in float32.

        dtype: of the weights that are to decode.
        """
        assert skips.blurs is not None
        of_f2, of_f1 = self.fuse2.of_skip(skips.f2), self.fuse1.of_skip(skips.f1)
        return of_f2.to(dtype), of_f1.to(dtype), *compared(skips.blurs)

    def decode(
        self, z_bchw: Tensor, of_f2: Tensor, of_f1: Tensor, middle: Tensor, others: Tensor
    ) -> Tensor:
        """A level's picture, of its latent and what `prepare` gave."""
        h = self.stage0(self.half_size(z_bchw, of_f2, of_f1))
        # The blurs lie plane by plane, so the weights are to lie so too.
        weights = self.to_mix(F.gelu(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)).float()
        weights = enlarged(weights.contiguous(memory_format=torch.contiguous_format), 2)
        mixed = mix(middle + weights[:, :3], others, weights[:, 3:])
        return in_light_of(middle, mixed) if self.keeps_light else mixed

    def forward(self, z_bchw: Tensor, skips: Skips) -> Tensor:
        return self.decode(z_bchw, *self.prepare(skips))


class RAE(nn.Module):
    """The residual autoencoder: `encoder` and `decoder` under one roof, channels_last weights."""

    def __init__(self, config: RAEConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = BlurDecoder(config) if config.head in MIXING else Decoder(config)
        self.to(memory_format=torch.channels_last)

    def forward(self, x_level: Tensor, x_hr: Tensor, weights: Tensor | None = None) -> Tensor:
        """Rebuild the picture of a level from its latent and the HR skips: D(E(x_level).z; E(HR)).

        x_level, x_hr: (B, 3, H, W) float in [-1, 1]. Returns (B, 3, H, W).
        weights: (B, 1 + K), for a latent between levels: that of HR and those of K others, x_level
        being (K, B, 3, H, W), are summed by these weights before they are decoded.
        """
        z_hr, skips = self.encoder(x_hr)
        if weights is None:
            return self.decoder(self.encoder.latent(x_level), skips)
        z_others = self.encoder.latent(x_level.flatten(0, 1))
        z_levels = torch.cat([z_hr[None], z_others.unflatten(0, x_level.shape[:2])])
        return self.decoder(torch.einsum("bk,kbchw->bchw", weights, z_levels), skips)
