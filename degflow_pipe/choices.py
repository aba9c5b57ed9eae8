"""What is one of a few, said once: for the commands, the recipes and the library's own checks."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Literal, get_args

from degflow_pipe.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16"]
Noise = Literal["auto", "calibrated", "none"]
Keep = Literal["levels", "latents", "none"]
Engine = Literal["threads", "processes", "ray"]
Layout = Literal["pairs", "grouped"]
LRSize = Literal["same", "native"]
Uneven = Literal["refuse", "crop"]
Preset = Literal["published", "compact"]
"""Of a checkpoint's networks."""
Distance = Literal[
    "none", "lpips-vgg", "lpips-alex", "lpips-squeeze", "stlpips-vgg", "stlpips-alex"
]
"""Perceptual ones."""
TrainingPrecision = Literal["fp32", "bf16", "fp16"]
LatentLoss = Literal["plain", "normalized"]
Endpoint = Literal["none", "l1"]
SimulatedLayout = Literal["realsr-v2", "interflow"]
TrainerName = Literal[
    "basicsr",
    "basicsr-lmdb",
    "neosr",
    "neosr-lmdb",
    "trainner-redux",
    "realesrgan",
    "kair",
    "liif",
    "ddir",
    "interflow",
    "realsr",
    "edsr",
    "rcan",
    "han",
    "metasr",
    "mmagic",
    "ciaosr",
    "hat",
    "mambair",
    "swinir",
]
"""Of whom an export can be made for."""


def one_of(choices: Sequence[str]) -> str:
    """`a, b or c`."""
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def meant(given: object, choices: Sequence[str]) -> str:
    """`; did you mean b?` for a word that is nearly one of the choices, else nothing."""
    known = {one.lower(): one for one in choices}
    near = get_close_matches(str(given).lower(), list(known), n=1)
    return f"; did you mean {known[near[0]]}?" if near else ""


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raises UsageError, naming the parameter, for what is none of a Literal's choices."""
    if value not in get_args(choices):
        raise UsageError(f"`{name}` must be {one_of(get_args(choices))}, got {value!r}")
