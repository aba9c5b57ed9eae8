"""What several kinds of sources say in the same words: checkpoints, verdicts, skips, sizes."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from degflow_pipe import shipped
from degflow_pipe.cameras.bank import SIMULATED, parse_bank
from degflow_pipe.checkpoint.folder import CheckpointInfo, read_info
from degflow_pipe.checkpoint.verdict import Finding, Verdict
from degflow_pipe.errors import UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.reports.page import STATES, Check, Fact, Judgement

NAMED = 12
"""Names below a reason, at most."""
LEVELS = 9
"""Levels of a scene that are shown, at most."""
REASONS = 40
"""Reasons of what is left out, at most."""

FARTHEST, NEAREST = "farthest from HR", "nearest to HR"
"""The ends of patches, by the PSNR of their strongest level."""

Item = TypeVar("Item")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Up to `count` items, evenly apart and always the same, none of the ends favoured."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def levels_shown(count: int) -> list[int]:
    """Numbers of up to LEVELS of so many levels: evenly, the first and the last among them."""
    if count <= LEVELS:
        return list(range(count))
    return [round(i * (count - 1) / (LEVELS - 1)) for i in range(LEVELS)]


def told(word: str) -> str:
    """As a sentence begins."""
    return word[:1].upper() + word[1:]


def check_of(found: Finding) -> Check:
    figure = "" if found.figure is None else f"{found.figure:.3g}"
    limit = ""
    if found.care is not None and found.bad is not None:
        limit = f"{'≤' if found.bad > found.care else '≥'} {found.care:g}"
    state = STATES.get(found.grade, "unknown")
    return Check(found.name.replace("_", " "), state, found.grade, found.said, figure, limit)


def judgement_of(verdict: Verdict, about: str) -> Judgement:
    """A checkpoint's verdict with its findings; the worst of them first."""
    order = {"bad": 0, "with care": 1, "not measured": 2, "good": 3}
    checks = [check_of(one) for one in sorted(verdict.findings, key=lambda f: order[f.grade])]
    state = STATES.get(verdict.overall, "unknown")
    return Judgement(about, state, told(verdict.overall), "", checks)


def shipped_info(checkpoint: str) -> CheckpointInfo | None:
    """Of a checkpoint that comes with the package, by its id; None for any other: what a file
    names is never looked for as a path.
    """
    for name in shipped.names("checkpoints"):
        folder = shipped.find("checkpoints", name)
        if folder is not None and (info := read_info(folder)).id == checkpoint:
            return info
    return None


def makers(checkpoint: str) -> list[str]:
    """The ids of the cameras that a grid's `checkpoint` names: one, or those of a bank."""
    if "," not in checkpoint:
        return [checkpoint] if checkpoint else []
    try:
        return [one.name for one in parse_bank(checkpoint) if one.name != SIMULATED]
    except UsageError:
        return []


def judged_makers(checkpoint: str) -> list[Judgement]:
    """The verdict of each checkpoint that made LR, where it is known."""
    found = []
    for name in makers(checkpoint):
        info = shipped_info(name)
        about = f"The checkpoint that made the LR, {name}"
        if info is not None:
            found.append(judgement_of(info.verdict, about))
        else:
            said = (
                "It is none of the shipped ones, so its verdict is not known here: make a report "
                "of its folder."
            )
            found.append(Judgement(about, "unknown", "Not judged here", said))
    return found


def facts_of_maker(checkpoint: str) -> list[Fact]:
    """Whose pairs a checkpoint has learned from, and their licence."""
    found = []
    for name in makers(checkpoint):
        info = shipped_info(name)
        for key, what in (
            ("source", "checkpoint trained on"),
            ("licence", "licence of those pairs"),
        ):
            if info is not None and isinstance(said := info.data.get(key), str) and said:
                found.append(Fact(what, said))
    return found


def noise_of(noise: str) -> str:
    """What a grid's `noise` says, in words."""
    if noise == "none":
        return "none: LR are what is expected"
    kind, _, rest = noise.partition("-")
    seed, _, digest = rest.partition("-")
    return f"{kind}, seed {seed}, model {digest}" if digest else noise


def at_level(text: str, name: str) -> str:
    """`real LR, x2.9`; of a level that is called LR, as a set with one has it, `real LR` alone."""
    return text if name == "LR" else f"{text}, {name}"


def counted(values: Iterable[str], most: int = 12) -> str:
    """`3 sRGB, 1 none`: how often each is there, the most frequent first."""
    found = Counter(values).most_common()
    said = [f"{count:,} {printable(value) or 'none'}" for value, count in found[:most]]
    return ", ".join([*said, *(["others"] if len(found) > most else [])])


def command(*words: object, **options: object) -> str:
    """A command line of ours; what a shell would take for more than a word is quoted."""
    parts = ["degflow-pipe", *map(str, words)]
    for name, value in options.items():
        if value is not None and value is not False:
            parts.append(f"--{name.replace('_', '-')}")
            parts += [] if value is True else [str(value)]
    return " ".join(shlex.quote(part) for part in parts)
