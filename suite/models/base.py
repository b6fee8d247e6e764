"""The contract and the construction of a base learner.

A model is a class whose constructor takes ``input_shape`` (one example's shape), ``outputs`` (width
of the last layer) and keyword options with types and defaults. Its forward maps
(n, *input_shape) to (n, outputs). Two attributes are optional:

``outer_only``: names of parameters that the inner loop does not change (MAML's batch-norm offsets);
``head``: names of the last layer's parameters, which fine-tuning replaces by new ones.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, create_model
from torch import nn

from suite.core import registry
from suite.core.component import validated
from suite.core.errors import UserError
from suite.core.streams import Stream

_GIVEN = {"self", "input_shape", "outputs"}


@cache
def options_of(name: str) -> type[BaseModel]:
    """Return the validated options of a registered model, read from its constructor."""
    signature = inspect.signature(registry.models.get(name).__init__, eval_str=True)
    fields: dict[str, Any] = {
        key: (
            Any if parameter.annotation is parameter.empty else parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for key, parameter in signature.parameters.items()
        if key not in _GIVEN
    }
    config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    return create_model(f"{name}_options", __config__=config, **fields)


def check_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return all options of model ``name`` with defaults filled in, or raise `UserError`."""
    return validated(options_of(name), options, f"model {name}").model_dump(mode="json")


def build_model(
    name: str,
    options: dict[str, Any],
    input_shape: tuple[int, ...],
    outputs: int,
    stream: Stream,
) -> nn.Module:
    """Build model ``name`` with initial weights from ``stream``, on the CPU in float32.

    The weights are drawn on the CPU for every device, so they are the same everywhere.
    """
    model_class = registry.models.get(name)
    # A tuple, such as the hidden widths, is a list in JSON; this reads it back as declared.
    values = dict(validated(options_of(name), options, f"model {name}"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream.seed())
        try:
            return model_class(input_shape=input_shape, outputs=outputs, **values)
        except ValueError as error:
            raise UserError(f"model {name}: {error}.") from error
