"""A Ray cluster gives the bits of the serial executor, whichever of its workers and nodes die."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from suite import cli
from suite.cell import setup
from suite.config.cell import make_task
from suite.config.profile import expand, load_profile
from suite.core import devices
from suite.core.allocator import SETTINGS
from suite.core.errors import UserError
from suite.core.streams import Stream
from suite.executors import factory
from suite.executors import ray_worker as node
from suite.executors.job import CellJob
from suite.executors.ray import Ray
from suite.executors.ray_cluster import Cluster, Resources, resources_of
from suite.matrix import progress
from suite.records.store import Store
from suite.tasks.base import EpisodeShape
from tests import processes
from tests.executors import workers

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray", reason='Ray is not installed; run pip install -e ".[test]"')

SEEDS = (0, 1, 2)

#: A task whose data are a file; tells which processes read it.
READING = """
import os
from pathlib import Path
import torch
from suite.core import registry
from suite.tasks.sinusoid import Sinusoid, SinusoidSampler

class Shifted(SinusoidSampler):
    def __init__(self, device, shift):
        super().__init__(device, False)
        self.shift = shift

    def sample(self, *rest):
        found = super().sample(*rest)
        found.query.y.add_(self.shift)
        return found

@registry.task("shifted")
class Reading(Sinusoid):
    '''Sinusoids, moved by what a file says.'''

    reads_data = True

    def load(self, data, device):
        with (data / "readers").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        return Shifted(device, torch.tensor(float((data / "shift").read_text())))
"""

#: Training that waits until a file says that it was heard of: nodes tell of it now and then only.
WAITING = """
import time
from pathlib import Path
from suite.cell.training import OuterLoop

heard, before = Path({folder!r}) / "heard", OuterLoop.step

def step(self, number):
    until = time.monotonic() + 60
    while number == 50 and not heard.exists() and time.monotonic() < until:
        time.sleep(0.05)
    return before(self, number)

OuterLoop.step = step
"""


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """The results of the serial executor, a plug-in's algorithm included."""
    folder = tmp_path_factory.mktemp("truth")
    summary, _ = workers.run(many(folder), folder / "out")
    assert summary.done == 15
    return processes.results(folder / "out")


def many(folder, *algorithms):
    """Cells of three seeds: fifteen in all, of which a plug-in has three."""
    workers.cells(folder, extra=True)
    profile = load_profile(str(folder / "small.toml"))
    return expand(profile, ["cpu"], seeds=SEEDS, algorithms=algorithms)


def some(truth, *names):
    return {cell: result for cell, result in truth.items() if cell.split()[0] in names}


@pytest.fixture(scope="module")
def two_nodes():
    """A cluster of two nodes on this machine, with a core each."""
    from ray.cluster_utils import Cluster as Machines

    machines = Machines(initialize_head=True, head_node_args={"num_cpus": 1})
    machines.add_node(num_cpus=1)
    yield machines
    ray.shutdown()
    machines.shutdown()


def remote(machines, *plugins):
    return Ray(Cluster(machines.address), plugins)


def test_all_cells_are_done_though_a_node_dies_in_the_middle(tmp_path, truth, two_nodes):
    slow = workers.plugin(tmp_path, workers.SLOW.format(folder=str(tmp_path), seconds=0.2))
    cells = many(tmp_path)
    executor = remote(two_nodes, slow, tmp_path / "extra.py")
    assert executor.lanes == [("cpu",), ("cpu",)]
    victim = next(n for n in two_nodes.list_all_nodes() if n != two_nodes.head_node)

    def kill():
        until = time.monotonic() + 120
        raylet = victim.all_processes["raylet"][0].process.pid
        theirs: set[int] = set()
        while not theirs and time.monotonic() < until:
            time.sleep(0.05)
            training = {int(file.name.split("-")[1]) for file in tmp_path.glob("training-*")}
            theirs = training & set(workers.descendants(raylet))
        two_nodes.remove_node(victim, allow_graceful=False)
        while any(workers.alive(process) for process in theirs) and time.monotonic() < until:
            time.sleep(0.05)  # an orphan must not end its cell meanwhile
        (tmp_path / "fast").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        summary, said = workers.run(cells, tmp_path / "out", executor)
    finally:
        killer.join()
        two_nodes.add_node(num_cpus=1)
    assert summary.done == 15, said
    assert said.count("the cell is begun again") == 1, said
    assert processes.results(tmp_path / "out") == truth
    assert not (tmp_path / "out" / "checkpoints").exists()  # nodes may not see it
    records = Store(tmp_path / "out", "small").records()
    assert not any(record.timing.alone for record in records)
    assert all(SETTINGS.items() <= r.provenance.environment.items() for r in records)


