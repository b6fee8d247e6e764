"""The four-block convolutional network of few-shot classification (Vinyals et al. 2016)."""

from __future__ import annotations

from typing import Annotated, Literal

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

BLOCKS = 4
Down = Literal["stride", "max_pool", "max_pool_same", "mean_pool"]
Head = Literal["mean", "flatten"]


@registry.model("conv4")
class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, norm and activation, each halving the image; then linear.

    Args:
        input_shape: shape (channels, height, width) of one image.
        outputs: width of the last layer.
        filters: number of filters of every convolution (64 on Omniglot, 32 in MAML's
            mini-ImageNet).
        down: kind of downsampling. ``stride``: stride-2 convolution without pooling (Omniglot,
            28-14-7-4-2, utils.py:33); ``max_pool``: 2x2 max-pool after the activation
            (mini-ImageNet, 84-42-21-10-5); ``max_pool_same``: the same, but an odd last row is kept
            (Reptile, 84-42-21-11-6, models.py:40-45); ``mean_pool``: a smooth substitute for finite
            differences.
        head: input of the linear layer, the spatial ``mean`` (MAML, maml.py:223) or ``flatten``
            (Reptile, models.py:20-25).
        norm: normalisation; see `suite.models.layers.norm_layer`.
        norm_adapted: whether the inner loop adapts scale and offset of the norm.
        activation: activation; ``softplus`` is a smooth substitute for ReLU.
        init, head_init: initialisations; see `suite.models.layers.initialise`.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        filters: Annotated[int, Field(ge=1)] = 64,
        down: Down = "stride",
        head: Head = "mean",
        norm: Norm = "batch",
        norm_adapted: bool = True,
        activation: ActivationName = "relu",
        init: Init = "xavier",
        head_init: HeadInit = "same",
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ValueError(f"conv4 needs images (channels, height, width), not {input_shape}")
        channels, height, width = input_shape
        layers: list[nn.Module] = []
        pool = {
            "max_pool": nn.MaxPool2d(2),
            "max_pool_same": nn.MaxPool2d(2, ceil_mode=True),
            "mean_pool": nn.AvgPool2d(2),
        }
        for _ in range(BLOCKS):
            stride = 2 if down == "stride" else 1
            layers.append(nn.Conv2d(channels, filters, 3, stride=stride, padding=1))
            normed = norm_layer(norm, filters, image=True)
            if normed is not None:
                layers.append(normed)
            layers.append(activation_layer(activation))
            if down != "stride":
                layers.append(pool[down])
            channels = filters
            up = int(down in ("stride", "max_pool_same"))  # half of an odd size is rounded up
            height, width = (height + up) // 2, (width + up) // 2
        if height * width == 0:
            raise ValueError(f"images of {input_shape[1:]} are too small for {BLOCKS} halvings")
        if head == "mean":
            layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            features = filters
        else:
            layers.append(nn.Flatten())
            features = filters * height * width
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(features, outputs)
        initialise(self, self.classifier, init, head_init)
        self.outer_only = frozenset() if norm_adapted else norm_names(self)
        self.head = ("classifier.weight", "classifier.bias")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, channels, height, width) to (n, outputs)."""
        return self.classifier(self.body(x))
