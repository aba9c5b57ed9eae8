"""What is lost from a store or a data set: it is told, never built on, and filled by the cure."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe import json_files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import DegflowError, FileError, StoreError
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import parse_scales
from degflow_pipe.progress import Silent, Task
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.remove import remove
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import verify
from degflow_pipe.store import Store

GRID = parse_scales("2,4", 4.0)
"""The levels of `store`; `two_units` has those of scale 4."""
OVERLAPPING = 22
"""The stride of `two_units`."""
Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def again(photo_folder: Path, tiny_model: DegFlow) -> Callable[..., Any]:
    """`again(store, photos=...)` ingests the photos of `store` once more."""

    def run(store: Path, *photos: Path, stride: int = 64) -> Any:
        found = [str(photo) for photo in photos or (photo_folder,)]
        return ingest(found, store, tiny_model, patch=64, stride=stride, workers=1)

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
        found: list[str] = verify(path, workers=1).damage
    except DegflowError as error:
        return [str(error)]
    return found


def sources(store: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, patches in Store.open(store).every_patch():
        for patch in patches:
            counts[patch.source] = counts.get(patch.source, 0) + 1
    return counts


def grid_of(store: Path) -> str:
    """The name of its one grid."""
    (name,) = Store.open(store).grids()
    return name


def at(store: Path, name: str) -> Path:
    """A path in a store; ENCODER and GRID stand for the folders of its one encoder and grid."""
    (encoder,) = Store.open(store).encoders()
    return store / name.replace("ENCODER", encoder).replace("GRID", grid_of(store))


def lose(ledger: Path, key: str) -> None:
    """Damage the line of a key in a ledger."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    (place,) = (i for i, line in enumerate(lines) if f" {key} ".encode() in line)
    lines[place] = lines[place].replace(b"[", b"(").replace(b":", b";")
    ledger.write_bytes(b"".join(lines))


WHOLE = {"astronaut.png": 40, "chelsea.jpg": 28, "sub/coffee.webp": 25}
"""The patches of `two_units`."""


@pytest.mark.parametrize(
    "name",
    [
        *("zarr.json", "hr/zarr.json", "latents/zarr.json", "levels/zarr.json"),
        "latents/ENCODER/zarr.json",
    ],
)
@pytest.mark.parametrize("how", ["gone", "cut", "changed"])
def test_a_lost_description_is_told_and_written_again(
    name: str, how: str, store: Path, again: Callable[..., Any], tree: Tree
) -> None:
    before = tree(store)
    path = at(store, name)
    if how == "gone":
        path.unlink()
    else:
        text = path.read_text()
        path.write_text(text[:-9] if how == "cut" else text.replace("16", "15").replace("3", "2"))
    assert any(str(path) in line and "again" in line for line in damage(store))
    again(store)
    assert tree(store) == before
    assert damage(store) == []


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_grid_keeps_its_levels_where_its_description_is_lost(
    how: str, store: Path, tiny_model: DegFlow, tree: Tree
) -> None:
    before = tree(store)
    path = at(store, "levels/GRID/zarr.json")
    path.unlink() if how == "gone" else path.write_text("{")
    assert any(str(path) in line for line in damage(store))
    assert not any("delete" in line for line in damage(store)), "the levels are whole"
    with pytest.raises(DegflowError, match=r"zarr\.json is .*generate"):
        shard(store, store.parent / "out")
    summary = generate(store, tiny_model, GRID)
    assert (summary.pairs, summary.known) == (0, 54)
    assert tree(store) == before
    assert damage(store) == []


@pytest.mark.parametrize("name", ["encoder.json", "grid.json"])
@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_a_description_beside_a_ledger_that_is_lost_costs_nothing_that_is_whole(
    name: str,
    how: str,
    store: Path,
    again: Callable[..., Any],
    tiny_model: DegFlow,
    tree: Tree,
    flip: Callable[[Path], None],
) -> None:
    before = tree(store)
    path = at(store, f"done/{'latents/ENCODER' if name[0] == 'e' else 'levels/GRID'}/{name}")
    flip(path) if how == "flipped" else path.write_bytes(path.read_bytes()[:-9])
    (told,) = (line for line in damage(store) if str(path) in line)
    assert "delete the file and run" in told
    path.unlink()
    again(store)
    assert generate(store, tiny_model, GRID).pairs == 0
    assert tree(store) == before
    assert damage(store) == []