def test_the_cell_of_a_killed_worker_goes_on_from_its_checkpoint(
    tmp_path, truth, two_nodes, monkeypatch
):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    shown = progress.Progress.step

    def show(self, label, done, steps, phase):
        shown(self, label, done, steps, phase)
        if phase == "training":
            (tmp_path / "heard").touch()

    monkeypatch.setattr(progress.Progress, "step", show)
    mortal = workers.plugin(tmp_path, workers.MORTAL.format(folder=str(tmp_path)))
    waiting = workers.plugin(tmp_path, WAITING.format(folder=str(tmp_path)), "waiting")
    cells = many(tmp_path, "maml")
    summary, said = workers.run(
        cells, tmp_path / "out", remote(two_nodes, mortal, waiting), checkpoint_every=0,
        checkpoints=tmp_path / "shared",
    )  # fmt: skip
    assert summary.done == 3, said
    assert said.count("its worker died (its process was killed)") == 1
    assert "training, outer step" in said
    assert processes.results(tmp_path / "out") == some(truth, "maml")
    records = Store(tmp_path / "out", "small").records()
    assert sorted(record.provenance.resumed for record in records) == [0, 0, 1]
    left = [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    assert all(path.suffix == ".lock" for path in left), left


def test_data_are_read_here_and_sent_once(tmp_path, two_nodes, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    (data / "shift").write_text("0.5")
    reading = workers.plugin(tmp_path, READING, "reading")
    quick = workers.plugin(tmp_path, workers.QUICK, "quick")
    cells = many(tmp_path, "reptile")
    setup.registry.load_plugin(reading)
    task = make_task({"name": "shifted"}).identity()
    cells = [cell.model_copy(update={"task": task}) for cell in cells]
    sent, put = [], ray.put
    monkeypatch.setattr(ray, "put", lambda value: sent.append(value) or put(value))
    workers.run(cells, tmp_path / "alone", data=data)
    (data / "readers").unlink()
    executor = remote(two_nodes, quick, reading)
    summary, said = workers.run(cells, tmp_path / "out", executor, data=data)
    assert summary.done == 3, said
    assert len(sent) == 1
    assert set((data / "readers").read_text().split()) == {str(os.getpid())}
    assert processes.results(tmp_path / "out") == processes.results(tmp_path / "alone")


def test_bad_input_on_a_node_ends_the_run(tmp_path, two_nodes):
    refusing = workers.plugin(tmp_path, workers.REFUSING)
    with pytest.raises(UserError, match="no such thing"):
        workers.run(many(tmp_path, "sgd"), tmp_path / "out", remote(two_nodes, refusing))
    assert not ray.is_initialized()


def test_what_no_node_has_is_said_before_anything_runs(tmp_path, two_nodes):
    large = expand(load_profile(str(processes.profile(tmp_path))), ["cpu"], shards=2)
    with pytest.raises(
        UserError, match=r"no node of the cluster has the resources of small--.* \(2 cores"
    ):
        workers.run(large, tmp_path / "out", remote(two_nodes))
    cluster = Cluster(two_nodes.address)
    try:
        assert cluster.kinds == ["cpu"]
        with pytest.raises(UserError, match=r"the Ray cluster has cpu only; .*node with a GPU"):
            devices.resolve(["cuda"], cluster.kinds)
    finally:
        cluster.close()


def test_weights_are_kept_only_where_nodes_see_the_folder(tmp_path, two_nodes):
    executor = remote(two_nodes)
    with pytest.raises(UserError, match="--checkpoints"):
        workers.run(many(tmp_path, "sgd"), tmp_path / "out", executor, keep_weights=True)
    ray.shutdown()


class Interrupted:
    """A run of the command line, in the middle of two trainings."""

    def __init__(self, folder, *more):
        self.slow = workers.plugin(folder, workers.SLOW.format(folder=str(folder), seconds=0.5))
        self.log, self.out, self.folder = folder / "log", folder / "out", folder
        words = [processes.profile(folder), self.out, "--algorithms", "maml", "--plugin", self.slow]
        self.words = processes.words(*words)
        self.process = processes.start([*self.words, "--executor", "ray", *more], self.log)
        while len(list(folder.glob("training-*"))) < 2:
            assert self.process.is_alive(), self.log.read_text()
            time.sleep(0.05)
        self.all = workers.descendants(self.process.pid)
        self.trainings = {int(path.name.split("-")[1]) for path in folder.glob("training-*")}

    def end(self, number):
        """Send a signal; return the exit status when no process is left."""
        os.kill(self.process.pid, number)
        self.process.join(60)
        until = time.monotonic() + 20
        everyone = self.all | self.trainings
        while any(map(workers.alive, everyone)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(workers.alive, everyone)), self.log.read_text()
        return self.process.exitcode


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cells want two cores")
def test_a_signal_waits_for_checkpoints_and_ends_the_local_ray(tmp_path, truth):
    run = Interrupted(tmp_path)
    assert len(run.all) > 4
    assert run.end(signal.SIGINT) == 130
    text = run.log.read_text()
    assert "the same command continues the run" in text
    assert "Traceback" not in text
    assert "task_manager" not in text  # Ray's own errors
    assert "(raylet)" not in text
    assert len(processes.leftovers(run.out)) == 2
    (tmp_path / "fast").touch()
    assert processes.run(run.words, run.log) == 0, run.log.read_text()
    found = some(truth, "maml")
    assert processes.results(run.out) == {cell: found[cell] for cell in ("maml 0", "maml 1")}
    records = Store(run.out, "small").records()
    assert [record.provenance.resumed for record in records] == [1, 1]


def test_a_signal_waits_for_nothing_where_nothing_can_be_kept(tmp_path, two_nodes):
    run = Interrupted(tmp_path, "--address", two_nodes.address)
    assert run.end(signal.SIGTERM) == 143  # though Ray has a handler of its own
    assert processes.leftovers(run.out) == []
    assert two_nodes.head_node.remaining_processes_alive()


def exit_of(*words):
    found = CliRunner().invoke(cli.cli, [str(word) for word in words])
    return found.exit_code, found.output


def test_a_missing_ray_is_named_with_its_mend(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    status, text = exit_of("--executor", "ray", "--results", tmp_path / "out")
    assert status == 2
    assert 'pip install -e ".[cluster]"' in text
    assert exit_of("--results", tmp_path / "out", "--list")[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--address", "127.0.0.1:1"], "no Ray cluster answers at '127.0.0.1:1'"),
        (["--address", "127.0.0.1:99999"], "no Ray cluster answers"),
        (["--address", "ray://here:10001"], "--address takes HOST:PORT or auto"),
        (["--address", "nowhere"], "--address takes HOST:PORT or auto"),
        (["--address", "auto", "--executor", "local"], "leave out --executor local"),
        (["--executor", "ray", "--workers", "2"], "--workers works only with the executor local"),
    ],
)
def test_words_that_do_not_work_are_refused(words, told, tmp_path):
    status, text = exit_of(*words, "--results", tmp_path / "out")
    assert status == 2, text
    assert told in text


def test_a_cell_has_a_core_for_each_thread_of_each_process(tmp_path):
    cells = expand(load_profile(str(processes.profile(tmp_path))), ["cpu", "cuda"], shards=3)
    assert {resources_of(cell) for cell in cells} == {Resources(3, 0), Resources(1, 1)}
    assert Resources(3, 0).fit({"CPU": 8.0}) == 2
    assert Resources(1, 1).fit({"CPU": 8.0, "GPU": 4.0}) == 4
    assert Resources(1, 1).fit({"CPU": 8.0}) == 0


def test_another_version_of_the_code_is_refused(tmp_path):
    task = CellJob(workers.cells(tmp_path)[0], False, None, 60.0, False)
    answer = node.compute_on_node(task, node.Common("small", "another", ()), [], None)
    assert answer[0] == "refused"
    assert "another version of the suite's code" in answer[1]


def test_a_node_that_does_not_see_the_folder_of_checkpoints_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "LATE", 0.0)
    task = CellJob(workers.cells(tmp_path)[0], False, tmp_path / "cell.npz", 60.0, False)
    here = node.Common("small", node.suite_sha256(), ())
    answer = node.compute_on_node(task, here, [], None, tmp_path / "mark")
    assert answer[0] == "refused"
    assert "does not see the driver's files" in answer[1]
    assert "--checkpoints" in answer[1]
    (tmp_path / "mark").touch()
    node._see(tmp_path / "mark")


def test_plugins_travel_to_nodes_that_have_no_such_file(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWSHOT_SUITE_CACHE", str(tmp_path / "cache"))
    text = workers.EXTRA.replace("midway", "travelled").encode()
    node._load(node.Plugin(Path("/not/here/travelling.py"), text))
    assert setup.registry.algorithms.get("travelled").__name__ == "Midway"
    (copy,) = (tmp_path / "cache").rglob("travelling.py")
    assert copy.read_bytes() == text


def test_samplers_travel_without_their_rotations():
    sampler = make_task({"name": "glyphs", "rotations": "episode"}).load(None, torch.device("cpu"))
    sent = pickle.dumps(sampler)
    assert len(sent) < 1.5 * sampler.data.images.nbytes
    shape = EpisodeShape(ways=5, shots=1, query_shots=1)
    here, there = (
        s.sample(Stream("x", 0), 0, 3, shape, "train")
        for s in (sampler, pickle.loads(sent).to(torch.device("cpu")))
    )
    assert torch.equal(here.query.x, there.query.x)
    assert pickle.loads(sent).data_sha256 == sampler.data_sha256
    assert sampler.to(torch.device("meta"))._images.is_meta


def test_words_choose_the_cluster(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert factory.cluster(None, None) is None
    local = factory.cluster("ray", None)
    assert local.is_local
    executor = factory.make_executor("ray", factory.ExecutorOptions(["cpu"], cluster=local))
    assert executor.lanes == [("cpu",)] * len(os.sched_getaffinity(0))
