"""The two losses: value, slope at the outputs, and the slope's directional derivative."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class CrossEntropy:
    """L = -mean_i log softmax(z_i)[y_i], times a factor.

    dz = (p - e_y) / n;    dz_t = p (z_t - sum p z_t) / n
    """

    def forward(self, z: Tensor, y: Tensor, factor: float) -> tuple[Tensor, Tensor, Any]:
        """Return the loss (T,), dz (T, n, N) and the values that `tangent` needs."""
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
        """Return the loss (T,), dz (T, n, O) and the values that `tangent` needs."""
        scale = factor / (z.shape[1] * z.shape[2])
        error = z - y
        return scale * error.square().sum((1, 2)), 2 * scale * error, scale

    def tangent(self, saved: Any, z_t: Tensor) -> Tensor:
        """Return dz_t (T, n, O)."""
        return 2 * saved * z_t
