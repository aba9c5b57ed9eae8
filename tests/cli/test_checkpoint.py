"""checkpoint import and export as commands: what they write, and what they refuse in one line."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from degflow_pipe.checkpoint.folder import write_checkpoint
from degflow_pipe.checkpoint.published_files import export_published
from degflow_pipe.model.config import PRESETS, ModelConfig, RAEConfig, VelocityConfig
from degflow_pipe.model.published import our_shapes

Run = Callable[..., Any]
RAE = RAEConfig(width=4, latent_channels=4)
SMALL = ModelConfig(RAE, VelocityConfig(width=8, multipliers=(1, 2), blocks=1))


def write_small(folder: Path, model: ModelConfig = SMALL) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        key: 0.1 * torch.randn(shape, generator=generator)
        for key, shape in our_shapes(model).items()
    }
    levels = [{"name": "HR", "t": 0.0}, {"name": "LR", "t": 1.0}]
    write_checkpoint(folder, weights, "", name="small", model=model, levels=levels, s_max=4.0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint `small` and its `rae.pt` and `flow.pt`. Do not write to it."""
    folder = tmp_path_factory.mktemp("exported")
    write_small(folder / "small")
    export_published(str(folder / "small"), folder / "rae.pt", folder / "flow.pt")
    return folder


@pytest.fixture
def loaded(exported: Path) -> dict[str, Any]:
    """What the two files hold, to change and `save`."""
    return {
        kind: torch.load(exported / f"{kind}.pt", weights_only=True) for kind in ("rae", "flow")
    }


def save(folder: Path, loaded: dict[str, Any]) -> None:
    for kind, value in loaded.items():
        torch.save(value, folder / f"{kind}.pt")


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def refused(degflow: Run, tmp_path: Path) -> Callable[..., str]:
    """`refused(rae, flow, ...)`: the one line with which an import fails, writing nothing."""

    def call(rae: Path | str, flow: Path | str, *more: str, code: int = 1) -> str:
        before = files_of(tmp_path)
        command = ["checkpoint", "import", "--rae", rae, "--flow", flow, "-o", "out", *more]
        done = degflow(*command, cwd=tmp_path, code=code)
        assert done.out == ""
        assert done.err == f"error: {done.error}\n"
        assert len(done.error) < 1000
        assert files_of(tmp_path) == before
        return str(done.error)

    return call


# What is written


def test_import_writes_a_checkpoint_that_works(
    degflow: Run, exported: Path, photo_folder: Path, tmp_path: Path
) -> None:
    paths = {kind: exported / f"{kind}.pt" for kind in ("rae", "flow")}
    command = ["--rae", paths["rae"], "--flow", paths["flow"], "-o", "out", "--name", "theirs"]
    said = degflow("checkpoint", "import", *command, "--json", cwd=tmp_path).json
    shown = [name for name in files_of(tmp_path / "out") if not name.startswith(".")]
    assert shown == ["README.md", "config.json", "model.safetensors"]
    info = degflow("info", "out", "--json", cwd=tmp_path).json
    assert said["id"] == info["id"] and info["id"].startswith("theirs-")
    assert (
        info["model"]
        == said["model"]
        == ModelConfig(RAE, SMALL.velocity, PRESETS["published"].solver).to_dict()
    )
    assert [(v["name"], v["t"]) for v in info["levels"]] == [("HR", 0), ("x2", 1 / 3), ("x4", 1)]
    assert info["scale"]["s_max"] == said["s_max"] == 4.0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "imported from the authors' files" in card and "Licence: see the authors'" in card
    for kind, path in paths.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest in card
        assert info["training"]["imported"][kind]["sha256"] == digest
    assert degflow("verify", "out", "--json", cwd=tmp_path).json["whole"]
    photo = photo_folder / "astronaut.png"
    degflow("preview", photo, "--checkpoint", "out", "--side", "64", "--t-grid", "1", cwd=tmp_path)
    assert (tmp_path / "strip.png").is_file()


