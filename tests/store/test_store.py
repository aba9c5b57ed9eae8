"""The store: real zarr arrays on disk, what they hold, and damage that is found."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from degflow_pipe import files, json_files
from degflow_pipe.errors import DegflowError, FileError, StoreError, UsageError
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import Grid, parse_t
from degflow_pipe.stages.verify import verify
from degflow_pipe.store import (
    BLOCK,
    BLOCKS,
    UNIT,
    Encoder,
    PatchRecord,
    PhotoRecord,
    Store,
    StoreSettings,
    Unit,
)
from degflow_pipe.store.damage import damage, described_wrongly
from degflow_pipe.store.description import write_again
from degflow_pipe.store.lacking import lacking
from degflow_pipe.store.layers import Layer
from degflow_pipe.store.records import photo_key

SETTINGS = StoreSettings(patch=16)
COUNTS = (UNIT, 5)
"""Patches in the units of `filled`."""
ENCODER = Encoder("0123456789ab", "tiny-0123456789ab", [4, 2, 2])
ANOTHER = Encoder("ba9876543210", "other-9876543210ab", [2, 2, 2])
GRID = Grid(
    parse_t("0.25,1").levels,
    scales=(1.75, 4.0),
    checkpoint=ENCODER.checkpoint,
    precision="float32",
    pictures="aaaaaaaaaaaa",
    scale_map="bbbbbbbbbbbb",
)
OTHER = replace(
    GRID,
    levels=parse_t("0.5,0.75,1").levels,
    scales=(2.0, 3.1, 4.0),
    noise="calibrated-0-0123456789ab",
    checkpoint=ANOTHER.checkpoint,
    pictures="cccccccccccc",
)
CPU = {"device": "cpu"}
PHOTOS = ("ab" * 32, "cd" * 32)
"""Hashes of the photos, one a unit."""

Tree = Callable[[Path], dict[str, bytes]]
Flip = Callable[[Path], None]


def hr_content(unit: int) -> np.ndarray:
    rng = np.random.default_rng(unit)
    return rng.integers(0, 256, (COUNTS[unit], 16, 16, 3), dtype=np.uint8)


def latent_content(encoder: Encoder, unit: int) -> np.ndarray:
    rng = np.random.default_rng([int(encoder.id, 16), unit])
    return rng.normal(size=(COUNTS[unit], *encoder.shape)).astype(np.float32)


def level_content(grid: Grid, block: int) -> np.ndarray:
    rng = np.random.default_rng([len(grid), block])
    unit, place = divmod(block, BLOCKS)
    count = min(BLOCK, COUNTS[unit] - place * BLOCK)
    return rng.integers(0, 256, (count, len(grid), 16, 16, 3), dtype=np.uint8)


def patches(unit: int) -> list[PatchRecord]:
    return [
        PatchRecord(f"photo{unit}.png", PHOTOS[unit], 0, 16 * i, 3.5, f"{unit}{i:031d}")
        for i in range(COUNTS[unit])
    ]


def photo(unit: int) -> PhotoRecord:
    return PhotoRecord(f"photo{unit}.png", PHOTOS[unit], COUNTS[unit], 2, 1, 16, 1.0, "sRGB")


def put_hr(store: Store, number: int, hr: np.ndarray, records: list[PatchRecord]) -> Unit:
    store.make_room(number)
    unit = store.write_hr(number, hr)
    store.note_unit(number, unit, records)
    return unit


def put_latents(store: Store, encoder: Encoder, number: int) -> None:
    layer, unit = store.latents(encoder), store.units[number]
    layer.note(number, layer.write(number, latent_content(encoder, number), unit, CPU))


def put_levels(store: Store, grid: Grid, block: int) -> None:
    layer, unit = store.levels(grid), store.units[block // BLOCKS]
    layer.note(block, layer.write(block, level_content(grid, block), unit, CPU))


def fill(store: Store, encoder: Encoder, grid: Grid) -> None:
    """Latents of an encoder and levels of a grid for all that there is."""
    with store.writing():
        store.make_encoder(encoder)
        store.make_grid(grid)
        for number in store.units:
            put_latents(store, encoder, number)
        for block, _ in store.blocks():
            put_levels(store, grid, block)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two units, whole, with the latents of ENCODER and the levels of GRID. Do not write here."""
    path = tmp_path_factory.mktemp("made") / "a.zarr"
    store = Store.create(path, SETTINGS)
    with store.writing():
        store.note_ingest(complete=False)
        for number in range(2):
            put_hr(store, number, hr_content(number), patches(number))
            store.note_photo(photo(number))
        store.note_skipped({"b.png": "too small"}, set())
        store.note_ingest(complete=True)
    fill(store, ENCODER, GRID)
    return path


