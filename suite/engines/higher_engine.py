"""The peer: second-order gradients by the library ``higher`` (Grefenstette et al. 2019).

Kept for comparison and as an oracle: `higher` patches the model and differentiates through its own
SGD, so nothing of the inner loop is shared with the suite's engines.
"""

from __future__ import annotations

import higher
import torch
from torch import Tensor, nn

from suite.algorithms.base import Algorithm
from suite.core import registry
from suite.core.episodes import EpisodeContext, Episodes, OuterGradient
from suite.engines.base import episode_losses
from suite.engines.reference import ReferenceEngine


@registry.engine("higher")
class HigherEngine(ReferenceEngine):
    """`higher.innerloop_ctx` around ``torch.optim.SGD``; first-order parts are the plain loop."""

    @classmethod
    def refuses(cls, model: nn.Module, loss: str, algorithm: Algorithm) -> str | None:
        """Refuse inner loops other than gradient descent, which `higher` would not be told of."""
        kind = type(algorithm)
        plain = all(
            getattr(kind, n) is getattr(Algorithm, n)
            for n in ("adapt", "descend", "step_rates", "start")
        )
        if algorithm.second_order and not plain:
            return f"the inner loop of {algorithm.name} is not plain gradient descent"
        return None

    def differentiate(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the meta-gradient through higher's differentiable SGD, episode by episode."""
        self._load(theta)
        parameters = list(self.model.parameters())
        optimiser = torch.optim.SGD(self._groups(algorithm.inner_rate))
        total, loss_sum = torch.zeros_like(theta), theta.new_zeros(())
        for t in range(len(episodes)):
            one = episodes[t : t + 1]
            batches = context.after(t).minibatches(
                one.support, algorithm.inner_batch, algorithm.inner_steps
            )
            with (
                torch.enable_grad(),
                higher.innerloop_ctx(self.model, optimiser, copy_initial_weights=False) as (
                    fmodel,
                    inner,
                ),
            ):
                for batch in batches:
                    inner.step(self._loss(fmodel(batch.x[0]), batch.y))
                loss = self._loss(fmodel(one.query.x[0]), one.query.y)
                gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            total += torch.cat([g.flatten() for g in gradients])
            loss_sum += loss.detach()
        return OuterGradient(total / len(episodes), loss_sum / len(episodes))

    def _loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.loss_scale * episode_losses(self.loss, outputs[None], y)[0]

    def _load(self, theta: Tensor) -> None:
        with torch.no_grad():
            for name, value in self.layout.unflatten(theta).items():
                self.model.get_parameter(name).copy_(value)

    def _groups(self, rate: float) -> list[dict]:
        outer_only = frozenset(getattr(self.model, "outer_only", ()))
        named = list(self.model.named_parameters())
        groups = [
            {"params": [p for n, p in named if n not in outer_only], "lr": rate},
            {"params": [p for n, p in named if n in outer_only], "lr": 0.0},
        ]
        return [group for group in groups if group["params"]]
