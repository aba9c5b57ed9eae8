"""Chains as people write them, and what their steps do to pictures."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from degflow_pipe.chains.chain import (
    MOST,
    apply_drawn,
    chain_rng,
    load_chain,
    read_chain,
)
from degflow_pipe.chains.ready import READY
from degflow_pipe.errors import UsageError
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pictures.arrays import greyed, is_grey

PHOTO = np.ascontiguousarray(data.astronaut()[60:188, 150:278])
JPEG = {"step": "jpeg", "quality": [30, 95]}
EVERY = [
    {"step": "resize", "factor": [0.5, 1.5]},
    {**JPEG, "chroma": ["4:4:4", "4:2:2", "4:2:0"]},
    {"step": "webp", "quality": [60, 90]},
    {"step": "sharpen", "radius": [0.5, 2], "amount": [0.2, 1]},
    {"step": "noise", "gaussian": [1, 10], "shot": [0, 5], "grey": 0.5},
    {"step": "gamma", "gamma": [1.1, 1.3]},
]


def drawn_once(step: dict[str, Any], seed: int = 0, grey: bool = False) -> dict[str, Any]:
    (drawn,) = read_chain([step]).draw(chain_rng(seed, "here"), grey)
    return drawn


@pytest.mark.parametrize("name", READY)
def test_ready_chains_end_in_a_file_and_know_their_names(name: str) -> None:
    chain = read_chain(name)
    assert chain.name == name and read_chain(json.loads(json.dumps(chain.content))) == chain
    assert read_chain(chain.content[1:]).name == "own"
    for i in range(50):
        drawn = chain.draw(chain_rng(0, i), False)
        assert any("quality" in step for step in drawn)
        assert drawn == json.loads(json.dumps(drawn))


@pytest.mark.parametrize("step", EVERY, ids=lambda step: step["step"])
def test_what_is_drawn_is_within_its_ranges_and_gives_the_same_bytes_again(
    step: dict[str, Any],
) -> None:
    seen = []
    for seed in range(30):
        drawn = drawn_once(step, seed)
        assert drawn["step"] == step["step"]
        for key, span in step.items():
            if key in drawn and isinstance(span, list):
                inside = span[0] <= drawn[key] <= span[1] if key != "chroma" else None
                assert inside or drawn[key] in span, (key, drawn)
        again = json.loads(json.dumps(drawn))
        made = apply_drawn(PHOTO, [again])
        assert np.array_equal(made, apply_drawn(PHOTO, [drawn]))
        assert made.dtype == np.uint8 and made.shape == PHOTO.shape
        assert not np.array_equal(made, PHOTO)
        seen.append(json.dumps(drawn))
    assert len(set(seen)) > 15


@pytest.mark.parametrize("step", EVERY, ids=lambda step: step["step"])
def test_grey_pictures_stay_grey(step: dict[str, Any]) -> None:
    grey = greyed(PHOTO)
    for seed in range(10):
        drawn = drawn_once(step, seed, grey=True)
        assert drawn.get("grey", True) is True
        made = apply_drawn(grey, [drawn])
        assert is_grey(made) and not np.array_equal(made, grey)


def test_jpeg_is_the_file_that_its_values_say() -> None:
    sampling = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
    for chroma, number in sampling.items():
        drawn = drawn_once({**JPEG, "chroma": [chroma]})
        file = io.BytesIO()
        Image.fromarray(PHOTO).save(
            file, "JPEG", quality=drawn["quality"], subsampling=number, optimize=False
        )
        with Image.open(file) as image:
            other = np.asarray(image.convert("RGB"))
        assert psnr(apply_drawn(PHOTO, [drawn]), other) > 45


def test_a_lower_quality_keeps_less() -> None:
    for kind in ("jpeg", "webp"):
        kept = [
            psnr(apply_drawn(PHOTO, [drawn_once({"step": kind, "quality": [q, q]})]), PHOTO)
            for q in (20, 60, 95)
        ]
        assert kept == sorted(kept)


def test_sharpening_has_its_halo() -> None:
    edge = np.full((32, 32, 3), 80, np.uint8)
    edge[:, 16:] = 160
    made = apply_drawn(edge, [{"step": "sharpen", "radius": 1.0, "amount": 0.5}])[16, :, 0]
    assert made[15] < 75 and made[16] > 165
    assert made[0] == 80 and made[31] == 160
    assert (np.diff(made[:16].astype(int)) <= 0).all()


def test_noise_is_of_the_deviation_that_is_recorded() -> None:
    flat = np.full((256, 256, 3), 128, np.uint8)
    flat[..., 2] = 132  # not without colour, which would have the same noise in all channels
    for gaussian, shot, grey in ((4.0, 0.0, False), (0.0, 6.0, False), (3.0, 4.0, True)):
        drawn = {"step": "noise", "gaussian": gaussian, "shot": shot, "grey": grey, "seed": 7}
        noise = apply_drawn(flat, [drawn]).astype(float) - flat
        wanted = np.sqrt(gaussian**2 + shot**2 * 128 / 255)
        assert noise.std() == pytest.approx(wanted, rel=0.03)
        alike = np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]
        assert (alike > 0.99) == grey


def test_resizing_moves_nothing_and_loses_what_is_finer() -> None:
    slope = np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (1, 64, 3))
    for factor in (0.5, 0.75, 1.3):
        step = {"step": "resize", "factor": factor, "there": "area", "back": "linear"}
        made = apply_drawn(slope, [step]).astype(int)
        assert np.abs(made - slope)[4:-4].max() <= 2
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[::2] = 200
    step = {"step": "resize", "factor": 0.5, "there": "area", "back": "cubic"}
    assert np.ptp(apply_drawn(lines, [step])[8:-8]) < 10


def test_gamma_keeps_black_and_white() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8)[:, None], (4, 1, 3)).reshape(4, 256, 3)
    made = apply_drawn(ramp, [{"step": "gamma", "gamma": 2.0}])[0, :, 0]
    assert (made[0], made[255], made[128]) == (0, 255, 64)


def test_steps_are_taken_as_often_as_their_probabilities_say() -> None:
    chain = read_chain(
        [
            {**JPEG, "probability": 0.25},
            {
                "step": "either",
                "of": [
                    {"step": "webp", "quality": [80, 80], "probability": 0.2},
                    {"step": "gamma", "gamma": [1.1, 1.1], "probability": 0.6},
                ],
            },
        ]
    )
    drawn = [chain.draw(chain_rng(3, i), False) for i in range(1000)]
    share = {
        kind: sum(any(step["step"] == kind for step in steps) for steps in drawn) / 1000
        for kind in ("jpeg", "webp", "gamma")
    }
    assert share == {
        "jpeg": pytest.approx(0.25, abs=0.05),
        "webp": pytest.approx(0.25, abs=0.05),
        "gamma": pytest.approx(0.75, abs=0.05),
    }


def test_equal_chains_are_alike_however_they_were_written() -> None:
    one = read_chain([{"step": "sharpen", "radius": [1, 2.0], "amount": [0.5, 1]}])
    other = read_chain([{"step": "sharpen", "amount": (0.5, 1.0), "radius": (1.0, 2)}])
    assert one == other and json.dumps(one.content) == json.dumps(other.content)


@pytest.mark.parametrize(
    "asked, says",
    [
        ("webb", "`chain` must be web, phone-jpeg or a list of steps, got 'webb'"),
        (3, "`chain` must be a list of 1 to 16 steps"),
        ([], "`chain` must be a list of 1 to 16 steps"),
        ([JPEG] * (MOST + 1), "`chain` must be a list of 1 to 16 steps"),
        ([JPEG, "jpeg"], r"`chain.2:` must be a mapping that says its `step`"),
        ([{"quality": [1, 2]}], r"`chain.1:` must be a mapping that says its `step`"),
        ([{"step": "blur"}], r"`chain.1.step` must be one of resize, jpeg, .*got 'blur'"),
        ([{"step": ["jpeg"]}], r"`chain.1.step` must be one of"),
        ([{**JPEG, "qualty": 3}], r"`chain.1:` has no key 'qualty'; it has .*quality"),
        ([JPEG, {"step": "jpeg"}], r"`chain.2:` lacks quality"),
        ([{**JPEG, "quality": 80}], r"`chain.1.quality` must be a list"),
        ([{**JPEG, "quality": [80]}], r"`chain.1.quality` must be a range \[least, most\]"),
        ([{**JPEG, "quality": [80, 70]}], r"`chain.1.quality` must be a range"),
        ([{**JPEG, "quality": [0, 70]}], r"`chain.1.quality` must be a number from 1 to 100"),
        ([{**JPEG, "quality": [1, 101]}], r"`chain.1.quality` must be a number from 1 to 100"),
        ([{**JPEG, "quality": [1.5, 70]}], r"`chain.1.quality` must be .*whole number"),
        ([{**JPEG, "chroma": ["4:1:1"]}], r"`chain.1.chroma` must be a list, each 4:4:4"),
        ([{**JPEG, "chroma": []}], r"`chain.1.chroma` needs one"),
        ([{**JPEG, "probability": 1.1}], r"`chain.1.probability` must be a number from 0 to 1"),
        ([{"step": "gamma", "gamma": [float("nan"), 1]}], r"`chain.1.gamma` must be"),
        ([{"step": "gamma", "gamma": ["a", "b"]}], r"`chain.1.gamma` must be a list, each a numb"),
        ([{"step": "resize", "factor": [0, 1]}], r"`chain.1.factor` must be a number from 0.1"),
        ([{"step": "either"}], r"`chain.1:` lacks of"),
        ([{"step": "either", "of": []}], r"`chain.1.of` must be a list of 1 to 16 steps"),
        ([{"step": "either", "of": [{"step": "either"}]}], r"`chain.1.of.1.step` must be one of"),
        ([{"step": "either", "of": [{**JPEG, "q": 1}]}], r"`chain.1.of.1:` has no key 'q'"),
        (
            [{"step": "either", "of": [{**JPEG, "probability": 0}]}],
            r"`chain.1.of` needs one step at least whose probability is above 0",
        ),
    ],
)
def test_what_is_no_chain_is_refused_by_its_key(asked: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refusal:
        read_chain(asked)
    assert len(str(refusal.value)) < 400


leaf = st.none() | st.booleans() | st.integers(-200, 200) | st.floats() | st.text(max_size=4)
word = st.sampled_from(
    [*("step", "quality", "chroma", "probability", "of", "factor", "gamma", "grey", "seed")]
)
kind = st.sampled_from(["resize", "jpeg", "webp", "sharpen", "noise", "gamma", "either", "x"])
value = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
mapping = st.dictionaries(word, value, max_size=4)
anything = st.lists(
    st.builds(lambda step, rest: {**rest, "step": step}, kind, mapping) | mapping | leaf,
    max_size=4,
)


@settings(deadline=None, max_examples=200)
@given(anything | leaf | mapping)
def test_anything_is_a_chain_or_a_usage_error(asked: Any) -> None:
    with suppress(UsageError):
        read_chain(asked)


def span(low: float, high: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high), min_size=2, max_size=2).map(sorted)


qualities = st.lists(st.integers(1, 100), min_size=2, max_size=2).map(sorted)
whole = st.one_of(
    st.fixed_dictionaries({"step": st.just("jpeg"), "quality": qualities}),
    st.fixed_dictionaries({"step": st.just("webp"), "quality": qualities}),
    st.fixed_dictionaries(
        {"step": st.just("sharpen"), "radius": span(0.1, 5), "amount": span(0, 5)}
    ),
    st.fixed_dictionaries(
        {"step": st.just("noise"), "gaussian": span(0, 50), "grey": st.floats(0, 1)}
    ),
    st.fixed_dictionaries({"step": st.just("gamma"), "gamma": span(0.1, 10)}),
    st.fixed_dictionaries({"step": st.just("resize"), "factor": span(0.1, 4)}),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(whole, min_size=1, max_size=3), st.integers(0, 10**6))
def test_any_chain_of_right_ranges_is_drawn_applied_and_read_back(
    asked: list[dict[str, Any]], seed: int
) -> None:
    chain = read_chain(asked)
    assert read_chain(json.loads(json.dumps(chain.content))) == chain
    drawn = chain.draw(chain_rng(seed, "a", 0), False)
    assert len(drawn) == len(asked)
    for said, made in zip(asked, drawn, strict=True):
        for key in ("quality", "radius", "amount", "gaussian", "gamma", "factor"):
            if key in said:
                assert said[key][0] <= made[key] <= said[key][1]
    small = PHOTO[:24, :17]
    assert apply_drawn(small, drawn).shape == small.shape


def test_a_file_of_steps(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("- {step: jpeg, quality: [60, 85], chroma: [4:2:0]}\n")
    loaded = load_chain(str(path))
    assert read_chain(loaded) == read_chain([{"step": "jpeg", "quality": [60, 85]}])
    assert load_chain("web") == "web"
    for text, says in (
        ("- {step: jpeg, quality: [60, 850]}", r"mine.yaml: `chain.1.quality` must be a number"),
        ("step: jpeg", r"mine.yaml: `chain` must be a list of 1 to 16 steps"),
        ("web", r"mine.yaml: `chain` must be a list of 1 to 16 steps"),
        ("[", r"mine.yaml is not YAML"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=says):
            load_chain(str(path))
    with pytest.raises(UsageError, match="`chain` must be web, phone-jpeg or a YAML file of steps"):
        load_chain("wed")
