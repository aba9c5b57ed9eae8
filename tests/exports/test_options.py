"""Option files that export writes, and what doctor finds in those that were changed."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from degflow_pipe import DegflowError, UsageError, export
from degflow_pipe.exports.doctor import doctor
from degflow_pipe.exports.networks import BASICSR, KAIR
from degflow_pipe.exports.results import Diagnosis
from degflow_pipe.exports.source import ShardLevel, Source, chosen_levels
from degflow_pipe.exports.trainer import Roots
from degflow_pipe.exports.trainers import TRAINERS, find_trainer

ONE_SCALE = [
    *("basicsr", "basicsr-lmdb", "neosr", "neosr-lmdb", "trainner-redux", "realesrgan", "kair"),
    *("edsr", "rcan", "han", "mmagic", "ciaosr", "hat", "mambair", "swinir"),
]
FACTORS = {
    **{to: {1, 2, 3, 4, 8} for to in ("edsr", "rcan", "han", "mmagic", "hat", "mambair", "swinir")},
    "basicsr": {1, 2, 3, 4, 8},
    "basicsr-lmdb": {1, 2, 3, 4, 8},
    "realesrgan": {1, 2, 4},
    "kair": {1, 2, 3, 4, 8},
}
"""Factors of 1 to 8 that a network of the trainer has, by the networks' sources; all elsewhere."""


def settings(path: Path) -> Any:
    text = path.read_text()
    if path.suffix == ".toml":
        return tomllib.loads(text)
    if path.suffix == ".json":
        return json.loads("".join(line.split("//")[0] for line in text.splitlines()))
    if path.suffix == ".py":
        made: dict[str, Any] = {}
        exec(text, made)
        return made
    return yaml.safe_load(text)


def said(found: Diagnosis, kind: str = "options") -> str:
    return "\n".join(found.findings[kind].examples if kind in found.findings else [])


@pytest.mark.parametrize("scale", range(1, 9))
@pytest.mark.parametrize("to", ONE_SCALE)
def test_a_factor_that_no_network_has_is_refused_with_one_that_goes(
    shards: Path, tmp_path: Path, to: str, scale: int
) -> None:
    if scale in FACTORS.get(to, {scale}):
        plans = find_trainer(to).plans([ShardLevel("t1000", 1.0, 2.0, 840, 840)], scale)
        assert [plan.told for plan in plans] == [scale]
        return
    with pytest.raises(UsageError, match=f"has no factor {scale}, only") as refusal:
        export(shards, to, tmp_path / "out", scale=scale)
    assert not (tmp_path / "out").exists()
    advised = re.search(r"`scale` ((?:\d+ or )*\d+)", str(refusal.value))
    assert advised is not None
    # Once for each trainer: every scale that is advised is exported, and whole.
    for other in advised[1].split(" or ") if scale == 5 else ():
        assert export(shards, to, tmp_path / other, scale=int(other)).scales == [int(other)] * 6
        assert doctor(tmp_path / other, to).findings == {}


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_basicsr_has_a_network_of_the_scale(shards: Path, tmp_path: Path, scale: int) -> None:
    export(shards, "basicsr", tmp_path, scale=scale)
    network = settings(tmp_path / "train_basicsr.yml")["network_g"]
    assert network["upscale"] == scale
    assert BASICSR[network["type"]].has(scale)
    assert network["type"] == ("MSRResNet" if scale in (2, 3, 4) else "EDSR")


def test_no_network_of_the_tables_has_every_factor_by_default() -> None:
    has = {
        name: {s for s in range(1, 9) if net.has(s)} for name, net in {**BASICSR, **KAIR}.items()
    }
    assert has["MSRResNet"] == has["msrresnet1"] == {2, 3, 4}
    assert has["EDSR"] == has["msrresnet0"] == {1, 2, 3, 4, 8}
    assert has["RRDBNet"] == {1, 2, 4}


@pytest.mark.parametrize(
    "to", [to for to in TRAINERS if to not in ("interflow", "realsr", "ddir", "metasr")]
)
def test_levels_that_a_refusal_advises_are_accepted(shards: Path, native: Path, to: str) -> None:
    """Whatever is asked for, and whatever the shards hold."""
    refused = 0
    for source in (shards, native):
        levels = Source(source).levels
        for scale in (None, 2, 3, 65):
            try:
                find_trainer(to).plans(levels, scale)
            except UsageError as error:
                refused += 1
                follow(str(error), levels, to, scale)
    assert refused


