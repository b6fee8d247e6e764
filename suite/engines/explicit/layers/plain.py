"""Layers without parameters: rearrangements, pooling, and functions of one number at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from suite.engines.explicit.layers.base import (
    InputAndParamGrads,
    Layer,
    Parameters,
    Saved,
    aten,
    images,
    values,
)


class ChannelsLast(Layer):
    """(T, n, C, H, W) -> (T, n, H, W, C), once, at the entry of a convolutional network."""

    def apply(self, x: Tensor, kept: Saved) -> Tensor:
        return x.permute(0, 1, 3, 4, 2).contiguous()

    def adjoint(self, dy: Tensor, kept: Saved) -> Tensor:
        return dy.permute(0, 1, 4, 2, 3)


class Flatten(Layer):
    """To vectors (T, n, F); channels-last images are flattened in the order C, H, W."""

    def __init__(self, channels_last: bool) -> None:
        self.channels_last = channels_last

    def apply(self, x: Tensor, kept: Saved) -> Tensor:
        if self.channels_last:
            x = x.permute(0, 1, 4, 2, 3)
        return x.flatten(2)

    def adjoint(self, dy: Tensor, kept: Saved) -> Tensor:
        if not self.channels_last:
            return dy.view(kept.shape)
        t, n, h, w, c = kept.shape
        return dy.reshape(t, n, c, h, w).permute(0, 1, 3, 4, 2)


class SpatialMean(Layer):
    """Mean over height and width: (T, n, H, W, C) -> (T, n, 1, 1, C)."""

    def apply(self, x: Tensor, kept: Saved) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def adjoint(self, dy: Tensor, kept: Saved) -> Tensor:
        _, _, h, w, _ = kept.shape
        return (dy / (h * w)).expand(kept.shape)


class MeanPool(Layer):
    """2x2 mean-pool."""

    def apply(self, x: Tensor, kept: Saved) -> Tensor:
        return values(F.avg_pool2d(images(x), 2), x.shape[0])

    def adjoint(self, dy: Tensor, kept: Saved) -> Tensor:
        like = images(dy.new_empty(kept.shape))
        dx = aten.avg_pool2d_backward(images(dy), like, [2, 2], [2, 2], [0, 0], False, True, None)
        return values(dx, dy.shape[0])


class MaxPool(Layer):
    """2x2 max-pool: linear once the place of each maximum is fixed.

    Args:
        ceil: whether an odd last row or column has its own maximum.
    """

    def __init__(self, ceil: bool = False) -> None:
        self.ceil = ceil

    def apply(self, x: Tensor, kept: Saved) -> Tensor:
        y, kept.place = aten.max_pool2d_with_indices(
            images(x), [2, 2], [2, 2], [0, 0], [1, 1], self.ceil
        )
        return values(y, x.shape[0])

    def apply_tangent(self, x_t: Tensor, kept: Saved) -> Tensor:
        y_t = images(x_t).flatten(2).gather(2, kept.place.flatten(2))
        return values(y_t.view_as(kept.place), x_t.shape[0])

    def adjoint(self, dy: Tensor, kept: Saved) -> Tensor:
        like = images(dy.new_empty(kept.shape))
        dx = aten.max_pool2d_with_indices_backward(
            images(dy), like, [2, 2], [2, 2], [0, 0], [1, 1], self.ceil, kept.place
        )
        return values(dx, dy.shape[0])


class Rectifier(Layer):
    """y = max(x, 0) + slope min(x, 0): ReLU and leaky ReLU, linear once the signs are fixed."""

    #: Whether this layer may overwrite the output of the layer before it.
    in_place = False

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def apply(self, x: Tensor, kept: Saved) -> Tensor:
        if self.slope:
            kept.y = F.leaky_relu(x, self.slope, self.in_place)
        else:
            kept.y = torch.relu_(x) if self.in_place else torch.relu(x)
        return kept.y

    def apply_tangent(self, x_t: Tensor, kept: Saved) -> Tensor:
        return self.adjoint(x_t, kept)

    def adjoint(self, dy: Tensor, kept: Saved) -> Tensor:
        # This works in place, because nothing else reads a dy or x_t that has been passed on.
        dx = dy if dy.is_contiguous() else torch.empty_like(kept.y)
        if self.slope:
            return aten.leaky_relu_backward.grad_input(dy, kept.y, self.slope, True, grad_input=dx)
        return aten.threshold_backward.grad_input(dy, kept.y, 0, grad_input=dx)


class Activation(Layer):
    """y = f(x), one number at a time, given f, f' and f''.

    dx = f'(x) dy;    y_t = f'(x) x_t;    dx_t = f'(x) dy_t + f''(x) x_t dy
    """

    def __init__(
        self,
        f: Callable[[Tensor], Tensor],
        slope: Callable[[Tensor], Tensor],
        curvature: Callable[[Tensor], Tensor],
    ) -> None:
        self.f, self.slope, self.curvature = f, slope, curvature

    def forward(self, p: Parameters, x: Tensor, kept: Saved, memo: dict[Any, Any] | None) -> Tensor:
        kept.x = x
        return self.f(x)

    def backward(self, p: Parameters, kept: Saved, dy: Tensor, need_dx: bool) -> InputAndParamGrads:
        kept.dy = dy
        return self.slope(kept.x) * dy, {}

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Saved, x_t: Tensor | None
    ) -> Tensor | None:
        kept.x_t = x_t
        return None if x_t is None else self.slope(kept.x) * x_t

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Saved, dy_t: Tensor, need_dx: bool
    ) -> InputAndParamGrads:
        dx_t = self.slope(kept.x) * dy_t
        if kept.x_t is not None:
            dx_t = torch.addcmul(dx_t, self.curvature(kept.x) * kept.x_t, kept.dy)
        return dx_t, {}
