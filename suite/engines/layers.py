"""The table of layers: each one's forward, backward, and the directional derivative of both.

Notation. Values carry a leading episode axis T: vectors are (T, n, F), images (T, n, H, W, C) with
channels last, a parameter ``p`` is (T, *shape). For a scalar loss L of an episode, ``dy`` is
dL/dy. A dot (in code ``_t``, "tangent") is the derivative along a direction of parameter space:
``x_t`` = d/de x(theta + e v) at e = 0. Since H v = d/de grad L(theta + e v), differentiating the
backward pass along v gives the Hessian-vector product, layer by layer and exactly:

    forward            y    = f(p, x)
    backward           dx, dp
    tangent forward    y_t  = d/de f(p + e p_t, x + e x_t)
    tangent backward   dx_t, dp_t = d/de of backward, given dy_t

The passes run in this order over one ``kept``, in which a layer leaves what its later passes need.
``x_t`` is None where the input does not depend on the parameters (the first layer), and
``need_dx`` is False there.

What is fast depends on whether one episode's values fit in a core's cache. Where they do, all
episodes go through one batched operation, and the formulas are arranged to pass over the values
few times; where they do not (`large`), each episode goes through the library's fused operation.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Parameters = dict[str, Tensor]
Gradients = dict[str, Tensor]
Found = tuple[Tensor | None, Gradients]

LARGE = 150_000  # numbers of one episode: 0.6 MB in float32, a third of the cache of a core

aten = torch.ops.aten


def large(x: Tensor, numbers: int) -> bool:
    """Return whether so many numbers of one episode are better left to the library's operation."""
    return x.is_cpu and numbers > LARGE


class Kept(SimpleNamespace):
    """What one layer keeps from one pass for the later ones."""


class Layer:
    """A layer without parameters whose map is linear: its tangent is the map itself."""

    def forward(self, p: Parameters, x: Tensor, kept: Kept, memo: dict[Any, Any] | None) -> Tensor:
        """Return y; ``memo`` outlives the pass and may hold what depends on the data alone."""
        kept.shape = x.shape
        return self.apply(x, kept)

    def backward(self, p: Parameters, kept: Kept, dy: Tensor, need_dx: bool) -> Found:
        """Return dx and the gradients of the parameters, by name."""
        return (self.adjoint(dy, kept) if need_dx else None), {}

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Kept, x_t: Tensor | None
    ) -> Tensor | None:
        """Return y_t."""
        return None if x_t is None else self.again(x_t, kept)

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Kept, dy_t: Tensor, need_dx: bool
    ) -> Found:
        """Return dx_t and the tangents of the parameters' gradients, by name."""
        return (self.adjoint(dy_t, kept) if need_dx else None), {}

    def apply(self, x: Tensor, kept: Kept) -> Tensor:
        """Return A x."""
        raise NotImplementedError

    def again(self, x_t: Tensor, kept: Kept) -> Tensor:
        """Return A x_t, with A as `apply` fixed it."""
        return self.apply(x_t, kept)

    def adjoint(self, dy: Tensor, kept: Kept) -> Tensor:
        """Return A^T dy, of the input's shape."""
        raise NotImplementedError


class ChannelsLast(Layer):
    """(T, n, C, H, W) -> (T, n, H, W, C), once, at the entry of a convolutional network."""

    def apply(self, x: Tensor, kept: Kept) -> Tensor:
        return x.permute(0, 1, 3, 4, 2).contiguous()

    def adjoint(self, dy: Tensor, kept: Kept) -> Tensor:
        return dy.permute(0, 1, 4, 2, 3)


class Flatten(Layer):
    """To vectors (T, n, F); channels-last images are flattened in the order C, H, W."""

    def __init__(self, channels_last: bool) -> None:
        self.channels_last = channels_last

    def apply(self, x: Tensor, kept: Kept) -> Tensor:
        if self.channels_last:
            x = x.permute(0, 1, 4, 2, 3)
        return x.flatten(2)

    def adjoint(self, dy: Tensor, kept: Kept) -> Tensor:
        if not self.channels_last:
            return dy.view(kept.shape)
        t, n, h, w, c = kept.shape
        return dy.reshape(t, n, c, h, w).permute(0, 1, 3, 4, 2)


