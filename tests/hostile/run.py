"""Hostile files of every kind that is read, each given to a real command.

    python tests/hostile/run.py [--cases 1000] [--seed 0] [--jobs 2] [--only store] [--log FILE]

A case is a whole artefact, made by the commands, one file of which is attacked (`attacks`). It
passes where the command ends by itself within a minute and two gigabytes, with exit code 0, 1 or 2,
no traceback, and one `error:` line where it fails; `verify` must find what was attacked, else it is
`missed`, but for what could be so (`attacks.SEALED`). A table of figures is printed, and every case
that does not pass.

Attack and command are each a fork of this process, which reads no file that was attacked, so that
it stays small; what a case takes is counted from there on, with what every command imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import NoReturn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
sys.path.insert(0, str(HERE))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_COLOR", "1")

# Whatever a command imports is here before it is forked: else that is most of a case's time.
import accelerate  # noqa: E402, F401
import artefacts  # noqa: E402
import attacks  # noqa: E402
import psutil  # noqa: E402
import torch._dynamo  # noqa: E402
import torch.utils.tensorboard  # noqa: E402, F401
import torchdiffeq  # noqa: E402, F401
import webdataset  # noqa: E402, F401
import zarr  # noqa: E402, F401

import degflow_pipe.checkpoint.degflow  # noqa: E402
import degflow_pipe.checkpoint.published_files  # noqa: E402
import degflow_pipe.exports.doctor  # noqa: E402
import degflow_pipe.proxy.proxy  # noqa: E402
import degflow_pipe.stages.run  # noqa: E402
import degflow_pipe.training.stages  # noqa: E402, F401
from degflow_pipe.cli.app import main  # noqa: E402

SECONDS = 60
MEMORY = 2 << 30
ADDRESSES = 24 << 30
"""Bytes of addresses beyond which a case is stopped, so that it cannot take the machine along."""
LARGEST_FILE = 64 << 20
"""Bytes of a file that a case may write: what writes more is not bounded."""
LONGEST_LINE = 1500


@dataclass(frozen=True)
class Case:
    artefact: str
    file: str
    format: str
    attack: str
    command: str
    seed: str


@dataclass(frozen=True)
class Verdict:
    """faults: what is wrong, none where the case passes; missed: `verify` did not find it."""

    case: Case
    code: int
    seconds: float
    memory: int
    faults: list[str]
    missed: bool
    said: str


def cases(found: list[artefacts.Artefact], count: int, seed: int) -> list[Case]:
    """So many of all that can be made, the kinds of attack shared out evenly over the formats."""
    rng = Random(seed)
    every: dict[tuple[str, str, str], list[Case]] = {}
    for artefact in found:
        for file in artefact.files():
            form = attacks.format_of(artefact.folder / file)
            for name in {**attacks.ANY, **attacks.BY_FORMAT[form]}:
                for command in artefact.commands:
                    case = Case(artefact.name, str(file), form, name, command, "")
                    every.setdefault((artefact.name, form, name), []).append(case)
    groups = [(key, rng.sample(group, len(group))) for key, group in sorted(every.items())]
    rng.shuffle(groups)
    # In turn of each kind of artefact, so that a few cases are of all of them.
    turns: Counter[str] = Counter()
    ordered = []
    for (artefact, _, _), group in groups:
        turns[artefact] += 1
        ordered.append((turns[artefact], group))
    ordered.sort(key=lambda turn: turn[0])
    chosen: list[Case] = []
    while len(chosen) < count and any(group for _, group in ordered):
        for _, group in ordered:
            if group and len(chosen) < count:
                chosen.append(group.pop())
    return [Case(**{**asdict(c), "seed": f"{seed}-{i}"}) for i, c in enumerate(chosen)]


def run(args: list[str], at: Path, limited: bool = True) -> tuple[int, float, int, str, str]:
    """Exit code (below 0: a signal; 124: it took too long), seconds, bytes, and what it printed."""

    def command() -> None:
        os.chdir(at)
        for name, number in ((".out", 1), (".err", 2)):
            os.dup2(os.open(at / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        if limited:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
            resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["degflow-pipe", *args]
        main()

    code, seconds, memory = forked(command)
    texts = [(at / name).read_text(errors="replace") for name in (".out", ".err")]
    return code, seconds, memory, texts[0], texts[1]


def forked(work: Callable[[], None]) -> tuple[int, float, int]:
    """Exit code, seconds and bytes of work that a copy of this process does, within the limits."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(work)
    code, memory = None, 0
    while code is None:
        memory = max(memory, _memory(child))
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
        elif time.monotonic() - started > SECONDS or memory > 2 * MEMORY:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            code = 124
        else:
            time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # workers that it left behind
    return code, time.monotonic() - started, max(memory, usage.ru_maxrss * 1024)


def _become(work: Callable[[], None]) -> NoReturn:
    """Do the work; whatever it raises, this copy of the process ends here."""
    code = 70
    try:
        os.setsid()
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 70
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _memory(process: int) -> int:
    """Bytes of a process and of all that it started; each has its part of what they share."""
    held = 0
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process)
        for one in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                held += getattr(one.memory_full_info(), "pss", 0)
    return held


