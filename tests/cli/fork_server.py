"""Runs degflow-pipe commands, each in a fork of this process, which has imported torch and the
other large libraries already.

A line of JSON in, {"args", "cwd", "out", "err", "largest_file", "hold_at"}; a line with the
process's number out, while it runs. {"wait": number} in; its exit code out, when it has ended.
{"poll": number} in; its exit code or null out, at once. {"peak": number} in; the most memory in
bytes that one that has ended held. {"held": number} in; null out when it holds
still, else its exit code. The package's own modules are imported too: what a command imports by
itself is for tests of processes that start anew.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import signal
import sys
import threading
from pathlib import Path
from typing import Any

# Not used here: the forks have them already.
import cv2  # noqa: F401
import imageio.v3  # noqa: F401
import pydantic  # noqa: F401
import scipy.ndimage  # noqa: F401
import skimage.metrics  # noqa: F401
import torch._dynamo  # noqa: F401
import torchdiffeq  # noqa: F401
import webdataset  # noqa: F401
import zarr  # noqa: F401

import degflow_pipe


def hold_at(ledgers: str) -> None:
    """Stop this process, as SIGSTOP does, when it next touches a file after the first line of one
    of these (a glob). A watcher from outside could come too late.
    """
    looking = threading.Lock()  # kept by who stops; what is done below is looked at as well

    def look(event: str, _: object) -> None:
        if event in ("open", "os.rename", "os.link") and looking.acquire(blocking=False):
            if any(path.stat().st_size for path in Path().glob(ledgers)):
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                looking.release()

    sys.addaudithook(look)


def become(ask: dict[str, Any]) -> None:
    """Be the command that is asked for, and end as it does."""
    os.chdir(ask["cwd"])
    for path, number in ((ask["out"], 1), (ask["err"], 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if ask["largest_file"] is not None:
        limits = (ask["largest_file"], resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    if ask["memory"] is not None:
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + ask["memory"], resource.RLIM_INFINITY))
    if ask["hold_at"] is not None:
        hold_at(ask["hold_at"])
    sys.argv = ["degflow-pipe", *ask["args"]]
    try:
        # As `python -m` does, so that processes that are started anew do not become servers.
        runpy.run_module("degflow_pipe", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        # As Python ends, but for taking its modules apart: that would copy the pages shared with
        # the server, and take longer than most of the commands.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)


for module in pkgutil.walk_packages(degflow_pipe.__path__, "degflow_pipe."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
os.fsync = lambda file: None  # as in the tests themselves
gc.collect()
gc.freeze()  # a collection in a fork would copy every page it looks at
answer: int | None
peaks: dict[int, int] = {}
for line in sys.stdin:
    asked = json.loads(line)
    if "wait" in asked:
        number, status, used = os.wait4(asked["wait"], 0)
        answer, peaks[number] = os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024
    elif "peak" in asked:
        answer = peaks[asked["peak"]]
    elif "poll" in asked:
        ended, status = os.waitpid(asked["poll"], os.WNOHANG)
        answer = os.waitstatus_to_exitcode(status) if ended else None
    elif "held" in asked:
        status = os.waitpid(asked["held"], os.WUNTRACED)[1]
        answer = None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
    else:
        answer = os.fork()
        if answer == 0:
            become(asked)
    print(json.dumps(answer), flush=True)
