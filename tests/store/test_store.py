"""The store: real zarr arrays on disk, what they hold, and damage that is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from degflow_pipe import files
from degflow_pipe.errors import DegflowError, FileError, StoreError, UsageError
from degflow_pipe.levels import Grid, parse_t
from degflow_pipe.store import UNIT, PatchRecord, PhotoRecord, Store, StoreSettings
from degflow_pipe.store.records import Ledger

SETTINGS = StoreSettings(
    patch=16, checkpoint="tiny-0123456789ab", s_max=4.0, latent_shape=[4, 2, 2]
)
COUNTS = (UNIT, 5)
"""Patches in the units of `filled`."""
GRID = replace(parse_t("0.25,1"), scales=(1.75, 4.0))
OTHER = replace(parse_t("0.5,0.75,1"), scales=(2.0, 3.1, 4.0), noise="calibrated-0-0123456789ab")

CPU = {"device": "cpu"}

Tree = Callable[[Path], dict[str, bytes]]


def content(unit: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(unit)
    n = COUNTS[unit]
    hr = rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    return hr, rng.normal(size=(n, 4, 2, 2)).astype(np.float32)


def level_content(grid: Grid, unit: int) -> np.ndarray:
    rng = np.random.default_rng([len(grid), unit])
    return rng.integers(0, 256, (COUNTS[unit], len(grid), 16, 16, 3), dtype=np.uint8)


def records(unit: int) -> tuple[list[PatchRecord], list[PhotoRecord]]:
    photo = f"photo{unit}.png"
    patches = [
        PatchRecord(photo, "ab" * 32, 0, 16 * i, 3.5, f"{unit}-{i}") for i in range(COUNTS[unit])
    ]
    return patches, [PhotoRecord(photo, "ab" * 32, COUNTS[unit], 2, 1, 16, 1.0, "sRGB")]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store of two units with the levels of GRID."""
    path = tmp_path / "a.zarr"
    store = Store.create(path, SETTINGS)
    store.make_room(2)
    for unit in range(2):
        store.write_patches(unit, *content(unit), *records(unit), CPU)
    store.make_grid(GRID)
    for unit in range(2):
        store.write_levels(GRID, unit, level_content(GRID, unit), CPU)
    return path


def edit_summed(path: Path, change: Callable[[Any], None]) -> None:
    data = files.read_summed(path)
    change(data)
    files.write_summed(path, data)


def test_a_new_store_is_empty_and_whole(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "deep" / "a.zarr", SETTINGS)
    assert store.settings == SETTINGS
    assert store.units() == []
    assert store.grids() == []
    assert store.skipped() == {}
    assert Store.open(store.path).settings == SETTINGS


def test_what_was_written_is_read_back_by_another_opening(filled: Path) -> None:
    store = Store.open(filled)
    assert store.units() == [0, 1]
    for unit, count in enumerate(COUNTS):
        hr, latents = content(unit)
        record = store.record(unit)
        assert (record.patches, record.finished) == records(unit)
        assert len(hr) == count
        assert np.array_equal(store.hr(unit), hr)
        assert np.array_equal(store.latents(unit), latents)
        assert np.array_equal(store.levels(GRID.name, unit), level_content(GRID, unit))
    assert [unit for unit, _ in store.records()] == [0, 1]


def test_any_zarr_reader_finds_the_arrays(filled: Path) -> None:
    """Places that a short unit leaves are 0; patch n of unit u lies at u * UNIT + n."""
    group = zarr.open_group(str(filled), mode="r")
    hr = group["hr"][:]
    assert hr.shape == (2 * UNIT, 16, 16, 3)
    assert np.array_equal(hr[:UNIT], content(0)[0])
    assert np.array_equal(hr[UNIT : UNIT + 5], content(1)[0])
    assert not hr[UNIT + 5 :].any()
    levels = group[f"levels/{GRID.name}"]
    assert levels.attrs["t"] == ["0.25", "1"]
    assert np.array_equal(levels[UNIT : UNIT + 5], level_content(GRID, 1))


def test_a_unit_is_one_file_of_each_array(filled: Path) -> None:
    for name in ("hr", "latents", f"levels/{GRID.name}"):
        found = [p for p in (filled / name / "c").rglob("*") if p.is_file()]
        assert len(found) == 2, name