def test_export_then_import_is_the_same_to_the_bit(
    degflow: Run, exported: Path, tmp_path: Path
) -> None:
    files = ["--rae", "a/rae.pt", "--flow", "a/flow.pt"]
    said = degflow("checkpoint", "export", exported / "small", *files, "--json", cwd=tmp_path).json
    assert (said["rae"], said["flow"]) == ("a/rae.pt", "a/flow.pt")
    assert files_of(tmp_path) == ["a", "a/flow.pt", "a/rae.pt"]
    degflow("checkpoint", "import", *files, "-o", "back", cwd=tmp_path)
    weights = "model.safetensors"
    assert (tmp_path / "back" / weights).read_bytes() == (exported / "small" / weights).read_bytes()


def test_plain_t_params_of_any_kind_do_not_matter(
    degflow: Run, loaded: dict[str, Any], tmp_path: Path
) -> None:
    loaded["rae"]["t_params"] = [1, 0.5, "text", {"a": torch.ones(3), "b": None}, (True, 10**400)]
    save(tmp_path, loaded)
    files = ["--rae", "rae.pt", "--flow", "flow.pt", "-o", "out", "--json"]
    assert degflow("checkpoint", "import", *files, cwd=tmp_path).json["s_max"] == 4.0


def test_group_alone_shows_its_help(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "degflow_pipe", "checkpoint"]
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    said = shown.stdout + shown.stderr
    assert "Usage" in said and "import" in said and "export" in said
    assert "Traceback" not in said


# Files that are not the authors'


def drop(loaded: Any) -> None:
    del loaded["rae"]["decoder"]["conv_cat1.bias"]


def drop_size(loaded: Any) -> None:
    del loaded["flow"]["model"]["all_modules.2.weight"]


def add(loaded: Any) -> None:
    loaded["flow"]["model"]["all_modules.99.weight"] = torch.ones(2)


def bend(loaded: Any) -> None:
    loaded["flow"]["model"]["all_modules.1.bias"] = torch.ones(31)


def bend_sigmas(loaded: Any) -> None:
    loaded["flow"]["model"]["sigmas"] = torch.ones(3)


def flatten(loaded: Any) -> None:
    loaded["rae"]["encoder"]["stem.weight"] = torch.tensor(1.0)


def widen(loaded: Any) -> None:
    for kind, value in loaded["rae"]["encoder"].items():
        loaded["rae"]["encoder"][kind] = value.double()


def whole_numbers(loaded: Any) -> None:
    loaded["rae"]["encoder"]["EB0.beta"] = torch.ones(1, 4, 1, 1, dtype=torch.int32)


def not_a_tensor(loaded: Any) -> None:
    loaded["rae"]["encoder"]["EB0.beta"] = [1.0, 2.0]


def not_a_number(loaded: Any) -> None:
    loaded["rae"]["decoder"]["DB1.gamma"][0, 1] = float("nan")


def infinite(loaded: Any) -> None:
    loaded["flow"]["model"]["all_modules.1.bias"][3] = float("inf")


def sparse(loaded: Any) -> None:
    loaded["rae"]["encoder"]["EB0.beta"] = torch.ones(1, 4, 1, 1).to_sparse()


def without_memory(loaded: Any) -> None:
    loaded["rae"]["encoder"]["EB0.beta"] = torch.ones(1, 4, 1, 1, device="meta")


def repeated(loaded: Any) -> None:
    huge = torch.zeros(1).expand(1 << 40)
    loaded["rae"]["encoder"]["EB0.beta"] = huge


def all_gone(loaded: Any) -> None:
    loaded["flow"]["model"] = {}


def no_dict(loaded: Any) -> None:
    loaded["rae"] = [1, 2]


def no_state(loaded: Any) -> None:
    loaded["rae"]["encoder"] = 3


def no_part(loaded: Any) -> None:
    del loaded["rae"]["decoder"]


def more_parts(loaded: Any) -> None:
    loaded["flow"]["ema"] = loaded["flow"]["model"]


