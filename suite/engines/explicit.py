"""The fast engine: gradients and Hessian-vector products written out layer by layer.

No graph is recorded. A gradient is one forward and one backward pass over the table of layers in
`suite.engines.layers`, batched over the episodes; a Hessian-vector product is the directional
derivative of both passes (Pearlmutter 1994, "Fast exact multiplication by the Hessian"), reusing
what the gradient pass saved. A model with a layer outside the table is refused, and said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from suite import registry
from suite.engines import layers
from suite.engines.base import Engine, Point
from suite.episodes import Examples

if TYPE_CHECKING:
    from suite.algorithms.base import Algorithm

LOSSES = {"cross_entropy": layers.CrossEntropy, "squared_error": layers.SquaredError}


class _Outside(Exception):
    """A layer that the table does not have."""


def compile_layers(model: nn.Module) -> list[layers.Layer]:
    """Return the model as a chain of table layers; raise `_Outside` with the reason if it is not.

    The model's own forward is traced, so it need not be an ``nn.Sequential``.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:
        raise _Outside(f"its forward cannot be traced ({type(error).__name__})") from error
    chain: list[layers.Layer] = []
    channels_last = False
    previous: Any = None
    for node in graph.nodes:
        if node.op == "placeholder":
            if previous is not None:
                raise _Outside("it has more than one input")
        elif node.op == "output":
            if node.args[0] is not previous:
                raise _Outside("it does not return one tensor of its last layer")
        else:
            if node.all_input_nodes != [previous]:
                raise _Outside("its layers are not one chain")
            if node.op == "call_module":
                module = model.get_submodule(str(node.target))
                new, channels_last = _layer(module, str(node.target), channels_last)
            else:
                new, channels_last = _function(node, channels_last)
            chain += new
        previous = node
    return chain


def _layer(
    module: nn.Module, name: str, channels_last: bool
) -> tuple[list[layers.Layer], bool]:
    """Return the table layers of a module, and whether values are channels-last after it."""

    def parameter(which: str) -> str | None:
        value = getattr(module, which, None)
        if value is None or isinstance(value, nn.Parameter):
            return None if value is None else f"{name}.{which}"
        if which == "weight" and bool((value == 1).all()):
            return None  # a constant scale of 1, as in batch norm with an offset only
        raise _Outside(f"the {which} of {name} is neither a parameter nor 1")

    entry: list[layers.Layer] = [] if channels_last else [layers.ChannelsLast()]
    match module:
        case nn.Flatten(start_dim=1, end_dim=-1):
            return [layers.Flatten(channels_last)], False
        case nn.Identity():
            return [], channels_last
        case nn.Linear():
            return [layers.Linear(f"{name}.weight", parameter("bias"))], channels_last
        case nn.Conv2d(groups=1, dilation=(1, 1), padding_mode="zeros"):
            (k, kw), (s, sw), padding = module.kernel_size, module.stride, module.padding
            if isinstance(padding, tuple) and (kw, sw, padding[1]) == (k, s, padding[0]):
                convolution = layers.Convolution(
                    f"{name}.weight", parameter("bias"), k, s, padding[0]
                )
                return [*entry, convolution], True
        case nn.BatchNorm1d(track_running_stats=False):
            axes = (1,)
            norm = layers.Normalisation(parameter("weight"), parameter("bias"), module.eps, axes)
            return [norm], channels_last
        case nn.BatchNorm2d(track_running_stats=False):
            norm = layers.Normalisation(
                parameter("weight"), parameter("bias"), module.eps, (1, 2, 3)
            )
            return [*entry, norm], True
        case nn.LayerNorm() if len(module.normalized_shape) == 1 and not channels_last:
            norm = layers.Normalisation(parameter("weight"), parameter("bias"), module.eps, (2,))
            return [norm], channels_last
        case nn.GroupNorm():
            axes = (2, 3, 5) if channels_last else (3,)
            norm = layers.Normalisation(
                parameter("weight"), parameter("bias"), module.eps, axes, module.num_groups
            )
            return [norm], channels_last
        case nn.ReLU():
            return [_relu()], channels_last
        case nn.LeakyReLU(negative_slope=slope):
            return [_leaky_relu(slope)], channels_last
        case nn.Softplus(beta=1):
            softplus = layers.Activation(
                F.softplus, torch.sigmoid, lambda x: torch.sigmoid(x) * torch.sigmoid(-x)
            )
            return [softplus], channels_last
        case nn.MaxPool2d() if _halves(module) and not module.ceil_mode:
            return [*entry, layers.MaxPool()], True
        case nn.AvgPool2d() if _halves(module) and not module.ceil_mode:
            return [*entry, layers.MeanPool()], True
        case nn.AdaptiveAvgPool2d() if module.output_size in (1, (1, 1)):
            return [*entry, layers.SpatialMean()], True
    raise _Outside(f"the table of layers has no {module}")


def _function(node: fx.Node, channels_last: bool) -> tuple[list[layers.Layer], bool]:
    """Return the table layer of a function or method call: ReLU or flatten."""
    if node.target in (F.relu, torch.relu, "relu"):
        return [_relu()], channels_last
    if node.target in (torch.flatten, "flatten") and (*node.args[1:], *node.kwargs.values()) == (1,):
        return [layers.Flatten(channels_last)], False
    raise _Outside(f"the table of layers has no call of {node.target}")


