"""Checkpoint folders: model.safetensors, config.json and a model card (README.md)."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from degflow_pipe import files, json_files, shipped
from degflow_pipe.checkpoint.calibration import Calibration
from degflow_pipe.checkpoint.verdict import HEADING, Judged, Verdict, section, verdict_of
from degflow_pipe.choices import Noise, check_choice, meant
from degflow_pipe.errors import CheckpointError, DegflowError, FileError, UsageError
from degflow_pipe.model.config import ModelConfig
from degflow_pipe.noise.model import LEAST_SIDE, NoiseModel
from degflow_pipe.places import place_of
from degflow_pipe.settings import Apart, AtMost, Longest, read, shown

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "degflow-pipe checkpoint"
VERSION = 1
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_NO_BANK = ": one is wanted here; a bank is for `ingest`, `generate`, `run` and `LazyPairs`"
CONFIG_LIMIT = 8 * 1024**2
"""Bytes of config.json; with the noise of three levels it has some 200,000."""
S_MAX_LIMIT = 100.0
MOST_LEVELS = 100
MAPPING = "t = (s - 1) / (s_max - 1)"


@dataclass(frozen=True)
class CheckpointInfo:
    """What config.json says.

    levels: the training levels, `[{"name": "HR", "t": 0.0}, ...]`. s_max: the SR scale of t = 1.
    training: settings and figures of the training run. data: source and licence of the pairs.
    calibration: what `calibrate` measured; None where it has not. card_sha256: of README.md; empty
    where it is not known. judged: figures that the verdict is made of. card_becomes: SHA-256 of
    the README.md that is being put in the place of that of card_sha256; empty where none is.
    """

    name: str
    model: ModelConfig
    levels: list[dict[str, Any]]
    s_max: float
    weights_sha256: str
    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    card_sha256: str = ""
    judged: Judged | None = None
    card_becomes: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether it is any good, by what was measured so far."""
        return verdict_of(self.judged, self.calibration)

    @property
    def id(self) -> str:
        """Name and digest of weights, architecture and solver: equal ids give equal pictures."""
        text = json.dumps([self.weights_sha256, self.model.to_dict()], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def t_of_scale(self, s: float) -> float:
        """Level of an SR scale: by the calibration, else t = (s - 1) / (s_max - 1).

        Raises UsageError for a scale outside [1, s_max].
        """
        if not 1 <= s <= self.s_max:
            raise UsageError(
                f"scale {s:g} is outside the scales of this checkpoint, 1 to {self.s_max:g} (t = 1)"
            )
        if self.calibration is None:
            return (s - 1) / (self.s_max - 1)
        return self.calibration.t_of_scale(s)

    def scale_of_t(self, t: float) -> float:
        """SR scale of a level, to six decimals: `t_of_scale` turned round."""
        s = 1 + t * (self.s_max - 1) if self.calibration is None else self.calibration.scale_of_t(t)
        return round(s, 6)

    def noise_model(self, noise: str, own_pixels: bool = False) -> NoiseModel | None:
        """What `noise` means for this checkpoint: see `DegFlow.degrade`. None for no noise.

        own_pixels: for LR on the camera's own pixels, else for those of HR's size. Raises
        UsageError where it was not measured.
        """
        check_choice("noise", noise, Noise)
        calibration = self.calibration
        if noise == "none" or (noise == "auto" and calibration is None):
            return None
        if calibration is None:
            raise UsageError(
                f"`noise=calibrated`: {self.id} has no noise model: measure it with "
                "`calibrate()`, or say `noise=none`"
            )
        if not own_pixels:
            return calibration.noise
        if calibration.own_noise is None:
            raise UsageError(
                f"`noise={noise}` at an `sr_scale`: the noise of {self.id} was not measured "
                f"on the camera's own pixels: run `calibrate()` again, on pictures of "
                f"{LEAST_SIDE} x s pixels at least, or say `noise=none`"
            )
        return calibration.own_noise

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "model": self.model.to_dict(),
            "levels": self.levels,
            "scale": {"mapping": MAPPING, "s_max": self.s_max},
            "weights_sha256": self.weights_sha256,
            "training": self.training,
            "data": self.data,
            **({"calibration": self.calibration.to_dict()} if self.calibration else {}),
            **({"card_sha256": self.card_sha256} if self.card_sha256 else {}),
            **({"judged": self.judged.to_dict()} if self.judged else {}),
            **({"card_becomes": self.card_becomes} if self.card_becomes else {}),
        }


def holds_checkpoint(path: Path) -> bool:
    """Whether a folder is a checkpoint's."""
    return files.exists(path / CONFIG)