def twice(loaded: Any) -> None:
    encoder = loaded["rae"]["encoder"]
    encoder["_orig_mod.stem.bias"] = encoder["stem.bias"]


def other_latent(loaded: Any) -> None:
    encoder, decoder = loaded["rae"]["encoder"], loaded["rae"]["decoder"]
    encoder["conv_out.weight"] = torch.ones(3, 16, 3, 3)
    encoder["conv_out.bias"] = torch.ones(3)
    decoder["conv_in.weight"] = torch.ones(16, 3, 3, 3)


def no_text(loaded: Any) -> None:
    loaded["flow"]["model"][7] = torch.ones(1)


def steering_key(loaded: Any) -> None:
    loaded["rae"]["encoder"]["\x1b[2J" + 10_000 * "x"] = torch.ones(1)


@pytest.mark.parametrize(
    ("change", "file", "says"),
    [
        (drop, "rae", "decoder.conv_cat1.bias is missing, expected of shape [4]"),
        (drop_size, "flow", "model: all_modules.2.weight is missing"),
        (add, "flow", "model.all_modules.99.weight is unexpected"),
        (bend, "flow", "model.all_modules.1.bias is of shape [31], expected [32]"),
        (bend_sigmas, "flow", "model.sigmas is of shape [3], expected [1000]"),
        (flatten, "rae", "encoder: stem.weight is of shape [], expected [out, in, 3, 3]"),
        (widen, "rae", "of torch.float64, expected torch.float32; and 63 more"),
        (whole_numbers, "rae", "encoder: EB0.beta is of torch.int32, expected torch.float32"),
        (not_a_tensor, "rae", "encoder: EB0.beta is a list, expected a tensor"),
        (not_a_number, "rae", "decoder: NaN or infinite values, numbers expected: DB1.gamma"),
        (infinite, "flow", "model: NaN or infinite values, numbers expected: all_modules.1.bias"),
        (sparse, "rae", "encoder: EB0.beta is a torch.sparse_coo tensor"),
        (without_memory, "rae", "encoder: EB0.beta is a torch.strided tensor on meta"),
        (repeated, "rae", "encoder: its tensors claim"),
        (all_gone, "flow", "model: all_modules.2.weight is missing"),
        (no_dict, "rae", "a dict was expected, found a list"),
        (no_state, "rae", "encoder: a dict of tensors was expected, found a int"),
        (no_part, "rae", "decoder is missing; expected encoder, decoder, t_params"),
        (more_parts, "flow", "ema is unexpected; expected model"),
        (twice, "rae", "encoder: stem.bias is there twice"),
        (other_latent, "flow", "model.all_modules.2.weight is of shape [8, 4, 3, 3], expected [8"),
        (no_text, "flow", "model.a key that is a int is unexpected"),
        (steering_key, "rae", "is unexpected"),
    ],
)
def test_file_that_does_not_fit_is_named_with_its_keys(
    change: Callable[[Any], None],
    file: str,
    says: str,
    loaded: dict[str, Any],
    refused: Callable[..., str],
    tmp_path: Path,
) -> None:
    change(loaded)
    save(tmp_path, loaded)
    error = refused("rae.pt", "flow.pt")
    assert error.startswith(f"{file}.pt: ")
    assert "\x1b" not in error
    if change is not steering_key:  # too long to be quoted whole
        assert says in error


def test_first_few_keys_are_said_with_their_number(
    loaded: dict[str, Any], refused: Callable[..., str], tmp_path: Path
) -> None:
    lost = [key for key in loaded["rae"]["decoder"] if key.startswith("DB2.RB0")]
    assert len(lost) == 6
    for key in lost:
        del loaded["rae"]["decoder"][key]
    save(tmp_path, loaded)
    error = refused("rae.pt", "flow.pt")
    assert all(key in error for key in lost[:3]) and not any(key in error for key in lost[3:])
    assert error.endswith("; and 3 more")


