"""The embedded image task: made once for all tests, then looked at."""

import numpy as np
import pytest
import torch

from suite.core import registry
from suite.core.component import validated
from suite.core.errors import UserError
from suite.core.streams import Stream
from suite.tasks import cache, glyphs_data
from suite.tasks.base import EpisodeShape

CPU = torch.device("cpu")
Glyphs = registry.tasks.get("glyphs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("glyphs")


@pytest.fixture(autouse=True)
def _cache(monkeypatch, folder):
    monkeypatch.setenv("FEWSHOT_SUITE_CACHE", str(folder))


@pytest.fixture(scope="module")
def sampler(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_SUITE_CACHE", str(folder))
        return Glyphs().load(None, CPU)


def test_there_are_enough_classes_and_no_two_splits_share_one(sampler):
    splits = sampler.data.splits
    assert len(sampler.data.names) >= 1200
    assert len(splits["train"]) >= 700
    assert len(splits["validation"]) >= 150
    assert len(splits["test"]) >= 180
    every = np.concatenate(list(splits.values()))
    assert sorted(every.tolist()) == list(range(len(sampler.data.names)))


def test_scripts_of_the_splits_differ(sampler):
    scripts = {
        split: {sampler.data.names[i].split("/")[0] for i in members}
        for split, members in sampler.data.splits.items()
    }
    assert scripts == {split: set(names) for split, names in glyphs_data.SPLITS.items()}


# Latin A, C, K, O, W, X, S and e-grave stand for all of these, in either case and any script.
@pytest.mark.parametrize("merged", "ΑАϹСсcΚОοоՕowхxѕѐ")
def test_look_alikes_have_no_class_of_their_own(sampler, merged):
    codes = {name.split("/")[1] for name in sampler.data.names}
    assert f"U+{ord(merged):04X}" not in codes
    assert {f"U+{ord(letter):04X}" for letter in "ACKOWXSè"} <= codes


def test_drawings_of_a_class_differ_and_keep_their_ink_inside(sampler):
    data = sampler.data
    assert data.counts.min() >= glyphs_data.MIN_DRAWINGS
    assert data.counts.max() == len(glyphs_data.FACES)
    images = data.images.numpy()
    for offset, count in zip(data.offsets, data.counts, strict=True):
        drawings = {image.tobytes() for image in images[offset : offset + count]}
        assert len(drawings) == count
    assert (images.max(axis=(1, 2, 3)) > 128).all()
    edge = np.concatenate(
        [images[:, 0, 0], images[:, 0, -1], images[:, 0, :, 0], images[:, 0, :, -1]]
    )
    assert (edge > 128).mean() < 0.005


def test_nearest_neighbour_is_neither_blind_nor_perfect(sampler):
    shape = EpisodeShape(ways=5, shots=1, query_shots=1)
    episodes = sampler.sample(Stream("nearest"), 0, 500, shape, "test")
    distance = torch.cdist(episodes.query.x.flatten(2), episodes.support.x.flatten(2))
    right = torch.gather(episodes.support.y, 1, distance.argmin(-1)) == episodes.query.y
    assert 0.45 < right.float().mean().item() < 0.75


def test_a_second_load_reads_the_cache_and_a_torn_file_is_made_again(sampler, folder, monkeypatch):
    (path,) = folder.glob("glyphs-*.npz")
    whole = path.read_bytes()
    monkeypatch.setattr(glyphs_data, "make_glyphs", lambda *_: pytest.fail("built again"))
    assert Glyphs().load(None, CPU).data_sha256 == sampler.data_sha256
    monkeypatch.setattr(glyphs_data, "make_glyphs", lambda *_: {"built": np.arange(3)})
    path.write_bytes(whole[: len(whole) // 2])
    assert glyphs_data.read_glyphs(1.0)["built"].tolist() == [0, 1, 2]
    path.write_bytes(whole)


def test_key_covers_rasteriser_and_distortion(monkeypatch):
    keys = []
    monkeypatch.setattr(glyphs_data, "cached", lambda name, key, build: keys.append(repr(key)))
    glyphs_data.read_glyphs(1.0)
    glyphs_data.read_glyphs(0.5)
    monkeypatch.setattr(glyphs_data.features, "version", lambda feature: "0.0")
    glyphs_data.read_glyphs(1.0)
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("values", "offender"),
    [
        ({"distortion": -1.0}, "distortion"),
        ({"distortion": "much"}, "distortion"),
        ({"rotations": "some"}, "rotations"),
        ({"rotation": "none"}, "did you mean 'rotations'"),
    ],
)
def test_bad_parameters_are_refused_in_one_sentence(values, offender):
    with pytest.raises(UserError) as error:
        validated(Glyphs, values, "task")
    assert offender in str(error.value)
    assert str(error.value).endswith(".")


class TestCache:
    def build(self):
        self.built = getattr(self, "built", 0) + 1
        return {"a": np.arange(self.built, self.built + 3), "names": np.array(["x", "é"])}

    def load(self, **key):
        return cache.cached("c", key, self.build)["a"].tolist()

    @pytest.fixture(autouse=True)
    def _empty(self, monkeypatch, tmp_path):
        self.home = tmp_path / "deep" / "cache"
        monkeypatch.setenv("FEWSHOT_SUITE_CACHE", str(self.home))

    def test_equal_keys_build_once(self):
        assert self.load(k=1) == self.load(k=1) == [1, 2, 3]
        assert self.load(k=2) == [2, 3, 4]
        assert not list(self.home.glob("*.tmp"))

    def test_foreign_and_changed_content_is_built_again(self):
        self.load(k=1)
        (path,) = self.home.glob("*.npz")
        with np.load(path) as file:
            arrays = dict(file)
        for change in (
            {"a": np.arange(9)},
            {"content_sha256": np.array("0")},
            {"more": np.zeros(1)},
        ):
            np.savez(path, **{**arrays, **change})
            built = self.built
            assert self.load(k=1) == [built + 1, built + 2, built + 3]
        path.write_bytes(b"<html>")
        assert self.load(k=1)[0] == self.built

    def test_pickles_are_never_loaded(self):
        self.load(k=1)
        (path,) = self.home.glob("*.npz")
        np.savez(path, a=np.array([print], dtype=object))
        assert self.load(k=1) == [2, 3, 4]

    def test_a_folder_that_cannot_be_written_only_means_no_caching(self):
        self.home.parent.mkdir(parents=True)
        self.home.write_text("a file where the folder should be")
        assert self.load(k=1) == [1, 2, 3]
        assert self.load(k=1) == [2, 3, 4]

    def test_folder_follows_the_environment(self, monkeypatch, tmp_path):
        assert cache.folder() == self.home
        monkeypatch.delenv("FEWSHOT_SUITE_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache.folder() == tmp_path / "fewshot-suite"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache.folder() == tmp_path / ".cache" / "fewshot-suite"
