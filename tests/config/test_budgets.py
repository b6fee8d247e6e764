"""Every method that trains on images sees as many of them as the shipped profiles say."""

from __future__ import annotations

import pytest
import torch

from suite.config.profile import expand, load_profile
from suite.core.streams import Stream


def images(cell):
    """Images through the network in meta-training, forward and backward counted once."""
    train, rule = cell.protocol.train, cell.make_algorithm()
    if rule.trains_on == "joint":
        batch = train.meta_batch * train.support_size
    elif rule.name == "reptile":
        batch = train.meta_batch * rule.inner_steps * rule.inner_batch
    else:
        batch = train.meta_batch * (rule.inner_steps * train.support_size + train.query_size)
    return train.steps * batch


@pytest.mark.parametrize(
    ("profile", "said"), [("quick", 120_000), ("tune", 120_000), ("omniglot", 640_000)]
)
def test_image_budgets(profile, said):
    cells = [
        cell
        for cell in expand(load_profile(profile), ["cpu"])
        if cell.task["name"] != "sinusoid" and cell.make_algorithm().trains_on
    ]
    assert len({cell.variant.split("[")[0] for cell in cells}) == 4
    for cell in cells:
        assert images(cell) == pytest.approx(said, rel=0.01), cell.label


def test_a_joint_batch_holds_the_support_sets_alone():
    cells = expand(load_profile("quick"), ["cpu"], algorithms=["finetune"], tasks=["glyphs"])
    for cell in cells[:1]:
        train, sampler = cell.protocol.train, cell.make_task().load(None, torch.device("cpu"))
        drawn = sampler.joint(Stream("t"), 0, 1, train.meta_batch, train)
        assert drawn.x.shape[1] * train.steps == images(cell)
