"""Episodes of images, on a small set whose every picture tells class and drawing."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from suite.core.errors import UserError
from suite.core.streams import Stream
from suite.tasks.base import EpisodeShape, hits
from suite.tasks.images import ImageData, ImageSampler, ImageTask

CPU = torch.device("cpu")
COUNTS = np.array([8, 9, 8, 12, 8, 10, 8, 8, 11, 8])
SPLITS = {
    "train": np.array([0, 2, 4, 6, 8, 9]),
    "validation": np.arange(0),
    "test": np.arange(1, 8, 2),
}
CLASS = np.repeat(np.arange(10), COUNTS)


class Toy(ImageTask):
    name = "toy"

    @property
    def input_shape(self):
        return (1, 4, 4)

    def load(self, data, device):
        return sampler(self)


def toy_data(**changes):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (len(CLASS), 1, 4, 4), generator=generator, dtype=torch.uint8)
    names = tuple("abcdefghij")
    return ImageData(
        **{"images": pixels, "counts": COUNTS, "names": names, "splits": SPLITS, **changes}
    )


def sampler(task=None):
    return ImageSampler(task or Toy(), toy_data(), CPU)


def shape(ways=3, shots=2, query_shots=4):
    return EpisodeShape(ways=ways, shots=shots, query_shots=query_shots)


def parts(episodes, size):
    """Split ``draw_ids`` into classes, rotations (T, ways), support and query (T, ways, n)."""
    ways = size.ways
    classes, rotations = episodes.draw_ids[:, :ways], episodes.draw_ids[:, ways : 2 * ways]
    support = episodes.draw_ids[:, 2 * ways : 2 * ways + size.support_size]
    query = episodes.draw_ids[:, 2 * ways + size.support_size :]
    return (
        classes,
        rotations,
        support.reshape(-1, ways, size.shots),
        query.reshape(-1, ways, size.query_shots),
    )


MODES = [
    ("none", True),
    ("episode", True),
    ("episode", False),
    ("classes", True),
    ("classes", False),
]


@pytest.mark.parametrize(("rotations", "rotate_test"), MODES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_are_those_of_the_draws(rotations, rotate_test, split):
    task, size = Toy(rotations=rotations, rotate_test=rotate_test), shape()
    episodes = sampler(task).sample(Stream("e"), 0, 40, size, split)
    classes, turns, support, query = parts(episodes, size)
    images = toy_data().images
    for drawn, got in ((support, episodes.support), (query, episodes.query)):
        n = drawn.shape[2]
        assert got.x.shape == (40, 3 * n, 1, 4, 4)
        assert got.x.dtype == torch.float32
        assert got.y.tolist() == [[0] * n + [1] * n + [2] * n] * 40
        for e, way, shot in np.ndindex(drawn.shape):
            picture = images[drawn[e, way, shot]].float() / 255
            turned = torch.rot90(picture, int(turns[e, way]), (1, 2))
            assert torch.equal(got.x[e, way * n + shot], turned)
        assert np.array_equal(CLASS[drawn], np.broadcast_to(classes[..., None], drawn.shape))
    assert np.isin(classes, SPLITS[split]).all()
    assert (turns.max() > 0) == (rotations != "none" and (split == "train" or rotate_test))


@pytest.mark.parametrize("rotations", ["none", "episode", "classes"])
def test_classes_of_an_episode_differ(rotations):
    size = shape(ways=6, shots=1, query_shots=1)
    episodes = sampler(Toy(rotations=rotations)).sample(Stream("e"), 0, 300, size, "train")
    classes, turns, *_ = parts(episodes, size)
    repeated = sum(len(set(row)) < 6 for row in classes.tolist())
    assert all(len(set(row)) == 6 for row in (classes * 4 + turns).tolist())
    # Only where rotations are classes may two rotations of one character meet (Reptile).
    assert (repeated > 0) == (rotations == "classes")


def test_support_and_query_share_no_drawing():
    size = shape(ways=4, shots=4, query_shots=4)
    *_, support, query = parts(sampler().sample(Stream("e"), 0, 200, size, "test"), size)
    dealt = np.concatenate([support, query], axis=2).reshape(-1, 8)
    assert all(len(set(row)) == 8 for row in dealt.tolist())


def test_fewer_queries_are_a_prefix_of_each_class():
    task, many, few = Toy(rotations="episode"), shape(query_shots=6), shape(query_shots=1)
    long = sampler(task).sample(Stream("e"), 0, 20, many, "train")
    short = sampler(task).sample(Stream("e"), 0, 20, few, "train")
    assert torch.equal(short.support.x, long.support.x)
    assert torch.equal(short.query.x, long.query.x.unflatten(1, (3, 6))[:, :, 0])
    assert torch.equal(short.query.y, long.query.y.unflatten(1, (3, 6))[:, :, 0])


def test_episodes_can_be_drawn_again_from_the_middle():
    source = sampler(Toy(rotations="episode"))
    whole = source.sample(Stream("e"), 0, 30, shape(), "train")
    part = source.sample(Stream("e"), 11, 7, shape(), "train")
    assert part.sha256() == whole[11:18].sha256()
    assert torch.equal(part.query.x, whole.query.x[11:18])


def test_classes_and_rotations_and_drawings_are_even():
    size = shape(ways=2, shots=1, query_shots=1)
    episodes = sampler(Toy(rotations="episode")).sample(Stream("e"), 0, 20_000, size, "train")
    classes, turns, support, query = parts(episodes, size)
    assert chisquare(np.unique(classes, return_counts=True)[1]).pvalue > 1e-3
    assert chisquare(np.bincount(turns.ravel())).pvalue > 1e-3
    for drawn in (support, query):
        of_eight = drawn[CLASS[drawn] == 8]
        assert chisquare(np.unique(of_eight, return_counts=True)[1]).pvalue > 1e-3
        assert len(np.unique(of_eight)) == 11


def test_protocol_and_stream_change_the_hash():
    def sha256(rotations="none", stream="e", split="train", **size):
        drawn = sampler(Toy(rotations=rotations)).sample(Stream(stream), 0, 9, shape(**size), split)
        return drawn.sha256()

    variants = [{}, {"rotations": "episode"}, {"rotations": "classes"}, {"stream": "f"}]
    variants += [{"split": "test"}, {"shots": 1}, {"ways": 2}, {"query_shots": 1}]
    assert len({sha256(**variant) for variant in variants}) == len(variants)
    assert sha256() == sha256()


def test_data_hash_is_of_the_pixels_in_order_of_name():
    data = toy_data()
    order = np.arange(10)[::-1]
    moved = torch.cat([data.images[i == CLASS] for i in order])
    names = tuple(data.names[i] for i in order)
    assert toy_data(images=moved, counts=COUNTS[order], names=names).sha256 == data.sha256
    touched = data.images.clone()
    touched[3, 0, 1, 1] ^= 1
    assert toy_data(images=touched).sha256 != data.sha256
    assert toy_data(names=tuple("bcdefghijk")).sha256 != data.sha256


@pytest.mark.parametrize(("rotations", "outputs"), [("none", 6), ("episode", 24), ("classes", 24)])
def test_joint_batches_label_all_meta_train_classes(rotations, outputs):
    source = sampler(Toy(rotations=rotations))
    assert source.joint_outputs() == outputs
    batch = source.joint(Stream("j"), 0, 50, 4, shape())
    assert batch.x.shape == (50, 24, 1, 4, 4)
    assert batch.y.shape == (50, 24)
    assert len(batch.y.unique()) == outputs
    again = source.joint(Stream("j"), 20, 5, 4, shape())
    assert torch.equal(again.x, batch.x[20:25])
    assert torch.equal(again.y, batch.y[20:25])
    turned = {
        torch.rot90(image, turn, (1, 2)).numpy().tobytes(): turn * 6 + place
        for place, c in enumerate(SPLITS["train"])
        for image in toy_data().images[c == CLASS]
        for turn in range(4)
    }
    pixels = (batch.x.flatten(0, 1) * 255).round().to(torch.uint8)
    assert [turned[picture.numpy().tobytes()] for picture in pixels] == batch.y.flatten().tolist()


@pytest.mark.parametrize(
    ("size", "split", "offender"),
    [
        (shape(ways=5), "test", "5 ways"),
        (shape(ways=25), "train", "25 ways"),
        (shape(ways=1), "test", "1 way"),
        (shape(shots=5, query_shots=4), "train", "5 shots and 4 query shots"),
        (shape(), "validation", "validation"),
    ],
)
def test_impossible_episodes_are_refused_in_one_sentence(size, split, offender):
    with pytest.raises(UserError) as error:
        sampler().sample(Stream("e"), 0, 1, size, split)
    message = str(error.value)
    assert offender in message
    assert "toy" in message
    assert message.endswith(".")
    assert ". " not in message


def test_joint_batches_hold_every_drawing_evenly():
    source = sampler()
    pictures = source.joint(Stream("j"), 0, 1000, 4, shape()).x.flatten(0, 1).flatten(1)
    seen, counts = pictures.unique(dim=0, return_counts=True)
    drawings = sum(COUNTS[SPLITS["train"]])
    assert len(seen) == drawings
    assert counts.max() < 3 * counts.min()


def test_more_rotated_classes_than_characters_are_fine():
    episodes = sampler(Toy(rotations="classes")).sample(Stream("e"), 0, 5, shape(ways=20), "train")
    assert episodes.support.x.shape[1] == 40


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_episode_shape_may_turn_characters_by_its_own_rule(split):
    size = shape()
    for task, own, turned in (
        (Toy(rotations="episode"), "none", False),
        (Toy(rotations="episode", rotate_test=False), "episode", True),
        (Toy(rotations="classes"), "none", False),
    ):
        drawn = sampler(task)
        changed = size.model_copy(update={"rotations": own})
        plain = drawn.sample(Stream("e"), 0, 40, size, split)
        found = drawn.sample(Stream("e"), 0, 40, changed, split)
        assert bool(parts(found, size)[1].any()) is turned
        if task.rotations == "episode":  # what is drawn, and from which class, stays
            for one, two in zip(parts(plain, size)[2:], parts(found, size)[2:], strict=True):
                assert np.array_equal(one, two)


def test_rotations_that_the_task_is_not_set_up_for_are_refused():
    turned = shape().model_copy(update={"rotations": "episode"})
    with pytest.raises(UserError, match="set its rotations"):
        sampler(Toy()).sample(Stream("e"), 0, 1, turned, "train")


@pytest.mark.parametrize("rotations", ["none", "episode", "classes"])
def test_tasks_that_are_drawn_once_come_again_and_are_turned_anew(rotations):
    """As in MAML's code: images, labels and their roles stay; each pass has its own rotations."""
    source = sampler(Toy(rotations=rotations))
    size = shape()
    new = source.sample(Stream("s"), 0, 4, size, "train")
    again = source.sample(Stream("s"), 0, 60, size.model_copy(update={"tasks": 4}), "train")
    first, later = parts(new, size), parts(again, size)
    which = np.arange(60) % 4
    for one, two in zip(first, later, strict=True):
        if one is not first[1]:
            assert np.array_equal(two, one[which])
    assert np.array_equal(first[1], later[1][:4])
    turned = not np.array_equal(later[1], first[1][which])
    assert turned == (rotations == "episode")
    if turned:  # all four, alike often
        assert chisquare(np.bincount(later[1].reshape(-1), minlength=4)).pvalue > 1e-3


def test_tasks_of_a_paper_are_refused():
    with pytest.raises(UserError, match="no tasks of 'maml' are known of toy"):
        sampler().check(shape().model_copy(update={"tasks": "maml"}), "test")


def test_episodes_say_the_class_of_each_label():
    size = shape()
    episodes = sampler().sample(Stream("s"), 0, 9, size, "train")
    assert np.array_equal(episodes.classes, parts(episodes, size)[0])
    assert np.array_equal(episodes[3:5].classes, episodes.classes[3:5])
    assert np.array_equal(episodes.to(CPU, torch.float64).classes, episodes.classes)


def test_hits_are_counted_by_label():
    y = torch.tensor([[1, 0, 2, 0], [2, 2, 1, 0]])
    guess = torch.tensor([[1, 2, 2, 0], [2, 1, 0, 0]])
    outputs = torch.nn.functional.one_hot(guess, 3).float()
    assert hits(outputs, y, 3).tolist() == [[1, 1, 1], [1, 0, 1]]
