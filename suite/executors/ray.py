"""The executor ray: each cell is a task on a node of a Ray cluster that has its cores and device.

A task is sent its inputs, and it sends its record back: nodes need the suite installed and nothing
else from this machine. Data are read here and put into Ray's object store, which copies them to a
node once. A task whose worker or node dies is begun again, from its checkpoint if there is a folder
for checkpoints.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from suite.cell import setup
from suite.config.cell import Cell
from suite.core import signals
from suite.core.errors import UserError, first_line
from suite.core.process_pool import MEMORY
from suite.executors import ray_worker
from suite.executors.base import Outcome, Queue, RunWork
from suite.executors.job import CellJob
from suite.executors.ray_cluster import PATIENCE, Cluster, Resources, resources_of
from suite.executors.ray_progress import ProgressActor
from suite.executors.supervision import TICK, CrashCounter, drive, outcome_of
from suite.records.files import temporary_beside, write_atomically
from suite.records.provenance import suite_sha256

KINDS = ("cuda", "cpu")
#: Descriptions of how a task without an answer ended, by the name of Ray's error.
HOW = {
    "WorkerCrashedError": "its process was killed",
    "NodeDiedError": "its node is gone",
    "OutOfMemoryError": "its node had no memory left",
}


class Ray:
    """Executor that computes cells on a Ray cluster; see `suite.executors.base`.

    Args:
        cluster: cluster to compute on.
        plugins: files that every worker loads.
        cores: number of cores of a CPU cell, used only by `lanes`.
    """

    elsewhere = True
    #: Default cores of a CPU cell: a constant, so its description is the same on every cluster.
    cores = 1

    def __init__(self, cluster: Cluster, plugins: Sequence[Path] = (), cores: int = 1) -> None:
        self._cluster, self._plugins, self._cpu_resources = cluster, plugins, Resources(cores, 0)

    @property
    def lanes(self) -> list[tuple[str]]:
        """Kind of device of each cell that a free cluster computes at the same time."""
        room = self._cluster.room
        # At least one lane is for the CPU: if no node takes such cells, the run reports it.
        return [("cuda",)] * room(Resources(1, 1)) + [("cpu",)] * max(1, room(self._cpu_resources))

    @property
    def sees_files(self) -> bool:
        """Whether workers see this machine's files."""
        return self._cluster.is_local

    def run(self, cells: Queue, work: RunWork) -> Generator[Outcome]:
        """Yield outcomes as tasks finish; a first signal waits for checkpoints, if there are any.

        Raises:
            UserError: no living node can compute a cell; also as in `suite.executors.base`.
        """
        try:
            workers = _RayWorkers(self._cluster, self._plugins, work)
            try:
                yield from drive(workers, cells)
            finally:
                workers.end()
        except self._cluster.errors as error:
            raise UserError(
                f"the Ray cluster fails ({first_line(error)}); finished cells are kept, and the "
                "same command continues the run."
            ) from error
        finally:
            self._cluster.close()


