"""The commands that list what there is."""

from __future__ import annotations

from click.testing import CliRunner

from suite.cli import cli
from suite.config import presets as protocols


def test_protocols_are_listed_shown_and_set_side_by_side():
    def output(*words):
        found = CliRunner().invoke(cli, ["protocols", *words], catch_exceptions=False)
        assert found.exit_code == 0
        return found.output

    listed = output()
    assert all(name in listed for name in protocols.load())
    shown = output("show", "omniglot-5w1s/maml")
    assert "maml.table1.omniglot-5w1s.maml: 98.7 ± 0.4, read from test after 3 steps" in shown
    assert any(
        line.split()[:3] == ["task.split", "random_1100", "code"] for line in shown.splitlines()
    )
    diff = output("diff", "sinusoid/maml", "sinusoid/maml-0.001").splitlines()
    assert len(diff) == 3
    assert diff[-1].split() == ["algorithm.inner_rate", "0.01", "(stated)", "0.001", "(inferred)"]
    assert "are one protocol" in output("diff", "sinusoid/maml", "sinusoid/maml")