def test_a_store_grows_without_touching_what_is_there(filled: Path, tree: Tree) -> None:
    store = Store.open(filled)
    before = tree(filled)
    store.make_room(3)
    hr, latents = content(1)
    store.write_patches(2, hr[::-1], latents[::-1], *records(1), CPU)
    after = tree(filled)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"hr/zarr.json", "latents/zarr.json"}  # the arrays' new shapes
    assert store.units() == [0, 1, 2]
    assert np.array_equal(store.hr(2), hr[::-1])
    assert np.array_equal(store.hr(1), hr)


def test_room_is_never_taken_away(filled: Path) -> None:
    store = Store.open(filled)
    store.make_room(1)
    assert np.array_equal(store.hr(1), content(1)[0])


def test_grids_live_side_by_side(filled: Path, tree: Tree) -> None:
    store = Store.open(filled)
    before = tree(filled)
    store.make_grid(OTHER)
    assert store.units(OTHER.name) == []
    store.write_levels(OTHER, 1, level_content(OTHER, 1), CPU)
    assert store.grids() == sorted([GRID.name, OTHER.name])
    assert (store.grid(GRID.name), store.grid(OTHER.name)) == (GRID, OTHER)
    assert (store.units(GRID.name), store.units(OTHER.name)) == ([0, 1], [1])
    assert np.array_equal(store.levels(OTHER.name, 1), level_content(OTHER, 1))
    assert np.array_equal(store.levels(GRID.name, 0), level_content(GRID, 0))
    after = tree(filled)
    assert {name: after[name] for name in before} == before


def test_making_a_grid_again_keeps_its_levels(filled: Path, tree: Tree) -> None:
    before = tree(filled)
    Store.open(filled).make_grid(GRID)
    assert tree(filled) == before


def test_an_unknown_grid_is_refused_and_the_known_named(filled: Path) -> None:
    with pytest.raises(StoreError, match=f"no grid t9; it has {GRID.name}"):
        Store.open(filled).grid("t9")


def test_photos_left_out_are_remembered(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "a.zarr", SETTINGS)
    store.note_skipped({}, {"good.png"})
    assert not (store.path / "skipped.json").exists()
    store.note_skipped({"b.png": "too small"}, set())
    store.note_skipped({"a.png": "truncated"}, set())
    assert Store.open(store.path).skipped() == {"a.png": "truncated", "b.png": "too small"}
    store.note_skipped({"c.png": "empty"}, {"a.png", "d.png"})  # a.png was ingested after all
    assert store.skipped() == {"b.png": "too small", "c.png": "empty"}


def test_a_dropped_unit_is_gone_with_its_levels(filled: Path) -> None:
    store = Store.open(filled)
    store.drop(1)
    store = Store.open(filled)
    assert (store.units(), store.units(GRID.name)) == ([0], [0])
    assert not list(filled.glob("**/c/1"))


def test_levels_count_only_where_they_were_made_from_the_patches_that_are_there(
    filled: Path,
) -> None:
    store = Store.open(filled)
    assert store.units_with_levels(GRID.name) == [0, 1]
    assert store.units_with_levels(OTHER.name) == []
    hr, latents = content(0)
    store.write_patches(0, hr[::-1], latents, *records(0), CPU)
    assert store.units_with_levels(GRID.name) == [1]
    store.write_levels(GRID, 0, level_content(GRID, 0), CPU)
    assert store.units_with_levels(GRID.name) == [0, 1]


def test_strange_files_among_the_marks_are_no_units(filled: Path) -> None:
    folder = filled / "done" / "ingest"
    for name in ("notes.json", "7.json", "00000002.json.part", ".00000003.json"):
        (folder / name).write_text("{}")
    assert Store.open(filled).units() == [0, 1]


def test_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store at .*nowhere.*degflow-pipe ingest"):
        Store.open(tmp_path / "nowhere")


def test_a_foreign_zarr_group_is_refused(tmp_path: Path) -> None:
    zarr.create_group(str(tmp_path / "b.zarr"), zarr_format=3, attributes={"title": "ours"})
    with pytest.raises(StoreError, match=r"b\.zarr is not a degflow-pipe store"):
        Store.open(tmp_path / "b.zarr")


