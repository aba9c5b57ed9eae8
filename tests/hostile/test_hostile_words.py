"""Words that a user or a stranger's recipe could give as places, levels and sources: each ends in
one line, and no word is followed to where it may not lead.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from fsspec.registry import registry
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from degflow_pipe.cli.app import app
from degflow_pipe.errors import DegflowError

EXAMPLES = int(os.environ.get("DEGFLOW_HOSTILE_EXAMPLES", "7"))
"""Of each kind of command; a hundred take some minutes."""
PATHS = ("file:", "local:", "x:")
DEAD = "http://127.0.0.1:9"
"""Nothing listens there."""
WORDS = st.text(st.characters(codec="utf-8"), max_size=40)
ODD = st.sampled_from(
    [
        *(
            "..",
            ".",
            "",
            "\0",
            "\n",
            "~",
            "$HOME",
            "%2e%2e",
            "*",
            "[",
            "]",
            "{",
            "?",
            "#",
            ":",
            "::",
        ),
        *("@", "a" * 300, "a" * 5000, "\x1b[31m", "\u202e", "-", "--help", "etc/passwd", " ", "'"),
        *('"', "//"),
    ]
)
SCHEMES = st.sampled_from(
    [
        *("memory", "file", "local", "s3", "gs", "az", "hf", "http", "https", "ftp", "sftp", "zip"),
        *("tar", "simplecache", "filecache", "reference", "data", "dir", "git", "github", "smb"),
        *("jar", "dask", "S3A", "x", "a+b", "javascript"),
    ]
)
URLS = st.builds(
    lambda scheme, chain, host, parts: f"{scheme}{chain}://{'/'.join([host, *parts])}",
    SCHEMES,
    st.sampled_from(["", "", "", "::memory", "::file", "::s3"]),
    ODD | WORDS | st.just("user:topsecret@127.0.0.1:9"),
    st.lists(ODD | WORDS, max_size=3),
)
NUMBERS = st.sampled_from(
    ["0", "1", "-1", "0.5", "1e400", "nan", "inf", "x2", "x0", "x", "1_0", "٣", "0x1", "1e-9", ""]
)
GRIDS = st.lists(NUMBERS | ODD, min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from([":".join(parts), ",".join(parts), f"x{':'.join(parts)}"])
)


def forget() -> None:
    for kind in set(registry.values()):
        kind.clear_instance_cache()


@pytest.fixture(scope="module", autouse=True)
def offline() -> Any:
    """Storages that are asked for are looked for where nothing is.

    fsspec keeps what it has opened, with where that was: other tests are to open their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        forget()
        for name in ("AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST", "HF_ENDPOINT"):
            patch.setenv(name, DEAD)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, DEAD)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield
    forget()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def ends_well(home: Path, words: list[str]) -> None:
    os.chdir(home)
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit | DegflowError), words
    said = f"{done.exception}{done.output}"
    assert "Traceback" not in said
    # Of a path of this machine, which has no credentials, all is shown.
    assert "topsecret" not in said or any(word.startswith(PATHS) for word in words)
    assert not (home.parent / "up").exists()


FEW = settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 50)


@pytest.mark.parametrize(
    "command",
    [
        ["ingest", "{}", "--store", "new"],
        ["ingest", "missing.png", "--store", "{}"],
        ["generate", "--t-grid", "x2", "--store", "{}"],
        ["shard", "--store", "{}", "-o", "new"],
        ["shard", "--store", "missing", "-o", "{}"],
        ["info", "{}"],
        ["verify", "{}"],
        ["export", "{}", "--to", "basicsr", "--scale", "2", "-o", "new"],
        ["report", "{}"],
    ],
    ids=lambda command: " ".join(command),
)
@FEW
@example(url="s3://user:topsecret@127.0.0.1:9/b/a")
@example(url="https://user:topsecret@127.0.0.1:9/a.png?X-Amz-Signature=topsecret")
@given(url=URLS)
def test_a_url_ends_in_one_line(home: Path, command: list[str], url: str) -> None:
    ends_well(home, [word.replace("{}", url) for word in command])


@FEW
@given(grid=GRIDS)
def test_levels_end_in_one_line(home: Path, tiny: str, grid: str) -> None:
    ends_well(home, ["generate", "--store", "missing", "--checkpoint", tiny, f"--t-grid={grid}"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | URLS | GRIDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *("kind", "checkpoint", "store", "out", "photos", "ingest", "generate", "shard", "engine"),
        *("num_gpus", "keep", "camera", "chain", "validate"),
    ]
)


@settings(FEW, max_examples=4 * EXAMPLES)
@given(changed=st.dictionaries(KEYS, VALUES, max_size=3))
def test_a_recipe_ends_in_one_line(home: Path, tiny: str, changed: dict[str, Any]) -> None:
    recipe = {
        "kind": "run",
        "checkpoint": tiny,
        "photos": ["missing"],
        "ingest": {"patch": 64},
        "generate": {"t_grid": "x2"},
        "shard": {"name": "degflow"},
        **changed,
    }
    text = yaml.safe_dump(json.loads(json.dumps(recipe)), allow_unicode=True)
    (home / "recipe.yaml").write_text(text, encoding="utf-8", errors="replace")
    ends_well(home, ["run", "recipe.yaml"])
