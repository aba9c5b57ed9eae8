"""Key names of the published checkpoints, beside ours.

The authors' two files hold `{"encoder": ..., "decoder": ...}` and `{"model": ...}`; each function
here yields pairs (their key, our key) for networks of the given configuration.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from degflow_pipe.errors import CheckpointError
from degflow_pipe.model.config import VelocityConfig

KeyPair = tuple[str, str]


def _wb(theirs: str, ours: str) -> Iterator[KeyPair]:
    for part in ("weight", "bias"):
        yield f"{theirs}.{part}", f"{ours}.{part}"


def _stage(theirs: str, ours: str) -> Iterator[KeyPair]:
    yield f"{theirs}.beta", f"{ours}.beta"
    yield f"{theirs}.gamma", f"{ours}.gamma"
    for block in (0, 1):
        for i in (0, 1):
            a, b = f"{theirs}.RB{block}", f"{ours}.block{block}"
            yield f"{a}.conv{i}.weight", f"{b}.conv{i}.weight"
            yield from _wb(f"{a}.norm{i}.body", f"{b}.norm{i}")


def encoder_keys() -> Iterator[KeyPair]:
    yield from _wb("stem", "stem")
    for i in range(4):
        yield from _stage(f"EB{i}", f"stage{i}")
        if i > 0:
            yield from _wb(f"EB{i}.down", f"down{i}")
    yield from _wb("conv_out", "to_latent")


def decoder_keys() -> Iterator[KeyPair]:
    """Their stages count from the latent up (DB0), ours by the size they work at (stage3)."""
    yield from _wb("conv_in", "from_latent")
    for i in range(4):
        size = 3 - i
        yield from _stage(f"DB{i}", f"stage{size}")
        if size > 0:
            yield from _wb(f"DB{i}.up.0", f"up{size - 1}.0")
            yield from _wb(f"DB{i}.up.2", f"up{size - 1}.2")
            yield from _wb(f"conv_cat{size - 1}", f"fuse{size - 1}")
    yield from _wb("refine.1", "to_rgb")


def _block(theirs: str, ours: str, reshaped: bool) -> Iterator[KeyPair]:
    yield from _wb(f"{theirs}.GroupNorm_0", f"{ours}.norm0")
    yield from _wb(f"{theirs}.Conv_0", f"{ours}.conv0")
    yield from _wb(f"{theirs}.Dense_0", f"{ours}.time")
    yield from _wb(f"{theirs}.GroupNorm_1", f"{ours}.norm1")
    yield from _wb(f"{theirs}.Conv_1", f"{ours}.conv1")
    if reshaped:
        yield from _wb(f"{theirs}.Conv_2", f"{ours}.shortcut")


def velocity_keys(config: VelocityConfig) -> Iterator[KeyPair]:
    """Their modules stand in one flat list in the order of the forward pass."""
    number = 0

    def module() -> str:
        nonlocal number
        number += 1
        return f"all_modules.{number - 1}"

    yield from _wb(module(), "time.linear0")
    yield from _wb(module(), "time.linear1")
    yield from _wb(module(), "conv_in")
    channels, i = config.width, 0
    for level, multiplier in enumerate(config.multipliers):
        for _ in range(config.blocks):
            out = config.width * multiplier
            yield from _block(module(), f"down.{i}", channels != out)
            channels, i = out, i + 1
        if level + 1 < len(config.multipliers):
            yield from _block(module(), f"down.{i}", True)
            i += 1
    yield from _block(module(), "middle.0", False)
    attention = module()
    yield from _wb(f"{attention}.GroupNorm_0", "middle.1.norm")
    for j, name in enumerate(("query", "key", "value", "out")):
        yield f"{attention}.NIN_{j}.W", f"middle.1.{name}.weight"
        yield f"{attention}.NIN_{j}.b", f"middle.1.{name}.bias"
    yield from _block(module(), "middle.2", False)
    i = 0
    for level in reversed(range(len(config.multipliers))):
        for _ in range(config.blocks + 1):
            yield from _block(module(), f"up.{i}", True)  # the concatenation changes the width
            i += 1
        if level > 0:
            yield from _block(module(), f"up.{i}", True)
            i += 1
    yield from _wb(module(), "norm_out")
    yield from _wb(module(), "conv_out")


def to_ours(theirs: dict[str, Tensor], keys: Iterator[KeyPair]) -> dict[str, Tensor]:
    """Rename a published state dict to ours; their NIN matrices are transposed linear layers.

    Raises CheckpointError naming the first key that is missing.
    """
    ours = {}
    for their_key, our_key in keys:
        if their_key not in theirs:
            raise CheckpointError(f"the published checkpoint lacks the key {their_key}")
        value = theirs[their_key]
        ours[our_key] = value.T.contiguous() if their_key.endswith(".W") else value
    return ours
