"""Import torchvision's data sets where its compiled operators are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

# A library's declarations vanish with it, so it lives as long as the process.
_declared: list[torch.library.Library] = []

# torchvision/csrc/ops/nms.cpp and quantized/cpu/qnms_kernel.cpp
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def torchvision_datasets() -> ModuleType:
    """Return ``torchvision.datasets``.

    A torchvision built for another torch (the CUDA build from the package index beside a CPU-only
    torch) cannot load its operators, and its import then stops at ``operator torchvision::nms does
    not exist``. The data sets use no operator: declaring the missing two is enough for them.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if _declared or "torchvision::nms" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
    return importlib.import_module("torchvision.datasets")
