"""Straight lines: y = a x + b with a and b in [-1, 1] and x in [-5, 5]."""

import numpy as np
import torch

from suite import registry
from suite.core.episodes import Episodes, Examples
from suite.core.streams import uniform
from suite.tasks.base import Sampler, Task


@registry.task("lines")
class Lines(Task):
    kind = "regression"

    @property
    def input_shape(self):
        return (1,)

    def load(self, data, device):
        return LineSampler(device)


class LineSampler(Sampler):
    def __init__(self, device):
        self.device = device

    def sample(self, stream, first, count, shape, split):
        self.check(shape, split)  # refuses what this task does not know
        line = uniform(stream.child("line").rows(first, count, 2), -1, 1)  # (T, 2)
        # The support set and each query point have streams of their own: more queries move nothing.
        words = [stream.child("support").rows(first, count, shape.support_size)]
        words += [stream.child("query", q).rows(first, count, 1) for q in range(shape.query_size)]
        x = uniform(np.concatenate(words, axis=1), -5, 5)  # (T, S + Q)
        y = line[:, :1] * x + line[:, 1:]
        xy = torch.from_numpy(np.stack([x, y]).astype(np.float32)).to(self.device)[..., None]
        (support_x, support_y), (query_x, query_y) = xy.tensor_split([shape.support_size], dim=2)
        draw_ids = np.concatenate([line, x], axis=1)  # what identifies an episode
        return Episodes(Examples(support_x, support_y), Examples(query_x, query_y), draw_ids)