class SpatialMean(Layer):
    """Mean over height and width: (T, n, H, W, C) -> (T, n, 1, 1, C)."""

    def apply(self, x: Tensor, kept: Kept) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def adjoint(self, dy: Tensor, kept: Kept) -> Tensor:
        _, _, h, w, _ = kept.shape
        return (dy / (h * w)).expand(kept.shape)


def images(x: Tensor) -> Tensor:
    """View (T, n, H, W, C) as the library's images (T*n, C, H, W), channels-last in memory."""
    return x.contiguous().flatten(0, 1).permute(0, 3, 1, 2)


def values(x: Tensor, episodes: int) -> Tensor:
    """View the library's images (T*n, C, H, W) as (T, n, H, W, C)."""
    return x.permute(0, 2, 3, 1).unflatten(0, (episodes, -1))


class MeanPool(Layer):
    """2x2 mean-pool."""

    def apply(self, x: Tensor, kept: Kept) -> Tensor:
        return values(F.avg_pool2d(images(x), 2), x.shape[0])

    def adjoint(self, dy: Tensor, kept: Kept) -> Tensor:
        like = images(dy.new_empty(kept.shape))
        dx = aten.avg_pool2d_backward(images(dy), like, [2, 2], [2, 2], [0, 0], False, True, None)
        return values(dx, dy.shape[0])


class MaxPool(Layer):
    """2x2 max-pool: linear once the place of each maximum is fixed."""

    def apply(self, x: Tensor, kept: Kept) -> Tensor:
        y, kept.place = aten.max_pool2d_with_indices(images(x), [2, 2])
        return values(y, x.shape[0])

    def again(self, x_t: Tensor, kept: Kept) -> Tensor:
        y_t = images(x_t).flatten(2).gather(2, kept.place.flatten(2))
        return values(y_t.view_as(kept.place), x_t.shape[0])

    def adjoint(self, dy: Tensor, kept: Kept) -> Tensor:
        like = images(dy.new_empty(kept.shape))
        dx = aten.max_pool2d_with_indices_backward(
            images(dy), like, [2, 2], [2, 2], [0, 0], [1, 1], False, kept.place
        )
        return values(dx, dy.shape[0])


class Rectifier(Layer):
    """y = max(x, 0) + slope min(x, 0): ReLU and leaky ReLU, linear once the signs are fixed."""

    #: Whether the layer before leaves its output to be overwritten.
    in_place = False

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def apply(self, x: Tensor, kept: Kept) -> Tensor:
        if self.slope:
            kept.y = F.leaky_relu(x, self.slope, self.in_place)
        else:
            kept.y = F.relu(x, self.in_place)
        return kept.y

    def again(self, x_t: Tensor, kept: Kept) -> Tensor:
        return self.adjoint(x_t, kept)

    def adjoint(self, dy: Tensor, kept: Kept) -> Tensor:
        # In place: nothing else reads a dy or x_t that has been passed on.
        dx = dy if dy.is_contiguous() else torch.empty_like(kept.y)
        if self.slope:
            return aten.leaky_relu_backward(dy, kept.y, self.slope, True, grad_input=dx)
        return aten.threshold_backward(dy, kept.y, 0, grad_input=dx)


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

    def forward(self, p: Parameters, x: Tensor, kept: Kept, memo: dict[Any, Any] | None) -> Tensor:
        kept.x = x
        return self.f(x)

    def backward(self, p: Parameters, kept: Kept, dy: Tensor, need_dx: bool) -> Found:
        kept.dy = dy
        return self.slope(kept.x) * dy, {}

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Kept, x_t: Tensor | None
    ) -> Tensor | None:
        kept.x_t = x_t
        return None if x_t is None else self.slope(kept.x) * x_t

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Kept, dy_t: Tensor, need_dx: bool
    ) -> Found:
        dx_t = self.slope(kept.x) * dy_t
        if kept.x_t is not None:
            dx_t = torch.addcmul(dx_t, self.curvature(kept.x) * kept.x_t, kept.dy)
        return dx_t, {}


