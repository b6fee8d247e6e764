"""Multilayer perceptron: 1-40-40-1 for the sinusoid, 256-128-64-64 with batch norm for images."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from suite.core import registry
from suite.models.layers import (
    ActivationName,
    HeadInit,
    Init,
    Norm,
    activation_layer,
    initialise,
    norm_layer,
    norm_names,
)


@registry.model("mlp")
class MLP(nn.Module):
    """flatten, [linear, norm, activation] for each hidden width, linear.

    Args:
        input_shape: shape of one example; it is flattened.
        outputs: width of the last layer.
        hidden: hidden widths (MAML: 40-40 for the sinusoid, 256-128-64-64 for "no conv").
        norm: normalisation; see `suite.models.layers.norm_layer`.
        norm_adapted: whether the inner loop adapts scale and offset of the norm.
        activation: activation between the layers; ``softplus`` is a smooth substitute for finite
            differences.
        init, head_init: initialisations; see `suite.models.layers.initialise`.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        hidden: tuple[Annotated[int, Field(ge=1)], ...] = (40, 40),
        norm: Norm = "none",
        norm_adapted: bool = True,
        activation: ActivationName = "relu",
        init: Init = "torch",
        head_init: HeadInit = "same",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(input_shape)
        for new in hidden:
            layers.append(nn.Linear(width, new))
            normed = norm_layer(norm, new, image=False)
            if normed is not None:
                layers.append(normed)
            layers.append(activation_layer(activation))
            width = new
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, outputs)
        initialise(self, self.classifier, init, head_init)
        self.outer_only = frozenset() if norm_adapted else norm_names(self)
        self.head = ("classifier.weight", "classifier.bias")

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, *input_shape) to (n, outputs)."""
        return self.classifier(self.body(x))
