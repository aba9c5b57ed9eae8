"""export: pictures, lists and marks, whatever the trainer; the trainers' rules are beside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from degflow_pipe import DegflowError, FileError, ShardError, UsageError, export
from degflow_pipe.exports.source import ShardLevel
from degflow_pipe.exports.trainer import packing_at
from degflow_pipe.exports.trainers import TRAINERS

PAIRS = 36
ONE_SCALE = [
    *("basicsr", "basicsr-lmdb", "neosr", "neosr-lmdb", "trainner-redux", "realesrgan", "kair")
]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]


def samples(shards: Path) -> dict[str, dict[str, Any]]:
    """Every pair of shards of layout pairs, its members as they are, by key."""
    tars = sorted(str(path) for path in shards.glob("*.tar"))
    return {sample["__key__"]: sample for sample in wds.WebDataset(tars, shardshuffle=False)}


class Stop(BaseException):
    pass


class Stopping:
    """A progress that ends the work from outside at the k-th advance."""

    def __init__(self, at: int) -> None:
        self.at = at

    @contextmanager
    def task(
        self, name: str, total: float | None, done: float = 0, counts: str = ""
    ) -> Iterator[Stopping]:
        yield self

    def advance(self, count: float = 1) -> None:
        self.at -= 1
        if self.at == 0:
            raise Stop

    def note(self, text: str) -> None:
        pass


def test_pictures_that_need_no_change_are_copied_byte_for_byte(
    shards: Path, tmp_path: Path
) -> None:
    summary = export(shards, "basicsr", tmp_path / "out")
    assert (summary.pairs, summary.written, summary.known) == (PAIRS, 2 * PAIRS, 0)
    assert summary.scales == [1] * 6
    stored = samples(shards)
    for row in lines(tmp_path / "out"):
        sample = stored[row["key"]]
        assert (tmp_path / "out" / row["hr"]).read_bytes() == sample["hr.png"]
        assert (tmp_path / "out" / row["lr"]).read_bytes() == sample["lr.png"]


def test_a_smaller_lr_is_that_of_native_shards(shards: Path, native: Path, tmp_path: Path) -> None:
    """Where HR / scale is the level's own: the same crop and reduction."""
    export(shards, "ddir", tmp_path / "out")
    export(native, "ddir", tmp_path / "from-native")
    rows = lines(tmp_path / "out")
    assert rows == lines(tmp_path / "from-native")
    assert {row["scale"]: row["hr_size"][0] / row["lr_size"][0] for row in rows} == {
        scale: scale for scale in (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    }
    for row in rows:
        for side in ("hr", "lr"):
            ours, theirs = tmp_path / "out" / row[side], tmp_path / "from-native" / row[side]
            assert np.array_equal(pixels(ours), pixels(theirs))
            assert pixels(ours).shape[:2] == tuple(row[f"{side}_size"])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_level_goes_at_the_trainers_scale(shards: Path, tmp_path: Path, scale: int) -> None:
    summary = export(shards, "neosr", tmp_path, scale=scale)
    assert summary.scales == [scale] * 6
    stored = samples(shards)
    for row in lines(tmp_path):
        hr, lr = pixels(tmp_path / row["hr"]), pixels(tmp_path / row["lr"])
        assert hr.shape[0] == scale * lr.shape[0] and hr.shape[0] == hr.shape[1]
        assert row["effective_scale"] == scale
        with_hr = np.asarray(_decoded(stored[row["key"]]["hr.png"]))
        assert np.array_equal(hr, with_hr[: hr.shape[0], : hr.shape[1]])
        full = _decoded(stored[row["key"]]["lr.png"]).crop((0, 0, *hr.shape[:2]))
        small = full.resize(lr.shape[:2], Image.Resampling.BICUBIC)
        assert np.array_equal(lr, np.asarray(small))


def _decoded(data: bytes) -> Image.Image:
    import io

    return Image.open(io.BytesIO(data)).convert("RGB")


@pytest.mark.parametrize("to", sorted(TRAINERS))
def test_both_layouts_give_the_same_export(
    shards: Path, grouped: Path, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]], to: str
) -> None:
    # InterFlow's reader takes patches of 64 pixels up to x1.33.
    if to in ("interflow", "realsr"):
        pytest.skip("patches of 64 pixels are too small for it")
    chosen: dict[str, Any] = {"relative": True}
    if to in ("liif", "edsr", "rcan", "han"):
        chosen["scales"] = [2, 3, 4]
    export(shards, to, tmp_path / "a", **chosen)
    export(grouped, to, tmp_path / "b", **chosen)
    a, b = tree(tmp_path / "a"), tree(tmp_path / "b")
    done, other = (json.loads(found.pop("export.json")) for found in (a, b))
    assert a == b
    assert done.pop("shards") != other.pop("shards")
    assert done == other