class Linear(Layer):
    """y = x W^T + b, with W (T, O, F) and b (T, O).

    dW = dy^T x                    db = sum dy       dx = dy W
    y_t = x_t W^T + x W_t^T + b_t
    dW_t = dy_t^T x + dy^T x_t     db_t = sum dy_t   dx_t = dy_t W + dy W_t
    """

    def __init__(self, weight: str, bias: str | None, inputs: int) -> None:
        self.weight, self.bias, self.inputs = weight, bias, inputs

    def drop_bias(self) -> None:
        """Leave the bias out, where what follows takes it away again."""
        self.bias = None

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

    def forward(self, p: Parameters, x: Tensor, kept: Kept, memo: dict[Any, Any] | None) -> Tensor:
        kept.shape, kept.matrix = x.shape, self.matrix(p)
        if memo is None:
            kept.rows = self.rows(x)
        else:
            if self not in memo:
                memo[self] = self.rows(x)
            kept.rows = memo[self]
        return self.shaped(self._affine(kept.rows, kept.matrix, p), x.shape)

    def backward(self, p: Parameters, kept: Kept, dy: Tensor, need_dx: bool) -> Found:
        kept.dy = dy = dy.reshape(*kept.rows.shape[:2], -1)
        gradients = {self.weight: self.unmatrix(kept.rows.mT @ dy)}
        if self.bias is not None:
            gradients[self.bias] = dy.sum(1)
        return (self.unrows(dy @ kept.matrix.mT, kept.shape) if need_dx else None), gradients

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Kept, x_t: Tensor | None
    ) -> Tensor | None:
        kept.matrix_t, kept.rows_t = self.matrix(p_t), None
        y_t = self._affine(kept.rows, kept.matrix_t, p_t)
        if x_t is not None:
            kept.rows_t = self.rows(x_t)
            y_t = y_t.baddbmm_(kept.rows_t, kept.matrix)
        return self.shaped(y_t, kept.shape)

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Kept, dy_t: Tensor, need_dx: bool
    ) -> Found:
        dy_t = dy_t.reshape(kept.dy.shape)
        weight_t = kept.rows.mT @ dy_t
        if kept.rows_t is not None:
            weight_t = weight_t.baddbmm_(kept.rows_t.mT, kept.dy)
        gradients = {self.weight: self.unmatrix(weight_t)}
        if self.bias is not None:
            gradients[self.bias] = dy_t.sum(1)
        if not need_dx:
            return None, gradients
        dx_t = (dy_t @ kept.matrix.mT).baddbmm_(kept.dy, kept.matrix_t.mT)
        return self.unrows(dx_t, kept.shape), gradients

    def _affine(self, rows: Tensor, matrix: Tensor, p: Parameters) -> Tensor:
        if self.bias is None:
            return rows @ matrix
        return torch.baddbmm(p[self.bias][:, None], rows, matrix)


