"""Photos at an http server: one that gives no ranges, is busy for a moment, refuses, or is down."""

from __future__ import annotations

import functools
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from degflow_pipe import files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.pictures.photos import find_photos, read_file
from degflow_pipe.places import Remote, Unreachable, objects, place_of, telling
from degflow_pipe.stages.ingest import ingest
from tests.conftest import PATCH
from tests.sources.conftest import write_parquet

pytest.importorskip("aiohttp", reason="aiohttp is not installed, which opens http://")

DATA = bytes(range(256)) * 2


class Server(ThreadingHTTPServer):
    """Python's own, of a folder. ranges: it gives them, as Python's does not. busy, cut: how many
    of the next requests for a file are answered 503, or cut off in their bodies. refused: what all
    requests are answered; only: none but those whose path matches are. well: how many requests are
    answered before all are with 503.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder)))
        self.lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.ranges = False
        self.busy = self.cut = self.refused = 0
        self.well = 10**6
        self.only = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that goes is no news."""

    def due(self, what: str) -> bool:
        with self.lock:
            left = getattr(self, what)
            setattr(self, what, max(0, left - 1))
            return bool(left)


class _Files(SimpleHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        if not self._is_refused():
            super().do_HEAD()

    def do_GET(self) -> None:
        if self._is_refused():
            return
        path = Path(self.translate_path(self.path))
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not self.server.ranges or not path.is_file() or span is None:
            super().do_GET()
            return
        whole = path.read_bytes()
        first, last = int(span[1]), min(int(span[2] or len(whole)), len(whole) - 1)
        if first > last:
            self.send_error(416)
            return
        data = whole[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(whole)}")
        self.end_headers()
        if self.server.due("cut"):
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data)

    def _is_refused(self) -> bool:
        with self.server.lock:
            self.server.requests[self.command] += 1
            self.server.well -= 1
        if self.server.refused and re.search(self.server.only, self.path):
            self.send_error(self.server.refused)
        elif self.server.well < 0 or self.server.due("busy"):
            self.send_error(503)
        else:
            return False
        return True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(telling, "PAUSES", (0.0, 0.0, 0.0))
    folder = tmp_path / "served"
    folder.mkdir()
    with Server(folder) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture
def place(server: Server, tmp_path: Path) -> Remote:
    """A file of DATA."""
    (tmp_path / "served" / "a.bin").write_bytes(DATA)
    found = place_of(f"{server.url}/a.bin")
    assert isinstance(found, Remote)
    return found


@pytest.mark.parametrize("ranges", [True, False])
def test_ranges_are_those_asked_for(place: Remote, server: Server, ranges: bool) -> None:
    server.ranges = ranges
    spans = [(100, 104), (0, 2), (500, 600), (300, 812), (1, 2000), (512, 600), (900, 901)]
    for span in spans:
        assert objects.read_spans(place, [span]) == [DATA[slice(*span)]]
    assert files.read_spans(place, spans) == [DATA[slice(*span)] for span in spans]
    assert files.read_bytes(place) == DATA
    with files.reading(place, span=(10, 20)) as file:
        assert file.read() == DATA[10:20]


def test_a_large_file_without_ranges_is_refused(
    place: Remote, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "RANGELESS", 100)
    with pytest.raises(FileError, match=r"gives no ranges of it, and it has 512 bytes"):
        files.read_spans(place, [(100, 104)])
    server.ranges = True
    assert files.read_spans(place, [(100, 104)]) == [DATA[100:104]]


@pytest.mark.parametrize("fault", ["busy", "cut"])
def test_what_passes_is_asked_for_again(place: Remote, server: Server, fault: str) -> None:
    server.ranges = True
    for times in (1, 3):
        setattr(server, fault, times)
        assert files.read_spans(place, [(100, 200)]) == [DATA[100:200]]
        assert getattr(server, fault) == 0
    server.busy = 3
    assert files.exists(place) and files.size(place) == len(DATA)


def test_what_is_not_there_is_not_asked_for_again(place: Remote, server: Server) -> None:
    assert not files.exists(place.with_name("b.bin"))
    with pytest.raises(FileError, match="cannot read: nothing is there") as told:
        files.read_bytes(place.with_name("b.bin"))
    assert not isinstance(told.value, Unreachable)
    assert server.requests == {"HEAD": 1, "GET": 2}


@pytest.mark.parametrize(
    "status, said", [(503, "503: Service Unavailable"), (403, "403: Forbidden")]
)
def test_why_a_server_gives_nothing_is_told(
    place: Remote, server: Server, status: int, said: str
) -> None:
    server.refused = status
    with pytest.raises(FileError, match=rf"^{place}: cannot look for it: .*{said}$"):
        list(find_photos([str(place)]))