def test_levels_whose_data_is_gone_are_made_again(
    store: Path, tiny_model: DegFlow, tree: Tree
) -> None:
    before = tree(store)
    at(store, "levels/GRID/c.0.0.0.0.0").unlink()
    assert damage(store) != []
    with pytest.raises(StoreError, match="16 of 27 patches lack the levels"):
        shard(store, store.parent / "out")
    assert generate(store, tiny_model, GRID).pairs == 32
    assert tree(store) == before


def test_latents_whose_data_is_gone_are_made_again(
    two_units: Path, again: Callable[..., Any], tree: Tree
) -> None:
    before = tree(two_units)
    at(two_units, "latents/ENCODER/c.1.0.0.0").unlink()
    assert any("latents" in line and "run `ingest` again" in line for line in damage(two_units))
    assert again(two_units, stride=OVERLAPPING).encoded == 29
    assert tree(two_units) == before


@pytest.mark.parametrize("unit, patches", [(0, 64), (1, 29)])
def test_patches_whose_data_is_gone_are_filled_again(
    unit: int, patches: int, two_units: Path, again: Callable[..., Any], tree: Tree
) -> None:
    before = tree(two_units)
    (two_units / "hr" / f"c.{unit}.0.0.0").unlink()
    assert any(f"unit {unit} of" in line for line in damage(two_units))
    with pytest.raises(StoreError, match=rf"unit {unit} .*ingest its photos again"):
        shard(two_units, two_units.parent / "out")
    assert again(two_units, stride=OVERLAPPING).patches == patches
    assert tree(two_units) == before


def test_a_lost_line_and_another_photo_forget_nothing(
    two_units: Path, again: Callable[..., Any], another: Path, tiny_model: DegFlow
) -> None:
    """The other photo may take the free place; what was lost is told until it is there again."""
    lose(two_units / "done" / "hr" / "00000000.jsonl", "0")
    assert any("astronaut.png has lost 40 of its 40 patches" in line for line in damage(two_units))
    summary = again(two_units, another)
    new = {"rocket.png": summary.patches}
    assert summary.patches > 0 and summary.lacking == 2
    assert sources(two_units) == {"chelsea.jpg": 4, "sub/coffee.webp": 25, **new}
    assert any("chelsea.jpg has lost 24 of its 28 patches" in line for line in damage(two_units))
    with pytest.raises(StoreError, match="has lost"):
        shard(two_units, two_units.parent / "out")
    assert again(two_units, stride=OVERLAPPING).lacking == 0
    assert sources(two_units) == WHOLE | new
    assert not any("has lost" in line for line in damage(two_units))
    patches = sum(WHOLE.values()) + summary.patches
    made = generate(two_units, tiny_model, parse_scales("4", 4.0))
    assert made.patches == patches and made.pairs >= 64  # the new photo has none of the old levels
    assert damage(two_units) == []
    assert shard(two_units, two_units.parent / "out").patches == patches


@pytest.mark.parametrize("unit", [0, 1])
def test_a_store_that_lacks_a_unit_makes_no_data_set(
    unit: int, two_units: Path, again: Callable[..., Any], tree: Tree
) -> None:
    before = tree(two_units)
    lose(two_units / "done" / "hr" / "00000000.jsonl", str(unit))
    with pytest.raises(StoreError, match=r"`ingest` again"):
        shard(two_units, two_units.parent / "out")
    assert not (two_units.parent / "out").exists()
    again(two_units, stride=OVERLAPPING)
    assert tree(two_units) == before
    assert shard(two_units, two_units.parent / "out").pairs == 93


LEDGERS = ("done/photos", "done/hr", "done/latents/ENCODER", "done/levels/GRID")


@pytest.mark.parametrize("how", ["gone", "empty", "cut", "flipped"])
@pytest.mark.parametrize("name", LEDGERS)
def test_a_lost_ledger_is_told_and_written_again(
    name: str,
    how: str,
    store: Path,
    again: Callable[..., Any],
    tiny_model: DegFlow,
    tree: Tree,
    flip: Callable[[Path], None],
) -> None:
    before, photos = tree(store), Store.open(store).photos()
    path = at(store, f"{name}/00000000.jsonl")
    if how == "flipped":
        flip(path)
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "empty" else path.read_bytes()[:-9])
    if "levels" in name:
        with pytest.raises(StoreError, match="generate"):
            shard(store, store.parent / "out")
    elif "latents" not in name:  # which shards are not made of
        assert damage(store) != []
        with pytest.raises(StoreError, match="ingest"):
            shard(store, store.parent / "out")
    again(store)
    generate(store, tiny_model, GRID)
    assert Store.open(store).photos() == photos
    after = tree(store)
    if (name, how) == ("done/photos", "flipped"):  # the line of a photo is at the end then
        line = "done/photos/00000000.jsonl"
        assert len(after.pop(line)) == len(before.pop(line))
    assert after == before
    assert damage(store) == []


