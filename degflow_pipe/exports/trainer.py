"""What a trainer is to an export and to the doctor: where pictures go, and how it pairs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from degflow_pipe import files
from degflow_pipe.errors import FileError, UsageError
from degflow_pipe.exports.findings import Found, Report, whole_png
from degflow_pipe.exports.networks import Network
from degflow_pipe.exports.settings import Facts, Rules, Settings, check_rules
from degflow_pipe.exports.source import NEAR, ShardLevel, ShardPair
from degflow_pipe.places import Remote
from degflow_pipe.shards.layout import VALIDATE
from degflow_pipe.shards.packing import Packing, pack

Row = dict[str, Any]
"""A line of pairs.jsonl: hr, lr, key, level, t, scale, effective_scale, hr_size, lr_size, source,
source_sha256."""

Size = tuple[int, int]
"""Height and width in pixels."""

BY_PILLOW = ("colour",)
"""`deep` of who reads with Pillow, as imageio does: grey of 16 bits stays, or is cut off at 255."""
TRIED_SCALES = (1, 2, 3, 4, 8)
MOST_TRIED = 64
"""Scales and levels that are tried before one of them is advised."""


@dataclass(frozen=True)
class Plan:
    """What becomes of a level: the scale its trainer is told, and the sides of HR and LR.

    whole: side of the HR that is written, where LR of several scales share one and show the top
    left corner of it; 0: that of packing. nth, of: which of the levels at one scale it is.
    """

    level: ShardLevel
    told: float
    packing: Packing
    whole: int = 0
    nth: int = 0
    of: int = 1

    @property
    def hr_side(self) -> int:
        """Side in pixels of the HR that is written."""
        return self.whole or self.packing.hr


@dataclass(frozen=True)
class Roots:
    """Where an option file says that pictures and lists are.

    folder: the export's folder, absolute, as no trainer looks from its option file; or empty for
    paths that are relative to it. validation: whether photos that were set apart are in its folder
    `validate`. patches: how many are exported, each with every level.
    """

    folder: str = ""
    validation: bool = False
    patches: int = 1

    def __call__(self, place: str) -> str:
        return f"{self.folder.rstrip('/')}/{place}" if self.folder else place

    def apart(self, place: str) -> str:
        """The same of the photos that were set apart."""
        return self(f"{VALIDATE}/{place}")

    @property
    def whole(self) -> str:
        """The export's folder itself."""
        return self.folder or "."

    @property
    def note(self) -> str:
        if self.folder:
            return "Paths are absolute: export again where this folder was moved, or change them."
        return "Paths are relative to this folder: start the trainer here, or put its path before."


class Sink(Protocol):
    """Where an export's pictures go. in_workers: `put` may be called by several threads."""

    in_workers: bool

    def kept(self, path: str, side: int, data: bytes | None) -> bool:
        """Whether the picture is there already, whole: `data` where that is known, else any PNG
        of side x side pixels without a fault. Raises FileError where something else is there.
        """

    def put(self, path: str, data: bytes, side: int) -> None:
        """Write a PNG of side x side pixels under its path below the export."""


class Folders:
    """Pictures as files, each written aside and renamed."""

    in_workers = True

    def __init__(self, out: Path) -> None:
        self._out = out

    def kept(self, path: str, side: int, data: bytes | None) -> bool:
        there = self._out / path
        if not files.is_there(there):
            return False
        if not files.is_file(there):
            raise FileError(f"{there} is in the way, and no file: move it, or give another `out`")
        # Nobody writes here but us, yet disks fill and files are cut: a sum costs less than a PNG.
        found = files.read_bytes(there)
        return found == data if data is not None else whole_png(found, side)

    def put(self, path: str, data: bytes, side: int) -> None:
        files.write_bytes(self._out / path, data)

    def link(self, path: str, to: str) -> int:
        """Let a picture be one that is there; returns the bytes that it saves."""
        return files.link(self._out / path, self._out / to)


