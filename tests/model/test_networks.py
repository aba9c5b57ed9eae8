"""The autoencoder and the velocity net, at sizes of a few channels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from degflow_pipe.model.blurs import MIDDLE, SIGMAS, blurs, compared, mix
from degflow_pipe.model.config import COMPRESSION, ModelConfig, RAEConfig, VelocityConfig
from degflow_pipe.model.rae import RAE, ROWS, ChannelNorm, Skips, Stage
from degflow_pipe.model.velocity import VelocityNet, time_frequencies

Net = TypeVar("Net", bound=nn.Module)
TINY_RAE = RAEConfig(width=4, latent_channels=2)
BLURS = replace(TINY_RAE, head="blurs")
TINY = VelocityConfig(width=4, multipliers=(1, 2), blocks=1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def awake(network: Net) -> Net:
    """Every parameter drawn anew, so that no gate or last layer is (almost) closed."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    return network.eval().requires_grad_(False)


def tiny_skips(side: int = 16, batch: int = 2) -> Skips:
    d = TINY_RAE.width
    return Skips(
        noise(batch, d, side, side, seed=10),
        noise(batch, d, side // 2, side // 2, seed=11),
        noise(batch, 2 * d, side // 4, side // 4, seed=12),
    )


def changed(skips: Skips, name: str) -> Skips:
    return skips._replace(**{name: getattr(skips, name) + 1.0})


def test_a_fresh_stage_is_the_identity() -> None:
    x = noise(2, 6, 5, 7)
    assert torch.equal(Stage(6)(x), x)


@pytest.mark.parametrize("gate", ["beta", "gamma"])
def test_an_open_gate_lets_a_stage_change_its_channel_only(gate: str) -> None:
    torch.manual_seed(0)
    stage, x = Stage(6), noise(2, 6, 5, 7)
    with torch.no_grad():
        getattr(stage, gate)[0, 2] = 1.0
    moved = (stage(x) != x).flatten(2).any(dim=2)
    assert moved.tolist() == [[False, False, True, False, False, False]] * 2


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("sides", [(3, 5), (1, ROWS)])
def test_channel_norm_is_the_plain_formula(
    sides: tuple[int, int], learning: bool, memory_format: torch.memory_format
) -> None:
    norm = ChannelNorm(6)
    with torch.no_grad():
        norm.weight.copy_(noise(6, seed=1))
        norm.bias.copy_(noise(6, seed=2))
    x = 0.01 * noise(2, 6, *sides) + 2.0  # so small a variance that the eps of 1e-5 shows
    centred = x.double() - x.double().mean(dim=1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(dim=1, keepdim=True) + 1e-5).sqrt()
    wanted = scaled * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
    with torch.set_grad_enabled(learning):
        got = norm(x.contiguous(memory_format=memory_format))
    torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-4)


def test_channel_norm_does_not_depend_on_the_memory_layout() -> None:
    norm, x = ChannelNorm(6), noise(2, 6, 3, 5)
    assert torch.equal(norm(x), norm(x.contiguous(memory_format=torch.channels_last)))


def test_encoder_gives_the_shapes_it_states() -> None:
    z, skips = RAE(TINY_RAE).encoder(noise(2, 3, 16, 24))
    assert z.shape == (2, 2, 2, 3)
    shapes = [None if f is None else f.shape for f in skips]
    assert shapes == [(2, 4, 16, 24), (2, 4, 8, 12), (2, 8, 4, 6), None]


@pytest.mark.parametrize("name", ["f0", "f1", "f2"])
def test_decoder_depends_on_every_skip(name: str) -> None:
    decoder, z, skips = awake(RAE(TINY_RAE)).decoder, noise(2, 2, 2, 2), tiny_skips()
    before, after = decoder(z, skips), decoder(z, changed(skips, name))
    assert before.shape == (2, 3, 16, 16)
    assert (before - after).abs().max() > 1e-3


def test_decoder_depends_on_the_latent() -> None:
    decoder, skips = awake(RAE(TINY_RAE)).decoder, tiny_skips()
    z = noise(2, 2, 2, 2)
    assert (decoder(z, skips) - decoder(z + 1.0, skips)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["f1", "f2", "blurs"])
def test_blurs_decoder_depends_on_its_skips_and_on_the_latent(name: str) -> None:
    decoder = awake(RAE(BLURS)).decoder
    z = noise(2, 2, 2, 2)
    skips = tiny_skips()._replace(blurs=blurs(noise(2, 3, 16, 16, seed=13)))
    before = decoder(z, skips)
    assert before.shape == (2, 3, 16, 16)
    assert (before - decoder(z, changed(skips, name))).abs().max() > 1e-3
    assert (before - decoder(z + 1.0, skips)).abs().max() > 1e-3


def test_blurs_decoder_draws_no_detail_of_its_own() -> None:
    """With every blur of HR flat, what is left is smooth: it comes from half size."""
    decoder = awake(RAE(BLURS)).decoder
    skips = tiny_skips()._replace(blurs=torch.zeros(2, len(SIGMAS), 3, 16, 16))
    spectrum = torch.fft.rfft2(decoder(noise(2, 2, 2, 2), skips)).abs().square().mean((0, 1))
    assert spectrum[8, 8] < 1e-3 * spectrum.mean()


def test_a_mix_may_be_any_one_blur() -> None:
    stack = blurs(noise(2, 3, 24, 16))
    for k in range(len(SIGMAS)):
        weights = torch.zeros(2, len(SIGMAS) - 1, 3, 24, 16)
        if k != MIDDLE:
            weights[:, k - (k > MIDDLE)] = 1.0
        torch.testing.assert_close(mix(*compared(stack), weights.flatten(1, 2)), stack[:, k])


@pytest.mark.parametrize("k", range(1, len(SIGMAS)))
def test_blurs_are_opencvs_gaussians(k: int) -> None:
    picture = np.random.default_rng(0).random((90, 80, 3)).astype(np.float32)
    got = blurs(torch.from_numpy(picture).permute(2, 0, 1)[None])[0, k].permute(1, 2, 0)
    side = 2 * math.ceil(3.5 * SIGMAS[k]) + 1
    wanted = cv2.GaussianBlur(picture, (side, side), SIGMAS[k], borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-5)


def test_autoencoder_joins_the_levels_latent_to_the_hr_skips() -> None:
    rae = awake(RAE(TINY_RAE))
    level, hr = noise(2, 3, 16, 16, seed=3), noise(2, 3, 16, 16, seed=4)
    (z_level, skips_level), (z_hr, skips_hr) = rae.encoder(level), rae.encoder(hr)
    got = rae(level, hr)
    assert torch.equal(got, rae.decoder(z_level, skips_hr))
    assert not torch.allclose(got, rae.decoder(z_hr, skips_hr), atol=1e-4)
    assert not torch.allclose(got, rae.decoder(z_level, skips_level), atol=1e-4)


@pytest.mark.parametrize("multipliers", [(1, 2), (1, 2, 2), (1, 2, 2, 2)])
@pytest.mark.parametrize("condition", ["none", "skips"])
def test_the_smallest_picture_a_model_takes_goes_through(
    multipliers: tuple[int, ...], condition: str
) -> None:
    sizes = VelocityConfig(width=4, multipliers=multipliers, blocks=2, condition=condition)
    config = ModelConfig(rae=TINY_RAE, velocity=sizes)
    assert config.side_multiple == COMPRESSION * 2 ** (len(multipliers) - 1)
    rae, velocity = RAE(config.rae), VelocityNet(config.velocity, config.rae)
    x = noise(1, 3, config.side_multiple, 2 * config.side_multiple)
    z, skips = rae.encoder(x)
    v = velocity(z, torch.tensor([0.5]), velocity.context(skips))
    assert v.shape == z.shape
    assert rae.decoder(v, skips).shape == x.shape


@pytest.mark.parametrize("time_embedding", ["sinusoidal", "smooth"])
@pytest.mark.parametrize("condition", ["none", "skips"])
def test_a_fresh_velocity_is_nearly_zero(time_embedding: str, condition: str) -> None:
    torch.manual_seed(0)
    config = replace(TINY, time_embedding=time_embedding, condition=condition)
    net = VelocityNet(config, TINY_RAE).eval()
    v = net(noise(2, 2, 2, 2), torch.tensor([0.1, 0.9]), net.context(tiny_skips()))
    assert 0 < v.abs().max() < 1e-3


def test_a_conditioned_velocity_asks_for_skips() -> None:
    net = VelocityNet(replace(TINY, condition="skips"), TINY_RAE)
    with pytest.raises(ValueError, match="pass skips="):
        net.context(None)


def test_an_unconditioned_velocity_has_no_context() -> None:
    net = VelocityNet(TINY, TINY_RAE)
    assert net.context(None) is None
    assert net.context(tiny_skips()) is None


@pytest.mark.parametrize("name", ["f0", "f1", "f2"])
def test_a_conditioned_velocity_depends_on_every_skip(name: str) -> None:
    net = awake(VelocityNet(replace(TINY, condition="skips"), TINY_RAE))
    z, t, skips = noise(2, 2, 2, 2), torch.tensor([0.2, 0.7]), tiny_skips()
    v = net(z, t, net.context(skips))
    other = net(z, t, net.context(changed(skips, name)))
    assert (v - other).abs().max() > 1e-3


def test_a_net_with_a_local_view_is_not_moved_by_what_is_far_away() -> None:
    z, t = noise(1, 2, 64, 64), torch.tensor([0.5])
    elsewhere = z.clone()
    elsewhere[..., 48:] += 3.0
    moved = {}
    for view in ("local", "global"):
        net = awake(VelocityNet(replace(TINY, view=view), TINY_RAE))
        difference = (net(z, t) - net(elsewhere, t)).abs().amax((0, 1, 2))
        assert difference[48:].max() > 1e-2
        moved[view] = float(difference[:16].max())
    assert moved["local"] < 1e-6 < 1e-4 < moved["global"]


def test_a_net_with_a_local_view_does_on_a_crop_what_it_does_on_the_picture() -> None:
    net = awake(VelocityNet(replace(TINY, view="local"), TINY_RAE))
    z, t = noise(1, 2, 64, 64), torch.tensor([0.5])
    crop = net(z[..., 8:56, 8:56], t)
    torch.testing.assert_close(crop[..., 16:32, 16:32], net(z, t)[..., 24:40, 24:40])


def test_every_pixel_of_a_skip_reaches_the_context() -> None:
    net = awake(VelocityNet(replace(TINY, condition="skips"), TINY_RAE))
    skips = Skips(*(f.requires_grad_() for f in tiny_skips()[:3]))
    context = net.context(skips)
    assert context is not None
    context.sum().backward()
    for f in skips[:3]:
        assert f.grad is not None
        assert f.grad.ne(0).all()


@pytest.mark.parametrize("time_embedding", ["sinusoidal", "smooth"])
def test_velocity_depends_on_each_samples_own_time(time_embedding: str) -> None:
    net = awake(VelocityNet(replace(TINY, time_embedding=time_embedding), TINY_RAE))
    z = noise(1, 2, 2, 2).expand(2, -1, -1, -1)
    same, apart = net(z, torch.tensor([0.3, 0.3])), net(z, torch.tensor([0.3, 0.8]))
    assert torch.equal(same[0], same[1])
    torch.testing.assert_close(apart[0], same[0])
    assert (apart[0] - apart[1]).abs().max() > 1e-3


@pytest.mark.parametrize("time_embedding", ["sinusoidal", "smooth"])
@pytest.mark.parametrize("t", [-0.05, 1.001, 1.2])
def test_times_a_little_out_of_range_are_accepted(time_embedding: str, t: float) -> None:
    net = awake(VelocityNet(replace(TINY, time_embedding=time_embedding), TINY_RAE))
    assert net(noise(2, 2, 2, 2), torch.full((2,), t)).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [("smooth", math.pi, math.pi / 64), ("sinusoidal", 999.0, 0.0999)],
)
def test_time_frequencies_fall_in_geometric_steps(kind: str, first: float, last: float) -> None:
    frequencies = time_frequencies(kind, 16)
    assert frequencies.shape == (16,)
    assert float(frequencies[0]) == pytest.approx(first, rel=1e-5)
    assert float(frequencies[-1]) == pytest.approx(last, rel=1e-5)
    ratios = frequencies[1:] / frequencies[:-1]
    assert ratios.max() < 1
    torch.testing.assert_close(ratios, ratios[:1].expand(15), rtol=1e-4, atol=0)


def test_dropout_acts_in_training_only() -> None:
    net = awake(VelocityNet(replace(TINY, dropout=0.5), TINY_RAE))
    z, t = noise(2, 2, 2, 2), torch.tensor([0.2, 0.7])
    assert torch.equal(net(z, t), net(z, t))
    net.train()
    assert not torch.equal(net(z, t), net(z, t))


def test_a_mix_of_levels_decodes_the_weighted_sum_of_their_latents() -> None:
    torch.manual_seed(0)
    rae = RAE(RAEConfig(width=4, latent_channels=2)).eval()
    hr, others = torch.rand(2, 3, 32, 32), torch.rand(2, 2, 3, 32, 32)
    weights = torch.tensor([[0.0, 0.0, 1.0], [0.5, 0.75, -0.25]])
    with torch.no_grad():
        got = rae(others, hr, weights)
        z_hr, skips = rae.encoder(hr)
        z = [z_hr, *(rae.encoder(level)[0] for level in others)]
        mixed = 0.5 * z[0][1] + 0.75 * z[1][1] - 0.25 * z[2][1]
        wanted = rae.decoder(torch.stack([z[2][0], mixed]), skips)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