def test_another_command_does_not_hide_what_a_ledger_lost(
    store: Path, tiny_model: DegFlow, flip: Callable[[Path], None]
) -> None:
    """`generate` writes ledgers anew; what they lost is told afterwards too."""
    for name in ("photos", "hr"):
        copy = Path(shutil.copytree(store, store.parent / f"{name}.zarr"))
        flip(copy / "done" / name / "00000000.jsonl")
        with suppress(StoreError):  # no patch may be left
            generate(copy, tiny_model, GRID)
        assert damage(copy) != []
        with pytest.raises(StoreError):
            shard(copy, store.parent / "out")


def test_who_has_the_photos_no_more_removes_what_is_left_of_them(two_units: Path) -> None:
    """One photo has lost all its patches, another some of them."""
    lose(two_units / "done" / "hr" / "00000000.jsonl", "0")
    for name in re.findall(r"the photo (\S+) has lost", "\n".join(damage(two_units))):
        remove([name], two_units)
    assert sources(two_units) == {"sub/coffee.webp": 25}
    assert damage(two_units) == []


@pytest.mark.parametrize("photos", [1, 3])
def test_a_stopped_ingest_is_no_whole_store(
    photos: int, photo_folder: Path, tiny_model: DegFlow, stopping: Any, tmp_path: Path
) -> None:
    """Before anything of it was written, or when the first unit was."""
    path = tmp_path / "a.zarr"
    asked = {"patch": 64, "stride": OVERLAPPING, "workers": 1}
    with pytest.raises(InterruptedError):
        ingest([str(photo_folder)], path, tiny_model, progress=stopping(photos), **asked)
    assert any("not run to its end" in line for line in damage(path))
    with pytest.raises(StoreError, match="ingest"):
        shard(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    ingest([str(photo_folder)], path, tiny_model, **asked)
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


def test_how_the_last_ingest_ended_is_written_again(
    store: Path, again: Callable[..., Any], tree: Tree
) -> None:
    before = tree(store)
    (store / "done" / "ingest.json").unlink()
    assert any("ingest" in line for line in damage(store))
    again(store)
    assert tree(store) == before


@pytest.mark.parametrize("array", ["hr", "latents/ENCODER", "levels/GRID"])
def test_the_cure_that_damage_names_is_one(
    array: str,
    two_units: Path,
    again: Callable[..., Any],
    tiny_model: DegFlow,
    tree: Tree,
    flip: Callable[[Path], None],
) -> None:
    before = tree(two_units)
    file = next(at(two_units, array).glob("c.1.*"))
    flip(file)
    (line,) = damage(two_units)
    found = re.search(
        r"(\S+) is damaged.*: delete it and (ingest its photos|run `ingest`|run `generate`) again",
        line,
    )
    assert found and found[1] == str(file)
    Path(found[1]).unlink()
    if "ingest" in found[2]:
        again(two_units, stride=OVERLAPPING)
    else:
        generate(two_units, tiny_model, parse_scales("4", 4.0))
    assert tree(two_units) == before


def test_what_the_system_refuses_is_not_called_damage(store: Path) -> None:
    """A link that leads to itself cannot be opened, as too many open files cannot."""
    file = store / "hr" / "c.0.0.0.0"
    file.unlink()
    file.symlink_to(file.name)
    with pytest.raises(FileError, match="Too many levels of symbolic links") as raised:
        Store.open(store).hr(0)
    assert "damage" not in str(raised.value) and "delete" not in str(raised.value)


def test_a_pipe_in_place_of_a_chunk_is_not_waited_for(store: Path) -> None:
    file = store / "hr" / "c.0.0.0.0"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DegflowError, match="not a file"):
        Store.open(store).hr(0)


