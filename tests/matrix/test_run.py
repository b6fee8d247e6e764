"""A run of the matrix: weights that cells share."""

from __future__ import annotations

from rich.console import Console

from suite.matrix.progress import Progress
from suite.matrix.run import run_matrix
from suite.records.store import Store
from tests.cells import make


def test_kept_weights_are_shared_by_cells_that_differ_in_their_tests(tmp_path):
    first = make("maml", seed=3)
    like = first.protocol.evaluations[0]
    more = like.model_copy(update={"name": "more", "steps": 4})
    protocol = first.protocol.model_copy(update={"evaluations": (like, more)})
    second = first.model_copy(update={"experiment": "f", "protocol": protocol})
    # A learning curve is scored as the first evaluation: with another one it is another curve.
    alone = first.protocol.model_copy(update={"evaluations": (more,)})
    third = first.model_copy(update={"experiment": "h", "protocol": alone})
    assert first.curve_sha256() == second.curve_sha256() != third.curve_sha256()
    store = Store(tmp_path, "p")

    def run(cell, keep):
        run_matrix([cell], store, None, Progress(Console(quiet=True)), keep_weights=keep)
        return store.find(cell)

    one = run(first, keep=True)
    weights = list((tmp_path / "weights").glob("*.npz"))
    assert len(weights) == 1
    two = run(second, keep=True)
    assert two.provenance.resumed == one.provenance.resumed + 1
    assert two.results.weights_sha256 == one.results.weights_sha256
    assert list((tmp_path / "weights").glob("*.npz")) == weights
    # A run that keeps nothing trains anew, leaves the weights alone, and gets the same.
    again = second.model_copy(update={"experiment": "g"})
    before = weights[0].read_bytes()
    assert run(again, keep=False).result_sha256 == two.result_sha256
    assert [path.read_bytes() for path in (tmp_path / "weights").glob("*.npz")] == [before]
    assert run(third, keep=True).provenance.resumed == 0
    assert len(list((tmp_path / "weights").glob("*.npz"))) == 2
    assert not list((tmp_path / "checkpoints").rglob("*.npz"))
