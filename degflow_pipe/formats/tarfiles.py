"""Members of tars that may be a stranger's: no header of theirs takes memory or time at will."""

from __future__ import annotations

import tarfile
from typing import Any, NoReturn

HEADER_LIMIT = 64 * 1024
"""Bytes of an extended header, which holds what has no room in a plain one: a long name, say."""
HEADERS = 1000
"""Fields that headers may set for all that follows."""
SAMPLE_LIMIT = 128 * 1024**2
"""Bytes of the members of one sample."""


class Member(tarfile.TarInfo):
    """A member of a tar that is untrusted: its headers are small, and it is what it seems.

    `_proc_member` and what it calls are where tarfile wants subclasses to step in.
    """

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
        limit = HEADER_LIMIT if extended else SAMPLE_LIMIT
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
