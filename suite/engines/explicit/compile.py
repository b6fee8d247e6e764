"""Conversion of a model into a chain of table layers, with the same function and less work."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from suite.engines.explicit import layers


class Outside(Exception):
    """Raised if the table does not have a layer."""


def compile_layers(model: nn.Module) -> list[layers.Layer]:
    """Return the model as a chain of table layers; raise `Outside` with the reason if it is not.

    The model's own forward is traced, so it need not be an ``nn.Sequential``.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:
        raise Outside(f"its forward cannot be traced ({type(error).__name__})") from error
    chain: list[layers.Layer] = []
    channels_last = False
    seen: set[str] = set()
    previous: Any = None
    for node in graph.nodes:
        if node.op == "placeholder":
            if previous is not None:
                raise Outside("it has more than one input")
        elif node.op == "output":
            if node.args[0] is not previous:
                raise Outside("it does not return one tensor of its last layer")
        else:
            if node.all_input_nodes != [previous]:
                raise Outside("its layers are not one chain")
            if node.op == "call_module":
                name = str(node.target)
                module = model.get_submodule(name)
                if name in seen and any(True for _ in module.parameters()):
                    raise Outside(f"its layer {name} is used twice")
                seen.add(name)
                new, channels_last = _layer(module, name, channels_last)
            else:
                new, channels_last = _function(node, channels_last)
            chain += new
        previous = node
    return _simplified(chain)


def _simplified(chain: list[layers.Layer]) -> list[layers.Layer]:
    """Return a chain with the same function and gradient, but less work."""
    chain = list(chain)
    for i, (layer, after) in enumerate(itertools.pairwise(chain)):
        match layer, after:
            case layers.Linear() | layers.Convolution(), layers.BatchNormalisation():
                layer.drop_bias()  # the mean cancels it: its gradient is 0
            case layers.Rectifier(), layers.MaxPool():
                chain[i : i + 2] = after, layer  # equal, as f is increasing; 1/4 of the work
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
        raise Outside(f"the {which} of {name} is neither a parameter nor 1")

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
        case nn.MaxPool2d() if _halves(module):
            return [*entry, layers.MaxPool(module.ceil_mode)], True
        case nn.AvgPool2d() if _halves(module) and not module.ceil_mode:
            return [*entry, layers.MeanPool()], True
        case nn.AdaptiveAvgPool2d() if module.output_size in (1, (1, 1)):
            return [*entry, layers.SpatialMean()], True
    raise Outside(f"the table of layers has no {module}")


def _function(node: fx.Node, channels_last: bool) -> tuple[list[layers.Layer], bool]:
    """Return the table layer of a function or method call: ReLU or flatten."""
    if node.target in (F.relu, torch.relu, "relu"):
        return [layers.Rectifier(0)], channels_last
    if node.target in (torch.flatten, "flatten") and (*node.args[1:], *node.kwargs.values()) == (
        1,
    ):
        return [layers.Flatten(channels_last)], False
    raise Outside(f"the table of layers has no call of {node.target}")


def _halves(module: nn.MaxPool2d | nn.AvgPool2d) -> bool:
    sizes = (module.kernel_size, module.stride, module.padding)
    return all(s in (2, (2, 2)) for s in sizes[:2]) and sizes[2] in (0, (0, 0))
