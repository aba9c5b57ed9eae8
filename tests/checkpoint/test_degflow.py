"""The public face of the model: pictures in, degraded pictures out, and checkpoints that load."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from skimage import data
from torch import Tensor

from degflow_pipe import shipped
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import (
    find_checkpoint,
    read_info,
    read_weights,
    write_checkpoint,
)
from degflow_pipe.errors import CheckpointError, DegflowError, UsageError
from degflow_pipe.model import devices
from degflow_pipe.model.config import ModelConfig, SolverConfig
from degflow_pipe.model.devices import choose_device, choose_precision
from degflow_pipe.pictures.arrays import to_picture, to_tensor

LEVELS = [0.2, 0.55, 1.0]


@pytest.fixture(scope="module")
def hr() -> Tensor:
    """(3, 3, 64, 64): three photos of scikit-image."""
    crops = [data.astronaut()[60:124, 180:244], data.chelsea()[90:154, 150:214]]
    crops.append(data.coffee()[120:184, 220:284])
    return torch.cat([to_tensor(crop) for crop in crops])


@pytest.fixture
def checkpoint(tiny: str, tmp_path: Path) -> Path:
    """A copy of `tiny` to damage."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def edit(checkpoint: Path, change: Callable[[Any], None]) -> None:
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    config.pop("sum", None)  # an edit that is meant
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("height, width", [(64, 64), (1, 1), (70, 90), (3, 130), (128, 65)])
def test_pictures_of_any_size_come_back_in_their_size_and_in_range(
    tiny_model: DegFlow, height: int, width: int
) -> None:
    x = to_tensor(data.astronaut()[100 : 100 + height, 150 : 150 + width])
    before = x.clone()
    y = tiny_model.degrade(x, LEVELS)
    assert y.shape == (1, 3, 3, height, width)
    assert y.dtype == torch.float32
    assert 0 <= float(y.min()) <= float(y.max()) <= 1
    assert torch.equal(x, before)


def test_a_degraded_picture_is_still_the_picture(tiny_model: DegFlow, hr: Tensor) -> None:
    y = tiny_model.degrade(hr, LEVELS)
    right = (y - hr[:, None]).pow(2).mean(dim=(1, 2, 3, 4))
    wrong = (y - hr.roll(1, 0)[:, None]).pow(2).mean(dim=(1, 2, 3, 4))
    assert (right * 10 < wrong).all()


def test_levels_move_away_from_level_0(tiny_model: DegFlow, hr: Tensor) -> None:
    y = tiny_model.degrade(hr, [0.0, *LEVELS])
    far = [float((y[:, i] - y[:, 0]).pow(2).mean()) for i in range(4)]
    assert 0 == far[0] < far[1] < far[2] < far[3]


def test_a_picture_does_not_depend_on_its_batch(tiny_model: DegFlow, hr: Tensor) -> None:
    together = tiny_model.degrade(hr, LEVELS)
    for i in range(3):
        assert torch.equal(together[i : i + 1], tiny_model.degrade(hr[i : i + 1], LEVELS))
    assert torch.equal(tiny_model.degrade(hr.flip(0), LEVELS), together.flip(0))


def test_a_level_does_not_depend_on_its_company(tiny_model: DegFlow, hr: Tensor) -> None:
    together = tiny_model.degrade(hr[:1], LEVELS)
    for i, t in enumerate(LEVELS):
        assert torch.equal(tiny_model.degrade(hr[:1], [t])[:, 0], together[:, i])
    mixed = tiny_model.degrade(hr[:1], [1.0, 0.3, 0.2, 1.0])
    assert torch.equal(mixed[:, [2, 0]], together[:, [0, 2]])
    assert torch.equal(mixed[:, 0], mixed[:, 3])