class Code:
    """Pickles as a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.mark.parametrize("where", ["t_params", "encoder", "key"])
def test_pickled_code_is_refused_and_not_run(
    where: str, loaded: dict[str, Any], refused: Callable[..., str], tmp_path: Path
) -> None:
    made = tmp_path / "made-by-code"
    if where == "key":
        loaded["rae"]["encoder"]["stem.bias"] = Code(made)
    else:
        loaded["rae"][where] = Code(made)
    save(tmp_path, loaded)
    error = refused("rae.pt", "flow.pt")
    assert error.startswith("rae.pt: refused, and nothing in it was run")
    assert "exec" in error and "saved again with tensors" in error
    assert not made.exists()
    torch.load(tmp_path / "rae.pt", weights_only=False)
    assert made.exists(), "the file under test holds no code that would run"


class Hungry:
    """Unpickles as a bytearray of 100 bytes; any other number would be as easy to ask for."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (100,)


def test_objects_that_take_memory_at_will_are_refused(
    loaded: dict[str, Any], refused: Callable[..., str], tmp_path: Path
) -> None:
    loaded["rae"]["t_params"] = Hungry()
    save(tmp_path, loaded)
    assert isinstance(torch.load(tmp_path / "rae.pt", weights_only=True)["t_params"], bytearray)
    assert "bytearray" in refused("rae.pt", "flow.pt")


def test_files_given_the_wrong_way_round(exported: Path, refused: Callable[..., str]) -> None:
    error = refused(exported / "flow.pt", exported / "rae.pt")
    assert error == f"{exported}/flow.pt: this is the file for --flow, it was given as --rae"
    error = refused(exported / "rae.pt", exported / "rae.pt")
    assert error == f"{exported}/rae.pt: this is the file for --rae, it was given as --flow"


