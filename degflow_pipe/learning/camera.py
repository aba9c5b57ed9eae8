"""camera: shots or pairs in, a calibrated, tuned and judged checkpoint out, asking nothing.

What is chosen is written into the recipe first, so a second call chooses nothing anew, and goes on
by what its user made of the recipe. A step is done when its files are there by the sums that were
noted after it; one that was cut off is done again, and gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from degflow_pipe import defaults, files, folders, json_files, shipped
from degflow_pipe.calibration.calibrate import calibrate
from degflow_pipe.calibration.tune_solver import MOST_PHOTOS, tune_solver
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import (
    CARD,
    CONFIG,
    WEIGHTS,
    find_checkpoint,
    holds_checkpoint,
    read_info,
    write_info,
)
from degflow_pipe.checkpoint.verdict import section
from degflow_pipe.engines.load import busy
from degflow_pipe.errors import DataError, DegflowError, FileError, UsageError
from degflow_pipe.evaluation.evaluate import LEAST_SIDE, EvaluationSettings, evaluate
from degflow_pipe.formats.said import number_of
from degflow_pipe.learning.compared import at_best_noise, proxy_of, proxy_section
from degflow_pipe.learning.found import data_of_folder, holds_pairs
from degflow_pipe.learning.plan import planned, root_of
from degflow_pipe.learning.recipe_text import proxy_text, train_text
from degflow_pipe.learning.results import CameraSummary
from degflow_pipe.levels import parse_t_grid
from degflow_pipe.model.config import PRESETS, ModelConfig
from degflow_pipe.model.devices import choose_device
from degflow_pipe.pairs.pairs import Pairs, find_scenes, is_named
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.pictures.shots import SHOTS
from degflow_pipe.places import text_of
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.proxy.proxy import ProxySettings, proxy
from degflow_pipe.recipes import load_recipe
from degflow_pipe.stages.align import align
from degflow_pipe.stages.align_scene import AlignSettings
from degflow_pipe.stages.preview import preview
from degflow_pipe.training.card import model_card
from degflow_pipe.training.extra import check_installed
from degflow_pipe.training.recipe import TrainRecipe, train_recipe
from degflow_pipe.training.stages import starting_weights, train_joint, train_lfm, train_rae

KIND = "camera"
"""Of the folder, for `folders.one_writer`."""
DONE, PAIRS, TRAINING, PROXY = "camera.json", "pairs", "training", "proxy"
RECIPE, PROXY_RECIPE = "train.yaml", "proxy.yaml"
EVALUATION, PREVIEW = "evaluation.json", "preview.png"
ORDER = (
    *("align", "plan", "rae", "lfm", "joint"),
    *("calibrate", "tune-solver", "evaluate", "proxy", "card"),
)
"""Of the steps."""
PATCHES = 160
"""Of HR, that the proxy's sources share: a third of what `proxy` takes."""
FEW = defaults.FEW_PAIRS
NO_START = "none"
"""Of `CameraSettings.start`: random weights."""
GRID = "0.1:1.0:0.1"
"""Levels of the curve in the evaluation."""


@dataclass(frozen=True)
class CameraSettings:
    """What may be said; nothing has to be.

    minutes: that all of it may take, about. s_max: SR scale of the LR, for pairs whose names and
    sizes do not tell. recipe: a training recipe whose `data` says how the pairs lie. start: a
    checkpoint whose weights training starts from, `none` for random ones; None for a shipped
    checkpoint's where pairs are few.
    """

    minutes: float | None = None
    s_max: float | None = None
    recipe: str | None = None
    start: str | None = None

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes <= 100_000:
            raise UsageError(f"`minutes` must be above 0, got {self.minutes:g}")
        if self.s_max is not None and not 1 < self.s_max <= 100:
            raise UsageError(f"`s_max` must be above 1 and up to 100, got {self.s_max:g}")