def test_the_same_call_gives_the_same_bits(tiny_model: DegFlow, tiny: str, hr: Tensor) -> None:
    """Dropout sleeps, and nothing is drawn from the global generator."""
    torch.manual_seed(1)
    first = tiny_model.degrade(hr[:1], LEVELS)
    torch.manual_seed(2)
    assert torch.equal(tiny_model.degrade(hr[:1], LEVELS), first)
    assert torch.equal(DegFlow.load(tiny, "cpu").degrade(hr[:1], LEVELS), first)


def test_the_three_steps_are_the_one_call(tiny_model: DegFlow) -> None:
    x = to_tensor(data.coffee()[100:170, 200:290])  # padded to 128 x 128
    z, skips = tiny_model.encode(x)
    assert z.shape == (1, 4, 16, 16)
    assert torch.equal(tiny_model.latents(x), z)
    assert skips.size == (70, 90)
    path = tiny_model.trajectory(z, LEVELS, skips)
    assert path.shape == (1, 3, 4, 16, 16)
    pictures = tiny_model.decode(path, skips)
    assert torch.equal(pictures, tiny_model.degrade(x, LEVELS))
    for i in range(3):
        assert torch.equal(tiny_model.decode(path[:, i], skips), pictures[:, i])


def test_bfloat16_is_for_the_decoder_and_changes_pictures_by_no_more_than_a_grey_level(
    tiny: str, tiny_model: DegFlow, hr: Tensor
) -> None:
    coarse = DegFlow.load(tiny, "cpu", "bfloat16")
    assert (coarse.precision, tiny_model.precision) == ("bfloat16", "float32")
    z, skips = coarse.encode(hr)
    assert torch.equal(z, tiny_model.encode(hr)[0])
    path = coarse.trajectory(z, LEVELS, skips)
    assert torch.equal(path, tiny_model.trajectory(z, LEVELS, skips))
    made, wanted = (m.decode(path, skips) for m in (coarse, tiny_model))
    assert made.dtype == torch.float32 and not torch.equal(made, wanted)
    difference = to_picture(made.flatten(0, 1)).astype(int) - to_picture(wanted.flatten(0, 1))
    assert (abs(difference) <= 1).mean() > 0.999
    assert not torch.is_autocast_enabled("cpu")
    with pytest.raises(UsageError, match="`precision` must be auto, float32 or bfloat16"):
        DegFlow.load(tiny, "cpu", "half")


DECODED = (0.0, 0.2, 0.5, 1.0)


def test_levels_between_decoded_ones_are_on_straight_lines(tiny_model: DegFlow, hr: Tensor) -> None:
    """Whatever else is asked for, in whatever order."""
    z, skips = tiny_model.encode(hr)
    solver = replace(tiny_model.config.solver, decode_at=DECODED)
    ends = dict(zip(DECODED, tiny_model.levels(z, DECODED, skips).pictures, strict=True))
    assert torch.equal(
        ends[0.5], tiny_model.decode(tiny_model.trajectory(z, [0.5], skips), skips)[:, 0]
    )
    t = [0.8, 0.3, 0.2, 1.0, 0.3, 0.05]
    made = list(tiny_model.levels(z, t, skips, solver).pictures)
    for level, lr in zip(t, made, strict=True):
        assert torch.equal(next(tiny_model.levels(z, [level], skips, solver).pictures), lr)
        right = next(end for end in DECODED if level <= end)
        left = max(end for end in DECODED if end < right)
        line = (ends[left] * (right - level) + ends[right] * (level - left)) / (right - left)
        assert torch.allclose(lr, line, atol=1e-6), level
    assert torch.equal(made[2], ends[0.2]) and torch.equal(made[3], ends[1.0])
    for wrong in ([], [1.5], [-0.1]):
        with pytest.raises(ValueError, match="levels must"):
            tiny_model.levels(z, wrong, skips, solver)


@pytest.mark.parametrize("wrong", [[0.0], [0.0, 0.5], [0.1, 1.0], [0, 0.5, 0.5, 1], [0, 2, 1]])
def test_decoded_levels_rise_from_0_to_1(wrong: list[float]) -> None:
    with pytest.raises(UsageError, match=r"solver\.decode_at` must be empty or rise from 0 to 1"):
        ModelConfig.from_dict({"solver": {"decode_at": wrong}})