@pytest.mark.parametrize("picture_format", ["webp", "ppm", "jpeg:95"])
def test_other_formats_become_png_of_the_same_pixels(
    make_shards: Callable[..., Path], tmp_path: Path, picture_format: str
) -> None:
    source = make_shards(tmp_path / "shards", picture_format=picture_format)
    export(source, "kair", tmp_path / "out")
    ending = {"jpeg:95": "jpg"}.get(picture_format, picture_format)
    hr_ending = {"jpeg:95": "png"}.get(picture_format, picture_format)
    stored = samples(source)
    for row in lines(tmp_path / "out"):
        assert row["hr"].endswith(".png") and row["lr"].endswith(".png")
        hr = np.asarray(_decoded(stored[row["key"]][f"hr.{hr_ending}"]))
        assert np.array_equal(pixels(tmp_path / "out" / row["hr"]), hr)
        wanted = np.asarray(_decoded(stored[row["key"]][f"lr.{ending}"]), int)
        assert np.abs(pixels(tmp_path / "out" / row["lr"]) - wanted).max() <= 2


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
@pytest.mark.parametrize(
    "formats, lossy, told",
    [
        ({}, [], []),
        ({"picture_format": "webp"}, [], []),
        ({"picture_format": "jpeg:90"}, ["lr"], ["LR are JPEG in "]),
        ({"hr_format": "jpeg:90"}, ["hr"], ["HR are JPEG in "]),
        (
            {"picture_format": "jpeg:90", "hr_format": "jpeg:95"},
            ["hr", "lr"],
            ["HR and LR are JPEG in "],
        ),
    ],
)
def test_what_was_jpeg_in_the_shards_is_said(
    make_shards: Callable[..., Path],
    tmp_path: Path,
    recorder: Any,
    layout: str,
    formats: dict[str, str],
    lossy: list[str],
    told: list[str],
) -> None:
    source = make_shards(tmp_path / "shards", layout=layout, **formats)
    summary = export(source, "kair", tmp_path / "out", progress=recorder)
    assert summary.lossy == lossy
    assert len(recorder.notes) == len(told)
    for note, head in zip(recorder.notes, told, strict=True):
        assert note.startswith(head) and note.endswith("their PNG hold what JPEG left of them")
    again = export(source, "kair", tmp_path / "out")
    assert again.lossy == lossy and again.written == 0


def test_the_mark_says_levels_scales_counts_and_where_it_came_from(
    shards: Path, tmp_path: Path
) -> None:
    export(shards, "kair", tmp_path, scale=3)
    done = json.loads((tmp_path / "export.json").read_text())
    assert (done["trainer"], done["pairs"], done["patches"]) == ("kair", PAIRS, 6)
    assert done["scales"] == {"nominal": [1.5, 2.0, 2.5, 3.0, 3.5, 4.0], "effective": [3.0] * 6}
    assert done["levels"][0]["hr_size"] == [63, 63] and done["levels"][0]["lr_size"] == [21, 21]
    sums = dict(line.split("  ")[::-1] for line in (shards / "degflow.sha256").open())
    assert done["shards"]["name"] == "degflow"
    assert done["shards"]["sums"] == {
        name.strip(): digest for name, digest in sums.items() if name.strip().endswith(".tar")
    }
    keys = [row["key"] for row in lines(tmp_path)]
    assert keys == list(samples(shards))


