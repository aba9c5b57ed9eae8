"""repair: what is damaged is made again as it was, and nothing that is whole is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import FileError, StoreError
from degflow_pipe.levels import parse_scales
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.remove import remove
from degflow_pipe.stages.repair import repair
from degflow_pipe.stages.shard import shard
from degflow_pipe.store import Store
from tests.stages.stores import grid_in

GRID = parse_scales("2,4", 4.0)
SETTINGS = ShardSettings(shard_size=20)

Flip = Callable[[Path], None]
Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def whole(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    shard(ready_store, out, SETTINGS)
    return out


@pytest.fixture
def shards(whole: Path, tmp_path: Path) -> Path:
    """A data set of three tars, to damage."""
    return Path(shutil.copytree(whole, tmp_path / "shards"))


def layers_of(store: Path) -> tuple[str, str]:
    """Files of latents and of levels."""
    (encoder,) = Store.open(store).encoders()
    return f"latents/{encoder}/c.0.0.0.0", f"levels/{grid_in(store, GRID).name}/c.1.0.0.0.0"


def test_what_is_whole_is_left_as_it_is(
    store: Path, shards: Path, ready_store: Path, whole: Path, tiny: str, tiny_model: DegFlow
) -> None:
    for found in (
        repair(store, model=tiny_model),
        repair(shards, store=store),
        repair(Path(tiny)),
    ):
        assert (found.whole, found.damage, found.mended) == (True, [], [])


@pytest.mark.parametrize("how", ["flipped", "gone", "short"])
def test_latents_and_levels_are_made_again_as_they_were(
    store: Path, ready_store: Path, tiny_model: DegFlow, tree: Tree, flip: Flip, how: str
) -> None:
    for name in layers_of(store):
        path = store / name
        if how == "flipped":
            flip(path)
        elif how == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-9])
    found = repair(store, model=tiny_model, workers=1)
    assert (found.whole, found.damage, len(found.mended)) == (True, [], 2)
    assert found.mended[0].startswith("latents of unit 0 by tiny-")
    assert found.mended[1].startswith("levels of block 1 of ")
    assert tree(store) == tree(ready_store)


def test_what_another_checkpoint_made_is_left_and_told(
    store: Path, other_checkpoint: DegFlow, tree: Tree, flip: Flip
) -> None:
    for name in layers_of(store):
        flip(store / name)
    before = tree(store)
    for model in (other_checkpoint, None):
        found = repair(store, model=model)
        assert (found.whole, found.mended) == (False, [])
        assert any("run `generate` again" in line for line in found.damage)
        assert tree(store) == before


@pytest.mark.parametrize("how", ["flipped", "truncated"])
def test_damaged_hr_come_back_by_an_ingest(
    store: Path,
    ready_store: Path,
    photo_folder: Path,
    tiny_model: DegFlow,
    tree: Tree,
    flip: Flip,
    how: str,
) -> None:
    path = store / "hr" / "c.0.0.0.0"
    if how == "flipped":
        flip(path)
    else:
        path.write_bytes(path.read_bytes()[:-100])
    found = repair(store, model=tiny_model)
    assert not found.whole
    if how == "flipped":
        (told,) = [line for line in found.damage if "are lost" in line]
        assert "run `ingest` again with" in told and "or `remove` them" in told
    assert any("ingest its photos again" in line for line in found.damage)
    ingest([str(photo_folder)], store, tiny_model, patch=64)
    assert tree(store) == tree(ready_store)


def test_whole_blocks_of_damaged_hr_outlast_photos_that_are_gone(
    store: Path, ready_store: Path, tiny_model: DegFlow, flip: Flip
) -> None:
    """Of 27 patches in two blocks the second block, 11 patches, is not hit."""
    before = Store.open(ready_store)
    first = (store / "hr" / "c.0.0.0.0").read_bytes()
    damaged = bytearray(first)
    damaged[len(first) // 8] ^= 0x10
    (store / "hr" / "c.0.0.0.0").write_bytes(damaged)
    found = repair(store, model=tiny_model)
    (told,) = [line for line in found.damage if "are lost" in line]
    assert "16 of its 27 patches are lost" in told
    patches = before.patches(0)
    hit = {patch.source for patch in patches[:16]}
    kept = {patch.source for patch in patches[16:]} - hit
    assert kept, "a photo that has none of its patches in the damaged block"
    remove(sorted(hit), store)
    after = Store.open(store)
    (number,) = after.units
    assert {patch.source for patch in after.patches(number)} == kept
    assert repair(store, model=tiny_model).whole


def test_a_store_whose_ledger_is_damaged_is_left_to_ingest(
    store: Path, tiny_model: DegFlow, tree: Tree, flip: Flip
) -> None:
    flip(store / "done" / "hr" / "00000000.jsonl")
    before = tree(store)
    found = repair(store, model=tiny_model)
    assert not found.whole and found.mended == []
    assert tree(store) == before


def test_a_damaged_ledger_of_levels_is_told(store: Path, tiny_model: DegFlow, flip: Flip) -> None:
    """What its lines said is not known any more, so that it is no whole store that is left."""
    (ledger,) = (store / "done" / "levels").glob("*/00000000.jsonl")
    flip(ledger)
    found = repair(store, model=tiny_model)
    assert not found.whole and any("run `generate" in told for told in found.damage)


def test_what_is_whole_outlasts_a_disk_that_takes_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch, flip: Flip
) -> None:
    chunk = store / "hr" / "c.0.0.0.0"
    flip(chunk)
    before = chunk.read_bytes()

    def full(path: Path, data: bytes) -> None:
        raise FileError(f"{path}: cannot write: No space left on device")

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(FileError, match="No space left"), Store.open(store).writing():
        Store.open(store).salvage(0)
    assert chunk.read_bytes() == before


@pytest.mark.parametrize("name", ["degflow-000001.tar", "degflow-000002.index.jsonl"])
@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_tars_and_indexes_are_made_again_as_they_were(
    shards: Path, whole: Path, ready_store: Path, tree: Tree, flip: Flip, name: str, how: str
) -> None:
    if how == "flipped":
        flip(shards / name)
    else:
        (shards / name).unlink()
    assert not repair(shards).whole, "of nothing"
    found = repair(shards, store=ready_store, workers=1)
    assert (found.whole, found.damage) == (True, [])
    assert found.mended == [f"{shards / name} was made again"]
    assert tree(shards) == tree(whole)


def test_what_was_set_apart_is_made_again_too(
    ready_store: Path, tmp_path: Path, tree: Tree, flip: Flip
) -> None:
    shard(ready_store, tmp_path / "out", ShardSettings(shard_size=20, validate="50%"))
    before = tree(tmp_path / "out")
    flip(tmp_path / "out" / "validate" / "degflow-000000.tar")
    found = repair(tmp_path / "out", store=ready_store)
    assert found.whole and len(found.mended) == 1
    assert tree(tmp_path / "out") == before


def test_tars_of_a_store_that_was_changed_stay_as_they_are(
    shards: Path, store: Path, tree: Tree, flip: Flip
) -> None:
    remove(["chelsea.jpg"], store)
    flip(shards / "degflow-000001.tar")
    before = tree(shards)
    found = repair(shards, store=store)
    assert (found.whole, found.mended) == (False, [])
    assert any("comes out otherwise" in line for line in found.damage)
    shutil.rmtree(store)
    found = repair(shards, store=store)
    assert any("cannot be made again" in line for line in found.damage)
    assert tree(shards) == before


def test_no_store_is_no_repair(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text("{}")
    with pytest.raises(StoreError):
        repair(tmp_path)
