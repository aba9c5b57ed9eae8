"""ingest: real photos into a store, once and only once, however often it is run or stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from degflow_pipe import folders
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.errors import FileError, PhotoError, StoreError, UsageError
from degflow_pipe.levels import parse_t
from degflow_pipe.pictures.arrays import to_tensor
from degflow_pipe.pictures.patches import crop_patches
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.stages.crops import CropJob
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.store import PatchRecord, Store
from degflow_pipe.store.lacking import lacking
from tests.stages.stores import PowerCut, stopping

PATCH = 64
PHOTOS = ("astronaut.png", "chelsea.jpg", "sub/coffee.webp")

Tree = Callable[[Path], dict[str, bytes]]


def patches_of(store: Path) -> list[tuple[PatchRecord, np.ndarray, np.ndarray]]:
    """Record, HR and latent of every patch, in order."""
    found = []
    source = Store.open(store)
    (encoder,) = map(source.encoder, source.encoders())
    for number, unit in source.units.items():
        latents = source.latents(encoder).read(number, unit)
        found += zip(source.patches(number), source.hr(number), latents, strict=True)
    return found


@pytest.fixture
def feed(tiny_model: DegFlow, tmp_path: Path) -> Callable[..., Any]:
    """`feed(PHOTO, ..., **options)` ingests into a.zarr below tmp_path, and gives the summary."""

    def run(*photos: object, name: str = "a.zarr", **options: Any) -> Any:
        options = {"patch": PATCH, "workers": 1, **options}
        return ingest([str(photo) for photo in photos], tmp_path / name, tiny_model, **options)

    return run


@pytest.fixture
def scene(tmp_path: Path) -> Callable[[str, np.ndarray], Path]:
    """`scene(name, pixels)` saves a picture without loss."""

    def save(name: str, pixels: np.ndarray) -> Path:
        path = tmp_path / "made" / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
        return path

    return save


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_every_patch_is_there_with_where_it_came_from_and_its_latent(
    photo_folder: Path, tiny_model: DegFlow, feed: Callable[..., Any], tmp_path: Path
) -> None:
    summary = feed(photo_folder)
    assert asdict(summary) == {
        "store": str(tmp_path / "a.zarr"),
        "photos": 3,
        "known": 0,
        "patches": 27,
        "flat": 0,
        "duplicate": 0,
        "replaced": 0,
        "encoded": 27,
        "lacking": 0,
        "beyond": {},
        "skipped": {},
        "left_out": {},
        "unchecked": {},
        "colours": {},
        "patches_in_store": 27,
        "batch": 1,
        "slowest": [asdict(unit) for unit in summary.slowest],
    }
    assert [unit.unit for unit in summary.slowest] == ["unit 0"]
    expected = []
    for name in PHOTOS:
        photo = read_photo(photo_folder / name)
        for patch in crop_patches(photo.pixels, PATCH, PATCH):
            expected.append((name, photo.sha256, patch))
    found = patches_of(tmp_path / "a.zarr")
    assert len(found) == len(expected) == 27
    for (record, hr, latent), (name, sha256, patch) in zip(found, expected, strict=True):
        place = (record.source, record.sha256, record.y, record.x)
        assert place == (name, sha256, patch.y, patch.x)
        assert record.digest == patch.digest
        assert record.detail == pytest.approx(patch.detail, abs=1e-4)
        assert np.array_equal(hr, patch.pixels)
        assert latent.shape == (4, 8, 8)
    record, hr, latent = found[20]
    z, _ = tiny_model.encode(to_tensor(hr))
    assert np.allclose(latent, z[0].numpy(), atol=1e-5)


def test_the_stride_decides_how_patches_overlap(
    photo_folder: Path, feed: Callable[..., Any], tmp_path: Path
) -> None:
    feed(photo_folder / "chelsea.jpg", stride=32)
    places = [(record.y, record.x) for record, _, _ in patches_of(tmp_path / "a.zarr")]
    assert places == [(y, x) for y in (0, 32, 64) for x in (0, 32, 64, 96, 128)]


def test_the_same_photos_again_change_nothing(
    photo_folder: Path, feed: Callable[..., Any], tmp_path: Path, tree: Tree
) -> None:
    feed(photo_folder)
    before = tree(tmp_path / "a.zarr")
    summary = feed(photo_folder)
    assert (summary.photos, summary.known, summary.patches) == (0, 3, 0)
    assert summary.patches_in_store == 27
    assert tree(tmp_path / "a.zarr") == before


def test_a_photo_is_known_by_its_content_not_its_name(
    photo_folder: Path, feed: Callable[..., Any], tmp_path: Path, tree: Tree
) -> None:
    copy = tmp_path / "renamed.png"
    shutil.copy(photo_folder / "astronaut.png", copy)
    summary = feed(photo_folder / "astronaut.png", copy)
    assert (summary.photos, summary.known, summary.patches) == (1, 1, 12)
    before = tree(tmp_path / "a.zarr")
    assert feed(copy).known == 1
    assert tree(tmp_path / "a.zarr") == before


def test_more_photos_are_added_after_those_that_are_there(
    photo_folder: Path, feed: Callable[..., Any], tmp_path: Path, tree: Tree
) -> None:
    feed(photo_folder / "astronaut.png")
    before, head = tree(tmp_path / "a.zarr"), patches_of(tmp_path / "a.zarr")
    summary = feed(photo_folder)
    assert (summary.photos, summary.known, summary.patches) == (2, 1, 15)
    assert summary.patches_in_store == 27
    after = tree(tmp_path / "a.zarr")
    changed = {name for name in before if after[name] != before[name]}
    (encoder,) = Store.open(tmp_path / "a.zarr").encoders()
    # the arrays' new shapes, and what is said of the units and photos that were added
    arrays = {f"{name}/zarr.json" for name in ("hr", f"latents/{encoder}")}
    ledgers = {f"done/{name}/00000000.jsonl" for name in ("hr", "photos", f"latents/{encoder}")}
    assert changed == arrays | ledgers
    found = patches_of(tmp_path / "a.zarr")
    assert [record for record, _, _ in found[:12]] == [record for record, _, _ in head]
    assert [record.source for record, _, _ in found[12:]] == [PHOTOS[1]] * 6 + [PHOTOS[2]] * 9
    units = Store.open(tmp_path / "a.zarr").units  # they stay as they were
    assert {number: unit.count for number, unit in units.items()} == {0: 12, 1: 15}


@pytest.fixture
def half_flat(scene: Callable[[str, np.ndarray], Path]) -> Path:
    """128 x 192: noise, the same noise, flat, all but flat / other noise, flat, the first noise."""
    a, b = noise(64, 64), noise(64, 64, seed=1)
    flat = np.full((64, 64, 3), 90, np.uint8)
    dull = flat.copy()
    dull[:, 32:] += 10  # one step of 10 in 63 columns: a detail of 0.16
    pixels = np.block([[[a], [a], [flat], [dull]], [[b], [flat], [dull], [a]]])
    return scene("half.png", pixels)


def test_flat_and_repeated_patches_are_dropped(
    half_flat: Path, feed: Callable[..., Any], tmp_path: Path
) -> None:
    summary = feed(half_flat)
    assert (summary.patches, summary.flat, summary.duplicate) == (2, 4, 2)
    found = patches_of(tmp_path / "a.zarr")
    assert [(record.y, record.x) for record, _, _ in found] == [(0, 0), (64, 0)]
    (photo,) = Store.open(tmp_path / "a.zarr").photos().values()
    assert (photo.kept, photo.flat, photo.duplicate) == (2, 4, 2)


def test_a_lower_min_detail_lets_duller_patches_in(
    half_flat: Path, feed: Callable[..., Any]
) -> None:
    summary = feed(half_flat, min_detail=0.1)
    assert (summary.patches, summary.flat, summary.duplicate) == (3, 2, 3)


def test_min_detail_0_keeps_all(half_flat: Path, feed: Callable[..., Any], tmp_path: Path) -> None:
    summary = feed(half_flat, min_detail=0)
    assert (summary.patches, summary.flat, summary.duplicate) == (8, 0, 0)
    pixels = read_photo(half_flat).pixels
    for record, hr, _ in patches_of(tmp_path / "a.zarr"):
        y, x = record.y, record.x
        assert np.array_equal(hr, pixels[y : y + PATCH, x : x + PATCH])


def test_a_patch_that_another_photo_gave_is_dropped(
    scene: Callable[[str, np.ndarray], Path], feed: Callable[..., Any]
) -> None:
    first = scene("first.png", noise(64, 64))
    second = scene("second.png", np.hstack([noise(64, 64, seed=2), noise(64, 64)]))
    assert feed(first).patches == 1
    summary = feed(second)
    assert (summary.patches, summary.duplicate, summary.patches_in_store) == (1, 1, 2)


def test_photos_of_which_nothing_is_kept(
    scene: Callable[[str, np.ndarray], Path], feed: Callable[..., Any]
) -> None:
    with pytest.raises(PhotoError, match="no patch came of 1 photo: every patch was flat"):
        feed(scene("flat.png", np.full((64, 64, 3), 5, np.uint8)))


def test_a_photo_without_a_patch_is_read_again_where_more_is_let_in(
    scene: Callable[[str, np.ndarray], Path], feed: Callable[..., Any]
) -> None:
    """Who is told that every patch was flat tries again with a lower --min-detail."""
    flat = scene("flat.png", np.full((64, 128, 3), 5, np.uint8))
    with pytest.raises(PhotoError, match="every patch was flat"):
        feed(flat)
    assert feed(flat, min_detail=0).patches == 2


@pytest.fixture
def mixed(tmp_path: Path, photo_folder: Path) -> Path:
    """A folder with one good photo and four that cannot be used."""
    folder = tmp_path / "mixed"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(photo_folder / "chelsea.jpg", folder / "good.jpg")
    whole = (photo_folder / "chelsea.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "sub" / "letter.png").write_text("dear reader")
    Image.fromarray(noise(63, 200)).save(folder / "small.png")
    return folder


def test_photos_that_cannot_be_used_are_left_out_with_the_reason(
    mixed: Path, feed: Callable[..., Any], tmp_path: Path
) -> None:
    summary = feed(mixed)
    assert (summary.photos, summary.patches) == (1, 6)
    assert set(summary.skipped) == {"cut.jpg", "empty.png", "small.png", "sub/letter.png"}
    for name, reason in summary.skipped.items():
        assert reason.startswith(f"{mixed / name}: ")
    assert "smaller than the patch of 64" in summary.skipped["small.png"]
    assert "damaged: Premature end of JPEG" in summary.skipped["cut.jpg"]
    assert Store.open(tmp_path / "a.zarr").skipped() == summary.skipped


def test_none_of_the_photos_is_an_error_beside_a_store_that_holds_others(
    mixed: Path, photo_folder: Path, feed: Callable[..., Any], tmp_path: Path
) -> None:
    feed(photo_folder / "astronaut.png")
    before = Store.open(tmp_path / "a.zarr").units
    with pytest.raises(PhotoError, match=r"none of 1 photos could be used: .*empty\.png"):
        feed(mixed / "empty.png")
    store = Store.open(tmp_path / "a.zarr")
    assert store.units == before and set(store.skipped()) == {"empty.png"}


def test_the_reasons_stay_when_other_photos_follow(
    mixed: Path, photo_folder: Path, feed: Callable[..., Any], tmp_path: Path
) -> None:
    skipped = feed(mixed).skipped
    assert feed(photo_folder / "astronaut.png").skipped == {}
    assert Store.open(tmp_path / "a.zarr").skipped() == skipped


def test_a_reason_goes_when_the_photo_was_mended(
    mixed: Path, photo_folder: Path, feed: Callable[..., Any], tmp_path: Path
) -> None:
    feed(mixed)
    shutil.copy(photo_folder / "astronaut.png", mixed / "empty.png")
    assert feed(mixed).photos == 1
    left = Store.open(tmp_path / "a.zarr").skipped()
    assert set(left) == {"cut.jpg", "small.png", "sub/letter.png"}


def test_only_photos_that_cannot_be_used_are_an_error_that_says_why(
    mixed: Path, feed: Callable[..., Any]
) -> None:
    with pytest.raises(PhotoError, match=r"no patch came of 1 photo: .*cut\.jpg: damaged"):
        feed(mixed / "cut.jpg")


def test_strict_stops_at_a_photo_that_cannot_be_used(mixed: Path, feed: Callable[..., Any]) -> None:
    with pytest.raises(PhotoError, match=r"cut\.jpg: damaged"):
        feed(mixed, strict=True)
    assert feed(mixed / "good.jpg", strict=True).patches == 6


def test_another_patch_size_is_refused_and_nothing_changes(
    photo_folder: Path, feed: Callable[..., Any], tmp_path: Path, tree: Tree
) -> None:
    feed(photo_folder / "astronaut.png")
    before = tree(tmp_path / "a.zarr")
    with pytest.raises(StoreError, match="holds patches of 64, not 128: give 64 as `patch`"):
        feed(photo_folder, patch=128)
    assert tree(tmp_path / "a.zarr") == before


def test_another_checkpoint_adds_latents_of_its_own(
    photo_folder: Path,
    feed: Callable[..., Any],
    other_checkpoint: DegFlow,
    tmp_path: Path,
    tree: Tree,
) -> None:
    """Those that are there stay, and photos are neither read again nor doubled."""
    feed(photo_folder)
    before = tree(tmp_path / "a.zarr")
    summary = ingest([str(photo_folder)], tmp_path / "a.zarr", other_checkpoint, patch=PATCH)
    assert (summary.known, summary.patches, summary.encoded) == (3, 0, 27)
    after = tree(tmp_path / "a.zarr")
    assert {name: after[name] for name in before} == before
    ingest([str(photo_folder)], tmp_path / "b.zarr", other_checkpoint, patch=PATCH)
    alone = tree(tmp_path / "b.zarr")
    assert {name: after[name] for name in alone} == alone


def test_latents_that_were_not_wanted_are_made_when_they_are(
    photo_folder: Path,
    feed: Callable[..., Any],
    tmp_path: Path,
    whole_store: dict[str, bytes],
    tree: Tree,
) -> None:
    assert feed(photo_folder, encode=False).patches == 27
    assert Store.open(tmp_path / "a.zarr").encoders() == []
    assert feed(photo_folder).encoded == 27
    assert tree(tmp_path / "a.zarr") == whole_store


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"patch": 100}, "`patch` must be a multiple of 64"),
        ({"stride": 0}, "`stride` must be 1 pixel at least"),
        ({"min_detail": -1.0}, "`min_detail` must be 0 or more"),
        ({"min_detail": float("nan")}, "`min_detail` must be 0 or more"),
        ({"min_detail": 1e12}, "`min_detail` must be 0 or more, and 1e.09 at most"),
        ({"max_noise": -1.0}, "`max_noise` must be 0 or more"),
        ({"min_sharpness": float("nan")}, "`min_sharpness` must be 0 or more"),
        ({"batch": 0}, "`batch` must be 1 at least"),
        ({"workers": -1}, "`workers` must be 0"),
    ],
)
def test_wrong_options_are_refused_before_a_store_is_made(
    photo_folder: Path,
    feed: Callable[..., Any],
    tmp_path: Path,
    options: dict[str, Any],
    reason: str,
) -> None:
    with pytest.raises(UsageError, match=reason):
        feed(photo_folder, **options)
    assert not (tmp_path / "a.zarr" / "zarr.json").exists()


def test_no_photo_is_refused_before_a_store_is_made(
    feed: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        feed(tmp_path / "nowhere")
    assert not (tmp_path / "a.zarr").exists()


def test_one_writer_at_a_time(photo_folder: Path, feed: Callable[..., Any], tmp_path: Path) -> None:
    feed(photo_folder / "astronaut.png")
    with (
        folders.one_writer(tmp_path / "a.zarr", "store"),
        pytest.raises(FileError, match="another process is writing"),
    ):
        feed(photo_folder)
    assert feed(photo_folder).patches == 15


@pytest.fixture(scope="module")
def whole(
    photo_folder: Path, tiny_model: DegFlow, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store that was made in one go, of one unit. Do not write to it."""
    path = tmp_path_factory.mktemp("whole") / "a.zarr"
    ingest([str(photo_folder)], path, tiny_model, patch=PATCH, workers=1, batch=8)
    return path


