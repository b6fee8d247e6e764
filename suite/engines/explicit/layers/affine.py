"""Linear layers and convolutions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from suite.engines.explicit.layers.base import (
    Gradients,
    InputAndParamGrads,
    Layer,
    Parameters,
    Saved,
    add_product,
    aten,
    images,
    joined,
    large,
    product,
    values,
)


class Linear(Layer):
    """y = x W^T + b, with W (T, O, F) and b (T, O).

    dW = dy^T x                    db = sum dy       dx = dy W
    y_t = x_t W^T + x W_t^T + b_t
    dW_t = dy_t^T x + dy^T x_t     db_t = sum dy_t   dx_t = dy_t W + dy W_t
    """

    def __init__(self, weight: str, bias: str | None, inputs: int) -> None:
        self.weight, self.bias, self.inputs = weight, bias, inputs

    def drop_bias(self) -> None:
        """Leave the bias out, because the layer after this one cancels it."""
        self.bias = None

    def matrix(self, p: Parameters) -> Tensor:
        """Return W with shape (T, O, F)."""
        return p[self.weight]

    def unmatrix(self, gradient: Tensor) -> Tensor:
        """Return the parameter's gradient for a gradient (T, O, F) of `matrix`."""
        return gradient

    def rows(self, x: Tensor) -> Tensor:
        """Return the inputs as rows of matrices, (T, m, F)."""
        return x

    def unrows(self, dx: Tensor, shape: torch.Size) -> Tensor:
        """Apply the adjoint of `rows`."""
        return dx

    def shaped(self, y: Tensor, shape: torch.Size) -> Tensor:
        """Give the outputs (T, m, O) their shape, from the input's."""
        return y

    def outputs(self, dy: Tensor) -> Tensor:
        """Apply the adjoint of `shaped`."""
        return dy

    def forward(self, p: Parameters, x: Tensor, kept: Saved, memo: dict[Any, Any] | None) -> Tensor:
        kept.shape, kept.matrix = x.shape, self.matrix(p)
        if memo is None:
            kept.rows = self.rows(x)
        else:
            if self not in memo:
                memo[self] = self.rows(x)
            kept.rows = memo[self]
        return self.shaped(self._affine(kept.rows, kept.matrix, p), x.shape)

    def backward(self, p: Parameters, kept: Saved, dy: Tensor, need_dx: bool) -> InputAndParamGrads:
        kept.dy = dy = self.outputs(dy)
        gradients = {self.weight: self.unmatrix(product(dy.mT, kept.rows))}
        if self.bias is not None:
            gradients[self.bias] = dy.sum(1)
        return (self.unrows(product(dy, kept.matrix), kept.shape) if need_dx else None), gradients

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Saved, x_t: Tensor | None
    ) -> Tensor | None:
        kept.matrix_t, kept.rows_t = self.matrix(p_t), None
        y_t = self._affine(kept.rows, kept.matrix_t, p_t)
        if x_t is not None:
            kept.rows_t = self.rows(x_t)
            y_t = add_product(y_t, kept.rows_t, kept.matrix.mT)
        return self.shaped(y_t, kept.shape)

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Saved, dy_t: Tensor, need_dx: bool
    ) -> InputAndParamGrads:
        dy_t = self.outputs(dy_t)
        weight_t = product(dy_t.mT, kept.rows)
        if kept.rows_t is not None:
            weight_t = add_product(weight_t, kept.dy.mT, kept.rows_t)
        gradients = {self.weight: self.unmatrix(weight_t)}
        if self.bias is not None:
            gradients[self.bias] = dy_t.sum(1)
        if not need_dx:
            return None, gradients
        dx_t = add_product(product(dy_t, kept.matrix), kept.dy, kept.matrix_t)
        return self.unrows(dx_t, kept.shape), gradients

    def _affine(self, rows: Tensor, matrix: Tensor, p: Parameters) -> Tensor:
        if self.bias is None:
            return product(rows, matrix.mT)
        b = p[self.bias][:, None]
        if rows.shape[2] == 1:
            return torch.addcmul(b, rows, matrix.mT)
        return torch.baddbmm(b, rows, matrix.mT)


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
        return p[self.weight].permute(0, 1, 3, 4, 2).flatten(2)  # (T, O, k*k*C), a view

    def unmatrix(self, gradient: Tensor) -> Tensor:
        k = self.kernel
        return gradient.unflatten(2, (k, k, -1)).permute(0, 1, 4, 2, 3)

    def out(self, size: int) -> int:
        """Return the output height or width for an input height or width."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def unfolded(self, shape: torch.Size) -> int:
        """Return the number of values of one episode's unfolded images."""
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
                padded[:, :, i : i + s * high : s, j : j + s * wide : s].add_(windows[..., i, j, :])
        return padded[:, :, q : q + h, q : q + w]

    def shaped(self, y: Tensor, shape: torch.Size) -> Tensor:
        t, n, h, w, _ = shape
        return y.view(t, n, self.out(h), self.out(w), -1)

    def outputs(self, dy: Tensor) -> Tensor:
        return dy.flatten(1, 3)


