"""The `degflow-pipe` command: its groups of commands, and errors into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Annotated, NoReturn

import typer

from degflow_pipe.cli import (
    bench,
    checkpoints,
    exports,
    inspection,
    pipeline,
    proxy,
    simulation,
    training,
)
from degflow_pipe.cli.output import complain
from degflow_pipe.errors import DegflowError, Stopped
from degflow_pipe.version import __version__

app = typer.Typer(
    name="degflow-pipe",
    help="Real-world LR/HR training pairs for super-resolution: photos in, WebDataset shards out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
pipeline.register(app)
exports.register(app)
inspection.register(app)
training.register(app)
proxy.register(app)
checkpoints.register(app)
simulation.register(app)
bench.register(app)


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
    raise Stopped("stopped; what is complete is kept, the same command goes on from there")


def main() -> NoReturn:
    """Entry point. Exit codes: 0 done, 1 failed, 2 wrong usage."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
        code = 0
    except SystemExit as request:
        code = request.code if isinstance(request.code, int) else 1
    except DegflowError as error:
        complain(" ".join(str(error).split()))
        code = error.exit_code
    except Stopped as stopped:
        complain(str(stopped))
        code = 1
    with suppress(OSError):  # a reader such as `head` may have closed the pipe
        sys.stdout.flush()
        sys.stderr.flush()
    if code:
        # Workers may still be at a unit nobody waits for; outputs are renamed when whole, so they
        # can be cut off.
        os._exit(code)
    sys.exit(0)