@pytest.fixture(scope="module")
def whole_store(whole: Path, tree: Tree) -> dict[str, bytes]:
    """Its bytes."""
    return tree(whole)


@pytest.mark.parametrize("workers, batch", [(2, 1), (3, 5), (1, 16)])
def test_bytes_depend_on_neither_workers_nor_batch(
    photo_folder: Path,
    feed: Callable[..., Any],
    tmp_path: Path,
    tree: Tree,
    whole_store: dict[str, bytes],
    workers: int,
    batch: int,
) -> None:
    feed(photo_folder, workers=workers, batch=batch)
    assert tree(tmp_path / "a.zarr") == whole_store


DENSE = 16
"""A stride at which the photos give patches of three units."""


@pytest.fixture(scope="module")
def dense(
    photo_folder: Path, tiny_model: DegFlow, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store of several units that was made in one go. Do not write to it."""
    path = tmp_path_factory.mktemp("dense") / "a.zarr"
    ingest([str(photo_folder)], path, tiny_model, patch=PATCH, stride=DENSE, workers=1)
    assert len(Store.open(path).units) == 3
    return path


@pytest.fixture(scope="module")
def dense_store(dense: Path, tree: Tree) -> dict[str, bytes]:
    """Its bytes."""
    return tree(dense)


@pytest.mark.parametrize("units", [0, 1, 2])
def test_an_ingest_that_was_stopped_ends_in_the_same_store(
    photo_folder: Path,
    feed: Callable[..., Any],
    tmp_path: Path,
    tree: Tree,
    dense_store: dict[str, bytes],
    units: int,
) -> None:
    with pytest.raises(PowerCut):
        feed(photo_folder, stride=DENSE, workers=2, engine=stopping(CropJob, units))
    assert list(Store.open(tmp_path / "a.zarr").units) == list(range(units))
    feed(photo_folder, stride=DENSE)
    assert tree(tmp_path / "a.zarr") == dense_store


@pytest.mark.parametrize("left", [None, b"", b"half a unit", bytes(100_000)])
@pytest.mark.parametrize("number", [0, 1])
def test_data_that_is_not_what_it_was_is_written_again(
    photo_folder: Path,
    feed: Callable[..., Any],
    tmp_path: Path,
    tree: Tree,
    dense: Path,
    dense_store: dict[str, bytes],
    number: int,
    left: bytes | None,
) -> None:
    shutil.copytree(dense, tmp_path / "a.zarr")
    file = tmp_path / "a.zarr" / "hr" / f"c.{number}.0.0.0"
    file.unlink() if left is None else file.write_bytes(left)
    feed(photo_folder, stride=DENSE)
    assert tree(tmp_path / "a.zarr") == dense_store


@pytest.mark.parametrize("left", [b"", b"half a unit", bytes(100_000)])
def test_data_that_no_ledger_knows_is_written_again(
    photo_folder: Path,
    feed: Callable[..., Any],
    tmp_path: Path,
    tree: Tree,
    whole: Path,
    whole_store: dict[str, bytes],
    left: bytes,
) -> None:
    """Data is written before the ledger, so a stop between the two may leave anything behind."""
    shutil.copytree(whole, tmp_path / "a.zarr")
    store = Store.open(tmp_path / "a.zarr")
    for ledger in ("hr", "photos", f"latents/{store.encoders()[0]}"):
        (store.path / "done" / ledger / "00000000.jsonl").unlink()
    (store.path / "hr" / "c.0.0.0.0").write_bytes(left)
    feed(photo_folder)
    assert tree(tmp_path / "a.zarr") == whole_store


def test_the_engine_does_not_matter(
    photo_folder: Path,
    feed: Callable[..., Any],
    tmp_path: Path,
    tree: Tree,
    dense_store: dict[str, bytes],
) -> None:
    feed(photo_folder, stride=DENSE, workers=2, engine=run_in_processes)
    assert tree(tmp_path / "a.zarr") == dense_store


def test_a_photo_that_is_cropped_otherwise_is_refused_or_replaced(
    photo_folder: Path,
    feed: Callable[..., Any],
    tmp_path: Path,
    tree: Tree,
    dense_store: dict[str, bytes],
) -> None:
    feed(photo_folder)
    before = tree(tmp_path / "a.zarr")
    for other in ({"stride": DENSE}, {"min_detail": 2.0}, {"max_noise": 99.0}):
        with pytest.raises(StoreError, match=r"astronaut\.png and 2 others, cropped with 64 as"):
            feed(photo_folder, **other)
        assert tree(tmp_path / "a.zarr") == before
    copy = tmp_path / "renamed.png"
    shutil.copy(photo_folder / "astronaut.png", copy)
    with pytest.raises(StoreError, match="cropped with 64 as `stride`"):
        feed(copy, stride=DENSE)
    summary = feed(photo_folder, stride=DENSE, replace=True)
    assert (summary.replaced, summary.photos) == (3, 3)
    assert tree(tmp_path / "a.zarr") == dense_store


def test_progress_counts_photos_and_those_left_out(
    mixed: Path, feed: Callable[..., Any], recorder: Any
) -> None:
    feed(mixed, progress=recorder)
    assert recorder.tasks == [("ingest", 5, 0)]
    assert recorder.advanced == 5
    assert recorder.shown[-1].endswith(" patches, 4 photos skipped")


def test_replace_keeps_what_cannot_be_cropped_anew(
    photo_folder: Path, feed: Callable[..., Any], tmp_path: Path, tree: Tree
) -> None:
    feed(photo_folder / "chelsea.jpg")
    before = tree(tmp_path / "a.zarr")
    with pytest.raises(PhotoError, match="none of 1 photos could be used"):
        feed(photo_folder / "chelsea.jpg", stride=DENSE, replace=True, max_pixels=1000)
    after = tree(tmp_path / "a.zarr")
    assert {name: data for name, data in after.items() if name != "skipped.json"} == before


def test_a_refused_ingest_leaves_the_store_whole(
    photo_folder: Path, feed: Callable[..., Any], tmp_path: Path
) -> None:
    feed(photo_folder / "chelsea.jpg")
    copy = tmp_path / "renamed.jpg"
    shutil.copy(photo_folder / "chelsea.jpg", copy)
    with pytest.raises(StoreError, match="cropped with"):
        feed(copy, stride=DENSE)
    assert lacking(Store.open(tmp_path / "a.zarr")) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files here")
def test_no_ledger_is_left_open(
    photo_folder: Path, feed: Callable[..., Any], tmp_path: Path, tiny_model: DegFlow
) -> None:
    feed(photo_folder / "chelsea.jpg")
    generate(tmp_path / "a.zarr", tiny_model, parse_t("1"))
    opened = [path.resolve() for path in Path("/proc/self/fd").glob("*")]
    assert not [path for path in opened if path.suffix == ".jsonl"]