@pytest.mark.parametrize("to", ["basicsr", "basicsr-lmdb", "realesrgan", "ddir"])
@pytest.mark.parametrize("workers", [1, 3])
def test_an_export_that_was_stopped_goes_on_and_ends_in_the_same_bytes(
    shards: Path, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]], to: str, workers: int
) -> None:
    export(shards, to, tmp_path / "whole", workers=1, relative=True)
    with pytest.raises(Stop):
        export(shards, to, tmp_path / "out", workers=workers, progress=Stopping(2), relative=True)
    assert not (tmp_path / "out" / "export.json").exists()
    kept = tree(tmp_path / "out")
    again = export(shards, to, tmp_path / "out", workers=workers, relative=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    if to != "basicsr-lmdb":  # a data base is made whole or again
        assert again.known >= sum(name.endswith(".png") for name in kept) > 0


def test_an_export_again_leaves_pictures_and_the_option_file(shards: Path, tmp_path: Path) -> None:
    export(shards, "neosr", tmp_path)
    options = tmp_path / "train_neosr.toml"
    options.write_text("mine")
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*.png")}
    again = export(shards, "neosr", tmp_path)
    assert (again.written, again.known) == (0, 2 * PAIRS)
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*.png")} == before
    assert options.read_text() == "mine"
    (tmp_path / "lq" / Path(lines(tmp_path)[3]["lr"]).name).unlink()
    assert export(shards, "neosr", tmp_path).written == 1


def test_another_export_is_replaced_only_when_asked(
    shards: Path, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    export(shards, "basicsr", tmp_path / "out")
    with pytest.raises(FileError, match=r"holds an export to basicsr of other.*`overwrite`"):
        export(shards, "kair", tmp_path / "out")
    with pytest.raises(FileError, match="of other settings or shards"):
        export(shards, "basicsr", tmp_path / "out", scale=2)
    export(shards, "kair", tmp_path / "out", overwrite=True, relative=True)
    export(shards, "kair", tmp_path / "fresh", relative=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_files_of_no_export_are_never_touched(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "mine.png").write_bytes(b"mine")
    for overwrite in (False, True):
        with pytest.raises(FileError, match=r"was not made by degflow-pipe \(it holds gt\)"):
            export(shards, "neosr", tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.rglob("*")] == ["gt", "mine.png"]
    assert (tmp_path / "gt" / "mine.png").read_bytes() == b"mine"


def test_levels_are_chosen_by_t_or_by_scale(shards: Path, tmp_path: Path) -> None:
    assert export(shards, "kair", tmp_path / "a", scales=[2, 3.96]).pairs == 12
    by_t = export(shards, "kair", tmp_path / "b", t=[1.0])
    assert by_t.t == [1.0] and by_t.pairs == 6
    with pytest.raises(UsageError, match=r"`t`: the shards have no level 0.9; they have t 0.1666"):
        export(shards, "kair", tmp_path / "c", t=[0.9])
    with pytest.raises(UsageError, match="by `t` or by `scales`, not by both"):
        export(shards, "kair", tmp_path / "c", t=[1.0], scales=[2])
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("to", [to for to in ONE_SCALE if to != "realesrgan"])
def test_one_scale_of_native_shards_is_that_of_their_pictures(
    native: Path, tmp_path: Path, to: str
) -> None:
    assert export(native, to, tmp_path / "out", scales=[3]).scales == [3]
    with pytest.raises(UsageError, match=r"takes one whole scale, and HR is 1.5, 2, 2.5, 3"):
        export(native, to, tmp_path / "no")
    with pytest.raises(UsageError, match=r"x4\) of these shards has 16 of 64 pixels"):
        export(native, to, tmp_path / "no", scale=3, scales=[3, 4])
    with pytest.raises(UsageError, match="`scale` must be 1 or more, got 0"):
        export(native, to, tmp_path / "no", scale=0)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "to, options, problem",
    [
        ("ddir", {"scale": 2}, "`scale` is for trainers of one scale"),
        ("ddir", {"scales": [2, 4]}, r"needs all of them; these levels lack 1.5, 2.5, 3, 3.5"),
        (
            "realsr",
            {},
            r"x1_5 \(x1.5\) has none \(3 of 6 levels do not fit\): ingest larger",
        ),
        ("interflow", {}, r"crops 72 pixels of HR at level .*x1.5\), and patches have 64 \(128 do"),
        ("liif", {}, r"3 of 6 levels do not fit"),
        ("interflow", {"scale": 1}, "`scale` is for trainers of one scale"),
        ("kair", {"scale": 65}, "no HR of 56 to 64 pixels is exactly 65 times"),
        ("esrgan", {}, "`to` must be basicsr, .* or swinir, got 'esrgan'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    shards: Path, tmp_path: Path, to: str, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        export(shards, to, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_two_levels_of_one_name_are_refused(
    make_store: Callable[..., Path], photo_folder: Path, tmp_path: Path
) -> None:
    from degflow_pipe import shard

    photos = [str(photo_folder / "chelsea.jpg")]
    make_store(tmp_path / "a.zarr", photos, scales="2.01,2.04")
    shard(tmp_path / "a.zarr", tmp_path / "shards")
    with pytest.raises(UsageError, match=r"levels .*x2.01\) and .*x2.04\) are both x2 \(1 of 2"):
        export(tmp_path / "shards", "interflow", tmp_path / "out")


def test_unfinished_and_damaged_shards_are_refused(shards: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(shards, tmp_path / "broken"))
    (broken / "degflow.sha256").unlink()
    with pytest.raises(ShardError, match="does not hold the sums of the tars"):
        export(broken, "kair", tmp_path / "out")
    (broken / "degflow.json").unlink()
    with pytest.raises(ShardError, match="no finished shards"):
        export(broken, "kair", tmp_path / "out")
    with pytest.raises(ShardError, match="no such folder of shards"):
        export(tmp_path / "nowhere", "kair", tmp_path / "out")


def test_a_picture_that_is_not_what_the_index_says_is_an_error(
    shards: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(shards, tmp_path / "broken"))
    index = broken / "degflow-000000.index.jsonl"
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    rows[4]["members"]["lr.png"][0] += 8
    index.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for scale in (1, 2):
        with pytest.raises(DegflowError, match=rf"{rows[4]['key']}"):
            export(broken, "kair", tmp_path / f"out{scale}", scale=scale)
        assert not (tmp_path / f"out{scale}" / "export.json").exists()


def test_a_picture_that_is_damaged_in_the_shards_is_not_passed_on(
    shards: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(shards, tmp_path / "broken"))
    line = json.loads((broken / "degflow-000000.index.jsonl").read_text().splitlines()[4])
    start, size = line["members"]["lr.png"]
    tar = bytearray((broken / "degflow-000000.tar").read_bytes())
    tar[start + size // 2] ^= 1
    (broken / "degflow-000000.tar").write_bytes(tar)
    with pytest.raises(ShardError, match=rf"{line['key']}.*: damaged, .*: `verify` the shards"):
        export(broken, "kair", tmp_path / "out", scale=1)


@given(st.integers(56, 512), st.sampled_from([1, 1.5, 2, 2.5, 3, 3.5, 4, 6, 8]))
def test_sizes_are_exact_and_no_more_than_an_eighth_is_cropped(patch: int, ratio: float) -> None:
    level = ShardLevel("t1000", 1.0, 2.0, patch, patch)
    packing = packing_at("kair", level, ratio)
    assert packing.hr == ratio * packing.lr
    assert patch * 7 // 8 <= packing.hr <= patch
    larger = [hr for hr in range(packing.hr + 1, patch + 1) if (hr / ratio).is_integer()]
    assert not larger


@given(st.integers(8, 512), st.integers(1, 512), st.sampled_from([1, 1.5, 2, 3, 4]))
def test_lr_that_is_small_already_is_taken_as_it_is_or_refused(
    hr: int, lr: int, ratio: float
) -> None:
    assume(lr < hr)
    level = ShardLevel("t1000", 1.0, 2.0, hr, lr)
    if hr == ratio * lr:
        assert (packing_at("kair", level, ratio).hr, packing_at("kair", level, ratio).lr) == (
            hr,
            lr,
        )
    else:
        with pytest.raises(UsageError, match="these shards has"):
            packing_at("kair", level, ratio)
