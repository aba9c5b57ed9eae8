"""The lock of a remote folder: an object that one process alone can have written.

A lease says who holds it. It ends with its holder's work, or where it is broken by name: clocks
differ, so no age of it ends it. Who loses it writes nothing more. When the holder was last heard of
is in a second object: the lease is never written over, which might undo its end.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from degflow_pipe.errors import FileError
from degflow_pipe.places import guard, objects
from degflow_pipe.places.place import Remote

LEASE, HEARD = ".degflow-lease.json", ".degflow-lease-heard.json"
RENEWED = 20.0
"""Seconds between renewals."""
LIMIT = 4096
"""Bytes of it."""


@dataclass(frozen=True)
class Lease:
    """host, process, token: of the holder. since, heard: UTC by the holder's clock."""

    host: str
    process: int
    token: str
    since: str
    heard: str

    def said(self) -> str:
        """The holder and the age, for people."""
        return f"process {self.process} of {self.host}, since {self.since} UTC, {self._age()}"

    def _age(self) -> str:
        try:
            then = datetime.strptime(self.heard, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            return "last heard of at no time"
        seconds = max(0, int((datetime.now(UTC) - then).total_seconds()))
        for unit, name in ((3600, "h"), (60, "min")):
            if seconds >= unit:
                return f"last heard of {seconds // unit} {name} ago"
        return f"last heard of {seconds} s ago"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _read(path: Remote) -> Lease | None:
    """The lease that is there; one that cannot be read is somebody's all the same."""
    if objects.info(path) is None:
        return None
    try:
        value = json.loads(objects.read_span(path, 0, LIMIT))
        known = {key: str(value[key])[:100] for key in ("host", "token", "since", "heard")}
        return Lease(process=int(value["process"]), **known)
    except (ValueError, TypeError, KeyError):
        return Lease("an unknown host", 0, "", "an unknown time", "")


def _last(folder: Remote) -> Lease | None:
    """The lease of a folder, with when its holder was last heard of."""
    lease = _read(folder / LEASE)
    heard = _read(folder / HEARD) if lease is not None else None
    return (
        heard if heard is not None and lease is not None and heard.token == lease.token else lease
    )


def _data(lease: Lease) -> bytes:
    return json.dumps(asdict(lease), indent=1, sort_keys=True).encode()


@contextmanager
def held(folder: Remote) -> Iterator[None]:
    """Hold the lease of a folder within. Raises FileError where another process holds it, or the
    storage does not tell two who take it at once apart.
    """
    path = folder / LEASE
    lease = Lease(socket.gethostname(), os.getpid(), secrets.token_hex(8), _now(), _now())
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(folder, lease, ended), daemon=True)
    try:
        _take(folder, path, lease)
        renewal.start()
        yield
    finally:
        ended.set()
        if renewal.ident is not None:
            renewal.join()
        guard.over(folder)
        with suppress(FileError):  # a lease that stays is told to whoever comes next
            mine = _read(path)
            if mine is not None and mine.token == lease.token:
                objects.remove(folder / HEARD)
                objects.remove(path)


def _take(folder: Remote, path: Remote, lease: Lease) -> None:
    if not objects.create(path, _data(lease)):
        other = _last(folder)
        # Its own, where an answer was lost and the request sent again.
        if other is None or other.token != lease.token:
            who = "a process that has just ended" if other is None else other.said()
            raise FileError(
                f"{folder}: {who} is writing to it; wait for it, or where it is gone for good (one "
                f"that lives is heard of every {RENEWED:.0f} s), say `break_lock`"
            )
    if objects.create(path, _data(lease)):
        objects.remove(path)
        raise FileError(
            f"{folder}: its storage has no conditional writes, so nothing would keep two processes "
            f"from writing there at once: write to a folder and copy"
        )


def _renew(folder: Remote, lease: Lease, ended: threading.Event) -> None:
    path = folder / LEASE
    while not ended.wait(RENEWED):
        with suppress(FileError):  # the next time may do
            now = _read(path)
            if now is None or now.token != lease.token:
                guard.lost(folder, "somebody who has ended" if now is None else now.said())
                return
            objects.write(folder / HEARD, _data(replace(lease, heard=_now())))


def broken(folder: Remote) -> str | None:
    """End the lease of a folder; says whose it was, None where there was none."""
    found = _last(folder)
    if found is None:
        return None
    objects.remove(folder / LEASE)
    return found.said()
