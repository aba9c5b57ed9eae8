"""Names of photos that mean something to a console, on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pty = pytest.importorskip("pty", reason="no terminals of this kind here")

_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(words: list[str], folder: Path) -> tuple[int, str]:
    """Exit code, and what a terminal shows, without styles and the breaks of lines."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "400", "LINES": "50"}
    command = [sys.executable, "-m", "degflow_pipe", *words]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=env
    ) as running:
        os.close(theirs)
        shown = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # the terminal's other end is closed
                break
            if not block:
                break
            shown += block
    os.close(ours)
    return running.returncode, _STYLE.sub("", shown.decode(errors="replace"))


def test_markup_in_names_is_shown_as_it_is(tiny: str, photo_folder: Path, tmp_path: Path) -> None:
    """In the summary, which names skipped photos, and in an error."""
    photos = tmp_path / "photos [red]"
    (photos / "[").mkdir(parents=True)
    shutil.copy(photo_folder / "astronaut.png", photos / "[bold]whole[not bold].png")
    (photos / "[" / "x].png").write_bytes(b"no picture")
    (photos / "[link=x]y.png").write_bytes(b"no picture")
    asked = ["ingest", photos.name, "--patch", "64", "--checkpoint", tiny, "--store", "[i]s.zarr"]
    code, shown = on_terminal(asked, tmp_path)
    assert code == 0 and "Traceback" not in shown, shown
    assert "2: not a PNG" in shown, shown
    for name in ("[/x].png", "[link=x]y.png"):
        assert name in shown, shown
    assert "[i]s.zarr" in shown
    code, shown = on_terminal(["preview", "photos [red]/[/x].png", "--checkpoint", tiny], tmp_path)
    assert code == 1 and "Traceback" not in shown, shown
    assert "error: photos [red]/[/x].png: " in shown
    for words in (["info", "[i]s.zarr"], ["info", "[/none]"], ["verify", "[i]s.zarr"]):
        code, shown = on_terminal(words, tmp_path)
        assert "Traceback" not in shown and (code == 0) == (words[1] == "[i]s.zarr"), shown
        assert ("[link=x]y.png" in shown) == (words == ["info", "[i]s.zarr"])
