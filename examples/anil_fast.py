"""ANIL again, with the meta-gradient of each episode written out for the fast engine."""

import torch

from suite import registry
from suite.algorithms.base import Algorithm, moved


@registry.algorithm("anil-fast")
class FastANIL(Algorithm):
    """The inner loop of ANIL; v <- v - H_k (rate * v) for k = K-1 .. 0, as in MAML."""

    second_order = True

    def rate(self, engine):
        mask = torch.zeros_like(engine.adapted)  # (P,)
        for span in engine.layout.head:
            mask[span.start : span.stop] = self.inner_rate
        return mask

    def adapt(self, engine, theta, support, steps, context):
        rate, theta = self.rate(engine), theta.expand(len(support), -1)
        yield theta
        for _ in range(steps):
            theta = moved(theta, rate, engine.gradient(theta, support)[1])
            yield theta

    def episode_terms(self, engine, theta, episodes, context):
        rate, points = self.rate(engine), []
        theta = theta.expand(len(episodes), -1)  # (T, P)
        for _ in range(self.inner_steps):
            points.append(engine.linearise(theta, episodes.support))
            theta = moved(theta, rate, points[-1].gradient)
        loss, v = engine.gradient(theta, episodes.query)  # (T,), (T, P)
        for point in reversed(points):
            v = v - point.hessian_vector(rate * v)
        return v, loss
