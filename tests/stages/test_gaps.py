"""What is lost from a store or a data set: it is told, never built on, and filled by the cure."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import DegflowError, FileError, StoreError
from degflow_pipe.levels import parse_scales
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages import shard as stage
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.remove import remove
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import verify
from degflow_pipe.store import Store

GRID = parse_scales("2,4", 4.0)
Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def again(photo_folder: Path, tiny_model: DegFlow) -> Callable[..., Any]:
    """`again(store, photos=...)` ingests the photos of `store` once more."""

    def run(store: Path, *photos: Path) -> Any:
        found = [str(photo) for photo in photos or (photo_folder,)]
        return ingest(found, store, tiny_model, patch=64, workers=1)

    return run


@pytest.fixture
def another(tmp_path: Path) -> Path:
    """A photo that no store has."""
    path = tmp_path / "rocket.png"
    Image.fromarray(np.ascontiguousarray(data.rocket()[100:292, 100:292])).save(path)
    return path


def damage(path: Path) -> list[str]:
    """What `verify` finds, or why it cannot look."""
    try:
        found: list[str] = verify(path, workers=1)["damage"]
    except DegflowError as error:
        return [str(error)]
    return found


def sources(store: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, record in Store.open(store).records():
        for patch in record.patches:
            counts[patch.source] = counts.get(patch.source, 0) + 1
    return counts


WHOLE = {"astronaut.png": 12, "chelsea.jpg": 6, "sub/coffee.webp": 9}


@pytest.mark.parametrize(
    "name", ["zarr.json", "hr/zarr.json", "latents/zarr.json", "levels/zarr.json"]
)
@pytest.mark.parametrize("how", ["gone", "cut", "changed"])
def test_a_lost_description_is_told_and_written_again(
    name: str, how: str, store: Path, again: Callable[..., Any], tree: Tree
) -> None:
    before = tree(store)
    path = store / name
    if how == "gone":
        path.unlink()
    else:
        text = path.read_text()
        path.write_text(text[:-9] if how == "cut" else text.replace("16", "15").replace("3", "2"))
    assert any(name in line and "again" in line for line in damage(store))
    again(store)
    assert tree(store) == before
    assert damage(store) == []


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_grid_keeps_its_levels_where_its_description_is_lost(
    how: str, store: Path, tiny_model: DegFlow, tree: Tree
) -> None:
    before = tree(store)
    path = store / "levels" / GRID.name / "zarr.json"
    path.unlink() if how == "gone" else path.write_text("{")
    assert any(str(path) in line for line in damage(store))
    with pytest.raises(DegflowError, match=r"zarr\.json is .*generate"):
        shard(store, store.parent / "out")
    summary = generate(store, tiny_model, GRID)
    assert (summary.pairs, summary.known) == (0, 54)
    assert tree(store) == before
    assert damage(store) == []


def test_levels_whose_data_is_gone_are_made_again(
    store: Path, tiny_model: DegFlow, tree: Tree
) -> None:
    before = tree(store)
    shutil.rmtree(store / "levels" / GRID.name / "c" / "0")
    assert damage(store) != []
    with pytest.raises(StoreError, match="lack the levels"):
        shard(store, store.parent / "out")
    assert generate(store, tiny_model, GRID).pairs == 32
    assert tree(store) == before


def test_patches_whose_data_is_gone_are_filled_again(
    store: Path, again: Callable[..., Any], tree: Tree
) -> None:
    before = tree(store)
    shutil.rmtree(store / "hr" / "c" / "0")
    with pytest.raises(StoreError, match=r"unit 0 .*ingest its photos again"):
        shard(store, store.parent / "out")
    assert again(store).patches == 16
    assert tree(store) == before


def test_a_lost_mark_and_another_photo_forget_nothing(
    store: Path, again: Callable[..., Any], another: Path, tree: Tree
) -> None:
    """The other photo may take the free place; what was lost is told until it is there again."""
    (store / "done" / "ingest" / "00000000.json").unlink()
    assert any("has lost 12 of its 12 patches" in line for line in damage(store))
    summary = again(store, another)
    new = {"rocket.png": summary.patches}
    assert summary.patches > 0 and summary.lacking == 2
    assert sources(store) == {"chelsea.jpg": 2, "sub/coffee.webp": 9, **new}
    assert any("chelsea.jpg has lost 4 of its 6 patches" in line for line in damage(store))
    with pytest.raises(StoreError, match="has lost"):
        shard(store, store.parent / "out")
    assert again(store).lacking == 0
    assert sources(store) == WHOLE | new
    assert not any("has lost" in line for line in damage(store))


@pytest.mark.parametrize("unit", [0, 1])
def test_a_store_that_lacks_a_unit_makes_no_data_set(
    unit: int, store: Path, again: Callable[..., Any], tree: Tree
) -> None:
    before = tree(store)
    (store / "done" / "ingest" / f"{unit:08d}.json").unlink()
    with pytest.raises(StoreError, match=r"ingest .* again"):
        shard(store, store.parent / "out")
    assert not (store.parent / "out").exists()
    again(store)
    assert tree(store) == before
    assert shard(store, store.parent / "out").pairs == 54


def test_who_has_the_photos_no_more_removes_what_is_left_of_them(store: Path, tree: Tree) -> None:
    """One photo has lost all its patches, and its name with them, another some of them."""
    (store / "done" / "ingest" / "00000000.json").unlink()
    for name in re.findall(r"the photo (\S+) has lost", "\n".join(damage(store))):
        remove([name], store)
    assert sources(store) == {"sub/coffee.webp": 9}
    assert damage(store) == []


def test_a_stopped_ingest_is_no_whole_store(
    photo_folder: Path, tiny_model: DegFlow, stopping: Any, tmp_path: Path, tree: Tree
) -> None:
    path = tmp_path / "a.zarr"
    with pytest.raises(InterruptedError):
        asked = {"patch": 64, "workers": 1}
        ingest([str(photo_folder)], path, tiny_model, progress=stopping(3), **asked)
    assert any("not run to its end" in line for line in damage(path))
    with pytest.raises(StoreError, match="ingest"):
        shard(path, tmp_path / "out")
    ingest([str(photo_folder)], path, tiny_model, patch=64)
    assert damage(path) == []


def test_a_store_without_its_own_description_is_not_made_anew(
    store: Path, again: Callable[..., Any], tree: Tree
) -> None:
    kept = (store / "store.json").read_bytes()
    (store / "store.json").unlink()
    before = tree(store)
    with pytest.raises(StoreError, match=r"has lost its description, store\.json"):
        again(store)
    assert tree(store) == before
    (store / "store.json").write_bytes(kept)
    assert damage(store) == []


def test_a_lost_ledger_is_written_again(store: Path, again: Callable[..., Any], tree: Tree) -> None:
    before = tree(store)
    (store / "done" / "ingest.json").unlink()
    assert any("ingest" in line for line in damage(store))
    again(store)
    assert tree(store) == before


@pytest.mark.parametrize("array", ["hr", "latents", f"levels/{GRID.name}"])
def test_the_cure_that_damage_names_is_one(
    array: str,
    store: Path,
    again: Callable[..., Any],
    tiny_model: DegFlow,
    tree: Tree,
    flip: Callable[[Path], None],
) -> None:
    before = tree(store)
    (file,) = (path for path in (store / array / "c" / "1").rglob("*") if path.is_file())
    flip(file)
    (line,) = damage(store)
    found = re.search(r"delete (\S+\.json) and (ingest its photos|run `generate`) again", line)
    assert found
    Path(found[1]).unlink()
    if found[2].startswith("ingest"):
        again(store)
    else:
        generate(store, tiny_model, GRID)
    assert tree(store) == before


def test_what_the_system_refuses_is_not_called_damage(store: Path) -> None:
    """A link that leads to itself cannot be opened, as too many open files cannot."""
    (file,) = (path for path in (store / "hr" / "c" / "1").rglob("*") if path.is_file())
    file.unlink()
    file.symlink_to(file.name)
    with pytest.raises(FileError, match="Too many levels of symbolic links") as raised:
        Store.open(store).hr(1)
    assert "damage" not in str(raised.value) and "delete" not in str(raised.value)


def test_a_pipe_in_place_of_a_chunk_is_not_waited_for(store: Path) -> None:
    (file,) = (path for path in (store / "hr" / "c" / "1").rglob("*") if path.is_file())
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DegflowError, match="not a file"):
        Store.open(store).hr(1)


def test_a_chunk_that_claims_a_gigabyte_is_refused(store: Path) -> None:
    """The frame's own header says what it unpacks to; memory is taken by what it says."""
    (file,) = (path for path in (store / "hr" / "c" / "1").rglob("*") if path.is_file())
    whole = bytearray(file.read_bytes())
    places = np.frombuffer(bytes(whole[-(16 * 16 + 4) : -4]), "<u8").reshape(-1, 2)
    for offset, size in places[places[:, 0] < len(whole)].tolist():
        assert whole[offset : offset + 4] == b"\x28\xb5\x2f\xfd" and size > 18
        # A single segment with a size of eight bytes: a gigabyte.
        whole[offset + 4] = 0b11100100
        whole[offset + 5 : offset + 13] = (2**30).to_bytes(8, "little")
    file.write_bytes(whole)
    with pytest.raises(StoreError, match="a chunk of 12288 bytes says that it has 1073741824"):
        Store.open(store).hr(1)


