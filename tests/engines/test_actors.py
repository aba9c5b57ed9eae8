"""Actors of Ray: what they give on two nodes, and what becomes of those that are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines import actors
from degflow_pipe.engines import engine as engines
from degflow_pipe.engines.actors import TRIES, RayEngine
from degflow_pipe.engines.engine import Engine, engine_of
from degflow_pipe.errors import CheckpointError, DegflowError, PhotoError, UsageError
from degflow_pipe.levels import parse_scales
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.shard import shard

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'degflow-pipe[ray]'")

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import engine_jobs  # noqa: E402

WAIT = 60
"""Seconds after which a process is taken for one that stays."""
SETTINGS = ShardSettings(shard_size=10)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of this machine, of a core each; RAY_ADDRESS says where."""
    from ray.cluster_utils import Cluster

    path = os.pathsep.join((str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)  # of the nodes, and of what they start
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_raylet_start_wait_time_s", "300")  # where other tests take the cores
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        made.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def engine(cluster: Any) -> RayEngine:
    found = engine_of("ray")
    assert isinstance(found, RayEngine)
    return found


def made_by(engine: Engine, at: Path, photos: Path, model: DegFlow) -> Path:
    """All three stages."""
    how: dict[str, Any] = {"workers": 2, "engine": engine}
    ingest([str(photos)], at / "store", model, patch=64, **how)
    generate(at / "store", model, parse_scales("2,4", 4.0), **how)
    shard(at / "store", at / "shards", SETTINGS, **how)
    return at


@pytest.fixture(scope="module")
def by_threads(
    photo_folder: Path, tiny_model: DegFlow, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    at = tmp_path_factory.mktemp("threads")
    return made_by(engine_of("threads"), at, photo_folder, tiny_model)


def test_gpus_are_for_ray_and_a_part_or_a_whole_number() -> None:
    with pytest.raises(UsageError, match="`num_gpus` is for `engine=ray`"):
        engine_of("processes", 0.5)
    for wrong in (0, -1, 1.5, 1000):
        with pytest.raises(UsageError, match="`num_gpus` must be a part of a GPU"):
            engine_of("ray", wrong)


def test_results_are_in_order_a_bounded_number_is_drawn_and_the_cluster_is_counted(
    engine: RayEngine,
) -> None:
    drawn = []

    def units() -> Iterator[int]:
        for n in range(12):
            drawn.append(n)
            yield n

    found = []
    for result in engine(engine_jobs.Squares(), units(), 2):
        found.append(result)
        assert len(drawn) <= len(found) + 2
    assert found == [n * n for n in range(12)]
    assert engines.check_workers(0, engine) == 2
    assert list(engine(engine_jobs.Fails("opening"), [], 2)) == []


@pytest.mark.parametrize(
    "how, error, told",
    [
        ("photo", PhotoError, "^a.png: truncated"),
        ("bug", ZeroDivisionError, "^a bug"),
        ("cannot travel", RuntimeError, "^Untravelled: two parts"),
    ],
)
def test_an_error_of_the_work_comes_as_itself_and_at_once(
    engine: RayEngine, how: str, error: type[Exception], told: str
) -> None:
    found = []
    with pytest.raises(error, match=told):
        for result in engine(engine_jobs.Fails(how), range(100), 2):
            found.append(result)
    assert found == [0, 1, 2]


def test_an_error_in_opening_is_told(engine: RayEngine) -> None:
    with pytest.raises(CheckpointError, match="tiny: it was changed"):
        list(engine(engine_jobs.Fails("opening"), range(9), 2))


def test_a_unit_that_kills_each_worker_ends_in_one_line(engine: RayEngine) -> None:
    found = []
    with pytest.raises(DegflowError) as caught:
        for result in engine(engine_jobs.Fails("killed"), range(100), 2):
            found.append(result)
    assert found == [0, 1, 2]
    said = str(caught.value)
    assert said.startswith(f"{TRIES} workers of Ray were lost at one unit, 3, the last as ")
    assert "run the same command again" in said and "\n" not in said and len(said) < 400


def test_shards_are_those_of_threads_where_workers_are_killed(
    engine: RayEngine,
    by_threads: Path,
    photo_folder: Path,
    tiny_model: DegFlow,
    tmp_path: Path,
    tree: Callable[[Path], dict[str, bytes]],
) -> None:
    """Each kind of work loses one worker, when it has written a unit and not said so."""

    def dying(
        job: Any, units: Any, workers: int, cost: Any = None, hear: Any = None
    ) -> Iterator[Any]:
        mark = tmp_path / type(job).__name__
        return engine(engine_jobs.Dying(job, str(mark)), units, workers, cost)

    at = made_by(dying, tmp_path / "made", photo_folder, tiny_model)  # type: ignore[arg-type]
    killed = {path.name for path in tmp_path.iterdir()} - {"made"}
    assert killed == {"MeasureJob", "CropJob", "LevelJob", "TarJob"}
    assert tree(at) == tree(by_threads)


def test_shards_are_those_of_threads_where_a_node_goes(
    cluster: Any,
    engine: RayEngine,
    by_threads: Path,
    tmp_path: Path,
    tree: Callable[[Path], dict[str, bytes]],
) -> None:
    (other,) = cluster.worker_nodes

    def losing(
        job: Any, units: Any, workers: int, cost: Any = None, hear: Any = None
    ) -> Iterator[Any]:
        for number, record in enumerate(engine(job, units, workers, cost)):
            if number == 0:
                cluster.remove_node(other, allow_graceful=False)
            yield record

    try:
        shard(by_threads / "store", tmp_path / "out", SETTINGS, workers=2, engine=losing)  # type: ignore[arg-type]
    finally:
        cluster.add_node(num_cpus=1)
    assert tree(tmp_path / "out") == tree(by_threads / "shards")


def test_the_only_worker_may_be_lost_long_after_it_was_waited_for(
    engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waited for a worker meanwhile, as it had work."""
    job = engine_jobs.Dying(engine_jobs.Squares(), str(tmp_path / "mark"))
    (tmp_path / "mark").touch()
    made = iter(engine(job, range(5), 1))
    found = [next(made)]
    (crew,) = engine._crews.values()
    crew._since -= 2 * actors.NO_WORKER
    (tmp_path / "mark").unlink()
    assert [*found, *made] == [n * n for n in range(5)]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_actor_outlives_its_driver(cluster: Any, how: signal.Signals, tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, HERE / "engine_jobs.py", tmp_path, "ray"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + WAIT
    pids: list[str] = []
    while not pids or not all(pids):
        assert driver.poll() is None and time.monotonic() < end
        pids = [path.read_text() for path in tmp_path.glob("unit[01]")]
        time.sleep(0.01)
    driver.send_signal(how)
    out, err = driver.communicate(timeout=WAIT)
    while any(psutil.pid_exists(int(pid)) for pid in pids) and time.monotonic() < end:
        time.sleep(0.01)
    assert not [pid for pid in pids if psutil.pid_exists(int(pid))]
    if how != signal.SIGKILL:
        assert out.splitlines()[-1] == "stopped", out  # Ray may tell of other nodes before
        assert "Traceback" not in out + err
