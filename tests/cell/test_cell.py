"""One cell: determinism, what enters its hash, what its record says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from suite.cell.evaluation import predict
from suite.cell.evaluation import scores as pooled
from suite.cell.meta_gradient import MetaGradients
from suite.cell.run import run_cell, summarise
from suite.cell.setup import check, set_up
from suite.cell.training import Diverged, OuterLoop, curve_points, transfer
from suite.config.cell import Protocol, episode_stream
from suite.core.episodes import EpisodeContext, Episodes, Examples
from suite.core.errors import UserError
from suite.core.streams import Stream
from suite.records.files import arrays_sha256
from suite.records.store import Store
from suite.tasks.images import ImageSampler
from tests.cells import IMAGES, PROTOCOL, make


def run(cell):
    return run_cell(cell, "test", None, torch.device("cpu"))


@pytest.mark.parametrize("algorithm", ["sgd", "finetune", "maml", "fomaml", "reptile"])
@pytest.mark.parametrize("images", [False, True])
def test_same_cell_same_bits(algorithm, images):
    (one, arrays), (two, _) = (run(make(algorithm, images)) for _ in range(2))
    assert one.result_sha256 == two.result_sha256
    assert one.status == "done"
    other, _ = run(make(algorithm, images, seed=1))
    assert other.result_sha256 != one.result_sha256
    for name, evaluation in one.results.evaluations.items():
        assert evaluation.episodes_sha256 == other.results.evaluations[name].episodes_sha256
        scores = arrays[f"scores/{name}"]
        assert scores.shape == (evaluation.episodes, 3)
        assert evaluation.mean == pytest.approx(scores.mean(0).tolist(), rel=1e-5)
    trained = algorithm != "sgd"
    assert (one.results.weights_sha256 != one.results.initial_sha256) == trained
    assert (one.timing.outer_step is not None) == trained
    assert one.timing.inner_loop.median > 0
    assert one.engine.used == "explicit"


def test_engines_agree_on_a_whole_cell():
    """Not to the bit, but on what the cell says: scores after twelve outer steps."""
    arrays = [
        run(make(engine=name))[1]["scores/test"] for name in ("explicit", "reference", "higher")
    ]
    np.testing.assert_allclose(arrays[0], arrays[1], rtol=2e-4)
    np.testing.assert_allclose(arrays[2], arrays[1], rtol=2e-4)


def test_support_mode_classifies_each_query_image_by_itself():
    """Another query image changes nothing for its neighbours; transductive, it does."""
    setup = set_up(make("maml", images=True), None, torch.device("cpu"))
    shape = setup.cell.protocol.evaluations[0]
    episodes = setup.sampler.sample(Stream("x"), 0, 2, shape, "test")
    theta = setup.initial.expand(2, -1)
    changed = Episodes(
        episodes.support,
        Examples(episodes.query.x.clone(), episodes.query.y),
        episodes.draw_ids,
    )
    changed.query.x[:, 0] = 0.0
    for mode, alone in (("support", True), ("transductive", False)):
        one, two = (predict(setup.engine, theta, e, mode) for e in (episodes, changed))
        assert not torch.allclose(one[:, 0], two[:, 0], atol=1e-4)
        assert torch.allclose(one[:, 1:], two[:, 1:], atol=1e-6) == alone
    _, arrays = run(make("maml", images=True))
    assert not np.array_equal(arrays["scores/test"], arrays["scores/alone"])


def test_hash_names_what_is_computed():
    cell = make()
    renamed = cell.model_copy(update={"experiment": "other", "variant": "x"})
    assert renamed.sha256() == cell.sha256()
    changed = [
        make("fomaml"), make(seed=1), make(engine="reference"), make(steps=13), make(clip=1.0),
        cell.model_copy(update={"results_version": "9.9"}),
    ]  # fmt: skip
    assert len({c.sha256() for c in [cell, *changed]}) == len(changed) + 1
    more = json.loads(json.dumps(PROTOCOL))
    more["evaluations"][0]["episodes"] = 9
    other = cell.model_copy(update={"protocol": Protocol.model_validate_json(json.dumps(more))})
    assert other.sha256() != cell.sha256()
    assert other.training_sha256() == cell.training_sha256()
    assert changed[1].training_sha256() != cell.training_sha256()


@pytest.mark.parametrize("lookahead", [1, 3])
def test_episodes_do_not_depend_on_how_far_ahead_they_are_drawn(lookahead, monkeypatch):
    whole, _ = run(make())
    monkeypatch.setattr("suite.cell.training.MAX_LOOKAHEAD", lookahead)
    assert run(make())[0].result_sha256 == whole.result_sha256


@pytest.mark.parametrize(
    "algorithm", ["maml", {"name": "reptile", "inner_batch": 2}, "finetune", "sgd"]
)
@pytest.mark.parametrize("engine", ["explicit", "reference"])
def test_processes_change_no_bit(algorithm, engine, monkeypatch):
    monkeypatch.setattr("suite.engines.explicit.engine.PART", 1)  # as many parts as episodes
    monkeypatch.setattr("suite.cell.evaluation.PART_BYTES", 1)
    found = []
    for shards in (1, 2, 3):
        cell = make(algorithm, images=True, engine=engine, steps=2, meta_batch=3)
        numerics = cell.numerics.model_copy(update={"shards": shards})
        record, _ = run(cell.model_copy(update={"numerics": numerics}))
        found.append(record.result_sha256)
        assert record.provenance.threads == shards
        assert record.memory.peak_bytes > 0
    assert len(set(found)) == 1


@pytest.mark.parametrize("algorithm", ["maml", {"name": "reptile", "inner_batch": 2}])
def test_shares_of_a_small_meta_batch_change_no_bit(algorithm, monkeypatch):
    monkeypatch.setattr(MetaGradients, "_faster", lambda *_: True)
    found, modes = [], []
    for shards in (1, 2):
        cell = make(algorithm, meta_batch=25, steps=3)
        numerics = cell.numerics.model_copy(update={"shards": shards})
        record, _ = run(cell.model_copy(update={"numerics": numerics}))
        found.append(record.result_sha256)
        modes.append(record.engine.mode)
    assert modes == ["in-process", "sharded"]
    assert found[0] == found[1]


def test_flops_count_the_hessian_vector_products():
    """One linear layer, one inner step: 4 products of a gradient and what H v adds, by hand."""
    cell = make("maml", images=True, meta_batch=2, shots=1, query_shots=1)
    cell = cell.model_copy(update={"model": {"name": "mlp", "hidden": []}})
    record, _ = run(cell)
    ways = cell.protocol.train.ways
    product = 2 * ways * 28 * 28 * ways  # multiply and add: images, inputs, outputs
    # A gradient: y and dW. Two of them; then y_t and dW_t of the Hessian-vector product.
    assert record.timing.flops_per_outer_step == 2 * (2 * 2 + 2) * product


def test_evaluation_does_not_depend_on_its_parts(monkeypatch):
    _, whole = run(make())
    monkeypatch.setattr("suite.cell.evaluation.PART_BYTES", 1)
    _, single = run(make())
    np.testing.assert_allclose(single["scores/test"], whole["scores/test"], rtol=1e-5)


def test_outer_loop_is_torch_adam_on_the_meta_gradient():
    """Against torch.optim.Adam over the module's own parameters, fed the same gradients."""
    setup = set_up(make(engine="reference"), None, torch.device("cpu"))
    loop = setup.outer_loop()
    model = setup.engine.model
    parameters = [torch.nn.Parameter(p.detach().clone()) for p in model.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=setup.algorithm.outer_rate)
    for step in range(3):
        theta = loop.theta.clone()
        episodes = setup.source.step(step)
        from suite.core.episodes import EpisodeContext

        context = EpisodeContext(setup.inner_stream, step * 4)
        gradient = setup.engine.meta_gradient(setup.algorithm, theta, episodes, context).gradient
        for p, g in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
            p.grad = g.view(p.shape)
        optimiser.step()
        loop.step(step)
        flat = torch.cat([p.detach().flatten() for p in parameters])
        torch.testing.assert_close(loop.theta, flat, rtol=1e-6, atol=1e-8)


