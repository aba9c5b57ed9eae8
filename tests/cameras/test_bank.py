"""How banks of cameras are written, and what patches draw from them."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degflow_pipe.cameras.bank import Bank, Share, parse_bank
from degflow_pipe.cameras.batches import Asked
from degflow_pipe.cameras.camera import SimulatedCamera
from degflow_pipe.cameras.making import Making
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.site import Site
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import Place, parse_grid, parse_t


def places(count: int) -> list[Place]:
    return [Place(hashlib.sha256(b"%d" % i).hexdigest(), 7 * i, i) for i in range(count)]


def test_a_bank_is_names_with_shares() -> None:
    assert parse_bank("a") == (Share("a"),)
    assert parse_bank("a:3, b") == (Share("a", 3.0), Share("b", 1.0))
    assert parse_bank("a,simulated:20") == (Share("a"), Share("simulated", 20.0, 20))
    assert parse_bank("a:0.5,simulated:20:5")[1] == Share("simulated", 5.0, 20)
    assert parse_bank("C:/cameras/mine:2") == (Share("C:/cameras/mine", 2.0),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,,b", "wants names"),
        ("a,simulated", "wants names"),
        ("a,a:2", "names a twice"),
        ("a:0", "must be above 0"),
        ("a,simulated:0", "must be above 0"),
        ("a,simulated:2000", "must be above 0"),
        ("simulated:20", "name a checkpoint beside"),
        ("a:-1,b", "'-1' in 'a:-1' is no share"),
        ("a:abc", "'abc' in 'a:abc' is no share"),
    ],
)
def test_a_bank_that_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"`checkpoint`.*{why}"):
        parse_bank(text)


@given(st.text("ab:,.0123simulated/", max_size=30))
def test_any_text_is_a_bank_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        for share in parse_bank(text):
            assert share.name and share.share > 0 and share.count >= 1


def test_two_names_of_one_checkpoint_are_refused(tiny: str) -> None:
    with pytest.raises(UsageError, match=r"names tiny-\w+ twice"):
        Bank.find(f"{tiny},{tiny}/.", "cpu")


def test_patches_draw_cameras_by_their_shares(
    tiny_model: DegFlow, other_checkpoint: DegFlow
) -> None:
    bank = Bank(
        (Site.of(tiny_model), Site.of(other_checkpoint)),
        (3.0, 1.0),
        simulated=4,
        simulated_share=2.0,
    )
    making = Making.of(bank, parse_t("1"), seed=5)
    drawn = [making.camera_of(place) for place in places(3000)]
    counts = Counter(drawn)
    for number, share in enumerate([3, 1, 0.5, 0.5, 0.5, 0.5]):
        wanted = 3000 * share / 6
        assert abs(counts[number] - wanted) < 5 * wanted**0.5
    again = Making.of(bank, parse_t("1"), seed=5)
    assert drawn == [again.camera_of(place) for place in places(3000)]
    other = Making.of(bank, parse_t("1"), seed=6)
    assert drawn != [other.camera_of(place) for place in places(3000)]
    assert making.grid.name != other.grid.name


def test_a_range_is_drawn_evenly_and_apart_for_each_realisation(tiny_model: DegFlow) -> None:
    grid = parse_grid("x1.5..x3", 4)
    making = Making.of(tiny_model, grid, seed=1, draws=2)
    asked = [making.asked_of(place) for place in places(2000)]
    scales = np.array([[one.scale for one in two] for two in asked])
    assert 1.5 <= scales.min() < 1.51 and 2.99 < scales.max() <= 3
    assert np.allclose(scales.mean(axis=0), 2.25, atol=0.05)
    assert abs(np.corrcoef(scales.T)[0, 1]) < 0.1
    assert len({one.seed for two in asked for one in two}) == 2


def test_a_level_that_some_camera_lacks_is_refused_by_name(tiny_model: DegFlow) -> None:
    bank = Bank((Site.of(tiny_model),), simulated=1, simulated_share=1.0)
    with pytest.raises(UsageError, match=r"x4\.5 is outside the scales of (tiny|simulated)"):
        Making.of(bank, parse_grid("x4.5", 5))
    with pytest.raises(UsageError, match="x2 cannot be had of a camera's level x3"):
        Making.of(tiny_model, parse_grid("x3", 4), sr_scale=2)


@pytest.mark.parametrize("number", range(1, 21))
def test_simulated_cameras_are_cameras(number: int) -> None:
    camera = SimulatedCamera(number, 3)
    hr = np.random.default_rng(number).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    shown = camera.open()(hr, None, [Asked(1 / 3, 2.0, 0), Asked(1 / 3, 2.0, 1)], 64)
    assert shown.values.shape == (2, 2, 64, 64, 3)
    first, second = shown.values[0]
    assert not np.array_equal(first, second), "another seed draws other noise"
    again = camera.open()(hr, None, [Asked(1 / 3, 2.0, 0)], 64).values
    assert np.array_equal(again[:, 0], shown.values[:, 0])
    assert camera.parts != SimulatedCamera(number, 4).parts


def test_a_grey_patch_stays_grey() -> None:
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1), np.uint8), 3, 3)
    lr = SimulatedCamera(1, 0).open()(grey, None, [Asked(0.5, 2.5, 0)], 64).values[0, 0]
    assert (lr == lr[..., :1]).all()
