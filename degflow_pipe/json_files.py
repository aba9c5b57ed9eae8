"""JSON that is read and written: finite, of no more depth than is meant, equal bytes for equal
values, and with a sum of its own where damage must be found.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from degflow_pipe import files
from degflow_pipe.errors import FileError

DEPTH = 50
"""Lists and mappings within one another in a JSON file."""
DIGITS = 18
"""Of a whole number in a JSON file; no size, count or offset has more."""


def _whole_number(text: str) -> int:
    if len(text) > DIGITS + 1:
        raise ValueError(f"{text[:DIGITS]}... is too large a number")
    return int(text)


def _real_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:DIGITS]} is not a number that can be")
    return value


def parse(data: bytes | str) -> Any:
    """JSON whose numbers are finite and whose texts are text.

    Raises ValueError for anything else, also for what is nested too deep, NaN, numbers of more than
    DIGITS digits, NUL and halves of surrogate pairs.
    """
    try:
        text = data if isinstance(data, str) else data.decode()
        # Without an escape, every other quote ends a string.
        outside = _STRING.sub("", text) if "\\" in text else "".join(text.split('"')[::2])
        # A ledger has millions of numbers: each is looked at where one may be too large alone.
        careful = "e" in outside or "E" in outside or _LONG in outside.translate(_ZEROS)
        value = (_CAREFUL if careful else _PLAIN).decode(text)
        if text.count("[") + text.count("{") > DEPTH:
            _check_depth(outside)
        # An escape is the only way in for what is no text; few files have one.
        if "\\u" in text and re.search(r"\\u(?i:d[89a-f]|0000)", text):
            check_texts(value)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value


_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ZEROS, _LONG = str.maketrans("123456789", "000000000"), "0" * (DIGITS + 1)
_PLAIN = json.JSONDecoder(parse_constant=_real_number)
_CAREFUL = json.JSONDecoder(
    parse_int=_whole_number, parse_float=_real_number, parse_constant=_real_number
)
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes({*range(256)} - {*b"[]{}"})


def _check_depth(outside: str) -> None:
    """Raises ValueError for lists and mappings that are nested deeper than DEPTH.

    outside: JSON that could be read, without its strings.
    """
    left = outside.encode().translate(_ALIKE, _NO_BRACKETS)
    for _ in range(DEPTH):  # each time those that are innermost go
        left = left.replace(b"[]", b"")
        if not left:
            return
    raise ValueError("nested too deep")


def check_texts(value: Any) -> None:
    """Raises ValueError where a text in the value has NUL or half a surrogate pair in it, which no
    file's name can have and nothing can write.
    """
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += [*item, *item.values()]
        elif isinstance(item, list):
            left += item
        elif isinstance(item, str):
            if "\0" in item:
                raise ValueError("a text has NUL in it")
            item.encode()


def read(path: Path, limit: int = files.TEXT_LIMIT) -> Any:
    """A JSON file as `parse` takes it; raises FileError naming it."""
    data = files.read_bytes(path, limit)
    try:
        return parse(data)
    except ValueError as error:
        raise FileError(f"{path}: not JSON: {error}") from error


def text_of(value: Any) -> str:
    """One JSON value with sorted keys, so that equal values give equal bytes.

    Figures that are infinite or no number, such as the PSNR of equal pictures, are null.
    """
    return json.dumps(_finite(value), indent=1, sort_keys=True) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(path: Path, value: Any) -> None:
    """A JSON file: see `text_of`."""
    files.write_text(path, text_of(value))


SUM = "sum"
"""Key of a summed file's own sum."""


def write_summed(path: Path, value: dict[str, Any]) -> None:
    """A JSON file that holds the SHA-256 of all else in it, so that `read_summed` finds damage."""
    write(path, {**value, SUM: _sum_of(value)})


def read_summed(
    path: Path, limit: int = files.TEXT_LIMIT, *, needed: bool = True
) -> dict[str, Any]:
    """What `write_summed` wrote, but for the sum. Raises FileError for any byte that differs.

    needed: whether a file without a sum is damaged; where it is not, it is taken as it is.
    """
    data = files.read_bytes(path, limit)
    try:
        value = parse(data)
        if not isinstance(value, dict):
            raise ValueError("not a mapping of keys to values")
        if needed and SUM not in value:
            raise ValueError("no sum in it")
        if SUM in value and not fits_sum(data, value):
            raise ValueError("it differs from its own sum")
    except ValueError as error:
        raise FileError(f"{path} is damaged: {error}") from error
    value.pop(SUM, None)
    return value


def fits_sum(data: bytes, value: dict[str, Any]) -> bool:
    """Whether the bytes, whose value this is, sum included, are what `write_summed` wrote."""
    rest = {key: item for key, item in value.items() if key != SUM}
    # By its bytes too: blanks and escapes can be written in more than one way.
    return value[SUM] == _sum_of(rest) and data == text_of(value).encode()


def _sum_of(value: dict[str, Any]) -> str:
    return hashlib.sha256(text_of(value).encode()).hexdigest()
