"""Omniglot (Lake, Salakhutdinov and Tenenbaum 2015): 1623 characters, 20 drawings each."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import model_validator

from suite.core import registry
from suite.core.component import added_field
from suite.core.streams import Integers, Stream, choose
from suite.tasks import omniglot_data
from suite.tasks.base import Rotations, Split
from suite.tasks.images import ImageData, ImageSampler, ImageTask

Rule = Literal["random_1100", "random_1200", "reptile", "alphabets"]

# Numbers of meta-train and meta-validation classes of the shuffled rules; meta-test has the other
# 423.
SIZES: dict[str, tuple[int, int]] = {"random_1100": (1100, 100), "random_1200": (1200, 0)}


@registry.task("omniglot")
class Omniglot(ImageTask):
    """Hand-drawn characters at 28x28.

    Fields
        split: ``"random_1100"``: characters shuffled, 1100 / 100 / 423 (MAML,
            data_generator.py:46-54); ``"random_1200"``: 1200 / none / 423; ``"reptile"``: the
            same numbers, with exactly the classes of Reptile's code; ``"alphabets"``: the official
            background / evaluation alphabets, 964 / none / 659.
        split_seed: seed of the shuffle of a ``random`` rule. MAML's own shuffle cannot be
            reproduced, because it starts from an unsorted directory listing.
        split_by_seed: whether every seed has its own split, that of ``split_seed`` + seed, so that
            the spread between trainings includes the effect of another split.
        rotations, rotate_test: see `ImageTask`; the defaults are MAML's.
        resize: filter that reduces 105 to 28 pixels. Both papers' numbers come from ``"nearest"``:
            MAML asks PIL for LANCZOS (resize_images.py:23), but PIL uses the nearest pixel for
            1-bit images; ``"lanczos"`` is the filter itself, on grey images.
        ink: value of ink, 1 in MAML (inverted, data_generator.py:117-118), 0 in Reptile.
    """

    title = "Omniglot"
    papers = ("lake2015",)
    reads_data = True

    rotations: Rotations = "episode"
    split: Rule = "random_1100"
    split_seed: int = 1
    split_by_seed: bool = added_field(False)
    resize: omniglot_data.OmniglotResize = "nearest"
    ink: Literal[0, 1] = 1

    @model_validator(mode="after")
    def _has_a_shuffle(self) -> Omniglot:
        if self.split_by_seed and not self.split.startswith("random"):
            raise ValueError(f"split_by_seed: the split {self.split!r} is one split; leave it out")
        if self.split == "reptile" and self.split_seed != 1:
            raise ValueError("split_seed: the split 'reptile' is one split; leave it out")
        return self

    def for_seed(self, seed: int) -> Omniglot:
        """Return the task with the split of a cell's seed."""
        if not self.split_by_seed:
            return self
        split = {"split_seed": self.split_seed + seed, "split_by_seed": False}
        return self.model_copy(update=split)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One channel of 28x28."""
        return (1, omniglot_data.SIDE, omniglot_data.SIDE)

    def data_identity(self) -> dict[str, Any]:
        """Return the identity without the fields that only change pixels."""
        pixels = ("resize", "ink")
        return {key: value for key, value in self.identity().items() if key not in pixels}

    def load(self, data: Path | None, device: torch.device) -> ImageSampler:
        """Read Omniglot from a folder or, for None, by torchvision's download; see `Task.load`.

        ``data`` may be (or hold, as ``omniglot`` or torchvision's ``omniglot-py``) a folder with
        ``images_background`` and ``images_evaluation``, each a zip archive or unpacked.
        """
        arrays = omniglot_data.read_omniglot(data, self.resize)
        names = tuple(arrays["names"].tolist())
        drawn = arrays["images"]
        images = torch.from_numpy(255 - drawn if self.ink else drawn)[:, None]
        counts = np.full(len(names), omniglot_data.DRAWINGS)
        splits = split_classes(self.split, self.split_seed, names)
        hint = "set split = 'random_1100', or ask for another split"
        return ImageSampler(self, ImageData(images, counts, names, splits, hint), device)


def _reptile_order(names: tuple[str, ...]) -> list[int]:
    """Return the class indices in the order that Reptile's code splits after the first 1200.

    The code seeds Python's generator with 0, sorts the characters of both archives by alphabet, and
    shuffles them before anything else is drawn (run_omniglot.py:22-24, omniglot.py:28-49). That
    shuffle has been the same since Python 3.2.
    """
    order = sorted(range(len(names)), key=lambda i: names[i].split("/")[1:])
    random.Random(0).shuffle(order)
    return order


def split_classes(rule: Rule, seed: int, names: tuple[str, ...]) -> dict[Split, Integers]:
    """Return the class indices of each split, into the sorted ``names``."""
    n = len(names)
    if rule == "reptile":
        train, test = np.split(np.array(_reptile_order(names)), [SIZES["random_1200"][0]])
        return {"train": train, "validation": np.arange(0), "test": test}
    if rule == "alphabets":
        background = np.array([name.startswith("images_background/") for name in names])
        train, validation, test = background.nonzero()[0], np.arange(0), (~background).nonzero()[0]
    else:
        order = choose(Stream("omniglot", "split", seed).rows(0, 1, n), n)[0]
        first, second = SIZES[rule]
        train, validation, test = np.split(order, [first, first + second])
    return {"train": train, "validation": validation, "test": test}
