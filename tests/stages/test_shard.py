"""shard: what the tars, the index, the sums and the card hold, read as their users read them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import webdataset as wds
import yaml
from PIL import Image

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import StoreError, UsageError
from degflow_pipe.exports.estimate import estimate_export
from degflow_pipe.exports.export import export
from degflow_pipe.levels import Grid, parse_scales, parse_t
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.reading import SRPairs, sr_pairs
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.shard import shard
from degflow_pipe.store import UNIT, PatchRecord, Store
from tests.stages.stores import grid_in, levels_of

GRID = parse_scales("2,4", 4.0)
NAMES = [level.name for level in GRID.levels]
PATCHES, LEVELS = 27, 2


@dataclass(frozen=True)
class Patch:
    """A patch of the store: its number, HR (64, 64, 3) and levels (T, 64, 64, 3)."""

    number: int
    record: PatchRecord
    hr: np.ndarray
    lr: np.ndarray

    @property
    def key(self) -> str:
        return f"{self.number:08d}-{self.record.sha256[:8]}"


def patches_of(path: Path, levels: Grid = GRID) -> list[Patch]:
    store, found = Store.open(path), []
    lr = iter(levels_of(path, levels))
    for unit in store.units:
        for i, (patch, hr) in enumerate(zip(store.patches(unit), store.hr(unit), strict=True)):
            found.append(Patch(unit * UNIT + i, patch, hr, next(lr)))
    return found


@pytest.fixture(scope="module")
def patches(ready_store: Path) -> list[Patch]:
    return patches_of(ready_store)


def tars(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"))


def read_all(folder: Path) -> list[dict[str, Any]]:
    """All samples as plain webdataset yields them."""
    data = wds.WebDataset([str(tar) for tar in tars(folder)], shardshuffle=False)
    return list(data.decode("rgb8"))


@pytest.fixture(scope="module")
def pairs(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of `ready_store`: pairs, PNG, 7 samples a tar."""
    out = tmp_path_factory.mktemp("pairs")
    shard(ready_store, out, ShardSettings(shard_size=7))
    return out


@pytest.fixture(scope="module")
def grouped(ready_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grouped")
    shard(ready_store, out, ShardSettings(name="all-levels", shard_size=10, layout="grouped"))
    return out


def test_the_folder_holds_tars_index_sums_card_and_sheet(pairs: Path) -> None:
    names = sorted(path.name for path in pairs.iterdir() if not path.name.startswith("."))
    assert names == sorted(
        [f"degflow-{n:06d}{ending}" for n in range(8) for ending in (".tar", ".index.jsonl")]
        + ["degflow.sha256", "degflow.json", "README.md"]
        + ["contact_sheet.png"]
    )


def test_webdataset_reads_every_pair_of_the_store_in_order(
    pairs: Path, patches: list[Patch], tiny_model: DegFlow, ready_store: Path
) -> None:
    samples = read_all(pairs)
    assert len(samples) == PATCHES * LEVELS
    checkpoint = tiny_model.info.id
    wanted = [(patch, i) for patch in patches for i in range(LEVELS)]
    for sample, (patch, i) in zip(samples, wanted, strict=True):
        assert sample["__key__"] == f"{patch.key}-{NAMES[i]}"
        assert np.array_equal(sample["hr.png"], patch.hr)
        assert np.array_equal(sample["lr.png"], patch.lr[i])
        assert sample["json"] == {
            "source": patch.record.source,
            "source_sha256": patch.record.sha256,
            "y": patch.record.y,
            "x": patch.record.x,
            "patch": 64,
            "checkpoint": checkpoint,
            "grid": grid_in(ready_store, GRID).name,
            "noise": "none",
            "precision": "float32",
            "level": NAMES[i],
            "t": GRID.t[i],
            "scale": [2.0, 4.0][i],
            "hr_size": [64, 64],
            "lr_size": [64, 64],
            "effective_scale": 1.0,
        }


def test_keys_are_unique_sorted_and_of_one_form(pairs: Path, grouped: Path) -> None:
    for folder, form in ((pairs, r"\d{8}-[0-9a-f]{8}-x\d(_\d+)?"), (grouped, r"\d{8}-[0-9a-f]{8}")):
        keys = [sample["__key__"] for sample in read_all(folder)]
        assert keys == sorted(set(keys))
        assert all(re.fullmatch(form, key) for key in keys)


def test_a_tar_holds_shard_size_samples_and_the_last_one_the_rest(
    pairs: Path, grouped: Path
) -> None:
    def sizes(folder: Path) -> list[int]:
        found = []
        for path in tars(folder):
            with tarfile.open(path) as tar:
                found.append(len({member.name.split(".")[0] for member in tar}))
        return found

    assert sizes(pairs) == [7] * 7 + [5]
    assert sizes(grouped) == [10, 10, 7]


def test_members_have_fixed_owners_and_times(pairs: Path) -> None:
    with tarfile.open(tars(pairs)[0]) as tar:
        members = list(tar)
    assert len(members) == 3 * 7
    assert {(m.mtime, m.uname, m.gname, m.uid, m.gid) for m in members} == {
        (0, "degflow", "degflow", members[0].uid, members[0].gid)
    }
    endings = [member.name.partition(".")[2] for member in members]
    assert endings == ["hr.png", "json", "lr.png"] * 7


def types_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: types_of(v) for key, v in value.items()}
    return [types_of(v) for v in value] if isinstance(value, list) else type(value).__name__


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
def test_every_sample_has_the_same_fields_of_the_same_types(
    pairs: Path, grouped: Path, layout: str
) -> None:
    samples = read_all(pairs if layout == "pairs" else grouped)
    first = types_of(samples[0]["json"])
    assert all(types_of(sample["json"]) == first for sample in samples)
    members = {tuple(sorted(key for key in s if not key.startswith("__"))) for s in samples}
    assert len(members) == 1