@pytest.mark.parametrize("kept", [0, 1, 100, 5000, -1, -100])
def test_truncated_file(
    kept: int, exported: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    data = (exported / "flow.pt").read_bytes()
    (tmp_path / "flow.pt").write_bytes(data[:kept])
    error = refused(exported / "rae.pt", "flow.pt")
    assert error.startswith("flow.pt: not a file of torch.save, or not whole")
    assert "download it again" in error


def test_flipped_byte_of_a_weight(
    exported: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    data = bytearray((exported / "rae.pt").read_bytes())
    with zipfile.ZipFile(exported / "rae.pt") as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    content = zipfile.ZipFile(exported / "rae.pt").read(largest.filename)
    data[data.index(content) + 17] ^= 1
    (tmp_path / "rae.pt").write_bytes(data)
    error = refused("rae.pt", exported / "flow.pt")
    assert error == f"rae.pt: damaged at {largest.filename}; download it again"


def test_file_of_another_kind(exported: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not a checkpoint\n" * 100)
    assert refused("text.pt", exported / "flow.pt").startswith("text.pt: not a file of torch.save")
    (tmp_path / "folder").mkdir()
    assert refused(exported / "rae.pt", "folder").startswith("folder: a folder")
    os.mkfifo(tmp_path / "pipe")
    assert refused("pipe", exported / "flow.pt").startswith("pipe: not a file of torch.save")
    assert "No such file" in refused("absent.pt", exported / "flow.pt")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    assert "other.zip: damaged, or not a file of torch.save" in refused(
        "other.zip", exported / "flow.pt"
    )
    with zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    assert refused("packed.pt", exported / "flow.pt").startswith("packed.pt: compressed")
    with zipfile.ZipFile(tmp_path / "pickle.pt", "w") as archive:
        archive.writestr("archive/data.pkl", bytes(9 << 20))
    assert "bytes that are not tensors" in refused("pickle.pt", exported / "flow.pt")
    with (tmp_path / "large.pt").open("wb") as file:
        file.truncate((4 << 30) + 1)  # takes no space
    assert "bytes are too many" in refused("large.pt", exported / "flow.pt")


@pytest.mark.parametrize("s_max", ["1", "0.5", "nan", "inf"])
def test_wrong_s_max(s_max: str, exported: Path, refused: Callable[..., str]) -> None:
    error = refused(exported / "rae.pt", exported / "flow.pt", "--s-max", s_max, code=2)
    assert error.startswith("--s-max must be above 1")


def test_checkpoint_that_is_there_already_is_kept(
    degflow: Run, exported: Path, contents: Callable[[Path], dict[str, str]], tmp_path: Path
) -> None:
    write_small(tmp_path / "out")
    before = contents(tmp_path)
    files = ["--rae", exported / "rae.pt", "--flow", exported / "flow.pt", "-o", "out"]
    done = degflow("checkpoint", "import", *files, cwd=tmp_path, code=1)
    assert "out holds a checkpoint already" in done.error
    assert contents(tmp_path) == before


# What cannot be exported


@pytest.mark.parametrize(
    ("option", "value"),
    [("time_embedding", "smooth"), ("condition", "skips"), ("view", "local")],
)
def test_options_that_are_not_published_cannot_be_exported(
    option: str, value: str, degflow: Run, tmp_path: Path
) -> None:
    velocity = {"width": 8, "multipliers": (1, 2), "blocks": 1, option: value}
    write_small(tmp_path / "ours", ModelConfig(RAE, VelocityConfig(**velocity)))
    before = files_of(tmp_path)
    files = ["--rae", "rae.pt", "--flow", "flow.pt"]
    error = degflow("checkpoint", "export", "ours", *files, cwd=tmp_path, code=1).error
    assert f"velocity.{option} '{value}'" in error and error.startswith("ours cannot be exported")
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("there", ["rae.pt", "flow.pt"])
def test_export_overwrites_only_when_told(
    there: str, degflow: Run, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / there).write_text("precious")
    command = ["checkpoint", "export", exported / "small", "--rae", "rae.pt", "--flow", "flow.pt"]
    error = degflow(*command, cwd=tmp_path, code=2).error
    assert error.startswith(f"{there} is there already") and "--overwrite" in error
    assert files_of(tmp_path) == [there]
    assert (tmp_path / there).read_text() == "precious"
    degflow(*command, "--overwrite", cwd=tmp_path)
    for name in ("rae.pt", "flow.pt"):
        assert (tmp_path / name).read_bytes() == (exported / name).read_bytes()


def test_export_into_one_file_or_a_folder(degflow: Run, exported: Path, tmp_path: Path) -> None:
    command = ["checkpoint", "export", exported / "small", "--overwrite", "--flow", "x.pt", "--rae"]
    assert "name one file" in degflow(*command, "./x.pt", cwd=tmp_path, code=2).error
    (tmp_path / "folder").mkdir()
    assert "folder is a folder" in degflow(*command, "folder", cwd=tmp_path, code=2).error
    assert files_of(tmp_path) == ["folder"]


def test_export_that_cannot_be_written_leaves_nothing(
    degflow: Run, exported: Path, tmp_path: Path
) -> None:
    command = ["checkpoint", "export", exported / "small", "--rae", "rae.pt", "--flow", "flow.pt"]
    sizes = sorted((exported / name).stat().st_size for name in ("rae.pt", "flow.pt"))
    done = degflow(*command, cwd=tmp_path, code=1, largest_file=sizes[1] - 1)
    assert "cannot write" in done.error
    assert files_of(tmp_path) == []


def test_damaged_or_absent_checkpoint_is_not_exported(
    degflow: Run, exported: Path, tmp_path: Path
) -> None:
    files = ["--rae", "rae.pt", "--flow", "flow.pt"]
    error = degflow("checkpoint", "export", "absent", *files, cwd=tmp_path, code=1).error
    assert "no checkpoint absent" in error
    write_small(tmp_path / "ours")
    config = tmp_path / "ours" / "config.json"
    values = json.loads(config.read_text())
    del values["sum"]
    values["model"]["rae"]["width"] += 1
    config.write_text(json.dumps(values))
    error = degflow("checkpoint", "export", "ours", *files, cwd=tmp_path, code=1).error
    assert "model.safetensors does not fit config.json" in error
    assert not (tmp_path / "rae.pt").exists()
