"""Runs degflow-pipe commands, each in a fork of this process, which has imported torch and the
other large libraries already.

A line of JSON in, {"args", "cwd", "out", "err", "largest_file"}; a line with the exit code out. The
package's own modules are left to the forks, but for the face of the command.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import sys
import threading
from typing import Any

import cv2  # noqa: F401
import imageio.v3  # noqa: F401
import pydantic  # noqa: F401
import scipy.ndimage  # noqa: F401
import skimage.metrics  # noqa: F401
import torch._dynamo  # noqa: F401
import torchdiffeq  # noqa: F401
import webdataset  # noqa: F401
import zarr  # noqa: F401

from degflow_pipe.cli.app import main


def become(ask: dict[str, Any]) -> None:
    """Be the command that is asked for, and end as it does."""
    os.chdir(ask["cwd"])
    for path, number in ((ask["out"], 1), (ask["err"], 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if ask["largest_file"] is not None:
        limits = (ask["largest_file"], resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sys.argv = ["degflow-pipe", *ask["args"]]
    try:
        main()
    except SystemExit as end:
        # As Python ends, but for taking its modules apart: that would copy the pages shared with
        # the server, and take longer than most of the commands.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)


gc.collect()
gc.freeze()  # a collection in a fork would copy every page it looks at
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        become(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
