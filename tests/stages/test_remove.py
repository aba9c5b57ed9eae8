"""remove, and ingest --replace: photos leave a store whole, whenever the removal is stopped."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import StoreError, UsageError
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import parse_scales
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.remove import remove
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import verify
from degflow_pipe.store import Store
from degflow_pipe.store.arrays import FileArray

GRID = parse_scales("2,4", 4.0)
WHOLE = {"astronaut.png": 12, "chelsea.jpg": 6, "sub/coffee.webp": 9}
UNITS = {"astronaut.png": 40, "chelsea.jpg": 28, "sub/coffee.webp": 25}
"""The patches of `two_units`; chelsea.jpg lies in both."""
OVERLAPPING = 22
"""Its stride; its levels are those of scale 4."""


def pictures(store: Path) -> dict[tuple[str, int, int], tuple[bytes, bytes, bytes]]:
    """HR, latent and levels of every patch, by photo and place."""
    source = Store.open(store)
    latents = source.latents(source.encoder(source.encoders()[0]))
    levels = source.levels(source.grid(source.grids()[0]))
    found: dict[tuple[str, int, int], tuple[bytes, bytes, bytes]] = {}
    for number, patches in source.every_patch():
        unit = source.units[number]
        made = [levels.read(block, unit) for block in list(levels.numbers(number))[: unit.blocks]]
        held = (source.hr(number), latents.read(number, unit), np.concatenate(made))
        for i, patch in enumerate(patches):
            place = (patch.source, patch.y, patch.x)
            assert place not in found
            found[place] = (held[0][i].tobytes(), held[1][i].tobytes(), held[2][i].tobytes())
    return found


@pytest.mark.parametrize("name", UNITS)
def test_a_photo_leaves_with_all_that_is_of_it(
    name: str, two_units: Path, tiny_model: DegFlow, photo_folder: Path
) -> None:
    before, grid = pictures(two_units), parse_scales("4", 4.0)
    summary = remove([name], two_units)
    assert (summary.photos, summary.patches) == (1, UNITS[name])
    assert summary.patches_in_store == 93 - UNITS[name]
    assert pictures(two_units) == {k: v for k, v in before.items() if k[0] != name}
    assert verify(two_units).damage == []
    assert generate(two_units, tiny_model, grid).pairs == 0  # levels of the others are kept
    assert shard(two_units, two_units.parent / "out").pairs == summary.patches_in_store
    ingest([str(photo_folder)], two_units, tiny_model, patch=64, stride=OVERLAPPING)
    generate(two_units, tiny_model, grid)
    assert pictures(two_units) == before
    assert verify(two_units).damage == []


def test_nothing_of_a_photo_is_left_on_disk(two_units: Path) -> None:
    remove(["chelsea.jpg"], two_units)
    store = Store.open(two_units)
    kept = {f"c.{number}" for number in store.units}
    blocks = {f"c.{block}" for block, _ in store.blocks()}
    for folder, numbers in (("hr", kept), ("latents", kept), ("levels", blocks)):
        files_of_units = [path for path in (two_units / folder).rglob("c.*") if path.is_file()]
        assert {".".join(path.name.split(".")[:2]) for path in files_of_units} == numbers
    for ledger in (two_units / "done").rglob("*.jsonl"):
        assert "chelsea" not in ledger.read_text()


def test_levels_and_latents_of_every_checkpoint_stay(
    store: Path, other_checkpoint: DegFlow, photo_folder: Path, tiny_model: DegFlow
) -> None:
    ingest([str(photo_folder)], store, other_checkpoint, patch=64)
    generate(store, other_checkpoint, GRID)
    remove(["chelsea.jpg"], store)
    for model in (tiny_model, other_checkpoint):
        assert generate(store, model, GRID).pairs == 0
        assert ingest([str(photo_folder / "sub")], store, model, patch=64).encoded == 0
    assert verify(store).damage == []


@pytest.mark.parametrize("block, lost", [(0, 16), (1, 21)])
def test_levels_that_were_not_made_yet_are_made_of_what_stays(
    block: int, lost: int, store: Path, tiny_model: DegFlow, photo_folder: Path
) -> None:
    """Those of the blocks whose patches are all of blocks that have theirs stay."""
    before = pictures(store)
    next((store / "levels").rglob(f"c.{block}.*")).unlink()
    remove(["chelsea.jpg"], store)
    assert generate(store, tiny_model, GRID).pairs == 2 * lost
    assert pictures(store) == {k: v for k, v in before.items() if k[0] != "chelsea.jpg"}


@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_what_is_damaged_does_not_hold_a_removal_up(
    how: str,
    two_units: Path,
    tiny_model: DegFlow,
    photo_folder: Path,
    flip: Callable[[Path], None],
    recorder: Any,
) -> None:
    """What of the other photos was in the damaged part is told, and comes again with them."""
    before = pictures(two_units)
    file = two_units / "hr" / "c.0.0.0.0"
    flip(file) if how == "flipped" else file.unlink()
    remove(["chelsea.jpg"], two_units, progress=recorder)
    (line,) = verify(two_units).damage
    found = re.search(r"the photo astronaut.png has lost (\d+) of its 40 patches", line)
    assert found and int(found[1]) in ((8, 16) if how == "flipped" else (40,))
    assert any(f"{found[1]} patches that were damaged" in note for note in recorder.notes)
    asked = {"patch": 64, "stride": OVERLAPPING}
    ingest([str(photo_folder / "astronaut.png")], two_units, tiny_model, **asked)
    generate(two_units, tiny_model, parse_scales("4", 4.0))
    assert pictures(two_units) == {k: v for k, v in before.items() if k[0] != "chelsea.jpg"}
    assert verify(two_units).damage == []


@pytest.mark.parametrize("layer", ["latents", "levels"])
def test_damaged_layers_do_not_hold_a_removal_up(
    layer: str, two_units: Path, tiny_model: DegFlow, flip: Callable[[Path], None]
) -> None:
    """What cannot be moved is made again."""
    before = pictures(two_units)
    flip(next((two_units / layer).rglob("c.1.*")))
    remove(["chelsea.jpg"], two_units)
    generate(two_units, tiny_model, parse_scales("4", 4.0))
    if layer == "levels":
        assert pictures(two_units) == {k: v for k, v in before.items() if k[0] != "chelsea.jpg"}
    assert verify(two_units).damage == []


def test_the_last_photo_leaves_an_empty_store(store: Path) -> None:
    assert remove(list(WHOLE), store).patches_in_store == 0
    assert (Store.open(store).units, verify(store).damage) == ({}, [])
    assert not [path for path in store.rglob("c.*") if path.is_file()]


def test_a_name_that_is_not_there_removes_nothing(store: Path) -> None:
    before = pictures(store)
    with pytest.raises(UsageError, match=r"holds no photo 'nobody\.png'; nothing was removed"):
        remove(["astronaut.png", "nobody.png"], store)
    assert pictures(store) == before


def stopped(asked: Callable[[], Any], stop_at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Stop work before the file, counted from 1, that it writes, appends to or removes; returns
    whether it had so many.
    """
    left = [stop_at]

    def stopping(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise InterruptedError("power cut")
            return function(*args, **options)

        return call

    with monkeypatch.context() as patched:
        for owner, name in (
            *((files, "write_bytes"), (files, "remove")),
            *((Ledger, "write"), (Ledger, "remove"), (FileArray, "write")),
        ):
            patched.setattr(owner, name, stopping(getattr(owner, name)))
        try:
            asked()
        except InterruptedError:
            return True
    return False


@pytest.mark.parametrize(
    ("finish", "first", "step"), [("remove", 1, 7), ("generate", 3, 17), ("ingest", 9, 17)]
)
def test_a_removal_that_was_stopped_goes_on(
    finish: str,
    first: int,
    step: int,
    two_units: Path,
    tiny_model: DegFlow,
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped before each `step`-th change of a file; whoever writes next brings it to its end."""
    before = pictures(two_units)
    kept = {k: v for k, v in before.items() if k[0] != "chelsea.jpg"}
    stops = 0
    for stop_at in range(first, 1000, step):
        store = Path(shutil.copytree(two_units, tmp_path / f"{stop_at}.zarr"))
        if not stopped(lambda: remove(["chelsea.jpg"], store), stop_at, monkeypatch):  # noqa: B023
            break
        stops += 1
        begun = (store / "removal.json").exists()
        assert begun == any("a removal was not run" in line for line in verify(store).damage)
        if begun:
            with pytest.raises(StoreError):
                shard(store, tmp_path / "out")
        if begun and finish == "generate":
            generate(store, tiny_model, parse_scales("4", 4.0))
        elif begun and finish == "ingest":
            asked = {"patch": 64, "stride": OVERLAPPING}
            ingest([str(photo_folder / "astronaut.png")], store, tiny_model, **asked)
        elif begun or pictures(store) != kept:
            remove(["chelsea.jpg"], store)
        assert pictures(store) == kept
        assert verify(store).damage == []
        shutil.rmtree(store)
    assert stops > 2


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
    assert any("same names" in note and "`replace`" in note for note in recorder.notes)
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
    assert verify(store).damage == []


@pytest.mark.parametrize("changed", [{"stride": 32}, {"min_detail": 5.0}, {"max_clipped": 0.9}])
def test_a_photo_cropped_otherwise_is_refused_and_with_replace_cropped_anew(
    changed: dict[str, Any], store: Path, photo_folder: Path, tiny_model: DegFlow, tree: Any
) -> None:
    before = tree(store)
    with pytest.raises(
        StoreError,
        match=r"holds astronaut\.png and 2 others, cropped with 64 as `stride` and 1 as "
        r"`min_detail`.*`replace`",
    ):
        ingest([str(photo_folder)], store, tiny_model, patch=64, **changed)
    assert tree(store) == before
    summary = ingest([str(photo_folder)], store, tiny_model, patch=64, replace=True, **changed)
    assert (summary.photos, summary.replaced) == (3, 3)
    generate(store, tiny_model, GRID)
    fresh = store.parent / "fresh.zarr"
    ingest([str(photo_folder)], fresh, tiny_model, patch=64, **changed)
    generate(fresh, tiny_model, GRID)
    assert pictures(store) == pictures(fresh)
    assert verify(store).damage == []


def test_a_renamed_photo_cropped_otherwise_is_refused_with_a_cure(
    store: Path, photo_folder: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    """By its hash it is the one that is there; `replace` goes by names."""
    renamed = Path(shutil.copy(photo_folder / "chelsea.jpg", tmp_path / "renamed.jpg"))
    for replace in (False, True):
        asked = {"patch": 64, "stride": 32, "replace": replace}
        with pytest.raises(StoreError, match=r"`remove` chelsea\.jpg"):
            ingest([str(renamed)], store, tiny_model, **asked)
    remove(["chelsea.jpg"], store)
    assert ingest([str(renamed)], store, tiny_model, patch=64, stride=32).patches > 6


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
