import errno
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fresh
import psutil
import pytest
import torch

from mico_hub.cache import DiskError
from mico_hub.data import load_base
from mico_hub.models.mlp import MLP
from mico_hub.randomness import Keys
from mico_hub.release import checkpoints
from mico_hub.release.folder import SuiteFolder
from mico_hub.splits import draw
from mico_hub.suites import SUITES, Suite
from mico_hub.training import job as train_module
from mico_hub.training.engine import installed
from mico_hub.training.job import Finished, TrainingJob
from mico_hub.training.sgd import Assignment, Runtime, train_models
from mico_hub.training.suite import train_suite
from mico_hub.workers import Common, Processes, WorkerError, local
from mico_hub.workers import cluster as cluster_module
from mico_hub.workers import job as job_module
from mico_hub.workers.cluster import ray_cluster
from mico_hub.workers.dispatch import LOST_WORKERS, LostError, dispatch

COMMON = Common(load_base("digits"))
SUITE = replace(SUITES["digits_hi"], epochs=2).with_models(4, 1, 1)


def job(suite: Suite = SUITE, models: int = 4, runtime: Runtime | None = None) -> TrainingJob:
    data = load_base("digits")
    given = [Assignment(suite, draw(len(data), suite.n, suite.m), Keys.draw(), 1.0) for _ in range(models)]
    return TrainingJob(tuple(range(models)), tuple(given), runtime or Runtime(stack=4), installed(), data.digest, None)


def test_the_steps_of_a_job_are_reported_to_the_end() -> None:
    reported: list[int] = []
    given = job(runtime=Runtime(stack=2))
    finished = given.run(COMMON, reported.append)
    assert [model.model_id for model in finished] == [0, 1, 2, 3]
    assert reported == sorted(reported)
    assert reported[-1] == given.steps


def test_a_worker_with_other_packages_or_data_is_refused() -> None:
    given = job()
    other = replace(given, versions=dict(given.versions) | {"torch": "1.8.1"}, data_digest="0" * 64)
    with pytest.raises(WorkerError, match=r"torch .*, expected 1\.8\.1; digits with digest .*, expected 0000"):
        other.run(COMMON, lambda steps: None)


CUDA = torch.OutOfMemoryError("out of memory. Tried to allocate 20.00 GiB.\nAnd more.")
CPU = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 20.00 GiB.\nAnd more.")


@pytest.mark.parametrize("error", [CUDA, CPU])
@pytest.mark.parametrize(
    ("failing", "stacks", "kept"), [([1], [4, 2, 2], 4), ([1, 2], [4, 2], 0), ([1, 3], [4, 2, 2], 2)]
)
def test_when_memory_runs_out_half_is_tried_once(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: RuntimeError,
    failing: list[int],
    stacks: list[int],
    kept: int,
) -> None:
    tried: list[int] = []

    def train(group: Any, *args: Any) -> Any:
        tried.append(len(group))
        if len(tried) in failing:
            raise error
        return train_models(group, *args)

    monkeypatch.setattr(train_module, "train_models", train)
    finished: Sequence[Finished] = ()
    if len(failing) == 1:
        finished = job().run(COMMON, lambda steps: None)
    else:
        failure = r"models 0 to 3: cpu ran out of memory, also with --stack 2 --microbatch .*20.00 GiB\.; .*--stack"
        with pytest.raises(WorkerError, match=failure) as raised:
            job().run(COMMON, lambda steps: None)
        finished = raised.value.finished
    assert [model.model_id for model in finished] == list(range(kept))
    assert tried == stacks
    assert "20.00 GiB.; trying again with" in caplog.text


