"""Model-agnostic meta-learning (Finn, Abbeel, Levine 2017), second order."""

from __future__ import annotations

from torch import Tensor

from suite.algorithms.base import Algorithm, moved
from suite.core import registry
from suite.core.episodes import EpisodeContext, Episodes
from suite.core.parameters import Primitives


@registry.algorithm("maml")
class MAML(Algorithm):
    """Minimise the query loss at the adapted weights, through the adaptation (equation 1).

        min_theta  sum_i  L_query_i(theta_i,K)
        theta_i,k+1 = theta_i,k - alpha grad L_support_i(theta_i,k),    theta_i,0 = theta

    One inner step has the Jacobian I - alpha H_k with H_k the Hessian of the support loss at
    theta_k, so the gradient is a product of K pullbacks, and no graph of the inner loop is kept:

        v = grad L_query(theta_K);    v <- v - H_k (alpha v)    for k = K-1 .. 0.
    """

    title = "MAML"
    papers = ("maml",)
    rank = 40
    colour, marker, dashes = "#0072b2", "o", ()

    second_order = True

    def episode_terms(
        self, engine: Primitives, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> tuple[Tensor, Tensor]:
        """Return the meta-gradient (T, P) and the query loss (T,) of each episode."""
        rate = self.inner_rate * engine.adapted
        points = []
        theta_k = self.start(engine, theta, len(episodes), context)  # (T, P)
        for batch in context.minibatches(episodes.support, self.inner_batch, self.inner_steps):
            points.append(engine.linearise(theta_k, batch))
            theta_k = moved(theta_k, rate, points[-1].gradient)
        loss, v = engine.gradient(theta_k, episodes.query)
        while points:
            v = v - points.pop().hessian_vector(rate * v)
        return v, loss
