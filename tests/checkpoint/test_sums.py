"""What a checkpoint's files are held against before anything is built of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import damage, find_checkpoint, read_info
from degflow_pipe.errors import CheckpointError, DegflowError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.fixture
def checkpoint(tiny: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "checkpoint"))


def edit(checkpoint: Path, change: Callable[[Any], None]) -> None:
    """A hand-made config.json, without a sum."""
    data = json.loads((checkpoint / CONFIG).read_text())
    data.pop("sum", None)
    change(data)
    (checkpoint / CONFIG).write_text(json.dumps(data))


def give_weights(checkpoint: Path, data: bytes) -> None:
    (checkpoint / WEIGHTS).write_bytes(data)
    edit(checkpoint, lambda c: c.update(weights_sha256=hashlib.sha256(data).hexdigest()))


@pytest.mark.parametrize("name", ["city100-compact", "city100-iphone-compact", "city100-published"])
def test_a_shipped_checkpoint_is_whole(name: str) -> None:
    assert damage(find_checkpoint(name)) == []


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("name", [CONFIG, "README.md"])
def test_a_changed_bit_is_found_wherever_it_is(checkpoint: Path, name: str, bit: int) -> None:
    whole = (checkpoint / name).read_bytes()
    for place in range(bit, len(whole), max(len(whole) // 12, 1)):
        content = bytearray(whole)
        content[place] ^= 1 << bit
        (checkpoint / name).write_bytes(content)
        assert damage(checkpoint), (place, bit)


def test_a_config_without_a_sum_is_taken_and_its_damage_says_so(checkpoint: Path) -> None:
    edit(checkpoint, lambda c: c["data"].update(source="elsewhere"))
    assert DegFlow.load(str(checkpoint), "cpu").info == read_info(checkpoint)
    (wrong,) = damage(checkpoint)
    assert "config.json has no sum of its own" in wrong


def test_an_edited_config_says_how_to_keep_the_edit(checkpoint: Path) -> None:
    path = checkpoint / CONFIG
    path.write_text(path.read_text().replace("for tests only", "for all"))
    with pytest.raises(CheckpointError, match='edit was meant, delete the key "sum"'):
        read_info(checkpoint)
    values = json.loads(path.read_text())
    del values["sum"]
    path.write_text(json.dumps(values))
    assert "for all" in read_info(checkpoint).data["source"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.update(colour=1), "no key 'colour'"),
        (lambda c: c["scale"].update(s_min=1), "no key 's_min'"),
        (lambda c: c["scale"].update(s_max=1e9), "scale.s_max"),
        (lambda c: c["scale"].update(mapping="t = s"), "scale.mapping"),
        (lambda c: c["levels"][0].update(scale=1), "no key 'scale'"),
        (lambda c: c.update(levels=c["levels"] * 100), "levels"),
        (lambda c: c.update(levels=c["levels"][::-1]), "rise in t"),
        (lambda c: c.update(name="../up"), "name"),
        (lambda c: c.update(name="n" * 10**6), "config.name"),
        (lambda c: c.update(training={"a": [0] * 10**6}), "config.training"),
        (lambda c: c["model"]["rae"].update(width=10**9), "model.rae.width"),
        (lambda c: c["model"]["rae"].update(latent_channels=10**6), "model.rae.latent_channels"),
        (lambda c: c["model"]["velocity"].update(blocks=10**6), "model.velocity.blocks"),
        (lambda c: c["model"]["velocity"].update(multipliers=[10**6] * 4), "multipliers"),
        (lambda c: c["model"]["velocity"].update(multipliers=[1] * 10**6), "multipliers"),
        (lambda c: c["model"]["solver"].update(steps=10**9), "model.solver.steps"),
        (lambda c: c["model"]["solver"].update(rtol=1e-300), "model.solver.rtol"),
        (lambda c: c["model"]["solver"].update(decode_at=[0.0] * 10**6), "decode_at"),
        (lambda c: c["model"]["velocity"].update(width=1024, multipliers=[16] * 4), "weights"),
    ],
)
def test_a_number_or_a_list_without_measure_is_refused_by_name(
    checkpoint: Path, change: Callable[[Any], None], named: str
) -> None:
    edit(checkpoint, change)
    with pytest.raises(CheckpointError, match=rf"config\.json.*{named}") as refusal:
        DegFlow.load(str(checkpoint), "cpu")
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 200_000,
        '{"format": "degflow-pipe checkpoint", "version": 1, "name": "\\u0000"}',
        '{"format": "degflow-pipe checkpoint", "version": 1, "name": "\\ud800"}',
        '{"format": "degflow-pipe checkpoint", "version": 1e400}',
        '{"format": "degflow-pipe checkpoint", "version": 1' + "0" * 400 + "}",
        '{"format": "degflow-pipe checkpoint", "version": Infinity}',
    ],
    ids=["lists", "mappings", "NUL", "surrogate", "1e400", "10^400", "Infinity"],
)
def test_what_is_no_config_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint / CONFIG).write_text(text)
    with pytest.raises(DegflowError, match=r"config\.json"):
        read_info(checkpoint)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused(checkpoint: Path, name: str, kind: str) -> None:
    path = checkpoint / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(DegflowError, match=f"{name}.*{kind}"):
        DegFlow.load(str(checkpoint), "cpu")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(checkpoint: Path, wrong: float) -> None:
    weights = load_file(checkpoint / WEIGHTS)
    name = sorted(weights)[3]
    weights[name].view(-1)[0] = wrong
    give_weights(checkpoint, save(weights))
    with pytest.raises(CheckpointError, match=rf"NaN or infinite numbers in {name}"):
        DegFlow.load(str(checkpoint), "cpu")


def header(tensors: dict[str, Any]) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 10**6) + b"{",
        header({"a": {"dtype": "F32", "shape": [10**17], "data_offsets": [0, 4]}}),
        header({"a": {"dtype": "F32", "shape": "long", "data_offsets": [0, 4]}}),
        header({"a": {"dtype": 5, "shape": [1], "data_offsets": [0, 4]}}),
        header({"a": 3}),
        struct.pack("<Q", 2) + b"[]",
        b"",
    ],
)
def test_a_header_that_claims_what_is_not_there_is_refused(checkpoint: Path, data: bytes) -> None:
    give_weights(checkpoint, data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors (is damaged|does not fit)"):
        DegFlow.load(str(checkpoint), "cpu")


def test_weights_of_half_precision_are_refused(checkpoint: Path) -> None:
    weights = {key: value.half() for key, value in load_file(checkpoint / WEIGHTS).items()}
    give_weights(checkpoint, save(weights))
    with pytest.raises(CheckpointError, match="is of F16, expected F32"):
        DegFlow.load(str(checkpoint), "cpu")


def test_a_sparse_file_of_weights_is_not_read(checkpoint: Path) -> None:
    os.truncate(checkpoint / WEIGHTS, 10**12)
    with pytest.raises(CheckpointError, match=r"does not fit config\.json: it has 10{12} bytes"):
        DegFlow.load(str(checkpoint), "cpu")


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_lr_that_are_no_numbers_are_an_error(checkpoint: Path, method: str) -> None:
    weights = {key: value * 1e30 for key, value in load_file(checkpoint / WEIGHTS).items()}
    give_weights(checkpoint, save(weights))
    edit(checkpoint, lambda c: c["model"]["solver"].update(method=method))
    model = DegFlow.load(str(checkpoint), "cpu")
    with pytest.raises(CheckpointError, match="of no use"):
        model.degrade(torch.rand(1, 3, 64, 64), [0.5], "none")