def test_clip_and_schedule():
    setup = set_up(make(clip=1e-3), None, torch.device("cpu"))
    loop = setup.outer_loop()
    loop.step(0)
    assert loop.weights.grad.abs().max() <= 1e-3
    reptile = set_up(make("reptile"), None, torch.device("cpu")).outer_loop()
    assert [reptile.rate(s) for s in (0, 6, 11)] == pytest.approx([1.0, 0.5, 1 / 12])
    assert isinstance(reptile, OuterLoop)


def test_curve_points_and_transfer():
    assert curve_points(10, 3) == [4, 7, 10]
    assert curve_points(2, 10) == [1, 2]
    setup = set_up(make("finetune", images=True), None, torch.device("cpu"))
    wide, narrow = setup.trainer.layout, setup.engine.layout
    assert wide.size > narrow.size
    theta = torch.arange(float(wide.size))
    handed = transfer(theta, wide, narrow, setup.initial)
    body = narrow.head[0].start
    assert torch.equal(handed[:body], theta[:body])
    assert torch.equal(handed[body:], setup.initial[body:])


def test_summary_counts_diverged_episodes():
    protocol = make().protocol.evaluations[0]
    scores = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]], dtype=np.float32)
    found = summarise("mse", protocol, scores, "hash")
    assert found.mean == [2.0, 3.0, None]
    assert found.diverged == [0, 0, 1]
    assert found.std[0] == pytest.approx(2**0.5)
    assert found.headline_step == 2


