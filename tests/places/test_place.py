"""What a user's text names, and that no credentials are shown."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degflow_pipe import files, folders
from degflow_pipe.cli import options
from degflow_pipe.cli.app import app
from degflow_pipe.errors import DegflowError, FileError, UsageError, masked
from degflow_pipe.places import Remote, place_of, text_of

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
