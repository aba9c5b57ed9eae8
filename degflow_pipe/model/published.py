"""Key names of the published checkpoints, beside ours, and sizes read from their shapes.

The authors' two files hold the state dicts `encoder` and `decoder`, and `model`; each `*_keys`
function yields pairs (their key, our key) for networks of the given configuration.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from degflow_pipe.errors import CheckpointError, UsageError
from degflow_pipe.model.config import ModelConfig, RAEConfig, VelocityConfig
from degflow_pipe.model.rae import RAE
from degflow_pipe.model.velocity import VelocityNet

KeyPair = tuple[str, str]
Shapes = dict[str, tuple[int, ...]]
StateDict = dict[str, Tensor]

SIGMAS = "sigmas"
SIGMAS_SHAPE = (1000,)
"""A buffer of NCSN++ beside its weights, a noise schedule that v never reads; ours has none."""

_COMPILED = "_orig_mod"
"""What torch.compile puts before the keys of a module."""


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


def part_keys(config: ModelConfig) -> dict[str, list[KeyPair]]:
    """Pairs for each of their state dicts; our keys are those of a checkpoint folder."""
    parts = {
        "encoder": (encoder_keys(), "rae.encoder"),
        "decoder": (decoder_keys(), "rae.decoder"),
        "model": (velocity_keys(config.velocity), "velocity"),
    }
    return {
        part: [(theirs, f"{prefix}.{ours}") for theirs, ours in keys]
        for part, (keys, prefix) in parts.items()
    }


def our_shapes(config: ModelConfig) -> Shapes:
    """Shape of every tensor of a checkpoint folder; no memory is taken for them."""
    with torch.device("meta"):
        velocity = VelocityNet(config.velocity, config.rae)
        networks = torch.nn.ModuleDict({"rae": RAE(config.rae), "velocity": velocity})
    return shapes_of(networks.state_dict())


def their_shapes(keys: Iterable[KeyPair], ours: Shapes) -> Shapes:
    """Shape of every key of one of their state dicts, from the shapes of ours."""
    return {theirs: ours[key][::-1] if _transposed(theirs) else ours[key] for theirs, key in keys}


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    return {key: tuple(value.shape) for key, value in tensors.items()}


def misfits(found: Shapes, expected: Shapes) -> list[str]:
    """What is wrong with the keys and shapes of a state dict, one text for each key."""
    wrong = [
        f"{key} is missing, expected of shape {list(shape)}"
        for key, shape in expected.items()
        if key not in found
    ]
    wrong += [f"{key} is unexpected" for key in found if key not in expected]
    wrong += [
        f"{key} is of shape {list(found[key])}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    return wrong


def without_compiled(theirs: Mapping[str, Tensor]) -> StateDict:
    """Leave torch.compile's `_orig_mod` out of the keys.

    Raises CheckpointError where two keys differ by nothing else.
    """
    plain: StateDict = {}
    for key, value in theirs.items():
        short = ".".join(word for word in key.split(".") if word != _COMPILED)
        if short in plain:
            raise CheckpointError(f"{short} is there twice, with and without {_COMPILED}")
        plain[short] = value
    return plain


def rae_config(encoder: Mapping[str, Tensor]) -> RAEConfig:
    """Width and latent channels, from the shapes of their encoder.

    Raises CheckpointError naming a key that is missing, or whose shape says no size.
    """
    width, latent_channels = (_sizes(encoder, f"{key}.weight")[0] for key in ("stem", "conv_out"))
    return RAEConfig(width=width, latent_channels=latent_channels)


def velocity_config(model: Mapping[str, Tensor]) -> VelocityConfig:
    """Width, multipliers and blocks, from the shapes of their flat list of modules.

    The way down runs from module 3 to the attention's block. On it, a block that reshapes without
    widening is the one that halves the size between two levels.

    Raises CheckpointError naming a key that is missing, or saying which sizes cannot be.
    """
    width = _sizes(model, "all_modules.2.weight")[0]
    found = (re.fullmatch(r"all_modules\.(\d{1,4})\.NIN_.*", key) for key in model)
    attention = next((int(match[1]) for match in found if match), None)
    if attention is None:
        raise CheckpointError("the attention (all_modules.*.NIN_0.W) is missing")
    levels: list[list[int]] = [[]]
    for number in range(3, attention - 1):
        module = f"all_modules.{number}"
        out, channels = _sizes(model, f"{module}.Conv_0.weight")
        reshapes = any(f"{module}.Conv_2.{part}" in model for part in ("weight", "bias"))
        if reshapes and out == channels:
            levels.append([])
        else:
            levels[-1].append(out)
    blocks = [len(level) for level in levels]
    if min(blocks) < 1 or len(set(blocks)) > 1:
        raise CheckpointError(f"levels of one number of blocks were expected, found {blocks}")
    try:
        return VelocityConfig(
            width=width,
            multipliers=tuple(level[-1] // width for level in levels),
            blocks=blocks[0],
        )
    except UsageError as error:
        raise CheckpointError(f"no velocity net of such sizes: {error}") from error


def _sizes(theirs: Mapping[str, Tensor], key: str) -> tuple[int, int]:
    """Channels out and in of a 3x3 convolution."""
    if key not in theirs:
        raise CheckpointError(f"{key} is missing")
    shape = tuple(theirs[key].shape)
    if len(shape) != 4 or min(shape) < 1:
        raise CheckpointError(f"{key} is of shape {list(shape)}, expected [out, in, 3, 3]")
    return shape[0], shape[1]


def check_options(config: ModelConfig) -> None:
    """Raises CheckpointError naming an option whose choice their networks do not have."""
    for part, option in (
        ("rae", "head"),
        ("velocity", "time_embedding"),
        ("velocity", "condition"),
        ("velocity", "view"),
    ):
        ours, published = (getattr(getattr(c, part), option) for c in (config, ModelConfig()))
        if ours != published:
            raise CheckpointError(
                f"the authors' networks have no {part}.{option} {ours!r}, only {published!r}"
            )


def sigmas() -> Tensor:
    """The buffer as published: geometric from 50 to 0.01, after Song et al., ICLR 2021."""
    first, last, count = math.log(50), math.log(0.01), SIGMAS_SHAPE[0]
    step = (last - first) / (count - 1)
    exponents = [*(first + step * i for i in range(count - 1)), last]
    # math.exp gives the published bits; the vectorised ones of NumPy and torch round otherwise.
    return torch.tensor([math.exp(x) for x in exponents], dtype=torch.float64)


def to_ours(theirs: Mapping[str, Tensor], keys: Iterable[KeyPair]) -> StateDict:
    """Rename a published state dict to ours; their NIN matrices are transposed linear layers.

    Raises CheckpointError naming the first key that is missing.
    """
    ours = {}
    for their_key, our_key in keys:
        if their_key not in theirs:
            raise CheckpointError(f"the published checkpoint lacks the key {their_key}")
        value = theirs[their_key]
        ours[our_key] = value.T.contiguous() if _transposed(their_key) else value
    return ours


def to_theirs(ours: Mapping[str, Tensor], keys: Iterable[KeyPair]) -> StateDict:
    """The way back; a missing key is a KeyError, since ours are checked when they are read."""
    return {
        their_key: ours[our_key].T.contiguous() if _transposed(their_key) else ours[our_key]
        for their_key, our_key in keys
    }


def _transposed(their_key: str) -> bool:
    return their_key.endswith(".W")
