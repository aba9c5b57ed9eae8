"""A real S3 server on loopback, behind a proxy that counts requests, and breaks them when told."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import pytest

from degflow_pipe.places import Remote, place_of

PASSED_ON = {"content-length", "transfer-encoding", "connection", "date", "server"}
"""Headers that the proxy says itself."""


class Proxy(ThreadingHTTPServer):
    """requests: of each method since `clear`. refuse, cut: how many of the next uploads are
    answered 503, or cut off in the middle.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = host, port
        self.lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.refuse = self.cut = 0
        self.log: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def clear(self) -> None:
        with self.lock:
            self.requests.clear()
            self.log.clear()

    def due(self, what: str) -> bool:
        with self.lock:
            left = getattr(self, what)
            setattr(self, what, max(0, left - 1))
            return left > 0


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        with self.server.lock:
            self.server.requests[self.command] += 1
            self.server.log.append(f"{self.command} {self.path}")
        length = int(self.headers.get("Content-Length") or 0)
        if self.command == "PUT" and self.server.due("cut"):
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.close()
            return
        body = self.rfile.read(length)
        if self.command == "PUT" and self.server.due("refuse"):
            self._answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        behind = http.client.HTTPConnection(*self.server.behind, timeout=60)
        behind.request(self.command, self.path, body, dict(self.headers))
        answer = behind.getresponse()
        data = answer.read()
        self._answer(answer.status, answer.getheaders(), data)
        behind.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response(status)
        length = str(len(data))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            if name.lower() not in PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def proxy() -> Iterator[Proxy]:
    """S3 by moto; what is read and written in this process and those it starts goes there."""
    pytest.importorskip("s3fs", reason="s3fs is not installed, which opens s3://")
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    found = Proxy(*server.get_host_and_port())
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", found.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "verysecretkey")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield found
    found.shutdown()
    server.stop()


_numbers = count()


@pytest.fixture
def bucket(proxy: Proxy) -> Remote:
    """A new empty bucket."""
    import fsspec

    name = f"bucket-{next(_numbers)}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir(name)
    proxy.refuse = proxy.cut = 0
    proxy.clear()
    place = place_of(f"s3://{name}")
    assert isinstance(place, Remote)
    return place


@pytest.fixture
def memory() -> Remote:
    """A new empty folder in memory."""
    place = place_of(f"memory://{next(_numbers)}-{time.monotonic_ns()}")
    assert isinstance(place, Remote)
    return place
