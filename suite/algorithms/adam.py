"""Adam's epsilon, which two libraries add at different places.

Kingma and Ba (2015, algorithm 1) and PyTorch add it to the corrected second moment:

    theta <- theta - alpha m_hat / (sqrt(v_hat) + eps),    v_hat = v / (1 - beta2^k)

TensorFlow (1 and 2; the text before section 2.1 of the same paper) adds it to the uncorrected one:

    theta <- theta - alpha sqrt(1 - beta2^k) m_hat / (sqrt(v) + eps)

This is the first form with eps / sqrt(1 - beta2^k) instead of eps: with beta2 = 0.999 it is 32
times as large in the first step, and it approaches eps later. The difference matters if gradients
are small.
"""

from __future__ import annotations

import math
from typing import Literal

#: Default epsilon of both libraries' Adam.
EPSILON = 1e-8
#: Library whose form of Adam is used.
Epsilon = Literal["pytorch", "tensorflow"]


def epsilon(kind: Epsilon, beta2: float, k: int) -> float:
    """Return the value that is added to sqrt(v_hat) in step k = 1, 2, ..."""
    return EPSILON if kind == "pytorch" else EPSILON / math.sqrt(1 - beta2**k)