def find_checkpoint(path_or_name: str) -> Path:
    """A checkpoint folder by path, or a shipped one by its name or id.

    Raises CheckpointError for neither.
    """
    path = place_of(path_or_name)
    if files.exists(path / CONFIG):
        return path
    if files.exists(path / "rae.json"):
        raise CheckpointError(
            f"{path} is a training that holds no checkpoint yet: run `train_lfm()` to its end"
        )
    found = shipped.find("checkpoints", path_or_name) or _of_id(path_or_name)
    if found is None:
        known = ", ".join(shipped.names("checkpoints"))
        here = [one.name for one in Path().iterdir() if (one / CONFIG).exists()]
        near = meant(path_or_name, [*shipped.names("checkpoints"), *here])
        raise CheckpointError(
            f"no checkpoint {path_or_name}: neither a folder with {CONFIG} nor one of the shipped "
            f"ones ({known}){near}{_NO_BANK if ',' in path_or_name else ''}"
        )
    return found


def _of_id(wanted: str) -> Path | None:
    """The shipped checkpoint of that id, as stores and messages name it."""
    if not re.fullmatch(r".+-[0-9a-f]{12}", wanted):
        return None
    every = (shipped.find("checkpoints", name) for name in shipped.names("checkpoints"))
    return next((folder for folder in every if folder and read_info(folder).id == wanted), None)


def own_checkpoint(path_or_name: str) -> Path:
    """A checkpoint folder that may be changed. Raises UsageError for a shipped one by name.

    It belongs to the installation, and whoever names it next would get another one.
    """
    folder = find_checkpoint(path_or_name)
    if folder != place_of(path_or_name):
        raise UsageError(
            f"{path_or_name} is a shipped checkpoint: copy its folder, {folder}, and give the copy"
        )
    return folder


@dataclass(frozen=True)
class _Config:
    """The keys of config.json and how long each may be."""

    format: str
    version: int
    name: Annotated[str, Longest(100)]
    model: Annotated[dict[str, Any], Apart()]
    levels: list[dict[str, Any]]
    scale: dict[str, Any]
    weights_sha256: Annotated[str, Longest(64)]
    training: Annotated[dict[str, Any], AtMost(10**18)] = field(default_factory=dict)
    data: Annotated[dict[str, Any], AtMost(10**18)] = field(default_factory=dict)
    calibration: Annotated[dict[str, Any] | None, Apart()] = None
    card_sha256: Annotated[str, Longest(64)] = ""
    judged: Annotated[dict[str, Any] | None, Apart()] = None
    card_becomes: Annotated[str, Longest(64)] = ""


@dataclass(frozen=True)
class _Level:
    name: Annotated[str, Longest(100)]
    t: float


@dataclass(frozen=True)
class _Scale:
    s_max: Annotated[float, AtMost(S_MAX_LIMIT)]
    mapping: str = MAPPING


