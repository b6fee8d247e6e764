"""Common parts of image classification tasks: classes with drawings, and sampling of episodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suite.core.episodes import Episodes, Examples
from suite.core.errors import UserError
from suite.core.streams import Integers, Stream, below, choose
from suite.tasks.base import EpisodeShape, Rotations, Sampler, Split, Task

TURNS = 4  # rotations by multiples of 90 degrees


@dataclass(frozen=True)
class ImageData:
    """Classes of images.

    Attributes:
        images: (M, C, H, W) uint8, the drawings of class 0, then those of class 1, ...
        counts: (n,) drawings of each class; classes may differ.
        names: n class names, all different.
        splits: class indices of each split; no class is in two splits.
        hint: advice for an empty split, as the end of a sentence.
    """

    images: Tensor
    counts: Integers
    names: tuple[str, ...]
    splits: Mapping[Split, Integers]
    hint: str = "ask for another split"

    @cached_property
    def offsets(self) -> Integers:
        """Index of each class's first drawing, (n,)."""
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the pixels, by class name; it does not depend on how the data were packed."""
        pixels = self.images.numpy()
        digest = hashlib.sha256(json.dumps(pixels.shape[1:]).encode())
        for i in sorted(range(len(self.names)), key=self.names.__getitem__):
            digest.update(json.dumps([self.names[i], int(self.counts[i])]).encode())
            digest.update(pixels[self.offsets[i] : self.offsets[i] + self.counts[i]].tobytes())
        return digest.hexdigest()


class ImageTask(Task):
    """A classification task over `ImageData`.

    Fields
        rotations: ``"none"``; ``"episode"``: each character of an episode is turned by a random
            multiple of 90 degrees, support and query alike, so that two rotations of one character
            never occur in one episode (MAML, data_generator.py:135-151); ``"classes"``: the four
            rotations are separate classes and may occur together (Reptile, omniglot.py:47-63).
        rotate_test: whether this also holds in meta-validation and meta-test (MAML yes, Reptile
            no).
    """

    kind = "classification"

    rotations: Rotations = "none"
    rotate_test: bool = True

    def rotations_in(self, split: Split, shape: EpisodeShape | None = None) -> Rotations:
        """Return how characters are rotated in a split, or in its episodes of a ``shape``."""
        if shape is not None and shape.rotations is not None:
            return shape.rotations
        return self.rotations if split == "train" or self.rotate_test else "none"


class ImageSampler(Sampler):
    """Draws episodes of images: index arithmetic on words of the stream, then one gather.

    Examples are in class-major order (all shots of class 0, then of class 1, ...) with labels
    0 .. ways - 1; x is float32 in [0, 1]. Drawings of a class are drawn without replacement,
    support first, so each class's queries are a prefix of those of an episode with more queries.
    ``draw_ids`` holds the class indices, rotations, and support and query drawings (index in
    `ImageData.images`).
    """

    def __init__(self, task: ImageTask, data: ImageData, device: torch.device) -> None:
        self.task = task
        self.data = data
        self.device = device
        self.data_sha256 = data.sha256
        self._turned = task.rotations != "none"
        self._images = self._rotated(data.images.to(device))

    def _rotated(self, images: Tensor) -> Tensor:
        """Return all rotations one after another: rotation r of drawing i is at r * M + i."""
        if not self._turned:
            return images
        return torch.cat([torch.rot90(images, turn, (2, 3)) for turn in range(TURNS)])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_images"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # Rotations are four times as many data to send, so they are made again after unpickling.
        self._images = self._rotated(self.data.images.to(self.device))

    def check(self, shape: EpisodeShape, split: Split) -> None:
        """Raise `UserError` if the split has too few classes, or a class too few drawings."""
        name = self.task.name
        classes = self.data.splits[split]
        if len(classes) == 0:
            raise UserError(f"{name} has no {split} classes; {self.data.hint}.")
        if isinstance(shape.tasks, str):
            raise UserError(f"no tasks of {shape.tasks!r} are known of {name}; leave tasks out.")
        if shape.ways < 2:
            raise UserError(f"{shape.ways} way: {name} is a classification; ask for 2 or more.")
        if shape.rotations not in (None, "none") and not self._turned:
            raise UserError(
                f"rotations {shape.rotations!r}: the task {name} is set up without any; set its "
                "rotations, too."
            )
        most = self._choices(split, shape)
        if shape.ways > most:
            raise UserError(
                f"{shape.ways} ways: the {split} split of {name} has {most} classes; "
                f"ask for at most {most} ways."
            )
        smallest = int(self.data.counts[classes].min())
        if shape.shots + shape.query_shots > smallest:
            raise UserError(
                f"{shape.shots} shots and {shape.query_shots} query shots: a {split} class of "
                f"{name} has {smallest} drawings; ask for at most {smallest} in all."
            )

    def sample(
        self, stream: Stream, first: int, count: int, shape: EpisodeShape, split: Split
    ) -> Episodes:
        """Return image episodes; see `Sampler.sample` and the class."""
        self.check(shape, split)
        ways, shots = shape.ways, shape.shots
        period = shape.tasks if isinstance(shape.tasks, int) else None
        words = stream.child("classes").rows(first, count, ways, period)
        chosen = choose(words, self._choices(split, shape))
        classes, rotation = self._classes(chosen, split)  # (T, ways) each
        if self.task.rotations_in(split, shape) == "episode":
            # A task gets new rotations each time it is used again (MAML, data_generator.py:138).
            rotation = below(stream.child("rotations").rows(first, count, ways), TURNS)
        # The j-th drawing of each class has its own stream, so more drawings change no others.
        each = [
            stream.child("drawings", j).rows(first, count, ways, period).reshape(-1)
            for j in range(shots + shape.query_shots)
        ]
        dealt = choose(np.stack(each, axis=1), self.data.counts[classes].reshape(-1))
        drawing = dealt.reshape(count, ways, -1) + self.data.offsets[classes][..., None]
        index = drawing + rotation[..., None] * len(self.data.images)

        size = count * shape.support_size
        x = self._take(np.concatenate([index[..., :shots], index[..., shots:]], axis=None))
        support = x[:size].unflatten(0, (count, shape.support_size))
        query = x[size:].unflatten(0, (count, shape.query_size))
        flat = [a.reshape(count, -1) for a in (drawing[..., :shots], drawing[..., shots:])]
        return Episodes(
            Examples(support, self._labels(count, ways, shots)),
            Examples(query, self._labels(count, ways, shape.query_shots)),
            np.concatenate([classes, rotation, *flat], axis=1),
            classes,
        )

    def joint_outputs(self) -> int:
        """Return the number of meta-train classes; each rotation is one if training rotates."""
        return (TURNS if self._turned else 1) * len(self.data.splits["train"])

    def joint(
        self, stream: Stream, first: int, count: int, tasks: int, shape: EpisodeShape
    ) -> Examples:
        """Return mini-batches of images drawn, with replacement, from all meta-train classes.

        Shapes: x (count, tasks * support size, C, H, W), y (count, tasks * support size) with
        labels below `joint_outputs`.
        """
        if shape.rotations not in (None, self.task.rotations):
            raise UserError(
                f"rotations {shape.rotations!r}: joint training of {self.task.name} turns "
                "characters by the task's own rule; leave rotations out."
            )
        size = tasks * shape.support_size
        words = stream.child("joint").rows(first, count, 2 * size)
        label = below(words[:, :size], self.joint_outputs())
        classes, rotation = self._classes(label, "train")
        drawing = below(words[:, size:], self.data.counts[classes]) + self.data.offsets[classes]
        index = drawing + rotation * len(self.data.images)
        x = self._take(index.reshape(-1)).unflatten(0, (count, size))
        return Examples(x, torch.from_numpy(label).to(self.device))

    def _choices(self, split: Split, shape: EpisodeShape) -> int:
        turns = TURNS if self.task.rotations_in(split, shape) == "classes" else 1
        return turns * len(self.data.splits[split])

    def _classes(self, choice: Integers, split: Split) -> tuple[Integers, Integers]:
        """Split choices among classes and their rotations into class indices and rotations."""
        classes = self.data.splits[split]
        rotation, place = np.divmod(choice, len(classes))
        return classes[place], rotation

    def _take(self, index: Integers) -> Tensor:
        chosen = self._images.index_select(0, torch.from_numpy(index).to(self.device))
        return chosen.to(torch.float32).div_(255)

    def _labels(self, count: int, ways: int, shots: int) -> Tensor:
        labels = torch.arange(ways, device=self.device).repeat_interleave(shots)
        return labels.repeat(count, 1)