def _relu() -> layers.Activation:
    return layers.Activation(torch.relu, lambda x: (x > 0).to(x.dtype))


def _leaky_relu(slope: float) -> layers.Activation:
    def derivative(x: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, slope).to(x.dtype)

    return layers.Activation(lambda x: F.leaky_relu(x, slope), derivative)


def _halves(module: nn.MaxPool2d | nn.AvgPool2d) -> bool:
    sizes = (module.kernel_size, module.stride, module.padding)
    return all(s in (2, (2, 2)) for s in sizes[:2]) and sizes[2] in (0, (0, 0))


class _Point(Point):
    """One gradient pass with everything kept that its directional derivative needs."""

    def __init__(self, engine: ExplicitEngine, theta: Tensor, data: Examples) -> None:
        self._engine = engine
        self._p = engine.layout.unflatten(theta)
        outputs, self._saved = engine.forward(self._p, data)
        self.loss, self._dz, self._loss_saved = engine.loss_layer.forward(
            outputs, data.y, engine.loss_scale
        )
        self._dys: list[Tensor] = []
        self.gradient = engine.backward(self._p, self._saved, self._dz, theta, self._dys)

    def hessian_vector(self, v: Tensor) -> Tensor:
        engine, p = self._engine, self._p
        p_t = engine.layout.unflatten(v)
        value_t: Tensor | None = None
        saved_t = []
        for layer, saved in zip(engine.layers, self._saved, strict=True):
            value_t, kept = layer.tangent(p, p_t, saved, value_t)
            saved_t.append(kept)
        assert value_t is not None, "a model without parameters has no Hessian"
        dy_t: Tensor | None = engine.loss_layer.tangent(self._loss_saved, value_t)
        product = torch.zeros_like(v)
        found = engine.layout.unflatten(product)
        for i in reversed(range(len(engine.layers))):
            assert dy_t is not None
            dy_t, gradients = engine.layers[i].tangent_backward(
                p, p_t, self._saved[i], saved_t[i], self._dys[i], dy_t, i > engine.first
            )
            for name, value in gradients.items():
                found[name].copy_(value)
            if i == engine.first:
                break
        return product


@registry.engine("explicit")
class ExplicitEngine(Engine):
    """Forward, backward and their directional derivatives, layer by layer, over all episodes."""

    def __init__(self, model: nn.Module, loss: str, **options: Any) -> None:
        super().__init__(model, loss, **options)
        self.layers = compile_layers(model)
        self.loss_layer = LOSSES[loss]()
        #: The first layer with parameters: nothing before it needs a gradient.
        self.first = next(i for i, a in enumerate(self.layers) if getattr(a, "weight", None))

    @classmethod
    def refuses(cls, model: nn.Module, loss: str, algorithm: Algorithm) -> str | None:
        """Refuse a layer or loss outside the table, or an algorithm given as `adapt` alone."""
        from suite.algorithms.base import Algorithm as Base

        if loss not in LOSSES:
            return f"the table of losses has no {loss}"
        if type(algorithm).outer is Base.outer and algorithm.trains_on:
            return f"{algorithm.name} has no outer gradient of its own"
        try:
            compile_layers(model)
        except _Outside as reason:
            return str(reason)
        return None

    def forward(self, p: layers.Parameters, data: Examples) -> tuple[Tensor, list[Any]]:
        """Return the outputs (T, n, outputs) and what every layer saved."""
        value, kept = data.x, []
        for i, layer in enumerate(self.layers):
            value, saved = layer.forward(p, value, data.memo if i == self.first else None)
            kept.append(saved)
        return value, kept

    def backward(
        self,
        p: layers.Parameters,
        saved: list[Any],
        dy: Tensor | None,
        theta: Tensor,
        dys: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the gradient (T, P); append each layer's dy to ``dys``, first layer first."""
        gradient = torch.zeros(theta.shape, dtype=theta.dtype, device=theta.device)
        found = self.layout.unflatten(gradient)
        kept: list[Any] = [None] * len(self.layers)
        for i in reversed(range(self.first, len(self.layers))):
            assert dy is not None
            kept[i] = dy
            dy, gradients = self.layers[i].backward(p, saved[i], dy, i > self.first)
            for name, value in gradients.items():
                found[name].copy_(value)
        if dys is not None:
            dys.extend(kept)
        return gradient

    @torch.no_grad()
    def gradient(self, theta: Tensor, data: Examples) -> tuple[Tensor, Tensor]:
        """Return losses (T,) and gradients (T, P)."""
        p = self.layout.unflatten(theta)
        outputs, saved = self.forward(p, data)
        loss, dz, _ = self.loss_layer.forward(outputs, data.y, self.loss_scale)
        return loss, self.backward(p, saved, dz, theta)

    @torch.no_grad()
    def linearise(self, theta: Tensor, data: Examples) -> Point:
        """Return the gradient pass with what its directional derivative needs."""
        return _Point(self, theta, data)

    @torch.no_grad()
    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return outputs (T, n, outputs)."""
        p, value = self.layout.unflatten(theta), x
        for layer in self.layers:
            value, _ = layer.forward(p, value, None)
        return value
