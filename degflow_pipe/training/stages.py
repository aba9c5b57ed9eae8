"""`train rae` and `train lfm` as plain functions: pairs and a recipe in, a checkpoint out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from degflow_pipe import files, json_files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import CheckpointInfo, check_card, read_info, write_checkpoint
from degflow_pipe.checkpoint.weights import read_into, weights_bytes
from degflow_pipe.errors import CheckpointError, UsageError
from degflow_pipe.folders import check_ours, one_writer
from degflow_pipe.model.config import FIXED_METHODS, MIXING, ModelConfig
from degflow_pipe.model.rae import RAE
from degflow_pipe.model.velocity import VelocityNet
from degflow_pipe.pairs.pairs import Pairs, find_scenes
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.settings import AtMost, read, shown
from degflow_pipe.training.card import model_card
from degflow_pipe.training.joint import JointTrainee
from degflow_pipe.training.lfm import LFMTrainee
from degflow_pipe.training.loop import Trained, recipe_digest, train
from degflow_pipe.training.processes import Processes
from degflow_pipe.training.rae import RAETrainee
from degflow_pipe.training.recipe import StageSettings, TrainRecipe

Record = dict[str, Any]


def train_rae(
    recipe: TrainRecipe,
    data: Path,
    out: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> Record:
    """Train the autoencoder on the pairs below `data`; resumes from what `out` holds.

    Writes out/rae.safetensors and out/rae.json (settings, figures, seconds). Returns the record.
    Raises DataError for wrong pairs, UsageError where `out` holds another recipe's state.
    """
    progress = progress or Silent()
    processes = Processes(device, recipe.rae.precision)
    with _writing(out, processes):
        train_pairs, held_out = _scenes(recipe, data, recipe.rae.patch, processes, progress)
        trainee = RAETrainee(recipe, train_pairs, held_out, processes.device)
        start = _start_from(recipe, "rae", trainee.network)
        settings = {"rae": _deciding(recipe.rae), "model": asdict(recipe.model.rae), **start}
        digest = recipe_digest([settings, _data_digest(recipe, train_pairs)])
        trained = train(trainee, recipe.rae, digest, out, processes, progress)
        record = {
            **_told(recipe.rae, trained),
            **start,
            "model": asdict(recipe.model.rae),
        }
        if processes.first:
            _write_part(out, "rae", trainee.network, record)
        processes.wait()
    return record


def train_lfm(
    recipe: TrainRecipe,
    data: Path,
    out: Path,
    rae: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> CheckpointInfo:
    """Train the velocity on a frozen autoencoder and write the whole checkpoint into `out`.

    rae: the folder that `train_rae` wrote, `out` by default. Raises CheckpointError where it holds
    no autoencoder of the recipe's width, DataError and UsageError as `train_rae`.
    """
    progress = progress or Silent()
    check_ours(out, "training")  # before its absence of an autoencoder is what is told
    processes = Processes(device, recipe.lfm.precision)
    network, rae_record = _read_rae(recipe, rae or out)
    check_card(out)
    with _writing(out, processes):
        train_pairs, held_out = _scenes(recipe, data, recipe.lfm.patch, processes, progress)
        trainee = LFMTrainee(recipe, network, train_pairs, held_out, processes.device)
        start = _start_from(recipe, "velocity", trainee.network)
        settings = {
            "lfm": _deciding(recipe.lfm),
            "model": recipe.model.to_dict()["velocity"],
            "rae": files.sha256(_weights(rae or out, "rae")),
            **start,
        }
        digest = recipe_digest([settings, _data_digest(recipe, train_pairs)])
        trained = train(trainee, recipe.lfm, digest, out, processes, progress)
        record = {
            **_told(recipe.lfm, trained),
            **start,
            "latent_variance": trainee.latent_variance,
            "model": recipe.model.to_dict()["velocity"],
        }
        training = {"rae": rae_record, "lfm": record, **_validation(held_out)}
        if processes.first:
            _write_part(out, "rae", network, rae_record)
            _write_part(out, "lfm", trainee.network, record)
            _write_checkpoint(recipe, out, network, trainee.network, training)
        processes.wait()
    return read_info(out)


def train_joint(
    recipe: TrainRecipe,
    data: Path,
    out: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> CheckpointInfo:
    """Train velocity and decoder together and write the checkpoint into `out`.

    It begins from what `train_lfm` left in `out`, or from `joint.start`. Raises CheckpointError
    where there is neither, UsageError for an adaptive solver, which cannot be trained through; else
    as `train_lfm`.
    """
    if recipe.model.solver.adaptive:
        raise UsageError(
            f"train joint needs a solver of fixed steps in model.solver, got "
            f"{recipe.model.solver.method}: say one of {', '.join(FIXED_METHODS)}"
        )
    progress = progress or Silent()
    processes = Processes(device, recipe.joint.precision)
    rae, velocity = RAE(recipe.model.rae), VelocityNet(recipe.model.velocity, recipe.model.rae)
    if recipe.joint.start:
        training: Record = _start_from(recipe, "rae", rae, recipe.joint)
        _start_from(recipe, "velocity", velocity, recipe.joint)
        begun = training["started_from"]
    else:
        training = {"rae": _read_part(out, "rae", rae), "lfm": _read_part(out, "lfm", velocity)}
        begun = [files.sha256(_weights(out, part)) for part in training]
    check_card(out)
    with _writing(out, processes):
        pairs = _scenes(recipe, data, recipe.joint.patch, processes, progress)
        trainee = JointTrainee(recipe, rae, velocity, pairs, processes.device)
        settings = {
            "joint": _deciding(recipe.joint),
            "model": recipe.model.to_dict(),
            "from": begun,
        }
        digest = recipe_digest([settings, _data_digest(recipe, pairs[0])])
        trained = train(trainee, recipe.joint, digest, out, processes, progress)
        training["joint"] = _told(recipe.joint, trained)
        training |= _validation(pairs[1])
        if processes.first:
            networks = trainee.network
            _write_checkpoint(recipe, out, networks.rae, networks.velocity, training)
        processes.wait()
    return read_info(out)


@contextmanager
def _writing(out: Path, processes: Processes) -> Iterator[None]:
    """The folder for this training alone; of several processes the first one holds it."""
    with one_writer(out, "training") if processes.first else nullcontext():
        yield


def _told(settings: StageSettings, trained: Trained) -> Record:
    """What a record says of a training; `started_from` says the start, wherever it lies."""
    turns = {"continued": trained.continued} if trained.continued else {}
    said = {key: value for key, value in asdict(settings).items() if key != "start"}
    return {"settings": said, "figures": trained.figures, **turns}


def _validation(held_out: Pairs) -> Record:
    return {"validation_scenes": [scene.name for scene in held_out.scenes]}


def _write_checkpoint(
    recipe: TrainRecipe, out: Path, rae: RAE, velocity: VelocityNet, training: Record
) -> None:
    weights = {f"rae.{k}": v for k, v in rae.state_dict().items()}
    weights |= {f"velocity.{k}": v for k, v in velocity.state_dict().items()}
    write_checkpoint(
        out,
        _plain(weights),
        model_card(recipe, training),
        name=recipe.name,
        model=recipe.model,
        levels=[{"name": level.name, "t": level.t} for level in recipe.data.knots],
        s_max=recipe.data.s_max,
        training=training,
        data={key: value for key, value in asdict(recipe.data).items() if key != "root"},
    )


def _deciding(settings: StageSettings) -> dict[str, Any]:
    """The settings that decide the weights, but for `steps`, which the saved state says, and
    `start`, whose id says more than where it lies."""
    apart = ("start", "steps", "save_every", "log_every", "validate_every")
    return {key: value for key, value in asdict(settings).items() if key not in apart}


def _data_digest(recipe: TrainRecipe, pairs: Pairs) -> list[Any]:
    """The data settings that decide the weights, and what tells the training pairs apart."""
    apart = ("root", "source", "licence", "validate")
    data = {key: value for key, value in asdict(recipe.data).items() if key not in apart}
    return [data, pairs.fingerprint()]


def _start_from(
    recipe: TrainRecipe, part: str, network: nn.Module, settings: StageSettings | None = None
) -> Record:
    """Put the weights of the stage's `start` into the network; what a record says of it, if any.

    part: `rae` or `velocity`; settings: of the part's own stage by default. Raises as
    `starting_weights`.
    """
    settings = settings or (recipe.rae if part == "rae" else recipe.lfm)
    if not settings.start:
        return {}
    key = f"{settings.section}.start"
    model = starting_weights(settings.start, recipe.model, [part], key)
    network.load_state_dict(getattr(model, part).state_dict())
    # Whose pairs those weights came of, as far back as is known: licences ask for it.
    data = {key: str(model.info.data.get(key, "")) for key in ("source", "licence")}
    every = [data, *_earlier(model.info)]
    once = [one for i, one in enumerate(every) if one not in every[:i]]
    return {"started_from": model.info.id, "started_from_data": once}


def _earlier(info: CheckpointInfo) -> list[dict[str, str]]:
    """The data of what a checkpoint started from itself."""
    parts = [info.training, *map(info.training.get, ("rae", "lfm"))]
    return [
        {key: str(data.get(key, "")) for key in ("source", "licence")}
        for part in parts
        if isinstance(part, dict) and isinstance(part.get("started_from_data"), list)
        for data in part["started_from_data"]
        if isinstance(data, dict)
    ]


def starting_weights(start: str, wanted: ModelConfig, parts: list[str], key: str) -> DegFlow:
    """The checkpoint whose weights of `parts`, `rae` and `velocity`, a training may start from.

    start: its folder or shipped name; wanted: the model to train; key: what says the start.
    Raises CheckpointError where there is none, or its architecture is another one.
    """
    model = DegFlow.load(start, "cpu")
    for part in parts:
        asked, found = (config.to_dict()[part] for config in (wanted, model.config))
        other = [name for name in asked if _other(name, asked[name], found[name])]
        if other:
            raise CheckpointError(
                f"{key}: {start} has model.{part}.{other[0]} {found[other[0]]}, the recipe "
                f"{asked[other[0]]}: give both the same"
            )
    return model


def _other(name: str, asked: Any, found: Any) -> bool:
    """Whether a part with this value of a setting has other weights than one with that."""
    if name == "head" and {asked, found} <= set(MIXING):
        return False
    return bool(asked != found) and name != "dropout"


def _scenes(
    recipe: TrainRecipe, data: Path, patch: int, processes: Processes, progress: Progress
) -> tuple[Pairs, Pairs]:
    """Training and held-out pairs; the first process reads all of them and tells what it found."""
    train_pairs, held_out = (
        Pairs(scenes, recipe.data) for scenes in find_scenes(recipe.data, data)
    )
    if processes.first:
        scenes = len(train_pairs.scenes) + len(held_out.scenes)
        with progress.task("check pairs", scenes, counts="scenes") as task:
            for pairs, side in ((train_pairs, patch), (held_out, 0)):
                for scene in pairs.scenes:
                    pairs.check(scene, side)
                    task.advance()
            for line in found_table(train_pairs, held_out):
                task.note(line)
    processes.wait()
    return train_pairs, held_out


def found_table(train_pairs: Pairs, held_out: Pairs) -> list[str]:
    """What was found, as lines of a table: levels, their t, their part, and scenes of each."""
    lines = [f"{'level':<8} {'t':>6}  {'part':<9} {'training':>8} {'held out':>8}"]
    for i, level in enumerate(train_pairs.levels):
        part = "held out" if level.held_out else "knot"
        counts = [
            sum(scene.files[i] is not None for scene in pairs.scenes)
            for pairs in (train_pairs, held_out)
        ]
        lines.append(f"{level.name:<8} {level.t:>6.3f}  {part:<9} {counts[0]:>8} {counts[1]:>8}")
    return lines


def _weights(folder: Path, part: str) -> Path:
    return folder / f"{part}.safetensors"


def _write_part(out: Path, part: str, network: nn.Module, record: Record) -> None:
    """Weights and record of one stage; the next one reads them."""
    data = weights_bytes(_plain(network.state_dict()))
    files.write_bytes(_weights(out, part), data)
    digest = hashlib.sha256(data).hexdigest()
    json_files.write_summed(out / f"{part}.json", {**record, "weights_sha256": digest})


@dataclass(frozen=True)
class _Record:
    """The keys of a stage's record, RAE.json or LFM.json."""

    settings: Annotated[dict[str, Any], AtMost(10**18)]
    figures: dict[str, float | None]
    model: dict[str, Any]
    latent_variance: float = 1.0
    started_from: str = ""
    started_from_data: list[dict[str, str]] = field(default_factory=list)
    continued: list[list[int]] = field(default_factory=list)
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        if self.figures.get("seconds") is None or not isinstance(self.settings.get("steps"), int):
            raise UsageError("it lacks figures.seconds or settings.steps")
        for name, value in self.figures.items():
            if value is not None and not isinstance(value, int | float):
                raise UsageError(f"figures.{name} must be a number, got {shown(value)}")


def _read_part(folder: Path, part: str, network: nn.Module) -> Record:
    """The stage's weights into the network; returns its record."""
    weights, path = _weights(folder, part), folder / f"{part}.json"
    if not files.exists(path):
        where = ", or name its folder as `rae`" if part == "rae" else ""
        raise CheckpointError(
            f"{folder} holds no {weights.name}: run `train_{part}()` first{where}"
        )
    again = f"run `train_{part}()` again"
    record = json_files.read_summed(path, needed=False)
    try:
        digest = read(_Record, record, part).weights_sha256
        read_into(network, weights, f"{path.name} and the recipe's model", digest)
    except UsageError as error:
        raise CheckpointError(f"{path} is damaged: {error}: {again}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{error}: {again}") from error
    return {key: value for key, value in record.items() if key != "weights_sha256"}


def _read_rae(recipe: TrainRecipe, folder: Path) -> tuple[RAE, Record]:
    network = RAE(recipe.model.rae)
    return network, _read_part(folder, "rae", network)


def _plain(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        key: value.detach().to("cpu", torch.float32).contiguous() for key, value in weights.items()
    }