def read_info(folder: Path) -> CheckpointInfo:
    """Read config.json, whose sum is checked where it has one: a hand-made file has none.

    Raises CheckpointError where it is damaged, foreign or too new.
    """
    path = folder / CONFIG
    data = files.read_bytes(path, CONFIG_LIMIT)
    try:
        values = json_files.parse(data)
    except ValueError as error:
        raise FileError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a {FORMAT}")
    if values.get("version") != VERSION:
        raise CheckpointError(
            f"{path} is of version {shown(values.get('version'))}, this degflow-pipe reads "
            f"{VERSION}: upgrade degflow-pipe"
        )
    if json_files.SUM in values and not json_files.fits_sum(data, values):
        raise CheckpointError(
            f"{path} is damaged, or was edited by hand: it differs from its own sum; where the "
            f'edit was meant, delete the key "{json_files.SUM}"'
        )
    values.pop(json_files.SUM, None)
    try:
        return _info(read(_Config, values, "config"))
    except (DegflowError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def check_name(name: str, where: str) -> None:
    """Raises UsageError for what is no name of a checkpoint or a level."""
    if not 1 <= len(name) <= 100 or not name.isprintable() or set("/\\") & set(name):
        raise UsageError(
            f"{where} must be 1 to 100 printable characters, no / and no \\, got {shown(name)}"
        )


def _info(config: _Config) -> CheckpointInfo:
    """Raises UsageError naming the key that is wrong."""
    scale = read(_Scale, config.scale, "scale")
    if not scale.s_max > 1:
        raise UsageError(f"scale.s_max must be above 1, got {scale.s_max}")
    if scale.mapping != MAPPING:
        raise UsageError(f"scale.mapping must be {MAPPING!r}, got {shown(scale.mapping)}")
    levels = [read(_Level, level, "levels") for level in config.levels[: MOST_LEVELS + 1]]
    times = [level.t for level in levels]
    if not 1 <= len(levels) <= MOST_LEVELS or not all(0 <= t <= 1 for t in times):
        raise UsageError(f"levels must be 1 to {MOST_LEVELS}, each t in [0, 1]")
    if any(a >= b for a, b in pairwise(times)):
        raise UsageError(f"levels must rise in t, got t = {shown(times)}")
    for name in (config.name, *(level.name for level in levels)):
        check_name(name, "name")
    calibration = config.calibration and Calibration.from_dict(config.calibration)
    return CheckpointInfo(
        name=config.name,
        model=ModelConfig.from_dict(config.model),
        levels=[{"name": level.name, "t": float(level.t)} for level in levels],
        s_max=float(scale.s_max),
        weights_sha256=config.weights_sha256,
        training=config.training,
        data=config.data,
        calibration=calibration or None,
        card_sha256=config.card_sha256,
        judged=None if config.judged is None else Judged.from_dict(config.judged),
        card_becomes=config.card_becomes,
    )


def read_weights(folder: Path, info: CheckpointInfo) -> dict[str, Tensor]:
    """Read model.safetensors, checked against the digest and the networks in config.json.

    Raises CheckpointError where it is missing, damaged or not the file that config.json describes,
    before memory is taken for a network; also where a weight is no finite number.
    """
    from degflow_pipe.checkpoint.weights import read_tensors
    from degflow_pipe.model.limits import check_size
    from degflow_pipe.model.published import our_shapes

    path = _weights_of(folder)
    try:
        check_size(info.model)
    except UsageError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error
    return read_tensors(path, our_shapes(info.model), CONFIG, info.weights_sha256)


def check_weights(folder: Path, info: CheckpointInfo) -> None:
    """What of `read_weights` can be told without torch: whether the file is the one that
    config.json describes. Raises CheckpointError.
    """
    path = _weights_of(folder)
    if info.weights_sha256 not in ("", files.sha256(path, files.WEIGHTS_LIMIT)):
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in {CONFIG}")


def _weights_of(folder: Path) -> Path:
    """The file of the weights. Raises CheckpointError where there is none."""
    path = folder / WEIGHTS
    if not files.exists(path):
        raise CheckpointError(f"{folder} is not whole: {WEIGHTS} is missing")
    return path


def damage(folder: Path) -> list[str]:
    """What is wrong with a checkpoint, or cannot be told for want of a sum; empty where whole."""
    config, card = folder / CONFIG, folder / CARD
    try:
        info = read_info(folder)
        read_weights(folder, info)
        summed = json_files.SUM in json_files.read(config, CONFIG_LIMIT)
        found = []
        if not summed:
            found.append(
                f"{config} has no sum of its own, as it was made or edited by hand, so that damage "
                f"to it cannot be told; `calibrate()` and `tune_solver()` write one"
            )
        if info.card_sha256 and not files.exists(card):
            found.append(f"{card} is missing")
        elif info.card_sha256 and not _is_known(card, info):
            found.append(
                f"{card} is damaged, or was edited by hand: its SHA-256 is not the one in {CONFIG}"
            )
    except DegflowError as error:
        return [str(error)]
    return found


def check_card(folder: Path) -> None:
    """Raises FileError where the folder holds a README.md that is not a checkpoint's card."""
    card = folder / CARD
    if not files.exists(card):
        return
    head = files.read_bytes(card)[:1000]
    if head and b"A DegFlow checkpoint" not in head:
        raise FileError(f"{card} was not written by degflow-pipe: move it, or give another folder")


def write_checkpoint(
    folder: Path, weights: dict[str, Tensor], card: str, **description: Any
) -> CheckpointInfo:
    """Write a checkpoint folder, config.json last.

    description: the fields of CheckpointInfo but for the sums. Raises FileError where README.md is
    somebody else's.
    """
    from degflow_pipe.checkpoint.weights import weights_bytes

    data = weights_bytes(weights)
    info = CheckpointInfo(
        weights_sha256=hashlib.sha256(data).hexdigest(),
        card_sha256=hashlib.sha256(card.encode()).hexdigest(),
        **description,
    )
    check_card(folder)
    files.write_bytes(folder / WEIGHTS, data)
    files.write_text(folder / CARD, card)
    write_info(folder, info)
    return info


def write_info(folder: Path, info: CheckpointInfo) -> None:
    """Write config.json alone."""
    json_files.write_summed(folder / CONFIG, info.to_dict())


def write_judged(folder: Path, info: CheckpointInfo) -> CheckpointInfo:
    """Write config.json, and the verdict into the model card; returns what config.json says now.

    A card that is not the one that config.json knows was edited by hand, and is left as it is.
    """
    card = folder / CARD
    if files.exists(card) and _is_known(card, info):
        whole = files.read_bytes(card).decode()
        text = f"{whole.split(HEADING)[0].rstrip()}\n\n{section(info.verdict)}"
        old, new = (hashlib.sha256(one.encode()).hexdigest() for one in (whole, text))
        # Both sums first: wherever this is cut off, config.json knows the card that is there.
        write_info(folder, replace(info, card_sha256=old, card_becomes=new))
        files.write_text(card, text)
        info = replace(info, card_sha256=new, card_becomes="")
    write_info(folder, info)
    return info


def _is_known(card: Path, info: CheckpointInfo) -> bool:
    sums = {info.card_sha256, info.card_becomes} - {""}
    return files.sha256(card, files.TEXT_LIMIT) in sums