def camera(
    source: Path,
    out: Path,
    settings: CameraSettings | None = None,
    *,
    device: str = "auto",
    workers: int = 0,
    progress: Progress | None = None,
) -> CameraSummary:
    """Learn a camera from a folder of shots, which are aligned first, or of pairs.

    out: a new or empty folder, or one that this command began, which is gone on with: a checkpoint
    when it is finished, with the recipe, the evaluation, the proxy and a preview beside it; not one
    before. Same pairs, recipe and device give the same bytes, however often it is interrupted.

    A recipe in `out` that was edited in between is gone on by.

    Raises what the stages raise; CheckpointError for a `start` of another architecture, UsageError
    where `minutes` do not do or an edited recipe is none, FileError where more than pairs came of
    other files in `out`, where that is somebody else's, or is finished and its recipe was edited
    since.
    """
    settings, progress = settings or CameraSettings(), progress or Silent()
    choose_device(device)
    if files.real(out) == files.real(source) or files.real(out) in files.real(source).parents:
        raise UsageError(f"{source} lies in the folder to write to, {out}: give another `out`")
    are_pairs = settings.recipe is not None or holds_pairs(source)
    with folders.one_writer(out, KIND):
        work = _Work(source, out, settings, device, workers, progress, time.monotonic())
        work.begin()
        # A finished checkpoint is the user's: a calibration of his own is not undone.
        if "card" in work.noted["steps"] and holds_checkpoint(out):
            if edited := work.edited():
                raise FileError(
                    f"{out / edited[0]} was edited after {out} was made by it: put it back as it "
                    f"was, or delete {out / CONFIG}, and what follows is done again by it"
                )
            work.known = [name for name in ORDER if name in work.noted["steps"]]
            with progress.task("camera", 1, 1) as task:
                task.note(
                    f"{out} is finished: it stays as it is. Another training of these pairs, with "
                    f"other `minutes` say, goes to another `out`"
                )
        else:
            check_installed()
            work.all_steps(are_pairs)
        return work.summary()


