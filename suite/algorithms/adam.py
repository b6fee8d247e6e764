"""Adam's epsilon, whose place two libraries see differently.

Kingma and Ba (2015, algorithm 1), and PyTorch with them, add it to the corrected second moment:

    theta <- theta - alpha m_hat / (sqrt(v_hat) + eps),    v_hat = v / (1 - beta2^k)

TensorFlow (1 and 2; the text before section 2.1 of the same paper) adds it to the uncorrected one:

    theta <- theta - alpha sqrt(1 - beta2^k) m_hat / (sqrt(v) + eps)

which is the first form with eps / sqrt(1 - beta2^k) for eps: 32 times as large in the first step
with beta2 = 0.999, and ever nearer to eps. It matters where gradients are small.
"""

from __future__ import annotations

import math
from typing import Literal

#: Of the two libraries' Adam, by default.
EPSILON = 1e-8
#: Whose Adam: which of the two forms the epsilon stands in.
Epsilon = Literal["pytorch", "tensorflow"]


def epsilon(kind: Epsilon, beta2: float, k: int) -> float:
    """Return what is added to sqrt(v_hat) in step k = 1, 2, ..."""
    return EPSILON if kind == "pytorch" else EPSILON / math.sqrt(1 - beta2**k)