def follow(text: str, levels: list[ShardLevel], to: str, scale: int | None) -> None:
    """Do what each advice of a refusal says; raises where that is refused too."""
    plans, advice = find_trainer(to).plans, text.rpartition(":")[2]
    assert advice
    if "leave `scale` out" in advice:
        plans(levels, None)
    if found := re.search(r"choose `scale` ((?:\d+ or )*\d+)", advice):
        for other in found[1].split(" or "):
            plans(levels, int(other))
    if found := re.search(r"choose with `t` ([\d.,]+)", advice):
        t = [float(value) for value in found[1].split(",")]
        plans(chosen_levels(levels, t, None), scale)


def test_ddir_advises_levels_that_it_takes(wide: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lack 1.5, 3: ingest .* `t_grid=x1.5,x2,x2.5,x3,x3"):
        export(wide, "ddir", tmp_path, scales=[2, 2.5, 3.5, 4])
    levels = [ShardLevel(f"t{i}", i / 10, s, 192, 192) for i, s in enumerate((1.5, 2, 2.5, 2.7))]
    levels += [ShardLevel(f"t{i}", i / 10, s, 192, 192) for i, s in ((5, 3.0), (6, 3.5), (7, 4.0))]
    with pytest.raises(UsageError, match=r"x2.7\) has none .*: choose with `t` 0,0.1,0.2,0.5,0.6,"):
        find_trainer("ddir").plans(levels, None)
    assert len(find_trainer("ddir").plans([*levels[:3], *levels[4:]], None)) == 6


@pytest.mark.parametrize("patch, side", [(192, 46), (128, 30), (256, 48), (64, 14)])
def test_ddir_crops_whole_pixels_of_hr(patch: int, side: int) -> None:
    levels = [
        ShardLevel(f"t{i}", i / 10, s, patch, patch) for i, s in enumerate((1.5, 2, 2.5, 3, 3.5, 4))
    ]
    trainer = find_trainer("ddir")
    plans = trainer.plans(levels, None)
    args = yaml.safe_load(trainer.option_file(plans, Roots()))["train_dataset"]["wrapper"]["args"]
    assert args["inp_size"] == side
    for plan in plans:
        assert (side * plan.told).is_integer(), "LR and HR would lie half a pixel apart"
        assert plan.packing.lr - side >= 1, "the reader draws a place below that"
    assert args["sample_q"] <= (1.5 * side) ** 2


@pytest.mark.parametrize("to", ["interflow", "realsr"])
def test_interflow_refuses_patches_that_its_reader_cannot_crop(
    shards: Path, wide: Path, tmp_path: Path, to: str
) -> None:
    with pytest.raises(UsageError, match=r"InterFlow's reader crops \d+ pixels of HR at level"):
        export(shards, to, tmp_path / "small", scales=[2, 3, 4])
    export(wide, to, tmp_path / "out", scales=[2, 3, 4])
    entry = settings(tmp_path / "out" / find_trainer(to).options)["LIIF_degflow.pt"]
    assert all(round(48 * most) <= 192 for _, most in entry["scale"])
    with pytest.raises(UsageError, match=r"finds no LR below .*MyHR"):
        export(wide, to, tmp_path / "MyHR", scales=[2, 3, 4])


@pytest.mark.parametrize("to", ["interflow", "realsr"])
def test_doctor_finds_hr_that_interflow_cannot_crop(wide: Path, tmp_path: Path, to: str) -> None:
    export(wide, to, tmp_path, scales=[2, 3, 4])
    for path in tmp_path.rglob("*_[HL]R*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path))[:128, :128])
    assert "of which 190 are cut" in said(doctor(tmp_path, to), "crop")


@pytest.mark.parametrize("to", sorted(TRAINERS))
def test_roots_are_absolute_or_relative(shards: Path, wide: Path, tmp_path: Path, to: str) -> None:
    """A trainer that starts anywhere finds the absolute ones; doctor takes both, and no others."""
    source = wide if to in ("interflow", "realsr") else shards
    chosen = {"scales": [2, 3, 4]} if to in ("liif", "realsr", "edsr", "rcan", "han") else {}
    options = find_trainer(to).options
    export(source, to, tmp_path / "there", **chosen)
    export(source, to, tmp_path / "moving", relative=True, **chosen)
    absolute, relative = ((tmp_path / out / options).read_text() for out in ("there", "moving"))
    assert str(tmp_path / "there") in absolute and "Paths are absolute" in absolute
    assert str(tmp_path) not in relative and "Paths are relative" in relative
    (tmp_path / "moving").rename(tmp_path / "moved")
    assert doctor(tmp_path / "moved", to).findings == {}
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    assert "export again where the folder was moved" in said(
        doctor(tmp_path / "elsewhere", to)
    ) or (
        to in ("interflow", "realsr")
        and "is no folder of this tree" in said(doctor(tmp_path / "elsewhere", to))
    )
    again = export(source, to, tmp_path / "elsewhere", **chosen)
    assert doctor(tmp_path / "elsewhere", to).findings == {}
    assert again.written == 0 or to.endswith("lmdb")


@pytest.mark.parametrize("to", ["liif", "ddir", "basicsr", "trainner-redux", "realesrgan"])
def test_yaml_has_no_anchors(shards: Path, tmp_path: Path, to: str) -> None:
    export(shards, to, tmp_path, **({"scales": [2, 4]} if to == "liif" else {}))
    assert not re.search(r"[&*]id\d", (tmp_path / find_trainer(to).options).read_text())


def test_redux_goes_on_after_its_first_iteration(shards: Path, tmp_path: Path) -> None:
    export(shards, "trainner-redux", tmp_path)
    assert settings(tmp_path / "train_trainner.yml")["val"]["val_freq"] >= 1


def test_a_path_of_odd_characters_stands_in_each_kind_of_option_file(
    shards: Path, tmp_path: Path
) -> None:
    odd = tmp_path / 'a "b" \\c # é 漢 😀'
    for to in ("neosr", "basicsr", "kair"):
        export(shards, to, odd / to)
        train = settings(odd / to / find_trainer(to).options)["datasets"]["train"]
        root = train["dataroot_H" if to == "kair" else "dataroot_gt"]
        assert Path(root).is_dir()
        assert doctor(odd / to, to).findings == {}
    with pytest.raises(UsageError, match="is not UTF-8"):
        export(shards, "neosr", tmp_path / "bad\udcff")
    assert not list(tmp_path.glob("bad*"))


CHANGES: list[tuple[str, str, str, str]] = [
    ("basicsr", "upscale: 1", "upscale: 2", "network_g.upscale is 2, and scale 1"),
    ("basicsr", "type: EDSR", "type: MSRResNet", "MSRResNet has no factor 1, only 2, 3 and 4"),
    ("basicsr", "\nscale: 1", "\nscale: 4", "scale is 4, and HR is 1 times the LR"),
    ("basicsr", "gt_size: 64", "gt_size: 72", "gt_size is 72, and the smallest HR has 64"),
    ("basicsr", "gt_size: 64", "gt_size: many", "gt_size is 'many', and must be pixels"),
    ("basicsr", "  print_freq: 100\n", "", "logger.print_freq is missing"),
    ("basicsr", "dist_params:", "val: {save_img: false}\ndist_params:", "val needs val_freq"),
    ("basicsr-lmdb", "type: EDSR", "type: RRDBNet", ""),
    ("realesrgan", "gt_size: 64", "gt_size: 62", "takes LR of a multiple of 4 pixels"),
    ("realesrgan", "\nscale: 1", "\nscale: 3", "RRDBNet has no factor 3"),
    ("trainner-redux", "val_freq: 5000, ", "", "val needs val_freq beside it"),
    ("trainner-redux", "lq_size: 64", "lq_size: 65", "the smallest LR has 64"),
    ("trainner-redux", "lq_size: 64", "gt_size: 64\n    lq_size: 64", "exactly one of"),
    ("neosr", "patch_size = 64", "patch_size = 128", "the smallest LR has 64"),
    ("neosr", "patch_size = 64\n", "", "patch_size is missing"),
    ("neosr-lmdb", 'io_backend = { type = "lmdb" }\n', "", "io_backend.type is missing"),
    ("kair", '"H_size": 64', '"H_size": 96', "H_size is 96, and the smallest HR has 64"),
    ("kair", '"scale": 1', '"scale": 5', "msrresnet0 has no factor 5"),
    ("kair", '"n_channels": 3,', "", "n_channels is missing"),
    ("liif", "inp_size: 16", "inp_size: 48", "inp_size is 48, must be 16 or less"),
    ("liif", "sample_q: 256", "sample_q: 2304", "sample_q is 2304, and a crop has 256"),
    ("ddir", "inp_size: 14", "inp_size: 13", "inp_size 13 is odd"),
    ("ddir", "inp_size: 14", "inp_size: 16", "must be less than 16"),
    ("interflow", '"only_gt": [\n      false,', '"only_gt": [', "must be of one length"),
    ("interflow", "scale_2.0", "scale_9.0", "is no folder of this tree"),
    ("realsr", "        4.0\n", "        40.0\n", "1920 pixels are cropped"),
    ("edsr", "--patch_size 16", "--patch_size 48", "of which 144 are cut"),
    ("edsr", "--scale 2+3+4", "--scale 2+8", "X8: no such folder"),
    ("edsr", "--scale 2+3+4", "--scale two", "scale 'two' is no factor"),
    ("edsr", "--data_train DEGFLOW", "", "data_train is missing: EDSR-PyTorch"),
    ("han", "--data_range 1-6/1-6", "--data_range 1-4/5-6", "trains on 4 of 6 HR"),
    ("han", "--data_range 1-6/1-6", "--data_range all", "data_range 'all' is no range"),
    ("rcan", "--n_train 6", "--n_train 7", "n_train is 7, and 6 HR are there"),
    ("metasr", "--patch_size 15", "--patch_size 16", "of which 68 are cut"),
    ("metasr", "--batch_size 6", "--batch_size 16", "batch_size is 16, and 6 HR are there"),
    ("mmagic", "'scale': 1}", "'scale': 2}", "scale is 2, and HR is 1 times the LR"),
    ("mmagic", "'gt_patch_size': 64", "'gt_patch_size': 96", "the smallest HR has 64"),
    ("mmagic", "'upscale_factor': 1", "'upscale_factor': 2", "upscale_factor is 2, and scale 1"),
    ("mmagic", "'PairedRandomCrop'", "'Crop'", "the training pipeline lacks PairedRandomCrop"),
    ("mmagic", "'gt': 'gt'}", "'gt': 'hr'}", "data_prefix.gt is 'hr', and not gt of"),
    ("mmagic", "'meta_info.txt'", "'other.txt'", "ann_file is 'other.txt', and not meta_info.txt"),
    ("ciaosr", "'PairedRandomCrop'", "'RandomDownSampling'", "RandomDownSampling makes LR of HR"),
    ("ciaosr", "'scale': 1,", "'scale': 2,", "data.train.dataset.scale is 2, and scale 1"),
    ("hat", "gt_size: 64", "gt_size: 40", "HAT at factor 1 takes LR of a multiple of 16"),
    ("mambair", "upscale: 1", "upscale: 2", "network_g.upscale is 2, and scale 1"),
    ("swinir", '"upscale": 1', '"upscale": 2', "netG.upscale is 2, and scale 1"),
    ("swinir", '"window_size": 8,', "", "netG.window_size is missing: KAIR"),
]


@pytest.mark.parametrize("to, old, new, finding", CHANGES)
def test_doctor_holds_the_option_file_against_the_data(
    shards: Path, wide: Path, tmp_path: Path, to: str, old: str, new: str, finding: str
) -> None:
    source = wide if to in ("interflow", "realsr") else shards
    chosen = {"scales": [2, 3, 4]} if to in ("liif", "realsr", "edsr", "rcan", "han") else {}
    export(source, to, tmp_path, **chosen)
    path = tmp_path / find_trainer(to).options
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new))
    found = doctor(tmp_path, to)
    assert finding in "\n".join(said(found, kind) for kind in found.findings)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int ''",
        "a: !!timestamp x",
        "a: [1:99:99, 0x]",
        "a: !!python/object/apply:os.system [touch nobody]",
        "[" * 100_000,
        "{a: " * 50_000,
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "- 1",
        "\x00",
        "a: \ud800",
        "x" * 300_000,
        "datasets: 3\nscale: .inf\nnetwork_g: [1]",
        "datasets: {train: {gt_size: 1e400, dataroot_gt: [[]]}}\nscale: true",
        f"scale: {10**400}\nnetwork_g: {{type: EDSR}}",
    ],
)
def test_hostile_option_files_are_findings(shards: Path, tmp_path: Path, text: str) -> None:
    export(shards, "basicsr", tmp_path)
    data = text.encode("utf-8", "surrogatepass")
    (tmp_path / "train_basicsr.yml").write_bytes(data)
    found = doctor(tmp_path, "basicsr")
    assert set(found.findings) == {"options"} and found.pairs == 36
    (tmp_path / "train_neosr.toml").write_bytes(data)
    (tmp_path / "train_kair.json").write_bytes(data)
    (tmp_path / "train_mmagic.py").write_bytes(data)
    (tmp_path / "train_edsr.sh").write_bytes(data)
    for to in ("neosr", "kair", "mmagic", "edsr"):
        options = tmp_path / find_trainer(to).options
        assert doctor(tmp_path, to, options=options).findings["options"]


def test_an_option_file_of_ones_own_is_read(shards: Path, tmp_path: Path) -> None:
    export(shards, "basicsr", tmp_path / "out")
    own = tmp_path / "mine.yml"
    own.write_text((tmp_path / "out/train_basicsr.yml").read_text().replace("scale: 1", "scale: 2"))
    found = doctor(tmp_path / "out", "basicsr", options=own)
    assert "mine.yml: scale is 2" in said(found) and found.options == str(own)
    with pytest.raises(DegflowError, match="no such option file"):
        doctor(tmp_path / "out", "basicsr", options=tmp_path / "none.yml")


def test_the_photo_of_a_pair_is_named(shards: Path, tmp_path: Path) -> None:
    export(shards, "neosr", tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert {row["source"] for row in rows} == {"chelsea.jpg"}
    assert all(len(row["source_sha256"]) == 64 for row in rows)
    assert {row["key"].split("-")[1] for row in rows} == {rows[0]["source_sha256"][:8]}
