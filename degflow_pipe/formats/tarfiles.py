"""Members of tars that may be a stranger's: no header of theirs takes memory or time at will."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from typing import IO, Any, ClassVar, NoReturn

HEADER_LIMIT = 64 * 1024
"""Bytes of an extended header, which holds what has no room in a plain one: a long name, say."""
HEADERS = 1000
"""Fields that headers may set for all that follows."""
SAMPLE_LIMIT = 128 * 1024**2
"""Bytes of the members of one sample."""
AFTER_END = 1024**2
"""Bytes after the end mark that must be zeros; tars are filled up to a whole record, of 10 kB."""


class Member(tarfile.TarInfo):
    """A member of a tar that is untrusted: its headers are small, and it is what it seems.

    `_proc_member` and what it calls are where tarfile wants subclasses to step in.
    """

    limit: ClassVar[int] = SAMPLE_LIMIT
    """Bytes of a member."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Member:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            # tarfile would take any of them for the end of the tar.
            raise tarfile.ReadError(f"{error}, {archive.offset} bytes from its start") from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extended = self.type in (
            *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
            *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
        )
        limit = HEADER_LIMIT if extended else self.limit
        if not 0 <= self.size <= limit or len(archive.pax_headers) > HEADERS:
            raise tarfile.ReadError(
                f"a member or header of {self.size} bytes; the limit is {limit}"
            )
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._sparse()
        found: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return found

    def _sparse(self, *_: Any) -> NoReturn:
        raise tarfile.ReadError("a sparse member, which can be larger than it looks")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _sparse


class Found(Member):
    """A member that is not read on the way, however large it says it is."""

    limit = 2**63 - 1


def each(
    stream: IO[bytes], mode: str, kind: type[Member] = Member
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The members of a tar one by one, none of them kept, and the tar that they are read from.

    mode: of `tarfile.open`. Raises what tarfile does, ReadError too where the tar ends too early.
    """
    count = 0
    # mode is no literal, which the overloads of `open` ask for.
    with tarfile.open(fileobj=stream, mode=mode, tarinfo=kind) as archive:  # type: ignore[call-overload, unused-ignore]
        while (info := archive.next()) is not None:
            archive.members.clear()
            count += 1
            yield archive, info
        rest = archive.fileobj.read(AFTER_END) if archive.fileobj else b""
    if not count or rest.count(0) < len(rest):
        raise tarfile.ReadError("zeros end it before its end" if count else "nothing is in it")


def sample_key(info: tarfile.TarInfo) -> str | None:
    """The key of the sample that a member belongs to; None for one that webdataset passes over."""
    from webdataset.tariterators import base_plus_ext  # which takes seconds, with torch

    key, _ = base_plus_ext(info.name)
    if not info.isreg() or key is None or re.match(r"__[^/]*__($|/)", info.name):
        return None
    return str(key)