def flips(path: Path, count: int = 60) -> Iterator[bytes]:
    """The file with one bit of one byte changed, at places spread over it."""
    whole = path.read_bytes()
    for i, place in enumerate(np.linspace(0, len(whole) - 1, min(count, len(whole))).astype(int)):
        changed = bytearray(whole)
        changed[place] ^= 1 << i % 8
        yield bytes(changed)


METADATA = (
    "store.json",
    "zarr.json",
    "hr/zarr.json",
    "latents/zarr.json",
    "levels/zarr.json",
    f"levels/{GRID.name}/zarr.json",
    "skipped.json",
    "done/ingest.json",
    "done/ingest/00000001.json",
    f"done/{GRID.name}/grid.json",
    f"done/{GRID.name}/00000001.json",
)


@pytest.mark.parametrize("name", METADATA)
def test_every_changed_byte_of_a_stores_metadata_is_found(name: str, store: Path) -> None:
    Store.open(store).note_skipped({"a.png": "too small"}, set())
    assert damage(store) == []
    path = store / name
    whole = path.read_bytes()
    for changed in flips(path, 24):
        path.write_bytes(changed)
        assert damage(store), f"{changed!r} passes for {whole!r}"


@pytest.fixture(scope="module")
def data_set(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("set") / "shards"
    shard(ready_store, out, ShardSettings(shard_size=20))
    return out


@pytest.mark.parametrize(
    "name",
    [
        "degflow.json",
        "degflow.index.jsonl",
        "degflow.sha256",
        "README.md",
        ".degflow/000001.json",
        ".degflow/000001.jsonl",
    ],
)
def test_every_changed_byte_of_a_data_sets_metadata_is_found(
    name: str, data_set: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(data_set, tmp_path / "shards"))
    assert damage(folder) == []
    for changed in flips(folder / name):
        (folder / name).write_bytes(changed)
        assert damage(folder), f"{changed[:80]!r} passes"


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
@pytest.mark.parametrize("what", ["degflow-000001.tar", ".degflow/000001.json", "degflow.json"])
def test_overwrite_keeps_no_damaged_tar(
    what: str,
    how: str,
    data_set: Path,
    ready_store: Path,
    tmp_path: Path,
    tree: Tree,
    flip: Callable[[Path], None],
) -> None:
    folder = Path(shutil.copytree(data_set, tmp_path / "shards"))
    before = tree(folder)
    path = folder / what
    if how == "flip":
        flip(path)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-600])
    else:
        path.unlink()
    if how == "flip" or what.endswith("tar"):
        assert damage(folder)
    shard(ready_store, folder, ShardSettings(shard_size=20), overwrite=True)
    assert tree(folder) == before
    assert damage(folder) == []


