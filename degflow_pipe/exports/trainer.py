"""What a trainer is to an export and to the doctor: where pictures go, and how it pairs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from degflow_pipe import files
from degflow_pipe.errors import UsageError
from degflow_pipe.exports.findings import Found, Report
from degflow_pipe.exports.source import NEAR, ShardLevel, ShardPair
from degflow_pipe.shards.pictures import Packing, pack

Row = dict[str, Any]
"""A line of pairs.jsonl: hr, lr, key, level, t, scale, effective_scale, hr_size, lr_size."""


Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Plan:
    """What becomes of a level: the scale its trainer is told, and the sides of HR and LR."""

    level: ShardLevel
    told: float
    packing: Packing


class Sink(Protocol):
    """Where an export's pictures go. in_workers: `put` may be called by several threads."""

    in_workers: bool

    def kept(self, path: str) -> bool:
        """Whether the picture is there already, whole."""

    def put(self, path: str, data: bytes, side: int) -> None:
        """Write a PNG of side x side pixels under its path below the export."""


class Folders:
    """Pictures as files; each is written aside and renamed, so one that is there is whole."""

    in_workers = True

    def __init__(self, out: Path) -> None:
        self._out = out

    def kept(self, path: str) -> bool:
        return files.exists(self._out / path)

    def put(self, path: str, data: bytes, side: int) -> None:
        files.write_bytes(self._out / path, data)


class Trainer(ABC):
    """One trainer: its writer, and the rules by which it pairs what it finds.

    name: as --to takes it; places: its folders in the export; options: its option file; lists: its
    further text files, each with what makes the line of a pair; one_scale: whether all of its pairs
    must have one ratio of sizes.
    """

    name: ClassVar[str]
    places: ClassVar[tuple[str, ...]]
    options: ClassVar[str]
    lists: ClassVar[Mapping[str, Callable[[Row], str]]] = {}
    one_scale: ClassVar[bool] = True

    def plans(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        """What becomes of each level: all go at one scale. scale: the SR scale asked for.

        Raises UsageError for levels or a scale that this trainer cannot take.
        """
        return fixed_scale(self.name, levels, scale)

    def where(self, pair: ShardPair, plan: Plan) -> tuple[str, str]:
        """Paths of a pair's HR and LR below the export's folder: one name in both places."""
        hr, lr = self.places
        return f"{hr}/{pair.key}.png", f"{lr}/{pair.key}.png"

    @abstractmethod
    def option_file(self, plans: Sequence[Plan], pairs: int) -> str:
        """The text of the option file, paths being relative to the export's folder."""

    @abstractmethod
    def pair_up(self, folder: Path, report: Report) -> Iterator[Found]:
        """The pairs as this trainer would make them, in its order; what it would refuse, or pair
        wrongly without a word, goes to the report.
        """

    def ratio(self, hr: Size, lr: Size) -> float | None:
        """HR over LR as this trainer works with it; None for sizes it refuses or lays amiss."""
        return whole_ratio(hr, lr)

    def sink(self, out: Path) -> AbstractContextManager[Sink]:
        return _folders(out)


@contextmanager
def _folders(out: Path) -> Iterator[Sink]:
    yield Folders(out)


def whole_ratio(hr: Size, lr: Size) -> float | None:
    """How many times the LR the HR is, both ways; None where that is no whole number."""
    ratio, rest = divmod(hr[0], lr[0])
    return ratio if ratio and not rest and hr[1] == ratio * lr[1] else None


def same_size(hr: Size, lr: Size) -> float | None:
    """1 where both are of one size, else None."""
    return 1 if hr == lr else None


def fixed_scale(trainer: str, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
    """All levels at one whole scale, by default that of the shards' pictures: 1 where LR is as
    large as HR. Raises UsageError where there is no such scale.
    """
    if scale is None:
        ratios = sorted({level.hr / level.lr for level in levels})
        if len(ratios) > 1 or ratios[0] != int(ratios[0]):
            said = ", ".join(f"{ratio:.4g}" for ratio in ratios)
            raise UsageError(
                f"{trainer} takes one whole scale, and HR is {said} times the LR in these shards: "
                f"choose levels with --scales, or export shards that were made with --lr-size same"
            )
        scale = int(ratios[0])
    if scale < 1:
        raise UsageError(f"--scale must be 1 or more, got {scale}")
    return [Plan(level, scale, packing_at(trainer, level, scale)) for level in levels]


def packing_at(trainer: str, level: ShardLevel, ratio: float) -> Packing:
    """The sides at which HR is exactly `ratio` times the LR. Raises UsageError where none are."""
    if level.lr != level.hr:
        if level.hr == round(level.lr * ratio, 9):
            return Packing(level.hr, level.lr)
        wanted = "as large as the HR" if ratio == 1 else f"of 1/{ratio:g} of the HR"
        raise UsageError(
            f"{trainer} wants LR {wanted}, and level {level} of these shards has {level.lr} of "
            f"{level.hr} pixels: leave the level out with --scales, or export shards that were "
            f"made with --lr-size same"
        )
    if ratio == 1:
        return Packing(level.hr, level.hr)
    packing = pack(level.hr, ratio, "native", "crop")
    if packing.hr != round(packing.lr * ratio, 9):
        raise UsageError(
            f"{trainer} at scale {ratio:g}: no HR of {level.hr * 7 // 8} to {level.hr} pixels is "
            f"exactly {ratio:g} times an LR: make larger patches, or choose another scale"
        )
    return packing


def own_scales(
    trainer: str,
    levels: Sequence[ShardLevel],
    known: Callable[[float], float],
    shared: bool = False,
) -> list[tuple[ShardLevel, float]]:
    """Each level with the trainer's scale it stands for. Raises UsageError for a level that has
    none, and for two of one scale unless they may share it.

    known: the trainer's scale nearest to a level's.
    """
    fitting: list[tuple[ShardLevel, float]] = []
    problems = []
    taken: dict[float, ShardLevel] = {}
    for level in levels:
        scale = known(level.scale)
        if abs(scale - level.scale) > NEAR + 1e-9:
            problems.append(f"level {level} has none")
        elif scale in taken and not shared:
            problems.append(f"levels {taken[scale]} and {level} are both x{scale:g}")
        else:
            taken[scale] = level
            fitting.append((level, scale))
    if not problems:
        return fitting
    advice = "generate levels with other --scales"
    if fitting:
        advice = f"choose with --t {','.join(f'{level.t:g}' for level, _ in fitting)}"
    raise UsageError(
        f"{trainer} knows a level by the scale within {NEAR} of its own, and {problems[0]} "
        f"({len(problems)} of {len(levels)} levels do not fit): {advice}"
    )


def no_scale(trainer: str, scale: int | None) -> None:
    """Raises UsageError where a scale is given to a trainer of many scales."""
    if scale is not None:
        raise UsageError(
            f"--scale is for trainers of one scale; in {trainer} each level has its own: choose "
            f"levels with --scales or --t"
        )
