"""The folder that simulate writes: layouts, that it says what it is, resuming, what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from degflow_pipe.engines.processes import run_in_processes
from degflow_pipe.errors import DataError, FileError, PhotoError, UsageError
from degflow_pipe.folders import one_writer
from degflow_pipe.ledger import Ledger
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.simulation.camera import ZoomCamera
from degflow_pipe.simulation.dataset import SimulationSettings, parse_scales, simulate

ROOT = Path(__file__).resolve().parents[2]
INTERFLOW = SimulationSettings(scales=(1.5, 2.1, 3.0), layout="interflow", test_every=3)
NAMES = ["astronaut.png", "chelsea.jpg", "sub/coffee.webp"]
"""The photos of `photo_folder` in their order."""


def tree(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder but the hidden ones, by its path there."""
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def pictures(folder: Path) -> list[str]:
    return [name for name in tree(folder) if name.endswith(".png")]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="session")
def made(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos in the layout interflow. Do not write here."""
    out = tmp_path_factory.mktemp("made") / "out"
    simulate([str(photo_folder)], out, INTERFLOW, workers=1)
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` for one test."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


class Recorder:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.notes, self.advanced = list[str](), 0.0

    @contextmanager
    def task(
        self, name: str, total: float | None, done: float = 0, counts: str = ""
    ) -> Iterator[Recorder]:
        self.total = total
        yield self

    def advance(self, count: float = 1) -> None:
        self.advanced += count

    def note(self, text: str) -> None:
        self.notes.append(text)


# Layouts and pictures


def test_realsr_layout(photo_folder: Path, tmp_path: Path) -> None:
    settings = SimulationSettings(scales=(2.0, 4.0), test_every=2)
    summary = simulate([str(photo_folder)], tmp_path / "out", settings)
    split = {1: "Train", 2: "Test", 3: "Train"}
    assert pictures(tmp_path / "out") == sorted(
        f"Simulated/{split[n]}/{s}/Simulated_00{n}_{kind}.png"
        for n in split
        for s in (2, 4)
        for kind in ("HR", f"LR{s}")
    )
    assert (summary.train, summary.test, summary.written, summary.kept) == (2, 1, 12, 0)
    for number, name in enumerate(NAMES, 1):
        hr = read_photo(photo_folder / name).pixels
        figures = []
        for s in (2, 4):
            stem = tmp_path / f"out/Simulated/{split[number]}/{s}/Simulated_00{number}"
            assert np.array_equal(pixels(stem.with_name(f"{stem.name}_HR.png")), hr)
            lr = pixels(stem.with_name(f"{stem.name}_LR{s}.png"))
            assert lr.shape == hr.shape
            figures.append(psnr(hr, lr))
        assert figures[0] > figures[1] + 1


def test_interflow_layout(made: Path, photo_folder: Path) -> None:
    split = {1: "Train", 2: "Train", 3: "Test"}
    assert pictures(made) == sorted(
        f"{split[n]}/scale_{s}/Simulated_00{n}_HR.png"
        for n in split
        for s in ("1.0", "1.5", "2.1", "3.0")
    )
    for number, name in enumerate(NAMES, 1):
        hr = read_photo(photo_folder / name).pixels
        levels = [
            pixels(made / split[number] / f"scale_{s}" / f"Simulated_00{number}_HR.png")
            for s in ("1.0", "1.5", "2.1", "3.0")
        ]
        assert np.array_equal(levels[0], hr)
        assert psnr(hr, levels[1]) > psnr(hr, levels[2]) > psnr(hr, levels[3])


@pytest.mark.parametrize(("every", "test"), [(0, []), (1, [1, 2, 3]), (2, [2]), (3, [3]), (5, [])])
def test_every_so_many_photos_one_is_for_tests(
    every: int, test: list[int], photo_folder: Path, tmp_path: Path
) -> None:
    settings = SimulationSettings(scales=(2.0,), test_every=every)
    summary = simulate([str(photo_folder)], tmp_path, settings)
    found = sorted((tmp_path / "Simulated" / "Test" / "2").glob("*_HR.png"))
    assert [int(path.name[10:13]) for path in found] == test
    assert (summary.train, summary.test) == (3 - len(test), len(test))


# It never passes for real data


def test_every_output_says_that_it_is_simulated(made: Path, photo_folder: Path) -> None:
    for name in pictures(made):
        with Image.open(made / name) as picture:
            assert picture.info["Software"] == "degflow-pipe simulate", name
            assert "SIMULATED" in picture.info["Description"], name
            scale = name.split("scale_")[1][:3]
            assert (f"scale {float(scale):g}" in picture.info["Description"]) == (scale != "1.0")
    readme = (made / "README.md").read_text()
    assert readme.startswith("# Simulated: SIMULATED pictures, not a real camera's")
    assert "`degflow-pipe simulate`" in readme
    there = json.loads((made / "simulation.json").read_text())
    assert there["software"] == "degflow-pipe simulate" and there["simulated"] is True
    assert [name for name, _ in there["photos"]] == NAMES
    assert there["photos"][1][1] == read_photo(photo_folder / NAMES[1]).sha256


def test_readme_has_every_parameter(photo_folder: Path, tmp_path: Path) -> None:
    zoom = ZoomCamera(4.5, 4.1, 0.45, 0.85, 0.35, 9000.0, 3.5, (1.9, 1.0, 1.7), 0.25, 93)
    settings = SimulationSettings(
        (1.7, 2.3), "interflow", "SimulatedX", test_every=2, seed=12, parameters=zoom
    )
    simulate([str(photo_folder)], tmp_path, settings)
    lines = (tmp_path / "README.md").read_text().splitlines()
    for name, value in vars(zoom).items():
        assert f"| {name} | {value} |" in lines
    for line in ("scales | 1.7, 2.3", "layout | interflow", "seed of the noise | 12"):
        assert f"| {line} |" in lines
    assert lines[0].startswith("# SimulatedX: SIMULATED")
    assert all(name.endswith(".png") and "SimulatedX_" in name for name in pictures(tmp_path))


@pytest.mark.parametrize("camera", ["Canon", "NikonSimulated", "", "Simulated_1", "Simulated/.."])
def test_camera_must_be_named_simulated(camera: str) -> None:
    with pytest.raises(UsageError, match="`camera` must be Simulated"):
        SimulationSettings(camera=camera)


# Bytes that repeat, and resuming


def test_workers_and_order_do_not_change_the_bytes(
    made: Path, photo_folder: Path, tmp_path: Path
) -> None:
    simulate([str(photo_folder)], tmp_path / "out", INTERFLOW, workers=2)
    assert tree(tmp_path / "out") == tree(made)
    backwards = [str(photo_folder / name) for name in reversed(NAMES)]
    simulate(backwards, tmp_path / "back", INTERFLOW, workers=2)
    lr = "scale_2.1/Simulated_00{}_HR.png"
    back, there = tree(tmp_path / "back"), tree(made)
    assert back["Test/" + lr.format(3)] == there["Train/" + lr.format(1)]


def test_another_seed_gives_other_noise(made: Path, photo_folder: Path, tmp_path: Path) -> None:
    settings = SimulationSettings(INTERFLOW.scales, "interflow", test_every=3, seed=1)
    simulate([str(photo_folder)], tmp_path, settings)
    there, other = tree(made), tree(tmp_path)
    for name in pictures(made):
        assert (there[name] == other[name]) == ("scale_1.0" in name), name


def test_noise_of_two_scales_and_of_two_photos_differs(tmp_path: Path) -> None:
    """Grey walls: what differs between the pictures is the noise."""
    folder = tmp_path / "walls"
    folder.mkdir()
    for name, grey in (("a", 128), ("b", 129)):
        Image.fromarray(np.full((64, 64, 3), grey, np.uint8)).save(folder / f"{name}.png")
    simulate([str(folder)], tmp_path / "out", SimulationSettings((2.0, 2.1), "interflow"))
    noise = {}
    for path in sorted((tmp_path / "out" / "Train").glob("scale_2*/*.png")):
        lr = pixels(path)[:, :, 1].astype(float)
        noise[path] = (lr - lr.mean()).ravel()
    assert len(noise) == 4
    likeness = np.corrcoef(list(noise.values()))
    assert np.abs(likeness[~np.eye(4, dtype=bool)]).max() < 0.3


def test_a_stopped_run_is_completed(made: Path, photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stopping(job: Any, units: Any, workers: int, cost: Any, hear: Any = None) -> Iterator[Any]:
        with job.open() as work:
            yield work(next(iter(units)))
        raise InterruptedError("stopped from outside")

    with pytest.raises(InterruptedError):
        simulate([str(photo_folder)], out, INTERFLOW, engine=stopping)
    there = pictures(out)
    assert 0 < len(there) < 12 and not (out / "README.md").exists()
    stamps = {name: (out / name).stat().st_mtime_ns for name in there}
    summary = simulate([str(photo_folder)], out, INTERFLOW, workers=1)
    assert (summary.kept, summary.written) == (len(there), 12 - len(there))
    assert {name: (out / name).stat().st_mtime_ns for name in there} == stamps
    assert tree(out) == tree(made)


def test_work_that_travels_gives_the_same_bytes(
    made: Path, photo_folder: Path, tmp_path: Path
) -> None:
    """Each photo by a process that knows the paths and the settings alone."""
    out = tmp_path / "out"
    summary = simulate([str(photo_folder)], out, INTERFLOW, workers=1, engine=run_in_processes)
    assert summary.written == 12 and tree(out) == tree(made)
    assert simulate([str(photo_folder)], out, INTERFLOW).kept == 12


def test_what_is_done_stands_in_one_ledger(out: Path, photo_folder: Path) -> None:
    (segment,) = (out / ".degflow").iterdir()
    assert Ledger(segment.parent).every_key() == ["1", "2", "3"]
    whole = segment.read_bytes()
    gone = out / "Train/scale_1.5/Simulated_001_HR.png"
    gone.unlink()
    assert simulate([str(photo_folder)], out, INTERFLOW).written == 1
    assert segment.read_bytes() == whole


def test_a_ledger_that_was_damaged_is_told_and_written_again(
    made: Path, out: Path, photo_folder: Path
) -> None:
    (segment,) = (out / ".degflow").iterdir()
    whole = segment.read_bytes()
    first, *others = whole.splitlines(keepends=True)
    for damaged in (first[:90] + first[91:] + b"".join(others), b"".join(others)):
        segment.write_bytes(damaged)
        progress = Recorder()
        summary = simulate([str(photo_folder)], out, INTERFLOW, progress=progress)
        assert (summary.written, summary.kept) == (4, 8)
        (note,) = progress.notes
        assert "00000000.jsonl is damaged at line" in note and "are made again" in note
        assert segment.read_bytes() == whole and tree(out) == tree(made)


@pytest.mark.parametrize("record", [{}, {"files": 1}, {"files": [1]}, {"files": {"x": [1, 2]}}])
def test_what_a_stranger_wrote_into_the_ledger_is_not_followed(
    record: dict[str, Any], made: Path, out: Path, photo_folder: Path
) -> None:
    with Ledger(out / ".degflow") as ledger:
        ledger.write(2, record)
    summary = simulate([str(photo_folder)], out, INTERFLOW)
    assert (summary.written, summary.kept) == (4, 8) and tree(out) == tree(made)


def test_missing_pictures_are_made_again_and_others_left(
    made: Path, out: Path, photo_folder: Path
) -> None:
    gone = ["Train/scale_1.0/Simulated_002_HR.png", "Test/scale_2.1/Simulated_003_HR.png"]
    for name in gone:
        (out / name).unlink()
    damaged = "Train/scale_3.0/Simulated_001_HR.png"
    (out / damaged).write_bytes(b"not a picture")
    summary = simulate([str(photo_folder)], out, INTERFLOW)
    assert (summary.kept, summary.written) == (9, 3)
    for name in (*gone, damaged):
        assert (out / name).read_bytes() == (made / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "seed"),
        ({"scales": (1.5, 2.1)}, "scales"),
        ({"test_every": 4}, "test_every"),
        ({"camera": "SimulatedB"}, "camera"),
        ({"parameters": ZoomCamera(fringe=0.5)}, "parameters"),
        ({"layout": "realsr-v2", "scales": (2.0,)}, "layout, scales"),
    ],
)
def test_other_settings_in_the_folder_are_refused(
    change: dict[str, Any], says: str, out: Path, photo_folder: Path
) -> None:
    before = tree(out)
    values = {"scales": INTERFLOW.scales, "layout": "interflow", "test_every": 3} | change
    with pytest.raises(DataError, match=rf"copy was made with other {says} \(see simulation.json"):
        simulate([str(photo_folder)], out, SimulationSettings(**values))
    assert tree(out) == before


def test_other_photos_in_the_folder_are_refused(out: Path, photo_folder: Path) -> None:
    with pytest.raises(DataError, match="made with other photos"):
        simulate([str(photo_folder / NAMES[0])], out, INTERFLOW)


def test_folder_of_something_else_is_refused(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "Canon").mkdir()
    with pytest.raises(FileError, match=r"is not empty and was not made by degflow-pipe .*Canon"):
        simulate([str(photo_folder)], tmp_path, INTERFLOW)
    assert [path.name for path in tmp_path.iterdir()] == ["Canon"]


def test_two_at_once_are_refused(photo_folder: Path, tmp_path: Path) -> None:
    busy = pytest.raises(FileError, match="another process is writing")
    with one_writer(tmp_path, "simulation"), busy:
        simulate([str(photo_folder)], tmp_path, INTERFLOW)


# Photos that cannot be used


@pytest.fixture
def mixed(photo_folder: Path, tmp_path: Path) -> Path:
    """A good photo, one that is none, one too small, a copy of the good one, and a good one."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(photo_folder / "astronaut.png", folder / "1.png")
    (folder / "2.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((47, 300, 3), np.uint8)).save(folder / "3.png")
    shutil.copy(photo_folder / "astronaut.png", folder / "4.png")
    shutil.copy(photo_folder / "chelsea.jpg", folder / "5.jpg")
    return folder


def test_photos_that_cannot_be_used_are_named(mixed: Path, tmp_path: Path) -> None:
    progress = Recorder()
    settings = SimulationSettings(scales=(3.0,), test_every=0)
    for _ in ("first", "again"):
        summary = simulate([str(mixed)], tmp_path / "out", settings, progress=progress)
        assert list(summary.skipped) == ["2.png", "3.png", "4.png"]
        assert "2.png: not a PNG" in summary.skipped["2.png"]
        assert "300 x 47 pixels, scale 3 needs 48" in summary.skipped["3.png"]
        assert "4.png: the same file as" in summary.skipped["4.png"]
        assert summary.train == 2
    assert summary.kept == 4
    assert (progress.total, progress.advanced, len(progress.notes)) == (5, 10, 6)
    assert sorted({path[-10:-7] for path in pictures(tmp_path / "out") if "HR" in path}) == [
        "001",
        "005",
    ]


def test_a_photo_beyond_the_limit_of_pixels_is_not_read(mixed: Path, tmp_path: Path) -> None:
    """A few kilobytes of PNG can hold more light than there is memory."""
    Image.new("1", (8001, 8000)).save(mixed / "6.png")
    (mixed / "7.png").symlink_to("7.png")
    settings = SimulationSettings(scales=(3.0,), test_every=0)
    skipped = simulate([str(mixed)], tmp_path / "out", settings).skipped
    assert "7.png" in skipped
    assert "8001 x 8000 pixels, more than the limit of 64000000" in skipped["6.png"]
    with pytest.raises(PhotoError, match="more than the limit of 1000"):
        simulate([str(mixed / "1.png")], tmp_path / "few", settings, max_pixels=1000)


def test_no_photo_that_can_be_used(mixed: Path, tmp_path: Path) -> None:
    bad, out = [str(mixed / "2.png"), str(mixed / "3.png")], tmp_path / "out"
    with pytest.raises(PhotoError, match=r"no picture came of 2 photos: .*2\.png: not a PNG"):
        simulate(bad, out, INTERFLOW)
    assert tree(out) == {}
    assert simulate([str(mixed / "1.png")], out, INTERFLOW).train == 1


def test_the_folder_itself_is_not_taken_for_photos(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copy(photo_folder / "chelsea.jpg", tmp_path)
    out = tmp_path / "out"
    first = simulate([str(tmp_path)], out, INTERFLOW)
    again = simulate([str(tmp_path)], out, INTERFLOW)
    assert (first.written, again.kept, again.written) == (4, 4, 0)
    with pytest.raises(UsageError, match="no photo but those below"):
        simulate([str(out)], out, INTERFLOW)


# Wrong usage


def test_scales_from_text() -> None:
    assert parse_scales("4,1.5, 2,2.0") == (1.5, 2.0, 4.0)
    for text in ("", "2,", "two", "2;3"):
        with pytest.raises(UsageError, match="`scales` wants numbers"):
            parse_scales(text)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"scales": ()}, "`scales` needs one"),
        ({"scales": (2.0, 2.5)}, "whole scales only, got 2.5"),
        ({"scales": (1.0,)}, "above 1 and in tenths"),
        ({"scales": (2.15,), "layout": "interflow"}, "in tenths such as 2.1, got 2.15"),
        ({"scales": (17.0,)}, "`scales` must be 1 to 16, got 17"),
        ({"scales": (float("nan"),)}, "`scales` must be 1 to 16"),
        ({"layout": "realsr"}, "`layout` must be realsr-v2 or interflow, got 'realsr'"),
        ({"test_every": -1}, "`test_every` must be 0"),
        ({"seed": -1}, "`seed` must be 0 or more"),
        ({"seed": 10**18}, "of 18 digits at most"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        SimulationSettings(**values)


# The command


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`command(*words)` runs `degflow-pipe simulate` in an empty folder of its own."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "degflow_pipe", "simulate", *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb"},
            capture_output=True,
            text=True,
        )

    return run


