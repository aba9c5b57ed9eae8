"""What file systems and their libraries raise: told as FileErrors that name the place, and tried
again where it passes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from ftplib import error_perm
from typing import Any, TypeVar
from urllib.parse import unquote

from degflow_pipe.errors import DegflowError, FileError
from degflow_pipe.places.place import Remote

AGAIN = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
"""Schemes whose clients try again for themselves."""
PAUSES = (0.2, 0.6, 1.8)
"""Seconds before a request that changes nothing is sent again, where others do not."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of servers that may be others a moment later."""
NOTHING = frozenset({404, 410})
"""Answers of servers that have nothing there."""
NAMES = ("status", "status_code", "code")
"""Of that answer in errors and answers of clients."""
BROKEN = frozenset(
    {"TimeoutError", "ClientConnectionError", "ClientPayloadError", "IncompleteRead", "error_temp"}
)
"""Errors of connections: asyncio's is no OSError before Python 3.11, and others' are none at all.
"""
LONG = 4
"""Characters of a password that is hidden wherever it stands by itself."""

Found = TypeVar("Found")


class Unreachable(FileError):
    """A place that could not be asked: its server is down, cut the connection or refuses, or its
    folder is not on this machine. What is there is not to blame. status: what an HTTP server
    answered, where it did.
    """

    status: int | None = None


def told(
    place: Remote, doing: str, call: Callable[[], Found], *, idempotent: bool = False
) -> Found:
    """What a call of a file system returns; raises FileError for whatever it raises: Unreachable
    but where nothing is there.

    idempotent: it is tried again where what it raises may pass.
    """
    pauses = list(PAUSES) if idempotent and place.scheme not in AGAIN else []
    while True:
        try:
            return call()
        except (DegflowError, MemoryError):
            raise
        # File systems raise what their clients do: botocore's, aiohttp's, google's, not all of
        # them OSError, and nothing of ours runs in here.
        except Exception as error:
            if is_nothing(error):
                raise FileError(f"{place}: cannot {doing}: nothing is there") from error
            cause = _root(error)
            if not pauses or not passes(cause):
                found = Unreachable(f"{place}: cannot {doing}: {_secretless(_said(cause), place)}")
                found.status = status_of(cause)
                raise found from error
            time.sleep(pauses.pop(0))


def is_nothing(error: BaseException) -> bool:
    """Whether an error says that nothing is there: fsspec's http and ftp raise the same where their
    server is down or refuses, which the cause tells.
    """
    if not isinstance(error, FileNotFoundError):
        return False
    cause = error.__cause__
    if cause is None or isinstance(cause, LookupError | StopIteration | NotADirectoryError):
        return True
    if isinstance(cause, FileNotFoundError):
        return is_nothing(cause)
    return status_of(cause) in NOTHING or isinstance(cause, error_perm)


def _root(error: BaseException) -> BaseException:
    """What a FileNotFoundError that is none was made of."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status in an error, or in what it was made of, as the clients have it there."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):  # botocore's
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            every = ((one, name) for one in (error, response) for name in NAMES)
            values = (getattr(one, name, None) for one, name in every)
            found = next((value for value in values if isinstance(value, int)), None)
        if isinstance(found, int):
            return found
        error = error.__cause__
    return None


def passes(error: BaseException) -> bool:
    """Whether what went wrong may pass: a server that is busy, or a connection that broke."""
    if BROKEN & {kind.__name__ for kind in type(error).__mro__}:
        return True
    if (status := status_of(error)) is not None:
        return status in PASSING
    never = PermissionError | FileExistsError | IsADirectoryError
    return isinstance(error, OSError | EOFError) and not isinstance(error, never)


def _said(error: BaseException) -> str:
    """What an error says, in one line."""
    if (status := getattr(error, "status", None)) and (answer := getattr(error, "message", "")):
        return f"its server answers {status}: {answer}"  # aiohttp's, which repeats the URL
    lines = str(error).strip().splitlines()
    return str(
        getattr(error, "strerror", None) or (lines[0] if lines else _words(type(error).__name__))
    )


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _secretless(said: str, place: Remote) -> str:
    """What a library says, without the password of the place's URL, in whichever URL it says it.

    A short one is hidden after its user alone: it may be part of any word.
    """
    login, at, _ = place.url.partition("://")[2].partition("/")[0].rpartition("@")
    user, _, password = login.partition(":")
    if not at or not password:
        return said
    for secret in sorted({password, unquote(password)}, key=len, reverse=True):
        word = rf"{re.escape(secret)}(?!\w)"
        said = re.sub(rf"(?<!\w)({re.escape(user)}[:/]){word}", r"\1***", said)
        if len(secret) >= LONG:
            said = re.sub(rf"(?<!\w){word}", "***", said)
    return said
