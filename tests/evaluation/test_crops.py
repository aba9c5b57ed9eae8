"""Which scenes' pictures are kept, and that no name leads out of the folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from degflow_pipe.evaluation.crops import ENDS, FOLDER, HR, Crops, path_of


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40))
def test_the_scenes_at_both_ends_are_kept(ranks: list[int]) -> None:
    crops, hr = Crops(), np.zeros((8, 8, 3), np.uint8)
    for number, rank in enumerate(ranks):
        crop = crops.begin(f"scene {number}", hr)
        crop.add("LR", float(rank), {"real": hr, "other": hr})
        crops.add(crop)
    found = crops.by_scene(written=True)
    assert [of.psnr["LR"] for of in found] == ranks
    kept = {number for number, of in enumerate(found) if of.crop}
    order = sorted(range(len(ranks)), key=lambda number: (ranks[number], number))
    assert kept == {*order[:ENDS], *order[-ENDS:]}
    assert not any(of.crop for of in crops.by_scene(written=False))


@given(st.text(), st.text())
def test_a_crop_lies_in_its_folder_whatever_it_is_called(scene: str, level: str) -> None:
    path = path_of(Path("out"), 2, scene, level, "real")
    assert path.parent == Path("out", FOLDER) and path.name.startswith("03_")
    assert path.name.isascii() and "/" not in path.name and len(path.name) < 200


def test_what_is_written_of_a_scene(tmp_path: Path) -> None:
    crops, hr = Crops(), np.zeros((300, 300, 3), np.uint8)
    crop = crops.begin("nikon/063", hr)
    crop.add("x2.9", 30.0, {"real": hr, "generated": hr, "bicubic": hr})
    crops.add(crop)
    crops.write(tmp_path)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == [
        f"01_nikon_063_{HR}.webp",
        "01_nikon_063_x2.9_generated.webp",
        "01_nikon_063_x2.9_real.webp",
    ]
