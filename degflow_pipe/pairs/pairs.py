"""Aligned pictures of scenes at several levels, and seeded training crops of them."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from degflow_pipe import files
from degflow_pipe.errors import DataError
from degflow_pipe.metrics.blur import BLUR_SIDE
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pairs.sets import LAYOUTS, compile_pattern
from degflow_pipe.pairs.settings import DataSettings, PairLevel
from degflow_pipe.pictures.arrays import middle, shrunk
from degflow_pipe.pictures.photos import picture_size, read_photo

CACHE_BYTES = 2 * 1024**3
"""Decoded pictures kept in memory; what is past it is read again when it is drawn."""
KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Key = tuple[str, str, str]
"""Camera, split and scene, as they stand in the names; empty where a set has none."""

BLURS = (0.5, 0.8, 1.2, 1.8, 2.7, 4.0)
"""Sigmas in pixels of the blurs that tell which of two pictures is the sharper."""
SURE = 1.0
"""dB by which one has to be nearer."""


@dataclass(frozen=True)
class Scene:
    """One scene: its name and a file for each of `data.pair_levels`, HR first.

    Held-out levels may lack a file. `same`: further files that must show the HR picture.
    """

    name: str
    files: tuple[Path | None, ...]
    same: tuple[Path, ...] = ()

    @property
    def hr(self) -> Path:
        assert self.files[0] is not None  # find_scenes gives every scene an HR
        return self.files[0]


def find_scenes(
    data: DataSettings, root: Path, *, to_train: bool = True, to_test: bool = True
) -> tuple[list[Scene], list[Scene]]:
    """Match the level patterns below root; returns (training, validation) scenes sorted by name.

    A scene of the Test split, or one that data.validate names, is held out. to_train, to_test:
    whether scenes for training, and held-out ones, are needed. Raises DataError where there is no
    such folder, a level has no file, a scene lacks a knot (in sets that took every scene at every
    scale), or a split that is needed is empty.
    """
    if not files.is_folder(root):
        raise DataError(f"{root}: no such folder")
    levels = data.pair_levels
    found = [_find(level, level.lr, data, root) for level in levels[1:]]
    # Sets with an HR beside each LR name the HR of a scene more than once: the first serves.
    hr = [_find(level, level.hr, data, root) for level in levels[1:]]
    copies: dict[Key, list[Path]] = {}
    for paths in hr:
        for key, path in paths.items():
            known = copies.setdefault(key, [])
            known += [] if path in known else [path]
    found.insert(0, {key: paths[0] for key, paths in copies.items()})
    for level, paths in zip(levels, found, strict=True):
        if not paths:
            pattern, _ = compile_pattern(level.lr if level.t else levels[1].hr, level.spelled)
            raise DataError(
                f"no file matches {pattern!r} (level {level.name}) below {root}: name another "
                f"folder, or a training recipe as `recipe` whose data says how these pairs lie"
            )
    partial = data.set != "generic" and LAYOUTS[data.set].partial
    train: list[Scene] = []
    held_out: list[Scene] = []
    for key in sorted(set().union(*found)):
        mine = [paths.get(key) for paths in found]
        test = key[1] == "Test" or is_named(key[2], data.validate)
        lacking = [
            level.name
            for level, path in zip(levels, mine, strict=True)
            if path is None and not (level.held_out or (partial and test and level.t > 0))
        ]
        if lacking and not partial:
            raise DataError(
                f"scene {_name(key)} has no file for level {lacking[0]} below {root}: add it, or "
                f"take the scene's other files out"
            )
        if lacking or all(path is None for path in mine[1:]):
            continue
        (held_out if test else train).append(Scene(_name(key), tuple(mine), tuple(copies[key][1:])))
    if (to_test and not held_out) or (to_train and not train):
        raise DataError(
            f"data.validate = {data.validate!r} leaves {len(train)} scenes for training and "
            f"{len(held_out)} for validation; both need one at least"
        )
    return train, held_out


def _find(level: PairLevel, pattern: str, data: DataSettings, root: Path) -> dict[Key, Path]:
    """Files of one level by camera, split and scene."""
    glob, expression = compile_pattern(pattern, level.spelled)
    found: dict[Key, Path] = {}
    for path in files.matches(glob, root):
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if not match:
            continue
        groups = match.groupdict()
        camera, split = groups.get("camera") or "", groups.get("split") or ""
        if data.cameras and camera not in data.cameras:
            continue
        key = (camera, split, groups["scene"])
        if key in found:
            raise DataError(f"{found[key]} and {path} are both level {level.name} of one scene")
        found[key] = path
    return found


def _name(key: Key) -> str:
    camera, _, scene = key
    return scene if not camera or scene.startswith(camera) else f"{camera}/{scene}"


def is_named(name: str, spec: str) -> bool:
    """Whether a scene's name is in a list of names and ranges of numbers such as `061-070`."""
    for item in (part.strip() for part in spec.split(",")):
        if name == item:
            return True
        bounds = re.fullmatch(r"(\d+)-(\d+)", item)
        if bounds and name.isdigit() and int(bounds[1]) <= int(name) <= int(bounds[2]):
            return True
    return False