class Trainer(ABC):
    """One trainer: its writer, and the rules by which it pairs what it finds.

    name: as `to` takes it; places: its folders in the export; options: its option file; lists: its
    further text files, each with what makes the line of a pair; as_files: whether its pictures are
    files; one_scale: whether all of its pairs must have one ratio of sizes; turns: whether its
    reader turns pictures as their EXIF says; alpha: whether it makes three channels of four; deep:
    of which pictures, grey or colour, it makes 8 bits of 16; rules: what its option file must hold.
    """

    name: ClassVar[str]
    places: ClassVar[tuple[str, ...]]
    options: ClassVar[str]
    lists: ClassVar[Mapping[str, Callable[[Row], str]]] = {}
    as_files: ClassVar[bool] = True
    one_scale: ClassVar[bool] = True
    turns: ClassVar[bool] = False
    alpha: ClassVar[bool] = True
    deep: ClassVar[tuple[str, ...]] = ("grey", "colour")
    rules: ClassVar[Rules]
    otherwise: ClassVar[str] = (
        "make larger patches, export shards whose LR are as large as HR (`lr_size=same`, and no "
        "`sr_scale`), or choose another trainer"
    )
    """What to do where no other scale and no choice of the levels goes."""

    def plans(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        """What becomes of each level. scale: the SR scale asked for.

        Raises UsageError for levels or a scale that this trainer cannot take; the levels and scales
        that it advises were tried.
        """
        try:
            return self._accepted(levels, scale)
        except UsageError as error:
            raise UsageError(f"{error}: {self._advice(levels, scale)}") from error

    def planned(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        """What becomes of each level, whether or not other levels are lacking: all at one scale.

        Raises UsageError, which says what is wrong but not what to do.
        """
        plans = fixed_scale(self.name, levels, scale)
        factor = int(plans[0].told)
        network = self.network(factor)
        if network is not None and not network.has(factor):
            raise UsageError(
                f"{self.name}: {network.name}, the network of its option file, has no factor "
                f"{factor}, only {network.factors}"
            )
        return plans

    def network(self, scale: int) -> Network | None:
        """The network that the option file names at that factor, of those in `networks`."""
        return None

    def check_whole(self, plans: Sequence[Plan]) -> None:  # noqa: B027
        """Raises UsageError where the trainer needs levels beside these."""

    def check_out(self, out: Path, relative: bool) -> None:
        """Raises UsageError where no trainer, or this one, could read from that folder."""
        if isinstance(out, Remote) and not self.as_files:
            raise UsageError(
                f"{self.name}: an LMDB is changed in place, as nothing at a URL can be: give a "
                f"folder as `out` and copy that, or choose a trainer of pictures"
            )
        if isinstance(out, Remote) and not relative:
            raise UsageError(
                "`out` is a URL, and a trainer's option file names folders: say `relative`, and "
                "copy the export to where it is read"
            )
        self.check_folder(out, relative)

    def check_folder(self, out: Path, relative: bool) -> None:  # noqa: B027
        """Raises UsageError where this trainer could not read from that folder."""

    def _accepted(self, levels: Sequence[ShardLevel], scale: int | None) -> list[Plan]:
        plans = self.planned(levels, scale)
        self.check_whole(plans)
        return plans

    def _goes(self, levels: Sequence[ShardLevel], scale: int | None) -> bool:
        try:
            return bool(self._accepted(levels, scale))
        except UsageError:
            return False

    def _advice(self, levels: Sequence[ShardLevel], scale: int | None) -> str:
        said = []
        if scale is not None and self._goes(levels, None):
            said.append("leave `scale` out")
        scales = [other for other in TRIED_SCALES if other != scale and self._goes(levels, other)]
        if scales:
            said.append(f"choose `scale` {' or '.join(map(str, scales))}")
        kept: list[ShardLevel] = []
        for level in levels[:MOST_TRIED]:
            with suppress(UsageError):
                self.planned([*kept, level], scale)
                kept.append(level)
        if kept and self._goes(kept, scale):
            said.append(f"choose with `t` {','.join(f'{level.t:g}' for level in kept)}")
        return ", or ".join(said) or self.otherwise

    def where(self, pair: ShardPair, plan: Plan) -> tuple[str, str]:
        """Paths of a pair's HR and LR below the export's folder: one name in both places."""
        hr, lr = self.places
        return f"{hr}/{pair.key}.png", f"{lr}/{pair.key}.png"

    @abstractmethod
    def option_file(self, plans: Sequence[Plan], roots: Roots) -> str:
        """The text of the option file."""

    @abstractmethod
    def pair_up(self, folder: Path, report: Report, settings: Settings | None) -> Iterator[Found]:
        """The pairs as this trainer would make them, in its order; what it would refuse, or pair
        wrongly without a word, goes to the report.

        settings: the option file, where there is one.
        """

    def check_options(self, settings: Settings, facts: Facts, report: Report) -> None:
        """Hold an option file against the data: findings of the kind `options`."""
        check_rules(self.rules, settings, facts, report)

    def ratio(self, hr: Size, lr: Size) -> float | None:
        """HR over LR as this trainer works with it; None for sizes it refuses or lays amiss."""
        return whole_ratio(hr, lr)

    def fits(self, hr: Size, lr: Size, wanted: float | None) -> float | None:
        """The ratio of a pair whose folder says it, or does not (None); None where it is amiss."""
        ratio = self.ratio(hr, lr)
        if ratio is None or wanted is None:
            return ratio
        return ratio if abs(ratio - wanted) <= 1e-9 else None

    def sink(self, out: Path) -> AbstractContextManager[Sink]:
        return _folders(out)

    def wrote(self, path: str) -> list[str]:
        """The files below the export that hold a picture: its own, or those of its data base."""
        return [path]


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
                f"{trainer} takes one whole scale, and HR is {said} times the LR in these shards"
            )
        scale = int(ratios[0])
    if scale < 1:
        raise UsageError(f"`scale` must be 1 or more, got {scale}")
    return [Plan(level, scale, packing_at(trainer, level, scale)) for level in levels]


def packing_at(trainer: str, level: ShardLevel, ratio: float) -> Packing:
    """The sides at which HR is exactly `ratio` times the LR. Raises UsageError where none are."""
    if level.lr != level.hr:
        if level.hr == round(level.lr * ratio, 9):
            return Packing(level.hr, level.lr)
        wanted = "as large as the HR" if ratio == 1 else f"of 1/{ratio:g} of the HR"
        raise UsageError(
            f"{trainer} wants LR {wanted}, and level {level} of these shards has {level.lr} of "
            f"{level.hr} pixels"
        )
    if ratio == 1:
        return Packing(level.hr, level.hr)
    packing = pack(level.hr, ratio, "native", "crop")
    if packing.hr != round(packing.lr * ratio, 9):
        raise UsageError(
            f"{trainer} at scale {ratio:g}: no HR of {level.hr * 7 // 8} to {level.hr} pixels is "
            f"exactly {ratio:g} times an LR"
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
    raise UsageError(
        f"{trainer} knows a level by the scale within {NEAR} of its own, and {problems[0]} "
        f"({len(problems)} of {len(levels)} levels do not fit)"
    )


def no_scale(trainer: str, scale: int | None) -> None:
    """Raises UsageError where a scale is given to a trainer of many scales."""
    if scale is not None:
        raise UsageError(
            f"`scale` is for trainers of one scale; in {trainer} each level has its own"
        )
