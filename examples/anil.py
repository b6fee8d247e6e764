"""ANIL: MAML whose inner loop adapts only the last layer (Raghu et al. 2020)."""

import torch

from suite import registry
from suite.algorithms.base import Algorithm


@registry.algorithm("anil")
class ANIL(Algorithm):
    """theta_{k+1} = theta_k - alpha * mask * grad L(theta_k), with mask 1 on the head."""

    second_order = True

    def rate(self, engine):
        mask = torch.zeros_like(engine.adapted)
        for span in engine.layout.head:
            mask[span.start : span.stop] = self.inner_rate
        return mask

    def adapt(self, engine, theta, support, steps, context):
        theta = theta.expand(len(support), -1)
        yield theta
        for _ in range(steps):
            theta = theta - self.rate(engine) * engine.gradient(theta, support)[1]
            yield theta
