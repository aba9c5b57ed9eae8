"""The authors' two files, into a checkpoint folder and out of one.

Theirs come from anywhere, so nothing in them is run: they are read as tensors, numbers, texts,
lists and dicts, and every key and shape is held against the architecture.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degflow_pipe import files
from degflow_pipe.checkpoint.folder import (
    CONFIG,
    S_MAX_LIMIT,
    CheckpointInfo,
    check_name,
    find_checkpoint,
    read_info,
    read_weights,
    write_checkpoint,
)
from degflow_pipe.checkpoint.torch_files import load_tensors, refusal
from degflow_pipe.checkpoint.weights import first_few
from degflow_pipe.errors import CheckpointError, UsageError
from degflow_pipe.folders import check_ours, one_writer
from degflow_pipe.model import published
from degflow_pipe.model.config import PRESETS, ModelConfig
from degflow_pipe.model.published import StateDict

NAME = "published"
S_MAX = 4.0
LARGEST_FILE = 4 << 30
"""Bytes; the published files have 118 and 242 million."""
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
"""Kinds of numbers that float32 holds exactly."""
PARTS = {"rae": ("encoder", "decoder"), "flow": ("model",)}
"""The state dicts of each file."""
T_PARAMS = {"LR2": 1 / 3, "LR3": 2 / 3}
"""Names as published; the values are the method's t of x2 and x3."""


def import_published(
    rae: Path, flow: Path, out: Path, *, name: str = NAME, s_max: float = S_MAX
) -> CheckpointInfo:
    """Write a checkpoint folder from the authors' two files.

    s_max: the SR scale of t = 1. Sizes are read from shapes; options and solver are the published
    preset's. Numbers in `t_params` are kept as a record, whatever else it holds is left out.

    Raises CheckpointError naming the file and what in it is wrong, before anything is written, or
    where `out` holds a checkpoint already; UsageError for a wrong s_max.
    """
    if not 1 < s_max <= S_MAX_LIMIT:
        raise UsageError(f"`s_max` must be above 1 and at most {S_MAX_LIMIT:g}, got {s_max}")
    check_name(name, "`name`")
    if files.exists(out / CONFIG):
        raise CheckpointError(f"{out} holds a checkpoint already: give another folder as `out`")
    check_ours(out, "checkpoint")
    loaded = {"rae": _load(rae, "rae"), "flow": _load(flow, "flow")}
    config, weights = _to_ours({"rae": rae, "flow": flow}, loaded)
    sources = {
        kind: {"file": path.name, "sha256": files.sha256(path)}
        for kind, path in (("rae", rae), ("flow", flow))
    }
    levels = _levels(s_max)
    with one_writer(out, "checkpoint"):
        return write_checkpoint(
            out,
            weights,
            _card(name, config, levels, s_max, sources),
            name=name,
            model=config,
            levels=levels,
            s_max=s_max,
            training={"imported": sources, "t_params": _numbers(loaded["rae"].get("t_params"))},
            data={"source": "see the authors' release", "licence": "see the authors' release"},
        )