class LibraryConvolution(Layer):
    """The library's convolution y = x * w + b of one episode after another.

    It is linear in x and in w. With its two adjoints, dx = A(dy, w) and dw = B(x, dy):

    y_t = x_t * w + x * w_t + b_t
    dx_t = A(dy_t, w) + A(dy, w_t);    dw_t = B(x, dy_t) + B(x_t, dy)
    """

    def __init__(self, weight: str, bias: str | None, stride: int, padding: int) -> None:
        self.weight, self.bias, self.stride, self.padding = weight, bias, stride, padding

    def forward(self, p: Parameters, x: Tensor, kept: Saved, memo: dict[Any, Any] | None) -> Tensor:
        kept.x = x
        return self._convolve(x, p[self.weight], self._bias(p))

    def backward(self, p: Parameters, kept: Saved, dy: Tensor, need_dx: bool) -> InputAndParamGrads:
        kept.dy = dy
        dx, dw = self._adjoint(dy, kept.x, p[self.weight], need_dx)
        return dx, self._gradients(dw, dy)

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Saved, x_t: Tensor | None
    ) -> Tensor | None:
        kept.x_t = x_t
        y_t = self._convolve(kept.x, p_t[self.weight], self._bias(p_t))
        return y_t if x_t is None else y_t.add_(self._convolve(x_t, p[self.weight], None))

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Saved, dy_t: Tensor, need_dx: bool
    ) -> InputAndParamGrads:
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
        """Return A(dy, w), if it is needed, and B(x, dy)."""
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


class Convolution(Layer):
    """A convolution with zero padding: unfolded over all episodes, or the library's if large."""

    def __init__(
        self, weight: str, bias: str | None, channels: int, kernel: int, stride: int, padding: int
    ) -> None:
        self.weight = weight
        self.small = UnfoldedConvolution(weight, bias, channels, kernel, stride, padding)
        self.large = LibraryConvolution(weight, bias, stride, padding)

    def drop_bias(self) -> None:
        """Leave the bias out, because the layer after this one cancels it."""
        self.small.bias = self.large.bias = None

    def forward(self, p: Parameters, x: Tensor, kept: Saved, memo: dict[Any, Any] | None) -> Tensor:
        kept.way = self.large if large(x, self.small.unfolded(x.shape)) else self.small
        return kept.way.forward(p, x, kept, memo)

    def backward(self, p: Parameters, kept: Saved, dy: Tensor, need_dx: bool) -> InputAndParamGrads:
        return kept.way.backward(p, kept, dy, need_dx)

    def tangent(
        self, p: Parameters, p_t: Parameters, kept: Saved, x_t: Tensor | None
    ) -> Tensor | None:
        return kept.way.tangent(p, p_t, kept, x_t)

    def tangent_backward(
        self, p: Parameters, p_t: Parameters, kept: Saved, dy_t: Tensor, need_dx: bool
    ) -> InputAndParamGrads:
        return kept.way.tangent_backward(p, p_t, kept, dy_t, need_dx)
