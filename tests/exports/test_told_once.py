"""doctor tells a fault once, by its cause, and not what comes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import pytest

from degflow_pipe import export
from degflow_pipe.exports.doctor import doctor
from degflow_pipe.exports.trainers import find_trainer

Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def exported(native: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """An export of the level x2, LR of half of HR, with relative paths; made once a trainer."""

    @cache
    def make(to: str) -> Path:
        out = tmp_path_factory.mktemp(to)
        export(native, to, out, scales=[2], relative=True)
        return out

    return make


def edited(name: str, was: str, becomes: str) -> Change:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert was in text
        (folder / name).write_text(text.replace(was, becomes))

    return change


def renamed(was: str, becomes: str) -> Change:
    return lambda folder: (folder / was).rename(folder / becomes)


def exchanged(a: str, b: str) -> Change:
    def change(folder: Path) -> None:
        (folder / a).rename(folder / "z")
        (folder / b).rename(folder / a)
        (folder / "z").rename(folder / b)

    return change


def first_lr(folder: Path, place: str) -> Path:
    return sorted((folder / place).iterdir())[1]


@pytest.mark.parametrize(
    "to, change, kind, said",
    [
        ("basicsr", renamed("gt", "GT"), "structure", "gt: no such folder; GT is there: rename it"),
        ("basicsr", renamed("lq", "lr"), "structure", "lq: no such folder; lr is there: rename it"),
        ("kair", renamed("H", "HR"), "structure", "H: no such folder; HR is there: rename it"),
        ("liif", renamed("LR", "lr"), "structure", "nothing in it; lr is there: rename it"),
        ("edsr", renamed("HR", "hr"), "structure", "no .png in it; hr is there: rename it"),
        (
            "edsr",
            renamed("LR_bicubic", "LR_bicubic_x2"),
            "structure",
            "nothing in it; LR_bicubic_x2 is there: rename it",
        ),
        (
            "basicsr",
            exchanged("gt", "lq"),
            "ratio",
            "LR are larger than their HR in 6 of 6 pairs: exchange gt and lq",
        ),
        (
            "kair",
            exchanged("H", "L"),
            "ratio",
            "LR are larger than their HR in 6 of 6 pairs: exchange H and L",
        ),
        (
            "basicsr",
            lambda folder: first_lr(folder, "lq").unlink(),
            "no LR",
            "meta_info.txt, line 2: lq/",
        ),
        (
            "basicsr",
            lambda folder: first_lr(folder, "lq").rename(
                first_lr(folder, "lq").with_suffix(".ppm")
            ),
            "no LR",
            ".ppm is: save it as .png",
        ),
        (
            "kair",
            lambda folder: first_lr(folder, "L").rename(folder / "L/zz.png"),
            "order",
            "L/zz.png has the name of no HR, and all are paired by their place: rename it",
        ),
        (
            "kair",
            lambda folder: (folder / "L/._00.png").write_bytes(b"\0"),
            "names",
            "L/._00.png is hidden, and read as a picture: delete it",
        ),
        (
            "neosr",
            lambda folder: (folder / "gt/notes.txt").write_text("none"),
            "names",
            "gt/notes.txt is in a deeper folder, or of no ending that is read: take it out",
        ),
        (
            "kair",
            lambda folder: (hr := first_lr(folder, "H")).rename(hr.with_suffix(".tiff")),
            "names",
            ".tiff is of no ending that KAIR reads: save it as .png",
        ),
        (
            "edsr",
            lambda folder: (folder / "HR/0002.png").rename(folder / "HR/0002.PNG"),
            "names",
            "HR/0002.PNG is no .png, and not read: rename it to .png",
        ),
        (
            "edsr",
            lambda folder: shutil.copy(folder / "HR/0002.png", folder / "HR/0002.jpg"),
            "names",
            "HR/0002.jpg is no .png, and not read: take it out",
        ),
        (
            "liif",
            lambda folder: (folder / "LR/.DS_Store").write_bytes(b"\0"),
            "names",
            "LR/.DS_Store would be read as a picture: delete it",
        ),
        (
            "edsr",
            edited("train_edsr.sh", "--data_train DEGFLOW", "--data_train DIV2K"),
            "options",
            "data_train is DIV2K, which reads folders of other names",
        ),
        (
            "basicsr",
            edited("train_basicsr.yml", "type: PairedImageDataset", "type: PairedImageDatset"),
            "options",
            "type is 'PairedImageDatset', and must be PairedImageDataset",
        ),
        (
            "kair",
            edited("train_kair.json", '"n_channels": 3', '"n_channels": 1'),
            "options",
            "n_channels is 1, and must be 3",
        ),
        (
            "basicsr",
            edited("train_basicsr.yml", "scale: 2", "scale: 4"),
            "options",
            "scale is 4, and HR is 2 times the LR",
        ),
        (
            "basicsr",
            lambda folder: (folder / "train_basicsr.yml").unlink(),
            "options",
            "train_basicsr.yml, which export wrote, is gone: run the `export` that made it again",
        ),
        (
            "basicsr",
            lambda folder: (folder / "meta_info.txt").unlink(),
            "list",
            "meta_info.txt is not there, and train_basicsr.yml names it",
        ),
    ],
)
def test_one_fault_is_one_finding(
    copied: Callable[[str], Path], to: str, change: Change, kind: str, said: str
) -> None:
    folder = copied(to)
    assert doctor(folder, to).fine
    change(folder)
    found = doctor(folder, to).findings
    (text,) = found.pop(kind).examples
    assert not found and said in text


def moved(folder: Path) -> None:
    """As an export with absolute paths is elsewhere."""
    path = folder / "train_basicsr.yml"
    text = path.read_text()
    for place in ("gt", "lq", "meta_info.txt"):
        assert f": {place}\n" in text
        text = text.replace(f": {place}\n", f": /mnt/of old/{place}\n")
    path.write_text(text)


def half_of_the_list(folder: Path) -> None:
    path = folder / "meta_info.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))


def renamed_without_zeros(folder: Path) -> None:
    """So that they sort otherwise than what they are paired with."""
    for number, path in enumerate(sorted((folder / "H").iterdir()), 8):
        path.rename(folder / f"H/{number}.png")


def all_x4(folder: Path) -> None:
    for path in (folder / "lq").iterdir():
        path.rename(path.with_name(f"{path.stem}x4.png"))


def all_enlarged(folder: Path) -> None:
    for path in (folder / "lq").iterdir():
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), None, fx=2, fy=2))


@pytest.mark.parametrize(
    "to, change, kind, said",
    [
        ("basicsr", moved, "options", "meta_info_file lead to '/mnt/of old', and not to"),
        ("basicsr", half_of_the_list, "list", "lists 3 HR, and 3 more in gt, such as"),
        ("basicsr", all_x4, "names", 'write filename_tmpl: "{}x4" into the training set'),
        ("realesrgan", half_of_the_list, "export", "3 of the 6 pairs that export wrote are miss"),
        (
            "edsr",
            lambda folder: [
                (folder / name).unlink() for name in ("HR/0003.png", "LR_bicubic/X2/0003x2.png")
            ],
            "export",
            "1 of the 6 pairs that export wrote are missing, the first of them 'HR/0003' with "
            "'LR_bicubic/X2/0003x2'",
        ),
        ("swinir", renamed_without_zeros, "renamed", "does not look like H/"),
        ("edsr", renamed("LR_bicubic/X2", "LR_bicubic/x2"), "structure", "; x2 is there: rename"),
        (
            "basicsr",
            lambda folder: (folder / "export.json").write_text("{"),
            "unfinished",
            "export.json: not JSON",
        ),
    ],
)
def test_what_an_export_lost_is_one_finding_with_a_cure(
    copied: Callable[[str], Path], to: str, change: Change, kind: str, said: str
) -> None:
    folder = copied(to)
    change(folder)
    found = doctor(folder, to).findings
    assert set(found) == {kind}
    assert any(said in text for text in found[kind].examples), found[kind].examples


def test_lr_of_another_size_than_export_wrote_are_found(copied: Callable[[str], Path]) -> None:
    """Whatever the option file is changed to."""
    folder = copied("basicsr")
    all_enlarged(folder)
    found = doctor(folder, "basicsr").findings
    assert set(found) == {"ratio"} and found["ratio"].count == 6
    assert "where export wrote" in found["ratio"].examples[0]
    edited("train_basicsr.yml", "scale: 2", "scale: 1")(folder)
    assert doctor(folder, "basicsr").findings["ratio"].count == 6


def test_the_cure_for_renamed_lr_cures(copied: Callable[[str], Path]) -> None:
    folder = copied("basicsr")
    all_x4(folder)
    path = folder / "train_basicsr.yml"
    path.write_text(path.read_text().replace("filename_tmpl: '{}'", "filename_tmpl: '{}x4'"))
    found = doctor(folder, "basicsr")
    assert found.fine and found.compared == found.pairs == 6


@pytest.mark.parametrize("to", ["kair", "liif"])
def test_both_sides_may_be_renamed_and_are_looked_at(
    copied: Callable[[str], Path], to: str
) -> None:
    folder = copied(to)
    for place in find_trainer(to).places:
        for number, path in enumerate(sorted((folder / place).iterdir()), 100):
            path.rename(path.with_name(f"{number}.png"))
    assert doctor(folder, to).fine
    first_lr(folder, find_trainer(to).places[1]).write_bytes(b"junk")
    assert set(doctor(folder, to).findings) == {"unreadable"}


def test_a_trifle_does_not_hide_that_half_is_missing(copied: Callable[[str], Path]) -> None:
    folder = copied("kair")
    for place in "HL":
        for path in sorted((folder / place).iterdir())[3:]:
            path.unlink()
    (folder / "L/notes.txt").write_text("none")
    (folder / "train_kair.json").write_text("{")
    found = doctor(folder, "kair").findings
    assert set(found) == {"export", "names", "options"}
    assert "3 of the 6 pairs" in found["export"].examples[0]
    assert "delete it and run the `export`" in found["options"].examples[0]


def test_pairs_of_somebody_else_are_looked_at_beside_ours(copied: Callable[[str], Path]) -> None:
    folder = copied("kair")
    for place in "HL":
        shutil.copy(sorted((folder / place).iterdir())[0], folder / place / "own.png")
    assert doctor(folder, "kair").fine
    (folder / "H/own.png").write_bytes(b"junk")
    assert set(doctor(folder, "kair").findings) == {"unreadable"}


def test_a_tar_beside_an_export_hides_nothing(copied: Callable[[str], Path]) -> None:
    folder = copied("kair")
    (folder / "backup.tar").touch()
    (folder / "H").rename(folder / "HR")
    (text,) = doctor(folder, "kair").findings["structure"].examples
    assert text == "H: no such folder; HR is there: rename it"


@pytest.mark.parametrize("to", ["basicsr", "neosr", "realesrgan", "kair", "edsr", "mmagic"])
def test_a_moved_export_is_one_finding(native: Path, tmp_path: Path, to: str) -> None:
    export(native, to, tmp_path / "a", scales=[2])
    (tmp_path / "a").rename(tmp_path / "b")
    found = doctor(tmp_path / "b", to).findings
    (text,) = found.pop("options").examples
    assert not found and "export again where the folder was moved" in text


def test_odd_lines_of_the_list_are_no_pairs_and_no_long_names(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("kair")
    lines = (folder / "pairs.jsonl").read_text()
    odd = '[]\n3\n{\n{"hr": 3}\n{"hr": "a", "lr": "b", "hr_size": [true, 2], "lr_size": [1, 1]}\n'
    (folder / "pairs.jsonl").write_text(odd + lines)
    assert doctor(folder, "kair").fine
    long = f'{{"hr": "{"a" * 90_000}", "lr": "b", "hr_size": [4, 4], "lr_size": [2, 2]}}\n'
    (folder / "pairs.jsonl").write_text(long + lines)
    (text,) = doctor(folder, "kair").findings["export"].examples
    assert "1 of the 7 pairs" in text and len(text) < 300


def test_what_was_taken_out_of_the_export_and_its_list_is_no_finding(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("edsr")
    for name in ("HR/0006.png", "LR_bicubic/X2/0006x2.png"):
        (folder / name).unlink()
    lines = (folder / "pairs.jsonl").read_text().splitlines()
    (folder / "pairs.jsonl").write_text("\n".join(lines[:5]))
    assert doctor(folder, "edsr").fine
    (folder / "HR/0005.png").unlink()
    (folder / "LR_bicubic/X2/0005x2.png").unlink()
    assert not doctor(folder, "edsr").fine
    (folder / "pairs.jsonl").unlink()
    assert doctor(folder, "edsr").fine


@pytest.mark.parametrize("to", ["basicsr", "kair", "edsr", "liif"])
def test_an_export_to_another_trainer_is_told_and_no_more(
    exported: Callable[[str], Path], to: str
) -> None:
    folder = exported("swinir" if to != "kair" else "basicsr")
    found = doctor(folder, to).findings
    (text,) = found.pop("pairs").examples
    assert not found and "it was made for" in text


def test_other_pictures_of_varied_sizes_are_told_by_their_content(
    copied: Callable[[str], Path],
) -> None:
    """Sizes that do not fit come of it: cropping would make wrong pairs that look right."""
    folder = copied("kair")
    a, b, *_ = sorted((folder / "L").iterdir())
    cv2.imwrite(str(a), cv2.imread(str(b))[:-3])
    found = doctor(folder, "kair").findings
    (text,) = found["content"].examples
    assert a.name in text and "ratio" in found


def test_a_list_of_an_lmdb_may_have_an_empty_line(native: Path, tmp_path: Path) -> None:
    export(native, "basicsr-lmdb", tmp_path, scales=[2], relative=True)
    with (tmp_path / "gt.lmdb/meta_info.txt").open("a") as file:
        file.write("\n")
    assert not doctor(tmp_path, "basicsr-lmdb").fine


def test_an_export_that_was_not_ended_is_told(copied: Callable[[str], Path]) -> None:
    folder = copied("kair")
    (folder / "export.json").unlink()
    for path in sorted((folder / "L").iterdir())[2:]:
        path.unlink()
    found = doctor(folder, "kair").findings
    (text,) = found.pop("unfinished").examples
    assert not found, "what is not there yet comes of it"
    assert "is an export that was not ended: run the `export` that made it again" in text


@pytest.mark.parametrize(
    "change, kind, said",
    [
        (lambda lr: lr[..., ::-1], "colour", "LR have the colours of HR in the order BGR in all"),
        (
            lambda lr: lr.mean(2, keepdims=True).repeat(3, 2),
            "grey",
            "LR have no colour in all",
        ),
        (lambda lr: 255 * (lr / 255.0) ** 1.6, "tone", "LR have the tones of HR with gamma 1.6"),
    ],
)
def test_what_all_lr_have_is_told_once(
    copied: Callable[[str], Path],
    change: Callable[[Any], Any],
    kind: str,
    said: str,
) -> None:
    folder = copied("kair")
    for path in (folder / find_trainer("kair").places[1]).iterdir():
        cv2.imwrite(str(path), change(cv2.imread(str(path))))
    texts = doctor(folder, "kair").findings[kind].examples
    assert len([text for text in texts if text.startswith(said)]) == 1
    assert len(texts) <= 2, "of one that is unlike the others"