@pytest.mark.parametrize("batch_norm", ["transductive", "support", "running"])
def test_the_last_step_alone_scores_as_it_does_among_all(batch_norm):
    cell = make("maml", images=True)
    setup = set_up(cell, None, torch.device("cpu"))
    update = {"batch_norm": batch_norm, "steps": 3}
    protocol = cell.protocol.evaluations[0].model_copy(update=update)
    context = EpisodeContext(setup.inner_stream)
    every = setup.test.part(slice(0, 6), setup.initial, protocol, context)
    last = setup.test.part(slice(0, 6), setup.initial, protocol, context, last=True)
    assert every.values.shape == (6, 4)
    assert np.array_equal(last.values, every.values[:, 3:])
    some = protocol.model_copy(update={"scored": (0, 2), "by_class": True, "report_step": 2})
    found = setup.test.part(slice(0, 6), setup.initial, some, context)
    assert np.array_equal(found.values, every.values[:, [0, 2]])
    assert (every.hits, found.hits.shape) == (None, (6, 3, 2))
    assert np.allclose(found.hits.sum(1) / 6, found.values)


def test_hits_by_class_are_those_of_the_episodes():
    test = {**IMAGES["evaluations"][0], "episodes": 40, "by_class": True}
    cell = make("maml", images=True)
    protocol = {**IMAGES, "evaluations": [test]}
    cell = cell.model_copy(update={"protocol": Protocol.model_validate_json(json.dumps(protocol))})
    record, arrays = run(cell)
    classes, episodes, hits = (
        arrays[f"by-class/test/{name}"] for name in ("classes", "episodes", "hits")
    )
    assert hits.shape == (len(classes), 3)
    assert episodes.sum() == 3 * 40
    assert sorted(set(classes)) == list(classes)
    # Hits of an episode with the mean taken over again, class by class.
    setup = set_up(cell, None, torch.device("cpu"))
    theta = torch.zeros_like(setup.initial)  # all outputs alike: label 0 is said of all
    part = setup.test.part(
        slice(0, 40), theta, cell.protocol.evaluations[0], EpisodeContext(Stream("x"))
    )
    assert part.hits[:, 0, 0].tolist() == [2] * 40
    assert not part.hits[:, 1:, 0].any()
    drawn = setup.sampler.sample(
        episode_stream(setup.task, cell.protocol.evaluations[0]), 0, 40,
        cell.protocol.evaluations[0], "test",
    )  # fmt: skip
    assert np.array_equal(part.classes, drawn.classes)
    whole = pooled([part])
    for name, count, right in zip(*vars(whole.by_class).values(), strict=True):
        assert count == (drawn.classes == name).sum()
        assert right[0] == 2 * (drawn.classes[:, 0] == name).sum()
    scores = arrays["scores/test"].astype(np.float64)
    assert np.allclose(hits.sum(0), 6 * scores.sum(0))
    assert record.results.evaluations["test"].mean == pytest.approx(scores.mean(0))


def test_an_episode_that_diverged_has_no_hits():
    """The largest of NaN outputs is label 0, which must not count as right."""
    cell = make("maml", images=True)
    setup = set_up(cell, None, torch.device("cpu"))
    test = cell.protocol.evaluations[0].model_copy(update={"by_class": True})
    theta = torch.full_like(setup.initial, torch.nan)
    part = setup.test.part(slice(0, 4), theta, test, EpisodeContext(Stream("x")))
    assert np.isnan(part.values).all()
    assert not part.hits.any()


def test_a_task_may_score_in_its_own_way(monkeypatch):
    """The largest error of an episode: what the task says is what the record holds."""

    def largest(_, outputs, y):
        return (outputs - y).square().flatten(1).amax(-1)

    plain, before = run(make())
    kind = type(set_up(make(), None, torch.device("cpu")).task)
    monkeypatch.setattr(kind, "score", largest)
    other, after = run(make())
    assert (after["scores/test"] > before["scores/test"]).all()
    assert plain.result_sha256 != other.result_sha256


def test_joint_training_draws_no_tasks_once():
    with pytest.raises(UserError, match="e--finetune--seed0--cpu: joint training pools all tasks"):
        check(make("finetune", tasks=4), None, torch.device("cpu"))
    check(make("maml", tasks=4), None, torch.device("cpu"))


def test_a_regression_has_no_hits():
    cell = make()
    test = cell.protocol.evaluations[0].model_copy(update={"by_class": True})
    protocol = cell.protocol.model_copy(update={"evaluations": (test,)})
    with pytest.raises(UserError, match="not say which classes they have; leave by_class of"):
        check(cell.model_copy(update={"protocol": protocol}), None, torch.device("cpu"))


