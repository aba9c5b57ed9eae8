"""The whole pipeline at URLs: the same bytes as on this machine, with bounded requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from degflow_pipe import LazyPairs, SRPairs, export, files, sr_pairs
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.cli.app import app
from degflow_pipe.errors import FileError, ShardError, UsageError
from degflow_pipe.folders import LOCK
from degflow_pipe.levels import parse_scales
from degflow_pipe.places import Remote, lease, objects, text_of
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.repair import repair
from degflow_pipe.stages.shard import shard
from degflow_pipe.stages.verify import info, verify
from degflow_pipe.store import Store
from degflow_pipe.store.lacking import lacking
from degflow_pipe.watching import Watch
from tests.buckets import Proxy
from tests.conftest import PATCH, SCALES

SETTINGS = ShardSettings(shard_size=10)
Tree = Callable[[Path], dict[str, bytes]]


def same(there: Path, here: dict[str, bytes]) -> bool:
    """Whether a remote folder has the files of one of this machine, and no others."""
    fs_names = {path.relative_to(there).as_posix() for path in files.walk(there)}
    hidden = {name for name in here if any(part.startswith(".") for part in name.split("/"))}
    return fs_names == here.keys() - hidden and all(
        files.read_bytes(there / name) == data for name, data in here.items() if name != LOCK
    )


def uploaded(folder: Path, to: Remote) -> Remote:
    for path in files.walk(folder):
        files.write_bytes(to / path.relative_to(folder).as_posix(), path.read_bytes())
    return to


@pytest.fixture
def at_once(proxy: Proxy) -> Callable[[Callable[[], Any]], tuple[Any, int]]:
    """What a call returns, and the requests that it took."""

    def counted(work: Callable[[], Any]) -> tuple[Any, int]:
        proxy.clear()
        found = work()
        return found, proxy.requests.total()

    return counted


def test_photos_to_pairs_in_a_bucket(
    bucket: Remote,
    at_once: Callable[[Callable[[], Any]], tuple[Any, int]],
    photo_folder: Path,
    ready_store: Path,
    tiny: str,
    tiny_model: DegFlow,
    tmp_path: Path,
    tree: Tree,
) -> None:
    photos = uploaded(photo_folder, bucket / "photos")
    checkpoint = uploaded(Path(tiny), bucket / "tiny")
    model = DegFlow.load(str(checkpoint), "cpu")
    store, grid = bucket / "degflow.zarr", parse_scales(SCALES, 4.0)

    def ingested() -> Any:
        return ingest([str(photos)], store, model, patch=PATCH, workers=1)

    _, requests = at_once(ingested)
    # 90 whatever there is to do, 6 a photo, 6 a unit, of which there is one.
    assert requests <= 90 + 6 * 3 + 6
    _, requests = at_once(lambda: generate(store, model, grid, workers=1))
    assert requests <= 110 + 3 * 2  # 3 a block
    assert same(store, tree(ready_store))
    assert not lacking(Store.open(store)) and verify(store).whole
    again, requests = at_once(ingested)
    assert again.known == 3 and requests <= 120

    # Readers of zarr need nothing of ours.
    read = zarr.open_array(str(store / "hr"), mode="r")
    assert np.array_equal(read[:], zarr.open_array(str(ready_store / "hr"), mode="r")[:])

    lazy, requests = at_once(lambda: LazyPairs(str(store), tiny))
    for one, other in zip(
        lazy.pair(3, 0.5), LazyPairs(ready_store, tiny).pair(3, 0.5), strict=True
    ):
        assert one == other if isinstance(one, dict) else bool((one == other).all())

    here, out = tmp_path / "here", bucket / "shards"
    shard(ready_store, here, SETTINGS, workers=1)
    made, requests = at_once(lambda: shard(store, out, SETTINGS, workers=1))
    assert made.tars == 6 and requests <= 130 + 4 * 6  # a tar, an index, and what they are made of
    assert same(out, tree(here)) and verify(out).whole and info(out).pairs == 54
    made, requests = at_once(lambda: shard(store, out, SETTINGS, workers=1))
    assert made.made == 0 and requests <= 130

    pairs, requests = at_once(lambda: SRPairs(str(out)))
    assert requests <= 10 + 2 * 6
    one, requests = at_once(lambda: pairs[7])
    assert requests == 2 and one[2] == SRPairs(here)[7][2]  # a line of the index, and both pictures
    streamed = list(sr_pairs(str(out), crop=32, seed=3))
    for mine, other in zip(streamed, sr_pairs(here, crop=32, seed=3), strict=True):
        assert (mine[0] == other[0]).all() and (mine[1] == other[1]).all()
        assert mine[2] == other[2]
    tar = str(out / "degflow-000000.tar")
    assert len(list(sr_pairs(tar))) == 10

    with pytest.raises(UsageError, match="`relative`"):
        export(out, "basicsr", bucket / "export")
    with pytest.raises(UsageError, match="LMDB"):
        export(out, "basicsr-lmdb", bucket / "export", relative=True)
    # Of one level: a request takes as long as all else of a pair.
    export(here, "basicsr", tmp_path / "export", scales=(2.0,), relative=True, workers=1)

    def exported() -> Any:
        return export(out, "basicsr", bucket / "export", scales=(2.0,), relative=True, workers=1)

    made, requests = at_once(exported)
    assert made.written == 2 * 27 and requests <= 90 + 5 * 2 * 27
    assert same(bucket / "export", tree(tmp_path / "export"))
    assert exported().written == 0

    for path in files.walk(bucket):
        assert b"verysecretkey" not in files.read_bytes(path)
    assert not [path for path in (store, out) if lease.LEASE in files.names(path)]


def test_a_folder_of_shards_that_is_cut_off_is_not_read(
    memory: Remote, ready_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tree: Tree
) -> None:
    out, write = memory / "shards", objects.write

    def killed(path: Remote, data: bytes) -> None:
        if path.name == "degflow-000003.tar":
            raise FileError("the end")
        write(path, data)

    monkeypatch.setattr(objects, "write", killed)
    with pytest.raises(FileError, match="the end"):
        shard(ready_store, out, SETTINGS, workers=1)
    monkeypatch.undo()
    for read in (SRPairs, sr_pairs):
        with pytest.raises(ShardError, match="no finished shards"):
            read(str(out))
    assert shard(ready_store, out, SETTINGS, workers=1).made < 6
    shard(ready_store, tmp_path, SETTINGS, workers=1)
    assert same(out, tree(tmp_path))


def test_damage_in_a_bucket_is_named(memory: Remote, ready_store: Path) -> None:
    store = uploaded(ready_store, memory / "degflow.zarr")
    assert verify(store).whole
    chunk = store / "hr" / "c.0.0.0.0"
    data = bytearray(files.read_bytes(chunk))
    data[len(data) // 3] ^= 1
    files.write_bytes(chunk, bytes(data))
    found = verify(store)
    assert not found.whole and str(chunk) in found.damage[0]
    files.write_bytes(chunk, bytes(data[:-5]))
    assert "not of its length" in " ".join(verify(store).damage)


def test_events_of_runs_at_a_url(
    bucket: Remote, ready_store: Path, tmp_path: Path, proxy: Proxy
) -> None:
    told = bucket / "events.jsonl"
    proxy.clear()
    for out in ("one", "two"):
        with Watch(told) as watch:
            shard(ready_store, tmp_path / out, SETTINGS, watch=watch)
    lines = [json.loads(line) for line in files.read_bytes(told).splitlines()]
    tars = [f"degflow-{i:06d}.tar" for i in range(6)]
    assert [line.get("unit") for line in lines] == [*tars, None, *tars, None]
    assert proxy.requests.total() <= 2 * 10  # of few lines one is sent at the end alone


def test_a_run_whose_every_place_is_a_url(
    bucket: Remote, photo_folder: Path, tiny: str, tmp_path: Path, tree: Tree
) -> None:
    """A recipe in the bucket, by the command: as one of this machine, byte for byte."""
    uploaded(photo_folder, bucket / "photos")
    uploaded(Path(tiny), bucket / "tiny")
    stages = {"ingest": {"patch": PATCH}, "generate": {"t_grid": "x2"}, "shard": {"name": "a"}}
    for home in (bucket, tmp_path):
        places = {name: text_of(home / name) for name in ("store", "out")}
        source = {"checkpoint": f"{bucket.url}/tiny", "photos": [f"{bucket.url}/photos"]}
        recipe = {"kind": "run", **places, **source, **stages}
        files.write_text(home / "recipe.yaml", json.dumps(recipe))
        done = CliRunner().invoke(app, ["run", text_of(home / "recipe.yaml")])
        assert done.exit_code == 0, f"{done.output}{done.exception}"
    for name in ("store", "out"):
        assert same(bucket / name, tree(tmp_path / name))


def test_what_is_damaged_in_a_bucket_is_made_again(
    bucket: Remote, ready_store: Path, tiny_model: DegFlow, tree: Tree
) -> None:
    store, out = uploaded(ready_store, bucket / "store"), bucket / "shards"
    for name, data in tree(ready_store).items():  # what is hidden too
        files.write_bytes(store / name, data)
    shard(ready_store, ready_store.parent / "whole", SETTINGS, workers=1)
    shard(store, out, SETTINGS, workers=1)
    levels = next(path for path in files.walk(store / "levels") if path.name.startswith("c."))
    for path in (levels, out / "degflow-000001.tar"):
        data = files.read_bytes(path)
        files.write_bytes(path, data[:1000] + b"damage" + data[1006:])
    assert not verify(store).whole and not verify(out).whole
    assert repair(store, model=tiny_model).whole
    assert repair(out, store=store).whole
    assert same(store, tree(ready_store)) and same(out, tree(ready_store.parent / "whole"))


def test_what_goes_to_a_url_leaves_nothing_here(
    memory: Remote, photo_folder: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (
        ["simulate", photo_folder, "--scales", "2", "-o", f"{memory.url}/simulated"],
        ["degrade", photo_folder, "--checkpoint", tiny, "--t-grid", "x2", "-o", f"{memory.url}/lr"],
    ):
        done = CliRunner().invoke(app, list(map(str, words)))
        assert done.exit_code == 0, f"{done.output}{done.exception}"
        pictures = [path for path in files.walk(memory) if path.suffix == ".png"]
        assert pictures and not list(tmp_path.iterdir())
