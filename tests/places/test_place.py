"""What a user's text names, and that no credentials are shown."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from degflow_pipe import files, folders
from degflow_pipe.cli import options
from degflow_pipe.cli.app import app
from degflow_pipe.errors import DegflowError, FileError, UsageError, masked
from degflow_pipe.places import Remote, objects, place_of, text_of

SIGNED = "https://user:topsecret@127.0.0.1:9/p/x.jpg?X-Amz-Signature=topsecret"


@pytest.mark.parametrize("text", ["photos", "/a/b.png", "./a:b", "C:/x", "a b/*.png", "s3:x", ""])
def test_a_text_without_a_scheme_is_a_path_of_this_machine(text: str) -> None:
    assert place_of(text) == Path(text) and not isinstance(place_of(text), Remote)


@pytest.mark.parametrize("text", ["s3://b/a", "memory://x", "gs://b/a b/c.tar", SIGNED])
def test_a_url_is_a_remote_place_of_the_same_url(text: str) -> None:
    place = place_of(text)
    assert isinstance(place, Remote) and text_of(place) == text
    assert pickle.loads(pickle.dumps(place)) == place == place_of(text_of(place))


def test_a_file_url_is_a_path() -> None:
    assert place_of("file:///a/b") == Path("/a/b")


def test_parts_and_joining_are_as_those_of_a_path() -> None:
    place = place_of("s3://bucket/photos") / "sub" / "a.jpg"
    assert str(place) == "s3://bucket/photos/sub/a.jpg" and place.suffix == ".jpg"
    assert place.relative_to(place_of("s3://bucket/photos")).as_posix() == "sub/a.jpg"
    assert place.with_name("b.png") == place_of("s3://bucket/photos/sub/b.png")
    assert place.parent.parent == place_of("s3://bucket/photos/")
    with pytest.raises(ValueError):
        place.relative_to(place_of("s3://other"))


def test_places_differ_where_their_urls_do() -> None:
    """Also in what is not shown of them."""
    urls = [f"https://{user}@h/img?id={n}" for user in ("a", "b") for n in (2, 1)]
    places = [place_of(url) for url in urls]
    assert len(set(places)) == len({str(place) for place in places}) * 4 == 4
    assert sorted(places[::-1]) == [places[i] for i in (1, 0, 3, 2)] == sorted(places)
    assert places[1] < places[0] and places[0] > places[1]
    assert places[0] <= places[0] >= places[0] and places[0] == place_of(urls[0])
    assert place_of("s3://b/a") != Path("s3:/b/a") and Path("s3:/b/a") != place_of("s3://b/a")


@pytest.mark.parametrize(
    "text, said",
    [
        ("s3://", "names no place"),
        ("s3://b//a", "empty"),
        ("s3://b/./a", "empty"),
        ("zip://a::s3://b/c", "chain"),
        ("simplecache::s3://b/c", "chain"),
        ("https://h/x?a=b/c", "%2F"),
    ],
)
def test_a_url_that_is_no_place_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        place_of(text)


def test_a_url_that_was_made_a_path_is_refused() -> None:
    """Else a folder `s3:` would appear on this machine."""
    with pytest.raises(UsageError, match="was a URL"):
        place_of(Path("s3://bucket/a"))


@pytest.mark.parametrize(
    "use", [os.stat, open, os.listdir, Path.exists, Path.mkdir, Path.unlink, os.path.realpath]
)
def test_what_opens_paths_of_this_machine_does_not_take_it(use: Callable[..., Any]) -> None:
    with pytest.raises(FileError, match="this machine alone"):
        use(place_of("s3://bucket/a"))
    assert not Path("s3:").exists()


@settings(deadline=None)  # which a busy machine misses
@given(st.text(max_size=60).map(lambda rest: f"s3://{rest}") | st.text(max_size=60))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    try:
        place = place_of(text)
    except UsageError:
        return
    if isinstance(place, Remote):
        assert place.url == text.rstrip("/")


def commands(group: Any) -> Iterator[Any]:
    for found in group.registered_commands:
        yield found.callback
    for found in group.registered_groups:
        yield from commands(found.typer_instance)


def test_every_path_of_the_command_line_may_be_a_url() -> None:
    """Where a command does not take one, it says so, and makes no folder `s3:`."""
    lacking = []
    for command in commands(app):
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
            asked = getattr(parameter.annotation, "__metadata__", (None,))[0]
            if asked is not None and "Path" in str(parameter.annotation.__origin__):
                lacking += [] if asked.parser is options.path else [(command.__name__, name)]
    assert not lacking


# ---- credentials


@pytest.mark.parametrize(
    "text, shown",
    [
        (SIGNED, "https://***@127.0.0.1:9/p/x.jpg?***"),
        (f"no photo at {SIGNED}: why", "no photo at https://***@127.0.0.1:9/p/x.jpg?***: why"),
        ("ftp://u@h/a, s3://b/c", "ftp://***@h/a, s3://b/c"),
        ("a@b is no URL?", "a@b is no URL?"),
        ("ftp://user:p@ss@host/x", "ftp://***@host/x"),
        ("'ftp://u:a@b@c@h/a@b' and s3://b/c@d", "'ftp://***@h/a@b' and s3://b/c@d"),
    ],
)
def test_what_is_shown_of_a_url(text: str, shown: str) -> None:
    assert masked(text) == shown == str(DegflowError(text))


def test_no_error_shows_credentials() -> None:
    place = place_of(SIGNED)
    assert isinstance(place, Remote)
    tried: list[Callable[[], object]] = [
        lambda: files.read_bytes(place),
        lambda: files.write_bytes(place, b""),
        lambda: files.size(place),
        lambda: Path.stat(place),
        lambda: place_of(SIGNED + "/x"),
    ]
    for attempt in tried:
        with pytest.raises(DegflowError) as error:
            attempt()
        assert "topsecret" not in str(error.value)
    assert "topsecret" not in f"{place} {place!r} {place.name} {place.relative_to(place.parent)}"


@pytest.mark.parametrize(
    "url, said",
    [
        ("nosuch://a/b", "no file system for nosuch://"),
        ("ftp://h/a", "read only"),
        ("hf://datasets/a/b", "read only"),
    ],
)
def test_where_nothing_can_be_written_that_is_said_first(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said), folders.one_writer(place_of(url), "store"):
        pass


def test_a_package_that_is_lacking_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degflow_pipe.places.objects.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="pip install gcsfs"):
        files.read_bytes(place_of("gs://bucket/a"))


class Connecting(AbstractFileSystem):
    """Passes what it does not know to what connects, as fsspec's own for sftp:// does. said: what
    that raises.
    """

    protocol = "connecting"
    cachable = False
    said = ""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.listed = 0
        self._connect(**how)

    def _connect(self, host: str = "", user: str = "") -> None:
        pass

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[dict[str, Any]]:
        if self.said:
            raise RuntimeError(self.said)
        self.listed += 1
        self.dircache[path] = [{"name": f"{path}/{self.listed}", "size": 1, "type": "file"}]
        return list(self.dircache.get(path, []))


@pytest.fixture
def connecting(monkeypatch: pytest.MonkeyPatch) -> type[Connecting]:
    fsspec.register_implementation("connecting", Connecting, clobber=True)
    return Connecting


def test_a_file_system_that_does_not_know_of_listings_is_opened(
    connecting: type[Connecting],
) -> None:
    place = place_of("connecting://h/a")
    assert isinstance(place, Remote)
    fs, path = objects.opened(place)
    assert fs.ls(path) == [] and fs.listed == 1  # and none is remembered
    assert files.names(place) == []


@pytest.mark.parametrize(
    "password, said, shown",
    [
        ("p", "an unexpected stop: p", "an unexpected stop: p"),
        ("p", "no user:p at repos/user/p/x, user", "no user:*** at repos/user/***/x, user"),
        ("topsecret", "no repos/user/topsecret/x", "no repos/user/***/x"),
        ("topsecret", "topsecret, or 'topsecret'?", "***, or '***'?"),
        ("pass", "a passing fault: pass", "a passing fault: ***"),
        ("top%40secret", "top@secret or top%40secret", "*** or ***"),
    ],
)
def test_what_is_shown_of_what_a_library_says(
    connecting: type[Connecting],
    monkeypatch: pytest.MonkeyPatch,
    password: str,
    said: str,
    shown: str,
) -> None:
    monkeypatch.setattr(connecting, "said", said)
    with pytest.raises(FileError) as error:
        files.names(place_of(f"connecting://user:{password}@h/a"))
    assert str(error.value) == f"connecting://***@h/a: cannot list: {shown}"
