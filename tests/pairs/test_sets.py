"""The layouts of the known sets of pairs: what is found, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.pairs.pairs import Pairs, find_scenes
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.recipes import load_recipe
from degflow_pipe.shipped import folder
from degflow_pipe.training.recipe import train_recipe

HR = np.ascontiguousarray(photos.astronaut()[40:160, 160:280])
SIDE = len(HR)


def lr(scale: float, smaller: bool, shift: int = 0) -> np.ndarray:
    blurred = np.roll(cv2.GaussianBlur(HR, (0, 0), 0.5 * scale), shift, axis=1)
    side = round(SIDE / scale)
    return cv2.resize(blurred, (side, side), interpolation=cv2.INTER_AREA) if smaller else blurred


def put(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def realsr_v2(root: Path, scene: str, scale: float, split: str) -> None:
    folder = root / "Canon" / split
    put(folder / "2" / f"Canon_{scene}_HR.png", HR)
    put(folder / f"{scale:g}" / f"Canon_{scene}_LR{scale:g}.png", lr(scale, False))


def realsr_v3(root: Path, scene: str, scale: float, split: str) -> None:
    folder = root / "Nikon" / split / f"{scale:g}"
    put(folder / f"Nikon_{scene}_HR.png", HR)
    put(folder / f"Nikon_{scene}_LR{scale:g}.png", lr(scale, True))


def drealsr(root: Path, scene: str, scale: float, split: str) -> None:
    folder = root / f"{split}_x{scale:g}"
    put(folder / f"{split.lower()}_HR" / f"DSC_{scene}_x1.png", HR)
    put(folder / f"{split.lower()}_LR" / f"DSC_{scene}_x{scale:g}.png", lr(scale, True))


def realarbisr(root: Path, scene: str, scale: float, split: str) -> None:
    spelled = f"{scale:g}".replace(".", "dot")
    put(root / split / f"HR{spelled}" / f"{scene}.png", HR)
    put(root / split / f"LR{spelled}" / f"{scene}.png", lr(scale, True))


def interflow(root: Path, scene: str, scale: float, split: str) -> None:
    put(root / split / "scale_1.0" / f"Canon_{scene}_HR.png", HR)
    put(root / split / f"scale_{scale:.1f}" / f"Canon_{scene}_HR.png", lr(scale, False))


WRITERS = {
    "realsr-v2": (realsr_v2, [2, 4], [3]),
    "realsr-v3": (realsr_v3, [2, 4], [3]),
    "drealsr": (drealsr, [2, 4], [3]),
    "realarbisr": (realarbisr, [1.5, 4], [2.5]),
    "interflow": (interflow, [1.5, 4], [2.1]),
}


def settings(name: str, **changes: Any) -> DataSettings:
    values: dict[str, Any] = {"s_max": 4.0, "source": "", "licence": "", "set": name}
    if name in WRITERS:
        _, values["scales"], values["held_out_scales"] = WRITERS[name]
    return DataSettings(**{**values, **changes})


def tree(root: Path, name: str) -> None:
    writer, scales, held_out = WRITERS[name]
    for split, scenes in (("Train", ("001", "002")), ("Test", ("003",))):
        for scene in scenes:
            for scale in (*scales, *held_out):
                writer(root, scene, scale, split)


@pytest.mark.parametrize("name", WRITERS)
def test_a_set_is_found_with_its_splits_and_its_levels(name: str, tmp_path: Path) -> None:
    tree(tmp_path, name)
    data = settings(name)
    train, held_out = find_scenes(data, tmp_path)
    assert [scene.name[-3:] for scene in train] == ["001", "002"]
    assert [scene.name[-3:] for scene in held_out] == ["003"]
    _, scales, unseen = WRITERS[name]
    expected = sorted([1.0, *scales, *unseen])
    assert [level.t for level in data.pair_levels] == pytest.approx([(s - 1) / 3 for s in expected])
    assert [level.held_out for level in data.pair_levels] == [s in unseen for s in expected]
    pairs = Pairs(held_out, data)
    pairs.check(held_out[0])
    hr, *others = pairs.pictures(held_out[0])
    assert np.array_equal(hr, HR)
    errors = [float(np.mean((picture.astype(float) - HR) ** 2)) for picture in others]
    assert errors == sorted(errors) and errors[0] > 0  # each at its own level
    assert Pairs(train, data).crops(np.random.default_rng(0), 2, 64).shape == (3, 2, 3, 64, 64)


def test_interflow_without_splits(tmp_path: Path) -> None:
    for scene in ("001", "002"):
        for scale in (1.5, 4, 2.1):
            interflow(tmp_path, scene, scale, "")
    train, held_out = find_scenes(settings("interflow", validate="Canon_002"), tmp_path)
    assert [scene.name for scene in train + held_out] == ["Canon_001", "Canon_002"]


def test_city100_has_one_level_a_camera(tmp_path: Path) -> None:
    for camera in ("nikon", "iphone"):
        for scene in ("001", "061"):
            put(tmp_path / camera / f"{scene}_hr.webp", HR)
            put(tmp_path / camera / f"{scene}_lr.webp", lr(3, False))
    data = settings("city100", validate="061-070", cameras=["nikon"])
    train, held_out = find_scenes(data, tmp_path)
    assert [scene.name for scene in train + held_out] == ["nikon/001", "nikon/061"]
    assert [(level.name, level.t) for level in data.pair_levels] == [("HR", 0.0), ("LR", 1.0)]


def test_a_scene_without_a_knot_is_named_and_one_without_a_held_out_level_is_not(
    tmp_path: Path,
) -> None:
    tree(tmp_path, "realsr-v2")
    (tmp_path / "Canon/Test/3/Canon_003_LR3.png").unlink()
    (tmp_path / "Canon/Train/3/Canon_002_LR3.png").unlink()
    _, held_out = find_scenes(settings("realsr-v2"), tmp_path)
    assert held_out[0].files[2] is None
    (tmp_path / "Canon/Train/4/Canon_002_LR4.png").unlink()
    with pytest.raises(DataError, match="scene Canon_002 has no file for level x4"):
        find_scenes(settings("realsr-v2"), tmp_path)


def test_scenes_that_a_set_took_at_some_scales_only_are_left_out(tmp_path: Path) -> None:
    tree(tmp_path, "realsr-v3")
    realsr_v3(tmp_path, "004", 2, "Train")
    train, _ = find_scenes(settings("realsr-v3"), tmp_path)
    assert [scene.name for scene in train] == ["Nikon_001", "Nikon_002"]


def test_two_hr_of_one_scene_must_be_one_picture(tmp_path: Path) -> None:
    tree(tmp_path, "realsr-v3")
    data = settings("realsr-v3")
    path = tmp_path / "Nikon/Train/4/Nikon_001_HR.png"
    put(path, np.roll(HR, 9, axis=0))
    train, _ = find_scenes(data, tmp_path)
    with pytest.raises(DataError, match=r"4/Nikon_001_HR\.png is not the picture of .*2/Nikon"):
        Pairs(train, data).check(train[0])


def test_a_misaligned_pair_is_named_with_its_distance(tmp_path: Path) -> None:
    tree(tmp_path, "realsr-v2")
    path = tmp_path / "Canon/Train/4/Canon_002_LR4.png"
    put(path, lr(4, False, shift=6))
    data = settings("realsr-v2")
    train, _ = find_scenes(data, tmp_path)
    Pairs(train, data).check(train[0])
    with pytest.raises(DataError, match=r"Canon_002_LR4\.png lies [56]\.\d pixels off its HR"):
        Pairs(train, data).check(train[1])
    Pairs(train, settings("realsr-v2", max_shift=10.0)).check(train[1])


def test_a_small_lr_is_enlarged_only_by_a_kernel_that_is_said(tmp_path: Path) -> None:
    tree(tmp_path, "realarbisr")
    found = {}
    for kernel in ("", "bicubic", "nearest"):
        data = settings("realarbisr", enlarge=kernel)
        scene = find_scenes(data, tmp_path)[1][0]
        found[kernel] = Pairs([scene], data).pictures(scene)[-1]
    assert np.array_equal(found[""], found["bicubic"])
    small = lr(4, True)
    assert np.array_equal(found["nearest"], small.repeat(4, 0).repeat(4, 1))
    data = settings("realarbisr", enlarge="refuse")
    with pytest.raises(DataError, match=r"is 80 x 80, its HR .* is 120 x 120"):
        Pairs([scene], data).pictures(scene)


def test_an_lr_of_another_scale_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, "realarbisr")
    put(tmp_path / "Test/LR4/003.png", lr(2, True))
    data = settings("realarbisr")
    scene = find_scenes(data, tmp_path)[1][0]
    with pytest.raises(DataError, match=r"LR4/003\.png is 60 x 60.*not the scale 4 of its level"):
        Pairs([scene], data).check(scene)


def test_a_picture_of_another_shape_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, "realarbisr")
    put(tmp_path / "Test/LR4/003.png", lr(4, True)[:20])
    data = settings("realarbisr")
    scene = find_scenes(data, tmp_path)[1][0]
    with pytest.raises(DataError, match=r"LR4/003\.png is 30 x 20.*shapes differ"):
        Pairs([scene], data).check(scene)


@pytest.mark.parametrize(
    "name, changes, reason",
    [
        ("realsr", {}, "`set` must be generic or one of realsr-v2"),
        ("realsr-v2", {"scales": []}, r"realsr-v2` needs `scales`"),
        ("realsr-v2", {"scales": [5]}, r"`scales` must be in \(1, s_max\], got 5"),
        ("realsr-v2", {"held_out_scales": [2]}, "different names, got HR, x2, x2, x4"),
        ("realsr-v2", {"scales": [2, 2]}, "rise strictly"),
        ("realsr-v2", {"enlarge": "sinc"}, r"`enlarge` must be one of"),
        ("city100", {"scales": [2]}, r"city100` takes no `scales`"),
        ("generic", {"levels": [], "scales": [2]}, r"generic` needs `levels`"),
        ("realsr-v2", {"max_shift": 0.0}, r"`max_shift` must be above 0"),
    ],
)
def test_wrong_data_settings_name_the_key(name: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        settings(name, **changes)


@pytest.mark.parametrize("name", WRITERS)
def test_an_empty_folder_names_the_files_it_lacks(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file matches '.*' \(level HR\) below"):
        find_scenes(settings(name), tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find_scenes(settings(name), tmp_path / "nowhere")


@pytest.mark.parametrize("ending", ["png", "webp", "PNG"])
def test_the_recipe_of_crops_in_one_folder_finds_them_in_any_format(
    tmp_path: Path, ending: str
) -> None:
    data = train_recipe(load_recipe("train-realsr-crops", "train")).data
    for scene in ("001", "033"):
        put(tmp_path / f"Canon_{scene}_HR.{ending}", HR)
        put(tmp_path / f"Canon_{scene}_LR4.{ending}", lr(4, True))
    (tmp_path / "Canon_002_HR.txt").write_text("no picture")
    train, test = find_scenes(data, tmp_path)
    assert [[scene.name for scene in part] for part in (train, test)] == [["001"], ["033"]]
    Pairs(train, data).check(train[0])


@pytest.mark.parametrize("path", sorted(folder("pipelines").glob("train-*.yaml")), ids=str)
def test_every_training_recipe_names_files_that_can_be_looked_for(path: Path) -> None:
    assert len(train_recipe(load_recipe(str(path), "train")).data.pair_levels) >= 2


@pytest.mark.parametrize("files", ["a_HR.png", "*/*_HR.png", "*_*.*", "{x}*.png", "/a*.png"])
def test_a_pattern_that_is_none_is_refused(files: str) -> None:
    levels = [
        {"name": "HR", "t": 0.0, "files": files},
        {"name": "LR", "t": 1.0, "files": "*_LR.png"},
    ]
    with pytest.raises(UsageError, match=r"files` of HR must be a path"):
        _ = DataSettings(levels=levels, s_max=4.0, source="ours", licence="ours").pair_levels
