"""What a comparison of sources is, whichever network is trained on them: its trainings are kept."""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from torch import Tensor, nn

from degflow_pipe import files, json_files
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.weights import read_tensors, weights_bytes
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.evaluation import plots
from degflow_pipe.folders import check_ours
from degflow_pipe.formats.said import duration_of, number_of
from degflow_pipe.metrics.fidelity import WINDOW, fidelity
from degflow_pipe.metrics.perceptual import Perceptual
from degflow_pipe.model.published import shapes_of
from degflow_pipe.pairs.pairs import Pairs, Scene
from degflow_pipe.pictures.arrays import middle
from degflow_pipe.progress import Progress, Task
from degflow_pipe.proxy.budget import Budget
from degflow_pipe.proxy.network import Network
from degflow_pipe.proxy.recipe import ProxyRecipe
from degflow_pipe.proxy.results import UNTOUCHED, Figures
from degflow_pipe.proxy.share import share, writing
from degflow_pipe.training.processes import Processes

PATCH = 192
PATCHES = 480
"""HR patches that all sources share, and their side in pixels."""
CROP = 160
"""Side in pixels of what a page shows of a picture."""

Picture = tuple[str, np.ndarray]
"""A label and (H, W, 3) uint8, for a page."""


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """What every comparison is told.

    out: folder for what was made. sources: some of those that are known, none for all that the
    checkpoint can make; `bicubic` and `real` are always there. added_noise: white noise in grey
    levels that every source is tried with. seeds: trainings of each. perceptual: one of
    `perceptual.KINDS`. patches: about how many of HR all sources share, one of each scene at least.
    """

    out: Path
    sources: tuple[str, ...] = ()
    added_noise: tuple[float, ...] = (0.0,)
    seeds: int = 1
    perceptual: str = "none"
    patches: int = PATCHES
    budget: Budget = field(default_factory=Budget)


def said_of_all(recipe: ProxyRecipe, out: Path, patches: int = PATCHES) -> dict[str, Any]:
    """What a recipe says of every comparison, as arguments of its settings.

    patches: how many at most; no more than the crops that all steps draw.
    """
    return {
        "out": out,
        "sources": tuple(recipe.sources),
        "added_noise": tuple(recipe.added_noise),
        "seeds": recipe.seeds,
        "perceptual": recipe.perceptual,
        "budget": recipe.budget,
        "patches": min(patches, recipe.budget.steps * recipe.budget.batch),
    }


def check_asked(
    sources: Sequence[str],
    known: Sequence[str],
    added_noise: Sequence[float],
    seeds: int,
    whose: str = "",
) -> None:
    """Raises UsageError for a source that is not known, noise out of range, or no seed.

    whose: said of the known sources.
    """
    unknown = [name for name in sources if name not in known]
    if unknown:
        raise UsageError(f"`sources`: {unknown[0]!r} is not one of {', '.join(known)}{whose}")
    # Not by min and max, which let nan through.
    if not added_noise or not all(0 <= noise <= 100 for noise in added_noise):
        raise UsageError(
            f"`added_noise` must be grey levels from 0 to 100, got {list(added_noise)}"
        )
    if seeds < 1:
        raise UsageError(f"`seeds` must be 1 at least, got {seeds}")


def chosen_sources(
    asked: Sequence[str],
    known: Sequence[str],
    noisy: Collection[str],
    model: DegFlow,
    own_pixels: bool = False,
    besides: Sequence[str] = (),
) -> list[str]:
    """The sources to compare, in the order of `known`; `bicubic` and `real` are always there.

    asked: none for all that the checkpoint can make. noisy: those that need its noise, own_pixels:
    that of LR smaller than HR. besides: there whatever is asked. Raises UsageError where one that
    needs it is asked for and the checkpoint has none.
    """
    calibration = model.info.calibration
    measured = calibration and (calibration.own_noise if own_pixels else calibration.noise)
    possible = [name for name in known if name not in noisy or measured]
    wanted = {*(asked or possible), *besides, "bicubic", "real"}
    if wanted & set(noisy):
        model.noise_model(
            "calibrated", own_pixels
        )  # says what is missing before anything is trained
    return [name for name in known if name in wanted]


def having(scenes: list[Scene], place: int, wanted: str, root: Path) -> list[Scene]:
    """Scenes that have a file for the level at `place`. Raises DataError where there is none."""
    found = [scene for scene in scenes if scene.files[place] is not None]
    if not found:
        raise DataError(f"{wanted}: no file below {root}: choose another level as `level`")
    return found