class UnfoldedConvolution(Linear):
    """A convolution with zero padding: `Linear` over unfolded images.

    Unfolding copies each output pixel's window into a row, (T, n, H, W, C) -> (T, n*H'*W', k*k*C);
    it is linear, and its adjoint adds the windows back.
    """

    def __init__(
        self, weight: str, bias: str | None, channels: int, kernel: int, stride: int, padding: int
    ) -> None:
        super().__init__(weight, bias, channels * kernel**2)
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def matrix(self, p: Parameters) -> Tensor:
        w = p[self.weight]  # (T, O, C, k, k)
        # Before the first inner step all episodes share one set of weights: one copy will do.
        one = w[:1] if w.stride(0) == 0 else w
        matrix = one.permute(0, 3, 4, 2, 1).reshape(one.shape[0], -1, w.shape[1])
        return matrix.expand(w.shape[0], -1, -1)  # (T, k*k*C, O)

    def unmatrix(self, gradient: Tensor) -> Tensor:
        t, _, o = gradient.shape
        return gradient.view(t, self.kernel, self.kernel, -1, o).permute(0, 4, 3, 1, 2)

    def out(self, size: int) -> int:
        """Return the output height or width for an input of this one."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def unfolded(self, shape: torch.Size) -> int:
        """Return how many numbers one episode's unfolded images have."""
        _, n, h, w, c = shape
        return n * self.out(h) * self.out(w) * self.kernel**2 * c

    def rows(self, x: Tensor) -> Tensor:
        k, s, q = self.kernel, self.stride, self.padding
        x = F.pad(x, (0, 0, q, q, q, q)) if q else x.contiguous()
        t, n, h, w, c = x.shape
        high, wide = (h - k) // s + 1, (w - k) // s + 1
        at, an, ah, aw, ac = x.stride()
        windows = x.as_strided((t, n, high, wide, k, k, c), (at, an, ah * s, aw * s, ah, aw, ac))
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