def test_processes_are_kept_for_the_next_run_unless_one_fails() -> None:
    """The second has the data of its own jobs, not that of the first."""

    def workers() -> set[int]:
        children = psutil.Process().children(recursive=True)
        return {child.pid for child in children if "loky.backend.popen" in " ".join(child.cmdline())}

    given, other = job(models=2), replace(COMMON.data, digest="0" * 64)
    (first,) = Processes(2).run(iter([given]), COMMON, lambda steps: None)
    kept = workers()
    broken = replace(given, data_digest="0" * 64)
    (again,) = Processes(2).run(iter([given]), COMMON, lambda steps: None)
    assert [model.weights for model in again] == [model.weights for model in first]
    assert list(Processes(2).run(iter([broken]), Common(other), lambda steps: None))
    assert workers() == kept != set()
    with pytest.raises(WorkerError, match="expected 0000"):
        list(Processes(2).run(iter([broken, given, given, given]), COMMON, lambda steps: None))
    assert not kept & workers()


def test_an_error_that_is_not_for_lack_of_memory_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*args: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(train_module, "train_models", train)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        job().run(COMMON, lambda steps: None)


def test_the_second_try_does_not_hold_the_memory_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network with opacus' hooks on it is a cycle of references."""
    from mico_hub.training.gradients.ghost import GhostClipping

    held: list[weakref.ref[Any]] = []

    def train(group: Any, *args: Any) -> Any:
        if not held:
            network = MLP(64, 4, 10)
            clipping = GhostClipping(network, 2)
            clipping.clipped_sum(torch.zeros(1, 3, 64), torch.zeros(1, 3, dtype=torch.int64), 1.0)
            held.append(weakref.ref(network))
            raise torch.OutOfMemoryError("out of memory")
        assert held[0]() is None
        return train_models(group, *args)

    monkeypatch.setattr(train_module, "train_models", train)
    assert len(job().run(COMMON, lambda steps: None)) == 4


def test_this_package_is_known_by_its_content() -> None:
    """Two commits of one version may train differently."""
    package = Path(job_module.__file__).parents[1]
    files = sorted(path.relative_to(package).parts for path in package.rglob("*.py"))
    text = b"".join("/".join(parts).encode() + b"\n" + package.joinpath(*parts).read_bytes() for parts in files)
    assert installed()["mico-hub"] == f"{version('mico-hub')}+{hashlib.sha256(text).hexdigest()[:12]}"


class FakePool:
    """Jobs end in the order of their models, two at a time; what one gives is looked up by its first model."""

    room = 3

    def __init__(self, outcomes: dict[int, list[Any]]) -> None:
        self.outcomes, self.begun = outcomes, dict[Any, TrainingJob]()

    def begin(self, job: Any) -> int:
        self.begun[len(self.begun)] = job
        return len(self.begun) - 1

    def ended(self, tickets: Any) -> Any:
        return tickets[:2]

    def result(self, ticket: Any) -> list[Finished]:
        job = self.begun[ticket]
        outcome = self.outcomes.get(job.model_ids[0], [None]).pop(0)
        if outcome is not None:
            raise outcome
        return [Finished(model_id, b"", None, 0.0) for model_id in job.model_ids]

    def steps(self) -> dict[Any, int]:
        return dict.fromkeys(self.begun, 1)


def dispatched(outcomes: dict[int, list[Any]], done: list[int], steps: list[int]) -> None:
    given = job()
    jobs = (replace(given, model_ids=(i,), assignments=given.assignments[:1]) for i in range(5))
    for finished in dispatch(FakePool(outcomes), jobs, steps.append):
        done += [model.model_id for model in finished]


def test_a_job_whose_worker_is_lost_is_begun_again_so_often_and_no_more() -> None:
    done: list[int] = []
    steps: list[int] = []
    dispatched({1: [LostError("gone")] * LOST_WORKERS + [None]}, done, steps)
    assert sorted(done) == list(range(5))
    assert sum(steps) == 5 * SUITE.steps
    assert min(steps) < 0
    with pytest.raises(WorkerError, match="the workers of the same models were lost 6 times: gone"):
        dispatched({1: [LostError("gone")] * (LOST_WORKERS + 1)}, [], [])


