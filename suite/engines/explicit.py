"""The fast engine: gradients and Hessian-vector products written out layer by layer.

No graph is recorded. A gradient is one forward and one backward pass over the table of layers in
`suite.engines.layers`, batched over the episodes; a Hessian-vector product is the directional
derivative of both passes (Pearlmutter 1994, "Fast exact multiplication by the Hessian"), reusing
what the gradient pass saved. A model with a layer outside the table is refused, and said.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from suite import registry
from suite.engines import layers
from suite.engines.base import Engine, Point
from suite.episodes import Episodes, Examples

if TYPE_CHECKING:
    from suite.algorithms.base import Algorithm

#: Numbers that the widest layer of one part may have: a megabyte in float32.
PART = 2**18
#: Numbers of that layer up to which a batch stays whole: dispatch is what it costs.
WHOLE = 2**15

LOSSES: dict[str, type[layers.CrossEntropy] | type[layers.SquaredError]] = {
    "cross_entropy": layers.CrossEntropy,
    "squared_error": layers.SquaredError,
}


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
    seen: set[str] = set()
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
                name = str(node.target)
                module = model.get_submodule(name)
                if name in seen and any(True for _ in module.parameters()):
                    raise _Outside(f"its layer {name} is used twice")
                seen.add(name)
                new, channels_last = _layer(module, name, channels_last)
            else:
                new, channels_last = _function(node, channels_last)
            chain += new
        previous = node
    return _simplified(chain)


def _simplified(chain: list[layers.Layer]) -> list[layers.Layer]:
    """Return a chain with the same function and gradient, and less to do."""
    chain = list(chain)
    for i, (layer, after) in enumerate(itertools.pairwise(chain)):
        match layer, after:
            case layers.Linear() | layers.Convolution(), layers.BatchNormalisation():
                layer.drop_bias()  # the mean takes it away: its gradient is 0
            case layers.Rectifier(), layers.MaxPool():
                chain[i : i + 2] = after, layer  # the same for a rising function; a quarter to do
    _join_first(chain)
    for layer, after in itertools.pairwise(chain):
        if isinstance(after, layers.Rectifier):
            after.in_place = isinstance(layer, FREE)
    return chain


#: Layers that keep nothing of their output.
FREE = (
    layers.Linear,
    layers.Convolution,
    layers.BatchNormalisation,
    layers.StandardisedLinear,
    layers.MaxPool,
)


def _join_first(chain: list[layers.Layer]) -> None:
    """Make the first layer with parameters and its batch norm one layer, if inputs are few."""
    at = next((i for i, layer in enumerate(chain) if getattr(layer, "weight", None)), len(chain))
    match chain[at : at + 2]:
        case [layers.Linear() as linear, layers.BatchNormalisation() as norm]:
            pass
        case [layers.Convolution(small=linear), layers.BatchNormalisation() as norm]:
            pass
        case _:
            return
    if linear.inputs <= layers.StandardisedLinear.FEW:
        chain[at : at + 2] = [layers.StandardisedLinear(linear, norm)]


def _layer(module: nn.Module, name: str, channels_last: bool) -> tuple[list[layers.Layer], bool]:
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
            linear = layers.Linear(f"{name}.weight", parameter("bias"), module.in_features)
            return [linear], channels_last
        case nn.Conv2d(groups=1, dilation=(1, 1), padding_mode="zeros"):
            (k, kw), (s, sw), padding = module.kernel_size, module.stride, module.padding
            if isinstance(padding, tuple) and (kw, sw, padding[1]) == (k, s, padding[0]):
                convolution = layers.Convolution(
                    f"{name}.weight", parameter("bias"), module.in_channels, k, s, padding[0]
                )
                return [*entry, convolution], True
        case nn.BatchNorm1d(track_running_stats=False):
            norm = layers.BatchNormalisation(parameter("weight"), parameter("bias"), module.eps)
            return [norm], channels_last
        case nn.BatchNorm2d(track_running_stats=False):
            norm = layers.BatchNormalisation(parameter("weight"), parameter("bias"), module.eps)
            return [*entry, norm], True
        case nn.LayerNorm() if len(module.normalized_shape) == 1 and not channels_last:
            return [
                layers.Normalisation(parameter("weight"), parameter("bias"), module.eps, (2,))
            ], channels_last
        case nn.GroupNorm():
            axes = (2, 3, 5) if channels_last else (3,)
            return [
                layers.Normalisation(
                    parameter("weight"), parameter("bias"), module.eps, axes, module.num_groups
                )
            ], channels_last
        case nn.ReLU():
            return [layers.Rectifier(0)], channels_last
        case nn.LeakyReLU(negative_slope=slope) if slope >= 0:
            return [layers.Rectifier(slope)], channels_last
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
        return [layers.Rectifier(0)], channels_last
    if node.target in (torch.flatten, "flatten") and (*node.args[1:], *node.kwargs.values()) == (
        1,
    ):
        return [layers.Flatten(channels_last)], False
    raise _Outside(f"the table of layers has no call of {node.target}")


def _halves(module: nn.MaxPool2d | nn.AvgPool2d) -> bool:
    sizes = (module.kernel_size, module.stride, module.padding)
    return all(s in (2, (2, 2)) for s in sizes[:2]) and sizes[2] in (0, (0, 0))


class _Point(Point):
    """One gradient pass with everything kept that its directional derivative needs."""

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


class _Points(Point):
    """The points of consecutive parts of the episodes, as one."""

    def __init__(self, engine: ExplicitEngine, parts: list[slice], points: list[_Point]) -> None:
        self._engine, self._parts, self._points = engine, parts, points
        self.loss = torch.cat([point.loss for point in points])
        self.gradient = torch.cat([point.gradient for point in points])

    def hessian_vector(self, v: Tensor) -> Tensor:
        rows = [v[part] for part in self._parts]
        return torch.cat(list(map(_Point.hessian_vector, self._points, rows)))


@registry.engine("explicit")
class ExplicitEngine(Engine):
    """Forward, backward and their directional derivatives, layer by layer, over many episodes.

    Episodes are worked through in parts, so that the values in flight stay in a core's cache and
    the memory is that of a few episodes.
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

    def kept(self) -> list[layers.Kept]:
        """Return an empty place for what each layer keeps."""
        return [layers.Kept() for _ in self.layers]

    def forward(self, p: layers.Parameters, data: Examples, kept: list[layers.Kept]) -> Tensor:
        """Return the outputs (T, n, outputs)."""
        value = data.x
        for i, layer in enumerate(self.layers):
            value = layer.forward(p, value, kept[i], data.memo if i == self.first else None)
        return value

    def backward(
        self, p: layers.Parameters, kept: list[layers.Kept], dy: Tensor | None, last: bool
    ) -> Tensor:
        """Return the gradient (T, P); the ``last`` pass frees what was kept on its way."""
        found: layers.Gradients = {}
        for i in reversed(range(self.first, len(self.layers))):
            assert dy is not None
            own = kept.pop() if last else kept[i]
            dy, gradients = self.layers[i].backward(p, own, dy, i > self.first)
            found |= gradients
        return self.layout.join(found)

    def parts(self, algorithm: Algorithm, episodes: Episodes) -> list[slice]:
        """Cut a meta-batch by what the inner loop sees of it, a mini-batch at a time."""
        seen = algorithm.inner_batch or episodes.support.x.shape[1]
        x = episodes.support.x[:, :seen]
        large = x.is_cpu and len(x) * self._width(x.shape[1:]) > WHOLE
        return self._cut(x, 2 if large else 1)

    def _cut(self, x: Tensor, at_least: int = 1) -> list[slice]:
        """Cut the episodes with inputs ``x`` (T, n, *input_shape) into like parts for a cache."""
        key = x.shape, at_least
        if key not in self._cuts:
            count, pieces = len(x), at_least
            if x.is_cpu:
                pieces = max(at_least, -(-count * self._width(x.shape[1:]) // PART))
            # Few pieces are a power of two of them, which two or four processes share evenly.
            pieces = min(count, pieces if pieces > 8 else 2 ** (pieces - 1).bit_length())
            bounds = [count * i // pieces for i in range(pieces + 1)]
            self._cuts[key] = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        return self._cuts[key]

    def _width(self, shape: torch.Size) -> int:
        """Return the numbers of one episode's largest value, for inputs (n, *input_shape)."""
        if shape not in self._widths:
            value = torch.empty(1, *shape, device="meta")
            p = self.layout.views(torch.empty(1, self.layout.size, device="meta"))
            widest = 0
            for layer in self.layers:
                value = layer.forward(p, value, layers.Kept(), None)
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
    def linearise(self, theta: Tensor, data: Examples) -> Point:
        """Return the gradient pass with what its directional derivative needs."""
        parts = self._cut(data.x)
        if len(parts) == 1:
            return _Point(self, theta, data)
        rows, examples = [theta[part] for part in parts], [_part(data, part) for part in parts]
        points = [_Point(self, *one) for one in zip(rows, examples, strict=True)]
        return _Points(self, parts, points)

    @torch.no_grad()
    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return outputs (T, n, outputs)."""
        parts = self._cut(x)
        return torch.cat([self._outputs(theta[i], x[i]) for i in parts])

    def _outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        p, value = self.layout.views(theta), x
        for layer in self.layers:
            value = layer.forward(p, value, layers.Kept(), None)
        return value


def _part(data: Examples, part: slice) -> Examples:
    """Return some of the episodes, the same object every time."""
    return data.memo.setdefault((part.start, part.stop), data[part])