class LibraryConvolution(Layer):
    """The library's convolution y = x * w + b of one episode after another.

    It is linear in x and in w. With its two adjoints, dx = A(dy, w) and dw = B(x, dy):

    y_t = x_t * w + x * w_t + b_t
    dx_t = A(dy_t, w) + A(dy, w_t);    dw_t = B(x, dy_t) + B(x_t, dy)
    """

    def __init__(self, weight: str, bias: str | None, stride: int, padding: int) -> None:
        self.weight, self.bias, self.stride, self.padding = weight, bias, stride, padding

    def forward(self, p: Parameters, x: Tensor, kept: Kept, memo: dict[Any, Any] | None) -> Tensor:
        kept.x = x
        return self._convolve(x, p[self.weight], self._bias(p))

    def backward(self, p: Parameters, kept: Kept, dy: Tensor, need_dx: bool) -> Found:
        kept.dy = dy
        dx, dw = self._adjoint(dy, kept.x, p[self.weight], need_dx)
        return dx, self._gradients(dw, dy)

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Kept, x_t: Tensor | None
    ) -> Tensor | None:
        kept.x_t = x_t
        y_t = self._convolve(kept.x, p_t[self.weight], self._bias(p_t))
        return y_t if x_t is None else y_t.add_(self._convolve(x_t, p[self.weight], None))

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Kept, dy_t: Tensor, need_dx: bool
    ) -> Found:
        dx_t, dw_t = self._adjoint(dy_t, kept.x, p[self.weight], need_dx)
        if kept.x_t is not None:
            dx_more, dw_more = self._adjoint(kept.dy, kept.x_t, p_t[self.weight], need_dx)
            dw_t = dw_t.add_(dw_more)
            if dx_t is not None and dx_more is not None:
                dx_t = dx_t.add_(dx_more)
        return dx_t, self._gradients(dw_t, dy_t)

    def _bias(self, p: Parameters) -> Tensor | None:
        return None if self.bias is None else p[self.bias]

    def _gradients(self, dw: Tensor, dy: Tensor) -> Gradients:
        return {self.weight: dw} | ({} if self.bias is None else {self.bias: dy.sum((1, 2, 3))})

    def _convolve(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        bs = [None] * len(x) if b is None else b
        each = [
            F.conv2d(images(one[None]), w_, b_, self.stride, self.padding)
            for one, w_, b_ in zip(x, w, bs, strict=True)
        ]
        return joined([values(y, 1)[0] for y in each])

    def _adjoint(
        self, dy: Tensor, x: Tensor, w: Tensor, need_dx: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Return A(dy, w), where it is needed, and B(x, dy)."""
        s, q = [self.stride] * 2, [self.padding] * 2
        each = [
            aten.convolution_backward(
                images(one[None]),
                images(x_[None]),
                w_,
                None,
                s,
                q,
                [1, 1],
                False,
                [0, 0],
                1,
                [need_dx, True, False],
            )
            for one, x_, w_ in zip(dy, x, w, strict=True)
        ]
        dx = joined([values(found[0], 1)[0] for found in each]) if need_dx else None
        return dx, joined([found[1] for found in each])


def joined(each: list[Tensor]) -> Tensor:
    """Stack the episodes' values; one alone is not copied."""
    return each[0][None] if len(each) == 1 else torch.stack(each)


class Convolution(Layer):
    """A convolution with zero padding: unfolded over all episodes, or the library's where large."""

    def __init__(
        self, weight: str, bias: str | None, channels: int, kernel: int, stride: int, padding: int
    ) -> None:
        self.weight = weight
        self.small = UnfoldedConvolution(weight, bias, channels, kernel, stride, padding)
        self.large = LibraryConvolution(weight, bias, stride, padding)

    def drop_bias(self) -> None:
        """Leave the bias out, where what follows takes it away again."""
        self.small.bias = self.large.bias = None

    def forward(self, p: Parameters, x: Tensor, kept: Kept, memo: dict[Any, Any] | None) -> Tensor:
        kept.way = self.large if large(x, self.small.unfolded(x.shape)) else self.small
        return kept.way.forward(p, x, kept, memo)

    def backward(self, p: Parameters, kept: Kept, dy: Tensor, need_dx: bool) -> Found:
        return kept.way.backward(p, kept, dy, need_dx)

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Kept, x_t: Tensor | None
    ) -> Tensor | None:
        return kept.way.tangent(p, p_t, kept, x_t)

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Kept, dy_t: Tensor, need_dx: bool
    ) -> Found:
        return kept.way.tangent_backward(p, p_t, kept, dy_t, need_dx)


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

    Each is written as a sum of whole values times one number a channel: one pass a term.
    """

    def __init__(self, weight: str | None, bias: str | None, eps: float) -> None:
        self.weight, self.bias, self.eps = weight, bias, eps

    def forward(self, p: Parameters, x: Tensor, kept: Kept, memo: dict[Any, Any] | None) -> Tensor:
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

    def backward(self, p: Parameters, kept: Kept, dy: Tensor, need_dx: bool) -> Found:
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
        self, p: Parameters, p_t: Parameters, kept: Kept, x_t: Tensor | None
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
        self, p: Parameters, p_t: Parameters, kept: Kept, dy_t: Tensor, need_dx: bool
    ) -> Found:
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

    def _slope(self, p: Parameters, kept: Kept) -> Tensor:
        return kept.r if self.weight is None else channels(p, self.weight) * kept.r

    def _gradients(self, s: Tensor, c: Tensor, count: int) -> Gradients:
        found = {self.bias: s, self.weight: c}
        return {name: count * value[:, 0] for name, value in found.items() if name is not None}

    def _each(self, p: Parameters, name: str | None, x: Tensor) -> Any:
        return [None] * len(x) if name is None else p[name]


class StandardisedLinear(Layer):
    """`Linear` of few inputs, or a convolution of few channels, with batch norm, as one layer.

    For the first layer of a network. With the rows of inputs less their mean, U (N, F), and their
    covariance C = U^T U / N, both of the data alone, the statistics of batch norm follow from the
    weights: the standardised values are z = U W r, where

    v = sum_F W * CW                       r = 1/sqrt(v + eps)      h = g r
    y = U (W h) + b

    so no pass over the N rows is spent on batch norm. With G = U^T dy and q = sum_F W * G:

    dW = h (G - r^2 q CW)                  dg = r q                 db = sum dy
    r_t = -r^3 sum_F CW * W_t              h_t = g_t r + g r_t
    y_t = U (W_t h + W h_t) + b_t
    G_t = U^T dy_t                         q_t = sum_F W_t * G + W * G_t
    dW_t = h_t (G - r^2 q CW) + h (G_t - (2 r r_t q + r^2 q_t) CW - r^2 q C W_t)
    dg_t = r_t q + r q_t                   db_t = sum dy_t
    """

    #: Inputs F up to which the covariance is cheaper than batch norm's own passes.
    FEW = 16

    def __init__(self, linear: Linear, norm: BatchNormalisation) -> None:
        self.linear, self.norm = linear, norm
        self.weight = linear.weight

    def forward(self, p: Parameters, x: Tensor, kept: Kept, memo: dict[Any, Any] | None) -> Tensor:
        memo = {} if memo is None else memo
        if self not in memo:
            rows = self.linear.rows(x)
            rows = rows - rows.mean(1, keepdim=True)
            memo[self] = rows, rows.mT @ rows / rows.shape[1]
        kept.rows, kept.covariance = memo[self]
        w = kept.w = self.linear.matrix(p)
        kept.cw = kept.covariance @ w
        kept.r = ((w * kept.cw).sum(1, keepdim=True) + self.norm.eps).rsqrt()
        kept.g, kept.shape = channels(p, self.norm.weight), x.shape
        kept.h = kept.r if kept.g is None else kept.g * kept.r
        return self._affine(kept, w * kept.h, p)

    def backward(self, p: Parameters, kept: Kept, dy: Tensor, need_dx: bool) -> Found:
        dy, r = self._rows(kept, dy), kept.r
        kept.big_g = kept.rows.mT @ dy
        kept.q = (kept.w * kept.big_g).sum(1, keepdim=True)
        kept.inside = torch.addcmul(kept.big_g, r * r * kept.q, kept.cw, value=-1)
        return None, self._gradients(kept.h * kept.inside, r * kept.q, dy)

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Kept, x_t: Tensor | None
    ) -> Tensor | None:
        w_t, r, g = self.linear.matrix(p_t), kept.r, kept.g
        kept.w_t, kept.r_t = w_t, -(r**3) * (kept.cw * w_t).sum(1, keepdim=True)
        g_t = channels(p_t, self.norm.weight)
        kept.h_t = kept.r_t if g is None else g_t * r + g * kept.r_t
        return self._affine(kept, w_t * kept.h + kept.w * kept.h_t, p_t)

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Kept, dy_t: Tensor, need_dx: bool
    ) -> Found:
        dy_t, r, r_t, q = self._rows(kept, dy_t), kept.r, kept.r_t, kept.q
        big_g_t = kept.rows.mT @ dy_t
        q_t = (kept.w_t * kept.big_g + kept.w * big_g_t).sum(1, keepdim=True)
        inside_t = big_g_t - (2 * r * r_t * q + r * r * q_t) * kept.cw
        inside_t = inside_t - r * r * q * (kept.covariance @ kept.w_t)
        w_t = kept.h_t * kept.inside + kept.h * inside_t
        return None, self._gradients(w_t, r_t * q + r * q_t, dy_t)

    def _rows(self, kept: Kept, dy: Tensor) -> Tensor:
        return dy.reshape(*kept.rows.shape[:2], -1)

    def _affine(self, kept: Kept, matrix: Tensor, p: Parameters) -> Tensor:
        b = channels(p, self.norm.bias)
        y = kept.rows @ matrix if b is None else torch.baddbmm(b, kept.rows, matrix)
        return self.linear.shaped(y, kept.shape)

    def _gradients(self, w: Tensor, g: Tensor, dy: Tensor) -> Gradients:
        found = {self.weight: self.linear.unmatrix(w)}
        if self.norm.weight is not None:
            found[self.norm.weight] = g[:, 0]
        if self.norm.bias is not None:
            found[self.norm.bias] = dy.sum(1)
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

    def forward(self, p: Parameters, x: Tensor, kept: Kept, memo: dict[Any, Any] | None) -> Tensor:
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

    def backward(self, p: Parameters, kept: Kept, dy: Tensor, need_dx: bool) -> Found:
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
        self, p: Parameters, p_t: Parameters, kept: Kept, x_t: Tensor | None
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
        self, p: Parameters, p_t: Parameters, kept: Kept, dy_t: Tensor, need_dx: bool
    ) -> Found:
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
