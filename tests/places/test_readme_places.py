"""What the README says of a cluster and a bucket, as a newcomer would run it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from degflow_pipe import SRPairs, files
from degflow_pipe.cli.app import app
from degflow_pipe.places import Remote

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
HEADING = "## One machine, several GPUs, a cluster, a bucket\n"
SECTION = README.split(HEADING)[1].split("\n## ")[0]
LINES = [
    line
    for block in re.findall(r"^```\n(.*?)^```", SECTION, re.M | re.S)
    for line in block.splitlines()
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one but for PHOTOS, a small photo."""
    (tmp_path / "PHOTOS").mkdir()
    Image.fromarray(data.astronaut()[:256, 100:356].copy()).save(tmp_path / "PHOTOS" / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_line_is_run_here() -> None:
    assert len(SECTION.splitlines()) <= 36
    installs = [line for line in LINES if line.startswith("pip install ")]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert installs == ['pip install ".[ray]"', "pip install s3fs"] and "ray" in extras
    rest = [line for line in LINES if line not in installs]
    assert [line for line in rest if "BUCKET" not in line] == [
        "degflow-pipe generate --t-grid 0.1:1.0:0.05 --engine ray --device cuda --num-gpus 0.5",
        "ray start --head --port 6379",
        "RAY_ADDRESS=127.0.0.1:6379 degflow-pipe run quickstart PHOTOS --engine ray --workers 2",
    ]
    assert len([line for line in rest if "BUCKET" in line]) == 4


def test_in_a_bucket(bucket: Remote, folder: Path) -> None:
    files.write_bytes(bucket / "photos" / "a.png", (folder / "PHOTOS" / "a.png").read_bytes())
    for line in LINES:
        if "BUCKET" in line:
            words = shlex.split(line.replace("s3://BUCKET", bucket.url))[1:]
            done = CliRunner().invoke(app, words, catch_exceptions=False)
            assert done.exit_code == 0, f"{line}\n{done.output}"
    assert len(SRPairs(f"{bucket.url}/shards")) == 1
    assert files.names(bucket / "basicsr", ".yml")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster, as `ray start` makes one; `ray stop` would end others' too."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'degflow-pipe[ray]'")
    from ray.cluster_utils import Cluster

    path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    monkeypatch.setenv("PYTHONPATH", path)  # of what the node starts
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    yield made.address
    made.shutdown()


def test_on_a_cluster(cluster: str, folder: Path) -> None:
    """As the README's lines, but for GPUs, which only some machines have."""
    run, generate = (next(line for line in LINES if word in line) for word in ("RAY_AD", "cuda"))
    address, _, *words = shlex.split(run)
    generated = shlex.split(generate.replace("--device cuda --num-gpus 0.5", "--device cpu"))[1:]
    environment = {**os.environ, address.partition("=")[0]: cluster}
    for args in (words, generated):
        done = subprocess.run(
            [sys.executable, "-m", "degflow_pipe", *args],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(SRPairs("shards")) == 19
