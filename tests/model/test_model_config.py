"""Model settings: written, read back, laid over a preset, and refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degflow_pipe.errors import UsageError
from degflow_pipe.model.config import (
    ADAPTIVE_METHODS,
    FIXED_METHODS,
    PRESETS,
    TIGHTEST,
    ModelConfig,
    RAEConfig,
    SolverConfig,
    VelocityConfig,
)

quick = settings(deadline=None, max_examples=60)

configs = st.builds(
    ModelConfig,
    rae=st.builds(
        RAEConfig,
        width=st.integers(1, 256),
        latent_channels=st.integers(1, 16),
        head=st.sampled_from(["rgb", "blurs", "lens"]),
    ),
    velocity=st.builds(
        VelocityConfig,
        width=st.sampled_from([4, 8, 16, 32, 64, 128]),
        multipliers=st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple),
        blocks=st.integers(1, 6),
        dropout=st.floats(0, 0.99),
        time_embedding=st.sampled_from(["sinusoidal", "smooth"]),
        condition=st.sampled_from(["none", "skips"]),
        view=st.sampled_from(["global", "local"]),
    ),
    solver=st.builds(
        SolverConfig,
        method=st.sampled_from(FIXED_METHODS + ADAPTIVE_METHODS),
        steps=st.integers(1, 100),
        rtol=st.floats(TIGHTEST, 1.0),
        atol=st.floats(TIGHTEST, 1.0),
        t_start=st.floats(0, 0.99),
    ),
)


@quick
@given(configs)
def test_settings_survive_json(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_read_by_name(name: str) -> None:
    assert ModelConfig.from_dict({"preset": name}) == PRESETS[name]


def test_the_published_preset_is_the_published_size() -> None:
    published = PRESETS["published"]
    assert published.rae == RAEConfig(width=128, latent_channels=4)
    assert published.velocity == VelocityConfig(
        width=128,
        multipliers=(1, 2, 2, 2),
        blocks=4,
        dropout=0.1,
        time_embedding="sinusoidal",
        condition="none",
        view="global",
    )
    assert published.side_multiple == 64
    assert ModelConfig.from_dict({}) == published


def test_values_beside_a_preset_override_it_and_nothing_else() -> None:
    given = {"preset": "compact", "velocity": {"blocks": 1}, "solver": {"method": "euler"}}
    config, preset = ModelConfig.from_dict(given), PRESETS["compact"]
    wanted = preset.to_dict()
    wanted["velocity"]["blocks"] = 1
    wanted["solver"]["method"] = "euler"
    assert config.to_dict() == wanted
    assert config != preset
    assert given == {
        "preset": "compact",
        "velocity": {"blocks": 1},
        "solver": {"method": "euler"},
    }


def test_empty_sections_change_nothing() -> None:
    empty: dict[str, Any] = {"preset": "compact", "rae": None, "velocity": {}, "solver": None}
    assert ModelConfig.from_dict(empty) == PRESETS["compact"]


@pytest.mark.parametrize(
    ("method", "adaptive"),
    [(m, False) for m in FIXED_METHODS] + [(m, True) for m in ADAPTIVE_METHODS],
)
def test_adaptive_methods_are_known_as_such(method: str, adaptive: bool) -> None:
    assert SolverConfig(method).adaptive is adaptive


@pytest.mark.parametrize(
    ("values", "named"),
    [
        # keys that do not exist
        ({"presett": "compact"}, "presett"),
        ({"preset": "huge"}, "model.preset"),
        ({"preset": 1}, "model.preset"),
        ({"rae": {"widht": 8}}, "widht"),
        ({"velocity": {"nf": 8}}, "nf"),
        ({"solver": {"tol": 1e-3}}, "tol"),
        # sections and values of another kind
        ({"rae": [8]}, "model.rae"),
        ({"velocity": "compact"}, "model.velocity"),
        ({"solver": "rk4"}, "model.solver"),
        ({"rae": {"width": "8"}}, "model.rae.width"),
        ({"rae": {"width": 8.0}}, "model.rae.width"),
        ({"rae": {"width": True}}, "model.rae.width"),
        ({"rae": {"latent_channels": None}}, "model.rae.latent_channels"),
        ({"velocity": {"width": "32"}}, "model.velocity.width"),
        ({"velocity": {"multipliers": 2}}, "model.velocity.multipliers"),
        ({"velocity": {"multipliers": "12"}}, "model.velocity.multipliers"),
        ({"velocity": {"multipliers": [1, 2.5]}}, "model.velocity.multipliers"),
        ({"velocity": {"blocks": 1.5}}, "model.velocity.blocks"),
        ({"velocity": {"dropout": "none"}}, "model.velocity.dropout"),
        ({"velocity": {"time_embedding": 3}}, "model.velocity.time_embedding"),
        ({"velocity": {"condition": False}}, "model.velocity.condition"),
        ({"solver": {"method": 4}}, "model.solver.method"),
        ({"solver": {"steps": 2.0}}, "model.solver.steps"),
        ({"solver": {"rtol": "1e-3x"}}, "model.solver.rtol"),
        ({"solver": {"atol": True}}, "model.solver.atol"),
        ({"solver": {"t_start": [0]}}, "model.solver.t_start"),
        # values of the right kind that make no sense
        ({"rae": {"width": 0}}, "rae.width"),
        ({"rae": {"latent_channels": 0}}, "rae.latent_channels"),
        ({"velocity": {"width": 0}}, "velocity.width"),
        ({"velocity": {"width": 30}}, "velocity.width"),
        ({"velocity": {"multipliers": []}}, "velocity.multipliers"),
        ({"velocity": {"multipliers": [1]}}, "velocity.multipliers"),
        ({"velocity": {"multipliers": [1, 1, 1, 1, 1]}}, "velocity.multipliers"),
        ({"velocity": {"multipliers": [1, 0]}}, "velocity.multipliers"),
        ({"velocity": {"blocks": 0}}, "velocity.blocks"),
        ({"velocity": {"dropout": 1.0}}, "velocity.dropout"),
        ({"velocity": {"dropout": -0.1}}, "velocity.dropout"),
        ({"velocity": {"dropout": float("nan")}}, "velocity.dropout"),
        ({"velocity": {"time_embedding": "linear"}}, "velocity.time_embedding"),
        ({"velocity": {"condition": "hr"}}, "velocity.condition"),
        ({"velocity": {"view": "wide"}}, "velocity.view"),
        ({"solver": {"method": "rk45"}}, "solver.method"),
        ({"solver": {"steps": 0}}, "solver.steps"),
        ({"solver": {"rtol": 0}}, "solver.rtol"),
        ({"solver": {"atol": -1e-3}}, "solver.atol"),
        ({"solver": {"rtol": float("nan")}}, "solver.rtol"),
        ({"solver": {"t_start": 1}}, "solver.t_start"),
        ({"solver": {"t_start": -0.1}}, "solver.t_start"),
    ],
    ids=repr,
)
def test_a_wrong_setting_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as refusal:
        ModelConfig.from_dict(values)
    assert named in str(refusal.value)


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="width, latent_channels"):
        ModelConfig.from_dict({"rae": {"widht": 8}})
