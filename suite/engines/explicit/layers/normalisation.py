"""Batch norm by batch statistics, layer norm and group norm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from suite.engines.explicit.layers.affine import Linear
from suite.engines.explicit.layers.base import (
    Gradients,
    InputAndParamGrads,
    Layer,
    Parameters,
    Saved,
    aten,
    joined,
    large,
)


def channels(p: Parameters, name: str | None) -> Tensor | None:
    """Return a parameter (T, C) as (T, 1, C)."""
    return None if name is None else p[name][:, None]


class BatchNormalisation(Layer):
    """Standardise each channel over all examples and pixels of an episode, then scale and shift.

    With values as (T, N, C), mean over N, m the mean of x, r = 1/sqrt(variance + eps), h = g r:

    z = (x - m) r                          y = g z + b
    s = mean dy      c = mean z dy         dx = h (dy - s - c z)        db = N s     dg = N c
    a = mean x_t     k = mean z x_t        z_t = r (x_t - a - k z)      r_t = -r r k
    y_t = g z_t + g_t z + b_t              h_t = g_t r - h r k
    s_t = mean dy_t                        c_t = mean z dy_t + mean z_t dy
    dx_t = h_t (dy - s - c z) + h (dy_t - s_t - c_t z - c z_t)          db_t, dg_t = N s_t, N c_t

    Each formula is a sum of whole values times one number per channel: one pass per term.
    """

    def __init__(self, weight: str | None, bias: str | None, eps: float) -> None:
        self.weight, self.bias, self.eps = weight, bias, eps

    def forward(self, p: Parameters, x: Tensor, kept: Saved, memo: dict[Any, Any] | None) -> Tensor:
        shape, x = x.shape, x.flatten(1, -2)
        kept.large = large(x, x[0].numel())
        if kept.large:
            each = zip(x, self._each(p, self.weight, x), self._each(p, self.bias, x), strict=True)
            found = [aten.native_batch_norm(*one, None, None, True, 0, self.eps) for one in each]
            y, m, r = (joined([one[i] for one in found]) for i in range(3))
            kept.x, kept.m, kept.r = x, m[:, None], r[:, None]
            return y.view(shape)
        z = x - x.mean(1, keepdim=True)
        kept.r = ((z * z).mean(1, keepdim=True) + self.eps).rsqrt()
        kept.z = z.mul_(kept.r)
        g, b = channels(p, self.weight), channels(p, self.bias)
        if g is not None and b is not None:
            z = torch.addcmul(b, z, g)
        elif b is not None:
            z = z + b
        return z.view(shape)

    def backward(self, p: Parameters, kept: Saved, dy: Tensor, need_dx: bool) -> InputAndParamGrads:
        shape, kept.dy = dy.shape, dy.flatten(1, -2)
        count = kept.dy.shape[1]
        if kept.large:
            each = zip(kept.dy, kept.x, self._each(p, self.weight, dy), kept.m, kept.r, strict=True)
            found = [
                aten.native_batch_norm_backward(
                    dy_, x, g, None, None, m[0], r[0], True, self.eps, [True, True, True]
                )
                for dy_, x, g, m, r in each
            ]
            dx, dg, db = (joined([one[i] for one in found]) for i in range(3))
            kept.s, kept.c = db[:, None] / count, dg[:, None] / count
        else:
            kept.s = kept.dy.mean(1, keepdim=True)
            kept.c = (kept.z * kept.dy).mean(1, keepdim=True)
            h = self._slope(p, kept)
            dx = torch.addcmul(-h * kept.s, h, kept.dy).addcmul_(-h * kept.c, kept.z)
        return dx.view(shape), self._gradients(kept.s, kept.c, count)

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Saved, x_t: Tensor | None
    ) -> Tensor | None:
        if x_t is None:
            raise NotImplementedError("a normalisation cannot be the first layer")
        if kept.large:
            kept.z = torch.addcmul(-kept.m * kept.r, kept.x, kept.r)
        shape, kept.x_t = x_t.shape, x_t.flatten(1, -2)
        kept.a = kept.x_t.mean(1, keepdim=True)
        kept.k = (kept.z * kept.x_t).mean(1, keepdim=True)
        h, g_t, b_t = self._slope(p, kept), channels(p_t, self.weight), channels(p_t, self.bias)
        shift, scale = -h * kept.a, -h * kept.k
        shift = shift if b_t is None else shift + b_t
        scale = scale if g_t is None else scale + g_t
        return torch.addcmul(shift, h, kept.x_t).addcmul_(scale, kept.z).view(shape)

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Saved, dy_t: Tensor, need_dx: bool
    ) -> InputAndParamGrads:
        z, r, s, c, a, k, x_t, dy = (
            kept.z, kept.r, kept.s, kept.c, kept.a, kept.k, kept.x_t, kept.dy
        )  # fmt: skip
        shape, dy_t = dy_t.shape, dy_t.flatten(1, -2)
        h, g_t = self._slope(p, kept), channels(p_t, self.weight)
        h_t = -h * r * k if g_t is None else r * (g_t - h * k)
        s_t = dy_t.mean(1, keepdim=True)
        c_t = (z * dy_t).mean(1, keepdim=True)
        c_t = c_t + r * ((x_t * dy).mean(1, keepdim=True) - a * s - k * c)
        hcr = h * c * r
        dx_t = torch.addcmul(hcr * a - h_t * s - h * s_t, h, dy_t)
        dx_t.addcmul_(h_t, dy).addcmul_(-hcr, x_t).addcmul_(hcr * k - h_t * c - h * c_t, z)
        return dx_t.view(shape), self._gradients(s_t, c_t, dy.shape[1])

    def _slope(self, p: Parameters, kept: Saved) -> Tensor:
        return kept.r if self.weight is None else channels(p, self.weight) * kept.r

    def _gradients(self, s: Tensor, c: Tensor, count: int) -> Gradients:
        found = {self.bias: s, self.weight: c}
        return {name: count * value[:, 0] for name, value in found.items() if name is not None}

    def _each(self, p: Parameters, name: str | None, x: Tensor) -> Any:
        return [None] * len(x) if name is None else p[name]


class StandardisedLinear(Layer):
    """`Linear` of few inputs, or a convolution of few channels, with batch norm, as one layer.

    It is used for the first layer of a network. The rows of inputs less their mean, U (N, F), and
    their covariance C = U^T U / N depend only on the data. With them, the statistics of batch norm
    follow from the weights: the standardised values are z = U W r, where

    v = sum_F W * CW                       r = 1/sqrt(v + eps)      h = g r
    y = U (W h) + 1 b

    so batch norm needs no pass over the N rows and, with a column of ones beside U, neither does
    the offset. With [G; s] = [U, 1]^T dy and q = sum_F W * G:

    dW = h (G - r^2 q CW)                  dg = r q                 db = s
    r_t = -r^3 sum_F CW * W_t              h_t = g_t r + g r_t
    y_t = U (W_t h + W h_t) + 1 b_t
    [G_t; s_t] = [U, 1]^T dy_t             q_t = sum_F W_t * G + W * G_t
    dW_t = h_t (G - r^2 q CW) + h (G_t - (2 r r_t q + r^2 q_t) CW - r^2 q C W_t)
    dg_t = r_t q + r q_t                   db_t = s_t
    """

    #: Largest number of inputs F with which the covariance is cheaper than batch norm's own passes.
    FEW = 16

    def __init__(self, linear: Linear, norm: BatchNormalisation) -> None:
        self.linear, self.norm = linear, norm
        self.weight = linear.weight

    def forward(self, p: Parameters, x: Tensor, kept: Saved, memo: dict[Any, Any] | None) -> Tensor:
        memo = {} if memo is None else memo
        if self not in memo:
            rows = self.linear.rows(x)
            rows = rows - rows.mean(1, keepdim=True)
            ones = rows.new_ones(()).expand(*rows.shape[:2], 1)
            memo[self] = torch.cat([rows, ones], 2), rows.mT @ rows / rows.shape[1]
        kept.rows, kept.covariance = memo[self]
        w = kept.w = self.linear.matrix(p).mT
        kept.cw = kept.covariance @ w
        kept.r = ((w * kept.cw).sum(1, keepdim=True) + self.norm.eps).rsqrt()
        kept.g, kept.shape = channels(p, self.norm.weight), x.shape
        kept.h = kept.r if kept.g is None else kept.g * kept.r
        return self._affine(kept, w * kept.h, p)

    def backward(self, p: Parameters, kept: Saved, dy: Tensor, need_dx: bool) -> InputAndParamGrads:
        kept.big_g, s = self._sums(kept, dy)
        r = kept.r
        kept.q = (kept.w * kept.big_g).sum(1, keepdim=True)
        kept.inside = torch.addcmul(kept.big_g, r * r * kept.q, kept.cw, value=-1)
        return None, self._gradients(kept.h * kept.inside, r * kept.q, s)

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Saved, x_t: Tensor | None
    ) -> Tensor | None:
        w_t, r, g = self.linear.matrix(p_t).mT, kept.r, kept.g
        kept.w_t, kept.r_t = w_t, -(r**3) * (kept.cw * w_t).sum(1, keepdim=True)
        g_t = channels(p_t, self.norm.weight)
        kept.h_t = kept.r_t if g is None else g_t * r + g * kept.r_t
        return self._affine(kept, w_t * kept.h + kept.w * kept.h_t, p_t)

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Saved, dy_t: Tensor, need_dx: bool
    ) -> InputAndParamGrads:
        big_g_t, s_t = self._sums(kept, dy_t)
        r, r_t, q = kept.r, kept.r_t, kept.q
        q_t = (kept.w_t * kept.big_g + kept.w * big_g_t).sum(1, keepdim=True)
        inside_t = big_g_t - (2 * r * r_t * q + r * r * q_t) * kept.cw
        inside_t = inside_t - r * r * q * (kept.covariance @ kept.w_t)
        w_t = kept.h_t * kept.inside + kept.h * inside_t
        return None, self._gradients(w_t, r_t * q + r * q_t, s_t)

    def _affine(self, kept: Saved, matrix: Tensor, p: Parameters) -> Tensor:
        b = channels(p, self.norm.bias)
        b = torch.zeros_like(matrix[:, :1]) if b is None else b
        return self.linear.shaped(kept.rows @ torch.cat([matrix, b], 1), kept.shape)

    def _sums(self, kept: Saved, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Return U^T dy (T, F, O) and the sums of dy (T, O)."""
        sums = kept.rows.mT @ self.linear.outputs(dy)
        return sums[:, :-1], sums[:, -1]

    def _gradients(self, w: Tensor, g: Tensor, b: Tensor) -> Gradients:
        found = {self.weight: self.linear.unmatrix(w.mT)}
        if self.norm.weight is not None:
            found[self.norm.weight] = g[:, 0]
        if self.norm.bias is not None:
            found[self.norm.bias] = b
        return found