def export_published(
    checkpoint: str, rae: Path, flow: Path, *, overwrite: bool = False
) -> CheckpointInfo:
    """Write a checkpoint, a folder or a shipped one's name, as the authors' two files.

    Their form has no place for the solver, the levels, s_max and the name. It has two things that
    ours lacks, so that a strict loader finds them: the buffer `sigmas`, which v never reads, and
    `t_params`. Those are the imported ones where the checkpoint was imported; elsewhere they are
    the published names with the method's t of x2 and x3, since the names are all that is known.

    Raises CheckpointError where the checkpoint is damaged or has options that their networks do not
    have, UsageError where a file is there already and not to be overwritten.
    """
    folder = find_checkpoint(checkpoint)
    info = read_info(folder)
    try:
        published.check_options(info.model)
    except CheckpointError as error:
        raise CheckpointError(f"{folder} cannot be exported: {error}") from error
    if files.real(rae) == files.real(flow):
        raise UsageError(f"`rae` and `flow` name one file, {rae}: give each its own")
    for path in (rae, flow):
        if files.is_folder(path):
            raise UsageError(f"{path} is a folder: give the name of a file")
        if files.exists(path) and not overwrite:
            raise UsageError(f"{path} is there already: give another name, or `overwrite`")
    weights = read_weights(folder, info)
    keys = published.part_keys(info.model)
    theirs: dict[str, dict[str, Any]] = {
        kind: {part: published.to_theirs(weights, keys[part]) for part in parts}
        for kind, parts in PARTS.items()
    }
    t_params = _numbers(info.training.get("t_params")) or T_PARAMS
    theirs["rae"]["t_params"] = {key: torch.tensor(value) for key, value in t_params.items()}
    theirs["flow"]["model"][published.SIGMAS] = published.sigmas()
    # Both are renamed when both are whole.
    with files.writing(rae) as rae_file, files.writing(flow) as flow_file:
        rae_file.write(_saved(theirs["rae"]))
        flow_file.write(_saved(theirs["flow"]))
    return info


def _saved(value: dict[str, Any]) -> memoryview:
    """torch.save in memory: on a full disk its own writing fails with an error that hides why."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer()


def _load(path: Path, kind: str) -> dict[str, Any]:
    """The file's dict with its state dicts checked, all but their shapes."""
    entries = _entries(path, kind, load_tensors(path, LARGEST_FILE))
    for part in PARTS[kind]:
        try:
            entries[part] = _state_dict(entries[part], files.size(path))
        except CheckpointError as error:
            raise refusal(path, f"{part}: {error}") from error
    return entries


def _entries(path: Path, kind: str, loaded: Any) -> dict[str, Any]:
    """What the file holds by name: its state dicts and, beside the autoencoder's, t_params."""
    if not isinstance(loaded, dict):
        raise refusal(path, f"a dict was expected, found a {type(loaded).__name__}")
    entries = {_name(key): value for key, value in dict.items(loaded)}
    needed = PARTS[kind]
    allowed = (*needed, "t_params") if kind == "rae" else needed
    other = "flow" if kind == "rae" else "rae"
    if set(PARTS[other]) <= set(entries) and not set(needed) & set(entries):
        raise refusal(path, f"this is the file for --{other}, it was given as --{kind}")
    wrong = [f"{name} is missing" for name in needed if name not in entries]
    wrong += [f"{name} is unexpected" for name in entries if name not in allowed]
    if wrong:
        raise refusal(path, f"{first_few(wrong)}; expected {', '.join(allowed)}")
    return entries


def _state_dict(state: Any, file_size: int) -> StateDict:
    """A state dict of finite float tensors. Raises CheckpointError naming those that are not."""
    if not isinstance(state, dict):
        raise CheckpointError(f"a dict of tensors was expected, found a {type(state).__name__}")
    # dict.items and Tensor.detach: a pickle may hide an object's own methods behind values.
    items = {_name(key): value for key, value in dict.items(state)}
    wrong = [f"{key} is {fault}" for key, value in items.items() if (fault := _fault(key, value))]
    if wrong:
        raise CheckpointError(first_few(wrong))
    tensors = published.without_compiled({k: Tensor.detach(v) for k, v in items.items()})
    # A view may repeat a few bytes, and so be far larger than its file.
    claimed = sum(value.numel() * value.element_size() for value in tensors.values())
    if claimed > file_size:
        raise CheckpointError(f"its tensors claim {claimed} bytes, more than the whole file has")
    wrong = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
    if wrong:
        raise CheckpointError(f"NaN or infinite values, numbers expected: {first_few(wrong)}")
    return tensors


def _name(key: Any) -> str:
    """A dict's key; one that is no text is never expected, whatever it would print."""
    return key if isinstance(key, str) else f"a key that is a {type(key).__name__}"


