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
            "names",
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
    exported: Callable[[str], Path], tmp_path: Path, to: str, change: Change, kind: str, said: str
) -> None:
    folder = Path(shutil.copytree(exported(to), tmp_path / "copy"))
    assert doctor(folder, to).fine
    change(folder)
    found = doctor(folder, to).findings
    (text,) = found.pop(kind).examples
    assert not found and said in text


def test_other_pictures_of_varied_sizes_are_told_by_their_content(
    exported: Callable[[str], Path], tmp_path: Path
) -> None:
    """Sizes that do not fit come of it: cropping would make wrong pairs that look right."""
    folder = Path(shutil.copytree(exported("kair"), tmp_path / "copy"))
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


def test_an_export_that_was_not_ended_is_told(
    exported: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(exported("kair"), tmp_path / "copy"))
    (folder / "export.json").unlink()
    (text,) = doctor(folder, "kair").findings["unfinished"].examples
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
    exported: Callable[[str], Path],
    tmp_path: Path,
    change: Callable[[Any], Any],
    kind: str,
    said: str,
) -> None:
    folder = Path(shutil.copytree(exported("kair"), tmp_path / "copy"))
    for path in (folder / find_trainer("kair").places[1]).iterdir():
        cv2.imwrite(str(path), change(cv2.imread(str(path))))
    texts = doctor(folder, "kair").findings[kind].examples
    assert len([text for text in texts if text.startswith(said)]) == 1
    assert len(texts) <= 2, "of one that is unlike the others"
