"""ingest with limits: what photos are like is in the store, and those beyond a limit are not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.errors import PhotoError, StoreError
from degflow_pipe.ledger import Ledger
from degflow_pipe.metrics.quality import quality_of
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.quality import Limits, Quality
from degflow_pipe.stages.crops import CropJob
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.verify import info, verify
from degflow_pipe.store import Store
from degflow_pipe.store.lacking import lacking
from tests.stages.stores import PowerCut, stopping

Tree = Callable[[Path], dict[str, bytes]]
DENSE = 22
"""A stride at which the photos give two units."""


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    """The three photos, and one of them with noise."""
    folder = Path(shutil.copytree(photo_folder, tmp_path / "photos"))
    clean = np.asarray(Image.open(folder / "astronaut.png")).astype(float)
    noise = np.random.default_rng(0).normal(0, 12, clean.shape)
    Image.fromarray(np.clip(clean + noise, 0, 255).astype(np.uint8)).save(folder / "noisy.png")
    return folder


@pytest.fixture
def feed(tiny_model: DegFlow, tmp_path: Path) -> Callable[..., Any]:
    def run(*sources: object, name: str = "a.zarr", **options: Any) -> Any:
        options = {"patch": 64, "workers": 1, **options}
        return ingest([str(source) for source in sources], tmp_path / name, tiny_model, **options)

    return run


def records(store: Path) -> dict[str, Any]:
    return {photo.source: photo for photo in Store.open(store).photos().values()}


def test_every_photo_has_its_figures_in_the_store(
    photos: Path, feed: Callable[..., Any], tmp_path: Path
) -> None:
    feed(photos)
    found = records(tmp_path / "a.zarr")
    assert len(found) == 4
    for name, record in found.items():
        assert record.quality == quality_of(read_photo(photos / name).pixels)
        assert record.limits == Limits() and record.beyond is None


def test_a_photo_beyond_a_limit_is_left_out_and_counted(
    photos: Path, feed: Callable[..., Any], tmp_path: Path, recorder: Any
) -> None:
    summary = feed(photos, max_noise=6, progress=recorder)
    assert (summary.photos, summary.patches, summary.beyond) == (3, 27, {"max_noise": 1})
    noise = records(tmp_path / "a.zarr")["noisy.png"].quality.noise
    assert recorder.notes == [f"left out noisy.png: noise {noise:g}, and `max_noise` is 6"]
    store = Store.open(tmp_path / "a.zarr")
    assert {p.source for _, patches in store.every_patch() for p in patches} == {
        *("astronaut.png", "chelsea.jpg", "sub/coffee.webp")
    }
    left = records(tmp_path / "a.zarr")["noisy.png"]
    assert (left.kept, left.flat, left.beyond) == (0, 0, "max_noise")
    assert left.limits == Limits(max_noise=6)
    assert lacking(store) == [] and verify(store.path).whole
    assert info(store.path).beyond == {"max_noise": 1}
    # It is told again, and nothing is done again.
    again = feed(photos, max_noise=6)
    assert (again.photos, again.known, again.beyond) == (0, 3, {"max_noise": 1})


@pytest.mark.parametrize(
    "limit, asked",
    [("min_sharpness", 1e3), ("max_blockiness", 0), ("max_clipped", 0), ("max_noise", 0)],
)
def test_each_limit_leaves_out(
    photos: Path, feed: Callable[..., Any], limit: str, asked: float
) -> None:
    with pytest.raises(PhotoError, match=rf"no patch came of 1 photo: 1 beyond `{limit}`"):
        feed(photos / "noisy.png", **{limit: asked})


def test_a_photo_counts_for_the_first_limit_that_it_is_beyond(
    photos: Path, feed: Callable[..., Any]
) -> None:
    feed(photos / "chelsea.jpg", max_noise=6, min_sharpness=0.1)
    summary = feed(photos / "noisy.png", max_noise=6, min_sharpness=1e3, name="a.zarr")
    assert summary.beyond == {"min_sharpness": 1}


def test_strict_is_about_photos_that_cannot_be_read(photos: Path, feed: Callable[..., Any]) -> None:
    assert feed(photos, max_noise=6, strict=True).beyond == {"max_noise": 1}


def test_a_photo_that_was_left_out_comes_in_when_the_limit_is_raised(
    photos: Path, feed: Callable[..., Any], tmp_path: Path, tree: Tree
) -> None:
    with pytest.raises(PhotoError, match="1 beyond `max_noise`"):
        feed(photos / "noisy.png", max_noise=6)
    assert feed(photos / "noisy.png", max_noise=60).photos == 1
    feed(photos / "noisy.png", max_noise=60, name="b.zarr")
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")


def test_other_limits_are_refused_or_replaced(
    photos: Path, feed: Callable[..., Any], tmp_path: Path, tree: Tree
) -> None:
    feed(photos)
    before = tree(tmp_path / "a.zarr")
    refused = "1 as `min_detail`: give the same and no limit, or `replace` to crop anew"
    with pytest.raises(StoreError, match=refused):
        feed(photos, max_noise=6)
    assert tree(tmp_path / "a.zarr") == before
    summary = feed(photos, max_noise=6, replace=True)
    assert (summary.replaced, summary.photos, summary.beyond) == (4, 3, {"max_noise": 1})
    feed(photos, max_noise=6, name="b.zarr")
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")
    with pytest.raises(StoreError, match="1 as `min_detail` and 6 as `max_noise`: give the same"):
        feed(photos)


def test_neither_the_engine_nor_a_stop_matters(
    photos: Path, feed: Callable[..., Any], tmp_path: Path, tree: Tree
) -> None:
    asked = {"stride": DENSE, "max_noise": 6}
    feed(photos, **asked)
    whole = tree(tmp_path / "a.zarr")
    feed(photos, **asked, workers=2, engine=run_in_processes, name="b.zarr")
    assert tree(tmp_path / "b.zarr") == whole
    with pytest.raises(PowerCut):
        feed(photos, **asked, workers=2, engine=stopping(CropJob, 1), name="c.zarr")
    feed(photos, **asked, name="c.zarr")
    assert tree(tmp_path / "c.zarr") == whole


def test_what_a_stopped_ingest_without_the_limit_wrote_is_told(
    photos: Path, feed: Callable[..., Any], tmp_path: Path, recorder: Any
) -> None:
    with pytest.raises(PowerCut):
        feed(photos / "noisy.png", stride=14, engine=stopping(CropJob, 1))
    summary = feed(photos / "noisy.png", stride=14, max_noise=6, progress=recorder)
    assert (summary.patches, summary.beyond) == (0, {"max_noise": 1})
    assert "64 patches of it, which an ingest without the limit wrote" in recorder.notes[0]
    assert records(tmp_path / "a.zarr")["noisy.png"].kept == 64
    assert lacking(Store.open(tmp_path / "a.zarr")) == []


def test_lost_patches_of_a_photo_come_back_whatever_is_asked_now(
    photos: Path, feed: Callable[..., Any], tmp_path: Path, tree: Tree
) -> None:
    feed(photos / "noisy.png")
    whole = tree(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "hr" / "c.0.0.0.0").unlink()
    copy = shutil.copy(photos / "noisy.png", tmp_path / "renamed.png")
    summary = feed(copy, max_noise=6)
    assert summary.photos == 1 and summary.beyond == {}
    assert tree(tmp_path / "a.zarr")["hr/c.0.0.0.0"] == whole["hr/c.0.0.0.0"]


def test_a_store_whose_photos_were_not_measured_is_read(
    photos: Path, feed: Callable[..., Any], tmp_path: Path
) -> None:
    """As one that was written before there were limits."""
    feed(photos)
    with Ledger(tmp_path / "a.zarr" / "done" / "photos", numbers=False) as ledger:
        for key, record in list(ledger.records()):
            kept = {n: v for n, v in record.items() if n not in ("quality", "limits")}
            ledger.write(key, kept)
    found = records(tmp_path / "a.zarr")
    assert {record.quality for record in found.values()} == {Quality()}
    assert feed(photos).known == 4 and verify(tmp_path / "a.zarr").whole


@pytest.mark.parametrize(
    "broken",
    [
        {"quality": {"noise": -1}},
        {"quality": {"noise": "much"}},
        {"quality": {"beauty": 1}},
        {"limits": [1]},
        {"limits": {"max_noise": 1e12}},
    ],
)
def test_figures_that_cannot_be_are_damage(
    photos: Path, feed: Callable[..., Any], tmp_path: Path, broken: dict[str, Any]
) -> None:
    feed(photos / "chelsea.jpg")
    with Ledger(tmp_path / "a.zarr" / "done" / "photos", numbers=False) as ledger:
        ((key, record),) = ledger.records()
        ledger.write(key, {**record, **broken})
    with pytest.raises(StoreError, match="photos is damaged at"):
        records(tmp_path / "a.zarr")
