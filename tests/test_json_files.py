"""Reading JSON that may be anybody's: what is refused, however it is written."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degflow_pipe.json_files import DEPTH, DIGITS, parse

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=20
) | st.sampled_from(["[[{{", "\\", '"', "1e999", "9" * 40, "]}", '\\\\"'])
NUMBERS = st.integers(-(10**DIGITS) + 1, 10**DIGITS - 1) | st.floats(allow_nan=False).filter(
    math.isfinite
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_was_written_is_read(value: Any, indent: int | None, plain: bool) -> None:
    assert parse(json.dumps(value, indent=indent, ensure_ascii=plain)) == value


@given(
    st.integers(10 ** (DIGITS + 1), 10**60),
    st.sampled_from(["{}", "-{}", '["a", {}]', '{{"3": {}}}']),
)
def test_a_number_too_large_is_refused_wherever_it_stands(number: int, around: str) -> None:
    with pytest.raises(ValueError, match="too large a number"):
        parse(around.format(number))


@pytest.mark.parametrize("number", ["1e999", "-2E+400", "[0.5, 1e309]", "NaN", "[-Infinity]"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="is not a number that can be"):
        parse(number)


@pytest.mark.parametrize("inner", ["[", '{"a": [', '[{"[": ', '{"\\"": '])
def test_what_is_nested_too_deep_is_refused_and_no_less(inner: str) -> None:
    opened = inner.count("[") + inner.count("{") - inner.count('"["')

    def nested(times: int, beside: str) -> str:
        closed = "".join(
            {"[": "]", "{": "}"}.get(c, "") for c in reversed(inner.replace('"["', ""))
        )
        text = "0"
        for _ in range(times):
            text = inner + text + closed
        return f"[{text}, {beside}]"

    fits = (DEPTH - 1) // opened
    many = ", ".join(["[]"] * 60)  # as many brackets beside it change nothing
    parse(nested(fits, many))
    with pytest.raises(ValueError, match="nested too deep"):
        parse(nested(fits + 1, many))