@pytest.mark.parametrize("loss", ["mean", "per_shot"])
def test_joint_training_has_the_mean_loss_whatever_its_classes(loss, monkeypatch):
    """Also where there are as many classes as ways, so that one model would do for both."""
    monkeypatch.setattr(ImageSampler, "joint_outputs", lambda self: 3)
    setup = set_up(make("finetune", images=True, loss=loss), None, torch.device("cpu"))
    assert (setup.trainer.loss_scale, setup.engine.loss_scale) == (1, {"mean": 1}.get(loss, 3))


def test_store_keeps_and_checks(tmp_path):
    store = Store(tmp_path, "test")
    record, arrays = run(make())
    path = store.write(record, arrays)
    assert store.find(record.cell) == record
    assert arrays_sha256(store.arrays(record)) == record.results.arrays_sha256
    assert path.stat().st_size < 64 * 1024
    text = path.read_text()
    for broken in (
        text[: len(text) // 2],
        text.replace('"seed": 0', '"seed": 1'),
        text.replace('"parameters": ', '"parameters": 1'),
        "<html>not a record</html>",
    ):
        path.write_text(broken)
        fresh = Store(tmp_path, "test")
        assert fresh.find(record.cell) is None
        assert len(fresh.problems) == 1
        assert path.name in fresh.problems[0]
    path.write_text(text)
    assert Store(tmp_path, "test").records() == [record]
    path.with_suffix(".npz").write_bytes(b"PK torn")
    from suite.core.errors import UserError

    with pytest.raises(UserError, match="cannot be read"):
        store.arrays(record)


@pytest.mark.parametrize("loss", [float("nan"), float("-inf"), 1e16])
def test_a_loss_beyond_all_bounds_is_divergence_and_says_the_step(loss, monkeypatch):
    loop = set_up(make(), None, torch.device("cpu")).outer_loop()
    monkeypatch.setattr(loop, "step", lambda step: torch.tensor(loss if step == 4 else 1.0))
    with pytest.raises(Diverged, match="at outer step 5"):
        loop.run([3, 12], lambda *_: None)


def test_a_harmonic_schedule_keeps_the_mean_over_steps():
    """SGD on theta - phi_i with rates 1, 1/2, 1/3, ... is the mean of the phi_i."""
    loop = set_up(make("multitask"), None, torch.device("cpu")).outer_loop()
    assert [loop.rate(step) for step in range(4)] == [1, 1 / 2, 1 / 3, 1 / 4]
    before, seen = loop.theta.clone(), []
    gradient = loop.gradient

    def watched(step, theta, state):
        outer = gradient(step, theta, state)
        seen.append(loop.theta - outer.gradient)
        return outer

    loop.gradient = watched
    for step in range(4):
        loop.step(step)
    torch.testing.assert_close(loop.theta, torch.stack(seen).mean(0), rtol=1e-5, atol=1e-6)
    assert not torch.equal(loop.theta, before)


def test_a_loss_divided_by_shots_scales_the_outer_gradient_too():
    """MAML's code divides the query loss by K, too: its clip counts on that scale."""
    cells = [make("maml", images=True, loss="per_shot", query_shots=q, clip=1e-3) for q in (2, 6)]
    assert [cell.protocol.train.outer_scale for cell in cells] == [1, 3]
    assert make("maml", images=True, query_shots=6).protocol.train.outer_scale == 1
    setup = set_up(cells[1], None, torch.device("cpu"))
    loop = setup.outer_loop()
    outer = loop.gradient(0, loop.theta)
    loop.step(0)
    wanted = (outer.gradient * 3).clamp(-1e-3, 1e-3)
    torch.testing.assert_close(loop.weights.grad, wanted)


def test_carried_state_reaches_checkpoints_and_tests():
    carried = make("reptile", images=True)
    carried = carried.model_copy(
        update={"algorithm": {**carried.algorithm, "inner_state": "carried", "inner_steps": 2}}
    )
    setup = set_up(carried, None, torch.device("cpu"))
    loop, again = setup.outer_loop(), setup.outer_loop()
    for step in range(3):
        loop.step(step)
    assert float(loop.inner_state[-1]) == 3 * 2 * 2  # steps x episodes x inner steps
    again.restore(3, loop.state())
    assert torch.equal(again.inner_state, loop.inner_state)
    loop.step(3)
    again.step(3)
    assert torch.equal(again.theta, loop.theta)
    record, _ = run(carried)
    fresh, _ = run(make("reptile", images=True, seed=carried.seed))
    assert record.result_sha256 != fresh.result_sha256