def test_what_else_has_ended_when_a_job_fails_is_kept() -> None:
    """Jobs 0 and 1 end together; of job 0 a model was finished before it failed."""
    failure = WorkerError("out of memory")
    failure.finished = [Finished(10, b"", None, 0.0)]
    done: list[int] = []
    with pytest.raises(WorkerError, match="out of memory"):
        dispatched({0: [failure]}, done, [])
    assert done == [10, 1]
    done.clear()
    with pytest.raises(OSError, match="full"):
        dispatched({0: [OSError("full")]}, done, [])
    assert done == [1]


def test_a_killed_worker_ends_the_run_and_keeps_what_is_finished(tmp_path: Path) -> None:
    suite = replace(SUITE, epochs=1_500)
    killed: list[int] = []

    def kill_one(line: str) -> None:
        workers = [child for child in psutil.Process().children() if "loky.backend.popen" in " ".join(child.cmdline())]
        if not killed:
            workers[0].send_signal(signal.SIGKILL)
        killed.append(1)

    with pytest.raises(WorkerError, match="a worker process was killed"):
        train_suite(suite, tmp_path / "suite", Runtime(stack=1), Processes(2), announce=kill_one)
    folder = SuiteFolder(tmp_path / "suite")
    done = [i for i in range(6) if folder.measured(suite, i) is not None]
    assert 1 <= len(done) < 6
    assert not folder.complete()


@pytest.mark.parametrize("models", [1, 2])
def test_workers_end_with_the_run_that_started_them(tmp_path: Path, models: int) -> None:
    """Also where it is killed and cannot tell them, and where one has nothing to do; a model would take a minute."""
    program = (
        "from dataclasses import replace; from pathlib import Path; from mico_hub.suites import SUITES\n"
        "from mico_hub.training.suite import train_suite; from mico_hub.workers import Processes\n"
        f"suite = replace(SUITES['digits_inf'], epochs=20_000).with_models({models}, 0, 0)\n"
        f"train_suite(suite, Path({str(tmp_path)!r}), workers=Processes(2),"
        " progress=lambda share: print(share, flush=True))"
    )
    run = fresh.start("-c", program, cwd=tmp_path)
    while run.poll() is None and all(float(line) == 0 for line in run.printed.split()):  # until they are at work
        time.sleep(0.05)
    children = psutil.Process(run.pid).children(recursive=True)
    assert len(children) >= 2
    run.send_signal(signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "1" * 64}  # read as Ray is imported, and kept


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray cluster of one node with one CPU, for those who have its token."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.long
def test_a_cluster_that_loses_a_node_gives_the_same_suite(cluster: Any, tmp_path: Path) -> None:
    """The second node joins after this process did, which is therefore on the first."""
    suite = replace(SUITE, epochs=800).with_models(2, 1, 1)
    shares: list[float] = []
    lost: list[float] = []

    def progress(share: float) -> None:
        if share > 0.35 and not lost:  # one of four models may be done, and another is under way on each node
            lost.append(share)
            cluster.remove_node(second, allow_graceful=False)
            cluster.wait_for_nodes()  # until the cluster has noticed
        shares.append(share)

    with ray_cluster(cluster.address) as workers:
        second = cluster.add_node(num_cpus=1)
        assert workers.parallel == 2
        folder = train_suite(suite, tmp_path / "suite", workers=workers, progress=progress)
        assert workers.parallel == 1
    folder.verify()
    assert lost
    assert shares != sorted(shares)  # work was lost, and done again
    before = {i: folder.checkpoint(suite, i).read_bytes() for i in range(4)}
    for i in range(4):
        folder.checkpoint(suite, i).unlink()
    folder.rows_path("public").unlink()
    train_suite(suite, tmp_path / "suite")
    assert {i: folder.checkpoint(suite, i).read_bytes() for i in range(4)} == before


