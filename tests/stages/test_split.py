"""Photos that are set apart for validation: none of them is on both sides."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds

from degflow_pipe import SRPairs, sr_pairs
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.levels import parse_t
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.shards.split import Split
from degflow_pipe.shards.tars import TarJob
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.remove import remove
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import verify
from tests.stages.stores import PowerCut, stopping

Tree = Callable[[Path], dict[str, bytes]]

BY_NAME = ShardSettings(validate="chelsea.jpg", shard_size=10)


def photos_of(folder: Path, split: str) -> set[str]:
    pairs = SRPairs(folder, split)
    return {pairs[i][2]["source"] for i in range(len(pairs))}


def test_a_photo_is_on_one_side(store: Path, tmp_path: Path) -> None:
    done = shard(store, tmp_path / "out", BY_NAME)
    assert done.validation is not None
    assert (done.patches, done.validation.patches) == (21, 6)
    assert photos_of(tmp_path / "out", "validate") == {"chelsea.jpg"}
    assert photos_of(tmp_path / "out", "train") == {"astronaut.png", "sub/coffee.webp"}
    streamed = sr_pairs(tmp_path / "out", split="validate", shuffle=0, flips=False)
    assert {info["source"] for *_, info in streamed} == {"chelsea.jpg"}
    read = wds.WebDataset([str(p) for p in (tmp_path / "out").glob("*.tar")], shardshuffle=False)
    assert not any(b"chelsea" in sample["json"] for sample in read)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "split: validation\n    path: validate/degflow-*.tar" in card


def test_all_pairs_are_there_once(store: Path, tmp_path: Path) -> None:
    shard(store, tmp_path / "whole", ShardSettings(shard_size=10))
    shard(store, tmp_path / "out", BY_NAME)
    sides = [SRPairs(tmp_path / "out", split) for split in ("train", "validate")]
    found = [*sides[0].keys(), *sides[1].keys()]
    assert sorted(found) == list(SRPairs(tmp_path / "whole").keys())


def test_a_share_leaves_photos_where_they_are() -> None:
    """Whatever photos are added, and in which order."""
    rng = np.random.default_rng(0)
    photos = [(f"{i}.png", rng.bytes(32).hex()) for i in range(2000)]
    split = Split.of("5%")
    split.check(photos)
    chosen = {photo for photo in photos if split.validates(*photo)}
    assert abs(len(chosen) - 100) < 40
    for part in (photos[:300], photos[::-3]):
        assert {photo for photo in part if split.validates(*photo)} == chosen & {*part}
    more = Split.of("10%")
    assert chosen <= {photo for photo in photos if more.validates(*photo)}


def test_photos_that_are_added_move_no_other(
    photo_folder: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    store, sides = tmp_path / "a.zarr", []
    share = ShardSettings(validate="60%")
    for photos in (["astronaut.png", "chelsea.jpg"], ["sub/coffee.webp"]):
        ingest([str(photo_folder / name) for name in photos], store, tiny_model, patch=64)
        generate(store, tiny_model, parse_t("1"))
        out = tmp_path / f"out{len(sides)}"
        shard(store, out, share)
        sides.append({split: photos_of(out, split) for split in ("train", "validate")})
    before, after = sides
    assert all(before[split] <= after[split] for split in before)
    assert not after["train"] & after["validate"]


def test_a_list_may_be_a_file(store: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("sub/coffee.webp\n\nchelsea.jpg\n")
    shard(store, tmp_path / "out", ShardSettings(validate=str(tmp_path / "list.txt")))
    assert photos_of(tmp_path / "out", "train") == {"astronaut.png"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nobody.png", "the store has no photo 'nobody.png'"),
        ("0%", "above 0% and below 100%"),
        ("100%", "above 0% and below 100%"),
        (" , ", "wants a share such as 5%"),
        ("0.0000001%", "none of the 3 photos falls into"),
        ("99.9999999%", "no photo is left"),
        ("astronaut.png,chelsea.jpg,sub/coffee.webp", "no photo is left"),
    ],
)
def test_a_split_that_cannot_be_is_refused(
    store: Path, tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(UsageError, match=f"`validate`.*{why}"):
        shard(store, tmp_path / "out", ShardSettings(validate=text))
    assert not (tmp_path / "out").exists()


def test_a_stop_does_not_matter(store: Path, tmp_path: Path, tree: Tree) -> None:
    shard(store, tmp_path / "wanted", BY_NAME)
    with pytest.raises(PowerCut):
        shard(store, tmp_path / "out", BY_NAME, workers=1, engine=stopping(TarJob, 1))
    assert shard(store, tmp_path / "out", BY_NAME, engine=run_in_threads).made > 0
    assert tree(tmp_path / "out") == tree(tmp_path / "wanted")


def test_what_was_set_apart_does_not_stay_beside_shards_of_all(store: Path, tmp_path: Path) -> None:
    shard(store, tmp_path / "out", BY_NAME)
    with pytest.raises(ShardError, match=r"(set apart|other settings).*`overwrite`"):
        shard(store, tmp_path / "out", ShardSettings(shard_size=10))
    shard(store, tmp_path / "out", ShardSettings(shard_size=10), overwrite=True)
    assert not (tmp_path / "out" / "validate").exists()
    with pytest.raises(ShardError, match="has no validation set"):
        SRPairs(tmp_path / "out", "validate")


def test_verify_reads_both_sides(store: Path, tmp_path: Path) -> None:
    shard(store, tmp_path / "out", BY_NAME)
    assert verify(tmp_path / "out").whole
    tar = next((tmp_path / "out" / "validate").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    (damage,) = verify(tmp_path / "out").damage[:1]
    assert str(tar) in damage


@pytest.mark.parametrize("split", ["auto", "none", "val", (0, 2)])
def test_another_split_is_refused(store: Path, tmp_path: Path, split: str) -> None:
    shard(store, tmp_path / "out")
    with pytest.raises(UsageError, match=r"'train' or 'validate'.*ranks="):
        sr_pairs(tmp_path / "out", split=split)


def test_a_list_that_changed_is_another_split(store: Path, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("chelsea.jpg")
    listed = ShardSettings(validate=str(names), shard_size=10)
    shard(store, tmp_path / "out", listed)
    names.write_text("\ufeffchelsea.jpg\nsub/coffee.webp\n", encoding="utf-8")
    with pytest.raises(ShardError, match="other settings"):
        shard(store, tmp_path / "out", listed)
    shard(store, tmp_path / "out", listed, overwrite=True)
    assert photos_of(tmp_path / "out", "train") == {"astronaut.png"}
    assert photos_of(tmp_path / "out", "validate") == {"chelsea.jpg", "sub/coffee.webp"}


def test_no_photo_is_on_both_sides_when_a_change_is_stopped(store: Path, tmp_path: Path) -> None:
    """Between the two sides: one of them is unfinished, and so not read."""
    out = tmp_path / "out"
    shard(store, out, ShardSettings(validate="chelsea.jpg,sub/coffee.webp"))

    def first_side(
        job: Any, works: Any, workers: int, cost: Any = None, hear: Any = None
    ) -> Iterator[Any]:
        if Path(job.out).name == "validate":
            raise PowerCut
        yield from run_in_threads(job, works, workers, cost)

    with pytest.raises(PowerCut):
        shard(store, out, BY_NAME, overwrite=True, engine=first_side)
    sides = []
    for split in ("train", "validate"):
        with suppress(ShardError):
            sides.append(photos_of(out, split))
    assert len(sides) < 2 or not sides[0] & sides[1]
    shard(store, out, BY_NAME, overwrite=True)
    assert photos_of(out, "validate") == {"chelsea.jpg"}


def test_photos_that_went_leave_the_shards(store: Path, tmp_path: Path) -> None:
    shard(store, tmp_path / "out", ShardSettings(shard_size=5))
    remove(["sub/coffee.webp"], store)
    shard(store, tmp_path / "out", ShardSettings(shard_size=5))
    assert photos_of(tmp_path / "out", "train") == {"astronaut.png", "chelsea.jpg"}
    assert verify(tmp_path / "out").whole


def test_a_lost_validation_set_is_damage(store: Path, tmp_path: Path) -> None:
    shard(store, tmp_path / "out", BY_NAME)
    shutil.rmtree(tmp_path / "out" / "validate")
    assert any(
        "validate, what was set apart, is missing" in d for d in verify(tmp_path / "out").damage
    )
