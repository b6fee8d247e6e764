"""What is exact: known pieces of work have known counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from suite.gate.counts import count

CPU = torch.device("cpu")
A = torch.ones(64, 64)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_operators_and_reads_of_a_value_are_counted(mode):
    @mode()
    def work():
        x = A @ A
        float(x.sum())
        bool((x > 0).all())

    found = count(work, CPU)
    assert found.operators == 6  # mm, sum, read, gt, all, read
    assert found.synchronisations == 2


def test_a_backward_pass_is_counted_too():
    w = torch.ones(8, 8, requires_grad=True)

    def forward():
        return (A[:8, :8] @ w).sum()

    def both():
        torch.autograd.grad(forward(), w)

    assert count(both, CPU).operators > count(forward, CPU).operators


@pytest.mark.parametrize("work", [lambda: A.nonzero(), lambda: A.unique(), lambda: A[A > 0]])
def test_results_of_unknown_size_wait(work):
    assert count(work, CPU).synchronisations == 1


@pytest.mark.parametrize(
    "hold", [lambda: torch.ones(250_000), lambda: np.ones(250_000, dtype=np.float32)]
)
def test_bytes_of_tensors_and_of_arrays_are_counted(hold):
    def work():
        held = hold()
        return held.sum()

    def twice():
        first, second = hold(), hold()
        return first.sum() + second.sum()

    one, two = count(work, CPU).allocated, count(twice, CPU).allocated
    assert one == pytest.approx(1e6, rel=0.02)
    assert two == pytest.approx(2e6, rel=0.02)


def test_what_is_given_back_before_the_next_is_taken_counts_once():
    def work():
        for _ in range(4):
            torch.ones(250_000).sum()

    assert count(work, CPU).allocated == pytest.approx(1e6, rel=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_copies_to_the_host_wait():
    x = A.cuda()
    assert count(lambda: x.cpu(), torch.device("cuda")).synchronisations == 1