def test_a_chunk_that_claims_a_gigabyte_is_refused(store: Path) -> None:
    """The frame's own header says what it unpacks to; memory is taken by what it says."""
    file = store / "hr" / "c.0.0.0.0"
    whole = bytearray(file.read_bytes())
    places = np.frombuffer(bytes(whole[-(64 * 16 + 4) : -4]), "<u8").reshape(-1, 2)
    for offset, size in places[places[:, 0] < len(whole)].tolist():
        assert whole[offset : offset + 4] == b"\x28\xb5\x2f\xfd" and size > 18
        # A single segment with a size of eight bytes: a gigabyte.
        whole[offset + 4] = 0b11100100
        whole[offset + 5 : offset + 13] = (2**30).to_bytes(8, "little")
    file.write_bytes(whole)
    with pytest.raises(StoreError, match="a chunk of 12288 bytes says that it has 1073741824"):
        Store.open(store).hr(0)


def flips(path: Path, count: int = 60) -> Iterator[bytes]:
    """The file with one bit of one byte changed, at places spread over it."""
    whole = path.read_bytes()
    for i, place in enumerate(np.linspace(0, len(whole) - 1, min(count, len(whole))).astype(int)):
        changed = bytearray(whole)
        changed[place] ^= 1 << i % 8
        yield bytes(changed)


METADATA = (
    *("store.json", "zarr.json", "hr/zarr.json", "latents/zarr.json", "levels/zarr.json"),
    *("latents/ENCODER/zarr.json", "levels/GRID/zarr.json"),
    *("skipped.json", "done/ingest.json", "done/latents/ENCODER/encoder.json"),
    "done/levels/GRID/grid.json",
    *(f"{name}/00000000.jsonl" for name in LEDGERS),
)


@pytest.mark.parametrize("name", METADATA)
def test_every_changed_byte_of_a_stores_metadata_is_found(name: str, store: Path) -> None:
    Store.open(store).note_skipped({"a.png": "too small"}, set())
    assert damage(store) == []
    path = at(store, name)
    whole = path.read_bytes()
    for changed in flips(path, 32 if name.endswith("l") else 24):
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
        "degflow-000001.index.jsonl",
        "degflow.sha256",
        "README.md",
        ".degflow/00000000.jsonl",
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


LEDGER = ".degflow/00000000.jsonl"


def spoil(path: Path, how: str, flip: Callable[[Path], None]) -> None:
    if how == "flip":
        flip(path)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-600])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
@pytest.mark.parametrize(
    "what", ["degflow-000001.tar", "degflow-000001.index.jsonl", LEDGER, "degflow.json"]
)
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
    spoil(folder / what, how, flip)
    if how == "flip" or what not in (LEDGER, "degflow.json"):
        assert damage(folder)
    shard(ready_store, folder, ShardSettings(shard_size=20), overwrite=True)
    assert tree(folder) == before
    assert damage(folder) == []


