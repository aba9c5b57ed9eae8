"""Reading shards as a stream, and by number."""

from __future__ import annotations

import gc
import io
import json
import pickle
import random
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
import webdataset as wds
from torch.utils.data import DataLoader

from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.files import FileError
from degflow_pipe.reading import PairStream, SRPairs, sr_pairs
from degflow_pipe.reading.samples import Queries
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.shard import shard
from degflow_pipe.store import Store
from tests.reading.conftest import (
    EVERY,
    LEVELS,
    SIDE,
    coded,
    edit,
    edit_line,
    lr_of,
    name_of,
    pixels,
    taken,
    write_shards,
)

# The stream


def test_stream_yields_every_pair_once_with_its_json(folder: Path) -> None:
    found = list(sr_pairs(folder, flips=False))
    assert sorted(name_of(info) for _, _, info in found) == EVERY
    for lr, hr, info in found:
        assert lr.shape == hr.shape == (3, SIDE, SIDE)
        assert (pixels(lr) == lr_of(pixels(hr), info["t"])).all()
        assert set(info) == {
            *("t", "scale", "level", "source", "source_sha256", "y", "x", "patch", "hr_size"),
            *("lr_size", "effective_scale", "checkpoint", "grid"),
        }


def test_both_layouts_give_the_same_pairs(pairs: Path, grouped: Path) -> None:
    one, two = ({name_of(s[2]): s for s in sr_pairs(f, flips=False)} for f in (pairs, grouped))
    for name in EVERY:
        assert torch.equal(one[name][0], two[name][0]) and torch.equal(one[name][1], two[name][1])
        assert one[name][2] == two[name][2]


