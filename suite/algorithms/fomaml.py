"""First-order MAML (Finn et al. 2017, section 5.2)."""

from __future__ import annotations

from torch import Tensor

from suite.algorithms.base import Algorithm
from suite.core import registry
from suite.core.episodes import EpisodeContext, Episodes
from suite.core.parameters import Primitives


@registry.algorithm("fomaml")
class FOMAML(Algorithm):
    """MAML without second derivatives: I - alpha H is taken as I.

    The gradient of the query loss *at the adapted weights* is applied to the initial weights:

        theta <- theta - beta * sum_i grad L_query_i(theta_i,K)
    """

    title = "first-order MAML"
    papers = ("maml",)
    rank = 30
    colour, marker, dashes = "#56b4e9", "D", (7, 1.5, 1, 1.5)

    def episode_terms(
        self, engine: Primitives, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> tuple[Tensor, Tensor]:
        """Return the query gradient (T, P) at theta_K and the query loss (T,) of each episode."""
        *_, theta_k = self.adapt(engine, theta, episodes.support, self.inner_steps, context)
        loss, gradient = engine.gradient(theta_k, episodes.query)
        return gradient, loss