def test_a_bare_zarr_array_is_refused(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "b.zarr"), shape=(3,), dtype="u1", zarr_format=3)
    with pytest.raises(StoreError, match=r"b\.zarr"):
        Store.open(tmp_path / "b.zarr")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"zarr_format": 3}', '{"sum": "0"}'])
def test_a_damaged_description_is_refused(filled: Path, text: str) -> None:
    (filled / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        Store.open(filled)


def test_a_newer_store_is_refused_with_the_way_out(filled: Path) -> None:
    edit_summed(filled / "store.json", lambda d: d.update(version=3))
    with pytest.raises(StoreError, match=r"is of version 3, .* reads 2: .*upgrade"):
        Store.open(filled)


def test_an_older_store_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Those of version 1 said what they are in zarr.json alone."""
    zarr.create_group(str(tmp_path / "old.zarr"), attributes={"degflow": {"version": 1}})
    with pytest.raises(StoreError, match=r"not a .* of version 2.*ingest into another --store"):
        Store.open(tmp_path / "old.zarr")


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"patch": "large"}, "`store.patch` must be a whole number"),
        ({"colour": "red"}, "no key 'colour'"),
        ({"unit": 7}, "units of 7 patches, 16 expected"),
    ],
)
def test_damaged_settings_are_refused(filled: Path, change: dict[str, Any], reason: str) -> None:
    edit_summed(filled / "store.json", lambda d: d.update(change))
    with pytest.raises(StoreError, match=f"damaged: .*{reason}|damaged: {reason}"):
        Store.open(filled)


def test_a_store_whose_making_was_cut_off_is_made_whole_by_who_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: Tree
) -> None:
    def no_space(*_: Any, **__: Any) -> None:
        raise FileError("a.zarr: cannot write: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "mend", no_space)
        with pytest.raises(DegflowError, match=r"a\.zarr: cannot write: No space left"):
            Store.create(tmp_path / "a.zarr", SETTINGS)
    Store.open(tmp_path / "a.zarr").mend()
    Store.create(tmp_path / "b.zarr", SETTINGS)
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")


def only_file(folder: Path, unit: int) -> Path:
    found = [path for path in (folder / "c" / str(unit)).rglob("*") if path.is_file()]
    assert len(found) == 1
    return found[0]


def test_a_whole_store_has_no_damage(filled: Path) -> None:
    store = Store.open(filled)
    assert [store.damage(unit) for unit in store.units()] == [[], []]


@pytest.mark.parametrize("name", ["hr", "latents", f"levels/{GRID.name}"])
@pytest.mark.parametrize("how", ["flip", "remove", "truncate", "empty"])
def test_damage_names_the_unit_and_the_array(
    filled: Path, name: str, how: str, flip: Callable[[Path], None]
) -> None:
    path = only_file(filled / name, 1)
    if how == "flip":
        flip(path)
    elif how == "remove":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if how == "truncate" else b"")
    store = Store.open(filled)
    assert store.damage(0) == []
    (wrong,) = store.damage(1)
    assert name in wrong
    assert "unit 1 " in wrong


def test_every_flipped_byte_of_the_pixels_is_found(filled: Path) -> None:
    path = only_file(filled / "hr", 1)
    whole = path.read_bytes()
    store = Store.open(filled)
    for place in np.random.default_rng(0).integers(0, len(content(1)[0].tobytes()) // 2, 40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert store.damage(1) != [], f"byte {place}"
    path.write_bytes(whole)
    assert store.damage(1) == []


@pytest.mark.parametrize("name", ["hr", "latents"])
def test_arrays_of_two_units_that_were_exchanged_are_found(filled: Path, name: str) -> None:
    a, b = only_file(filled / name, 0), only_file(filled / name, 1)
    content_a, content_b = a.read_bytes(), b.read_bytes()
    a.write_bytes(content_b)
    b.write_bytes(content_a)
    store = Store.open(filled)
    for unit in (0, 1):
        (wrong,) = store.damage(unit)
        assert name in wrong
        assert f"unit {unit} " in wrong


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"patches": 3, "finished": [], "sha256": {}}']
)
def test_a_damaged_mark_is_found_and_named(filled: Path, text: str) -> None:
    (filled / "done" / "ingest" / "00000001.json").write_text(text)
    store = Store.open(filled)
    with pytest.raises(DegflowError, match=r"00000001\.json"):
        store.record(1)
    assert store.damage(0) == []
    wrong = store.damage(1)
    assert wrong
    assert all("00000001.json" in line for line in wrong)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_damaged_mark_of_a_grid_is_found_and_named(filled: Path, text: str) -> None:
    mark = filled / "done" / GRID.name / "00000001.json"
    mark.write_text(text)
    store = Store.open(filled)
    with pytest.raises(DegflowError, match=r"00000001\.json"):
        store.levels_record(GRID.name, 1)
    assert store.damage(0) == []
    (wrong,) = store.damage(1)
    assert str(mark) in wrong


def test_reading_damaged_arrays_is_a_store_error(
    filled: Path, flip: Callable[[Path], None]
) -> None:
    for name in ("hr", "latents", f"levels/{GRID.name}"):
        path = only_file(filled / name, 0)
        path.write_bytes(path.read_bytes()[:-3])
    store = Store.open(filled)
    with pytest.raises(StoreError, match="hr is damaged"):
        store.hr(0)
    with pytest.raises(StoreError, match="latents is damaged"):
        store.latents(0)
    with pytest.raises(StoreError, match=f"{GRID.name} is damaged"):
        store.levels(GRID.name, 0)
    assert np.array_equal(store.hr(1), content(1)[0])


def test_data_that_is_gone_is_a_store_error_and_never_black_pictures(filled: Path) -> None:
    """Where zarr finds no file it reads zeros."""
    for name in ("hr", "latents", f"levels/{GRID.name}"):
        only_file(filled / name, 0).unlink()
    store = Store.open(filled)
    with pytest.raises(StoreError, match=r"unit 0 of .*hr is damaged, it differs from its SHA-256"):
        store.hr(0)
    with pytest.raises(StoreError, match=r"unit 0 of .*latents is damaged"):
        store.latents(0)
    with pytest.raises(StoreError, match=rf"unit 0 of .*levels/{GRID.name} is damaged"):
        store.levels(GRID.name, 0)


def test_a_missing_array_is_a_store_error(filled: Path) -> None:
    (filled / "hr" / "zarr.json").unlink()
    with pytest.raises(StoreError, match="hr"):
        Store.open(filled).hr(0)


@pytest.mark.parametrize(
    "change", [{"t": []}, {"t": [0.5, 1]}, {"scale": [1.75]}, {"scale": ["a", "b"]}, {"noise": 3}]
)
def test_a_grid_without_its_levels_named_is_damaged(filled: Path, change: dict[str, Any]) -> None:
    edit_summed(filled / "done" / GRID.name / "grid.json", lambda d: d.update(change))
    with pytest.raises(StoreError, match=f"grid {GRID.name} is damaged"):
        Store.open(filled).grid(GRID.name)


def test_a_grid_at_other_scales_is_refused(filled: Path) -> None:
    """Its shards would carry the old ones."""
    with pytest.raises(StoreError, match=r"at the scales 1\.75 to 4, the checkpoint says 2 to 4"):
        Store.open(filled).make_grid(replace(GRID, scales=(2.0, 4.0)))


def test_a_unit_larger_than_memory_is_refused(filled: Path) -> None:
    settings = replace(SETTINGS, patch=2048, latent_shape=[4, 256, 256])
    store = Store.create(filled.with_name("large.zarr"), settings)
    many = replace(parse_t("0.1,0.2,0.3,0.4,0.5,0.6"), scales=(1.1, 1.2, 1.3, 1.4, 1.5, 1.6))
    with pytest.raises(UsageError, match=r"take 1\.1 GiB at once, at most 1"):
        store.make_grid(many)


def test_a_ledger_of_many_photos_is_read(filled: Path) -> None:
    store = Store.open(filled)
    ledger = Ledger(True, {f"{i:016x}": i % 50 for i in range(70_000)})
    store.write_ledger(ledger)
    assert store.ledger() == ledger


def test_a_unit_may_finish_many_photos_that_gave_it_nothing(filled: Path) -> None:
    store = Store.open(filled)
    record = store.record(1)
    empty = [
        PhotoRecord(f"flat{i}.png", f"{i:064x}", 0, 9, 0, 16, 1.0, "sRGB") for i in range(8_000)
    ]
    store.write_record(1, replace(record, finished=empty))
    assert store.record(1).finished == empty