class _RayWorkers:
    """The tasks of one run."""

    def __init__(self, cluster: Cluster, plugins: Sequence[Path], work: RunWork) -> None:
        ray = self._ray = cluster.connect()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._cluster, self._work = cluster, work
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._progress = (
            ray.remote(ProgressActor).options(num_cpus=0, scheduling_strategy=here).remote()
        )
        self._updates = self._progress.poll.remote()
        read = tuple(ray_worker.Plugin(path.resolve(), _content(path)) for path in plugins)
        self._common = ray_worker.Common(work.profile, suite_sha256(), read)
        # Dead workers are counted here, not by Ray, so that the user can be told. A process that
        # has begun to use a GPU cannot change to another one, so it computes only one cell.
        always = {"max_retries": 0, "scheduling_strategy": "SPREAD"}
        self._compute = {
            "cpu": ray.remote(**always)(ray_worker.compute_on_node),
            "cuda": ray.remote(num_gpus=1, max_calls=1, **always)(ray_worker.compute_on_node),
        }
        self._running: dict[Any, Cell] = {}  # by the reference to the task's answer
        self._resources = {"cpu": Resources(1, 0), "cuda": Resources(1, 1)}
        self._data: dict[str, Any] = {}  # references to samplers, by `Cell.data_key`
        self._deaths = CrashCounter(
            work.note, "if memory ran out, let a node take fewer at a time: give it fewer cores"
        )
        self._begun: set[str] = set()  # labels of cells whose tasks have started
        self._marks: set[Path] = set()
        self._stopping = False
        ray.get(
            self._progress.open.remote()
        )  # before any cell, so that every task can be told to stop

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def begin(self, cells: Queue) -> None:
        """Start as many tasks as the nodes have room for; more would only wait there."""
        for kind in KINDS:
            while self._count(kind) < self._cluster.room(self._resources[kind]):
                cell = cells.take((kind,))
                if cell is None:
                    break
                self._resources[kind] = resources_of(cell)
                self._give(cell)
        if any(self._cluster.room(resources_of(cell)) for cell in self._running.values()):
            return
        left = None if self._running else cells.take(KINDS)
        if left is not None and self._cluster.room(resources_of(left)):
            self._give(left)  # another run has just released it
        else:
            self._lost(left or next(iter(self._running.values()), None))

    def _count(self, kind: str) -> int:
        return sum(cell.numerics.device == kind for cell in self._running.values())

    def _lost(self, cell: Cell | None) -> None:
        """Raise `UserError` if there is a cell, because no node can compute it."""
        if cell is not None:
            cores, accelerators = resources_of(cell)
            raise UserError(
                f"no node of the cluster has the resources of {cell.label} ({cores} cores, "
                f"{accelerators} GPUs); add one, or take a smaller --processes or another --device."
            )

    def _give(self, cell: Cell) -> None:
        wanted, work = resources_of(cell), self._work
        keeper = work.checkpoint(cell)
        path = None if keeper.path is None else keeper.path.resolve()
        # Other cells may be on a CPU cell's node, and it is not pinned to cores of its own.
        undisturbed = wanted.accelerators > 0 and work.alone()
        job = CellJob(cell, undisturbed, path, keeper.every, keeper.keep)
        compute = self._compute[cell.numerics.device].options(num_cpus=wanted.cores)
        mark = None if path is None else self._marked(path.parent)
        answer = compute.remote(job, self._common, self._sent(cell), self._progress, mark)
        self._running[answer] = cell

    def _marked(self, folder: Path) -> Path:
        """Return a file of this run in a folder, by which nodes check that it is the same one."""
        mark = temporary_beside(folder / "mark")
        if mark not in self._marks:
            write_atomically(mark, b"")
            self._marks.add(mark)
        return mark

    def _sent(self, cell: Cell) -> list[Any]:
        """Return a reference to the data of a cell, if any; all cells of a task use the same."""
        if not cell.make_task().reads_data:
            return []
        key = cell.data_key()
        if key not in self._data:
            sampler = setup.load(cell, self._work.data, torch.device("cpu"))
            try:
                self._data[key] = self._ray.put(sampler)
            except Exception as error:  # pickling can raise any error
                raise UserError(
                    f"the data of {cell.label} cannot be sent to other machines "
                    f"({first_line(error)}); take another executor, or fix the sampler."
                ) from error
            setup.forget()
        return [self._data[key]]

    def stop(self) -> None:
        """Ask tasks to stop at a checkpoint; cancel at once those that have none to write."""
        if self._stopping:
            return
        self._stopping = True
        self._progress.stop.remote()
        for answer, cell in list(self._running.items()):
            if self._work.checkpoint(cell).path is None or cell.label not in self._begun:
                self._ray.cancel(answer, force=True)
                del self._running[answer]

    def outcomes(self) -> Iterator[Outcome]:
        """Wait a moment for the tasks, and yield the outcome of one that has finished."""
        ready, _ = self._ray.wait([*self._running, self._updates], num_returns=1, timeout=TICK)
        for reference in ready:
            if reference == self._updates:
                self._read_updates()
            elif outcome := self._finished(reference):
                yield outcome

    def _read_updates(self) -> None:
        labels = {cell.label for cell in self._running.values()}
        for label, step, notes in self._ray.get(self._updates):
            for note in notes:
                self._work.note(note)
            if label in labels:  # else it is finished, and this message is late
                self._begun.add(label)
                if step is not None:
                    self._work.step(label, *step)
        self._updates = self._progress.poll.remote()

    def _finished(self, reference: Any) -> Outcome | None:
        """Take a task's answer; if it died, begin its cell again, or return the failure."""
        errors, cell = self._ray.exceptions, self._running.pop(reference)
        self._begun.discard(cell.label)
        try:
            return outcome_of(cell, self._ray.get(reference))
        except errors.RayTaskError as error:
            if isinstance(error.cause, (errors.RayError, *MEMORY)):  # only one node has failed
                return self._again(cell, type(error.cause).__name__)
            raise UserError(
                f"a node cannot run the suite ({type(error.cause).__name__}: "
                f"{first_line(error.cause)}); install the same version of it on all nodes."
            ) from error
        except errors.LocalRayletDiedError:  # the node of this process: every cell would fail
            raise
        except errors.RayError as error:
            return self._again(cell, type(error).__name__)

    def _again(self, cell: Cell, name: str) -> Outcome | None:
        """Begin a cell again if its worker or node failed, unless that happened too often."""
        self._cluster.forget()
        failed = None if signals.stop_requested() else self._deaths.count(cell, HOW.get(name, name))
        if failed is None and not signals.stop_requested():
            self._give(cell)
        return failed

    def end(self) -> None:
        """Cancel all tasks, because Ray prints an error for each unfinished task when it ends."""
        for mark in self._marks:
            with suppress(OSError):
                mark.unlink(missing_ok=True)
        with suppress(self._cluster.errors):
            for answer in self._running:
                self._ray.cancel(answer, force=True)
            self._ray.kill(self._progress)
            left = [*self._running, self._updates]
            self._ray.wait(left, num_returns=len(left), timeout=PATIENCE)


def _content(plugin: Path) -> bytes:
    try:
        return plugin.read_bytes()
    except OSError as error:
        raise UserError(f"the plug-in {str(plugin)!r} cannot be read: {error.strerror}.") from error