class Run:
    """One training: what decides it, and its two files, figures and weights, below a folder."""

    def __init__(self, out: Path, head: str, key: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        self._key, self._path = key, out / "runs" / f"{head}-{digest[:12]}.json"
        self._weights = self._path.with_suffix(".safetensors")

    def figures(self) -> Any:
        """What was kept; None where it was not done yet."""
        if not files.exists(self._path):
            return None
        kept = json_files.read_summed(self._path)
        key = {name: value for name, value in kept.items() if name != "figures"}
        if "figures" not in kept or json_files.text_of(key) != json_files.text_of(self._key):
            raise DataError(f"{self._path} is of another training: delete it to train again")
        return kept["figures"]

    def keep(self, network: nn.Module, figures: Any) -> None:
        files.write_bytes(self._weights, weights_bytes(_learned(network)))
        json_files.write_summed(self._path, {**self._key, "figures": figures})

    def loaded(self, network: Network) -> Network:
        """A network of the same sizes, with the weights that were kept."""
        learned = _learned(network)
        kept = read_tensors(self._weights, shapes_of(learned), self._path.name)
        network.load_state_dict({**network.state_dict(), **kept})
        return network.eval()


def _learned(network: nn.Module) -> dict[str, Tensor]:
    """Its tensors but for whole numbers, such as tables of positions, which its sizes settle."""
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}


class Result(Protocol):
    """What a comparison returns."""

    def to_dict(self) -> dict[str, Any]: ...


Source = TypeVar("Source")
"""The LR of one source."""
Found = TypeVar("Found")
"""The figures of one training, as JSON has them."""
Compared = TypeVar("Compared", bound=Result)


