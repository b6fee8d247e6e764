"""Gradients and Hessian-vector products layer by layer, without a graph."""

from suite.engines.explicit.engine import ExplicitEngine

__all__ = ["ExplicitEngine"]
