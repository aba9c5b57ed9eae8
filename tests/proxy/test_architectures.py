"""SR networks by name: our small one, and spandrel's at a scale of 1."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from degflow_pipe.errors import UsageError
from degflow_pipe.proxy.architectures import Architecture
from degflow_pipe.proxy.budget import Budget

pytest.importorskip("spandrel", reason="spandrel is not installed")
SMALLEST: dict[str, dict[str, Any]] = {
    "RCAN": {"n_resgroups": 1, "n_resblocks": 1, "n_feats": 16},
    "SwinIR": {"embed_dim": 12, "depths": [2], "num_heads": [2]},
    "HAT": {"embed_dim": 60, "depths": [1], "num_heads": [2]},
    "SPAN": {"feature_channels": 8},
}


@pytest.mark.parametrize("name", ["same-size", *SMALLEST])
def test_sr_is_as_large_as_lr_and_all_weights_learn(name: str) -> None:
    architecture = Architecture(name, SMALLEST.get(name, {}))
    torch.manual_seed(0)
    network = architecture.build(Budget())
    assert network.training
    side = 2 * architecture.multiple
    lr = torch.rand(1, 3, side, side + architecture.multiple)
    sr = network(lr)
    assert sr.shape == lr.shape
    before = {key: value.clone() for key, value in network.state_dict().items()}
    torch.optim.SGD(network.parameters(), 0.1).zero_grad()
    sr.sub(lr).square().mean().backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    changed = [k for k, v in network.state_dict().items() if not torch.equal(v, before[k])]
    assert len(changed) > len(before) / 2


def test_weights_are_those_of_the_seed() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        network = Architecture("RCAN", SMALLEST["RCAN"]).build(Budget())
        return torch.cat([p.flatten() for p in network.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("large", {}, "`network` must be same-size, implicit or one of .*SwinIR"),
        ("RCAN", {"feats": 8}, "unexpected keyword argument 'feats'; network_settings are n_resg"),
        (
            *("SwinIR", {"upscale": 2, "upsampler": "pixelshuffle"}),
            "cannot hold upscale: .*`sr_scale`",
        ),
        ("RealCUGAN", {}, "no one network of that name"),
        ("SAFMN", {}, "missing 1 required keyword-only argument: 'dim'"),
    ],
)
def test_what_cannot_be_had_is_refused(name: str, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Architecture(name, settings).build(Budget())
