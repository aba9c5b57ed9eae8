"""What every check of a photo for damage needs."""

from __future__ import annotations

import re
from errno import EMFILE, ENFILE, ENOMEM

ZEROS = 64
"""Zero bytes in a row that no coder writes: 512 bits of its most frequent symbol alone."""

RUN = re.compile(rb"\0{%d,}" % ZEROS)


class Damage(ValueError):
    """A photo whose pixels are not, or may not be, those that were written."""


def is_lack(error: BaseException | None) -> bool:
    """Whether it is the machine that lacks memory or open files, and the photo is not to blame."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE, ENOMEM):
            return True
        error = error.__cause__
    return False


def refuse_zeros(data: bytes, what: str) -> None:
    """Raises Damage for a run of zeros, a lost block of a disk, in entropy-coded data."""
    if found := RUN.search(data):
        length = found.end() - found.start()
        raise Damage(f"{length} zero bytes in a row in {what}, as where a block was lost")