@pytest.fixture
def filled(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` to write to."""
    return Path(shutil.copytree(made, tmp_path / "a.zarr"))


@pytest.fixture(scope="session")
def made_small(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`made` with its second unit alone, which is read in no time. Do not write here."""
    path = Path(shutil.copytree(made, tmp_path_factory.mktemp("small") / "a.zarr"))
    store = Store.open(path)
    with store.writing():
        store.drop(0)
        store.forget_photo(photo_key(PHOTOS[0]))
    return path


@pytest.fixture
def small(made_small: Path, tmp_path: Path) -> Path:
    """A copy of `made_small` to write to."""
    return Path(shutil.copytree(made_small, tmp_path / "a.zarr"))


def edit_summed(path: Path, change: Callable[[Any], None]) -> None:
    data = json_files.read_summed(path)
    change(data)
    json_files.write_summed(path, data)


def description(store: Path, name: str) -> Path:
    """encoder.json or grid.json of ENCODER and GRID."""
    at = f"latents/{ENCODER.id}" if name == "encoder.json" else f"levels/{GRID.name}"
    return store / "done" / at / name


def arrays(store: Path) -> dict[str, Path]:
    return {
        "hr": store / "hr",
        "latents": store / "latents" / ENCODER.id,
        "levels": store / "levels" / GRID.name,
    }


def present(layer: Layer, store: Store) -> list[int]:
    """Numbers of the files that count."""
    return [
        n for number, unit in store.units.items() for n in layer.numbers(number)
        if layer.has(n, unit)
    ]  # fmt: skip


# ---- what is written and read


def test_a_new_store_is_empty_and_awaits_an_ingest(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "deep" / "a.zarr", SETTINGS)
    assert store.settings == SETTINGS
    assert (store.units, store.grids(), store.encoders()) == ({}, [], [])
    assert (store.skipped(), store.photos(), store.complete) == ({}, {}, False)
    (told,) = lacking(store)
    assert "an ingest was not run to its end" in told
    with store.writing():
        store.note_ingest(complete=True)
    assert lacking(Store.open(store.path)) == []
    assert Store.open(store.path).settings == SETTINGS


def test_what_was_written_is_read_back_by_another_opening(filled: Path) -> None:
    store = Store.open(filled)
    assert list(store.units) == [0, 1]
    for number, unit in store.units.items():
        assert unit.count == COUNTS[number]
        assert store.patches(number) == patches(number)
        assert np.array_equal(store.hr(number), hr_content(number))
        latents = store.latents(store.encoder(ENCODER.id))
        assert np.array_equal(latents.read(number, unit), latent_content(ENCODER, number))
        assert latents.made[number].computed == CPU
    assert [(block, unit.count) for block, unit in store.blocks()] == [
        *((block, UNIT) for block in range(BLOCKS)),
        (BLOCKS, 5),
    ]
    for block, unit in store.blocks():
        levels = store.levels(store.grid(GRID.name))
        assert np.array_equal(levels.read(block, unit), level_content(GRID, block))
    assert dict(store.every_patch()) == {0: patches(0), 1: patches(1)}
    assert store.photos() == {photo_key(PHOTOS[n]): photo(n) for n in range(2)}
    assert store.skipped() == {"b.png": "too small"}
    assert store.complete


def test_blocks_are_parts_of_units(filled: Path) -> None:
    store = Store.open(filled)
    latents, levels = store.latents(ENCODER), store.levels(GRID)
    for block, unit in store.blocks():
        number, place = divmod(block, BLOCKS)
        part = slice(place * BLOCK, (place + 1) * BLOCK)
        assert np.array_equal(store.block_hr(block), hr_content(number)[part])
        found = latents.block(block, unit, latents.made[number])
        assert np.array_equal(found, latent_content(ENCODER, number)[part])
        found = levels.block(block, unit, levels.made[block])
        assert np.array_equal(found, level_content(GRID, block))


def test_any_zarr_reader_finds_the_arrays(filled: Path) -> None:
    """Places that a short unit leaves are 0; patch n of unit u lies at u * UNIT + n."""
    group = zarr.open_group(str(filled), mode="r")
    hr = group["hr"][:]
    assert hr.shape == (2 * UNIT, 16, 16, 3)
    assert np.array_equal(hr[:UNIT], hr_content(0))
    assert np.array_equal(hr[UNIT : UNIT + 5], hr_content(1))
    assert not hr[UNIT + 5 :].any()
    latents = group[f"latents/{ENCODER.id}"]
    assert np.array_equal(latents[UNIT : UNIT + 5], latent_content(ENCODER, 1))
    levels = group[f"levels/{GRID.name}"]
    assert levels.attrs["t"] == ["0.25", "1"]
    assert levels.attrs["checkpoint"] == ENCODER.checkpoint
    assert np.array_equal(levels[UNIT : UNIT + 5], level_content(GRID, BLOCKS))
    assert np.array_equal(levels[BLOCK : 2 * BLOCK], level_content(GRID, 1))
    assert dict(group.attrs)["degflow"]["patch"] == 16


def test_a_unit_is_one_file_of_hr_and_latents_and_a_block_one_of_levels(filled: Path) -> None:
    found = {
        name: len([p for p in folder.rglob("*") if p.is_file() and p.name != "zarr.json"])
        for name, folder in arrays(filled).items()
    }
    assert found == {"hr": 2, "latents": 2, "levels": BLOCKS + 1}


def test_a_store_grows_without_touching_what_is_there(filled: Path, tree: Tree) -> None:
    store = Store.open(filled)
    before = tree(filled)
    hr = hr_content(1)
    with store.writing():
        put_hr(store, 2, hr[::-1], patches(1))
    after = tree(filled)
    changed = {name for name in before if after[name] != before[name]}
    ledger = "done/hr/00000000.jsonl"
    # The new shapes of the arrays, and a line more.
    assert changed == {*(path for path in before if path.endswith("/zarr.json")), ledger} - {
        "latents/zarr.json",
        "levels/zarr.json",
    }
    assert after[ledger].startswith(before[ledger])
    store = Store.open(filled)
    assert list(store.units) == [0, 1, 2]
    assert np.array_equal(store.hr(2), hr[::-1])
    assert np.array_equal(store.hr(1), hr)


def test_units_are_in_rising_order_whatever_came_last(filled: Path) -> None:
    store = Store.open(filled)
    with store.writing():
        for number in (5, 3):
            put_hr(store, number, hr_content(1), patches(1))
        store.drop(0)
        put_hr(store, 0, hr_content(0), patches(0))
    assert list(store.units) == list(Store.open(filled).units) == [0, 1, 3, 5]


def test_room_is_never_taken_away(filled: Path) -> None:
    store = Store.open(filled)
    with store.writing():
        store.make_room(0)
    assert np.array_equal(store.hr(1), hr_content(1))
    assert described_wrongly(store) == []


def test_black_patches_are_no_file_and_no_damage(filled: Path) -> None:
    """zarr writes no file where all is 0."""
    store = Store.open(filled)
    with store.writing():
        unit = put_hr(store, 2, np.zeros((5, 16, 16, 3), np.uint8), patches(1))
    store = Store.open(filled)
    assert (unit.bytes, store.has_hr(2)) == (0, True)
    assert not store.hr(2).any()
    assert verify(filled).damage == []


def test_encoders_and_grids_live_side_by_side(filled: Path, tree: Tree) -> None:
    before = tree(filled)
    fill(Store.open(filled), ANOTHER, OTHER)
    store = Store.open(filled)
    assert store.grids() == sorted([GRID.name, OTHER.name])
    assert store.encoders() == sorted([ENCODER.id, ANOTHER.id])
    assert (store.grid(GRID.name), store.grid(OTHER.name)) == (GRID, OTHER)
    assert (store.encoder(ENCODER.id), store.encoder(ANOTHER.id)) == (ENCODER, ANOTHER)
    for encoder in (ENCODER, ANOTHER):
        for number, unit in store.units.items():
            found = store.latents(encoder).read(number, unit)
            assert np.array_equal(found, latent_content(encoder, number))
    for grid in (GRID, OTHER):
        for block, unit in store.blocks():
            found = store.levels(grid).read(block, unit)
            assert np.array_equal(found, level_content(grid, block))
    after = tree(filled)
    assert {name: after[name] for name in before} == before
    assert verify(filled).damage == []


def test_making_a_grid_or_an_encoder_again_keeps_what_is_there(filled: Path, tree: Tree) -> None:
    before = tree(filled)
    store = Store.open(filled)
    with store.writing():
        store.make_grid(GRID)
        store.make_encoder(ENCODER)
        store.make_encoder(replace(ENCODER, checkpoint="renamed-0123456789ab"))
    assert tree(filled) == before


def test_an_unknown_grid_is_refused_and_the_known_named(filled: Path) -> None:
    with pytest.raises(StoreError, match=f"no grid t9; it has {GRID.name}"):
        Store.open(filled).grid("t9")


def test_latents_of_another_shape_by_the_same_id_are_refused(filled: Path) -> None:
    store = Store.open(filled)
    with store.writing(), pytest.raises(StoreError, match=r"encoder\.json .*\[4, 2, 2\]"):
        store.make_encoder(replace(ENCODER, shape=[8, 2, 2]))


def test_photos_left_out_are_remembered(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "a.zarr", SETTINGS)
    store.note_skipped({}, {"good.png"})
    assert not (store.path / "skipped.json").exists()
    store.note_skipped({"b.png": "too small"}, set())
    store.note_skipped({"a.png": "truncated"}, set())
    assert Store.open(store.path).skipped() == {"a.png": "truncated", "b.png": "too small"}
    store.note_skipped({"c.png": "empty"}, {"a.png", "d.png"})  # a.png was ingested after all
    assert store.skipped() == {"b.png": "too small", "c.png": "empty"}


def test_a_dropped_unit_is_gone_with_all_that_was_made_of_it(filled: Path) -> None:
    store = Store.open(filled)
    with store.writing():
        store.drop(1)
        store.forget_photo(photo_key(PHOTOS[1]))
    for found in (store, Store.open(filled)):
        assert list(found.units) == [0]
        assert present(found.latents(ENCODER), found) == list(found.latents(ENCODER).made) == [0]
        assert list(found.levels(GRID).made) == list(range(BLOCKS))
    assert len([p for p in filled.rglob("c.*") if p.is_file()]) == 2 + BLOCKS
    assert verify(filled).damage == []


def test_what_was_made_counts_only_where_it_was_made_of_the_hr_that_are_there(
    filled: Path,
) -> None:
    store = Store.open(filled)
    assert present(store.latents(ENCODER), store) == [0, 1]
    assert present(store.levels(GRID), store) == [0, 1, 2, 3, 4]
    hr = hr_content(0)
    hr[BLOCK : 2 * BLOCK] = hr[BLOCK : 2 * BLOCK][::-1]  # the second block has other pictures
    with store.writing():
        put_hr(store, 0, hr, patches(0))
    for found in (store, Store.open(filled)):
        assert present(found.latents(ENCODER), found) == [1]
        assert present(found.levels(GRID), found) == [0, 2, 3, 4]
    told = [line.partition(":")[0] for line in verify(filled).damage]
    assert told == [f"block 1 of {filled}", f"unit 0 of {filled}"]
    with store.writing():
        put_latents(store, ENCODER, 0)
        put_levels(store, GRID, 1)
    assert present(store.latents(ENCODER), store) == [0, 1]
    assert present(store.levels(GRID), store) == [0, 1, 2, 3, 4]
    assert verify(filled).damage == []


def test_what_was_made_of_a_shorter_unit_does_not_count_for_a_longer_one(tmp_path: Path) -> None:
    """Though the blocks that both have are the same."""
    store = Store.create(tmp_path / "a.zarr", SETTINGS)
    hr = hr_content(0)
    with store.writing():
        unit = put_hr(store, 0, hr[:BLOCK], patches(0)[:BLOCK])
        store.make_encoder(ENCODER)
        store.make_grid(GRID)
        latents, levels = store.latents(ENCODER), store.levels(GRID)
        values = latent_content(ENCODER, 0)[:BLOCK]
        latents.note(0, latents.write(0, values, unit, CPU))
        put_levels(store, GRID, 0)
        assert (present(latents, store), present(levels, store)) == ([0], [0])
        put_hr(store, 0, hr, patches(0))
        assert (present(latents, store), present(levels, store)) == ([], [0])


@pytest.mark.parametrize("name", ["latents", "levels"])
def test_what_was_made_counts_only_where_its_file_is_there(filled: Path, name: str) -> None:
    path = sorted(arrays(filled)[name].glob("c.0.*"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    store = Store.open(filled)
    layer = store.latents(ENCODER) if name == "latents" else store.levels(GRID)
    assert 0 not in present(layer, store)
    path.unlink()
    assert 0 not in present(layer, store)
    assert present(layer, store)


def test_an_ingest_that_was_begun_and_a_photo_that_lost_patches_are_lacking(
    filled: Path,
) -> None:
    store = Store.open(filled)
    with store.writing():
        store.note_ingest(complete=False)
        store.drop(1)
        put_hr(store, 2, hr_content(1), [p._replace(sha256="ef" * 32) for p in patches(1)])
    told = lacking(Store.open(filled))
    assert len(told) == 3
    assert "photo1.png has lost 5 of its 5 patches: ingest it again, or `remove` it" in told[0]
    assert "photo1.png was begun and not finished: ingest it again" in told[1]
    assert "an ingest was not run to its end" in told[2]


def test_strange_files_in_the_folders_are_nothing(filled: Path) -> None:
    store = filled / "done"
    for name in ("notes.json", "7.jsonl", "000000001.jsonl", ".00000001.jsonl.swp"):
        (store / "hr" / name).write_text("{}")
    for folder in ("latents/notes", "levels/notes"):
        (store / folder).mkdir()
    (store / "levels" / "notes.txt").write_text("mine")
    found = Store.open(filled)
    assert (list(found.units), found.grids(), found.encoders()) == (
        [0, 1],
        [GRID.name],
        [ENCODER.id],
    )
    assert verify(filled).damage == []


# ---- stores that are none, or of another version


def test_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store at .*nowhere.*`ingest\(photos=...\)`"):
        Store.open(tmp_path / "nowhere")


def test_a_foreign_zarr_group_is_refused(tmp_path: Path) -> None:
    zarr.create_group(str(tmp_path / "b.zarr"), zarr_format=3, attributes={"title": "ours"})
    with pytest.raises(StoreError, match=r"b\.zarr is a zarr of somebody else.*another `store`"):
        Store.open(tmp_path / "b.zarr")


def test_a_bare_zarr_array_is_refused(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "b.zarr"), shape=(3,), dtype="u1", zarr_format=3)
    with pytest.raises(StoreError, match=r"b\.zarr is a zarr of somebody else.*another `store`"):
        Store.open(tmp_path / "b.zarr")


def test_a_store_of_version_1_is_named_with_the_way_out(tmp_path: Path) -> None:
    """They said what they are in zarr.json alone."""
    zarr.create_group(
        str(tmp_path / "old.zarr"),
        attributes={"degflow": {"format": "degflow-pipe store", "version": 1}},
    )
    told = r"old\.zarr is a store of version 1, .* reads 3: ingest the photos into another `store`"
    with pytest.raises(StoreError, match=told):
        Store.open(tmp_path / "old.zarr")


def test_a_store_of_version_2_is_named_with_the_way_out(tmp_path: Path) -> None:
    found = {"patch": 64, "checkpoint": "tiny-0123456789ab", "s_max": 4.0, "unit": 16}
    found |= {"latent_shape": [4, 8, 8], "format": "degflow-pipe store", "version": 2}
    json_files.write_summed(tmp_path / "old.zarr" / "store.json", found)
    told = r"old\.zarr is a store of version 2, .* reads 3: ingest the photos into another `store`"
    with pytest.raises(StoreError, match=told):
        Store.open(tmp_path / "old.zarr")


@pytest.mark.parametrize("version", [4, "3", None, 2.5])
def test_a_newer_store_is_refused_with_the_way_out(filled: Path, version: Any) -> None:
    edit_summed(filled / "store.json", lambda d: d.update(version=version))
    with pytest.raises(StoreError, match=r"is a store of version .*, .* reads 3: upgrade"):
        Store.open(filled)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"zarr_format": 3}', '{"sum": "0"}'])
def test_a_damaged_description_is_refused(filled: Path, text: str) -> None:
    (filled / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r"store\.json is damaged.*: `verify\(.*repair=True\)`"):
        Store.open(filled)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"patch": "large"}, r"damaged: `?store\.patch`? must be a whole number"),
        ({"patch": 0}, r"damaged: `?store\.patch`? must be from 1 to"),
        ({"patch": 10**6}, r"damaged: `?store\.patch`? must be"),
        ({"colour": "red"}, "damaged: .*has no key 'colour'"),
        ({"unit": 7}, r"damaged: units and blocks of \(7, 16\) patches"),
        ({"format": "a cake"}, r"store\.json is not of a degflow-pipe store"),
    ],
)
def test_damaged_settings_are_refused(filled: Path, change: dict[str, Any], reason: str) -> None:
    edit_summed(filled / "store.json", lambda d: d.update(change))
    with pytest.raises(StoreError, match=reason):
        Store.open(filled)


def test_a_store_whose_making_was_cut_off_is_made_whole_by_who_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: Tree
) -> None:
    store = Store.create(tmp_path / "a.zarr", SETTINGS)

    def no_space(*_: Any, **__: Any) -> None:
        raise FileError("a.zarr: cannot write: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files, "write_text", no_space)
        told = r"a\.zarr: cannot write: No space left"
        with pytest.raises(DegflowError, match=told), store.writing():
            pass
    for name in "ab":
        known = tmp_path / f"{name}.zarr"
        store = Store.open(known) if known.exists() else Store.create(known, SETTINGS)
        with store.writing():
            pass
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")


# ---- damage


def only_file(folder: Path, number: int) -> Path:
    (found,) = folder.glob(f"c.{number}.*")
    return found


def test_a_whole_store_has_no_damage(made: Path) -> None:
    store = Store.open(made)
    assert [damage(store, unit) for unit in store.units] == [[], []]
    assert described_wrongly(store) == store.damaged_ledgers() == lacking(store) == []
    found = verify(made)
    assert (found.kind, found.checked, found.damage) == ("store", 2, [])


@pytest.mark.parametrize("name", ["hr", "latents", "levels"])
@pytest.mark.parametrize("how", ["flip", "remove", "truncate", "empty"])
def test_damage_of_a_unit_names_the_file_and_what_to_do(
    filled: Path, name: str, how: str, flip: Flip
) -> None:
    path = only_file(arrays(filled)[name], BLOCKS if name == "levels" else 1)
    if how == "flip":
        flip(path)
    elif how == "remove":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if how == "truncate" else b"")
    store = Store.open(filled)
    assert damage(store, 0) == []
    told = verify(filled).damage
    assert told and set(damage(store, 1)) <= set(told)
    if name == "hr" or how == "flip":
        again = {"hr": "ingest its photos", "latents": "run `ingest`", "levels": "run `generate`"}
        assert told[0].startswith(f"{path} is damaged")
        assert told[0].endswith(f": delete it and {again[name]} again")
    else:  # it is made again without being asked for
        (line,) = told
        what, of = ("unit 1", "ingest") if name == "latents" else (f"block {BLOCKS}", "generate")
        assert re.match(rf"{what} of .*{name} of .* not there.*: run `{of}` again", line)


def test_a_bit_that_readers_of_zstd_ignore_is_told_too(small: Path) -> None:
    path = only_file(small / "hr", 1)
    whole = path.read_bytes()
    begins = [found.start() for found in re.finditer(rb"\x28\xb5\x2f\xfd", whole)]
    assert len(begins) == COUNTS[1]
    for begin in begins:
        descriptor = bytes([whole[begin + 4] ^ 0x10])
        path.write_bytes(whole[: begin + 4] + descriptor + whole[begin + 5 :])
        assert damage(Store.open(small), 1)


@pytest.mark.parametrize("name", ["hr", "latents", "levels"])
def test_files_that_were_exchanged_are_found(filled: Path, name: str) -> None:
    folder = arrays(filled)[name]
    one, other = only_file(folder, 0), only_file(folder, 1)
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    told = "\n".join(verify(filled).damage)
    for number, path in enumerate((one, other)):
        named = (str(path), f"unit {number} of ", f"block {number} of ")
        assert any(name in told for name in named)


def test_reading_damaged_arrays_is_a_store_error_and_the_others_are_read(filled: Path) -> None:
    for folder in arrays(filled).values():
        path = only_file(folder, 0)
        path.write_bytes(path.read_bytes()[:-3])
    store = Store.open(filled)
    unit = store.units[0]
    for read in (
        lambda: store.hr(0),
        lambda: store.block_hr(0),
        lambda: store.latents(ENCODER).read(0, unit),
        lambda: store.latents(ENCODER).block(0, unit, store.latents(ENCODER).made[0]),
        lambda: store.levels(GRID).read(0, unit),
    ):
        with pytest.raises(StoreError, match=r"c\.0\.[.0]+ is damaged.*: delete it and "):
            read()
    assert np.array_equal(store.hr(1), hr_content(1))
    assert np.array_equal(store.levels(GRID).read(1, unit), level_content(GRID, 1))


def test_data_that_is_gone_is_a_store_error_and_never_black_pictures(filled: Path) -> None:
    """Where zarr finds no file it reads zeros."""
    for folder in arrays(filled).values():
        only_file(folder, 0).unlink()
    store = Store.open(filled)
    unit = store.units[0]
    for read in (
        lambda: store.hr(0),
        lambda: store.latents(ENCODER).read(0, unit),
        lambda: store.levels(GRID).read(0, unit),
    ):
        with pytest.raises(StoreError, match="is damaged, it differs from its SHA-256"):
            read()


def mend(path: Path) -> None:
    """What `ingest` and `generate` do to `small`, with the contents that are known here."""
    store = Store.open(path)
    with store.writing():
        store.note_ingest(complete=False)
        if 1 not in store.units or not store.has_hr(1):
            put_hr(store, 1, hr_content(1), patches(1))
        if photo_key(PHOTOS[1]) not in store.photos():
            store.note_photo(photo(1))
        store.make_encoder(ENCODER)
        store.make_grid(GRID)
        for number, unit in store.units.items():
            if not store.latents(ENCODER).has(number, unit):
                put_latents(store, ENCODER, number)
        for block, unit in store.blocks():
            if not store.levels(GRID).has(block, unit):
                put_levels(store, GRID, block)
        store.note_ingest(complete=True)


def told_of(path: Path) -> list[str]:
    try:
        return verify(path, workers=1).damage
    except DegflowError as error:
        return [str(error)]


FILES = (
    "store.json",
    "zarr.json",
    "skipped.json",
    "hr/zarr.json",
    "latents/zarr.json",
    "latents/ENCODER/zarr.json",
    "levels/zarr.json",
    "levels/GRID/zarr.json",
    "hr/c.1.0.0.0",
    "latents/ENCODER/c.1.0.0.0",
    "levels/GRID/c.4.0.0.0.0",
    "done/ingest.json",
    "done/photos/00000000.jsonl",
    "done/hr/00000000.jsonl",
    "done/latents/ENCODER/encoder.json",
    "done/latents/ENCODER/00000000.jsonl",
    "done/levels/GRID/grid.json",
    "done/levels/GRID/00000000.jsonl",
)


def place(name: str) -> str:
    return name.replace("ENCODER", ENCODER.id).replace("GRID", GRID.name)


def test_every_file_of_a_store_is_among_those_that_are_damaged_below(
    made_small: Path, tree: Tree
) -> None:
    assert set(tree(made_small)) == {place(name) for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_byte_of_any_file_is_told_and_the_cure_works(
    small: Path, name: str, tree: Tree
) -> None:
    """Beginning, end and places between; then what is told to be done is done."""
    path = small / place(name)
    before, whole = tree(small), path.read_bytes()
    rng = np.random.default_rng(len(name))
    for at in {0, 1, len(whole) - 1, *rng.integers(0, len(whole), 12).tolist()}:
        damaged = bytes([whole[at] ^ 1 << int(rng.integers(8))])
        path.write_bytes(whole[:at] + damaged + whole[at + 1 :])
        told = told_of(small)
        assert told, f"byte {at}"
        assert all(re.search("delete|again", line) for line in told), told
    if name == "store.json":
        assert write_again(small) and path.read_bytes() == whole
    elif any("delete" in line for line in told):
        path.unlink()
    mend(small)
    assert told_of(small) == []
    after = tree(small)
    # Ledgers may say more than once what is so; photos left out are not told of again.
    free = {n for n in before if n.endswith(".jsonl") or n == "skipped.json"}
    assert {n: after[n] for n in after if n not in free} == {
        n: before[n] for n in before if n not in free
    }


@pytest.mark.parametrize("name", [n for n in FILES if n != "skipped.json"])
def test_any_file_that_is_gone_is_told_or_made_again(small: Path, name: str) -> None:
    """Latents and levels that no ledger names are none, and no damage."""
    path = small / place(name)
    whole = path.read_bytes()
    path.unlink()
    if name.startswith(("done/latents", "done/levels")):
        store = Store.open(small)
        layer = store.latents(ENCODER) if "latents" in name else store.levels(GRID)
        gone = (store.encoders() if "latents" in name else store.grids()) == []
        assert gone or present(layer, store) == []
    else:
        assert told_of(small)
    if name == "store.json":
        assert told_of(small) == [
            f"{small} has lost its description, {name}: "
            f"`verify(path='{small}', repair=True)` writes it again"
        ]
        assert write_again(small) and path.read_bytes() == whole
    mend(small)
    assert told_of(small) == []


@pytest.mark.parametrize(
    "change",
    [
        {"t": []},
        {"t": [0.5, 1]},
        {"t": ["0.25", "2"]},
        {"scales": [1.75]},
        {"scales": ["a", "b"]},
        {"noise": 3},
        {"noise": "x" * 5000},
        {"pictures": "../../up"},
        {"more": 1},
    ],
)
def test_a_grid_without_its_levels_named_is_damaged(filled: Path, change: dict[str, Any]) -> None:
    edit_summed(description(filled, "grid.json"), lambda d: d.update(change))
    with pytest.raises(
        StoreError, match=f"grid {GRID.name} is damaged: .*: delete the file and run `generate`"
    ):
        Store.open(filled).grid(GRID.name)
    assert any("grid.json" in line for line in told_of(filled))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "ffffffffffff"},
        {"id": "../../../../up"},
        {"shape": [4, 2]},
        {"shape": [4, 0, 2]},
        {"shape": [4096, 4096, 4096]},
        {"checkpoint": "x" * 5000},
        {"more": 1},
    ],
)
def test_an_encoder_that_is_none_is_damaged_and_made_again(
    small: Path, change: dict[str, Any]
) -> None:
    edit_summed(description(small, "encoder.json"), lambda d: d.update(change))
    with pytest.raises(StoreError, match=r"encoder\.json is damaged: .*: delete .* run `ingest`"):
        Store.open(small).encoder(ENCODER.id)
    assert any("encoder.json" in line for line in told_of(small))
    mend(small)
    assert told_of(small) == []


def test_other_scales_are_another_grid(filled: Path) -> None:
    """Shards of the old ones would carry the old scales."""
    other = replace(GRID, scales=(2.0, 4.0), scale_map="dddddddddddd")
    fill(Store.open(filled), ENCODER, other)
    store = Store.open(filled)
    assert {store.grid(name).scales for name in store.grids()} == {(1.75, 4.0), (2.0, 4.0)}
    with store.writing(), pytest.raises(StoreError, match="is another one there"):
        store.make_grid(replace(GRID, scales=(2.0, 4.0)))  # by the same name


def test_levels_larger_than_memory_are_refused(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "large.zarr", StoreSettings(patch=2048))
    many = replace(
        GRID, levels=parse_t("0.1,0.2,0.3,0.4,0.5,0.6").levels, scales=(1.1, 1.2, 1.3, 1.4, 1.5, 2)
    )
    with store.writing(), pytest.raises(UsageError, match=r"take 1\.1 GiB at once, at most 1"):
        store.make_grid(many)
    with pytest.raises(UsageError, match="patches of hr take"):
        StoreSettings(patch=4096)


@pytest.mark.parametrize(
    "change",
    [
        {"bytes": -1},
        {"bytes": 2**40},
        {"bytes": "5"},
        {"sha256": []},
        {"sha256": ["ab" * 32] * 5},
        {"sha256": ["../up" * 13]},
        {"patches": []},
        {"patches": 3},
        {"photos": [["photo1.png", "../../up"]]},
        {"photos": []},
        {"patches": [[0, -1, 0, 1.0, "0" * 32]] * 5},
        {"patches": [[0, 0, 10**9, 1.0, "0" * 32]] * 5},
        {"patches": [[0, 0, 0, 1.0, "no digest"]] * 5},
        {"patches": [[7, 0, 0, 1.0, "0" * 32]] * 5},
        {"patches": [[0, 0, 0]] * 5},
        {"more": 1},
    ],
)
def test_a_record_of_a_unit_that_cannot_be_is_told(small: Path, change: dict[str, Any]) -> None:
    """As a stranger would write it, with a right sum."""
    with Ledger(small / "done" / "hr") as ledger:
        ledger.write(1, {**ledger.record(1), **change})
    told = told_of(small)
    assert told[0].startswith(f"{small / 'done' / 'hr'} is damaged at 1: ")
    assert told[0].endswith(": delete the folder and run `ingest` again")
    shutil.rmtree(small / "done" / "hr")
    mend(small)
    assert told_of(small) == []


@pytest.mark.parametrize("key", ["-1", "x", "1.5", "01", "400000000", "9" * 30])
@pytest.mark.parametrize("name", ["hr", "latents", "levels"])
def test_a_number_that_cannot_be_is_told(small: Path, name: str, key: str) -> None:
    at = arrays(small)[name].relative_to(small)
    with Ledger(small / "done" / at) as ledger:
        ledger.write(key, ledger.record(4 if name == "levels" else 1))
    told = f"{small / 'done' / at} is damaged at {key[:60]}: nothing has the number"
    assert any(line.startswith(told) for line in told_of(small))


def test_many_photos_that_gave_nothing_are_read(filled: Path) -> None:
    store = Store.open(filled)
    empty = [
        PhotoRecord(f"flat{i}.png", f"{i * 2**200:064x}", 0, 9, 0, 16, 1.0, "sRGB")
        for i in range(10_000)
    ]
    with store.writing():
        for record in empty:
            store.note_photo(record)
    found = Store.open(filled).photos()
    assert len(found) == 2 + len(empty)
    assert [found[photo_key(record.sha256)] for record in empty] == empty
    assert len(list((filled / "done" / "photos").iterdir())) == 3