class Normalisation(Layer):
    """Standardise over some axes, then scale and shift: layer and group norm.

    With m the mean and s^2 the (biased) variance over the reduced axes, r = 1/sqrt(s^2 + eps),
    z = (x - m) r, and the projection P(u) = u - mean(u) - z mean(z u):

    y = g z + b
    dg = sum z dy          db = sum dy          dx = r P(u)  with u = g dy
    z_t = r P(x_t)         r_t = -r * r mean(z x_t)
    y_t = g z_t + g_t z + b_t
    dg_t = sum z dy_t + z_t dy;   db_t = sum dy_t;   u_t = g dy_t + g_t dy
    dx_t = r_t P(u) + r P_t,   P_t = P(u_t) - z_t mean(z u) - z mean(z_t u)
    """

    def __init__(
        self,
        weight: str | None,
        bias: str | None,
        eps: float,
        axes: tuple[int, ...],
        groups: int | None = None,
    ) -> None:
        self.weight, self.bias, self.eps, self.axes, self.groups = weight, bias, eps, axes, groups

    def view(self, x: Tensor) -> Tensor:
        """Split the channels into groups, if there are any: (..., C) -> (..., G, C/G)."""
        return x if self.groups is None else x.unflatten(-1, (self.groups, -1))

    def scale(self, p: Parameters, name: str | None, ndim: int) -> Tensor | None:
        """Return a parameter (T, C) in a shape that broadcasts over the values."""
        if name is None:
            return None
        value = self.view(p[name])
        return value.view(value.shape[0], *[1] * (ndim - value.ndim), *value.shape[1:])

    def reduced(self, value: Tensor) -> Tensor:
        """Sum the values of each parameter: (T, ..., C) -> (T, C)."""
        if self.groups is not None:
            value = value.flatten(-2)
        return value.flatten(1, -2).sum(1)

    def forward(self, p: Parameters, x: Tensor, kept: Saved, memo: dict[Any, Any] | None) -> Tensor:
        x = self.view(x)
        z = x - self._mean(x)
        r = (self._mean(z * z) + self.eps).rsqrt()
        z = z.mul_(r)
        g, b = self.scale(p, self.weight, z.ndim), self.scale(p, self.bias, z.ndim)
        y = z
        if g is not None and b is not None:
            y = torch.addcmul(b, z, g)
        elif b is not None:
            y = z + b
        kept.z, kept.r, kept.g = z, r, g
        return self._flat(y)

    def backward(self, p: Parameters, kept: Saved, dy: Tensor, need_dx: bool) -> InputAndParamGrads:
        z, r, g = kept.z, kept.r, kept.g
        kept.dy = dy = self.view(dy)
        gradients: Gradients = {}
        if self.weight is not None:
            gradients[self.weight] = self.reduced(z * dy)
        if self.bias is not None:
            gradients[self.bias] = self.reduced(dy)
        u = dy if g is None else dy * g
        return self._flat(self._project(u, z) * r), gradients

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Saved, x_t: Tensor | None
    ) -> Tensor | None:
        z, r, g = kept.z, kept.r, kept.g
        g_t, b_t = self.scale(p_t, self.weight, z.ndim), self.scale(p_t, self.bias, z.ndim)
        if x_t is None:
            raise NotImplementedError("a normalisation cannot be the first layer")
        x_t = self.view(x_t)
        slope = self._mean(z * x_t)
        z_t = (x_t - self._mean(x_t) - z * slope) * r
        r_t = -r * r * slope
        y_t = z_t
        if g is not None and g_t is not None:
            y_t = torch.addcmul(z_t * g, z, g_t)
        if b_t is not None:
            y_t = y_t + b_t
        kept.z_t, kept.r_t, kept.g_t = z_t, r_t, g_t
        return self._flat(y_t)

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Saved, dy_t: Tensor, need_dx: bool
    ) -> InputAndParamGrads:
        z, r, g, dy = kept.z, kept.r, kept.g, kept.dy
        z_t, r_t, g_t, dy_t = kept.z_t, kept.r_t, kept.g_t, self.view(dy_t)
        gradients: Gradients = {}
        if self.weight is not None:
            gradients[self.weight] = self.reduced(torch.addcmul(z * dy_t, z_t, dy))
        if self.bias is not None:
            gradients[self.bias] = self.reduced(dy_t)
        u, u_t = dy, dy_t
        if g is not None and g_t is not None:
            u, u_t = dy * g, torch.addcmul(dy_t * g, dy, g_t)
        along = self._mean(z * u)
        projected = u - self._mean(u) - z * along
        projected_t = (
            u_t - self._mean(u_t) - z_t * along - z * self._mean(torch.addcmul(z * u_t, z_t, u))
        )
        return self._flat(torch.addcmul(projected_t * r, projected, r_t)), gradients

    def _mean(self, value: Tensor) -> Tensor:
        return value.mean(self.axes, keepdim=True)

    def _project(self, u: Tensor, z: Tensor) -> Tensor:
        return torch.addcmul(u - self._mean(u), z, self._mean(z * u), value=-1)

    def _flat(self, value: Tensor) -> Tensor:
        return value if self.groups is None else value.flatten(-2)
