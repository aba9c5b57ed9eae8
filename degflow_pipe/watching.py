"""What a long run tells other programs of: a line of JSON for each unit that is done, and one for
the run.

    {"event": "unit", "stage": "generate", "unit": "block 12", "seconds": 1.2, ...}
    {"event": "run", "units": 40, "seconds": 51.3, "slowest": [...], "skipped": {...}, ...}

Lines are added as units are noted, so those of a run that was stopped and of the one that goes on
follow each other in one file. Nothing is made otherwise because it is told of.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from degflow_pipe import files, logs
from degflow_pipe.engines.timing import Took
from degflow_pipe.errors import FileError, masked
from degflow_pipe.places import place_of

SLOWEST = 5
"""Units that are named as the slowest, at most."""
HEAD = b'{"event": '
"""With which every line begins."""
TAIL = 4096
"""Bytes of a file's end that are read at once; few lines have more."""


@dataclass(frozen=True)
class SlowUnit:
    """A unit that took long. unit: such as `block 12`; seconds: in its worker, `HOST:PID`."""

    stage: str
    unit: str
    seconds: float
    worker: str


class Watched:
    """The units of one stage, or of all: how many, and which were the slowest."""

    def __init__(self) -> None:
        self.units, self.seconds = 0, 0.0
        self._slow: list[tuple[float, int, SlowUnit]] = []

    def add(self, unit: SlowUnit) -> None:
        self.units, self.seconds = self.units + 1, self.seconds + unit.seconds
        # Of equal ones the first; a SlowUnit has no order.
        heapq.heappush(self._slow, (unit.seconds, -self.units, unit))
        if len(self._slow) > SLOWEST:
            heapq.heappop(self._slow)

    @property
    def slowest(self) -> list[SlowUnit]:
        """The slowest first."""
        return [unit for *_, unit in sorted(self._slow, reverse=True)]


class Watch:
    """Takes what stages tell of their units; use it as a context, of one run.

    path: of the file that lines are added to, on this machine or at a URL; None for none. At a URL
    the file is sent anew now and then, see `places.log`. One run at a time adds to a file.

    Raises FileError where the file cannot be written, or holds anything but such lines.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = None if path is None else place_of(path)
        self._log: logs.Log | None = None
        self._all = Watched()
        self._skipped: list[Mapping[str, str]] = []
        self._begun = time.perf_counter()

    def __enter__(self) -> Self:
        if self._path is not None:
            self._log = logs.opened(self._path, _end_of(self._path))
        return self

    def unit(
        self, stage: str, unit: str, took: Took, device: str, made: Mapping[str, int]
    ) -> SlowUnit:
        """A unit is done. made: `patches`, `pairs`, `evaluations` (of v for a patch) and so on."""
        done = SlowUnit(stage, unit, round(took.seconds, 4), took.worker)
        self._all.add(done)
        self._say("unit", **asdict(done), device=device, **made)
        return done

    def skip(self, skipped: Mapping[str, str]) -> None:
        """What is left out, by name, and why: as it stands when the run ends."""
        self._skipped.append(skipped)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._log is None:
            return
        try:
            self._say(
                "run",
                units=self._all.units,
                seconds=round(self._all.seconds, 4),
                wall=round(time.perf_counter() - self._begun, 4),
                slowest=[asdict(unit) for unit in self._all.slowest],
                skipped={name: why for each in self._skipped for name, why in each.items()},
                failed=None if error is None else masked(str(error) or type(error).__name__),
            )
        finally:
            log, self._log = self._log, None
            log.close()

    def _say(self, event: str, **said: Any) -> None:
        if self._log is not None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            rest = json.dumps({"time": now, **said})
            self._log.add(HEAD + f'"{event}", {rest[1:]}\n'.encode())


class StageWatch:
    """What a stage tells of its units, and the slowest of these alone."""

    def __init__(self, watch: Watch | None) -> None:
        self.watch = watch or Watch()
        self._own = Watched()

    def unit(self, stage: str, unit: str, took: Took, device: str, made: Mapping[str, int]) -> None:
        """See `Watch.unit`."""
        self._own.add(self.watch.unit(stage, unit, took, device, made))

    @property
    def slowest(self) -> list[SlowUnit]:
        return self._own.slowest


def _end_of(path: Path) -> int:
    """The end of the lines of a file that are whole: a run that was killed may have cut off the
    last. Raises FileError for a file that holds anything else.
    """
    end = files.length(path)
    if end and files.read_spans(path, [(0, len(HEAD))]) != [HEAD]:
        raise FileError(f"{path} is there and is no list of events: give another file as `events`")
    while end:
        start = max(end - TAIL, 0)
        (tail,) = files.read_spans(path, [(start, end)])
        if (found := tail.rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0
