"""remove, and ingest --replace: photos leave a store whole, whenever the removal is stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import StoreError, UsageError
from degflow_pipe.levels import parse_scales
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.remove import remove
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import verify
from degflow_pipe.store import Store

GRID = parse_scales("2,4", 4.0)
WHOLE = {"astronaut.png": 12, "chelsea.jpg": 6, "sub/coffee.webp": 9}


def pictures(store: Path) -> dict[tuple[str, int, int], tuple[bytes, bytes, bytes]]:
    """HR, latent and levels of every patch, by photo and place."""
    source, found = Store.open(store), {}
    for unit, record in source.records():
        held = (source.hr(unit), source.latents(unit), source.levels(GRID.name, unit))
        for i, patch in enumerate(record.patches):
            place = (patch.source, patch.y, patch.x)
            assert place not in found
            found[place] = tuple(array[i].tobytes() for array in held)
    return found


@pytest.mark.parametrize("name", WHOLE)
def test_a_photo_leaves_with_all_that_is_of_it(
    name: str, store: Path, tiny_model: DegFlow, photo_folder: Path
) -> None:
    before = pictures(store)
    summary = remove([name], store)
    assert (summary.photos, summary.patches) == (1, WHOLE[name])
    assert summary.patches_in_store == 27 - WHOLE[name]
    assert pictures(store) == {k: v for k, v in before.items() if k[0] != name}
    assert verify(store)["damage"] == []
    assert generate(store, tiny_model, GRID).pairs == 0  # levels of the others are kept
    assert shard(store, store.parent / "out").pairs == 2 * summary.patches_in_store
    ingest([str(photo_folder)], store, tiny_model, patch=64)
    generate(store, tiny_model, GRID)
    assert pictures(store) == before


def test_the_last_photo_leaves_an_empty_store(store: Path) -> None:
    assert remove(list(WHOLE), store).patches_in_store == 0
    assert (Store.open(store).units(), verify(store)["damage"]) == ([], [])


def test_a_name_that_is_not_there_removes_nothing(store: Path) -> None:
    before = pictures(store)
    with pytest.raises(UsageError, match=r"holds no photo 'nobody\.png'; nothing was removed"):
        remove(["astronaut.png", "nobody.png"], store)
    assert pictures(store) == before


@pytest.mark.parametrize("finish", ["remove", "generate"])
@pytest.mark.parametrize("stop_at", [1, 2, 3, 5, 7, 9, 12, 15])
def test_a_removal_that_was_stopped_goes_on(
    stop_at: int, finish: str, store: Path, tiny_model: DegFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before files that it writes or removes; whoever writes next brings it to its end."""
    from degflow_pipe import files

    before = pictures(store)
    left = [stop_at]

    def stopping(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise InterruptedError("power cut")
            return function(*args, **options)

        return call

    with monkeypatch.context() as patched:
        for name in ("write_summed", "remove"):
            patched.setattr(files, name, stopping(getattr(files, name)))
        with pytest.raises(InterruptedError):
            remove(["chelsea.jpg"], store)
    begun = (store / "done" / "removal.json").exists()
    assert begun == any("a removal was not run" in line for line in verify(store)["damage"])
    if begun:
        with pytest.raises(StoreError):
            shard(store, store.parent / "out")
    if begun and finish == "generate":
        generate(store, tiny_model, GRID)
    else:
        remove(["chelsea.jpg"], store)
    assert pictures(store) == {k: v for k, v in before.items() if k[0] != "chelsea.jpg"}
    assert verify(store)["damage"] == []


@pytest.fixture
def newer(photo_folder: Path, tmp_path: Path) -> Path:
    """The photos, of which chelsea.jpg shows something else now."""
    folder = Path(shutil.copytree(photo_folder, tmp_path / "newer"))
    crop = np.ascontiguousarray(data.chelsea()[100:228, 100:292])
    Image.fromarray(crop).save(folder / "chelsea.jpg", quality=95)
    return folder


def test_a_photo_of_the_same_name_is_told(
    newer: Path, store: Path, tiny_model: DegFlow, recorder: Any
) -> None:
    summary = ingest([str(newer)], store, tiny_model, patch=64, progress=recorder)
    assert (summary.photos, summary.known, summary.replaced) == (1, 2, 0)
    assert any("same names" in note and "--replace" in note for note in recorder.notes)
    assert summary.patches_in_store == 27 + 6


def test_replace_drops_the_older_one(
    newer: Path, store: Path, photo_folder: Path, tiny_model: DegFlow
) -> None:
    summary = ingest([str(newer)], store, tiny_model, patch=64, replace=True)
    assert (summary.photos, summary.replaced, summary.patches_in_store) == (1, 1, 27)
    generate(store, tiny_model, GRID)
    fresh = store.parent / "fresh.zarr"
    ingest([str(newer)], fresh, tiny_model, patch=64)
    generate(fresh, tiny_model, GRID)
    assert pictures(store) == pictures(fresh)
    assert verify(store)["damage"] == []


def test_another_stride_is_told(
    store: Path, photo_folder: Path, tiny_model: DegFlow, recorder: Any
) -> None:
    asked = {"patch": 64, "stride": 32, "progress": recorder}
    summary = ingest([str(photo_folder)], store, tiny_model, **asked)
    assert (summary.patches, summary.other_settings) == (0, 3)
    assert any("--stride 64" in note and "stay so" in note for note in recorder.notes)


def test_replace_keeps_what_the_new_photo_shares_with_the_old_one(
    photo_folder: Path, store: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    """Retouched in one corner; the other patches are the same as before, and stay in the store."""
    newer = Path(shutil.copytree(photo_folder, tmp_path / "retouched"))
    pixels = np.array(Image.open(newer / "astronaut.png"))
    pixels[:20, :20] = 255 - pixels[:20, :20]
    Image.fromarray(pixels).save(newer / "astronaut.png")
    summary = ingest([str(newer)], store, tiny_model, patch=64, replace=True)
    assert (summary.replaced, summary.patches_in_store) == (1, 27)
    generate(store, tiny_model, GRID)
    fresh = store.parent / "fresh.zarr"
    ingest([str(newer)], fresh, tiny_model, patch=64)
    generate(fresh, tiny_model, GRID)
    assert pictures(store) == pictures(fresh)


def test_two_files_of_one_name_replace_nothing(
    newer: Path, store: Path, photo_folder: Path, tiny_model: DegFlow, recorder: Any
) -> None:
    both = [str(newer / "chelsea.jpg"), str(photo_folder / "astronaut.png")]
    other = newer / "again" / "chelsea.jpg"
    other.parent.mkdir()
    shutil.copy(newer / "astronaut.png", other)
    asked = {"patch": 64, "replace": True, "progress": recorder}
    summary = ingest([*both, str(other)], store, tiny_model, **asked)
    assert summary.replaced == 0
    assert any("where one file of the name is given" in note for note in recorder.notes)
