"""BasicSR's own PairedImageDataset on what `export` writes; CONTRIBUTING.md says how to have it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from degflow_pipe import export

PYTHON = os.environ.get("DEGFLOW_BASICSR_PYTHON", "")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="DEGFLOW_BASICSR_PYTHON names no Python that has basicsr: CONTRIBUTING.md"
)
# The folder is the working one, as the option file's paths are relative. Whole pictures, not
# turned, so that they can be compared; all else is as the option file says.
READ = """
import sys
import numpy, torchvision.transforms.functional, yaml
# Newer versions of torchvision have it under this name alone.
sys.modules["torchvision.transforms.functional_tensor"] = torchvision.transforms.functional
from basicsr.data.paired_image_dataset import PairedImageDataset

whole, found = yaml.safe_load(open("train_basicsr.yml")), {}
options = whole["datasets"]["train"]
options.update(phase="train", scale=whole["scale"], use_hflip=False, use_rot=False)
options["gt_size"] = int(sys.argv[1])
pairs = PairedImageDataset(options)
for i in range(len(pairs)):
    pair = pairs[i]
    found[f"name{i}"] = numpy.array([pair["gt_path"], pair["lq_path"]])
    found[f"gt{i}"], found[f"lq{i}"] = pair["gt"].numpy(), pair["lq"].numpy()
numpy.savez(sys.argv[2], **found)
"""


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("to", ["basicsr", "basicsr-lmdb"])
def test_its_own_class_yields_the_pairs(shards: Path, tmp_path: Path, to: str, scale: int) -> None:
    export(shards, to, tmp_path / "out", scale=scale)
    # The pictures as files, whose bytes the exports share.
    export(shards, "basicsr", tmp_path / "files", scale=scale)
    rows = [json.loads(row) for row in (tmp_path / "files/pairs.jsonl").read_text().splitlines()]
    side, found = rows[0]["hr_size"][0], tmp_path / "found.npz"
    command = [PYTHON, "-c", READ, str(side), str(found)]
    subprocess.run(command, cwd=tmp_path / "out", check=True)

    with np.load(found) as pairs:
        assert len(pairs) == 3 * len(rows)
        by_name = {Path(row["hr"]).stem: row for row in rows}
        for i in range(len(rows)):
            names = {Path(name).name.partition(".")[0] for name in pairs[f"name{i}"].tolist()}
            row = by_name.pop(*names)
            for ours, theirs in (("hr", "gt"), ("lr", "lq")):
                picture = cv2.imread(str(tmp_path / "files" / row[ours]))[..., ::-1]
                yielded = np.rint(255 * pairs[f"{theirs}{i}"].transpose(1, 2, 0))
                assert np.array_equal(yielded, picture)
    assert not by_name, "every pair once"
