"""The `degflow-pipe` command: its groups of commands, and errors into one line and an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated, NoReturn

import typer

from degflow_pipe.cli import (
    alignment,
    bench,
    checkpoints,
    exports,
    grids,
    inspection,
    pipeline,
    proxy,
    simulation,
    training,
)
from degflow_pipe.cli.output import complain
from degflow_pipe.cli.plain import PlainGroup
from degflow_pipe.errors import DegflowError, Stopped, is_lack_of_memory
from degflow_pipe.version import __version__

app = typer.Typer(
    name="degflow-pipe",
    cls=PlainGroup,
    help="Real-world LR/HR training pairs for super-resolution: photos in, WebDataset shards out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
pipeline.register(app)
exports.register(app)
inspection.register(app)
grids.register(app)
alignment.register(app)
training.register(app)
proxy.register(app)
simulation.register(app)
bench.register(app)
checkpoints.register(app)


NO_MEMORY = (
    "error: no memory left: what is complete is kept; run the same command again with fewer "
    "workers, a smaller batch, or less beside it"
)


class OutputError(DegflowError):
    """Standard output that takes no more: a full disk, or a reader that has gone."""


class _Output(io.TextIOWrapper):
    """Standard output whose errors are told in one line, and that can print any name of a file."""

    def write(self, text: str) -> int:
        with self._told():
            return super().write(text)

    def flush(self) -> None:
        if not self.closed:
            with self._told():
                super().flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"standard output: cannot write: {error.strerror}") from error


def _open_standard_streams() -> None:
    """See to it that files 0, 1 and 2 are open: the next one opened would else take their place,
    and be written to by whoever prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if isinstance(sys.stdout, _Output):
        return
    sys.stdout = _Output(
        io.FileIO(1, "w", closefd=False) if sys.stdout is None else sys.stdout.buffer,
        encoding="utf-8" if sys.stdout is None else sys.stdout.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"degflow-pipe {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise Stopped("what is whole is kept, what was begun is done again: run the same command again")


def main() -> NoReturn:
    """Entry point. Exit codes: 0 done, 1 failed or stopped, 2 wrong usage."""
    _open_standard_streams()
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    code: int | None = 0
    try:
        app(prog_name="degflow-pipe")
    except SystemExit as request:
        code = request.code if isinstance(request.code, int) else 1
    except Stopped as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        code = 1
    except DegflowError as error:
        code = _complain(error)
    except Exception as error:
        if not is_lack_of_memory(error):
            raise
        code = None
    if code is None:
        # Out of the handler, whose frames hold what filled the memory; Rich would want more of it.
        print(NO_MEMORY, file=sys.stderr)
        code = 1
    try:
        sys.stdout.flush()
    except OutputError as error:
        code = _complain(error)
    with suppress(OSError):
        sys.stderr.flush()
    if code:
        # Workers may still be at a unit nobody waits for; outputs are renamed when whole, so they
        # can be cut off. And Python would write to a full standard output once more.
        os._exit(code)
    sys.exit(0)


def _complain(error: DegflowError) -> int:
    """One line that says what is wrong; returns the exit code."""
    gone = isinstance(error.__cause__, BrokenPipeError)  # `head` has read what it wanted
    if not gone:
        with suppress(OSError):
            complain(" ".join(str(error).split()))
    return error.exit_code
