"""Processes that share out parts: order, memory, failure, and their end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
import torch

from suite.core.process_pool import ForkPool, shared
from tests.executors.workers import alive


@pytest.fixture
def crew():
    rows = shared(5, 2, dtype=torch.float64)

    def jobs():
        def write(part, by):
            rows[part] = part * by
            return part, os.getpid()

        def fail(part):
            raise ValueError(f"part {part}")

        return {"write": write, "fail": fail, "who": lambda _: os.getpid()}

    made = ForkPool(jobs, 2)
    yield made, rows
    made.close()


def test_parts_come_back_in_order_from_every_process(crew):
    crew, rows = crew
    found = crew.map("write", range(5), 3.0)
    assert [part for part, _ in found] == [0, 1, 2, 3, 4]
    assert len({process for _, process in found}) == 3
    assert torch.equal(rows, torch.arange(0.0, 15, 3, dtype=torch.float64)[:, None].expand(5, 2))
    assert crew.map("write", range(1), 1.0) == [(0, os.getpid())]  # one part is not sent away
    assert len(set(crew.broadcast("who"))) == 3


def test_a_failing_share_is_an_error_here(crew):
    with pytest.raises(ValueError, match="part 0"):
        crew[0].map("fail", range(3))


def test_anothers_failing_share_names_the_error():
    here = os.getpid()

    def fail(part):
        if os.getpid() != here:
            raise ValueError("broken there")

    crew = ForkPool(lambda: {"fail": fail}, 1)
    with pytest.raises(RuntimeError, match=r"(?s)in fail.*ValueError: broken there"):
        crew.map("fail", range(2))
    assert len(crew) == 1  # the others were ended: their answers must not meet the next call


def test_a_killed_process_is_noticed(crew):
    crew, _ = crew
    other = crew.broadcast("who")[1]
    os.kill(other, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="ended"):
        crew.map("who", range(3))


def test_processes_end_with_the_crew():
    crew = ForkPool(lambda: {"who": lambda _: os.getpid()}, 1)
    other = crew.broadcast("who")[1]
    crew.close()
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


def _lead(connection):
    def sleep(_):
        connection.send(os.getpid())
        time.sleep(60)

    ForkPool(lambda: {"sleep": sleep}, 1).map("sleep", range(2))


def test_a_busy_process_ends_with_its_killed_parent():
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    parent = context.Process(target=_lead, args=(theirs,))
    parent.start()
    (member,) = {ours.recv(), ours.recv()} - {parent.pid}
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    until = time.monotonic() + 10
    while alive(member) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(member)
