"""Whether a checkpoint is any good: figures that `calibrate` and `evaluate` took, held against
limits, in words that a person can act on.

config.json keeps the figures; the verdict is made of them, so a new limit needs no new measuring.
Limits lie between what good and bad checkpoints gave: see checkpoints/README.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np

from degflow_pipe.checkpoint.calibration import Calibration
from degflow_pipe.errors import UsageError
from degflow_pipe.settings import AtLeast, AtMost, read, shown

Grade = Literal["good", "with care", "bad", "not measured"]
Overall = Literal["good", "usable with care", "not usable", "not judged"]
WINDOW = 0.1
"""Of t, within which the steepest part of a map of scales is looked for."""

Decibel = Annotated[float, AtMost(200)]
Share = Annotated[float, AtLeast(0), AtMost(1)]


@dataclass(frozen=True)
class OnTraining:
    """Figures of the training scenes, by `calibrate`; the worst of all knots where not said.

    scenes: how many there are. shift: median over pairs of what LR lies off its HR, in pixels of
    HR; None where no pair tells. unmatched: share of the pairs that have hardly anything in common
    with their HR. above_gaussian: PSNR of expected LR minus that of the best Gaussian, dB, mean of
    the knots. fall: of the blur of generated levels below what it was at a lower t, over its
    largest.
    """

    scenes: int
    shift: Annotated[float | None, AtLeast(0), AtMost(10_000)]
    unmatched: Share
    above_gaussian: Decibel
    fall: Share


@dataclass(frozen=True)
class OnHeldOut:
    """Figures of the held-out scenes, by `evaluate`; the worst of all knots where not said.

    above_blur: PSNR of LR as it is shipped, with its noise, minus that of bicubic or the best
    Gaussian, whichever is higher, dB. above_gaussian: as in `OnTraining`. leak: coherence with HR
    beyond the real LR's in the bands where real LR knows less than half of HR. noise: deviation at
    flat places over the real LR's; None for a checkpoint without noise.
    """

    scenes: int
    above_blur: Decibel
    above_gaussian: Decibel
    leak: Annotated[float, AtMost(1)]
    noise: Annotated[float | None, AtLeast(0), AtMost(10_000)]


@dataclass(frozen=True)
class Judged:
    """What was measured so far."""

    training: OnTraining | None = None
    held_out: OnHeldOut | None = None

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, data: Any) -> Judged:
        """Raises UsageError naming the key that is wrong."""
        if not isinstance(data, dict) or not set(data) <= {"training", "held_out"}:
            raise UsageError(f"judged must be a mapping with training, held_out, got {shown(data)}")
        training, held_out = data.get("training"), data.get("held_out")
        return cls(
            None if training is None else read(OnTraining, training, "judged.training"),
            None if held_out is None else read(OnHeldOut, held_out, "judged.held_out"),
        )


@dataclass(frozen=True)
class Finding:
    """One figure and what it means.

    care, bad: where it is no longer good, and where it is bad; both None where there is no figure.
    said: what was found and, where that is not good, what to do; without a figure, why there is
    none.
    """

    name: str
    grade: Grade
    figure: float | None
    care: float | None
    bad: float | None
    said: str


@dataclass(frozen=True)
class Verdict:
    """overall: the worst of the findings; `not judged` where some were not measured and none of
    the others is bad."""

    overall: Overall
    findings: list[Finding]

    @property
    def line(self) -> str:
        """The verdict in a sentence, with what is not good."""
        named = [one for one in self.findings if one.grade in ("with care", "bad")]
        return "; ".join([self.overall, *(one.said for one in named)])

    @property
    def warning(self) -> str:
        """What to tell before something is made with the checkpoint; empty for a good one, and
        where nothing is known against it."""
        grades = [one.grade for one in self.findings]
        bad, care = grades.count("bad"), grades.count("with care")
        counts = [f"{bad} bad"] * bool(bad) + [f"{care} with care"] * bool(care)
        if not counts:
            return ""
        said = " and ".join(counts)
        return f"{self.overall} ({said}): `degflow-pipe info` on it says why, and what to do"


@dataclass(frozen=True)
class _Limit:
    """care, bad: see `Finding`; more is worse where bad is above care. what: the figure in words,
    with {} for it and {way} for the way in which it is off. do: what to do, with {train} for longer
    training, or of more."""

    name: str
    care: float
    bad: float
    what: str
    do: str

    def finding(
        self, figure: float | None, measured: bool = False, way: str = "", by_heart: bool = False
    ) -> Finding:
        """figure: None where there is none; measured: whether it was looked for. by_heart: whether
        the training scenes are learned by heart, which longer training makes worse.
        """
        if figure is None:
            told = "evaluate" if self.name in HELD_OUT else "calibrate"
            why = WITHOUT.get(self.name) if measured else None
            said = f"not measured: {why or f'run `{told}()`'}"
            return Finding(self.name, "not measured", None, None, None, said)
        sign = 1 if self.bad > self.care else -1
        grade: Grade = "good"
        if sign * figure > sign * self.care:
            grade = "bad" if sign * figure > sign * self.bad else "with care"
        if "{way}" in self.what:  # the side that it lies on is told in a word
            way = way or ("below" if figure < 0 else "above")
            said = self.what.format(abs(figure), way=way)
        else:
            said = self.what.format(figure)
        if grade != "good":
            do = self.do.format(train="train on more scenes" if by_heart else "train longer")
            said = f"{said} ({'at most' if sign > 0 else 'at least'} {self.care:g}): {do}"
        return Finding(self.name, grade, round(figure, 4), self.care, self.bad, said)


LIMITS = {
    limit.name: limit
    for limit in (
        _Limit(
            "above_blur",
            0.5,
            0.0,
            "LR with its noise is {:.2f} dB {way} bicubic and the best Gaussian",
            "a blur of HR does as well; {train}, and look whether the pairs are aligned",
        ),
        _Limit(
            "levels",
            0.02,
            0.1,
            "between levels the blur falls back by {:.1%} of its largest",
            "a higher level is not always a lower quality; {train}, with `between`",
        ),
        _Limit(
            "scale_map",
            2.0,
            3.0,
            "a tenth of t covers {:.1f} times its share of the scales",
            "scales between the knots are hardly there; {train}, with `between`",
        ),
        _Limit(
            "leak",
            0.1,
            0.2,
            "LR knows {:.2f} more of HR's fine detail than real LR does",
            "an SR network would read HR out of it; {train}, and calibrate again",
        ),
        _Limit(
            "noise",
            1.5,
            3.0,
            "noise at flat places is {:.2f} times as {way} as real LR's",
            "calibrate on pairs like those that it is evaluated on",
        ),
        _Limit(
            "pairs",
            0.2,
            0.5,
            "{:.0%} of the training pairs have little in common with their HR",
            "LR and HR are of different scenes, or blurred beyond use; look at their names",
        ),
        _Limit(
            "alignment",
            0.6,
            1.0,
            "LR of the training pairs lie {:.2f} pixels off their HR",
            "align them (`align`), then train anew",
        ),
        _Limit(
            "scenes",
            20,
            4,
            "trained on {:.0f} scenes",
            "that is few; shoot more, of different things",
        ),
        _Limit(
            "learned_by_heart",
            1.0,
            2.0,
            "on the training scenes LR is {:.2f} dB better, beside a Gaussian, than on others",
            "the training scenes are learned by heart; shoot more, or train for fewer steps",
        ),
    )
}
HELD_OUT = ("above_blur", "leak", "noise", "learned_by_heart")
"""Findings that need `evaluate`."""
WITHOUT = {
    "noise": "there was no noise model; run `calibrate()`, then `evaluate()`",
    "alignment": "no pair has enough in common to tell; look at their names",
}
"""Findings that may have no figure though they were looked for, and why."""


def verdict_of(judged: Judged | None, calibration: Calibration | None) -> Verdict:
    """Every finding, with those that were not measured, and the overall one."""
    judged = judged or Judged()
    training, held_out = judged.training, judged.held_out
    figures: dict[str, float | None] = dict.fromkeys(LIMITS)
    if calibration is not None:
        figures["scale_map"] = steepest(calibration.scales)
    if training is not None:
        figures |= {
            "levels": training.fall,
            "pairs": training.unmatched,
            "alignment": training.shift,
            "scenes": training.scenes,
        }
    if held_out is not None:
        figures |= {"above_blur": held_out.above_blur, "leak": held_out.leak}
        if held_out.noise is not None:
            figures["noise"] = max(held_out.noise, 1 / max(held_out.noise, 1e-4))
        if training is not None:
            figures["learned_by_heart"] = training.above_gaussian - held_out.above_gaussian
    looked = {"noise": held_out is not None, "alignment": training is not None}
    weak = held_out is not None and held_out.noise is not None and held_out.noise < 1
    ways = {"noise": "weak" if weak else "strong"}
    heart = figures["learned_by_heart"]
    by_heart = heart is not None and heart > LIMITS["learned_by_heart"].care
    findings = [
        LIMITS[name].finding(figure, looked.get(name, False), ways.get(name, ""), by_heart)
        for name, figure in figures.items()
    ]
    grades = {one.grade for one in findings}
    overall: Overall = "good"
    if "bad" in grades:
        overall = "not usable"
    elif "not measured" in grades:
        overall = "not judged"
    elif "with care" in grades:
        overall = "usable with care"
    return Verdict(overall, findings)


def steepest(scales: list[list[float]]) -> float:
    """The largest share of a map's scales within WINDOW of t, over WINDOW: 1 for a straight one.

    scales: [s, t] pairs as `Calibration` has them.
    """
    s, t = np.array(scales).T
    at = np.linspace(0, 1, 1001)
    share = (np.interp(at, t, s) - s[0]) / (s[-1] - s[0])
    wide = round(WINDOW * 1000)
    return float((share[wide:] - share[:-wide]).max() / WINDOW)


def section(verdict: Verdict) -> str:
    """The verdict as a section of a model card, in Markdown."""
    rows = "\n".join(
        f"| {one.name} | {one.grade} | {one.said.replace('`', '')} |" for one in verdict.findings
    )
    return f"{HEADING}{verdict.overall}\n\n| finding | grade | |\n|---|---|---|\n{rows}\n"


HEADING = "## Verdict: "
