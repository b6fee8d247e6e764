"""Benchmark and reproducibility suite for gradient-based few-shot meta-learning."""

from suite.core import registry
from suite.core.version import RESULTS_VERSION, __version__

__all__ = ["RESULTS_VERSION", "__version__", "registry"]
