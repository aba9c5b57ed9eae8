"""The command as its users meet it: processes, their exit codes, and what they print."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
JSON_KEYS = json.loads((HERE / "json_keys.json").read_text())
"""Of each command; see `test_json.py`."""


def differs(value: Any, wanted: Any, where: str) -> str:
    """Where a JSON value first differs from a picture of its keys and types; empty where it does
    not.
    """
    if isinstance(wanted, str):
        kinds = {"float": (int, float), "int": int, "str": str, "bool": bool, "any": object}
        right = isinstance(value, kinds[wanted]) and (
            wanted in ("bool", "any") or not isinstance(value, bool)
        )
        return "" if right else f"{where} is {value!r}, not of type {wanted}"
    if isinstance(wanted, list):
        if not isinstance(value, list):
            return f"{where} is {value!r}, not a list"
        found = (differs(one, wanted[0], f"{where}[{i}]") for i, one in enumerate(value))
        return next(filter(None, found), "")
    if "or null" in wanted:
        return "" if value is None else differs(value, wanted["or null"], where)
    if "one of" in wanted:
        found = [differs(value, one, where) for one in wanted["one of"]]
        return "" if "" in found else "; or ".join(found)
    if not isinstance(value, dict):
        return f"{where} is {value!r}, not a mapping"
    if "*" not in wanted and set(value) != set(wanted):
        return f"{where} has or lacks {', '.join(sorted(set(value) ^ set(wanted)))}"
    found = (
        differs(one, wanted.get(key, wanted.get("*")), f"{where}.{key}")
        for key, one in value.items()
    )
    return next(filter(None, found), "")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    args: tuple[object, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on standard output; anything beside it is an error.

        Its keys and types are those that were settled for the command.
        """
        value = json.loads(self.out)
        words = [str(word) for word in self.args[:2]]
        command = words[0] if words[0] in JSON_KEYS else " ".join(words)
        assert not (wrong := differs(value, JSON_KEYS[command], command)), wrong
        return value

    @property
    def error(self) -> str:
        """The one line that says what is wrong; it is the last one on standard error."""
        assert "Traceback" not in self.err, self.err
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and self.err.endswith(f"{errors[0]}\n"), self.err
        return errors[0].removeprefix("error: ")

    @property
    def refusal(self) -> str:
        """How wrong usage is answered: by the one line, or by typer's frame with the usage."""
        if "Usage: degflow-pipe" not in self.err:
            return self.error
        assert "Traceback" not in self.err and self.out == "", self.err
        return " ".join(line.strip("│ ") for line in self.err.splitlines() if "│" in line)


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Finds the package where it is not installed; lines are wide and without colours."""
    forced = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")
    kept = {name: value for name, value in os.environ.items() if name not in forced}
    path = os.pathsep.join([str(HERE.parents[1]), *filter(None, [kept.get("PYTHONPATH")])])
    plain = {
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "200",
        "_TYPER_FORCE_DISABLE_TERMINAL": "1",
    }
    return {**kept, **plain, "PYTHONPATH": path}


@pytest.fixture(scope="session")
def start(environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """`start(*args, cwd=...)` starts the command as a process of its own."""

    def call(*args: object, cwd: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "degflow_pipe", *map(str, args)],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return call


@pytest.fixture(scope="session")
def fresh(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Done]:
    """`fresh(*args, cwd=..., code=0)` runs the command as a process of its own."""

    def call(*args: object, cwd: Path, code: int = 0) -> Done:
        process = start(*args, cwd=cwd)
        out, err = process.communicate()
        assert process.returncode == code, f"{args}: exit code {process.returncode}\n{out}\n{err}"
        return Done(args, code, out, err)

    return call


class Begun:
    """A command that runs in a fork of the server; used as a `subprocess.Popen`."""

    def __init__(self, ask: Callable[..., Any], words: dict[str, Any]) -> None:
        self._ask, self._words, self._number = ask, words, ask(**words)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._ask(poll=self._number)
        return self.returncode

    def until_held(self) -> None:
        """Return when it holds still, as `hold_at` asked for."""
        self.returncode = self._ask(held=self._number)
        assert self.returncode is None, self.communicate()

    @property
    def peak(self) -> int:
        """The most memory that it held, in bytes, once `communicate` has returned."""
        peak: int = self._ask(peak=self._number)
        return peak

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self._number, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        if self.returncode is None:
            self.returncode = self._ask(wait=self._number)
        return Path(self._words["out"]).read_text(), Path(self._words["err"]).read_text()


@pytest.fixture(scope="session")
def begin(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Begun]]:
    """Like `start`, in a fork of a process that has imported torch: tests start in no time.

    largest_file: bytes beyond which no file can be written; memory: bytes that may be had beside
    what the process begins with; hold_at: glob of ledgers in `cwd`, the
    process holds still after the first line of one of them.
    """
    scratch = tmp_path_factory.mktemp("printed")
    server = subprocess.Popen(
        [sys.executable, str(HERE / "fork_server.py")],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin and server.stdout

    def ask(**words: Any) -> Any:
        server.stdin.write(json.dumps(words) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    counted = itertools.count()

    def call(
        *args: object,
        cwd: Path,
        largest_file: int | None = None,
        memory: int | None = None,
        hold_at: str | None = None,
    ) -> Begun:
        out, err = (str(scratch / str(next(counted))) for _ in range(2))
        words = {"args": [str(arg) for arg in args], "cwd": str(cwd), "out": out, "err": err}
        limits = {"largest_file": largest_file, "memory": memory, "hold_at": hold_at}
        return Begun(ask, {**words, **limits})

    yield call
    server.stdin.close()
    server.wait()
    server.stdout.close()


@pytest.fixture(scope="session")
def degflow(begin: Callable[..., Begun]) -> Callable[..., Done]:
    """Like `fresh`, in a fork as by `begin`."""

    def call(*args: object, cwd: Path, code: int = 0, **limits: int | None) -> Done:
        process = begin(*args, cwd=cwd, **limits)
        out, err = process.communicate()
        assert process.returncode == code, f"{args}: exit code {process.returncode}\n{out}\n{err}"
        return Done(args, code, out, err)

    return call


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, str]]:
    """`contents(folder)`: SHA-256 of every file below it but the hidden ones, by name.

    What a killed zarr had not finished to write is left out as well.
    """

    def call(folder: Path) -> dict[str, str]:
        found = {}
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in inside.parts)
            if path.is_file() and not hidden and path.suffix != ".partial":
                found[inside.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        assert found, f"no files below {folder}"
        return found

    return call


def mount(*words: object) -> bool:
    try:
        return subprocess.run(["mount", *map(str, words)], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, which a test may fill; it is where root alone can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", folder):
        pytest.skip("mounting a disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
