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

The passes run in this order with one ``kept``, in which a layer stores the values that its later
passes need. If the input does not depend on the parameters (the first layer), ``x_t`` is None and
``need_dx`` is False.

The fastest method depends on whether one episode's values fit in a core's cache. If they do, all
episodes go through one batched operation, and the formulas are arranged to pass over the values
few times; if they do not (`large`), each episode goes through the library's fused operation.
"""

from suite.engines.explicit.layers.affine import Convolution, Linear
from suite.engines.explicit.layers.base import Gradients, Layer, Parameters, Saved
from suite.engines.explicit.layers.losses import CrossEntropy, SquaredError
from suite.engines.explicit.layers.normalisation import (
    BatchNormalisation,
    Normalisation,
    StandardisedLinear,
)
from suite.engines.explicit.layers.plain import (
    Activation,
    ChannelsLast,
    Flatten,
    MaxPool,
    MeanPool,
    Rectifier,
    SpatialMean,
)

__all__ = [
    "Activation",
    "BatchNormalisation",
    "ChannelsLast",
    "Convolution",
    "CrossEntropy",
    "Flatten",
    "Gradients",
    "Layer",
    "Linear",
    "MaxPool",
    "MeanPool",
    "Normalisation",
    "Parameters",
    "Rectifier",
    "Saved",
    "SpatialMean",
    "SquaredError",
    "StandardisedLinear",
]