def test_a_data_set_that_was_stopped_keeps_no_damaged_tar(
    data_set: Path, ready_store: Path, tmp_path: Path, tree: Tree, flip: Callable[[Path], None]
) -> None:
    folder = Path(shutil.copytree(data_set, tmp_path / "shards"))
    before = tree(folder)
    (folder / "degflow.json").unlink()
    flip(folder / "degflow-000001.tar")
    shard(ready_store, folder, ShardSettings(shard_size=20))
    assert tree(folder) == before


def test_strange_numbers_in_a_mark_are_refused(store: Path) -> None:
    """A stranger can sum what he likes; what it says is looked at too."""
    mark = store / "done" / "ingest" / "00000001.json"
    said = files.read_summed(mark)
    for change in (
        {"patches": said["patches"] * 3},
        {"patches": []},
        {"bytes": {"hr": -1, "latents": 4}},
        {"sha256": {"hr": "../../etc", "latents": "0" * 64}},
        {"patches": [{**said["patches"][0], "sha256": "../" * 20}]},
        {"patches": [{**said["patches"][0], "y": 10**12}]},
        {"finished": [{**said["finished"][0], "kept": -1}]},
    ):
        files.write_summed(mark, {**said, **change})
        with pytest.raises(StoreError, match=r"00000001\.json is damaged"):
            Store.open(store).record(1)
    settings = files.read_summed(store / "store.json")
    for change in ({"patch": 10**6}, {"latent_shape": [10**6] * 3}, {"s_max": 0.0}):
        files.write_summed(store / "store.json", {**settings, **change})
        with pytest.raises(StoreError, match=r"store\.json is damaged"):
            Store.open(store)
    assert json.loads((store / "store.json").read_text())["sum"]


def test_a_store_that_changes_while_it_is_sharded_makes_no_data_set(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = stage.shard_unit

    def meanwhile(*args: Any, **options: Any) -> Any:
        made = write(*args, **options)
        remove(["chelsea.jpg"], store)
        return made

    with monkeypatch.context() as patched:
        patched.setattr(stage, "shard_unit", meanwhile)
        with pytest.raises(StoreError, match="was changed while it was sharded"):
            shard(store, tmp_path / "out")
    assert not (tmp_path / "out" / "degflow.json").exists()


@pytest.mark.parametrize("text", ["[" * 700 + "]" * 700, '{"a":' * 600 + "1" + "}" * 600])
@pytest.mark.parametrize("name", ["store.json", "done/ingest.json", "skipped.json"])
def test_what_is_nested_deep_is_told_in_a_line(name: str, text: str, store: Path) -> None:
    (store / name).write_text(f'{{"sum": "0", "x": {text}}}')
    assert any("nested too deep" in line for line in damage(store))
