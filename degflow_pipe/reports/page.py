"""What a report says, and how it becomes one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from degflow_pipe.formats.said import Skips
from degflow_pipe.formats.text import printable

LIMIT = 15_000_000
"""Bytes that a page has at most."""
ROWS = 200
"""Of a table, at most; it says how many there are."""

State = Literal["good", "care", "bad", "unknown"]
STATES: dict[str, State] = {
    "good": "good",
    "usable with care": "care",
    "with care": "care",
    "not usable": "bad",
    "bad": "bad",
}
"""Of grades and verdicts; of all others nothing is known."""


@dataclass(frozen=True)
class Number:
    """A figure at the head of the page, such as 28 and `patches of 192 x 192 pixels`."""

    value: str
    said: str


@dataclass(frozen=True)
class Check:
    """One line below a verdict. figure, limit: as text, empty for none."""

    name: str
    state: State
    grade: str
    said: str
    figure: str = ""
    limit: str = ""


@dataclass(frozen=True)
class Judgement:
    """about: of what it is. word: the verdict; said: a sentence after it."""

    about: str
    state: State
    word: str
    said: str = ""
    checks: Sequence[Check] = ()


@dataclass(frozen=True)
class Frame:
    """One picture of a scene: its label, what is known of it, and a data URL; sides in pixels."""

    label: str
    about: str
    url: str
    width: int
    height: int


@dataclass(frozen=True)
class Shown:
    """The same crop at all levels. end: `farthest from HR`, say, of a scene that is one of the two
    ends. left: number of the frame that is held against the others.
    """

    name: str
    about: str
    frames: Sequence[Frame]
    left: int = 0
    end: str = ""


@dataclass(frozen=True)
class Sheet:
    """A picture that another command drew. alt: what it shows."""

    title: str
    alt: str
    url: str
    width: int
    height: int


@dataclass(frozen=True)
class Table:
    """columns: the first is of text, the others of figures, unless `text` names them by number.

    total: how many rows there are, where not all are given.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    said: str = ""
    text: frozenset[int] = frozenset({0})
    total: int = 0

    @property
    def left_out(self) -> int:
        return max(self.total - len(self.rows), 0)


@dataclass(frozen=True)
class Chart:
    """A drawing; legend: label and number of each line, empty for one. table: what it is drawn
    of, for those who do not see it."""

    title: str
    alt: str
    svg: Markup
    table: Table
    legend: Sequence[tuple[str, int]] = ()
    said: str = ""


@dataclass(frozen=True)
class Fact:
    """A line of what is known about where it comes from."""

    name: str
    said: str


@dataclass
class Page:
    """kind: of the source, such as `Store`. Whatever is empty is left out of the page."""

    kind: str
    title: str
    lead: str
    numbers: list[Number] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    pictures_said: str = ""
    scenes: list[Shown] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    curves_said: str = ""
    curves: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    histograms: list[Chart] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    origins: list[Table] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    commands_said: str = ""
    skips: list[Skips] = field(default_factory=list)
    costs: list[Table] = field(default_factory=list)

    @property
    def sections(self) -> list[tuple[str, str]]:
        """The anchor and the title of each section that the page has, in order."""
        there = {
            ("verdict", "Verdict"): self.judgements,
            ("pictures", "Pictures"): [*self.scenes, *self.sheets],
            ("figures", "Figures"): [*self.curves, *self.tables],
            ("histograms", "Histograms"): self.histograms,
            ("provenance", "Where it comes from"): [*self.facts, *self.origins],
            ("skipped", "Left out"): self.skips,
            ("costs", "Disk and time"): self.costs,
            ("commands", "Make it again"): self.commands,
        }
        return [section for section, held in there.items() if held]


def prose(text: str) -> Markup:
    """What stands in backticks is code; all else is text."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(printable(text)))))


@cache
def _environment() -> Environment:
    """Everything is escaped; what a template asks for and is not there is an error."""
    environment = Environment(
        loader=PackageLoader("degflow_pipe.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # A mark of direction or a byte that is no UTF-8 is shown as such.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["prose"] = prose
    return environment


def render(page: Page) -> str:
    """The page as HTML. The same page gives the same text."""
    environment = _environment()
    script = environment.get_template("script.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        page=page,
        script=Markup(script),  # it is ours, and has nothing of the source in it
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
    )
