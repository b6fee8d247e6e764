"""Sinusoid regression: the distribution of MAML section 5.1."""

import math

import numpy as np
import pytest
import torch

from suite.core import registry
from suite.core.errors import UserError
from suite.core.streams import Stream
from suite.tasks.base import EpisodeShape

CPU = torch.device("cpu")


def draw(first=0, count=4, shots=10, query=10, split="train"):
    sampler = registry.tasks.get("sinusoid")().load(None, CPU)
    shape = EpisodeShape(shots=shots, query_shots=query)
    return sampler.sample(Stream("sinusoid"), first, count, shape, split)


def test_points_lie_on_their_curve():
    episodes = draw(count=500)
    amplitude, phase = torch.from_numpy(episodes.draw_ids[:, :2]).T[..., None, None]
    for part in (episodes.support, episodes.query):
        assert part.x.shape == part.y.shape == (500, 10, 1)
        torch.testing.assert_close(
            part.y.double(), amplitude * torch.sin(part.x.double() - phase), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize(("column", "low", "high"), [(0, 0.1, 5), (1, 0, math.pi), (2, -5, 5)])
def test_ranges_are_the_papers(column, low, high):
    values = draw(count=4000).draw_ids[:, column]
    assert low <= values.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < values.max() < high
    assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)


def test_episodes_can_be_drawn_again_from_the_middle():
    whole, part = draw(count=10), draw(first=3, count=4)
    assert torch.equal(part.support.x, whole.support.x[3:7])
    assert torch.equal(part.query.y, whole.query.y[3:7])
    assert part.sha256() == whole[3:7].sha256()


def test_fewer_queries_are_a_prefix():
    many, few = draw(query=15), draw(query=2)
    assert torch.equal(few.support.x, many.support.x)
    assert torch.equal(few.query.x, many.query.x[:, :2])
    assert np.array_equal(few.draw_ids, many.draw_ids[:, : few.draw_ids.shape[1]])


def test_the_oracle_sees_amplitude_and_phase_of_the_same_curves():
    plain, oracle = (registry.tasks.get("sinusoid")(oracle=o) for o in (False, True))
    assert plain.data_identity() == oracle.data_identity()
    assert "oracle" not in plain.identity()
    shape = EpisodeShape(shots=4, query_shots=3)
    one, two = (
        task.load(None, torch.device("cpu")).sample(Stream("x"), 0, 5, shape, "train")
        for task in (plain, oracle)
    )
    assert two.support.x.shape == (5, 4, 3)
    assert torch.equal(one.query.x, two.query.x[..., :1])
    assert torch.equal(one.query.y, two.query.y)
    x, amplitude, phase = two.query.x.double().unbind(-1)
    torch.testing.assert_close(
        two.query.y[..., 0].double(), amplitude * torch.sin(x - phase), atol=1e-5, rtol=1e-5
    )
    assert oracle.load(None, torch.device("cpu")).probe() is None


def papers(points, count=600):
    """MAML's test tasks as its code draws them: numpy's global generator, a task at a time."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    rows = []
    for _ in range(count):
        amplitude = np.random.uniform(0.1, 5.0, [1])  # noqa: NPY002
        phase = np.random.uniform(0, np.pi, [1])  # noqa: NPY002
        x = np.random.uniform(-5.0, 5.0, [points, 1])  # noqa: NPY002
        rows.append(np.concatenate([amplitude, phase, x[:, 0]]))
    np.random.set_state(before)  # noqa: NPY002
    return np.array(rows)


@pytest.mark.parametrize("shots", [5, 10])
def test_the_papers_own_test_tasks_are_drawn_again(shots):
    sampler = registry.tasks.get("sinusoid")().load(None, CPU)
    shape = EpisodeShape(shots=shots, query_shots=shots, tasks="maml")
    whole = sampler.sample(Stream("any"), 0, 600, shape, "test")
    truth = papers(2 * shots)
    assert np.array_equal(whole.draw_ids, truth)
    assert truth[0, 0] == pytest.approx(0.1 + 4.9 * 0.417022004702574, abs=1e-15)
    y = truth[:, :1] * np.sin(truth[:, 2:] - truth[:, 1:2])
    assert np.array_equal(whole.support.x[..., 0].numpy(), truth[:, 2 : 2 + shots].astype("f4"))
    assert np.array_equal(whole.query.y[..., 0].numpy(), y[:, shots:].astype("f4"))
    part = sampler.sample(Stream("other"), 590, 7, shape, "test")
    assert np.array_equal(part.draw_ids, truth[590:597])


@pytest.mark.parametrize(
    ("changes", "split", "said"),
    [
        ({"tasks": "reptile"}, "test", "known are maml"),
        ({"query_shots": 15}, "test", "as many query as support points"),
        ({}, "validation", "are test tasks"),
    ],
)
def test_other_tasks_of_a_paper_are_refused(changes, split, said):
    sampler = registry.tasks.get("sinusoid")().load(None, CPU)
    shape = EpisodeShape(**{"shots": 5, "query_shots": 5, "tasks": "maml", **changes})
    with pytest.raises(UserError, match=said):
        sampler.check(shape, split)


def test_tasks_that_are_drawn_once_come_again():
    sampler = registry.tasks.get("sinusoid")().load(None, CPU)
    shape = EpisodeShape(shots=3, query_shots=2)
    new = sampler.sample(Stream("s"), 0, 8, shape, "train")
    again = sampler.sample(Stream("s"), 2, 8, shape.model_copy(update={"tasks": 4}), "train")
    assert np.array_equal(again.draw_ids, new.draw_ids[np.arange(2, 10) % 4])
    assert torch.equal(again.query.y, new.query.y[torch.arange(2, 10) % 4])