def test_a_server_that_is_down_is_told(server: Server) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(FileError, match=r"cannot look for it: .*[Cc]onnect"):
        list(find_photos([f"{server.url}/a.jpg"]))


def test_nothing_there_is_a_wrong_argument(server: Server) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        list(find_photos([f"{server.url}/a.jpg"]))


def test_a_tar_in_a_folder_that_may_not_be_asked_for_what_it_is(
    server: Server, data_sets: Path, tmp_path: Path
) -> None:
    """Storage answers 403 where nothing is and it may not be listed."""
    shutil.copy(data_sets / "photos-000000.tar", tmp_path / "served")
    server.refused, server.only = 403, r"/\."
    found = list(find_photos([f"{server.url}/photos-000000.tar"]))
    assert len(found) == 3 and read_file(found[0])[0]


Ingest = Callable[..., Any]


@pytest.fixture
def feed(tiny_model: DegFlow, tmp_path: Path) -> Ingest:
    def run(*photos: object) -> Any:
        sources = [str(photo) for photo in photos]
        return ingest(sources, tmp_path / "a.zarr", tiny_model, patch=PATCH, workers=1)

    return run


def serve(pictures: list[bytes], folder: Path) -> list[str]:
    """Photos as files, and in a tar and a Parquet file."""
    for name, data in zip(("a.png", "b.jpg", "c.webp"), pictures, strict=True):
        (folder / name).write_bytes(data)
    write_parquet(folder / "a.parquet", pictures)
    return [path.name for path in sorted(folder.iterdir())]


def test_no_photo_is_skipped_for_a_server_that_is_busy(
    server: Server, pictures: list[bytes], tmp_path: Path, feed: Ingest
) -> None:
    names = serve(pictures, tmp_path / "served")
    server.ranges, server.busy = True, 3
    summary = feed(*(f"{server.url}/{name}" for name in names))
    assert (summary.photos, summary.known, summary.skipped) == (3, 3, {}) and server.busy == 0


@pytest.mark.parametrize("name", ["b.jpg", "a.parquet", "photos-000000.tar"])
def test_a_run_ends_where_a_photo_cannot_be_reached(
    server: Server,
    pictures: list[bytes],
    data_sets: Path,
    tmp_path: Path,
    feed: Ingest,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(pictures, tmp_path / "served")
    shutil.copy(data_sets / "photos-000000.tar", tmp_path / "served")
    server.ranges = True
    found = list(find_photos([f"{server.url}/a.png", f"{server.url}/{name}"]))
    monkeypatch.setattr("degflow_pipe.stages.ingest.find_photos", lambda *_: iter(found))
    server.refused, server.only = 503, name
    with pytest.raises(FileError, match=rf"/{name}: cannot .*503: Service Unavailable$"):
        feed()


@pytest.mark.parametrize("name", ["a.parquet", "photos-000000.tar"])
def test_a_file_of_many_that_is_lost_on_the_way_is_no_photo_with_a_problem(
    server: Server, pictures: list[bytes], data_sets: Path, tmp_path: Path, name: str
) -> None:
    """Whichever of the requests is the first that is refused."""
    serve(pictures, tmp_path / "served")
    shutil.copy(data_sets / "photos-000000.tar", tmp_path / "served")
    server.ranges, told = True, 0
    for number in range(100):
        server.well = number
        try:
            found = list(find_photos([f"{server.url}/{name}"]))
        except FileError as error:
            assert re.search(rf"/(\.[a-z.-]+|{name}): cannot .* 503: [^\n]*$", str(error))
            told += 1
        else:
            assert len(found) == 3 and not any(photo.problem for photo in found)
            break
    assert told >= 5


def test_a_machine_that_lacks_the_folder_ends_the_run(
    pictures: list[bytes], tmp_path: Path
) -> None:
    """A photo that has gone is skipped; a folder that has is not on this machine."""
    folder = tmp_path / "photos"
    folder.mkdir()
    serve(pictures, folder)
    found = list(find_photos([str(folder)]))
    (folder / "b.jpg").unlink()
    with pytest.raises(PhotoError, match=r"b\.jpg: cannot read: No such file"):
        read_file(next(photo for photo in found if photo.name == "b.jpg"))
    shutil.move(folder, tmp_path / "elsewhere")
    for photo in found:
        with pytest.raises(Unreachable, match="its folder is not on the machine"):
            read_file(photo)
