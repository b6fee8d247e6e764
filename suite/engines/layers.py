"""The table of layers: each one's forward, backward, and the directional derivative of both.

Notation. Values carry a leading episode axis T: vectors are (T, n, F), images (T, n, H, W, C) with
channels last, a parameter ``p`` is (T, *shape). For a scalar loss L of an episode, ``dy`` is
dL/dy. A dot (in code ``_t``, "tangent") is the derivative along a direction of parameter space:
``x_t`` = d/de x(theta + e v) at e = 0. Since H v = d/de grad L(theta + e v), differentiating the
backward pass along v gives the Hessian-vector product, layer by layer and exactly:

    forward            y    = f(p, x)
    backward           dx, dp
    tangent forward    y_t  = d/de f(p + e p_t, x + e x_t)
    tangent backward   dx_t, dp_t = d/de of backward, given dy and dy_t

A layer keeps in ``saved`` what the later three need. ``x_t`` is None where the input does not
depend on the parameters (the first layer), and ``need_dx`` is False there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Parameters = dict[str, Tensor]
Gradients = dict[str, Tensor]


class Layer:
    """A layer without parameters whose map is linear: its tangent is the map itself."""

    def forward(self, p: Parameters, x: Tensor, memo: dict[Any, Any] | None) -> tuple[Tensor, Any]:
        """Return y and what the other three passes need."""
        return self.apply(x), x.shape

    def backward(
        self, p: Parameters, saved: Any, dy: Tensor, need_dx: bool
    ) -> tuple[Tensor | None, Gradients]:
        """Return dx and the gradients of the parameters, by name."""
        return (self.adjoint(dy, saved) if need_dx else None), {}

    def tangent(
        self, p: Parameters, p_t: Parameters, saved: Any, x_t: Tensor | None
    ) -> tuple[Tensor | None, Any]:
        """Return y_t and what `tangent_backward` needs of it."""
        return (None if x_t is None else self.apply(x_t)), None

    def tangent_backward(
        self,
        p: Parameters,
        p_t: Parameters,
        saved: Any,
        saved_t: Any,
        dy: Tensor,
        dy_t: Tensor,
        need_dx: bool,
    ) -> tuple[Tensor | None, Gradients]:
        """Return dx_t and the tangents of the parameters' gradients, by name."""
        return (self.adjoint(dy_t, saved) if need_dx else None), {}

    def apply(self, x: Tensor) -> Tensor:
        """Return A x."""
        raise NotImplementedError

    def adjoint(self, dy: Tensor, shape: torch.Size) -> Tensor:
        """Return A^T dy, of the input's ``shape``."""
        raise NotImplementedError


class ChannelsLast(Layer):
    """(T, n, C, H, W) -> (T, n, H, W, C), once, at the entry of a convolutional network."""

    def apply(self, x: Tensor) -> Tensor:
        return x.permute(0, 1, 3, 4, 2)

    def adjoint(self, dy: Tensor, shape: torch.Size) -> Tensor:
        return dy.permute(0, 1, 4, 2, 3)


class Flatten(Layer):
    """To vectors (T, n, F); channels-last images are flattened in the order C, H, W."""

    def __init__(self, channels_last: bool) -> None:
        self.channels_last = channels_last

    def apply(self, x: Tensor) -> Tensor:
        if self.channels_last:
            x = x.permute(0, 1, 4, 2, 3)
        return x.flatten(2)

    def adjoint(self, dy: Tensor, shape: torch.Size) -> Tensor:
        if not self.channels_last:
            return dy.view(shape)
        t, n, h, w, c = shape
        return dy.reshape(t, n, c, h, w).permute(0, 1, 3, 4, 2)


