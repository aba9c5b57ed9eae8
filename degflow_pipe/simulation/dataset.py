"""simulate: photos -> HR and LR pictures of a simulated zoom camera, in the folders of a real set.

A unit of work is one photo, and a line of the ledger. The settings and the photos are written down
first, the README last; the bytes of a picture depend on the settings and its photo alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from degflow_pipe import defaults, files, folders, json_files
from degflow_pipe.choices import SimulatedLayout, check_choice
from degflow_pipe.engines.engine import Engine, check_workers
from degflow_pipe.engines.threads import in_order, run_in_threads
from degflow_pipe.errors import DataError, FileError, PhotoError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import parse_numbers
from degflow_pipe.pictures.photos import (
    Photo,
    PhotoFile,
    check_max_pixels,
    decoded_bytes,
    file_digest,
    find_photos,
    read_photo,
)
from degflow_pipe.places import place_of, text_of
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.simulation.camera import MIN_SENSOR, VERSION, ZoomCamera, check_scale
from degflow_pipe.simulation.results import SimulateSummary

SOFTWARE = "degflow-pipe simulate"
SETTINGS = "simulation.json"
README = "README.md"
DONE = ".degflow"
"""Folder in the output with the ledger: the pictures of each photo, by its number."""
COPIES = 8
"""Times the memory of decoding a photo that simulating takes: its light is computed in floats."""
KIND = "simulation"
"""Of the folder, for `folders.one_writer`."""


@dataclass(frozen=True)
class SimulationSettings:
    """What the pictures depend on beside the photos. Raises UsageError for what cannot be.

    scales: above 1, in tenths; whole ones for `realsr-v2`. layout: see `hr_paths` and `lr_path`.
    camera: name in folders and files, which begins with Simulated. test_every: every so many photos
    one goes to Test, 0 for none. seed: another one gives other noise.
    """

    scales: tuple[float, ...] = (2.0, 3.0, 4.0)
    layout: SimulatedLayout = "realsr-v2"
    camera: str = "Simulated"
    test_every: int = 5
    seed: int = 0
    parameters: ZoomCamera = field(default_factory=ZoomCamera)

    def __post_init__(self) -> None:
        check_choice("layout", self.layout, SimulatedLayout)
        if not self.scales:
            raise UsageError("`scales` needs one scale at least")
        for s in self.scales:
            check_scale(s, "`scales`")
            if s == 1 or round(s, 1) != s:
                raise UsageError(
                    f"`scales`: a scale must be above 1 and in tenths such as 2.1, got {s:g}"
                )
            if self.layout == "realsr-v2" and s != int(s):
                raise UsageError(
                    f"`scales`: the layout realsr-v2 has whole scales only, got {s:g}: give whole "
                    f"ones, or `layout=interflow`"
                )
        if not re.fullmatch("Simulated[A-Za-z0-9-]*", self.camera):
            raise UsageError(
                f"`camera` must be Simulated, with letters, digits or '-' after it, so that nobody "
                f"takes the pictures for real ones; got {self.camera!r}"
            )
        if not 0 <= self.seed < 10**json_files.DIGITS:
            raise UsageError(
                f"`seed` must be 0 or more, of {json_files.DIGITS} digits at most, got {self.seed}"
            )
        if self.test_every < 0:
            raise UsageError(f"`test_every` must be 0 (none) or more, got {self.test_every}")

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "software": SOFTWARE, "simulated": True, "version": VERSION}

    def split(self, number: int) -> str:
        """Train or Test, for a photo's number, from 1."""
        return "Test" if self.test_every and number % self.test_every == 0 else "Train"

    def hr_paths(self, name: str, number: int) -> list[str]:
        """Where the HR goes: `Simulated/Train/2/NAME_HR.png` for every scale in realsr-v2,
        `Train/scale_1.0/NAME_HR.png` in interflow.
        """
        split = self.split(number)
        if self.layout == "interflow":
            return [f"{split}/scale_1.0/{name}_HR.png"]
        return [f"{self.camera}/{split}/{s:.0f}/{name}_HR.png" for s in self.scales]

    def lr_path(self, name: str, number: int, s: float) -> str:
        """Where an LR goes: `Simulated/Train/2/NAME_LR2.png` in realsr-v2,
        `Train/scale_2.0/NAME_HR.png` in interflow, where a picture has one name at all scales.
        """
        split = self.split(number)
        if self.layout == "interflow":
            return f"{split}/scale_{s:.1f}/{name}_HR.png"
        return f"{self.camera}/{split}/{s:.0f}/{name}_LR{s:.0f}.png"


@dataclass(frozen=True)
class _Source:
    """A photo, its number from 1 in the order found, and its hash or why it cannot be used."""

    file: PhotoFile
    number: int
    sha256: str = ""
    problem: str = ""


@dataclass(frozen=True)
class _Work:
    """A photo, and what is known of its pictures: see `folders.sums_of`."""

    source: _Source
    sums: dict[str, Any]


