"""Common parts of the models: normalisation layers and named initialisations."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Norm = Literal["batch", "batch_beta", "layer", "group", "none"]
Init = Literal["torch", "xavier", "truncated_normal"]
HeadInit = Literal["same", "normal"]
ActivationName = Literal["relu", "leaky_relu", "softplus"]

EPSILON = 1e-3  # epsilon of MAML's and Reptile's batch norm (TensorFlow's default)
GROUPS = 4


def norm_layer(kind: Norm, width: int, image: bool) -> nn.Module | None:
    """Return the normalisation of ``width`` features.

    ``batch`` has scale and offset (Reptile), ``batch_beta`` only an offset (MAML, utils.py:41).
    Both always use the statistics of the current batch and keep no running statistics.
    """
    if kind == "none":
        return None
    if kind == "group":
        return nn.GroupNorm(GROUPS, width, eps=EPSILON)
    if kind == "layer":
        return nn.GroupNorm(1, width, eps=EPSILON) if image else nn.LayerNorm(width, eps=EPSILON)
    batch = (nn.BatchNorm2d if image else nn.BatchNorm1d)(
        width, eps=EPSILON, track_running_stats=False
    )
    if kind == "batch_beta":
        # The scale is constant, not absent: autograd's double backward fails without a weight.
        del batch.weight
        batch.register_buffer("weight", torch.ones(width), persistent=False)
    return batch


def activation_layer(kind: ActivationName) -> nn.Module:
    """Return the activation called ``kind``."""
    return {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "softplus": nn.Softplus}[kind]()


def initialise(model: nn.Module, head: nn.Linear, init: Init, head_init: HeadInit) -> None:
    """Draw the weights of linear and convolutional layers; their biases become zero.

    ``torch`` keeps PyTorch's own initialisation. ``truncated_normal`` has sd 0.01 (maml.py:168),
    ``xavier`` is Glorot uniform; ``head_init="normal"`` draws the head from N(0, 1) (maml.py:206).
    """
    for module in model.modules():
        if init == "torch" or not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        if init == "xavier":
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.trunc_normal_(module.weight, std=0.01, a=-0.02, b=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if head_init == "normal":
        nn.init.normal_(head.weight)
        nn.init.zeros_(head.bias)


def norm_names(model: nn.Module) -> frozenset[str]:
    """Return the names of all scales and offsets of normalisation layers."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    return frozenset(
        f"{name}.{parameter}"
        for name, module in model.named_modules()
        if isinstance(module, kinds)
        for parameter, _ in module.named_parameters(recurse=False)
    )