class SpatialMean(Layer):
    """Mean over height and width: (T, n, H, W, C) -> (T, n, 1, 1, C)."""

    def apply(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def adjoint(self, dy: Tensor, shape: torch.Size) -> Tensor:
        return (dy / (shape[2] * shape[3])).expand(shape)


def _quarters(x: Tensor) -> Tensor:
    """View non-overlapping 2x2 windows: (T, n, H, W, C) -> (T, n, H/2, W/2, C, 4)."""
    t, n, h, w, c = x.shape
    x = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(t, n, h // 2, 2, w // 2, 2, c)
    return x.permute(0, 1, 2, 4, 6, 3, 5).flatten(-2)


def _unquarter(windows: Tensor, shape: torch.Size) -> Tensor:
    """Invert `_quarters`; an odd last row or column, in no window, gets 0."""
    t, n, h, w, c = shape
    x = windows.unflatten(-1, (2, 2)).permute(0, 1, 2, 5, 3, 6, 4)
    x = x.reshape(t, n, h // 2 * 2, w // 2 * 2, c)
    return F.pad(x, (0, 0, 0, w % 2, 0, h % 2)) if h % 2 or w % 2 else x


class MeanPool(Layer):
    """2x2 mean-pool."""

    def apply(self, x: Tensor) -> Tensor:
        return _quarters(x).mean(-1)

    def adjoint(self, dy: Tensor, shape: torch.Size) -> Tensor:
        return _unquarter((dy / 4)[..., None].expand(*dy.shape, 4), shape)


class MaxPool(Layer):
    """2x2 max-pool: linear once the place of each maximum is fixed."""

    def forward(self, p: Parameters, x: Tensor, memo: dict[Any, Any] | None) -> tuple[Tensor, Any]:
        y, place = _quarters(x).max(-1)
        return y, (place[..., None], x.shape)

    def backward(
        self, p: Parameters, saved: Any, dy: Tensor, need_dx: bool
    ) -> tuple[Tensor | None, Gradients]:
        place, shape = saved
        windows = dy.new_zeros(*dy.shape, 4).scatter_(-1, place, dy[..., None])
        return _unquarter(windows, shape), {}

    def tangent(
        self, p: Parameters, p_t: Parameters, saved: Any, x_t: Tensor | None
    ) -> tuple[Tensor | None, Any]:
        place, _ = saved
        y_t = None if x_t is None else _quarters(x_t).gather(-1, place).squeeze(-1)
        return y_t, None

    def tangent_backward(
        self,
        p: Parameters,
        p_t: Parameters,
        saved: Any,
        saved_t: Any,
        dy: Tensor,
        dy_t: Tensor,
        need_dx: bool,
    ) -> tuple[Tensor | None, Gradients]:
        return self.backward(p, saved, dy_t, need_dx)


class Activation(Layer):
    """y = f(x), one number at a time, given f, f' and f'' (None where it is 0 almost everywhere).

    dx = f'(x) dy;    y_t = f'(x) x_t;    dx_t = f'(x) dy_t + f''(x) x_t dy
    """

    def __init__(
        self,
        f: Callable[[Tensor], Tensor],
        slope: Callable[[Tensor], Tensor],
        curvature: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.f, self.slope, self.curvature = f, slope, curvature

    def forward(self, p: Parameters, x: Tensor, memo: dict[Any, Any] | None) -> tuple[Tensor, Any]:
        return self.f(x), (self.slope(x), self.curvature(x) if self.curvature else None)

    def backward(
        self, p: Parameters, saved: Any, dy: Tensor, need_dx: bool
    ) -> tuple[Tensor | None, Gradients]:
        slope, _ = saved
        return dy * slope, {}

    def tangent(
        self, p: Parameters, p_t: Parameters, saved: Any, x_t: Tensor | None
    ) -> tuple[Tensor | None, Any]:
        slope, _ = saved
        return (None if x_t is None else x_t * slope), x_t

    def tangent_backward(
        self,
        p: Parameters,
        p_t: Parameters,
        saved: Any,
        saved_t: Any,
        dy: Tensor,
        dy_t: Tensor,
        need_dx: bool,
    ) -> tuple[Tensor | None, Gradients]:
        slope, curvature = saved
        dx_t = dy_t * slope
        if curvature is not None and saved_t is not None:
            dx_t = torch.addcmul(dx_t, curvature * saved_t, dy)
        return dx_t, {}


class Linear(Layer):
    """y = x W^T + b, with W (T, O, F) and b (T, O).

    dW = dy^T x                    db = sum dy       dx = dy W
    y_t = x_t W^T + x W_t^T + b_t
    dW_t = dy_t^T x + dy^T x_t     db_t = sum dy_t   dx_t = dy_t W + dy W_t
    """

    def __init__(self, weight: str, bias: str | None) -> None:
        self.weight, self.bias = weight, bias

    def matrix(self, p: Parameters) -> Tensor:
        """Return W^T as (T, F, O)."""
        return p[self.weight].mT

    def unmatrix(self, gradient: Tensor) -> Tensor:
        """Return a gradient (T, F, O) of `matrix` as one of the parameter."""
        return gradient.mT

    def rows(self, x: Tensor) -> Tensor:
        """Return the inputs as rows of matrices, (T, m, F)."""
        return x

    def unrows(self, dx: Tensor, shape: torch.Size) -> Tensor:
        """Apply the adjoint of `rows`."""
        return dx

    def shaped(self, y: Tensor, shape: torch.Size) -> Tensor:
        """Give the outputs (T, m, O) their shape, from the input's."""
        return y

    def forward(self, p: Parameters, x: Tensor, memo: dict[Any, Any] | None) -> tuple[Tensor, Any]:
        rows = memo.get(self) if memo is not None else None
        if rows is None:
            rows = self.rows(x)
            if memo is not None:
                memo[self] = rows
        matrix = self.matrix(p)
        if self.bias is None:
            y = rows @ matrix
        else:
            y = torch.baddbmm(p[self.bias][:, None], rows, matrix)
        return self.shaped(y, x.shape), (rows, matrix, x.shape)

    def backward(
        self, p: Parameters, saved: Any, dy: Tensor, need_dx: bool
    ) -> tuple[Tensor | None, Gradients]:
        rows, matrix, shape = saved
        dy = dy.reshape(*rows.shape[:2], -1)
        gradients = {self.weight: self.unmatrix(rows.mT @ dy)}
        if self.bias is not None:
            gradients[self.bias] = dy.sum(1)
        return (self.unrows(dy @ matrix.mT, shape) if need_dx else None), gradients

    def tangent(
        self, p: Parameters, p_t: Parameters, saved: Any, x_t: Tensor | None
    ) -> tuple[Tensor | None, Any]:
        rows, matrix, shape = saved
        matrix_t = self.matrix(p_t)
        if self.bias is None:
            y_t = rows @ matrix_t
        else:
            y_t = torch.baddbmm(p_t[self.bias][:, None], rows, matrix_t)
        rows_t = None
        if x_t is not None:
            rows_t = self.rows(x_t)
            y_t = torch.baddbmm(y_t, rows_t, matrix)
        return self.shaped(y_t, shape), (rows_t, matrix_t)

    def tangent_backward(
        self,
        p: Parameters,
        p_t: Parameters,
        saved: Any,
        saved_t: Any,
        dy: Tensor,
        dy_t: Tensor,
        need_dx: bool,
    ) -> tuple[Tensor | None, Gradients]:
        rows, matrix, shape = saved
        rows_t, matrix_t = saved_t
        dy = dy.reshape(*rows.shape[:2], -1)
        dy_t = dy_t.reshape(*rows.shape[:2], -1)
        weight_t = rows.mT @ dy_t
        if rows_t is not None:
            weight_t = torch.baddbmm(weight_t, rows_t.mT, dy)
        gradients = {self.weight: self.unmatrix(weight_t)}
        if self.bias is not None:
            gradients[self.bias] = dy_t.sum(1)
        if not need_dx:
            return None, gradients
        dx_t = torch.baddbmm(dy_t @ matrix.mT, dy, matrix_t.mT)
        return self.unrows(dx_t, shape), gradients


class Convolution(Linear):
    """A convolution with zero padding: `Linear` over unfolded images.

    Unfolding copies each output pixel's window into a row, (T, n, H, W, C) -> (T, n*H'*W', k*k*C);
    it is linear, and its adjoint adds the windows back.
    """

    def __init__(
        self, weight: str, bias: str | None, kernel: int, stride: int, padding: int
    ) -> None:
        super().__init__(weight, bias)
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def matrix(self, p: Parameters) -> Tensor:
        w = p[self.weight]  # (T, O, C, k, k)
        return w.permute(0, 3, 4, 2, 1).reshape(w.shape[0], -1, w.shape[1])  # (T, k*k*C, O)

    def unmatrix(self, gradient: Tensor) -> Tensor:
        t, _, o = gradient.shape
        return gradient.view(t, self.kernel, self.kernel, -1, o).permute(0, 4, 3, 1, 2)

    def out(self, size: int) -> int:
        """Return the output height or width for an input of this one."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def rows(self, x: Tensor) -> Tensor:
        k, s, q = self.kernel, self.stride, self.padding
        x = F.pad(x, (0, 0, q, q, q, q)) if q else x.contiguous()
        t, n, h, w, c = x.shape
        high, wide = (h - k) // s + 1, (w - k) // s + 1
        at, an, ah, aw, ac = x.stride()
        windows = x.as_strided(
            (t, n, high, wide, k, k, c), (at, an, ah * s, aw * s, ah, aw, ac)
        )
        return windows.reshape(t, n * high * wide, k * k * c)

    def unrows(self, dx: Tensor, shape: torch.Size) -> Tensor:
        k, s, q = self.kernel, self.stride, self.padding
        t, n, h, w, c = shape
        high, wide = self.out(h), self.out(w)
        windows = dx.view(t, n, high, wide, k, k, c)
        padded = dx.new_zeros(t, n, h + 2 * q, w + 2 * q, c)
        for i in range(k):
            for j in range(k):
                padded[:, :, i : i + s * high : s, j : j + s * wide : s] += windows[..., i, j, :]
        return padded[:, :, q : q + h, q : q + w]

    def shaped(self, y: Tensor, shape: torch.Size) -> Tensor:
        t, n, h, w, _ = shape
        return y.view(t, n, self.out(h), self.out(w), -1)


class Normalisation(Layer):
    """Standardise over some axes, then scale and shift: batch, layer and group norm.

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
        """Split the channels into groups, where there are any: (..., C) -> (..., G, C/G)."""
        return x if self.groups is None else x.unflatten(-1, (self.groups, -1))

    def scale(self, p: Parameters, name: str | None, ndim: int) -> Tensor | None:
        """Return a parameter (T, C) in a shape that broadcasts over the values."""
        if name is None:
            return None
        value = self.view(p[name])
        return value.view(value.shape[0], *[1] * (ndim - value.ndim), *value.shape[1:])

    def reduced(self, value: Tensor) -> Tensor:
        """Sum what belongs to one parameter: (T, ..., C) -> (T, C)."""
        if self.groups is not None:
            value = value.flatten(-2)
        return value.flatten(1, -2).sum(1)

    def forward(self, p: Parameters, x: Tensor, memo: dict[Any, Any] | None) -> tuple[Tensor, Any]:
        x = self.view(x)
        variance, mean = torch.var_mean(x, self.axes, correction=0, keepdim=True)
        r = (variance + self.eps).rsqrt()
        z = (x - mean) * r
        g, b = self.scale(p, self.weight, z.ndim), self.scale(p, self.bias, z.ndim)
        y = z
        if g is not None and b is not None:
            y = torch.addcmul(b, z, g)
        elif b is not None:
            y = z + b
        return self._flat(y), (z, r, g)

    def backward(
        self, p: Parameters, saved: Any, dy: Tensor, need_dx: bool
    ) -> tuple[Tensor | None, Gradients]:
        z, r, g = saved
        dy = self.view(dy)
        gradients: Gradients = {}
        if self.weight is not None:
            gradients[self.weight] = self.reduced(z * dy)
        if self.bias is not None:
            gradients[self.bias] = self.reduced(dy)
        u = dy if g is None else dy * g
        return self._flat(self._project(u, z) * r), gradients

    def tangent(
        self, p: Parameters, p_t: Parameters, saved: Any, x_t: Tensor | None
    ) -> tuple[Tensor | None, Any]:
        z, r, g = saved
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
        return self._flat(y_t), (z_t, r_t, g_t)

    def tangent_backward(
        self,
        p: Parameters,
        p_t: Parameters,
        saved: Any,
        saved_t: Any,
        dy: Tensor,
        dy_t: Tensor,
        need_dx: bool,
    ) -> tuple[Tensor | None, Gradients]:
        z, r, g = saved
        z_t, r_t, g_t = saved_t
        dy, dy_t = self.view(dy), self.view(dy_t)
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


class CrossEntropy:
    """L = -mean_i log softmax(z_i)[y_i], times a factor.

    dz = (p - e_y) / n;    dz_t = p (z_t - sum p z_t) / n
    """

    def forward(self, z: Tensor, y: Tensor, factor: float) -> tuple[Tensor, Tensor, Any]:
        """Return the loss (T,), dz (T, n, N) and what `tangent` needs."""
        scale = factor / z.shape[1]
        logp = z.log_softmax(-1)
        loss = -scale * logp.gather(-1, y[..., None]).sum((1, 2))
        p = logp.exp()
        dz = (p * scale).scatter_add_(-1, y[..., None], p.new_full((*y.shape, 1), -scale))
        return loss, dz, (p, scale)

    def tangent(self, saved: Any, z_t: Tensor) -> Tensor:
        """Return dz_t (T, n, N)."""
        p, scale = saved
        return scale * p * (z_t - (p * z_t).sum(-1, keepdim=True))


class SquaredError:
    """L = mean (z - y)^2 over examples and outputs, times a factor: dz = 2 (z - y) / (n O)."""

    def forward(self, z: Tensor, y: Tensor, factor: float) -> tuple[Tensor, Tensor, Any]:
        """Return the loss (T,), dz (T, n, O) and what `tangent` needs."""
        scale = factor / (z.shape[1] * z.shape[2])
        error = z - y
        return scale * error.square().sum((1, 2)), 2 * scale * error, scale

    def tangent(self, saved: Any, z_t: Tensor) -> Tensor:
        """Return dz_t (T, n, O)."""
        return 2 * saved * z_t