@dataclass
class _Work:
    source: Path
    out: Path
    settings: CameraSettings
    device: str
    workers: int
    progress: Progress
    began: float
    noted: dict[str, Any] = field(default_factory=dict)
    changed: bool = False
    """Whether the source was another when the folder was begun, of which nothing came."""
    done: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)

    @property
    def training(self) -> Path:
        return self.out / TRAINING

    @property
    def how(self) -> dict[str, Any]:
        return {"device": self.device, "progress": self.progress}

    @property
    def recipe(self) -> TrainRecipe:
        return train_recipe(load_recipe(str(self.out / RECIPE), "train"))

    @property
    def pairs(self) -> Path:
        """Where the recipe says that they are."""
        return self.out / self.recipe.data.root

    def begin(self) -> None:
        """Raises FileError where more than pairs came of other files in the folder."""
        path, out = self.out / DONE, files.real(self.out)
        source = [
            [found.relative_to(self.source).as_posix(), files.size(found)]
            for found in files.walk(self.source)
            if found.suffix.lower() in SHOTS and not files.real(found).is_relative_to(out)
        ]
        begun = {"source": _digest(source), "steps": {}}
        if files.exists(path):
            self.noted = json_files.read_summed(path)
            if not isinstance(self.noted.get("steps"), dict):
                raise FileError(f"{path} is damaged: delete it, and all is done again")
            if self.noted.get("source") != begun["source"]:
                if set(self.noted["steps"]) - {"align"}:
                    raise FileError(
                        f"{self.out} was begun with other files than {self.source} holds now: give "
                        f"another folder as `out`"
                    )
                # Nothing but pairs came of the others, and those are looked at again.
                self.noted, self.changed = begun, True
        else:
            self.noted = begun
            json_files.write_summed(path, begun)

    @contextmanager
    def step(self, name: str, *made: str) -> Iterator[bool]:
        """Whether a step is to be done; where its block ends, what it made is noted.

        made: its files below `out`, as they will stay. What comes after a step that is done again
        is done again too.
        """
        paths = [self.out / path for path in made]
        steps = self.noted["steps"]
        if name in steps and folders.are_whole(steps[name], paths, self.out):
            self.known.append(name)
            yield False
            return
        self.noted["steps"] = {known: steps[known] for known in self.known}
        json_files.write_summed(self.out / DONE, self.noted)
        yield True
        self.noted["steps"][name] = folders.sums_of(paths, self.out)
        json_files.write_summed(self.out / DONE, self.noted)
        self.known.append(name)
        self.done.append(name)

    def all_steps(self, are_pairs: bool) -> None:
        pairs, start = self.source, self.settings.start
        if "plan" not in self.noted["steps"] and start not in (None, NO_START):
            starting_weights(str(start), PRESETS["compact"], ["rae", "velocity"], "start")
        if not are_pairs:
            pairs = self.out / PAIRS
            least = AlignSettings(least=LEAST_SIDE)
            # Each time: it skips the pairs that are whole, and makes the others again.
            align(
                self.source,
                pairs,
                least,
                overwrite=self.changed,
                workers=self.workers,
                progress=self.progress,
            )
            aligned = [*files.names(pairs, ".png"), "train.yaml", "align.json"]
            with self.step("align", *(f"{PAIRS}/{name}" for name in aligned)):
                pass
        self.take_edits()
        kept = self.as_noted("plan", RECIPE, PROXY_RECIPE)
        with self.step("plan", RECIPE, PROXY_RECIPE) as wanted:
            if wanted:
                self.plan(pairs, kept)
            elif self.settings != CameraSettings():
                with self.progress.task("plan", 1, 1) as task:
                    task.note(
                        f"goes on by {self.out / RECIPE}: edit it to change what was chosen; "
                        f"`minutes`, `s_max`, `recipe` and `start` are not read again"
                    )
        self.train()
        for name, do, made in (
            ("calibrate", self.calibrate, ()),
            ("tune-solver", self.tune_solver, ()),
            ("evaluate", self.evaluate, (EVALUATION,)),
            ("proxy", self.proxy, (f"{PROXY}/figures.json",)),
            ("card", self.finish, (WEIGHTS, CARD, PREVIEW, CONFIG)),
        ):
            with self.step(name, *made) as wanted:
                if wanted:
                    do()

    def as_noted(self, step: str, *made: str) -> list[str]:
        """Which of a step's files are as they were noted after it."""
        sums = self.noted["steps"].get(step, {})
        return [name for name in made if folders.are_whole(sums, [self.out / name], self.out)]

    def edited(self) -> list[str]:
        """Recipes that are there, and are not as `plan` left them."""
        if "plan" not in self.noted["steps"]:
            return []
        kept = self.as_noted("plan", RECIPE, PROXY_RECIPE)
        both = (RECIPE, PROXY_RECIPE)
        return [name for name in both if name not in kept and files.exists(self.out / name)]

    def take_edits(self) -> None:
        """Go on by the recipes as they are now. Raises UsageError for what is none."""
        edited = self.edited()
        if not edited:
            return
        for name in edited:
            read, kind = (train_recipe, "train") if name == RECIPE else (proxy_of, "proxy")
            try:
                read(load_recipe(str(self.out / name), kind))
            except DegflowError as error:
                raise UsageError(
                    f"{self.out / name} was edited and is no recipe now: {error}; mend it, or "
                    f"delete it to have it chosen anew"
                ) from error
        steps = self.noted["steps"]
        sums = folders.sums_of([self.out / name for name in edited], self.out)
        first = ORDER[: ORDER.index("plan")]
        self.noted["steps"] = {name: steps[name] for name in first if name in steps}
        self.noted["steps"]["plan"] = {**steps["plan"], **sums}
        json_files.write_summed(self.out / DONE, self.noted)
        with self.progress.task("plan", 1, 1) as task:
            task.note(f"{' and '.join(edited)} edited: what was made by it is done again")

    def start(self, few: bool) -> str:
        """As the recipe says it: a shipped name, or a folder from wherever the recipe is read."""
        asked = self.settings.start or (defaults.CHECKPOINT if few else NO_START)
        if asked == NO_START:
            return ""
        folder = files.real(find_checkpoint(asked))
        return folder.name if _is_shipped(folder) else text_of(folder)

    def held_out(self, data: DataSettings, scenes: list[str]) -> tuple[DataSettings, str]:
        """With those scenes held out that the checkpoint to start from held out, as it has learned
        others; and a line where it does not tell which.
        """
        asked = self.settings.start
        if asked in (None, NO_START) or self.settings.recipe or data.set != "generic":
            return data, ""
        said = str(read_info(find_checkpoint(str(asked))).data.get("validate", ""))
        kept = [name for name in scenes if is_named(name, said)]
        if 0 < len(kept) < len(scenes):
            return replace(data, validate=",".join(kept)), ""
        if kept or _is_shipped(files.real(find_checkpoint(str(asked)))):
            return data, ""  # none of them is known to it
        return data, (
            f"{asked} held out none of these scenes by name: if it was trained on pairs that are "
            f"among these, those held out now may be known to it, and the figures too good"
        )

    def plan(self, pairs: Path, kept: list[str]) -> None:
        """Choose, tell how long it will take, and write the recipes but for those in `kept`."""
        found = data_of_folder(pairs, self.settings.s_max, self.settings.recipe)
        data = replace(found, root=root_of(files.real(pairs), files.real(self.out)))
        parts = find_scenes(data, pairs, to_train=False, to_test=False)
        scenes = [scene.name for part in parts for scene in part]
        if len(scenes) < 2:
            raise DataError(
                f"{pairs} holds pairs of {number_of(len(scenes), 'scenes')}: two are the least, "
                f"one to train on and one to hold out; forty are good"
            )
        data, unsure = self.held_out(data, scenes)
        name = re.sub(r"[^\w.+ -]", "-", files.real(self.out).name)[:64].lstrip(".+ -")
        device = choose_device(self.device)
        train, held_out = (Pairs(part, data) for part in find_scenes(data, pairs))
        few = len(train.scenes) < FEW
        # Of few scenes tints would be learned: see `model.light`.
        model = {"preset": "compact", **({"rae": {"head": "lens"}} if few else {})}
        first = TrainRecipe(name or "camera", data, ModelConfig.from_dict(model))
        spent = time.monotonic() - self.began
        with self.progress.task("plan", 1) as task:
            task.note(f"plan: a few steps of each stage are timed on {device}")
            if device.type == "cpu" and torch.get_num_threads() > 1 and (load := busy()):
                task.note(
                    f"other work is running here (load {load:.1f} on {os.cpu_count()} cores): "
                    f"training by several threads may then be many times slower: try "
                    f"OMP_NUM_THREADS=1"
                )
            if unsure:
                task.note(unsure)
            if self.settings.s_max not in (None, data.s_max):
                task.note(
                    f"`s_max` is not used: the pairs' names, sizes or recipe say x{data.s_max:g}"
                )
            if few:
                task.note(
                    f"{number_of(len(train.scenes), 'pairs')} are few: forty are good; LR are left "
                    f"the light of their HR (`head: lens`)"
                )
            plan = planned(
                *(first, (train, held_out), device, self.settings.minutes, spent),
                start=self.start(few),
            )
            task.note(
                f"{number_of(len(train.scenes), 'pairs')} to train on, {len(held_out.scenes)} held "
                f"out, levels "
                f"{', '.join(f'{k.name} (x{data.scale_of_t(k.t):.3g})' for k in data.knots[1:])}; "
                f"on {device}: {plan.told}"
            )
            task.advance()
        texts = {PROXY_RECIPE: proxy_text(plan), RECIPE: train_text(first.name, model, data, plan)}
        for name, text in texts.items():
            if name not in kept:
                files.write_text(self.out / name, text)

    def train(self) -> None:
        recipe, how = self.recipe, self.how
        with self.step("rae", f"{TRAINING}/rae.safetensors", f"{TRAINING}/rae.json") as wanted:
            if wanted:
                train_rae(recipe, self.pairs, self.training, **how)
        with self.step("lfm", f"{TRAINING}/lfm.safetensors", f"{TRAINING}/lfm.json") as wanted:
            if wanted:
                train_lfm(recipe, self.pairs, self.training, **how)
        with self.step("joint", f"{TRAINING}/{WEIGHTS}") as wanted:
            if wanted:
                train_joint(recipe, self.pairs, self.training, **how)

    def calibrate(self) -> None:
        calibrate(str(self.training), self.recipe.data, self.pairs, **self.how)

    def tune_solver(self) -> None:
        scenes, _ = find_scenes(self.recipe.data, self.pairs)
        chosen = scenes[:: -(-len(scenes) // MOST_PHOTOS)]
        tune_solver(str(self.training), [str(scene.hr) for scene in chosen], **self.how)

    def evaluate(self) -> None:
        asked = EvaluationSettings(parse_t_grid(GRID), crops=self.out)
        found = evaluate(self.model(), self.recipe.data, self.pairs, asked, self.progress)
        if found.not_kept:
            raise FileError(f"{self.training}: the verdict cannot be kept: {found.not_kept}")
        json_files.write(self.out / EVALUATION, found.to_dict())

    def proxy(self) -> None:
        asked = proxy_of(load_recipe(str(self.out / PROXY_RECIPE), "proxy"))
        model = self.model()
        settings = ProxySettings.of(asked, model.info, self.out / PROXY, patches=PATCHES)
        proxy(model, self.recipe.data, self.pairs, settings, self.progress)

    def finish(self) -> None:
        """The checkpoint, its card and a preview; config.json last, as it makes a checkpoint."""
        info, recipe = read_info(self.training), self.recipe
        # Else two runs would differ by the time that they took.
        training = {
            key: {**part, "figures": {k: v for k, v in part["figures"].items() if k != "seconds"}}
            if isinstance(part, dict)
            else part
            for key, part in info.training.items()
        }
        compared = proxy_section(self._compared())
        card = f"{model_card(recipe, training)}\n{compared}\n{section(info.verdict)}"
        files.write_bytes(
            self.out / WEIGHTS, files.read_bytes(self.training / WEIGHTS, files.WEIGHTS_LIMIT)
        )
        files.write_text(self.out / CARD, card)
        _, held_out = find_scenes(recipe.data, self.pairs)
        model = self.model()
        grid = parse_t_grid(defaults.PREVIEW_T_GRID)
        preview(held_out[0].hr, self.out / PREVIEW, model, grid, overwrite=True)
        digest = hashlib.sha256(card.encode()).hexdigest()
        write_info(self.out, replace(info, training=training, card_sha256=digest))

    def _compared(self) -> dict[str, Any]:
        return dict(json_files.read(self.out / PROXY / "figures.json"))

    def model(self) -> DegFlow:
        return DegFlow.load(str(self.training), self.device)

    def summary(self) -> CameraSummary:
        info, compared, recipe = read_info(self.out), self._compared(), self.recipe
        rows = {row["source"]: row for row in at_best_noise(compared)}
        stages = {"rae": recipe.rae, "lfm": recipe.lfm, "joint": recipe.joint}
        return CameraSummary(
            checkpoint=str(self.out),
            id=info.id,
            pairs=str(self.pairs),
            recipe=str(self.out / RECIPE),
            done=self.done,
            known=[name for name in self.known if name not in self.done],
            steps={name: stage.steps for name, stage in stages.items()},
            psnr={name: round(row["mean"]["psnr"], 4) for name, row in rows.items()},
            recovered=rows["ours"]["recovered"].get("psnr"),
            preview=str(self.out / PREVIEW),
            verdict=info.verdict,
        )


def _is_shipped(checkpoint: Path) -> bool:
    return checkpoint.parent == files.real(shipped.folder("checkpoints"))


def _digest(value: Any) -> str:
    return hashlib.sha256(json_files.text_of(value).encode()).hexdigest()
