"""A tape does again what it was recorded from: on new numbers, bit for bit, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from suite.engines.replay import tape
from suite.engines.replay.tape import NotReplayable, Tape

X = torch.arange(1.0, 25.0).view(2, 3, 4)


def views(x):
    """Read through views of what was computed, and write through others."""
    y = x * 2
    y.mT[:, 1] += 1
    return y.flatten(1), y[:, 1:].reshape(2, -1)


def in_place(x):
    y = x.new_zeros(3)
    for row in x.sum(2):
        y.add_(row, alpha=0.5)
    return y, torch.relu_(y - 20).square_()


def several_results(x):
    values, places = x.max(dim=2)
    ordered, order = torch.sort(-x, dim=1)
    return values, places, ordered, order.float().mean(), *x.split([1, 2], dim=1)


def copies(x):
    return x.mT.reshape(2, 12), x.permute(2, 0, 1).contiguous(), x.to(torch.float64), x.clone()


def constants(x):
    return torch.full_like(x, 3.0) + torch.ones(4) - torch.eye(4)[:3], x.new_empty(5).fill_(7)


def out_of_a_call(x):
    out = torch.empty_like(x)
    torch.mul(x, x, out=out)
    return out, torch.ops.aten.threshold_backward.grad_input(x, x - 5, 0, grad_input=out.clone())


def a_network(x):
    x = F.group_norm(F.conv1d(x, x[:, :3, :3].contiguous(), padding=1), 1)
    return F.cross_entropy(F.max_pool1d(x, 2), torch.tensor([[0, 1], [1, 0]])), x.log_softmax(-1)


def its_input(x):
    return x, x[0].expand(5, 3, 4), x.detach()


WORKS = [views, in_place, several_results, copies, constants, out_of_a_call, a_network, its_input]


@pytest.mark.parametrize("work", WORKS)
def test_a_replay_does_what_the_work_does_on_new_numbers(work):
    x = X.clone()
    recorded = Tape(lambda: work(x))
    for factor in (1, -2, 0.3):
        x.copy_(X * factor)
        recorded.replay()
        wanted = work(x.clone())
        assert len(recorded.outputs) == len(wanted)
        for output, value in zip(recorded.outputs, wanted, strict=True):
            assert output.dtype == value.dtype
            assert output.stride() == value.stride()
            assert torch.equal(output, value)


def test_work_that_writes_outside_is_refused():
    total = torch.zeros(3)

    def counts():
        return (total.add_(X[0, :, 0]),)

    def keeps():  # a constant that a replay would not begin with again
        best = torch.tensor(-torch.inf)
        return (torch.maximum(best, X.sum(), out=best),)

    def keeps_where_memory_was_freed():
        freed = [torch.empty(()) for _ in range(20)]
        del freed
        return keeps()

    for work in (counts, keeps, keeps_where_memory_was_freed):
        with pytest.raises(NotReplayable, match="what was there before"):
            Tape(work)
    assert torch.equal(total, torch.zeros(3))  # nor has it been written


def test_what_nobody_reads_is_left_out():
    x = X.clone()

    def work():
        y = x * 2
        (y + 1).square_().sum()
        return (y,)

    assert len(Tape(work)) == 1


@pytest.mark.parametrize(
    "work",
    [
        lambda: torch.rand(3),
        lambda: F.dropout(X, 0.5),
        lambda: X * X.sum().item(),
        lambda: X * float(X[0, 0, 0]),
        lambda: X if X.sum() > 0 else -X,
        lambda: X[X > 3],
        lambda: X.nonzero(),
        lambda: X * torch.equal(X, X),
        lambda: X[0].clone().t_(),
        lambda: X.clone().transpose_(0, 1),
    ],
)
def test_work_that_draws_or_decides_on_numbers_is_refused(work):
    with pytest.raises(NotReplayable, match="draws, has the host wait for a number, or turns"):
        Tape(lambda: [work()])


def test_large_work_is_refused():
    x = torch.zeros(tape.LARGEST // 8 // 2)

    def work():
        return (x.double() + 1,)  # two tensors of half the limit

    assert len(Tape(work)) == 2
    x = torch.zeros(tape.LARGEST // 8 // 2 + 1)
    with pytest.raises(NotReplayable, match="more than 32 MB"):
        Tape(work)


def test_shapes_alone_are_no_operations():
    def work():
        torch.empty(3, device="meta") + 1
        return (X + 1,)

    assert len(Tape(work)) == 1