def judge(case: Case, whole: Path, scratch: Path) -> Verdict:
    """Run one case in a folder of its own, with copies of all that its command reads."""
    at = Path(tempfile.mkdtemp(dir=scratch))
    try:
        folder = next(a for a in FOLDERS if a.name == case.artefact).folder
        args = case.command.replace("{}", folder.name).split()
        for name in {folder.name, "photos", *(arg.split("/")[0] for arg in args)}:
            if (whole / name).is_dir() and name:
                shutil.copytree(whole / name, at / name)
        attack = {**attacks.ANY, **attacks.BY_FORMAT[case.format]}[case.attack]
        attacked = at / folder.name / case.file
        before = (folder / case.file).read_bytes()
        if forked(lambda: attack(attacked, Random(case.seed)))[0]:
            raise SystemExit(f"{case}: the attack itself failed")
        changed = _differs(attacked, before)
        code, seconds, memory, out, err = run(args, at)
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        faults = []
        if code == 124:
            faults.append("hang" if seconds > SECONDS else "memory")
        elif code < 0:
            faults.append(f"signal {-code}")
        elif code not in (0, 1, 2):
            faults.append(f"exit code {code}")
        if "Traceback" in err or "Traceback" in out:
            faults.append("traceback")
        if memory > MEMORY and "memory" not in faults:
            faults.append("memory")
        if code in (1, 2) and len(errors) != 1 and args[0] not in ("verify", "doctor"):
            faults.append("no error line")
        if any(len(line) > LONGEST_LINE for line in errors):
            faults.append("a long error line")
        if (at / "hacked").exists() or (at.parent / "up").exists():
            faults.append("code or path of the file was followed")
        said = (errors or [line for line in err.splitlines() if line.strip()] or [""])[-1]
        could_be = case.attack in attacks.SEALED or _is_undone(case)
        missed = args[0] == "verify" and code == 0 and changed and not could_be
        return Verdict(case, code, round(seconds, 1), memory, faults, missed, said[:300])
    finally:
        shutil.rmtree(at, ignore_errors=True)


def _is_undone(case: Case) -> bool:
    """Whether it is as if work were not done yet, which is no damage: it is done again. What is
    there of HR and photos is told by each other.
    """
    again = not case.file.startswith(("done/hr/", "done/photos/"))
    return case.format == "ledger" and again and case.attack in ("gone", "empty", "cut")


def _differs(path: Path, before: bytes) -> bool:
    """By its size first: a hole of 20 GB is not read here."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != len(before):
        return True
    return path.read_bytes() != before


FOLDERS: list[artefacts.Artefact] = []


def prepare(at: Path) -> None:
    """Make all artefacts; a command that fails here is no case but a bug."""

    def well(*args: object) -> None:
        code, _, _, _, err = run([str(arg) for arg in args], at, limited=False)
        if code:
            raise SystemExit(f"{' '.join(map(str, args))}: exit code {code}\n{err}")

    FOLDERS.extend(artefacts.make(at, well))
    for name in (".out", ".err"):
        (at / name).unlink()


def table(verdicts: list[Verdict]) -> str:
    """By artefact: cases, exit codes, faults, attacks that verify missed, most time and memory."""
    head = f"{'kind':<16} {'cases':>5} {'ended 0':>7} {'refused':>7} {'faults':>6} {'missed':>6}"
    lines = [f"{head} {'most s':>6} {'most MB':>7}"]
    for name in [*sorted({v.case.artefact for v in verdicts}), ""]:
        rows = [v for v in verdicts if name in ("", v.case.artefact)]
        lines.append(
            f"{name or 'all':<16} {len(rows):>5} {sum(v.code == 0 for v in rows):>7} "
            f"{sum(v.code in (1, 2) for v in rows):>7} {sum(bool(v.faults) for v in rows):>6} "
            f"{sum(v.missed for v in rows):>6} {max(v.seconds for v in rows):>6.1f} "
            f"{max(v.memory for v in rows) >> 20:>7}"
        )
    kinds = Counter(fault for v in verdicts for fault in v.faults)
    lines.append("faults: " + (", ".join(f"{n} {k}" for k, n in kinds.most_common()) or "none"))
    return "\n".join(lines)


def told(verdict: Verdict) -> str:
    c = verdict.case
    what = ", ".join(verdict.faults) or "not found by verify"
    return f"{what}: {c.artefact}: {c.file}: {c.attack}: {c.command}: {verdict.said}"


def part(options: argparse.Namespace) -> list[Verdict]:
    """This process's share of the cases."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        prepare(whole)
        chosen = [a for a in FOLDERS if options.only in ("", a.name)]
        asked = cases(chosen, options.cases, options.seed)[options.part :: options.jobs]
        verdicts = []
        for case in asked:
            verdicts.append(judge(case, whole, Path(scratch)))
            if options.log:
                with Path(options.log).open("a") as log:
                    log.write(json.dumps(asdict(verdicts[-1])) + "\n")
            if verdicts[-1].faults:
                print(told(verdicts[-1]), file=sys.stderr, flush=True)
        return verdicts


def start() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="kind of artefact")
    parser.add_argument("--log", default="", help="file that gets a line of JSON a case")
    parser.add_argument("--part", type=int, default=-1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part >= 0:
        print(json.dumps([asdict(verdict) for verdict in part(options)]))
        return
    parts = []
    if options.jobs == 1:
        options.part = 0
        verdicts = part(options)
    else:
        command = [sys.executable, __file__, *sys.argv[1:], "--part"]
        parts = [
            subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE)
            for n in range(options.jobs)
        ]
        found = [json.loads(process.communicate()[0] or b"[]") for process in parts]
        verdicts = [Verdict(**{**v, "case": Case(**v["case"])}) for each in found for v in each]
    for verdict in verdicts:
        if verdict.missed:
            print(told(verdict))
    if verdicts:
        print(table(verdicts))
    sys.exit(
        any(v.faults or v.missed for v in verdicts) or any(process.returncode for process in parts)
    )


if __name__ == "__main__":
    start()
