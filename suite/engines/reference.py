"""The reference engine: the plain loop over episodes with automatic differentiation. The truth.

Second-order algorithms are differentiated through the graph of their whole inner loop, as the
papers' own code does, not by the pullback that their file writes down: so every faster engine is
checked against an independent derivation.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from suite.algorithms.base import Algorithm
from suite.core import registry
from suite.core.episodes import EpisodeContext, Episodes, Examples, OuterGradient
from suite.core.parameters import LinearisedPoint
from suite.engines.base import Engine, episode_losses


class _GraphPoint(LinearisedPoint):
    """One graph an episode, kept until the Hessian-vector product has used it."""

    def __init__(self, engine: ReferenceEngine, theta: Tensor, data: Examples) -> None:
        self._leaves = [row.detach().requires_grad_() for row in theta]
        with torch.enable_grad():
            losses = [engine.loss_of(leaf, data, t) for t, leaf in enumerate(self._leaves)]
            self._gradients = [
                torch.autograd.grad(loss, leaf, create_graph=True)[0]
                for loss, leaf in zip(losses, self._leaves, strict=True)
            ]
        self.loss = torch.stack(losses).detach()
        self.gradient = torch.stack(self._gradients).detach()

    def hessian_vector(self, v: Tensor) -> Tensor:
        rows = []
        for gradient, leaf, direction in zip(self._gradients, self._leaves, v, strict=True):
            (row,) = torch.autograd.grad(gradient, leaf, direction, materialize_grads=True)
            rows.append(row)
        return torch.stack(rows)


@registry.engine("reference")
class ReferenceEngine(Engine):
    """Plain loop over episodes; `torch.autograd` through everything."""

    differentiates = True

    def loss_of(self, theta: Tensor, data: Examples, t: int) -> Tensor:
        """Return the loss () of episode ``t`` at ``theta`` (P,), differentiable in ``theta``."""
        outputs = functional_call(self.model, self.layout.unflatten(theta), (data.x[t],))
        losses = episode_losses(self.loss, outputs[None], data.y[t : t + 1])
        return self.loss_scale * losses[0]

    def gradient(self, theta: Tensor, data: Examples) -> tuple[Tensor, Tensor]:
        """Return losses (T,) and gradients (T, P); differentiable where ``theta`` is."""
        graph = torch.is_grad_enabled() and theta.requires_grad
        losses, gradients = [], []
        with torch.enable_grad():
            for t, row in enumerate(theta):
                leaf = row if graph else row.detach().requires_grad_()
                loss = self.loss_of(leaf, data, t)
                losses.append(loss)
                gradients.append(torch.autograd.grad(loss, leaf, create_graph=graph)[0])
        found = torch.stack(losses), torch.stack(gradients)
        return found if graph else (found[0].detach(), found[1])

    def linearise(self, theta: Tensor, data: Examples) -> LinearisedPoint:
        """Return loss and gradient with their graphs kept for Hessian-vector products."""
        return _GraphPoint(self, theta, data)

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return outputs (T, n, outputs), one episode after the other."""
        return torch.stack(
            [
                functional_call(self.model, self.layout.unflatten(row), (inputs,))
                for row, inputs in zip(theta, x, strict=True)
            ]
        )

    def differentiate(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the meta-gradient by autograd through ``algorithm.adapt``.

        A meta-batch comes one episode at a time, so that memory is one inner loop's graph.
        """
        leaf = theta.detach().requires_grad_()
        with torch.enable_grad():
            *_, adapted = algorithm.adapt(
                self, leaf, episodes.support, algorithm.inner_steps, context
            )
            losses = [self.loss_of(row, episodes.query, t) for t, row in enumerate(adapted)]
            loss = torch.stack(losses).mean()
            (gradient,) = torch.autograd.grad(loss, leaf)
        return OuterGradient(gradient, loss.detach())

    def outer(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the outer gradient; second order goes through the graph of the inner loop."""
        if algorithm.second_order:
            return self.differentiate(algorithm, theta, episodes, context)
        return super().outer(algorithm, theta, episodes, context)
