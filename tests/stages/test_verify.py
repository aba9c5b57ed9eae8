"""verify and info: what is whole, and damage that is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from degflow_pipe import export, json_files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import DegflowError, ShardError, StoreError, UsageError
from degflow_pipe.folders import MARK
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import parse_scales
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.inspection import (
    CheckpointContents,
    GridContents,
    LatentContents,
    ShardsContents,
    StoreContents,
    Verified,
)
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import info, kind_of, verify
from degflow_pipe.store import Store

GRID = parse_scales("2,4", 4.0)

Flip = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    shard(ready_store, out, ShardSettings(shard_size=20))
    return out


@pytest.fixture
def shards(whole: Path, tmp_path: Path) -> Path:
    """A data set of three tars, to damage."""
    return Path(shutil.copytree(whole, tmp_path / "shards"))


@pytest.fixture
def checkpoint(tiny: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "checkpoint"))


def damage_of(path: Path) -> list[str]:
    return list(verify(path, workers=1).damage)


def test_whole_things_have_no_damage(ready_store: Path, whole: Path, tiny: str) -> None:
    assert verify(ready_store) == Verified("store", 1, [], whole=True)
    assert verify(whole) == Verified("shards", 8, [], whole=True)
    assert verify(Path(tiny)) == Verified("checkpoint", 1, [], whole=True)


def test_grouped_and_native_shards_are_whole_too(ready_store: Path, tmp_path: Path) -> None:
    settings = ShardSettings(layout="grouped", lr_size="native", picture_format="webp")
    shard(ready_store, tmp_path / "out", settings)
    assert damage_of(tmp_path / "out") == []


@pytest.mark.parametrize(
    "name", ["degflow-000001.tar", "README.md", "contact_sheet.png", "degflow-000001.index.jsonl"]
)
def test_a_flipped_bit_of_a_file_is_found(shards: Path, flip: Flip, name: str) -> None:
    flip(shards / name)
    (line,) = damage_of(shards)
    assert line.startswith(
        f"{shards / name} differs from its SHA-256: mend it of its store, or run"
    )


@pytest.mark.parametrize("damage", ['{"kind": "stire"}', '{"kind": "store", "a": 1}', "x"])
def test_a_damaged_mark_of_the_folder_is_found(
    shards: Path, ready_store: Path, tmp_path: Path, damage: str
) -> None:
    store = Path(shutil.copytree(ready_store, tmp_path / "store"))
    for folder in (shards, store):
        (folder / MARK).write_text(damage)
        assert any(MARK in line for line in damage_of(folder))
    (shards / MARK).unlink()  # as a copy without hidden files lacks it
    assert damage_of(shards) == []


def test_a_truncated_tar_is_found(shards: Path) -> None:
    path = shards / "degflow-000001.tar"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    (found,) = damage_of(shards)  # that the index does not fit either, comes of it
    assert found.startswith(f"{path} differs from its SHA-256")


@pytest.mark.parametrize("name", ["degflow-000001.tar", "degflow-000001.index.jsonl", "README.md"])
def test_a_missing_file_is_found(shards: Path, name: str) -> None:
    (shards / name).unlink()
    assert any(line.startswith(f"{shards / name} is missing") for line in damage_of(shards))


def test_a_tar_with_a_wrong_sum_in_its_place_is_found(shards: Path) -> None:
    """Two tars exchanged: each is a good tar, neither is the right one."""
    a, b = shards / "degflow-000000.tar", shards / "degflow-000001.tar"
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)
    found = damage_of(shards)
    assert any(line.startswith(f"{a} differs from its SHA-256") for line in found)
    assert any(line.startswith(f"{b} differs from its SHA-256") for line in found)


def resum(folder: Path, name: str) -> None:
    """Make the sum of a file fit again, so that only its content can tell."""
    import hashlib

    path = folder / "degflow.sha256"
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}"
        if line.endswith(f"  {name}")
        else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("how", ["offset", "key", "drop", "repeat", "not json", "not a sample"])
def test_an_edited_index_is_found_though_its_sum_fits(shards: Path, how: str) -> None:
    path = shards / "degflow-000001.index.jsonl"
    lines = path.read_text().splitlines()
    if how in ("offset", "key"):
        line = json.loads(lines[5])
        if how == "offset":
            line["members"]["hr.png"][0] += 512
        else:
            line["key"] += "x"
        lines[5] = json.dumps(line)
    elif how == "drop":
        del lines[5]
    elif how == "repeat":
        lines.append(lines[-1])
    else:
        lines[5] = "{" if how == "not json" else "[]"
    path.write_text("".join(f"{line}\n" for line in lines))
    assert any(line.startswith(f"{path} differs from its SHA-256") for line in damage_of(shards))
    resum(shards, path.name)
    found = damage_of(shards)
    # The ledger knows the index too, where it is there.
    assert any("index.jsonl" in line or f"{shards}: " in line for line in found)
    shutil.rmtree(shards / ".degflow")
    found = damage_of(shards)
    assert len(found) == 1
    assert "index.jsonl" in found[0] or f"{shards}: " in found[0]


def test_a_count_that_is_wrong_is_found(shards: Path) -> None:
    path = shards / "degflow.json"
    figures = json_files.read_summed(path)
    json_files.write_summed(path, {**figures, "samples": 53, "pairs": 53})
    assert damage_of(shards) == [f"{shards}: 54 samples found, 53 expected"]


@pytest.mark.parametrize("ending", [".tar", ".index.jsonl"])
def test_a_file_without_a_sum_is_found(shards: Path, ending: str) -> None:
    path = shards / "degflow.sha256"
    lines = [line for line in path.read_text().splitlines() if f"000002{ending}" not in line]
    path.write_text("".join(f"{line}\n" for line in lines))
    assert f"degflow-000002{ending} has no sum in degflow.sha256" in damage_of(shards)


@pytest.mark.parametrize("how", ["other", "strange", "lost"])
def test_a_ledger_of_other_tars_is_found(shards: Path, how: str) -> None:
    """Its sums fit; a folder without it is whole, as a copy may lack it."""
    with Ledger(shards / ".degflow") as ledger:
        if how == "other":
            ledger.write(1, ledger.record(0))
        elif how == "strange":
            ledger.write(1, {**ledger.record(1), "squared_error": {"t1000": [1]}})
        else:
            ledger.remove(1)
    assert any(".degflow" in line and "`overwrite` them" in line for line in damage_of(shards))
    shutil.rmtree(shards / ".degflow")
    assert damage_of(shards) == []


@pytest.mark.parametrize("line", ["abc", f"{'0' * 64}  ../outside", f"{'0' * 64}  /etc/passwd"])
def test_sums_of_files_outside_the_folder_are_refused(shards: Path, line: str) -> None:
    with (shards / "degflow.sha256").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ShardError, match=r"degflow\.sha256 is damaged"):
        verify(shards)


def test_an_unfinished_folder_is_refused_with_the_way_on(shards: Path) -> None:
    (shards / "degflow.json").unlink()
    with pytest.raises(ShardError, match=r"no finished shards.*run `shard\(\)` to its end"):
        verify(shards)
    with pytest.raises(ShardError, match="no finished shards"):
        info(shards)


@pytest.mark.parametrize(
    "content, reason",
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": "other"}', "is not of degflow-pipe shards"),
        ('{"format": "degflow-pipe shards", "version": 9}', "version 9.*upgrade"),
    ],
)
def test_damaged_foreign_and_newer_figures_are_refused(
    shards: Path, content: str, reason: str
) -> None:
    (shards / "degflow.json").write_text(content)
    with pytest.raises(DegflowError, match=reason):
        verify(shards)


def test_damage_of_a_store_is_named_by_unit_and_array(two_units: Path, flip: Flip) -> None:
    (grid,) = Store.open(two_units).grids()
    flip(two_units / "hr" / "c.0.0.0.0")
    flip(two_units / "levels" / grid / "c.4.0.0.0.0")
    (two_units / "levels" / grid / "c.5.0.0.0.0").unlink()
    found = verify(two_units)
    assert (found.kind, found.checked, found.whole) == ("store", 2, False)
    first, second, third = found.damage
    assert str(two_units / "hr" / "c.0.0.0.0") in first
    assert str(two_units / "levels" / grid / "c.4.0.0.0.0") in second
    assert "block 5 " in third and grid in third and "run `generate` again" in third


def test_a_unit_of_a_store_that_lost_its_line_is_found(store: Path) -> None:
    (store / "done" / "hr" / "00000000.jsonl").unlink()
    assert any("has lost 12 of its 12 patches" in line for line in damage_of(store))


def test_a_damaged_ledger_is_told_by_info_too(store: Path, flip: Flip) -> None:
    """Counts of what is left of it would pass for those of the store."""
    for ledger in sorted((store / "done").rglob("*.jsonl")):
        whole = ledger.read_bytes()
        flip(ledger)
        with pytest.raises(StoreError, match=r"00000000\.jsonl is damaged at line .* again"):
            info(store)
        ledger.write_bytes(whole)
    info(store)


@pytest.mark.parametrize("layer", ["levels", "latents"])
def test_what_was_made_of_other_patches_is_found(store: Path, layer: str) -> None:
    source = Store.open(store)
    (name,) = source.grids() if layer == "levels" else source.encoders()
    with Ledger(store / "done" / layer / name) as ledger:
        record = ledger.record(0)
        ledger.write(0, {**record, "hr": ["0" * 16, *record["hr"][1:]]})
    (wrong,) = damage_of(store)
    what = f"block 0 of {store}: levels of {name}" if layer == "levels" else "latents of tiny-"
    assert what in wrong and "are not there, or not of its patches" in wrong


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_damage_of_a_checkpoint_is_found(checkpoint: Path, flip: Flip, name: str) -> None:
    if name == "config.json":
        data = json_files.read_summed(checkpoint / name)
        json_files.write_summed(checkpoint / name, {**data, "weights_sha256": "0" * 64})
    else:
        flip(checkpoint / name)
    (wrong,) = damage_of(checkpoint)
    assert "model.safetensors is damaged: its SHA-256" in wrong


def test_what_is_none_of_the_three_is_refused(tmp_path: Path) -> None:
    nothing = "neither a store, nor shards, nor an export, nor a check"
    for path, why in ((tmp_path, nothing), (tmp_path / "nowhere", "no such file or folder")):
        with pytest.raises(UsageError, match=why):
            kind_of(path)


def test_an_export_is_sent_to_the_doctor(whole: Path, tmp_path: Path) -> None:
    export(whole, "basicsr", tmp_path / "out")
    with pytest.raises(UsageError, match=r"out is an export: `doctor\(folder='.*out', to="):
        info(tmp_path / "out")
    with pytest.raises(ShardError, match="out is an export, not shards: name those"):
        export(tmp_path / "out", "basicsr", tmp_path / "other")


def test_info_of_a_store(ready_store: Path, tiny_model: DegFlow) -> None:
    checkpoint = tiny_model.info.id
    found = info(ready_store)
    assert isinstance(found, StoreContents)
    assert (found.kind, found.patch, found.units) == ("store", 64, 1)
    assert (found.photos, found.patches, found.colours) == (3, 27, {"sRGB": 3})
    assert list(found.latents.values()) == [LatentContents(checkpoint, 27)]
    assert list(found.grids.values()) == [
        GridContents(
            title="",
            t=GRID.t,
            scale=[2.0, 4.0],
            levels=["x2", "x4"],
            sr_scale=0.0,
            noise="none",
            checkpoint=checkpoint,
            precision="float32",
            patches=27,
        )
    ]
    assert found.skipped == {}


def test_info_counts_what_is_there(store: Path) -> None:
    next((store / "levels").rglob("c.1.*")).unlink()
    next((store / "latents").rglob("c.0.*")).unlink()
    found = info(store)
    assert isinstance(found, StoreContents)
    assert [grid.patches for grid in found.grids.values()] == [16]
    assert [latents.patches for latents in found.latents.values()] == [0]


def test_info_of_shards_and_of_a_checkpoint(whole: Path, tiny: str) -> None:
    shards = info(whole)
    assert isinstance(shards, ShardsContents)
    assert (shards.kind, shards.name, shards.pairs) == ("shards", "degflow", 54)
    assert shards.tars == [f"degflow-{n:06d}.tar" for n in range(3)]
    checkpoint = info(Path(tiny))
    assert isinstance(checkpoint, CheckpointContents)
    assert (checkpoint.kind, checkpoint.name) == ("checkpoint", "tiny")
    assert checkpoint.id.startswith("tiny-")
