"""Our networks compute what the published architecture computes, from its own key names.

The vectors lie in shared/reference beside the checkout; tests that need them are skipped elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchdiffeq import odeint

from degflow_pipe.errors import CheckpointError
from degflow_pipe.model.config import PRESETS, RAEConfig, VelocityConfig
from degflow_pipe.model.published import decoder_keys, encoder_keys, to_ours, velocity_keys
from degflow_pipe.model.rae import RAE, Skips
from degflow_pipe.model.spline import NaturalCubicSpline
from degflow_pipe.model.velocity import VelocityNet

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"
SMALL_RAE = RAEConfig(width=8, latent_channels=4)
SMALL_VELOCITY = VelocityConfig(width=16, blocks=1)
UNMAPPED = {"sigmas", "t_params"}
"""What the published files hold beside weights: a noise schedule and the levels' learned t."""


def reference_file(name: str) -> Path:
    path = REFERENCE / name
    if not path.is_file():
        pytest.skip(f"the reference vectors are not here: no file {path}")
    return path


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Largest difference over the wanted tensor's largest magnitude."""
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max() / wanted.abs().max())


def part(vectors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in vectors.items() if k.startswith(prefix)}


class Networks(NamedTuple):
    rae: RAE
    velocity: VelocityNet


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    return load_file(reference_file("published_arch_small.safetensors"))


@pytest.fixture(scope="module")
def networks(vectors: dict[str, Tensor]) -> Networks:
    rae, velocity = RAE(SMALL_RAE).eval(), VelocityNet(SMALL_VELOCITY, SMALL_RAE).eval()
    encoder, decoder = part(vectors, "rae.encoder."), part(vectors, "rae.decoder.")
    flow = part(vectors, "flow.model.")
    rae.encoder.load_state_dict(to_ours(encoder, encoder_keys()))
    rae.decoder.load_state_dict(to_ours(decoder, decoder_keys()))
    velocity.load_state_dict(to_ours(flow, velocity_keys(SMALL_VELOCITY)))
    return Networks(rae.requires_grad_(False), velocity.requires_grad_(False))


def test_encoder_gives_the_reference_latent_and_skips(
    vectors: dict[str, Tensor], networks: Networks
) -> None:
    z, skips = networks.rae.encoder(vectors["x"])
    assert relative_error(z, vectors["z"]) < 1e-4
    assert skips.blurs is None
    for name, skip in zip(("f0", "f1", "f2"), skips, strict=False):
        assert relative_error(skip, vectors[name]) < 1e-4, name


def test_decoder_gives_the_reference_picture(
    vectors: dict[str, Tensor], networks: Networks
) -> None:
    skips = Skips(vectors["f0"], vectors["f1"], vectors["f2"])
    assert relative_error(networks.rae.decoder(vectors["z"], skips), vectors["y"]) < 1e-4


def test_velocity_gives_the_reference_velocity(
    vectors: dict[str, Tensor], networks: Networks
) -> None:
    assert relative_error(networks.velocity(vectors["z"], vectors["t"]), vectors["v"]) < 1e-4


@pytest.mark.parametrize("name", ["z", "d1", "d2", "d3"])
def test_spline_gives_the_reference_path_and_derivatives(
    vectors: dict[str, Tensor], name: str
) -> None:
    spline = NaturalCubicSpline(vectors["spline_points"], vectors["spline_pos"])
    point = spline(vectors["t"])
    assert relative_error(getattr(point, name), vectors[f"spline_{name}"]) < 1e-5


@pytest.mark.filterwarnings("ignore:The following arguments have no effect:UserWarning")
def test_published_solve_and_decoding_are_reproduced(
    vectors: dict[str, Tensor], networks: Networks
) -> None:
    """The published inference: SciPy's RK45 from 1e-3, both samples in one solve, then decoding."""
    z0, skips = networks.rae.encoder(vectors["x"])
    start = torch.tensor([1e-3], dtype=torch.float64)
    trajectory = odeint(
        lambda t, z: networks.velocity(z, t.to(z.dtype).expand(len(z))),
        z0,
        torch.cat([start, vectors["t_eval"]]),
        method="scipy_solver",
        rtol=1e-5,
        atol=1e-5,
        options={"solver": "RK45"},
    )[1:]
    assert relative_error(trajectory, vectors["traj"]) < 1e-4
    lr = torch.stack([networks.rae.decoder(trajectory[i], skips).clamp(-1, 1) for i in (9, 19, 29)])
    assert relative_error(lr, vectors["lr_t_idx_9_19_29"]) < 1e-4


@pytest.mark.parametrize("network", ["encoder", "decoder", "model"])
def test_every_published_key_and_shape_has_its_place(network: str) -> None:
    files = json.loads(reference_file("published_checkpoint_keys.json").read_text())
    listed = (files["flow"] if network == "model" else files["autoencoder"])[network]
    assert len(listed) > 50
    preset = PRESETS["published"]
    with torch.device("meta"):
        theirs = {key: torch.empty(shape) for key, shape in listed.items()}
        if network == "model":
            pairs = list(velocity_keys(preset.velocity))
            ours = VelocityNet(preset.velocity, preset.rae).state_dict()
        else:
            pairs = list(encoder_keys() if network == "encoder" else decoder_keys())
            ours = getattr(RAE(preset.rae), network).state_dict()
        renamed = to_ours(theirs, iter(pairs))
    assert set(theirs) - {their_key for their_key, _ in pairs} <= UNMAPPED
    assert len(renamed) == len(pairs), "two published keys went to one of ours"
    assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in ours.items()}


def test_published_files_hold_nothing_else() -> None:
    files = json.loads(reference_file("published_checkpoint_keys.json").read_text())
    assert set(files["autoencoder"]) - UNMAPPED == {"encoder", "decoder"}
    assert set(files["flow"]) == {"model"}


def test_linear_layers_stored_as_matrices_are_transposed() -> None:
    matrix = torch.arange(6.0).view(2, 3)
    theirs = {"NIN_0.W": matrix, "Dense_0.weight": matrix}
    ours = to_ours(theirs, iter([("NIN_0.W", "query.weight"), ("Dense_0.weight", "time.weight")]))
    assert torch.equal(ours["query.weight"], matrix.T)
    assert torch.equal(ours["time.weight"], matrix)


def test_missing_published_key_is_named() -> None:
    theirs = {key: torch.zeros(1, 1) for key, _ in encoder_keys() if key != "EB2.down.bias"}
    with pytest.raises(CheckpointError, match=r"EB2\.down\.bias"):
        to_ours(theirs, encoder_keys())