def test_a_job_that_fails_on_the_cluster_fails_as_it_would_here(tmp_path: Path) -> None:
    """Half of the models' keys are damaged: a job raises, and the run ends with its error."""
    with ray_cluster() as workers:
        given = job(models=2)
        broken = replace(given, data_digest="0" * 64)
        with pytest.raises(WorkerError, match="expected 0000"):
            list(workers.run(iter([broken]), COMMON, lambda steps: None))
        finished = list(workers.run(iter([given]), COMMON, lambda steps: None))
        alone = given.run(COMMON, lambda steps: None)
        assert [[model.weights for model in group] for group in finished] == [[model.weights for model in alone]]
        joins = f"import ray; ray.init('{workers.ray.get_runtime_context().gcs_address}')"
        by_token = {
            token: subprocess.run([sys.executable, "-c", joins], env=os.environ | {"RAY_AUTH_TOKEN": token},
                                  check=False, capture_output=True, text=True)
            for token in (os.environ["RAY_AUTH_TOKEN"], "0" * 64)
        }  # fmt: skip
        assert [done.returncode == 0 for done in by_token.values()] == [True, False]
        assert "token is missing or incorrect" in by_token["0" * 64].stderr
    path = tmp_path / "model.safetensors"
    path.write_bytes(alone[0].weights)
    checkpoints.load(path)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", "ray://", "127.0.0.1:99999"])
def test_an_address_that_is_none_says_so(address: str) -> None:
    with pytest.raises(WorkerError, match=r"expected a Ray address HOST:PORT|nothing answers at"), ray_cluster(address):
        pass


def test_an_address_without_a_cluster_is_a_clear_error(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    train = ("-m", "mico_hub.cli", "train", "digits_hi", "--out", tmp_path, "--ray", f"127.0.0.1:{port}")
    run = fresh.run(*train, cwd=tmp_path)
    assert run.returncode == 2
    assert f"nothing answers at the Ray address 127.0.0.1:{port}" in run.stderr
    assert not (tmp_path / "digits_hi").exists()


def test_a_part_of_ray_that_is_killed_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    """Without its agent the node ends; Ray then ends the process that talked to it, and that cannot say why."""
    train = ("-m", "mico_hub.cli", "train", "digits_inf", "--models", "5000/1/1", "--ray", "--out", tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    run = fresh.start(*train, cwd=tmp_path, env=environment)
    finished = tmp_path / "digits_inf" / "private" / "partial"
    while run.poll() is None and not list(finished.glob("model_*.json")):
        time.sleep(0.2)
    parts = psutil.Process(run.pid).children(recursive=True)
    named = ("RuntimeEnvAgent", "runtime_env/agent/main.py")  # the latter in older versions
    (agent,) = (part for part in parts if any(each.endswith(named) for each in part.cmdline()))
    (raylet,) = (part for part in parts if part.name() == "raylet")
    assert raylet.environ()["RAY_AUTH_MODE"] == "token"
    assert raylet.environ()["RAY_AUTH_TOKEN"] not in ("", os.environ["RAY_AUTH_TOKEN"])
    agent.kill()
    done = run.wait()
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search("a process of Ray on this machine was killed|the Ray cluster at local has lost every", done.stderr)
    assert done.stderr.endswith("Finished models are kept; resume with the same command.\n")
    _, alive = psutil.wait_procs(parts, timeout=30)
    assert not alive


def test_a_connection_to_ray_that_breaks_is_said() -> None:
    said = r"a process of Ray on this machine was killed, .*reset by peer"
    ray = SimpleNamespace(exceptions=SimpleNamespace(RaySystemError=KeyError))
    for error in (ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)), KeyError("reset by peer")):
        with pytest.raises(WorkerError, match=said), cluster_module._talking(ray):
            raise error
    with pytest.raises(TimeoutError), cluster_module._talking(ray):
        raise TimeoutError


def test_a_full_disk_for_what_workers_share_is_said(tmp_path: Path) -> None:
    shared = tmp_path / "common"
    shared.symlink_to("/dev/full")
    with pytest.raises(DiskError, match=f"{shared}: the disk is full, "):
        local._write_common(COMMON, shared)
