"""Published key names, the sizes that their shapes say, and the way to our weights and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import CheckpointInfo, read_info, read_weights, write_checkpoint
from degflow_pipe.checkpoint.published_files import export_published, import_published
from degflow_pipe.errors import CheckpointError
from degflow_pipe.model import published
from degflow_pipe.model.config import PRESETS, ModelConfig, RAEConfig, VelocityConfig
from degflow_pipe.model.rae import Skips

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"
SMALL = ModelConfig(
    RAEConfig(width=3, latent_channels=2), VelocityConfig(width=4, multipliers=(1, 2), blocks=1)
)
State = dict[str, Tensor]


def reference_file(name: str) -> Path:
    path = REFERENCE / name
    if not path.is_file():
        pytest.skip(f"the reference vectors are not here: no file {path}")
    return path


def part(tensors: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def random_weights(config: ModelConfig) -> State:
    generator = torch.Generator().manual_seed(0)
    shapes = published.our_shapes(config)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def in_their_form(config: ModelConfig, weights: State) -> dict[str, State]:
    keys = published.part_keys(config)
    return {name: published.to_theirs(weights, keys[name]) for name in keys}


def write_small(folder: Path) -> CheckpointInfo:
    levels = [{"name": "HR", "t": 0.0}, {"name": "LR", "t": 1.0}]
    return write_checkpoint(
        folder, random_weights(SMALL), "", name="s", model=SMALL, levels=levels, s_max=4.0
    )


def compiled_before(key: str) -> str:
    return f"_orig_mod.{key}"


def compiled_inside(key: str) -> str:
    first, _, rest = key.partition(".")
    return f"{first}._orig_mod.{rest}" if rest else key


# Sizes from shapes

MULTIPLIERS = st.lists(st.integers(1, 3), min_size=2, max_size=4).map(tuple)


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 9),
    latent=st.integers(1, 5),
    nf=st.sampled_from([4, 8]),
    multipliers=MULTIPLIERS,
    blocks=st.integers(1, 4),
)
def test_config_is_read_from_shapes(
    width: int, latent: int, nf: int, multipliers: tuple[int, ...], blocks: int
) -> None:
    made = ModelConfig(
        RAEConfig(width, latent), VelocityConfig(nf, multipliers=multipliers, blocks=blocks)
    )
    keys, ours = published.part_keys(made), published.our_shapes(made)
    theirs = {
        name: {
            key: torch.empty(shape, device="meta")
            for key, shape in published.their_shapes(keys[name], ours).items()
        }
        for name in keys
    }
    assert published.rae_config(theirs["encoder"]) == made.rae
    assert published.velocity_config(theirs["model"]) == made.velocity


def test_config_of_the_published_size() -> None:
    listed = json.loads(reference_file("published_checkpoint_keys.json").read_text())
    with torch.device("meta"):
        model = {key: torch.empty(shape) for key, shape in listed["flow"]["model"].items()}
        encoder = {k: torch.empty(v) for k, v in listed["autoencoder"]["encoder"].items()}
    assert published.rae_config(encoder) == PRESETS["published"].rae
    assert published.velocity_config(model) == PRESETS["published"].velocity


def test_exported_keys_and_shapes_are_the_published_ones() -> None:
    listed = json.loads(reference_file("published_checkpoint_keys.json").read_text())
    preset = PRESETS["published"]
    keys, ours = published.part_keys(preset), published.our_shapes(preset)
    wanted = {name: listed["autoencoder"][name] for name in ("encoder", "decoder")}
    wanted["model"] = listed["flow"]["model"]
    for name, shapes in wanted.items():
        expected = {k: list(v) for k, v in published.their_shapes(keys[name], ours).items()}
        if name == "model":
            expected[published.SIGMAS] = list(published.sigmas().shape)
        assert expected == shapes, name


@pytest.mark.parametrize("name", ["encoder", "decoder", "model"])
def test_every_key_that_is_lost_or_bent_is_named(name: str) -> None:
    keys, ours = published.part_keys(SMALL)[name], published.our_shapes(SMALL)
    expected = published.their_shapes(keys, ours)
    whole = published.shapes_of(in_their_form(SMALL, random_weights(SMALL))[name])
    assert published.misfits(whole, expected) == []
    for key, shape in whole.items():
        (lost,) = published.misfits({k: v for k, v in whole.items() if k != key}, expected)
        assert lost == f"{key} is missing, expected of shape {list(shape)}"
        (bent,) = published.misfits({**whole, key: (1, *shape)}, expected)
        assert bent == f"{key} is of shape {[1, *shape]}, expected {list(shape)}"
    assert published.misfits({**whole, "more": (1,)}, expected) == ["more is unexpected"]


def test_each_lost_key_of_the_velocity_is_named_before_or_after_its_sizes_are_read() -> None:
    whole = in_their_form(SMALL, random_weights(SMALL))["model"]
    ours = published.our_shapes(SMALL)
    for key in whole:
        rest = {k: v for k, v in whole.items() if k != key}
        try:
            config = published.velocity_config(rest)
        except CheckpointError as error:
            assert str(error) == f"{key} is missing"
        else:
            assert config == SMALL.velocity, key
            expected = published.their_shapes(published.part_keys(SMALL)["model"], ours)
            assert published.misfits(published.shapes_of(rest), expected)[0].startswith(
                f"{key} is missing"
            )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"all_modules.2.weight": torch.zeros(4)}, r"all_modules\.2\.weight is of shape \[4\]"),
        ({"all_modules.2.weight": torch.zeros(6, 2, 3, 3)}, r"no velocity net of such sizes"),
        ({"all_modules.3.Conv_2.weight": torch.zeros(4, 4, 1, 1)}, r"one number of blocks"),
    ],
)
def test_sizes_that_cannot_be_are_refused(change: State, says: str) -> None:
    whole = in_their_form(SMALL, random_weights(SMALL))["model"]
    with pytest.raises(CheckpointError, match=says):
        published.velocity_config({**whole, **change})


def test_no_attention_is_refused() -> None:
    whole = in_their_form(SMALL, random_weights(SMALL))["model"]
    rest = {key: value for key, value in whole.items() if ".NIN_" not in key}
    with pytest.raises(CheckpointError, match="attention"):
        published.velocity_config(rest)


# Keys


@pytest.mark.parametrize("compiled", [compiled_before, compiled_inside])
def test_compiled_prefix_is_left_out(compiled: Any) -> None:
    whole = in_their_form(SMALL, random_weights(SMALL))["decoder"]
    renamed = {compiled(key): value for key, value in whole.items()}
    assert renamed.keys() != whole.keys()
    assert published.without_compiled(renamed) == whole


def test_key_with_and_without_the_compiled_prefix_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"stem\.bias is there twice"):
        published.without_compiled(
            {"stem.bias": torch.ones(1), "_orig_mod.stem.bias": torch.zeros(1)}
        )


def test_to_theirs_undoes_to_ours() -> None:
    weights = random_weights(SMALL)
    theirs = in_their_form(SMALL, weights)
    back: State = {}
    for name, keys in published.part_keys(SMALL).items():
        back |= published.to_ours(theirs[name], iter(keys))
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)
    query = weights["velocity.middle.1.query.weight"]
    (matrix,) = (v for k, v in theirs["model"].items() if k.endswith("NIN_0.W"))
    assert torch.equal(matrix, query.T) and not torch.equal(matrix, query)


def test_sigmas_are_the_published_ones() -> None:
    vectors = load_file(reference_file("published_arch_small.safetensors"))
    assert torch.equal(published.sigmas(), vectors["flow.model.sigmas"])


# Whole files


def save_reference(folder: Path, vectors: State, rename: Any) -> tuple[Path, Path]:
    def renamed(prefix: str) -> State:
        return {rename(key): value for key, value in part(vectors, prefix).items()}

    rae, flow = folder / "rae.pt", folder / "flow.pt"
    t_params = {"LR2": torch.tensor(0.4), "LR3": 0.7, "notes": ["a", {"b": 1}], "many": 10**400}
    encoder, decoder = renamed("rae.encoder."), renamed("rae.decoder.")
    torch.save({"encoder": encoder, "decoder": decoder, "t_params": t_params}, rae)
    torch.save({"model": renamed("flow.model.")}, flow)
    return rae, flow


@pytest.mark.parametrize("rename", [str, compiled_before, compiled_inside])
def test_imported_networks_compute_the_reference(rename: Any, tmp_path: Path) -> None:
    vectors = load_file(reference_file("published_arch_small.safetensors"))
    rae, flow = save_reference(tmp_path, vectors, rename)
    info = import_published(rae, flow, tmp_path / "out")
    model = DegFlow.load(str(tmp_path / "out"), "cpu")
    with torch.inference_mode():
        z, skips = model.rae.encoder(vectors["x"])
        given = Skips(vectors["f0"], vectors["f1"], vectors["f2"])
        y = model.rae.decoder(vectors["z"], given)
        v = model.velocity(vectors["z"], vectors["t"])
    for name, got in {
        "z": z,
        "f0": skips.f0,
        "f1": skips.f1,
        "f2": skips.f2,
        "y": y,
        "v": v,
    }.items():
        wanted = vectors[name]
        assert got.shape == wanted.shape
        assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max(), name
    assert info.model.rae == RAEConfig(width=8, latent_channels=4)
    assert info.model.velocity == VelocityConfig(width=16, blocks=1)
    assert info.model.solver == PRESETS["published"].solver
    assert info.training["t_params"] == {"LR2": pytest.approx(0.4), "LR3": 0.7}


def test_exporting_what_was_imported_gives_the_same_tensors(tmp_path: Path) -> None:
    vectors = load_file(reference_file("published_arch_small.safetensors"))
    before = save_reference(tmp_path, vectors, str)
    import_published(*before, tmp_path / "out")
    after = tmp_path / "again" / "rae.pt", tmp_path / "again" / "flow.pt"
    export_published(str(tmp_path / "out"), *after)
    rae, flow = (torch.load(path, weights_only=True) for path in after)
    assert set(rae) == {"encoder", "decoder", "t_params"} and set(flow) == {"model"}
    for name, got in (("rae.encoder", rae["encoder"]), ("rae.decoder", rae["decoder"])):
        assert_same(got, part(vectors, f"{name}."))
    assert_same(flow["model"], part(vectors, "flow.model."))
    assert_same(rae["t_params"], {"LR2": torch.tensor(0.4), "LR3": torch.tensor(0.7)})


def assert_same(got: State, wanted: State) -> None:
    assert got.keys() == wanted.keys()
    for key in wanted:
        assert got[key].dtype == wanted[key].dtype, key
        assert torch.equal(got[key], wanted[key]), key


def test_importing_what_was_exported_gives_the_same_bytes(tmp_path: Path) -> None:
    write_small(tmp_path / "small")
    rae, flow = tmp_path / "rae.pt", tmp_path / "flow.pt"
    export_published(str(tmp_path / "small"), rae, flow)
    info = import_published(rae, flow, tmp_path / "back", name="again", s_max=3.0)
    weights = "model.safetensors"
    before, after = (tmp_path / name / weights for name in ("small", "back"))
    assert before.read_bytes() == after.read_bytes()
    assert info == read_info(tmp_path / "back")
    assert info.model == SMALL
    assert (info.name, info.s_max) == ("again", 3.0)
    assert info.levels == [{"name": "HR", "t": 0.0}, {"name": "x3", "t": 1.0}]


def test_exported_files_hold_nothing_but_their_tensors(tmp_path: Path) -> None:
    info = write_small(tmp_path / "small")
    rae, flow = tmp_path / "rae.pt", tmp_path / "flow.pt"
    export_published(str(tmp_path / "small"), rae, flow)
    for path in (rae, flow):
        for value in torch.load(path, weights_only=True).values():
            for key, tensor in value.items():
                assert type(tensor) is Tensor and tensor.is_contiguous(), key
                size = tensor.numel() * tensor.element_size()
                assert tensor.untyped_storage().nbytes() == size, key
    t_params = torch.load(rae, weights_only=True)["t_params"]
    assert_same(t_params, {"LR2": torch.tensor(1 / 3), "LR3": torch.tensor(2 / 3)})
    assert read_weights(tmp_path / "small", info).keys() == published.our_shapes(SMALL).keys()


def test_half_precision_is_widened_without_a_change(tmp_path: Path) -> None:
    theirs = in_their_form(SMALL, random_weights(SMALL))
    half = {name: {k: v.half() for k, v in state.items()} for name, state in theirs.items()}
    torch.save({k: half[k] for k in ("encoder", "decoder")}, tmp_path / "rae.pt")
    torch.save({"model": half["model"]}, tmp_path / "flow.pt")
    info = import_published(tmp_path / "rae.pt", tmp_path / "flow.pt", tmp_path / "out")
    weights = read_weights(tmp_path / "out", info)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    keys = published.part_keys(SMALL)
    back = published.to_theirs(weights, keys["decoder"])
    assert all(torch.equal(back[key], half["decoder"][key].float()) for key in back)
