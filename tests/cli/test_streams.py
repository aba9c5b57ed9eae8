"""Standard output and error that are closed, full, or read by nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def run(environment: dict[str, str], words: list[str], cwd: Path, **streams: object) -> object:
    command = [sys.executable, "-m", "degflow_pipe", *words]
    return subprocess.run(command, cwd=cwd, env=environment, timeout=120, **streams)  # type: ignore[call-overload]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["info", "city100-compact"], ["--help"], ["info", "tiny"]])
def test_full_output_is_told_in_a_line(
    words: list[str], environment: dict[str, str], tiny: str, tmp_path: Path
) -> None:
    words = [tiny if word == "tiny" else word for word in words]
    with open("/dev/full", "w") as full:
        done = run(environment, words, tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: standard output: cannot write: No space left on device\n"


def test_a_reader_that_goes_is_no_error(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "degflow_pipe", "info", "city100-compact", "--json"]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipe)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait(timeout=120)
    process.stderr.close()


@pytest.mark.parametrize("closed", [(1,), (0, 1), (2,), (0, 1, 2)])
def test_closed_streams_change_no_output(
    closed: tuple[int, ...],
    environment: dict[str, str],
    tiny: str,
    photo_folder: Path,
    tmp_path: Path,
    degflow: Callable[..., object],
) -> None:
    """What is opened next must not take their numbers, or prints would go into a file of ours."""

    def close() -> None:
        for number in closed:
            os.close(number)

    words = ["ingest", str(photo_folder), "--checkpoint", tiny, "--patch", "64"]
    done = run(environment, words, tmp_path, preexec_fn=close)
    assert done.returncode == 0
    degflow("verify", "degflow.zarr", cwd=tmp_path)