class Comparison(ABC, Generic[Source, Network, Found, Compared]):
    """One network trained on each source of LR, with each added noise and seed.

    The sources share their HR patches, and the trainings that are finished are kept in
    settings.out and not done again. What the network is, which crops it gets and how it is tested
    is a subclass's.
    """

    kind = ""
    """Stands in the names of its files; none for the one that has been there first."""
    title = "SR of real LR, by source"

    def __init__(
        self,
        model: DegFlow,
        settings: ComparisonSettings,
        names: list[str],
        train: Pairs,
        held_out: Pairs,
        progress: Progress,
    ) -> None:
        check_ours(settings.out, "proxy")
        self.model, self.settings, self.progress = model, settings, progress
        self.names, self.train, self.held_out = names, train, held_out
        self.perceptual = Perceptual(settings.perceptual, model.device)
        self._sources: dict[str, Source] = {}
        self._at_once = 1
        """Processes that share the trainings."""

    # What a subclass says

    @abstractmethod
    def make(self, name: str) -> Source:
        """The LR of a source for the patches."""

    @abstractmethod
    def deciding(self, name: str) -> dict[str, Any]:
        """What decides a training on a source beside all that decides every one."""

    @abstractmethod
    def network(self) -> Network:
        """A network with random weights."""

    @abstractmethod
    def fit(self, name: str, added: float, seed: int, task: Task) -> Network:
        """The network trained on a source with added noise, in grey levels."""

    @abstractmethod
    def test(self, network: Network) -> Found:
        """Figures of its SR of the held-out scenes."""

    @abstractmethod
    def untouched(self) -> Found:
        """Figures of real LR of the held-out scenes as it is, enlarged where it is smaller."""

    @abstractmethod
    def told(self, figures: Found) -> str:
        """Their PSNR in a word."""

    @abstractmethod
    def result(self, found: dict[tuple[str, float], list[Found]]) -> Compared:
        """The comparison, of the figures of each seed by source and added noise."""

    @abstractmethod
    def page(self, result: Compared) -> Iterator[list[Picture]]:
        """Rows of pictures, (H, W, 3) uint8 by label, HR first."""

    # What is the same for all

    def compare(self, processes: Processes | None) -> Compared | None:
        """Train what is not kept, test, write figures and a page.

        processes: see `share`; None is returned in all of them but the first.
        """
        out = self.settings.out
        self._at_once = 1 if processes is None else processes.count
        with writing(out, processes):
            trainings = self._trainings
            if not share(processes, trainings, self.prepare, lambda one: self.figures(*one)):
                return None
            found: dict[tuple[str, float], list[Found]] = {(UNTOUCHED, 0.0): [self.untouched()]}
            for name, added, seed in trainings:
                found.setdefault((name, added), []).append(self.figures(name, added, seed))
            result = self.result(found)
            json_files.write(out / f"figures{self._suffix}.json", result.to_dict())
            self._draw_page(result)
            return result

    def prepare(self) -> None:
        """Generate what the sources hold."""
        for name in self.names:
            self.source(name)

    def source(self, name: str) -> Source:
        """The LR of a source, made once."""
        if name not in self._sources:
            self._sources[name] = self.make(name)
        return self._sources[name]

    def figures(self, name: str, added: float, seed: int) -> Found:
        """Figures of one training, from the folder where it was done before."""
        run = self._run(name, added, seed)
        known: Found | None = run.figures()
        if known is not None:
            return known
        self.source(name)  # generated before the task, as tasks do not overlap
        number = self._trainings.index((name, added, seed)) + 1
        place = f"{number} of {len(self._trainings)}"
        said = f"{name}, noise {added:g}, seed {seed} ({place})"
        title = f"{self.kind}, {said}" if self.kind else said
        with self.progress.task(title, self.settings.budget.steps, counts="steps") as task:
            begun = time.monotonic()
            network = self.fit(name, added, seed, task)
            figures = self.test(network)
            run.keep(network, figures)
            left = self._left(number, time.monotonic() - begun)
            task.note(f"{title}: PSNR {self.told(figures)} dB{left}")
        return figures

    def _left(self, number: int, seconds: float) -> str:
        """What comes after a training and is not kept, at as many seconds each."""
        left = sum(not self._is_kept(*one) for one in self._trainings[number:])
        if left < self._at_once:
            return ""
        spent = duration_of(seconds * (left // self._at_once))
        return f"; {number_of(left, 'trainings')} left, about {spent}"

    def _is_kept(self, name: str, added: float, seed: int) -> bool:
        """By the name of its files, which settings may have been others for."""
        path = self.settings.out / "runs"
        return any(files.matches(f"{self._head(name)}-{added:g}-{seed}-*.json", path))

    def trained(self, name: str, added: float) -> Network:
        """The network of a training that is kept, first seed."""
        network = self._run(name, added, 0).loaded(self.network())
        return network.to(self.model.device)

    def patches(
        self, levels: Sequence[int], scale: int = 1
    ) -> tuple[np.ndarray, dict[int, tuple[np.ndarray, np.ndarray]]]:
        """The same patches for all sources: see `cut`.

        Held-out scenes are checked as well, before anything is trained.
        """
        scenes = len(self.train.scenes) + len(self.held_out.scenes)
        with self.progress.task("read pairs", scenes, counts="scenes") as task:
            for scene in self.held_out.scenes:
                self.held_out.check(scene, WINDOW)
                task.advance()
            return cut(self.train, levels, self.settings.patches, scale, task)

    @cached_property
    def _trainings(self) -> list[tuple[str, float, int]]:
        """Source, added noise and seed of each, in the order in which one process has them."""
        noises, seeds = self.settings.added_noise, range(self.settings.seeds)
        return list(product(self.names, noises, seeds))

    @property
    def _suffix(self) -> str:
        return f"-{self.kind}" if self.kind else ""

    def _run(self, name: str, added: float, seed: int) -> Run:
        key = {
            "source": name,
            "added_noise": added,
            "seed": seed,
            "perceptual": self.settings.perceptual,
            "budget": asdict(self.settings.budget),
            "scenes": self.held_out.fingerprint(),
            **self.deciding(name),
        }
        return Run(self.settings.out, f"{self._head(name)}-{added:g}-{seed}", key)

    def _head(self, name: str) -> str:
        """What the names of its files begin with."""
        return f"{self.kind}-{name}" if self.kind else name

    def _draw_page(self, result: Compared) -> None:
        page = []
        with self.progress.task("draw", None) as task:
            for row in self.page(result):
                page.append([(label, middle(picture, CROP)) for label, picture in row])
                task.advance()
            draw_page(self.settings.out / f"pictures{self._suffix}.png", page, self.title, task)


def cut(
    pairs: Pairs, levels: Sequence[int], count: int, scale: int, task: Task
) -> tuple[np.ndarray, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """About `count` patches, evenly from all scenes, which are checked.

    scale: HR over LR. HR (N, P, P, 3) uint8, P being PATCH or the multiple of the scale below it;
    by the number of each level that there is, which of the patches have its real LR, and that LR,
    (n, P / scale, P / scale, 3).
    """
    rng = np.random.default_rng(0)
    each = -(-count // len(pairs.scenes))
    small = PATCH // scale
    hr: list[np.ndarray] = []
    real: dict[int, tuple[list[int], list[np.ndarray]]] = {i: ([], []) for i in levels}
    for scene in pairs.scenes:
        pairs.check(scene, PATCH)
        if scale == 1:
            pictures = pairs.pictures(scene)
            large = pictures[0]
            there = {i: lr for i in levels if (lr := pictures[i]) is not None}
        else:
            found = {i: pairs.pair_at(scene, i, scale) for i in levels if scene.files[i]}
            large = next(iter(found.values()))[0]
            there = {i: lr for i, (_, lr) in found.items()}
        assert large is not None
        for _ in range(each):
            y, x = (int(rng.integers(n // scale - small + 1)) for n in large.shape[:2])
            for i, lr in there.items():
                real[i][0].append(len(hr))
                real[i][1].append(lr[y : y + small, x : x + small])
            rows, columns = (slice(scale * n, scale * (n + small)) for n in (y, x))
            hr.append(large[rows, columns])
        task.advance()
    of_level = {i: (np.array(n), np.stack(lr)) for i, (n, lr) in real.items() if lr}
    return np.stack(hr), of_level


def judged(sr: np.ndarray, hr: np.ndarray, perceptual: Perceptual) -> Figures:
    """SR against HR, both (H, W, 3) uint8."""
    figures = fidelity(sr, hr)
    if perceptual.kind != "none":
        figures["perceptual"] = perceptual(sr, hr)
    return figures


def means(found: Sequence[Figures]) -> Figures:
    return {key: float(np.mean([one[key] for one in found])) for key in found[0]}


def draw_page(path: Path, page: list[list[tuple[str, np.ndarray]]], title: str, task: Task) -> None:
    """A page of crops; without matplotlib a note in its place, as the figures are complete."""
    try:
        plots.picture_page(path, page, title)
    except UsageError as error:
        task.note(f"{path} is left out: {error}")