@dataclass(frozen=True)
class _Made:
    """What became of a photo: pictures written and kept, or why it was skipped.

    photo: what was read of it, without its pixels; sums: of its pictures. Both None where nothing
    was written.
    """

    source: _Source
    written: int = 0
    kept: int = 0
    problem: str = ""
    photo: Photo | None = None
    sums: dict[str, Any] | None = None


@dataclass(frozen=True)
class SimulateJob:
    """Writes those of a photo's pictures that are not there: see `engines.job.Job`.

    photos: how many there are, which says how their numbers are written.
    """

    out: str
    settings: SimulationSettings
    photos: int
    max_pixels: int

    @contextmanager
    def open(self) -> Iterator[Callable[[_Work], _Made]]:
        yield self._made

    def bytes_of(self, work: _Work) -> int:
        """Memory that a photo takes."""
        return COPIES * decoded_bytes(work.source.file, self.max_pixels)

    def _made(self, work: _Work) -> _Made:
        source, settings, out = work.source, self.settings, place_of(self.out)
        if source.problem:
            return _Made(source, problem=source.problem)
        name = f"{settings.camera}_{source.number:0{max(3, len(str(self.photos)))}d}"
        hr_paths = [out / path for path in settings.hr_paths(name, source.number)]
        lr_paths = {s: out / settings.lr_path(name, source.number, s) for s in settings.scales}
        everything = [*hr_paths, *lr_paths.values()]
        missing = [path for path in everything if not folders.are_whole(work.sums, [path], out)]
        if not missing:
            return _Made(source, kept=len(everything))
        try:
            photo = read_photo(source.file, self.max_pixels)
            _check_size(photo.pixels, max(settings.scales), source.file)
        except PhotoError as error:
            return _Made(source, problem=str(error))
        for path in hr_paths:
            if path in missing:
                _write_png(path, photo.pixels, "HR photo as it was; its LR are SIMULATED")
        for s, path in lr_paths.items():
            if path not in missing:
                continue
            rng = noise_source(settings.seed, photo.sha256, s)
            lr = settings.parameters.shoot(photo.pixels, s, rng)
            _write_png(path, lr, f"SIMULATED LR at scale {s:g}, not a real photo")
        told = replace(photo, pixels=np.empty((0, 0, 3), np.uint8))
        sums = folders.sums_of(everything, out)
        return _Made(source, len(missing), len(everything) - len(missing), photo=told, sums=sums)


def parse_scales(text: str, option: str = "`scales`") -> tuple[float, ...]:
    """A list of scales, `1.5,2,4`, in rising order, without repeats. Raises UsageError."""
    return tuple(sorted(parse_numbers(text, option, "1.5,2,4")))


def simulate(
    photos: Sequence[str],
    out: Path,
    settings: SimulationSettings | None = None,
    *,
    max_pixels: int = defaults.SIMULATED_PIXELS,
    workers: int = 0,
    progress: Progress | None = None,
    engine: Engine = run_in_threads,
) -> SimulateSummary:
    """Write every photo as HR and, through a simulated camera, as LR of every scale.

    photos: files, folders and globs of photos, tars and Parquet files; those below `out` are left
    out. out: a new or empty folder, or one of the same settings and photos, which is completed. A
    photo that cannot be used, or that repeats another one's file, is skipped, named in the summary,
    and leaves a gap in the numbers. workers: photos at once, 0 for one a core. max_pixels: a photo
    of more is not read; 144 bytes a pixel are taken.

    Raises UsageError, PhotoError where no photo can be used, DataError for a folder of other
    settings, photos or contents, FileError where it cannot be written.
    """
    settings = settings or SimulationSettings()
    workers = check_workers(workers)
    check_max_pixels(max_pixels)
    inside = files.real(out)
    left_out: dict[str, int] = {}
    every = find_photos(photos, left_out)
    found = [f for f in every if not files.real(f.path).is_relative_to(inside)]
    if not found:
        raise UsageError(f"no photo but those below {out}, which this command writes: give others")
    with folders.one_writer(out, KIND):
        sources = list(_sources(found, workers))
        _claim(out, settings, sources)
        job = SimulateJob(text_of(out), settings, len(sources), max_pixels)
        with (progress or Silent()).task("simulate", len(sources), counts="photos") as task:
            made = list(_made_of(sources, job, engine, workers, task))
        used = [done for done in made if not done.problem]
        skipped = {done.source.file.name: done.problem for done in made if done.problem}
        if not used:
            files.remove(out / SETTINGS)  # it names photos of which nothing came
            reasons = "; ".join(list(skipped.values())[:3])
            raise PhotoError(f"no picture came of {len(sources)} photos: {reasons}")
        colours: dict[str, int] = {}
        unchecked: dict[str, int] = {}
        for done in used:
            if done.photo is not None:
                done.photo.count(colours, unchecked)
        test = sum(settings.split(done.source.number) == "Test" for done in used)
        files.write_text(out / README, _readme(settings, len(used) - test, test))
    return SimulateSummary(
        out=printable(str(out)),
        software=SOFTWARE,
        simulated=True,
        camera=settings.camera,
        layout=settings.layout,
        scales=list(settings.scales),
        train=len(used) - test,
        test=test,
        written=sum(done.written for done in used),
        kept=sum(done.kept for done in used),
        skipped=skipped,
        left_out=left_out,
        colours=colours,
        unchecked=unchecked,
    )


