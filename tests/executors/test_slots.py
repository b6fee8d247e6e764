"""How a machine is divided among workers, and which executor its user gets."""

from __future__ import annotations

import pytest
import torch

from suite.core.errors import UserError
from suite.executors.factory import ExecutorOptions, make_executor
from suite.executors.local import Local
from suite.executors.serial import Serial
from suite.executors.slots import divide


def shape(slots):
    return [(str(slot.device), slot.cores, slot.exclusive) for slot in slots]


def test_workers_share_the_cores_evenly_and_are_not_alone():
    assert shape(divide(["cpu"], 2, [0, 1, 4, 5, 6], 0)) == [
        ("cpu", (0, 1), False),
        ("cpu", (4, 5), False),
    ]
    assert shape(divide(["cpu"], 1, [0, 1], 3)) == [("cpu", (0, 1), True)]


def test_every_cuda_device_has_one_worker_to_itself():
    assert shape(divide(["cuda"], 1, [0, 1], 2)) == [("cuda:0", (), True), ("cuda:1", (), True)]


def test_workers_that_feed_a_device_take_no_core_from_those_on_the_cpu():
    assert shape(divide(["cpu", "cuda"], 2, range(6), 2)) == [
        ("cuda:0", (0,), True),
        ("cuda:1", (1,), True),
        ("cpu", (2, 3), False),
        ("cpu", (4, 5), False),
    ]
    few = divide(["cpu", "cuda"], 1, range(2), 2)  # too few to set any apart
    assert [slot.cores for slot in few] == [(), (), (0, 1)]


def test_more_workers_than_cores_are_refused():
    with pytest.raises(UserError, match="3 workers cannot share the 2 cores"):
        divide(["cpu"], 3, [0, 1], 0)


@pytest.mark.parametrize(
    ("name", "kinds", "workers", "accelerators", "lanes"),
    [
        (None, ["cpu"], None, 0, None),
        (None, ["cpu", "cuda"], None, 1, None),
        ("serial", ["cuda"], None, 2, None),
        ("local", ["cpu"], None, 0, [("cpu",)]),
        (None, ["cpu"], 1, 0, [("cpu",)]),
        (None, ["cuda"], None, 2, [("cuda",), ("cuda",)]),
        (None, ["cpu", "cuda"], None, 2, [("cuda",), ("cuda",), ("cpu",)]),
    ],
)
def test_the_executor_is_local_where_several_cells_can_run(
    name, kinds, workers, accelerators, lanes, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: accelerators)
    found = make_executor(name, ExecutorOptions(kinds, workers))
    assert isinstance(found, Serial if lanes is None else Local)
    assert lanes is None or found.lanes == lanes


def test_words_that_do_not_go_together_are_refused():
    with pytest.raises(UserError, match="leave out --executor serial"):
        make_executor("serial", ExecutorOptions(["cpu"], workers=2))
    with pytest.raises(UserError, match="no cell is for the CPU"):
        make_executor(None, ExecutorOptions(["cuda"], workers=2))
    with pytest.raises(UserError, match="did you mean 'local'"):
        make_executor("locl", ExecutorOptions(["cpu"]))
