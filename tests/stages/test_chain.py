"""shard with a chain: LR after the camera, and pictures whose formats differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from PIL import Image
from skimage import data

from degflow_pipe.chains.chain import apply_drawn
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.pictures.arrays import is_grey
from degflow_pipe.recipes import load_recipe
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.shards.tars import TarJob
from degflow_pipe.stages.recipe import run_recipe
from degflow_pipe.stages.run import run
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import info, verify
from tests.stages.stores import PowerCut, stopping

Tree = Callable[[Path], dict[str, bytes]]

CHAIN = [
    {"step": "resize", "probability": 0.5, "factor": [0.6, 1.2]},
    {"step": "sharpen", "probability": 0.5, "radius": [0.5, 1.2], "amount": [0.2, 0.8]},
    {"step": "noise", "gaussian": [1, 4], "shot": [0, 3]},
    {"step": "gamma", "probability": 0.3, "gamma": [0.9, 1.1]},
    {
        "step": "either",
        "of": [
            {"step": "jpeg", "quality": [40, 95], "chroma": ["4:4:4", "4:2:0"]},
            {"step": "webp", "quality": [60, 90]},
        ],
    },
]
"""With every step that there is."""
CHAINED = ShardSettings(shard_size=7, chain=CHAIN)


def read_all(folder: Path) -> list[dict[str, Any]]:
    tars = [str(tar) for tar in sorted(folder.glob("*.tar"))]
    return list(wds.WebDataset(tars, shardshuffle=False).decode("rgb8"))


@pytest.fixture(scope="module")
def chained(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of `ready_store` with CHAIN. Do not write to it."""
    out = tmp_path_factory.mktemp("chained") / "out"
    shard(ready_store, out, CHAINED, workers=1)
    return out


