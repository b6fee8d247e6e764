"""Glyphs: an embedded Omniglot-like task, made from the DejaVu faces that matplotlib ships."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field

from suite.core import registry
from suite.tasks import glyphs_data
from suite.tasks.images import ImageData, ImageSampler, ImageTask


@registry.task("glyphs")
class Glyphs(ImageTask):
    """Characters of twelve faces at 28x28, ink = 1; a class is a character, a drawing is a face.

    Characters that look alike are one class; characters with too few different drawings are left
    out.
    Meta-training has Latin letters, digits and signs, meta-validation Greek, meta-test Cyrillic,
    Armenian and Georgian. `glyphs_data` makes them.

    Fields
        distortion: size of the random affine changes of each drawing; 0 for none. The changes are
            part of the data and are the same in every episode.
    """

    distortion: float = Field(1.0, ge=0, le=2)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One channel of 28x28."""
        return (1, glyphs_data.SIDE, glyphs_data.SIDE)

    def load(self, data: Path | None, device: torch.device) -> ImageSampler:
        """Return the sampler; ``data`` is not used. The first call makes the glyphs (seconds)."""
        arrays = glyphs_data.read_glyphs(self.distortion)
        splits = {
            split: (arrays["split"] == i).nonzero()[0] for i, split in enumerate(glyphs_data.SPLITS)
        }
        images = torch.from_numpy(arrays["images"])[:, None]
        names = tuple(arrays["names"].tolist())
        return ImageSampler(self, ImageData(images, arrays["counts"], names, splits), device)
