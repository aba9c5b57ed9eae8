"""YAML that people write, read by its plain values: the core schema of YAML 1.2 and no more.

PyYAML goes by YAML 1.1, in which `1e-3` is a text, `010` is 8, `1:30` is 90 and `no` is false. Here
a number is what looks like one, `true` and `false` are the only booleans, and there are no tags,
anchors, aliases or merge keys, none of which a recipe needs and some of which make a large thing of
a small file. Source: YAML 1.2.2, 10.3 (core schema).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import yaml

from degflow_pipe import json_files

DEEPEST = 20
"""Lists and mappings within one another."""


class _Loader(yaml.SafeLoader):
    """PyYAML's reader with other rules for what a plain word means."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError(f"anchors and aliases are not read{_place(event.start_mark)}")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise yaml.YAMLError(f"tags such as {tag[:40]} are not read{_place(event.start_mark)}")
        return super().compose_node(parent, index)

    def fetch_flow_collection_start(self, token: Any) -> None:
        self._check_depth()
        super().fetch_flow_collection_start(token)

    def add_indent(self, column: int) -> bool:
        self._check_depth()
        return bool(super().add_indent(column))

    def _check_depth(self) -> None:
        # While it is scanned: the parser's own time grows with the square of the depth.
        if self.flow_level + len(self.indents) > DEEPEST:
            raise yaml.YAMLError(f"nested too deep{_place(self.get_mark())}")


def _place(mark: Any) -> str:
    return f", line {mark.line + 1}"


def _null(loader: _Loader, node: Any) -> None:
    return None


def _bool(loader: _Loader, node: Any) -> bool:
    return str(node.value).lower() == "true"


def _int(loader: _Loader, node: Any) -> int:
    text = str(node.value)
    if len(text) > json_files.DIGITS + 1:
        raise yaml.YAMLError(f"{text[:20]}... is too large a number{_place(node.start_mark)}")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text if base == 10 else text[2:], base)


def _float(loader: _Loader, node: Any) -> float:
    """Such as 1e5 is a whole number, as steps are written."""
    text = str(node.value).lower().replace(".inf", "inf").replace(".nan", "nan")
    value = float(text)
    if not math.isfinite(value):
        raise yaml.YAMLError(
            f"{node.value[:20]} is not a number that can be{_place(node.start_mark)}"
        )
    whole = re.fullmatch(r"[-+]?[0-9]+e\+?[0-9]+", text) and abs(value) < 10**json_files.DIGITS
    return int(value) if whole else value


def _str(loader: _Loader, node: Any) -> str:
    return str(node.value)


def _seq(loader: _Loader, node: Any) -> list[Any]:
    return [loader.construct_object(item, deep=True) for item in node.value]


def _map(loader: _Loader, node: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.YAMLError(f"a key must be a plain word{_place(key_node.start_mark)}")
        key = loader.construct_object(key_node, deep=True)
        if key in found:
            raise yaml.YAMLError(
                f"the key {str(key)[:40]!r} is there twice{_place(key_node.start_mark)}"
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


# PyYAML copies its own before it adds to them.
_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {}
for _tag, _pattern, _first, _make in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""], _null),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF"), _bool),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789"), _int),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
        _float,
    ),
    ("str", None, None, _str),
    ("seq", None, None, _seq),
    ("map", None, None, _map),
):
    _name = f"tag:yaml.org,2002:{_tag}"
    _Loader.add_constructor(_name, _make)
    if _pattern is not None:
        _Loader.add_implicit_resolver(_name, re.compile(rf"(?:{_pattern})\Z"), _first)


def parse_yaml(data: bytes) -> Any:
    """The value of one YAML document in UTF-8 or UTF-16. Raises ValueError for anything else."""
    try:
        value = yaml.load(data, _Loader)
        json_files.check_texts(value)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # Overflow: of an escape such as \Uffffffff; recursion is a second line of defence.
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    return value


def yaml_lines(values: dict[str, Any], indent: str = "") -> list[str]:
    """YAML with a key a line, and a list's item a line; texts are quoted as in JSON."""
    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += [f"{indent}{key}:", *yaml_lines(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found += [f"{indent}{key}:", *(f"{indent}  - {json.dumps(item)}" for item in value)]
        else:
            found.append(f"{indent}{key}: {_plain(value)}")
    return found


def _plain(value: Any) -> str:
    if isinstance(value, float) and value and abs(value) < 1e-3:
        return f"{value:.6e}"  # YAML takes 1e-07 for a text
    return json.dumps(value)
