"""What the doctor finds of single pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

READ = """
import sys
from pathlib import Path
from degflow_pipe.errors import PhotoError
from degflow_pipe.exports.findings import Picture
try:
    Picture("junk.png", Path(sys.argv[1]).read_bytes, Path(sys.argv[1])).header(turns=False)
except PhotoError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "data, said",
    [
        (b"not a picture at all\n" * 50, "junk.png: not a "),
        (b"", "junk.png: empty, 0 bytes"),
    ],
)
def test_a_picture_that_is_none_is_told_so_by_the_first_that_is_read(
    tmp_path: Path, data: bytes, said: str
) -> None:
    """In a process of its own: whether HEIC can be opened is of the whole process."""
    (tmp_path / "junk.png").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "junk.png")], capture_output=True, text=True
    )
    assert done.stdout.startswith(said), done