def test_level_0_is_the_latent_itself(tiny_model: DegFlow, hr: Tensor) -> None:
    z, skips = tiny_model.encode(hr)
    path = tiny_model.trajectory(z, [0.0, 1.0], skips)
    assert torch.equal(path[:, 0], z)
    assert not torch.equal(path[:, 1], z)


def test_another_solver_may_be_given(tiny_model: DegFlow, hr: Tensor) -> None:
    z, skips = tiny_model.encode(hr[:1])

    def solve(method: str, steps: int) -> tuple[Tensor, int]:
        return tiny_model.solve(z, [1.0], skips, SolverConfig(method=method, steps=steps))

    best, many = solve("rk4", 32)
    coarse, few = solve("euler", 1)
    finer, more = solve("euler", 16)
    assert few < more < many
    assert 0 < (finer - best).abs().max() < (coarse - best).abs().max()
    usual = tiny_model.trajectory(z, [1.0], skips)
    assert torch.equal(usual, solve("rk4", tiny_model.config.solver.steps)[0])


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(3, 64, 64),
        torch.zeros(1, 1, 64, 64),
        torch.zeros(1, 64, 64, 3),
        torch.zeros(1, 3, 64, 64, dtype=torch.float64),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
    ],
)
def test_what_is_no_batch_of_rgb_pictures_is_refused(tiny_model: DegFlow, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"hr must be \(B, 3, H, W\) float32, got \("):
        tiny_model.degrade(wrong, LEVELS)


@pytest.mark.parametrize("levels", [[], [-0.1], [0.5, 1.01], [float("nan")]])
def test_levels_outside_0_to_1_are_refused(
    tiny_model: DegFlow, hr: Tensor, levels: list[float]
) -> None:
    with pytest.raises(ValueError, match="levels must"):
        tiny_model.degrade(hr[:1], levels)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_is_refused_where_there_is_none(tiny: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"`device={name}`: this machine has 0 CUDA devices"):
        DegFlow.load(tiny, name)
    assert choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "", "meta", "mps", "cpu cuda", "cuda:x", "cuda:-1"])
def test_an_unknown_device_is_refused(tiny: str, name: str) -> None:
    with pytest.raises(
        UsageError, match=f"`device` must be auto, cpu, cuda or cuda:N, got '{name}'"
    ):
        DegFlow.load(tiny, name)


def test_a_gpu_of_too_high_a_number_is_refused() -> None:
    with pytest.raises(UsageError, match="`device=cuda:99`: this machine has"):
        choose_device("cuda:99")


def test_a_gpu_without_what_compiles_for_it_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = "cuda"
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    assert choose_precision("float32", gpu) == "float32"
    assert choose_precision("bfloat16", "cpu") == "bfloat16"
    for name in ("auto", "bfloat16"):
        with pytest.raises(UsageError, match=r"wants Triton.*or say `precision=float32`"):
            choose_precision(name, gpu)


def test_an_unknown_name_lists_the_shipped_ones(tmp_path: Path) -> None:
    names = shipped.names("checkpoints")
    for wanted in ("city9000", "", str(tmp_path), str(tmp_path / "gone"), "../checkpoints"):
        with pytest.raises(CheckpointError, match="no checkpoint") as caught:
            DegFlow.load(wanted, "cpu")
        assert f"({', '.join(names)})" in str(caught.value)


def test_shipped_names_are_found() -> None:
    for name in shipped.names("checkpoints"):
        assert find_checkpoint(name).name == name
        assert read_info(find_checkpoint(name)).s_max > 1