def test_command_writes_what_the_function_writes(
    command: Callable[..., Any], made: Path, photo_folder: Path, tmp_path: Path
) -> None:
    words = "--out out --scales 3,1.5,2.1 --layout interflow --test-every 3 --workers 2 --json"
    done = command(photo_folder, *words.split())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "out": "out",
        "software": "degflow-pipe simulate",
        "simulated": True,
        "camera": "Simulated",
        "layout": "interflow",
        "scales": [1.5, 2.1, 3.0],
        "train": 2,
        "test": 1,
        "written": 12,
        "kept": 0,
        "skipped": {},
        "left_out": {},
        "colours": {},
        "unchecked": {},
    }
    assert tree(tmp_path / "out") == tree(made)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("PHOTOS --out out --scales 2.5", 2, "error: --scales: the layout realsr-v2"),
        ("PHOTOS --out out --camera Nikon", 2, "error: --camera must be Simulated"),
        ("nothing --out out", 2, "error: nothing: there is no such file or folder"),
        ("PHOTOS --out taken", 1, "error: taken is not empty and was not made by degflow-pipe"),
    ],
)
def test_command_fails_in_one_line(
    words: str,
    code: int,
    says: str,
    command: Callable[..., Any],
    photo_folder: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "photo.png").touch()
    done = command(*words.replace("PHOTOS", str(photo_folder)).split())
    assert done.returncode == code and done.stdout == ""
    assert done.stderr.startswith(says) and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "out").exists()


def test_names_of_photos_are_no_names_of_pictures(photo_folder: Path, tmp_path: Path) -> None:
    """So none is too long, and none is another one's on a file system that knows no case."""
    photos = tmp_path / "photos"
    photos.mkdir()
    longest = "a" * (255 - len(".png")) + ".png"
    Image.open(photo_folder / "astronaut.png").save(photos / longest)
    Image.open(photo_folder / "chelsea.jpg").save(photos / "caf\u00e9.webp", lossless=True)
    Image.open(photo_folder / "sub/coffee.webp").save(photos / "cafe\u0301.png")
    found = simulate([str(photos)], tmp_path / "out", INTERFLOW, workers=1)
    assert found.skipped == {} and found.train + found.test == 3
    assert found.unchecked == {"lossless WebP": 1} and found.colours == {}
    assert len(pictures(tmp_path / "out")) == 3 * 4