def _fault(key: str, value: Any) -> str:
    """What keeps an entry of a state dict from being a weight; empty where nothing does."""
    if type(value) not in (Tensor, torch.nn.Parameter):
        return f"a {type(value).__name__}, expected a tensor"
    if value.layout != torch.strided or value.device.type != "cpu":
        return f"a {value.layout} tensor on {value.device}, expected a dense one"
    wide = key.endswith(published.SIGMAS) and value.dtype == torch.float64
    if value.dtype not in FLOATS and not wide:
        return f"of {value.dtype}, expected torch.float32"
    return ""


def _to_ours(
    paths: dict[str, Path], loaded: dict[str, dict[str, Any]]
) -> tuple[ModelConfig, StateDict]:
    """The configuration that the shapes say, and our weights in float32."""
    preset = PRESETS["published"]
    try:
        kind = "rae"
        rae = published.rae_config(loaded["rae"]["encoder"])
        kind = "flow"
        velocity = published.velocity_config(loaded["flow"]["model"])
    except CheckpointError as error:
        raise refusal(paths[kind], f"{PARTS[kind][0]}: {error}") from error
    config = ModelConfig(rae, velocity, preset.solver)
    sizes = {
        "rae": f"width {rae.width}, {rae.latent_channels} latent channels",
        "flow": f"width {velocity.width}, multipliers {list(velocity.multipliers)}, "
        f"{velocity.blocks} blocks, {rae.latent_channels} latent channels",
    }
    ours: StateDict = {}
    keys, shapes = published.part_keys(config), published.our_shapes(config)
    for kind, parts in PARTS.items():
        wrong = []
        for part in parts:
            found = loaded[kind][part]
            expected = published.their_shapes(keys[part], shapes)
            if part == "model" and published.SIGMAS in found:
                expected[published.SIGMAS] = published.SIGMAS_SHAPE
            misfits = published.misfits(published.shapes_of(found), expected)
            wrong += [f"{part}.{text}" for text in misfits]
            if not misfits:
                ours |= published.to_ours(found, keys[part])
        if wrong:
            raise refusal(paths[kind], f"({sizes[kind]}) {first_few(wrong)}")
    return config, {key: value.to(torch.float32) for key, value in ours.items()}


def _numbers(values: Any) -> dict[str, float]:
    """The finite floats of a dict, be they tensors or plain."""
    found = {}
    items = dict.items(values) if isinstance(values, dict) else ()
    for key, value in ((_name(key), value) for key, value in items):
        if isinstance(value, Tensor) and value.shape == () and not _fault(key, value):
            value = float(value)
        if isinstance(value, float) and math.isfinite(value):
            found[key] = value
    return found


def _levels(s_max: float) -> list[dict[str, Any]]:
    """The published training levels; where another s_max is given only the ends are known."""
    middle = [{"name": "x2", "t": 1 / 3}] if s_max == S_MAX else []
    return [{"name": "HR", "t": 0.0}, *middle, {"name": f"x{s_max:g}", "t": 1.0}]


def _card(
    name: str,
    config: ModelConfig,
    levels: list[dict[str, Any]],
    s_max: float,
    sources: dict[str, dict[str, str]],
) -> str:
    rae, velocity = config.rae, config.velocity
    said = ", ".join(f"{level['name']} (t = {level['t']:.4g})" for level in levels)
    rows = "\n".join(f"| {kind} | `{s['file']}` | `{s['sha256']}` |" for kind, s in sources.items())
    return f"""# {name}

A DegFlow checkpoint, imported from the authors' files (sums below): a residual autoencoder
(D = {rae.width}, C = {rae.latent_channels}) and a velocity net (nf = {velocity.width}, multipliers
{list(velocity.multipliers)}, {velocity.blocks} blocks a level).

- Licence: see the authors' release
- Levels: {said}; t = 1 stands for SR scale {s_max:g}
- Velocity: time_embedding `{velocity.time_embedding}`, condition `{velocity.condition}`,
  view `{velocity.view}`

| file | name | SHA-256 |
|---|---|---|
{rows}

Kim, Kim, Jin, Kim: *Continuous Degradation Modeling via Latent Flow Matching for Real-World
Super-Resolution*, AAAI 2026.
"""