@pytest.fixture(scope="module")
def plain(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without."""
    out = tmp_path_factory.mktemp("plain") / "out"
    shard(ready_store, out, ShardSettings(shard_size=7))
    return out


def test_what_is_recorded_is_what_was_done(chained: Path, plain: Path) -> None:
    kinds: set[str] = set()
    before, after = read_all(plain), read_all(chained)
    assert len(after) == len(before) == 54
    for old, new in zip(before, after, strict=True):
        drawn = new["json"].pop("chain")
        assert new["__key__"] == old["__key__"] and new["json"] == old["json"]
        assert np.array_equal(new["hr.png"], old["hr.png"])
        assert np.array_equal(new["lr.png"], apply_drawn(old["lr.png"], drawn))
        assert not np.array_equal(new["lr.png"], old["lr.png"])
        kinds |= {step["step"] for step in drawn}
    assert kinds == {"resize", "sharpen", "noise", "gamma", "jpeg", "webp"}
    assert len({json.dumps(new["json"]) for new in after}) == 54


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
def test_the_chain_comes_after_the_native_size_in_both_layouts(
    ready_store: Path, tmp_path: Path, layout: str
) -> None:
    asked: dict[str, Any] = {"lr_size": "native", "layout": layout}
    shard(ready_store, tmp_path / "plain", ShardSettings(**asked))
    shard(ready_store, tmp_path / "chained", ShardSettings(**asked, chain="web"))
    for old, new in zip(*(read_all(tmp_path / n) for n in ("plain", "chained")), strict=True):
        levels = new["json"].get("levels", [new["json"]])
        for level in levels:
            name = f"lr_{level['level']}.png" if layout == "grouped" else "lr.png"
            assert new[name].shape[:2] == tuple(level["lr_size"])
            assert np.array_equal(new[name], apply_drawn(old[name], level["chain"]))
    if layout == "grouped":
        assert "chain" not in new["json"]


def test_both_layouts_draw_the_same(ready_store: Path, chained: Path, tmp_path: Path) -> None:
    shard(ready_store, tmp_path / "out", ShardSettings(layout="grouped", chain=CHAIN))
    pairs = iter(read_all(chained))
    for sample in read_all(tmp_path / "out"):
        for level in sample["json"]["levels"]:
            pair = next(pairs)
            assert level["chain"] == pair["json"]["chain"]
            assert np.array_equal(sample[f"lr_{level['level']}.png"], pair["lr.png"])


def test_bytes_do_not_depend_on_workers_engines_or_interruptions(
    ready_store: Path, chained: Path, tmp_path: Path, tree: Tree
) -> None:
    shard(ready_store, tmp_path / "threads", CHAINED, workers=5)
    assert tree(tmp_path / "threads") == tree(chained)
    with pytest.raises(PowerCut):
        shard(ready_store, tmp_path / "cut", CHAINED, engine=stopping(TarJob, 3))
    assert not (tmp_path / "cut" / "degflow.json").exists()
    again = shard(ready_store, tmp_path / "cut", CHAINED, workers=2, engine=run_in_processes)
    assert again.made == 5
    assert tree(tmp_path / "cut") == tree(chained)


def test_what_is_drawn_does_not_depend_on_other_photos(
    make_store: Callable[..., Path], photo_folder: Path, chained: Path, tmp_path: Path
) -> None:
    alone = make_store(tmp_path / "a.zarr", [str(photo_folder / "sub")])
    shard(alone, tmp_path / "out", ShardSettings(chain=CHAIN))

    def by_place(folder: Path) -> dict[tuple[Any, ...], bytes]:
        fields = ("source_sha256", "y", "x", "level")
        return {
            tuple(sample["json"][name] for name in fields): sample["lr.png"].tobytes()
            for sample in read_all(folder)
        }

    few, all_of_them = by_place(tmp_path / "out"), by_place(chained)
    assert len(few) == 18 and few == {place: all_of_them[place] for place in few}


def test_another_seed_draws_otherwise(ready_store: Path, chained: Path, tmp_path: Path) -> None:
    shard(ready_store, tmp_path / "out", ShardSettings(shard_size=7, chain=CHAIN, chain_seed=1))
    drawn = [[s["json"]["chain"] for s in read_all(f)] for f in (chained, tmp_path / "out")]
    assert all(a != b for a, b in zip(*drawn, strict=True))


@pytest.mark.parametrize(
    "other",
    [
        ShardSettings(shard_size=7),
        ShardSettings(shard_size=7, chain=CHAIN, chain_seed=3),
        ShardSettings(shard_size=7, chain="web"),
        ShardSettings(shard_size=7, chain=[*CHAIN[:-1], {"step": "jpeg", "quality": [40, 95]}]),
        ShardSettings(shard_size=7, chain=[{**CHAIN[0], "probability": 0.4}, *CHAIN[1:]]),
    ],
)
def test_another_chain_is_another_data_set(
    ready_store: Path, chained: Path, other: ShardSettings, tree: Tree
) -> None:
    before = tree(chained)
    with pytest.raises(ShardError, match="made with other settings"):
        shard(ready_store, chained, other)
    assert tree(chained) == before


def test_tars_follow_the_chain_where_the_mark_is_gone(
    ready_store: Path, tmp_path: Path, plain: Path, tree: Tree
) -> None:
    """What a tar was made with is known of each, not of the finished set alone."""
    out = tmp_path / "out"
    shard(ready_store, out, ShardSettings(shard_size=7, chain="web"))
    (out / "degflow.json").unlink()
    assert shard(ready_store, out, ShardSettings(shard_size=7), overwrite=True).made == 8
    assert tree(out) == tree(plain)


def test_settings_of_shards_without_a_chain_are_what_they_were(plain: Path) -> None:
    """Finished shards of earlier versions must be known again."""
    figures = json.loads((plain / "degflow.json").read_text())
    assert sorted(figures["settings"]) == sorted(
        [
            *("name", "shard_size", "layout", "lr_size", "uneven", "picture_format"),
            *("patch", "grid", "t", "checkpoint", "noise", "precision"),
        ]
    )
    assert "chain" not in figures
    assert "chain" not in (plain / "README.md").read_text()
    assert all("chain" not in sample["json"] for sample in read_all(plain))


def test_the_card_and_info_name_the_chain(
    ready_store: Path, chained: Path, plain: Path, tmp_path: Path
) -> None:
    shard(ready_store, tmp_path / "out", ShardSettings(chain="phone-jpeg", chain_seed=5))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "the chain `phone-jpeg`, seed 5." in card
    assert '"quality": [80, 97]' in card and "before the chain" in card
    assert "the chain `own`, seed 0." in (chained / "README.md").read_text()
    assert [info(f).to_dict()["chain"] for f in (tmp_path / "out", chained, plain)] == [
        "phone-jpeg",
        "own",
        None,
    ]
    assert info(chained).to_dict()["settings"]["chain"][2]["gaussian"] == [1, 4]
    assert verify(chained).whole
    names = ("contact_sheet.png", "degflow.sha256")
    assert (chained / names[0]).read_bytes() == (plain / names[0]).read_bytes()


def test_grey_photos_stay_grey(make_store: Callable[..., Path], tmp_path: Path) -> None:
    Image.fromarray(data.camera()[100:228, 150:278]).save(tmp_path / "grey.png")
    store = make_store(tmp_path / "a.zarr", [str(tmp_path / "grey.png")])
    shard(store, tmp_path / "out", ShardSettings(chain=CHAIN))
    samples = read_all(tmp_path / "out")
    assert len(samples) == 8
    for sample in samples:
        assert is_grey(sample["lr.png"])
        (noise,) = (step for step in sample["json"]["chain"] if step["step"] == "noise")
        assert noise["grey"] is True


@pytest.mark.parametrize("asked", ["web", CHAIN])
def test_a_recipe_says_it_by_name_or_step_by_step(
    asked: Any,
    tiny_model: DegFlow,
    ready_store: Path,
    photo_folder: Path,
    tmp_path: Path,
    tree: Tree,
) -> None:
    """And levels that are never kept go through it too."""
    recipe = {
        "kind": "run",
        "photos": [str(photo_folder)],
        "out": str(tmp_path / "run"),
        "ingest": {"patch": 64},
        "generate": {"t_grid": "x2,x4", "noise": "none"},
        "shard": {"shard_size": 7, "chain": asked, "chain_seed": 2},
        "keep": "none",
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    run(run_recipe(load_recipe(str(tmp_path / "recipe.yaml"), "run")), tiny_model)
    shard(ready_store, tmp_path / "out", ShardSettings(shard_size=7, chain=asked, chain_seed=2))
    tars = [
        {name: data for name, data in tree(tmp_path / folder).items() if name.endswith(".tar")}
        for folder in ("run", "out")
    ]
    assert len(tars[0]) == 8 and tars[0] == tars[1]


@pytest.mark.parametrize(
    "said, says",
    [
        ({"chain": "wed"}, "`shard.chain` must be web, phone-jpeg or a list of steps, got 'wed'"),
        ({"chain": [{"step": "jpg"}]}, "`shard.chain.1.step` must be one of resize"),
        ({"chain": [{"step": "jpeg", "q": 1}]}, "`shard.chain.1:` has no key 'q'"),
        (
            {"chain": [{"step": "webp", "quality": [1, 200]}]},
            "`shard.chain.1.quality` must be a number from 1 to 100",
        ),
        ({"chain": [3]}, "`shard.chain` must be"),
        ({"chain_seed": 4}, "`shard.chain_seed` is for what a chain draws"),
        ({"chain": "web", "chain_seed": -1}, "`shard.chain_seed` must be 0 or more"),
        ({"hr_format": "gif"}, "`shard.hr_format` must be png, ppm, webp or jpeg:QUALITY"),
    ],
)
def test_wrong_keys_of_a_recipe_are_named(said: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run_recipe({"shard": said})


# Formats


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
@pytest.mark.parametrize(
    "asked, hr_ending, lr_ending, said",
    [
        ({"picture_format": "jpeg:90"}, "png", "jpg", "png"),
        ({"picture_format": "webp"}, "webp", "webp", "webp"),
        ({"picture_format": "jpeg:90", "hr_format": "webp"}, "webp", "jpg", "webp"),
        ({"hr_format": "jpeg:95"}, "jpg", "png", "jpeg:95"),
        ({"picture_format": "jpeg:90", "hr_format": "jpeg:90"}, "jpg", "jpg", "jpeg:90"),
    ],
)
def test_hr_is_lossy_only_where_that_was_asked_for(
    ready_store: Path,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    asked: dict[str, Any],
    hr_ending: str,
    lr_ending: str,
    said: str,
) -> None:
    shard(ready_store, tmp_path / "out", ShardSettings(layout=layout, **asked))
    lr_name = "lr" if layout == "pairs" else "lr_x4"
    wanted = [sample["hr.png"] for sample in read_all(plain)][:: 1 if layout == "pairs" else 2]
    for sample, hr in zip(read_all(tmp_path / "out"), wanted, strict=True):
        assert f"{lr_name}.{lr_ending}" in sample
        assert np.array_equal(sample[f"hr.{hr_ending}"], hr) == (hr_ending != "jpg")
    assert info(tmp_path / "out").to_dict()["hr_format"] == said
    card = (tmp_path / "out" / "README.md").read_text()
    lr_format = asked.get("picture_format", "png")
    both = said if said == lr_format else f"HR {said}, LR {lr_format}"
    assert f"| pictures | {both} |" in card
    monkeypatch.chdir(tmp_path / "out")
    code = card.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["hr"].shape == names["lr"].shape == (64, 64, 3)


def test_shards_whose_hr_was_jpeg_without_a_word_are_known_again(
    ready_store: Path, tmp_path: Path
) -> None:
    """Their settings say `jpeg:90` alone."""
    both = ShardSettings(picture_format="jpeg:90", hr_format="jpeg:90")
    shard(ready_store, tmp_path / "out", both)
    figures = json.loads((tmp_path / "out" / "degflow.json").read_text())
    assert "hr_format" not in figures["settings"]
    assert shard(ready_store, tmp_path / "out", both).made == 0
    with pytest.raises(ShardError, match="made with other settings"):
        shard(ready_store, tmp_path / "out", ShardSettings(picture_format="jpeg:90"))


def test_a_size_that_a_format_of_hr_cannot_hold_is_said_of_hr() -> None:
    wide = np.zeros((8, 16_400, 3), np.uint8)
    hr, lr = ShardSettings(hr_format="webp").formats()
    assert lr.encode(wide)
    with pytest.raises(UsageError, match="`hr_format=webp`: a picture of 16400 x 8 pixels"):
        hr.encode(wide)