def test_grouped_samples_hold_a_patch_with_all_its_levels(
    grouped: Path, patches: list[Patch]
) -> None:
    samples = read_all(grouped)
    for sample, patch in zip(samples, patches, strict=True):
        assert sample["__key__"] == patch.key
        assert np.array_equal(sample["hr.png"], patch.hr)
        for i, name in enumerate(NAMES):
            assert np.array_equal(sample[f"lr_{name}.png"], patch.lr[i])
        info = sample["json"]
        assert (info["source"], info["y"], info["x"]) == (
            patch.record.source,
            patch.record.y,
            patch.record.x,
        )
        assert [level["level"] for level in info["levels"]] == NAMES
        assert [level["t"] for level in info["levels"]] == GRID.t
        assert [level["scale"] for level in info["levels"]] == [2.0, 4.0]


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
def test_the_index_points_at_the_bytes_of_every_member(
    pairs: Path, grouped: Path, layout: str
) -> None:
    folder = pairs if layout == "pairs" else grouped
    lines = []
    for index in sorted(folder.glob("*.index.jsonl")):
        of_tar = [json.loads(line) for line in index.read_text().splitlines()]
        tar_name = index.name.replace(".index.jsonl", ".tar")
        assert {line["tar"] for line in of_tar} == {tar_name}
        lines += of_tar
    found = {}
    for line in lines:
        content = (folder / line["tar"]).read_bytes()
        for ending, (offset, size) in line["members"].items():
            found[line["tar"], f"{line['key']}.{ending}"] = content[offset : offset + size]
        note = found[line["tar"], f"{line['key']}.json"]
        assert json.loads(note) == line["json"]
    wanted = {}
    for path in tars(folder):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                wanted[path.name, member.name] = file.read()
    assert found == wanted
    assert [line["key"] for line in lines] == [sample["__key__"] for sample in read_all(folder)]


def test_the_sums_are_those_of_the_files(pairs: Path) -> None:
    lines = (pairs / "degflow.sha256").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    visible = {path.name for path in pairs.iterdir() if not path.name.startswith(".")}
    assert set(sums) == visible - {"degflow.sha256", "degflow.json"}
    for name, digest in sums.items():
        assert digest == hashlib.sha256((pairs / name).read_bytes()).hexdigest(), name


def test_the_figures_are_those_of_the_pairs(pairs: Path, patches: list[Patch]) -> None:
    figures = json.loads((pairs / "degflow.json").read_text())
    assert (figures["samples"], figures["pairs"], figures["patches"]) == (54, 54, 27)
    assert figures["tars"] == [tar.name for tar in tars(pairs)]
    assert figures["bytes"] == sum(tar.stat().st_size for tar in tars(pairs))
    for i, name in enumerate(NAMES):
        errors = [(p.hr.astype(float) - p.lr[i]) ** 2 for p in patches]
        assert figures["mean_squared_error"][name] == pytest.approx(np.mean(errors), rel=1e-9)