class Pairs:
    """Pictures of scenes, decoded once and kept while they fit in CACHE_BYTES."""

    def __init__(self, scenes: list[Scene], data: DataSettings) -> None:
        self.scenes, self.data = scenes, data
        self.levels = data.pair_levels
        self._knots = [i for i, level in enumerate(self.levels) if not level.held_out]
        self._cache: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._bytes = 0

    def fingerprint(self) -> list[list[Any]]:
        """Names and sizes in bytes of all files, which tell other data apart without reading."""
        return [
            [scene.name, *((path.name, files.size(path)) for path in scene.files if path)]
            for scene in self.scenes
        ]

    def pictures(self, scene: Scene) -> list[np.ndarray | None]:
        """All levels of one scene, HR first, each (H, W, 3) uint8; None where there is no file.

        Raises DataError where the sizes of the levels differ and are not to be brought to one.
        """
        if scene.hr not in self._cache:
            self._check_headers(scene)
        hr = self._picture(scene.hr)
        others = zip(scene.files[1:], self.levels[1:], strict=True)
        return [
            hr,
            *(
                None if path is None else self._level(path, level, scene.hr, hr)
                for path, level in others
            ),
        ]

    def pair_at(self, scene: Scene, place: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """HR and the LR of one level, whose sides are 1 / scale of it: (H, W, 3) uint8 both.

        LR of that size are as they are stored, those as large as HR are shrunk; HR is cropped to a
        multiple of the scale. Raises DataError for any other size.
        """
        path = scene.files[place]
        assert path is not None
        hr, lr = self._picture(scene.hr), read_photo(path).pixels
        small = hr.shape[0] // scale, hr.shape[1] // scale
        hr_cut = hr[: small[0] * scale, : small[1] * scale]
        if scale > 1 and lr.shape == hr.shape:
            return hr_cut, shrunk(lr[: hr_cut.shape[0], : hr_cut.shape[1]], small)
        if lr.shape[:2] != small:
            raise DataError(
                f"{path} is {_size(lr)}, its HR {scene.hr} is {_size(hr)}: not 1/{scale} of it: "
                f"choose the factor of the pairs, or take this one out"
            )
        return hr_cut, lr

    def scale_at(self, scene: Scene, place: int) -> int:
        """How many times the LR of a level the HR is, by their headers; 1 for no whole number."""
        path = scene.files[place]
        assert path is not None
        (height, width), (h, w) = picture_size(scene.hr), picture_size(path)
        ratio = height // h
        return ratio if ratio and (h, w) == (height // ratio, width // ratio) else 1

    def _check_headers(self, scene: Scene) -> None:
        """Raises DataError for sizes that cannot be a pair's before either picture is decoded: a
        file of a few kilobytes can hold one that fills the memory.
        """
        hr = picture_size(scene.hr)
        for path in filter(None, scene.files[1:]):
            lr = picture_size(path)
            # As stored: a turn by the camera's mark leaves the longer side the longer one.
            one_size = sorted(lr) == sorted(hr)
            if max(lr) > max(hr) or (self.data.enlarge_by == "refuse" and not one_size):
                raise _unlike(path, lr, scene.hr, hr)

    def _level(self, path: Path, level: PairLevel, hr_path: Path, hr: np.ndarray) -> np.ndarray:
        picture = self._picture(path)
        if picture.shape == hr.shape:
            return picture
        kernel = self.data.enlarge_by
        if kernel == "refuse":
            raise _unlike(path, picture.shape[:2], hr_path, hr.shape[:2])
        sizes = f"{path} is {_size(picture)}, its HR {hr_path} is {_size(hr)}"
        (height, width), (h, w) = hr.shape[:2], picture.shape[:2]
        ratio = height / h
        if ratio < 1 or abs(width - ratio * w) > max(ratio, 1):
            raise DataError(f"{sizes}: their shapes differ")
        scale = self.data.scale_of_t(level.t)
        if self.data.set != "generic" and abs(height - scale * h) > scale:
            raise DataError(f"{sizes}: not the scale {scale:g} of its level {level.name}")
        large = Image.fromarray(picture).resize((width, height), KERNELS[kernel])
        return self._keep(path, np.asarray(large))

    def _picture(self, path: Path) -> np.ndarray:
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        return self._keep(path, read_photo(path).pixels)

    def _keep(self, path: Path, picture: np.ndarray) -> np.ndarray:
        self._bytes += picture.nbytes - (self._cache[path].nbytes if path in self._cache else 0)
        self._cache[path] = picture
        while self._bytes > CACHE_BYTES and len(self._cache) > 1:
            self._bytes -= self._cache.popitem(last=False)[1].nbytes
        return picture

    def check(self, scene: Scene, patch: int = 0) -> None:
        """Read a scene at all levels. Raises DataError, or PhotoError, naming the file at fault.

        patch: the side in pixels that is needed at least. An LR that lies off its HR by more than
        data.max_shift pixels, by phase correlation of the whole pictures, is at fault, and so is
        one of something else.
        """
        pictures = self.pictures(scene)
        hr = pictures[0]
        assert hr is not None
        if min(hr.shape[:2]) < patch:
            raise DataError(f"{scene.hr} is {_size(hr)}: {patch} pixels on a side are needed")
        for path in scene.same:
            if not np.array_equal(self._picture(path), hr):
                raise DataError(
                    f"{path} is not the picture of {scene.hr}: a scene's levels need one HR; take "
                    f"one scale of this set"
                )
        for file, picture in zip(scene.files[1:], pictures[1:], strict=True):
            if picture is None:
                continue
            if (shift := _shift(hr, picture)) > self.data.max_shift:
                raise DataError(
                    f"{file} lies {shift:.1f} pixels off its HR {scene.hr}: align the pair, or "
                    f"raise data.max_shift ({self.data.max_shift:g})"
                )
            if is_sharper(picture, hr):
                raise DataError(
                    f"{file} is sharper than its HR {scene.hr}, which is nearly a blur of it: are "
                    f"their names swapped?"
                )
            if not _alike(hr, picture):
                raise DataError(
                    f"{file} does not show what its HR {scene.hr} shows, or not in the same "
                    f"place: pair it with its own HR"
                )

    def crops(
        self, rng: np.random.Generator, count: int, patch: int, part: slice = slice(None)
    ) -> Tensor:
        """Random crops, flipped and turned alike at all knots.

        Returns (K, count, 3, patch, patch) float32 in [-1, 1], level HR first; of those, only the
        samples of `part` are read and returned. Raises DataError where a scene is smaller than the
        patch.
        """
        draws = []
        for _ in range(count):
            scene = self.scenes[rng.integers(len(self.scenes))]
            draws.append((scene, rng.random(2), bool(rng.integers(2)), int(rng.integers(4))))
        batch = []
        for scene, place, flip, turns in draws[part]:
            stack = self.pictures(scene)
            hr = stack[0]
            assert hr is not None
            height, width = hr.shape[:2]
            if min(height, width) < patch:
                raise DataError(f"{scene.hr} is {_size(hr)}: {patch} pixels on a side are needed")
            y, x = (int(v) for v in place * [height - patch + 1, width - patch + 1])
            knots = [stack[i] for i in self._knots]
            crops = np.stack([p[y : y + patch, x : x + patch] for p in knots if p is not None])
            crops = np.rot90(crops[:, :, ::-1] if flip else crops, turns, axes=(1, 2))
            batch.append(np.ascontiguousarray(crops))
        tensor = torch.from_numpy(np.stack(batch, axis=1)).permute(0, 1, 4, 2, 3)
        return tensor.float().div(127.5).sub(1.0)


def _shift(hr: np.ndarray, lr: np.ndarray) -> float:
    """Distance in pixels between two pictures by phase correlation of their luma.

    0 where they have nothing in common to tell it by.
    """
    luma = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in (hr, lr)]
    # Detail that only HR has would tell nothing, so both are blurred.
    a, b = (cv2.GaussianBlur(picture, (0, 0), 2.0) for picture in luma)
    window = cv2.createHanningWindow((a.shape[1], a.shape[0]), cv2.CV_32F)
    (dx, dy), response = cv2.phaseCorrelate(a, b, window)
    return float(np.hypot(dx, dy)) if response > 0.05 else 0.0


def _alike(hr: np.ndarray, lr: np.ndarray) -> bool:
    """Whether the coarse detail of two pictures goes together, or HR has none to tell by.

    In City100 it correlates at 0.98 and more in every pair, at 0.10 and less across pairs.
    """
    a, b = (_detail(picture) for picture in (hr, lr))
    if a.std() < 1.0:
        return True
    return bool(b.std() > 0 and np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.5)


def is_sharper(lr: np.ndarray, hr: np.ndarray) -> bool:
    """Whether blurring LR gives HR, rather than blurring HR gives LR; (H, W, 3) uint8 of one shape.

    In the pairs of City100, RealSR and DRealSR a blur of HR is 3 dB and more nearer to LR than a
    blur of LR to HR, whatever the noise of LR.
    """
    lr, hr = middle(lr, BLUR_SIDE), middle(hr, BLUR_SIDE)

    def nearest(sharp: np.ndarray, soft: np.ndarray) -> float:
        blurs = (cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in BLURS)
        return max(psnr(blurred, soft) for blurred in blurs)

    return nearest(lr, hr) > nearest(hr, lr) + SURE


def _detail(picture: np.ndarray) -> np.ndarray:
    """Luma between 2 and 16 pixels of size, in grey levels: (H, W) float32."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.GaussianBlur(luma, (0, 0), 2.0) - cv2.GaussianBlur(luma, (0, 0), 16.0)


def _unlike(path: Path, lr: tuple[int, ...], hr_path: Path, hr: tuple[int, ...]) -> DataError:
    """lr, hr: heights and widths."""
    return DataError(
        f"{path} is {lr[1]} x {lr[0]}, its HR {hr_path} is {hr[1]} x {hr[0]}: pairs must have one "
        f"size, or LR a smaller one and data.enlarge says a kernel"
    )


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
