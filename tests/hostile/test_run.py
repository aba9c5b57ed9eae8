"""A sample of the hostile cases: some of every kind of artefact, each through a real command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CASES = 30
"""Two of each kind of artefact; the script runs a thousand."""


def test_a_sample_is_refused_or_harmless(tmp_path: Path) -> None:
    log = tmp_path / "cases.jsonl"
    script = Path(__file__).with_name("run.py")
    options = ["--cases", CASES, "--seed", 1, "--jobs", 1, "--log", log]
    done = subprocess.run(
        [sys.executable, script, *map(str, options)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(verdicts) == CASES
    assert len({verdict["case"]["artefact"] for verdict in verdicts}) == 15
    assert sum(verdict["code"] in (1, 2) for verdict in verdicts) > CASES / 2