@pytest.mark.parametrize("how", ["cut", "gone"])
@pytest.mark.parametrize("what", ["degflow-000001.tar", "degflow-000001.index.jsonl", LEDGER])
@pytest.mark.parametrize("finished", [True, False])
def test_a_tar_that_is_not_of_its_length_is_made_again(
    finished: bool,
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
    if not finished:
        (folder / "degflow.json").unlink()
    spoil(folder / what, how, flip)
    assert shard(ready_store, folder, ShardSettings(shard_size=20)).made > 0
    assert tree(folder) == before


@pytest.mark.parametrize("what", ["degflow-000001.tar", "degflow-000001.index.jsonl"])
def test_a_flipped_bit_of_a_data_set_that_was_stopped_is_told_and_cured(
    what: str,
    data_set: Path,
    ready_store: Path,
    tmp_path: Path,
    tree: Tree,
    flip: Callable[[Path], None],
) -> None:
    """Going on looks at lengths alone; `verify` finds the rest, and what it names is a cure."""
    folder = Path(shutil.copytree(data_set, tmp_path / "shards"))
    before = tree(folder)
    (folder / "degflow.json").unlink()
    flip(folder / what)
    settings = ShardSettings(shard_size=20)
    shard(ready_store, folder, settings)
    assert any(str(folder / what) in told and "`overwrite` it" in told for told in damage(folder))
    assert shard(ready_store, folder, settings, overwrite=True).made == 1
    assert tree(folder) == before


def rewritten(store: Path, name: str, key: str, change: dict[str, Any]) -> None:
    """Change what a ledger says, with sums that fit: as a stranger could."""
    with Ledger(store / "done" / name) as ledger:
        ledger.write(key, {**ledger.record(key), **change})


def test_strange_numbers_in_a_ledger_are_refused(store: Path) -> None:
    """A stranger can sum what he likes; what it says is looked at too."""
    whole = store / "done" / "hr" / "00000000.jsonl"
    kept = whole.read_bytes()
    said = Ledger(store / "done" / "hr").record(0)
    first = said["patches"][0]
    for change in (
        {"patches": said["patches"] * 3},
        {"patches": []},
        {"patches": [[0, 10**12, *first[2:]]]},
        {"patches": [[7, *first[1:]]]},
        {"patches": [[*first[:4], "../" * 10]]},
        {"patches": [[*first[:3], "much", first[4]]]},
        {"photos": [["a.png", "../" * 20]]},
        {"photos": [[7, "0" * 64]]},
        {"bytes": -1},
        {"bytes": 2**50},
        {"sha256": ["../../etc", *said["sha256"][1:]]},
        {"sha256": said["sha256"][:1]},
        {"more": 1},
    ):
        rewritten(store, "hr", "0", change)
        with pytest.raises(StoreError, match=r"done/hr is damaged at 0"):
            Store.open(store).hr(0)
            Store.open(store).patches(0)
        whole.write_bytes(kept)
    photo = Ledger(store / "done" / "photos").every_key()[0]
    for change in ({"kept": -1}, {"flat": -1}, {"sha256": "../"}, {"stride": 0}, {"stride": 10**9}):
        rewritten(store, "photos", photo, change)
        with pytest.raises(StoreError, match=r"done/photos is damaged at"):
            Store.open(store).photos()
        rewritten(store, "photos", photo, {"kept": 12, "flat": 0, "sha256": "0" * 64, "stride": 64})
    source = Store.open(store)
    levels, grid = f"levels/{grid_of(store)}", source.grid(grid_of(store))
    for change in ({"hr": []}, {"sha256": "x"}, {"computed": []}, {"bytes": "many"}):
        copy = Path(shutil.copytree(store, store.parent / "copy"))
        rewritten(copy, levels, "1", change)
        with pytest.raises(StoreError, match=r"is damaged at 1"):
            _ = Store.open(copy).levels(grid).made
        shutil.rmtree(copy)
    encoder = at(store, "done/latents/ENCODER/encoder.json")
    for change in ({"shape": [10**6] * 3}, {"shape": [4]}, {"id": "../../etc"}):
        json_files.write_summed(encoder, {**json_files.read_summed(encoder), **change})
        with pytest.raises(StoreError, match=r"encoder\.json is damaged"):
            source.encoder(encoder.parent.name)
    settings = json_files.read_summed(store / "store.json")
    for change in ({"patch": 10**6}, {"patch": 0}, {"unit": 1}, {"block": 10**9}, {"s_max": 4.0}):
        json_files.write_summed(store / "store.json", {**settings, **change})
        with pytest.raises(StoreError, match=r"is damaged"):
            Store.open(store)
    assert json.loads((store / "store.json").read_text())["sum"]


@pytest.mark.parametrize("tars", [1, 3])
def test_a_store_that_changes_while_it_is_sharded_makes_no_data_set(
    tars: int, store: Path, tmp_path: Path
) -> None:
    class Meanwhile(Silent):
        def advance(self, count: float = 1) -> None:
            if Store.open(store).photos().keys() >= {chelsea}:
                remove(["chelsea.jpg"], store)

        @contextmanager
        def task(
            self, name: str, total: float | None, done: float = 0, counts: str = ""
        ) -> Iterator[Task]:
            yield self

    (chelsea,) = (k for k, p in Store.open(store).photos().items() if p.source == "chelsea.jpg")
    settings = ShardSettings(shard_size=-(-54 // tars))
    with pytest.raises(StoreError, match="was changed while it was sharded"):
        shard(store, tmp_path / "out", settings, workers=1, progress=Meanwhile())
    assert not (tmp_path / "out" / "degflow.json").exists()


@pytest.mark.parametrize("text", ["[" * 700 + "]" * 700, '{"a":' * 600 + "1" + "}" * 600])
@pytest.mark.parametrize(
    "name",
    [
        *("store.json", "done/ingest.json", "skipped.json", "done/latents/ENCODER/encoder.json"),
        "done/levels/GRID/grid.json",
    ],
)
def test_what_is_nested_deep_is_told_in_a_line(name: str, text: str, store: Path) -> None:
    at(store, name).write_text(f'{{"sum": "0", "x": {text}}}')
    assert any("nested too deep" in line for line in damage(store))
