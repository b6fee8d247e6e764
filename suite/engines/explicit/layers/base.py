"""Basis of the table of layers: a layer's four passes, and views of values."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

Parameters = dict[str, Tensor]
Gradients = dict[str, Tensor]
InputAndParamGrads = tuple[Tensor | None, Gradients]

LARGE = 150_000  # numbers of one episode: 0.6 MB in float32, a third of the cache of a core

aten = torch.ops.aten


def large(x: Tensor, numbers: int) -> bool:
    """Return whether the library's operation is faster for this many numbers of one episode."""
    return x.is_cpu and numbers > LARGE


class Saved(SimpleNamespace):
    """Values that one layer keeps from one pass for the later passes."""


class Layer:
    """A layer without parameters whose map is linear: its tangent is the map itself."""

    def forward(self, p: Parameters, x: Tensor, kept: Saved, memo: dict[Any, Any] | None) -> Tensor:
        """Return y; ``memo`` outlives the pass, for values that depend only on the data."""
        kept.shape = x.shape
        return self.apply(x, kept)

    def backward(self, p: Parameters, kept: Saved, dy: Tensor, need_dx: bool) -> InputAndParamGrads:
        """Return dx and the gradients of the parameters, by name."""
        return (self.adjoint(dy, kept) if need_dx else None), {}

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Saved, x_t: Tensor | None
    ) -> Tensor | None:
        """Return y_t."""
        return None if x_t is None else self.apply_tangent(x_t, kept)

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Saved, dy_t: Tensor, need_dx: bool
    ) -> InputAndParamGrads:
        """Return dx_t and the tangents of the parameters' gradients, by name."""
        return (self.adjoint(dy_t, kept) if need_dx else None), {}

    def apply(self, x: Tensor, kept: Saved) -> Tensor:
        """Return A x."""
        raise NotImplementedError

    def apply_tangent(self, x_t: Tensor, kept: Saved) -> Tensor:
        """Return A x_t, with A as `apply` fixed it."""
        return self.apply(x_t, kept)

    def adjoint(self, dy: Tensor, kept: Saved) -> Tensor:
        """Return A^T dy, of the input's shape."""
        raise NotImplementedError


def images(x: Tensor) -> Tensor:
    """View (T, n, H, W, C) as the library's images (T*n, C, H, W), channels-last in memory."""
    return x.contiguous().flatten(0, 1).permute(0, 3, 1, 2)


def values(x: Tensor, episodes: int) -> Tensor:
    """View the library's images (T*n, C, H, W) as (T, n, H, W, C)."""
    return x.permute(0, 2, 3, 1).unflatten(0, (episodes, -1))


def joined(each: list[Tensor]) -> Tensor:
    """Stack the episodes' values; a single one is not copied."""
    return each[0][None] if len(each) == 1 else torch.stack(each)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the matrix products (T, m, k) (T, k, n) -> (T, m, n)."""
    return a * b if a.shape[2] == 1 else torch.bmm(a, b)


def add_product(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add the matrix products of ``a`` and ``b`` to ``c``, in place."""
    return c.addcmul_(a, b) if a.shape[2] == 1 else c.baddbmm_(a, b)