def test_damaged_weights_are_refused(checkpoint: Path, flip: Callable[[Path], None]) -> None:
    flip(checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged: its SHA-256"):
        DegFlow.load(str(checkpoint), "cpu")


def test_weights_that_are_no_safetensors_are_refused(checkpoint: Path) -> None:
    content = b"PK\x03\x04 a pickle, perhaps"
    (checkpoint / "model.safetensors").write_bytes(content)
    edit(checkpoint, lambda c: c.update(weights_sha256=hashlib.sha256(content).hexdigest()))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        DegFlow.load(str(checkpoint), "cpu")


def test_missing_weights_are_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        DegFlow.load(str(checkpoint), "cpu")


@pytest.mark.parametrize(
    "part, change",
    [("rae", {"width": 6}), ("velocity", {"blocks": 2}), ("velocity", {"condition": "none"})],
)
def test_weights_that_do_not_fit_the_config_are_refused(
    checkpoint: Path, part: str, change: dict[str, Any]
) -> None:
    edit(checkpoint, lambda c: c["model"][part].update(change))
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit config\.json"):
        DegFlow.load(str(checkpoint), "cpu")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "other"}'])
def test_a_config_that_is_none_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_text(text)
    with pytest.raises(DegflowError, match=r"config\.json"):
        DegFlow.load(str(checkpoint), "cpu")


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda c: c.update(version=2), "version 2.*upgrade degflow-pipe"),
        (lambda c: c.pop("model"), "damaged: `config:` lacks model"),
        (lambda c: c["model"].update(colour={}), "model has no key 'colour'"),
        (lambda c: c["model"]["rae"].update(width="wide"), "`model.rae.width` must be"),
        (lambda c: c["scale"].update(s_max=1.0), "s_max must be above 1, got 1.0"),
        (lambda c: c["scale"].update(s_max="x"), "damaged"),
        (lambda c: c.update(scale=None), "damaged"),
        (lambda c: c.update(levels=[{"name": "HR"}]), "damaged: `levels:` lacks t"),
        (lambda c: c.update(levels=7), "damaged"),
    ],
)
def test_a_wrong_config_is_refused_with_the_key(
    checkpoint: Path, change: Callable[[Any], None], reason: str
) -> None:
    edit(checkpoint, change)
    with pytest.raises(CheckpointError, match=rf"config\.json.*{reason}"):
        DegFlow.load(str(checkpoint), "cpu")


def test_a_checkpoint_is_read_as_it_was_written(tiny: str, tmp_path: Path) -> None:
    info = read_info(Path(tiny))
    weights = read_weights(Path(tiny), info)
    fields = ("name", "model", "levels", "s_max", "training", "data")
    description = {field: getattr(info, field) for field in fields}
    card = (Path(tiny) / "README.md").read_text()
    again = write_checkpoint(tmp_path / "again", weights, card, **description)
    assert again == info == read_info(tmp_path / "again")
    assert again.id == info.id
    assert (tmp_path / "again" / "README.md").read_text() == card
    back = read_weights(tmp_path / "again", again)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)


def test_the_id_tells_weights_model_and_solver_apart(tiny: str, checkpoint: Path) -> None:
    first = read_info(Path(tiny)).id
    assert read_info(checkpoint).id == first
    edit(checkpoint, lambda c: c["data"].update(source="elsewhere"))
    assert read_info(checkpoint).id == first
    edit(checkpoint, lambda c: c["model"]["solver"].update(steps=3))
    solver = read_info(checkpoint).id
    edit(checkpoint, lambda c: c.update(weights_sha256="0" * 64))
    assert len({first, solver, read_info(checkpoint).id}) == 3


def test_a_name_that_is_nearly_one_is_told(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "my-camera")
    monkeypatch.chdir(tmp_path)
    for wrong, right in (("my-camra", "my-camera"), ("city100-compac", "city100-compact")):
        with pytest.raises(
            CheckpointError, match=rf"no checkpoint {wrong}.* did you mean {right}\?"
        ):
            DegFlow.load(wrong, "cpu")
    with pytest.raises(CheckpointError) as raised:
        DegFlow.load("quite-another", "cpu")
    assert "did you mean" not in str(raised.value)