def test_the_summary_says_what_is_there(ready_store: Path, tmp_path: Path, grouped: Path) -> None:
    summary = shard(ready_store, tmp_path / "out", ShardSettings(layout="grouped", shard_size=10))
    assert summary.to_dict() == {
        "out": str(tmp_path / "out"),
        "name": "degflow",
        "tars": 3,
        "made": 3,
        "samples": 27,
        "pairs": 54,
        "patches": 27,
        "bytes": sum(tar.stat().st_size for tar in tars(tmp_path / "out")),
        "validation": None,
        "slowest": [asdict(unit) for unit in summary.slowest],
    }
    assert {unit.unit for unit in summary.slowest} == {tar.name for tar in tars(tmp_path / "out")}
    assert [a.read_bytes() for a in tars(tmp_path / "out")] == [
        b.read_bytes() for b in tars(grouped)
    ]


def test_the_card_has_the_hubs_header_and_the_figures(pairs: Path, patches: list[Patch]) -> None:
    text = (pairs / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["pretty_name"] == "degflow"
    assert "webdataset" in header["tags"]
    assert header["size_categories"] == ["n<1K"]
    (files,) = header["configs"][0]["data_files"]
    assert sorted(pairs.glob(files["path"])) == tars(pairs)
    assert "| pairs | 54 |" in text
    for i, name in enumerate(NAMES):
        errors = np.mean([(p.hr.astype(float) - p.lr[i]) ** 2 for p in patches])
        decibels = 10 * np.log10(255**2 / errors)
        assert re.search(rf"\| {name} \| .* \| {decibels:.2f} \|", text)


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
def test_the_code_of_the_card_runs(
    pairs: Path, grouped: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pairs if layout == "pairs" else grouped
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["hr"].shape == names["lr"].shape == (64, 64, 3)
    assert names["info"]["patch"] == 64


def test_the_contact_sheet_shows_hr_and_every_level(pairs: Path, patches: list[Patch]) -> None:
    with Image.open(pairs / "contact_sheet.png") as image:
        sheet = np.asarray(image)
    side = 160
    assert sheet.shape == (24 + 4 * side, (1 + LEVELS) * side, 3)
    shown = patches[PATCHES // 8]  # the middle of the first quarter
    for column, picture in enumerate([shown.hr, *shown.lr]):
        assert np.array_equal(sheet[24 : 24 + 64, column * side : column * side + 64], picture)


@pytest.mark.parametrize(
    "picture_format, ending", [("webp", "webp"), ("ppm", "ppm"), ("jpeg:95", "jpg")]
)
def test_other_formats_hold_the_same_pictures(
    ready_store: Path, tmp_path: Path, patches: list[Patch], picture_format: str, ending: str
) -> None:
    shard(ready_store, tmp_path / "out", ShardSettings(picture_format=picture_format))
    samples = read_all(tmp_path / "out")
    assert len(samples) == 54
    wanted = [(patch, i) for patch in patches for i in range(LEVELS)]
    for sample, (patch, i) in zip(samples, wanted, strict=True):
        hr, lr = sample["hr.png" if ending == "jpg" else f"hr.{ending}"], sample[f"lr.{ending}"]
        assert np.array_equal(hr, patch.hr)
        if ending != "jpg":
            assert np.array_equal(lr, patch.lr[i])
        else:
            assert psnr(lr, patch.lr[i]) > 28


@pytest.mark.parametrize("layout", ["pairs", "grouped"])
def test_native_sizes_are_those_of_the_scales(
    ready_store: Path, tmp_path: Path, patches: list[Patch], layout: str
) -> None:
    shard(ready_store, tmp_path / "out", ShardSettings(lr_size="native", layout=layout))
    for n, sample in enumerate(read_all(tmp_path / "out")):
        if layout == "pairs":
            patch, made = patches[n // LEVELS], [(n % LEVELS, sample["lr.png"], sample["json"])]
        else:
            patch = patches[n]
            made = [
                (i, sample[f"lr_{NAMES[i]}.png"], sample["json"]["levels"][i]) for i in range(2)
            ]
        assert np.array_equal(sample["hr.png"], patch.hr)
        for i, lr, info in made:
            side = (32, 16)[i]
            assert lr.shape == (side, side, 3)
            assert (info["hr_size"], info["lr_size"]) == ([64, 64], [side, side])
            assert info["effective_scale"] == info["scale"] == (2.0, 4.0)[i]
            mean = cv2.resize(patch.lr[i], (side, side), interpolation=cv2.INTER_AREA)
            assert psnr(lr, mean) > 25


@pytest.fixture(scope="module")
def uneven(
    make_store: Callable[..., Path], photo_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store of 6 patches at scales that do not divide 64."""
    path = tmp_path_factory.mktemp("uneven") / "a.zarr"
    return make_store(path, [str(photo_folder / "chelsea.jpg")], scales="1.5,2.3,3.7")


def test_scales_that_do_not_divide_are_refused_before_anything_is_written(
    uneven: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"64 at scale 1.5 would be 42.67 pixels.*`uneven` crop"):
        shard(uneven, tmp_path / "out", ShardSettings(lr_size="native"))
    assert not (tmp_path / "out").exists()


def test_a_grouped_sample_takes_levels_that_crop_its_hr_differently(
    uneven: Path, tmp_path: Path
) -> None:
    """HR is there once; whoever reads the pairs gets of it what each uses, as of `pairs`."""
    for layout in ("grouped", "pairs"):
        settings = ShardSettings(lr_size="native", uneven="crop", layout=layout)
        shard(uneven, tmp_path / layout, settings)
    grouped, pairs = (SRPairs(str(tmp_path / layout)) for layout in ("grouped", "pairs"))
    assert len({tuple(info["hr_size"]) for _, _, info in pairs}) > 1
    streamed = list(sr_pairs(str(tmp_path / "grouped"), shuffle=0, flips=False))
    assert len(grouped) == len(pairs) == len(streamed) == 18
    for one, other, third in zip(grouped, pairs, streamed, strict=True):
        for a, b, c in zip(one[:2], other[:2], third[:2], strict=True):
            assert torch.equal(a, b) and torch.equal(a, c)


def test_the_card_says_how_to_read_levels_that_crop_hr_differently(
    uneven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shard(uneven, out, ShardSettings(lr_size="native", uneven="crop", layout="grouped"))
    snippet = (out / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(out)
    read: dict[str, Any] = {}
    exec(snippet, read)
    used = read["info"]["levels"][0]["hr_size"]
    assert list(read["hr"].shape[:2]) == used
    assert list(read["lr"].shape[:2]) == read["info"]["levels"][0]["lr_size"]


def test_an_export_cuts_what_a_level_uses_out_of_a_grouped_samples_hr(
    make_store: Callable[..., Path], photo_folder: Path, tmp_path: Path
) -> None:
    """At x3 a pair uses 63 of the 64 pixels that are stored for x2."""
    store = make_store(tmp_path / "a.zarr", [str(photo_folder / "chelsea.jpg")], scales="2,3")
    found = []
    for layout in ("grouped", "pairs"):
        settings = ShardSettings(lr_size="native", uneven="crop", layout=layout)
        shard(store, tmp_path / layout, settings)
        out = tmp_path / f"of-{layout}"
        export(tmp_path / layout, "basicsr", out, scales=[3])
        found.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*.png")})
        again = estimate_export(tmp_path / layout, "basicsr", out, scales=[3])
        assert (again.files, again.bytes["hr"], again.bytes["lr"]) == (0, 0, 0)
    assert found[0] == found[1] and len(found[0]) == 12


def test_uneven_crop_crops_both_and_says_the_scale_that_came_of_it(
    uneven: Path, tmp_path: Path
) -> None:
    shard(uneven, tmp_path / "out", ShardSettings(lr_size="native", uneven="crop"))
    grid = parse_scales("1.5,2.3,3.7", 4.0)
    whole = patches_of(uneven, grid)
    samples = read_all(tmp_path / "out")
    assert len(samples) == 18
    for n, sample in enumerate(samples):
        patch, info, i = whole[n // 3], sample["json"], n % 3
        (hr, _), (lr, _) = info["hr_size"], info["lr_size"]
        assert 56 <= hr <= 64
        assert sample["hr.png"].shape == (hr, hr, 3)
        assert sample["lr.png"].shape == (lr, lr, 3)
        assert np.array_equal(sample["hr.png"], patch.hr[:hr, :hr])
        area = cv2.resize(patch.lr[i][:hr, :hr], (lr, lr), interpolation=cv2.INTER_AREA)
        assert psnr(sample["lr.png"], area) > 25
        assert info["effective_scale"] == round(hr / lr, 6)
        assert info["scale"] == (1.5, 2.3, 3.7)[i]
        assert info["effective_scale"] == pytest.approx(info["scale"], abs=0.02)


def test_a_store_of_several_grids_wants_one_named(
    store: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    name = grid_in(store, GRID).name
    second = generate(store, tiny_model, parse_t("1")).grid
    lost = store / "levels" / name / "c.1.0.0.0.0"
    lost.rename(tmp_path / "block")
    with pytest.raises(UsageError, match=f"holds 2 grids.*{second} by tiny-.*; {name} by tiny-"):
        shard(store, tmp_path / "out")
    with pytest.raises(StoreError, match="no grid t0500; it has"):
        shard(store, tmp_path / "out", grid="t0500")
    with pytest.raises(
        StoreError,
        match=r"11 of 27 patches lack the levels.*`generate\(store='.*', "
        r"t_grid='x2,x4', noise='none', checkpoint='tiny-\w+'\)` again",
    ):
        shard(store, tmp_path / "out", grid=name)
    assert not (tmp_path / "out").exists()
    (tmp_path / "block").rename(lost)
    assert shard(store, tmp_path / "out", grid=name).pairs == 54


def test_the_grid_that_was_named_is_the_one_that_is_packed(
    make_store: Callable[..., Path], photo_folder: Path, tiny_model: DegFlow, tmp_path: Path
) -> None:
    path = make_store(tmp_path / "a.zarr", [str(photo_folder / "chelsea.jpg")])
    other = parse_t("0.1")
    second, first = generate(path, tiny_model, other).grid, grid_in(path, GRID).name
    shard(path, tmp_path / "one", grid=first)
    shard(path, tmp_path / "two", grid=second)
    assert {s["json"]["grid"] for s in read_all(tmp_path / "one")} == {first}
    samples = read_all(tmp_path / "two")
    assert [s["json"]["t"] for s in samples] == [0.1] * 6
    for sample, patch in zip(samples, patches_of(path, other), strict=True):
        assert np.array_equal(sample["lr.png"], patch.lr[0])


def test_shards_of_two_checkpoints_are_those_of_a_store_each(
    make_store: Callable[..., Path],
    photo_folder: Path,
    tiny_model: DegFlow,
    other_checkpoint: DegFlow,
    tmp_path: Path,
    tree: Callable[[Path], dict[str, bytes]],
) -> None:
    both = make_store(tmp_path / "both.zarr")
    grids = {"tiny": grid_in(both, GRID).name}
    ingest([str(photo_folder)], both, other_checkpoint, patch=64)
    grids["other"] = generate(both, other_checkpoint, GRID).grid
    for name, model in (("tiny", tiny_model), ("other", other_checkpoint)):
        alone = tmp_path / f"{name}.zarr"
        ingest([str(photo_folder)], alone, model, patch=64)
        generate(alone, model, GRID)
        shard(alone, tmp_path / f"{name}-alone")
        shard(both, tmp_path / name, grid=grids[name])
        assert tree(tmp_path / name) == tree(tmp_path / f"{name}-alone")
        assert {s["json"]["checkpoint"] for s in read_all(tmp_path / name)} == {model.info.id}


def test_no_store_and_no_levels_are_refused(
    make_store: Callable[..., Path], photo_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="no store at"):
        shard(tmp_path / "nowhere", tmp_path / "out")
    bare = make_store(tmp_path / "a.zarr", [str(photo_folder / "chelsea.jpg")], scales=None)
    with pytest.raises(StoreError, match="holds no levels: run `generate\\(\\)`"):
        shard(bare, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["hr", "levels"])
def test_data_that_is_gone_is_refused_and_nothing_is_finished(
    store: Path, tmp_path: Path, name: str
) -> None:
    levels = store / "levels" / grid_in(store, GRID).name / "c.1.0.0.0.0"
    (levels if name == "levels" else store / "hr" / "c.0.0.0.0").unlink()
    with pytest.raises(StoreError, match=r"unit 0 of .* not there|11 of 27 patches lack"):
        shard(store, tmp_path / "out")
    assert not (tmp_path / "out" / "degflow.json").exists()


def test_samples_are_read_straight_from_their_place(pairs: Path, patches: list[Patch]) -> None:
    """A reader that seeks needs the index and one range of bytes, no tar library."""
    line = json.loads((pairs / "degflow-000004.index.jsonl").read_text().splitlines()[3])
    with (pairs / line["tar"]).open("rb") as file:
        offset, size = line["members"]["lr.png"]
        file.seek(offset)
        with Image.open(io.BytesIO(file.read(size))) as image:
            assert np.array_equal(image, patches[15].lr[1])
