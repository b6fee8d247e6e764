"""The fast engine: gradients and Hessian-vector products written out layer by layer.

No graph is recorded. A gradient is one forward and one backward pass over the table of layers in
`layers`, batched over the episodes; a Hessian-vector product is the directional
derivative of both passes (Pearlmutter 1994, "Fast exact multiplication by the Hessian"), which
reuses the values that the gradient pass saved. A model with a layer outside the table is refused
with the reason.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from suite.algorithms.base import Algorithm
from suite.core import registry
from suite.core.episodes import EpisodeContext, Episodes, Examples, OuterGradient
from suite.core.parameters import LinearisedPoint
from suite.engines.base import Engine
from suite.engines.explicit import layers
from suite.engines.explicit.compile import Outside, compile_layers

#: Maximum count of values in the widest layer of a part: 1 MB in float32, to fit a core's cache.
PART = 2**18
#: The same on a GPU: 512 MB, to fit its memory.
GPU_PART = 2**27
#: Count of values in that layer up to which a batch is not cut, because dispatch dominates.
WHOLE = 2**15

LOSSES: dict[str, type[layers.CrossEntropy] | type[layers.SquaredError]] = {
    "cross_entropy": layers.CrossEntropy,
    "squared_error": layers.SquaredError,
}


class _LayerwisePoint(LinearisedPoint):
    """One gradient pass with all values that its directional derivative needs."""

    def __init__(self, engine: ExplicitEngine, theta: Tensor, data: Examples) -> None:
        self._engine = engine
        self._p = engine.layout.views(theta)
        self._kept = engine.kept()
        outputs = engine.forward(self._p, data, self._kept)
        self.loss, dz, self._loss_kept = engine.loss_layer.forward(
            outputs, data.y, engine.loss_scale
        )
        self.gradient = engine.backward(self._p, self._kept, dz, last=False)

    def hessian_vector(self, v: Tensor) -> Tensor:
        engine, p, kept = self._engine, self._p, self._kept
        p_t = engine.layout.views(v)
        value_t: Tensor | None = None
        for layer, own in zip(engine.layers, kept, strict=True):
            value_t = layer.tangent(p, p_t, own, value_t)
        assert value_t is not None, "a model without parameters has no Hessian"
        dy_t: Tensor | None = engine.loss_layer.tangent(self._loss_kept, value_t)
        found: layers.Gradients = {}
        for i in reversed(range(engine.first, len(engine.layers))):
            assert dy_t is not None
            dy_t, gradients = engine.layers[i].tangent_backward(
                p, p_t, kept[i], dy_t, i > engine.first
            )
            found |= gradients
        return engine.layout.join(found)


class _Points(LinearisedPoint):
    """The points of consecutive parts of the episodes, combined into one."""

    def __init__(
        self, engine: ExplicitEngine, parts: list[slice], points: list[_LayerwisePoint]
    ) -> None:
        self._engine, self._parts, self._points = engine, parts, points
        self.loss = torch.cat([point.loss for point in points])
        self.gradient = torch.cat([point.gradient for point in points])

    def hessian_vector(self, v: Tensor) -> Tensor:
        rows = [v[part] for part in self._parts]
        return torch.cat(list(map(_LayerwisePoint.hessian_vector, self._points, rows)))


@registry.engine("explicit")
class ExplicitEngine(Engine):
    """Forward, backward and their directional derivatives, layer by layer, over many episodes.

    Episodes are processed in parts, so that the current values stay in a core's cache and only a
    few episodes need memory at a time.
    """

    channels_last = True

    def __init__(self, model: nn.Module, loss: str, **options: Any) -> None:
        super().__init__(model, loss, **options)
        self._widths: dict[torch.Size, int] = {}
        self._cuts: dict[tuple[torch.Size, int], list[slice]] = {}
        self.layers = compile_layers(model)
        self.loss_layer = LOSSES[loss]()
        #: The first layer with parameters: nothing before it needs a gradient.
        self.first = next(i for i, a in enumerate(self.layers) if getattr(a, "weight", None))

    @classmethod
    def refuses(cls, model: nn.Module, loss: str, algorithm: Algorithm) -> str | None:
        """Refuse a layer or loss outside the table, or an algorithm that defines only `adapt`."""
        if loss not in LOSSES:
            return f"the table of losses has no {loss}"
        if algorithm.trains_on and not algorithm.writes_outer:
            return f"{algorithm.name} has no outer gradient of its own"
        try:
            compile_layers(model)
        except Outside as reason:
            return str(reason)
        return None

    def outer(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the algorithm's outer gradient, without autograd's records of tensors and views.

        An algorithm that defines its own `outer` may need autograd.
        """
        with torch.inference_mode(algorithm.is_separable):
            return super().outer(algorithm, theta, episodes, context)

    @torch.inference_mode()
    def episode_terms(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> tuple[Tensor, Tensor]:
        """Return the algorithm's terms, without autograd's records as in `outer`."""
        return super().episode_terms(algorithm, theta, episodes, context)

    def kept(self) -> list[layers.Saved]:
        """Return an empty container for the values of each layer."""
        return [layers.Saved() for _ in self.layers]

    def forward(self, p: layers.Parameters, data: Examples, kept: list[layers.Saved]) -> Tensor:
        """Return the outputs (T, n, outputs)."""
        value = data.x
        for i, layer in enumerate(self.layers):
            value = layer.forward(p, value, kept[i], data.memo if i == self.first else None)
        return value

    def backward(
        self, p: layers.Parameters, kept: list[layers.Saved], dy: Tensor | None, last: bool
    ) -> Tensor:
        """Return the gradient (T, P); the ``last`` pass frees the kept values as it goes."""
        found: layers.Gradients = {}
        for i in reversed(range(self.first, len(self.layers))):
            assert dy is not None
            own = kept.pop() if last else kept[i]
            dy, gradients = self.layers[i].backward(p, own, dy, i > self.first)
            found |= gradients
        return self.layout.join(found)

    def cut(self, algorithm: Algorithm, episodes: Episodes) -> list[slice]:
        """Cut a meta-batch by the size of the inner loop's mini-batches."""
        seen = algorithm.inner_batch or episodes.support.x.shape[1]
        x = episodes.support.x[:, :seen]
        large = x.is_cpu and len(x) * self._width(x.shape[1:]) > WHOLE
        return self._cut(x, 2 if large else 1)

    def _cut(self, x: Tensor, at_least: int = 1) -> list[slice]:
        """Cut the episodes with inputs ``x`` (T, n, *input_shape) into similar parts."""
        key = x.shape, at_least
        if key not in self._cuts:
            count, limit = len(x), PART if x.is_cpu else GPU_PART
            pieces = max(at_least, -(-count * self._width(x.shape[1:]) // limit))
            # Up to 8 parts, their number is a power of 2, to divide evenly among 2 or 4 processes.
            pieces = min(count, pieces if pieces > 8 else 2 ** (pieces - 1).bit_length())
            bounds = [count * i // pieces for i in range(pieces + 1)]
            self._cuts[key] = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        return self._cuts[key]

    def _width(self, shape: torch.Size) -> int:
        """Return the size of one episode's largest tensor, for inputs (n, *input_shape)."""
        if shape not in self._widths:
            value = torch.empty(1, *shape, device="meta")
            p = self.layout.views(torch.empty(1, self.layout.size, device="meta"))
            widest = 0
            for layer in self.layers:
                value = layer.forward(p, value, layers.Saved(), None)
                widest = max(widest, value.numel())
            self._widths[shape] = widest
        return self._widths[shape]

    @torch.no_grad()
    def gradient(self, theta: Tensor, data: Examples) -> tuple[Tensor, Tensor]:
        """Return losses (T,) and gradients (T, P)."""
        parts = self._cut(data.x)
        if len(parts) == 1:
            return self._gradient(theta, data)
        rows, examples = [theta[part] for part in parts], [_part(data, part) for part in parts]
        losses, gradients = zip(*map(self._gradient, rows, examples), strict=True)
        return torch.cat(losses), torch.cat(gradients)

    def _gradient(self, theta: Tensor, data: Examples) -> tuple[Tensor, Tensor]:
        p, kept = self.layout.views(theta), self.kept()
        outputs = self.forward(p, data, kept)
        loss, dz, _ = self.loss_layer.forward(outputs, data.y, self.loss_scale)
        return loss, self.backward(p, kept, dz, last=True)

    @torch.no_grad()
    def linearise(self, theta: Tensor, data: Examples) -> LinearisedPoint:
        """Return the gradient pass with the values that its directional derivative needs."""
        parts = self._cut(data.x)
        if len(parts) == 1:
            return _LayerwisePoint(self, theta, data)
        rows, examples = [theta[part] for part in parts], [_part(data, part) for part in parts]
        points = [_LayerwisePoint(self, *one) for one in zip(rows, examples, strict=True)]
        return _Points(self, parts, points)

    @torch.no_grad()
    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return outputs (T, n, outputs)."""
        parts = self._cut(x)
        return torch.cat([self._outputs(theta[i], x[i]) for i in parts])

    def _outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        p, value = self.layout.views(theta), x
        for layer in self.layers:
            value = layer.forward(p, value, layers.Saved(), None)
        return value


def _part(data: Examples, part: slice) -> Examples:
    """Return some of the episodes, always as the same object."""
    return data.memo.setdefault((part.start, part.stop), data[part])
