"""What a user's text names: a path of this machine, or a remote place."""

from __future__ import annotations

import re
from pathlib import Path, PosixPath, PurePath, PurePosixPath
from typing import Any

from degflow_pipe.errors import FileError, UsageError, masked

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(::[^/]*)?://")
_COLLAPSED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/[^/]")
LOCAL = frozenset({"file", "local"})
_WITH_QUERY = frozenset({"http", "https"})


class Remote(PosixPath):
    """A place at a URL, such as `s3://bucket/folder`: a path by its face, so that parts, names and
    joining are pathlib's own, and no path of this machine: what would open it as one raises
    FileError. Its text shows no credentials; `url` is the whole.
    """

    @property
    def url(self) -> str:
        scheme, _, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}"

    @property
    def scheme(self) -> str:
        return self.parts[0].removesuffix(":").lower()

    @property
    def name(self) -> str:
        """The last part, without what an http server is asked beside it."""
        last = super().name
        return last.partition("?")[0] if self.scheme in _WITH_QUERY else last

    def __str__(self) -> str:
        return masked(self.url)

    def __fspath__(self) -> str:
        raise FileError(
            f"{self}: this is done with files of this machine alone: copy it here, or give a path"
        )

    # From Python 3.12 on pathlib compares texts, and this one's shows less than it has.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def __lt__(self, other: PurePath) -> bool:
        return self.parts < other.parts if isinstance(other, PurePath) else NotImplemented

    def __le__(self, other: PurePath) -> bool:
        return self.parts <= other.parts if isinstance(other, PurePath) else NotImplemented

    def __gt__(self, other: PurePath) -> bool:
        return self.parts > other.parts if isinstance(other, PurePath) else NotImplemented

    def __ge__(self, other: PurePath) -> bool:
        return self.parts >= other.parts if isinstance(other, PurePath) else NotImplemented

    def is_absolute(self) -> bool:
        return True

    def absolute(self) -> Remote:
        return self

    def relative_to(self, *other: Any, **how: Any) -> Any:
        """The rest of the path, which is no place by itself."""
        (above,) = other
        if not self.is_relative_to(above):
            raise ValueError(f"{self} is not below {above}")
        rest = self.parts[len(above.parts) :]
        return PurePosixPath(*rest[:-1], self.name) if rest else PurePosixPath()

    def is_relative_to(self, *other: Any) -> bool:
        (above,) = other
        return isinstance(above, Remote) and self.parts[: len(above.parts)] == above.parts


def place_of(text: str | Path) -> Path:
    """What a user names: with `SCHEME://` a remote place, a path of this machine else.

    Raises UsageError for a URL that names nothing, that is chained (`zip://a::s3://b`), or whose
    path has empty or `.` parts.
    """
    if isinstance(text, Path):
        if not isinstance(text, Remote) and _COLLAPSED.match(str(text)):
            raise UsageError(
                f"{text} was a URL before it was a path: give the text of it, as a str, or "
                f"`degflow_pipe.place_of(...)` of it"
            )
        return text
    found = _URL.match(text)
    if found is None:
        return Path(text)
    if found[1].lower() in LOCAL and not found[2]:
        return Path(text[found.end() :])
    if found[2] or "::" in text[: text.find("/", found.end())]:
        raise UsageError(f"{text}: a chain of URLs is no place: give one URL")
    place = Remote(text)
    if len(place.parts) < 2:
        raise UsageError(f"{text} names no place: write SCHEME://BUCKET/FOLDER")
    if place.url != text.rstrip("/"):
        raise UsageError(f"{text} has empty or . parts in its path: write it without them")
    if place.scheme in _WITH_QUERY and "/" in text.partition("?")[2]:
        raise UsageError(f"{text} has a / in its query: write it as %2F")
    return place


def text_of(place: Path) -> str:
    """What `place_of` makes the same place of; for what travels to workers, never to be shown."""
    return place.url if isinstance(place, Remote) else str(place)
