"""Import of torchvision's data sets, even if its compiled operators are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

# A library's declarations disappear with it, so it is kept until the process ends.
_declared: list[torch.library.Library] = []

# torchvision/csrc/ops/nms.cpp and quantized/cpu/qnms_kernel.cpp
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def torchvision_datasets() -> ModuleType:
    """Return ``torchvision.datasets``.

    A torchvision built for another torch (such as the CUDA build from the package index with a
    CPU-only torch) cannot load its operators, and its import then fails with ``operator
    torchvision::nms does not exist``. The data sets use no operator, so it is enough to declare the
    two missing ones.
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