def test_colours_are_rgb(tmp_path: Path) -> None:
    stored = write_shards(tmp_path, patches=1)
    red = np.zeros((SIDE, SIDE, 3), np.uint8)
    red[..., 0] = 255
    tar = stored / "degflow-000000.tar"
    with wds.TarWriter(str(tar)) as writer:
        info = {"t": 0.1, "scale": 1.3}
        writer.write({"__key__": "a", "hr.png": coded(red), "json": info, "lr.png": coded(red)})
    [(lr, hr, got)] = sr_pairs(str(tar))
    assert got == info
    assert torch.equal(lr, hr) and hr.amin((1, 2)).tolist() == hr.amax((1, 2)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("crop", [None, 1, 5, SIDE])
def test_crops_and_flips_keep_the_pair_aligned(folder: Path, crop: int | None) -> None:
    side = crop or SIDE
    for lr, hr, info in sr_pairs(folder, crop=crop):
        assert lr.shape == hr.shape == (3, side, side)
        assert (pixels(lr) == lr_of(pixels(hr), info["t"])).all()


@pytest.mark.parametrize("crop", [None, 2, 6, SIDE])
def test_native_lr_stays_aligned(native: Path, crop: int | None) -> None:
    side = crop or SIDE
    for lr, hr, _ in sr_pairs(native, crop=crop):
        assert hr.shape == (3, side, side) and lr.shape == (3, side // 2, side // 2)
        assert torch.equal(lr.repeat_interleave(2, 1).repeat_interleave(2, 2), hr)


@pytest.mark.parametrize(("ratio", "side"), [(2.0, 3), (1.6, 5), (1.0, 7)])
def test_crops_by_the_side_of_the_lr(tmp_path: Path, ratio: float, side: int) -> None:
    """Each pair's LR, enlarged to the pixel, has its HR at the place of its crop."""
    stored = write_shards(tmp_path, native=ratio)
    whole = {name_of(i): (lr, hr) for lr, hr, i in sr_pairs(stored, flips=False)}
    places = set()
    for lr, hr, info in sr_pairs(stored, lr_crop=side, flips=False):
        assert lr.shape == (3, side, side)
        assert hr.shape == (3, round(side * ratio), round(side * ratio))
        large, step = whole[name_of(info)], round(side * ratio)
        for y in range(large[0].shape[1] - side + 1):
            for x in range(large[0].shape[2] - side + 1):
                if torch.equal(large[0][:, y : y + side, x : x + side], lr):
                    top, left = y * ratio, x * ratio
                    assert top == int(top) and left == int(left)
                    part = large[1][:, int(top) : int(top) + step, int(left) : int(left) + step]
                    assert torch.equal(part, hr)
                    places.add((y, x))
    assert len(places) > 1


@pytest.mark.parametrize("batch", [None, 4])
def test_queries_are_pixels_of_the_hr(native: Path, batch: int | None) -> None:
    """Read back by nearest neighbour, as networks of local implicit functions are trained."""
    ask: dict[str, Any] = {"crop": 8, "batch": batch, "seed": 5}
    for (lr, hr, info), (same, queries, _) in zip(
        sr_pairs(native, **ask), sr_pairs(native, queries=20, **ask), strict=True
    ):
        assert torch.equal(lr, same) and isinstance(queries, Queries)
        if batch is None:
            hr, queries = hr[None], Queries(*(part[None] for part in queries))
        n = len(hr)
        assert queries.coord.shape == queries.cell.shape == (n, 20, 2)
        assert queries.rgb.shape == (n, 20, 3) and queries.rgb.dtype == torch.float32
        assert (queries.cell == 2 / 8).all() and len(info if batch else [info]) == n
        grid = queries.coord.flip(-1)[:, None]  # grid_sample wants x first
        found = torch.nn.functional.grid_sample(hr, grid, mode="nearest", align_corners=False)
        torch.testing.assert_close(found[:, :, 0].movedim(1, 2), queries.rgb)
        assert all(len({tuple(c.tolist()) for c in one}) == 20 for one in queries.coord)


def test_balance_makes_scales_alike_and_draws_anew_each_epoch(tmp_path: Path) -> None:
    """All pairs but those of 6 of 40 patches lack the level 1.0."""
    stored = write_shards(tmp_path, patches=40)
    count = 0
    for index in stored.glob("*.index.jsonl"):
        kept = []
        for line in index.read_text().splitlines():
            info = json.loads(line)["json"]
            if info["t"] < 1 or info["x"] < 6 * 16:
                kept.append(line + "\n")
        index.write_text("".join(kept))
        count += len(kept)
    edit(stored / "degflow.json", samples=count, pairs=count)
    stream = sr_pairs(stored, balance=True)
    epochs = [Counter(info["t"] for _, _, info in stream) for _ in range(30)]
    means = {t: sum(epoch[t] for epoch in epochs) / 30 for t in LEVELS[:2]}
    # 40 pairs, each kept with 6 / 40: the mean of 30 epochs is 6, its spread 0.4.
    assert all(4.5 < mean < 7.5 for mean in means.values())
    assert len({tuple(sorted(epoch.items())) for epoch in epochs}) > 1


def test_all_eight_turns_and_many_places_are_drawn(tmp_path: Path) -> None:
    stored = write_shards(tmp_path, patches=1, side=8)
    kept = {i["t"]: pixels(hr) for _, hr, i in sr_pairs(stored, flips=False)}
    stream, turned, crops = sr_pairs(stored, t=(0.1, 0.1)), set(), set()
    cropped = sr_pairs(stored, t=(0.1, 0.1), crop=6, flips=False)
    for _ in range(100):
        turned |= {pixels(hr).tobytes() for _, hr, _ in stream}
        crops |= {pixels(hr).tobytes() for _, hr, _ in cropped}
    eight = [
        np.rot90(one, k, (1, 2)) for one in (kept[0.1], kept[0.1][:, :, ::-1]) for k in range(4)
    ]
    assert turned == {one.tobytes() for one in eight}
    places = [kept[0.1][:, y : y + 6, x : x + 6].tobytes() for y in range(3) for x in range(3)]
    assert crops == set(places)


def test_what_is_not_square_keeps_its_shape(tmp_path: Path) -> None:
    rng, tar = np.random.default_rng(0), tmp_path / "a.tar"
    with wds.TarWriter(str(tar)) as writer:
        for n in range(12):
            hr = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            info = {"t": 0.1, "scale": 1.3}
            sample = {"hr.png": coded(hr), "json": info, "lr.png": coded(lr_of(hr, 0.1))}
            writer.write({"__key__": f"{n:08d}", **sample})
    [(lr, hr, infos)] = sr_pairs(str(tar), batch=12)
    assert lr.shape == hr.shape == (12, 3, 6, 8) and len(infos) == 12
    assert (pixels(lr) == lr_of(pixels(hr), 0.1)).all()


@pytest.mark.parametrize("ending", ["webp", "ppm", "jpg"])
def test_other_picture_formats(tmp_path: Path, ending: str) -> None:
    stored = write_shards(tmp_path, "grouped", patches=2, ending=ending)
    streamed = {name_of(s[2]): s for s in sr_pairs(stored, flips=False)}
    assert len(streamed) == len(SRPairs(stored)) == 6
    for i in range(6):
        lr, hr, info = SRPairs(stored)[i]
        assert torch.equal(streamed[name_of(info)][0], lr)
        assert torch.equal(streamed[name_of(info)][1], hr)


def place_of(info: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(info[field] for field in ("source", "y", "x", "level"))


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
@pytest.mark.parametrize(
    "formats", [{"picture_format": "jpeg:90"}, {"picture_format": "webp", "hr_format": "png"}]
)
def test_hr_and_lr_of_other_formats_and_a_chain(
    ready_store: Path, tmp_path: Path, layout: Any, formats: dict[str, str]
) -> None:
    shard(ready_store, tmp_path, ShardSettings(layout=layout, chain="web", **formats))
    store, read = Store.open(ready_store), SRPairs(tmp_path)
    hr = np.concatenate([store.hr(unit) for unit in store.units])
    streamed = {place_of(s[2]): s for s in sr_pairs(tmp_path, flips=False)}
    assert len(read) == len(streamed) == 2 * len(hr)
    for i in range(len(read)):
        lr, own, info = read[i]
        assert np.array_equal(pixels(own), hr[i // 2].transpose(2, 0, 1))
        assert info["chain"] and all("step" in step for step in info["chain"])
        other = streamed[place_of(info)]
        assert torch.equal(other[0], lr) and other[2]["chain"] == info["chain"]


@pytest.mark.parametrize(
    ("ask", "kept"),
    [
        ({"t": (0.1, 0.35)}, {0.1, 0.35}),
        ({"t": (0.1 + 5e-7, 0.9)}, {0.1, 0.35}),
        ({"t": (0.11, 0.34 + 1e-2)}, {0.35}),
        ({"scales": (1.3, 2.05)}, {0.1, 0.35}),
        ({"scales": (2, 4)}, {0.35, 1.0}),
        ({"levels": [0.1, 1]}, {0.1, 1.0}),
        ({"levels": [0.1, 0.35], "scales": (2, 4)}, {0.35}),
    ],
)
def test_only_wanted_levels_are_read(folder: Path, ask: dict[str, Any], kept: set[float]) -> None:
    found = Counter(info["t"] for _, _, info in sr_pairs(folder, **ask))
    assert found == dict.fromkeys(kept, 8)


def test_batches_hold_one_scale(folder: Path) -> None:
    sizes: dict[float, list[int]] = {t: [] for t in LEVELS}
    for lr, hr, infos in sr_pairs(folder, batch=3, crop=4):
        assert lr.shape == hr.shape == (len(infos), 3, 4, 4)
        [t] = {info["t"] for info in infos}
        sizes[t].append(len(infos))
        assert (pixels(lr) == lr_of(pixels(hr), t)).all()
    assert sizes == {t: [3, 3, 2] for t in LEVELS}
    assert [len(i) for _, _, i in sr_pairs(folder, batch=3, drop_last=True)] == [3] * 6


def test_same_seed_same_epoch_and_other_epochs_differ(folder: Path) -> None:
    def epoch(stream: PairStream) -> list[tuple[Any, bytes]]:
        return [(name_of(i), pixels(hr).tobytes()) for _, hr, i in stream]

    one, two, other = (sr_pairs(folder, crop=6, seed=s) for s in (3, 3, 4))
    first, second = epoch(one), epoch(one)
    assert [name for name, _ in first] != [name for name, _ in second]
    assert dict(first) != dict(second) and sorted(dict(first)) == sorted(dict(second)) == EVERY
    assert epoch(two) == first and epoch(two) == second
    assert epoch(other) != first
    one.set_epoch(1)
    assert epoch(one) == second
    again = pickle.loads(pickle.dumps(two))
    again.set_epoch(0)
    assert epoch(again) == first


def test_no_shuffle_keeps_the_order(folder: Path) -> None:
    assert [name_of(i) for _, _, i in sr_pairs(folder, shuffle=0)] == EVERY


def test_global_generators_are_left_alone(pairs: Path) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    list(sr_pairs(pairs, crop=4, batch=2))
    assert random.getstate() == before[0] and np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


# Where shards come from


def test_tars_by_fsspec(pairs: Path) -> None:
    for tar in pairs.glob("*.tar"):
        with fsspec.open(f"memory://shards/{tar.name}", "wb") as file:
            file.write(tar.read_bytes())
    urls = "memory://shards/degflow-{000000..000007}.tar"
    assert sorted(name_of(info) for _, _, info in sr_pairs(urls)) == EVERY
    with pytest.raises(ShardError, match=r"nosuch://a\.tar: cannot be read as a tar"):
        list(sr_pairs("nosuch://a.tar"))


def test_tars_by_pattern_list_and_file_url(pairs: Path) -> None:
    tars = sorted(str(path) for path in pairs.glob("*.tar"))
    assert len(tars) == 8
    pattern = str(pairs / "degflow-{000000..000007}.tar")
    for shards in (pattern, tars, [Path(tar).as_uri() for tar in tars], "::".join(tars)):
        assert sorted(name_of(info) for _, _, info in sr_pairs(shards)) == EVERY


def test_a_folder_of_an_odd_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path / "pipe:a #?%20{1..2}", patches=2)
    monkeypatch.chdir(tmp_path)
    for shards in ("pipe:a #?%20{1..2}", Path("pipe:a #?%20{1..2}")):
        assert len(list(sr_pairs(shards))) == 6
        assert len(list(SRPairs(shards))) == 6


# Pairs by number


def test_pairs_by_number_are_those_of_the_stream(folder: Path) -> None:
    numbered = SRPairs(folder)
    streamed = list(sr_pairs(folder, flips=False, shuffle=0))
    assert len(numbered) == len(streamed) == 24
    for (lr, hr, info), (lr2, hr2, info2) in zip(streamed, numbered, strict=True):
        assert torch.equal(lr, lr2) and torch.equal(hr, hr2) and info == info2
    assert name_of(numbered[-1][2]) == EVERY[-1]
    for i in (24, -25):
        with pytest.raises(IndexError):
            numbered[i]


def test_keys_are_alike_in_both_layouts(pairs: Path, grouped: Path) -> None:
    keys = list(SRPairs(pairs).keys())
    assert keys[:2] == ["00000000-9f86d081-t0100", "00000000-9f86d081-t0350"]
    assert keys == sorted(set(keys)) == list(SRPairs(grouped).keys())


def test_pairs_by_number_in_workers_and_pickled(folder: Path) -> None:
    numbered = SRPairs(folder)
    numbered[5]
    loader = DataLoader(pickle.loads(pickle.dumps(numbered)), batch_size=None, num_workers=2)
    found = list(loader)
    assert [name_of(info) for _, _, info in found] == EVERY
    assert torch.equal(found[5][0], numbered[5][0])


def test_native_pairs_by_number(native: Path) -> None:
    lr, hr, _ = SRPairs(native)[3]
    assert torch.equal(lr.repeat_interleave(2, 1).repeat_interleave(2, 2), hr)


# Errors


@pytest.mark.parametrize(
    "ask",
    [
        *({"crop": 0}, {"batch": 0}, {"shuffle": -1}, {"seed": -1}, {"lr_crop": 0}, {"queries": 0}),
        *({"t": (0.5, 0.1)}, {"scales": (1, 2, 3)}, {"t": (float("nan"), 1)}),
    ],
)
def test_wrong_arguments(pairs: Path, ask: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"`{next(iter(ask))}` must be"):
        sr_pairs(pairs, **ask)


def test_other_wrong_uses(pairs: Path) -> None:
    with pytest.raises(UsageError, match="must name one tar"):
        sr_pairs([])
    with pytest.raises(UsageError, match="`epoch` must be 0"):
        sr_pairs(pairs).set_epoch(-1)
    with pytest.raises(UsageError, match="give `crop` or `lr_crop`, not both"):
        sr_pairs(pairs, crop=4, lr_crop=4)
    with pytest.raises(UsageError, match="balance counts pairs by the index"):
        sr_pairs(str(pairs / "degflow-000000.tar"), balance=True)
    with pytest.raises(UsageError, match=r"queries=17: .* has 16 HR pixels"):
        list(sr_pairs(pairs, crop=4, queries=17))


@pytest.mark.parametrize("ask", [{"t": (0.4, 0.9)}, {"levels": [0.2]}, {"levels": []}])
def test_a_selection_that_leaves_nothing(folder: Path, ask: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"from \(0.1, 1.3\) to \(1.0, 4.0\)"):
        sr_pairs(folder, **ask)


def test_crops_that_do_not_fit(pairs: Path, native: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"crop=17 .*HR 16 x 16"):
        list(sr_pairs(pairs, crop=17))
    with pytest.raises(UsageError, match="crop=5 must be a multiple of 2"):
        list(sr_pairs(native, crop=5))
    odd = write_shards(tmp_path / "odd", native=1.6)
    assert len(list(sr_pairs(odd))) == 24
    with pytest.raises(UsageError, match=r"crop=6 must be a multiple of 8 .*HR 16 x 16, LR 10"):
        list(sr_pairs(odd, crop=6))
    with pytest.raises(UsageError, match="lr_crop=3 must be a multiple of 5"):
        list(sr_pairs(odd, lr_crop=3))
    with pytest.raises(UsageError, match=r"lr_crop=9 must be .* no larger than the patch"):
        list(sr_pairs(native, lr_crop=9))
    loader = DataLoader(sr_pairs(pairs, crop=17), batch_size=None, num_workers=1)
    with pytest.raises(UsageError, match="crop=17"):
        list(loader)


@pytest.mark.parametrize("read", [sr_pairs, SRPairs])
def test_folders_that_are_not_finished_shards(tmp_path: Path, read: Any) -> None:
    for missing in (str(tmp_path / "none"), tmp_path / "none"):
        with pytest.raises(ShardError, match="no such folder"):
            read(missing)
    with pytest.raises(ShardError, match="no finished shards"):
        read(tmp_path)
    (tmp_path / "own.zarr").mkdir()
    (tmp_path / "own.zarr" / "zarr.json").write_text("{}")
    with pytest.raises(ShardError, match="is a store, not shards: read it with LazyPairs"):
        read(tmp_path / "own.zarr")
    about = write_shards(tmp_path, patches=1) / "degflow.json"
    whole = about.read_text()
    about.unlink()
    with pytest.raises(ShardError, match="run `shard\\(\\)` to its end"):
        read(tmp_path)
    for text, why in (
        ("[", "is damaged"),
        ("[]", "is damaged"),
        (whole.replace("pipe shards", "pipe store"), "is not of degflow-pipe shards"),
        (whole.replace('"version": 2', '"version": 3'), "version 3, .* reads 2: upgrade"),
        (whole.replace('"samples": 3', '"samples": 2'), "damaged.*3 pairs in 2 samples"),
        (whole.replace('"samples": 3', '"samples": null'), "damaged"),
        (whole.replace('"layout": "pairs"', '"layout": "rows"'), "damaged.*rows"),
    ):
        about.write_text(text)
        with pytest.raises(ShardError, match=why):
            read(tmp_path)


@pytest.mark.parametrize("tar", ["../x.tar", "/etc/passwd", "gone.tar", "..", 3, ["a"], "a\\b.tar"])
def test_tars_are_files_of_the_folder(tmp_path: Path, tar: Any) -> None:
    stored = write_shards(tmp_path / "shards", patches=1)
    (tmp_path / "x.tar").write_bytes((stored / "degflow-000000.tar").read_bytes())
    edit_line(stored, tar=tar)
    with pytest.raises(ShardError, match="index"):
        SRPairs(stored)[0]
    edit(stored / "degflow.json", tars=[tar])
    for read in (sr_pairs, SRPairs):
        with pytest.raises(ShardError, match="not a file of this folder"):
            read(stored)


@pytest.mark.parametrize(
    "span", [[0, 10**9], [-5, 5], [10**9, 1], [5, -1], "05", [0], [0.0, 1], None]
)
def test_index_bytes_outside_the_tar(tmp_path: Path, span: Any) -> None:
    stored = write_shards(tmp_path, patches=1)
    edit_line(stored, members={"hr.png": span, "lr.png": span})
    with pytest.raises(ShardError, match=r"degflow-000000.tar: 00000000-9f86d081-t0100 is at"):
        SRPairs(stored)[0]
    assert name_of(SRPairs(stored)[1][2]) == EVERY[1]


def test_damaged_index(tmp_path: Path) -> None:
    stored = write_shards(tmp_path, "grouped", patches=2)
    index = stored / "degflow-000000.index.jsonl"
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(lines[0])
    with pytest.raises(ShardError, match="1 lines for 2 samples"):
        SRPairs(stored)
    index.write_bytes(b"")
    with pytest.raises(ShardError, match="empty"):
        sr_pairs(stored)
    for line in (
        b"\xff\n",
        b"{}\n",
        b"[1]\n",
        b'{"key": 1, "tar": [], "members": {}, "json": {}}\n',
    ):
        index.write_bytes(lines[0] + line)
        with pytest.raises(ShardError, match=r"index.jsonl: damaged line"):
            SRPairs(stored)[-1]
    entry = json.loads(lines[0])
    del entry["json"]["levels"][0]
    index.write_bytes(json.dumps(entry).encode() + b"\n" + lines[1])
    with pytest.raises(ShardError, match=r"has 2 levels.*where 3 are due"):
        SRPairs(stored)[0]
    entry = json.loads(lines[0])
    del entry["members"]["lr_t0350.png"]
    index.write_bytes(json.dumps(entry).encode() + b"\n" + lines[1])
    with pytest.raises(ShardError, match=r"t0350 has no picture 'lr_t0350'"):
        SRPairs(stored)[1]


def test_damaged_pictures(tmp_path: Path) -> None:
    stored = write_shards(tmp_path, patches=1)
    first = json.loads((stored / "degflow-000000.index.jsonl").read_text().splitlines()[0])
    offset, size = first["members"]["lr.png"]
    tar = stored / "degflow-000000.tar"
    data = bytearray(tar.read_bytes())
    data[offset : offset + size] = bytes(size)
    tar.write_bytes(data)
    for read in (lambda: list(sr_pairs(stored)), lambda: SRPairs(stored)[0]):
        with pytest.raises(ShardError, match=r"000000.tar: 0.*t0100: a picture cannot be decoded"):
            read()
    edit_line(stored, members={**first["members"], "lr.png": [0, 0]})
    with pytest.raises(ShardError, match="cannot be decoded"):
        SRPairs(stored)[0]


def test_damaged_tars(tmp_path: Path) -> None:
    stored = write_shards(tmp_path, patches=1)
    tar = stored / "degflow-000000.tar"
    whole = tar.read_bytes()
    for data in (b"", b"no tar at all" * 100, whole[:700], whole[:1500]):
        tar.write_bytes(data)
        with pytest.raises(ShardError, match=r"degflow-000000.tar: cannot be read as a tar"):
            list(sr_pairs(stored))
    tar.unlink()
    with pytest.raises(ShardError, match=r"cannot be read as a tar: .*No such file"):
        list(sr_pairs(str(tar)))
    with pytest.raises(ShardError, match="not a file of this folder"):
        sr_pairs(stored)
    stream = sr_pairs(write_shards(tmp_path, patches=1))
    tar.unlink()
    with pytest.raises(FileError, match=r"degflow-000000.tar: cannot read"):
        list(stream)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"json": b"{"}, "no JSON of a training pair"),
        ({"json": b"[]"}, "no JSON of a training pair"),
        ({"json": b'{"t": "0.1", "scale": 1}'}, "no JSON of a training pair"),
        ({"json": b'{"levels": [{"t": 1, "scale": 1}]}'}, "no JSON of a training pair"),
        ({"png": b"x"}, "no JSON of a training pair"),
        ({"json": b'{"t": 0.1, "scale": 1}'}, "no picture 'lr'"),
        ({"json": b'{"t": 0.1, "scale": 1}', "lr.png": b"x"}, "no picture 'hr'"),
        ({"json": b'{"levels": [{"t": 1, "scale": 1, "level": "t1000"}]}'}, "'lr_t1000'"),
    ],
)
def test_tars_of_something_else(tmp_path: Path, members: dict[str, bytes], why: str) -> None:
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as archive:
        for ext, data in members.items():
            info = tarfile.TarInfo(f"key.{ext}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(ShardError, match=why):
        list(sr_pairs(str(tar)))


@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_no_file_is_left_open(folder: Path) -> None:
    whole, part = sr_pairs(folder), iter(sr_pairs(folder, shuffle=0))
    list(whole), next(part)
    del part
    SRPairs(folder)[0]
    list(sr_pairs(sorted(str(path) for path in folder.glob("*.tar"))))
    gc.collect()


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
def test_shards_with_one_index_are_read_as_those_with_one_a_tar(
    tmp_path: Path, layout: str
) -> None:
    old = write_shards(tmp_path / "old", layout, version=1)
    new = write_shards(tmp_path / "new", layout)
    assert taken(sr_pairs(old, seed=2)) == taken(sr_pairs(new, seed=2))
    assert list(SRPairs(old).keys()) == list(SRPairs(new).keys())
    for i in (0, 7, -1):
        for one, other in zip(SRPairs(old)[i][:2], SRPairs(new)[i][:2], strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("layout", ["pairs", "grouped"])
def test_a_sample_is_found_by_its_key(tmp_path: Path, layout: str, version: int) -> None:
    """Of the indexes only that of its own tar is read."""
    stored = write_shards(tmp_path, layout, version=version)
    pairs = SRPairs(stored)
    keys = list(pairs.keys())
    for i, key in enumerate(keys):
        (lr, hr, info), (lr_there, hr_there, info_there) = pairs[i], pairs.of_key(key)
        assert torch.equal(lr, lr_there) and torch.equal(hr, hr_there) and info == info_there
    with pytest.raises(KeyError):
        pairs.of_key("00000099-9f86d081-t0100")
    if version == 2:
        (stored / "degflow-000001.index.jsonl").write_text("no index")
        assert pairs.of_key(keys[-1])[2] == pairs[-1][2]


@pytest.mark.parametrize("firsts", [None, [1, 2], ["00000000-9f86d081-t0100"], "keys"])
def test_first_keys_that_are_none_are_damage(tmp_path: Path, firsts: Any) -> None:
    stored = write_shards(tmp_path)
    about = json.loads((stored / "degflow.json").read_text())
    (stored / "degflow.json").write_text(json.dumps(about | {"first_keys": firsts}))
    with pytest.raises(ShardError, match=r"degflow\.json: damaged"):
        SRPairs(stored)
