"""Errors that a user can cause, each with the exit code that the command line gives it.

Everything else that goes wrong is a bug of ours and surfaces as it is.
"""

from __future__ import annotations

import re

_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+://)[^\s/'\"]*@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+://[^\s?'\"]*)\?[^\s'\"]*[^\s'\".,;:)\]]")


def masked(text: str) -> str:
    """A text whose URLs have neither a user and password nor a query, which may be a signature."""
    return _QUERY.sub(r"\1?***", _USER.sub(r"\1***@", text)) if "://" in text else text


_LACK = re.compile(
    r"can't allocate memory|Insufficient memory|Cannot allocate memory|can't start new thread"
)
"""As torch, OpenCV, other libraries, Python's threads and its imports say it."""


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, in whichever way its library does."""
    return isinstance(error, MemoryError) or bool(_LACK.search(str(error)[:1000]))


class DegflowError(Exception):
    """Base of every error that a user can cause; the command line prints it as one line.

    Whatever a library says of a URL, its credentials are not shown.
    """

    exit_code = 1

    def __init__(self, *args: object) -> None:
        super().__init__(*(masked(arg) if isinstance(arg, str) else arg for arg in args))


class Stopped(BaseException):
    """Ctrl-C or a polite kill, and what is kept; like KeyboardInterrupt, no error."""


class UsageError(DegflowError, ValueError):
    """A wrong argument, option or recipe value: nothing was started."""

    exit_code = 2


class FileError(DegflowError):
    """A path that cannot be read or written: no space, no permission, not there."""


class CheckpointError(DegflowError):
    """A checkpoint folder that is missing, damaged or of the wrong architecture."""


class StoreError(DegflowError):
    """A store that is missing, damaged, too new, or made with other settings."""


class ShardError(DegflowError):
    """A shard folder that is missing, damaged, or made with other settings."""


class PhotoError(DegflowError):
    """A photo that cannot be used: unreadable, truncated, too small or absurdly large."""


class DataError(DegflowError):
    """Training pairs that are missing, mis-sized or unreadable."""