def _sources(found: list[PhotoFile], workers: int) -> Iterator[_Source]:
    """The photos with their numbers and hashes, in the order found."""

    def look(file: PhotoFile) -> tuple[str, str]:
        try:
            return file_digest(file), ""
        except PhotoError as error:
            return "", str(error)

    first: dict[str, PhotoFile] = {}
    looks = in_order(look, found, workers)
    for number, (file, (sha256, problem)) in enumerate(zip(found, looks, strict=True), 1):
        if sha256 and first.setdefault(sha256, file) is not file:
            # One photo in both Train and Test would spoil every figure of the test.
            problem = f"{file}: the same file as {first[sha256]}"
        yield _Source(file, number, sha256, problem)


def _claim(out: Path, settings: SimulationSettings, sources: list[_Source]) -> None:
    """Write the settings and the photos down, or find the same there. Raises DataError."""
    photos = [[source.file.name, source.sha256] for source in sources]
    wanted = json.loads(json.dumps({**settings.to_dict(), "photos": photos}))
    path = out / SETTINGS
    if not files.exists(path):
        if others := [name for name in folders.held(out) if not name.startswith(".")]:
            raise DataError(
                f"{out} holds {others[0]} and no {SETTINGS}, so it is not whole: give an empty "
                f"folder as `out`"
            )
        json_files.write_summed(path, wanted)
        return
    there = json_files.read_summed(path)
    others = sorted(key for key in wanted if there.get(key) != wanted[key])
    if others:
        raise DataError(
            f"{out} was made with other {', '.join(others)} (see {SETTINGS} in it): give the same, "
            f"or another folder as `out`"
        )


def _made_of(
    sources: list[_Source], job: SimulateJob, engine: Engine, workers: int, task: Task
) -> Iterator[_Made]:
    """What became of each photo, noted in the ledger."""
    ledger = Ledger(place_of(job.out) / DONE)
    for damage in ledger.damage:
        task.note(f"{damage}: the pictures that it no longer tells of are made again")
    with ledger:
        works = (_Work(source, _known(ledger, source.number)) for source in sources)
        for done in engine(job, works, workers, job.bytes_of):
            if done.sums is not None:
                ledger.write(done.source.number, {"files": done.sums})
            if done.problem:
                task.note(f"skipped {done.problem}")
            task.advance()
            yield done


def _known(ledger: Ledger, number: int) -> dict[str, Any]:
    """What the ledger says of a photo's pictures; nothing where that is none, so they are made."""
    try:
        return dict(ledger.record(number)["files"])
    except (FileError, KeyError, TypeError, ValueError):
        return {}


def noise_source(seed: int, sha256: str, s: float) -> np.random.Generator:
    """The random numbers of one picture: they depend on these three alone."""
    digest = hashlib.sha256(f"{seed} {sha256} {s:.1f}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest))


def _check_size(photo: np.ndarray, s: float, file: PhotoFile) -> None:
    height, width = photo.shape[:2]
    least = math.ceil(MIN_SENSOR * s)
    if min(height, width) < least:
        raise PhotoError(f"{file}: {width} x {height} pixels, scale {s:g} needs {least} on a side")


def _write_png(path: Path, picture: np.ndarray, description: str) -> None:
    """(H, W, 3) uint8 RGB as a PNG that says what it is."""
    info = PngInfo()
    info.add_text("Software", SOFTWARE)
    info.add_text("Description", description)
    with files.writing(path) as file:
        Image.fromarray(picture).save(file, format="PNG", pnginfo=info, compress_level=3)


def _readme(settings: SimulationSettings, train: int, test: int) -> str:
    """The folder's README: that it is simulated, and with what."""
    rows = {
        "scales": ", ".join(f"{s:g}" for s in settings.scales),
        "layout": settings.layout,
        "photos in Train": train,
        "photos in Test": test,
        "seed of the noise": settings.seed,
        **asdict(settings.parameters),
        "version of the simulation": VERSION,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""# {settings.camera}: SIMULATED pictures, not a real camera's

Made by `{SOFTWARE}`. The HR pictures are photos as they were; every LR was computed
from its HR by a model of a zoom camera (`degflow_pipe.simulation.camera.ZoomCamera`). Use them for
tests and calibration. Nothing that is measured on them says how a method does on real photos.

| parameter | value |
|---|---|
{table}

Units: `pixel_pitch` in micrometres; `blur_*` in sensor pixels; `fringe` in HR pixels at the corners
per unit of scale - 1; `full_well` and `read_noise` in electrons. LR is as large as HR and aligned
with it. `{SETTINGS}` names the photo of every number; a photo that was skipped leaves a gap.
"""
