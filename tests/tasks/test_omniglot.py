"""Omniglot: reading what users have, on a tiny set of the real layout (and the real one if any)."""

import importlib.util
import io
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from suite.core import registry
from suite.core.component import validated
from suite.core.errors import UserError
from suite.tasks import omniglot_data
from suite.tasks.base import EpisodeShape
from suite.tasks.omniglot import split_classes
from tests.tasks.archives import BACKGROUND, EVALUATION, FILES, TINY, pack, png

CPU = torch.device("cpu")
Omniglot = registry.tasks.get("omniglot")
REAL_PARTS = dict(omniglot_data.PARTS)
REAL = Path(
    os.environ.get("FEWSHOT_SUITE_OMNIGLOT")
    or Path(__file__).parents[2].parent / "shared" / "data" / "omniglot"
)


def unpack(folder, part):
    for name, content in FILES[part].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch, tmp_path):
    monkeypatch.setattr(omniglot_data, "PARTS", TINY)
    monkeypatch.setenv("FEWSHOT_SUITE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path):
    for part in TINY:
        pack(tmp_path / "data", part)
    return tmp_path / "data"


def load(data, **fields):
    return Omniglot(**{"split": "alphabets", **fields}).load(data, CPU)


def test_pictures_are_resized_and_inverted(data):
    sampler = load(data, resize="lanczos")
    assert sampler.data.images.shape == (100, 1, 28, 28)
    content = FILES[EVALUATION]["images_evaluation/Tiny_e/character02/0002_03.png"]
    grey = Image.open(io.BytesIO(content)).convert("L")
    expected = 255 - np.asarray(grey.resize((28, 28), Image.Resampling.LANCZOS))
    assert np.array_equal(sampler.data.images[4 * 20 + 2, 0].numpy(), expected)
    raw = load(data, resize="lanczos", ink=0).data.images
    assert torch.equal(255 - raw, sampler.data.images)
    nearest = load(data).data.images  # what both papers' code comes to on 1-bit images
    assert set(nearest.unique().tolist()) == {0, 255}
    assert not torch.equal(nearest, sampler.data.images)


def test_alphabets_split_is_background_against_evaluation(data):
    splits = load(data).data.splits
    assert [splits[s].tolist() for s in ("train", "validation", "test")] == [[0, 1, 2], [], [3, 4]]


def test_every_packing_is_the_same_data(data, tmp_path):
    plain = load(data).data_sha256
    for part in TINY:
        backwards = dict(reversed(FILES[part].items())) | {"__MACOSX/._x.png": b"", f"{part}/": b""}
        pack(tmp_path / "repacked", part, backwards, zipfile.ZIP_DEFLATED)
        unpack(tmp_path / "folders", part)
        pack(tmp_path / "torchvision" / "omniglot-py", part)
        pack(tmp_path / "parent" / "omniglot", part)
    for name in ("repacked", "folders", "torchvision", "parent"):
        assert load(tmp_path / name).data_sha256 == plain
    changed = FILES[BACKGROUND] | {"images_background/Tiny_b/character01/0001_01.png": png(99999)}
    pack(data, BACKGROUND, changed)
    assert load(data).data_sha256 != plain


def test_the_second_load_does_not_decode(data, monkeypatch):
    first = load(data).data_sha256
    monkeypatch.setattr(omniglot_data, "decode_drawings", lambda *_: pytest.fail("decoded again"))
    assert load(data).data_sha256 == first


def test_an_archive_goes_before_a_half_unpacked_folder(data):
    (data / BACKGROUND).mkdir()
    assert load(data).data_sha256


FIRST = "images_background/Tiny_b/character01/0001_01.png"
BOMB = {"images_background/Tiny_b/character01/bomb.png": bytes(2**21)}


@pytest.mark.parametrize(
    ("content", "offender"),
    [
        (b"<!DOCTYPE html><html>not found</html>", "is an HTML page"),
        (b"PK\x03\x04 torn", "is a damaged zip archive"),
        (b"what?", "is not a zip archive"),
        ({}, "0 characters, but Omniglot has 3"),
        ({k: v for k, v in FILES[BACKGROUND].items() if "r02" not in k}, "2 characters"),
        ({k: v for k, v in FILES[BACKGROUND].items() if k != FIRST}, "has 19 drawings"),
        (FILES[BACKGROUND] | {FIRST: png(0, side=28)}, "is 28x28, not 105x105"),
        (FILES[BACKGROUND] | {FIRST: b"no picture"}, "not a readable PNG"),
        (FILES[BACKGROUND] | {FIRST: png(0)[:60]}, "not a readable PNG"),
        (FILES[BACKGROUND] | {"../evil.png": b""}, "unsafe name '../evil.png'"),
        (FILES[BACKGROUND] | {"/etc/evil.png": b""}, "unsafe name '/etc/evil.png'"),
        (FILES[BACKGROUND] | BOMB, "too large to be Omniglot"),
        (FILES[EVALUATION], "holds 'images_evaluation/"),
    ],
)
def test_bad_archives_are_refused_in_one_sentence(data, content, offender):
    if isinstance(content, bytes):
        (data / "images_background.zip").write_bytes(content)
    else:
        pack(data, BACKGROUND, content)
    refused(data, offender, "images_background.zip" if "has 19" not in offender else "character01")


def test_truncated_and_flipped_archives_are_refused(data):
    path = data / "images_background.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(data, "damaged", "images_background.zip")
    at = whole.index(b"IDAT") + 30
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    refused(data, "damaged", "images_background.zip")


def test_missing_data_are_named(data, tmp_path):
    refused(tmp_path / "nowhere", "nowhere", "--data FOLDER")
    (data / "images_evaluation.zip").unlink()
    refused(data, "images_evaluation.zip", "missing")
    (data / "images_background.zip").unlink()
    refused(data, "no Omniglot in", "images_background.zip")


def test_without_a_network_the_user_is_sent_to_a_folder(monkeypatch):
    def offline():
        raise OSError("network is unreachable")

    monkeypatch.setattr(omniglot_data, "torchvision_datasets", offline)
    refused(None, "network is unreachable", "--data FOLDER")


def test_download_keeps_only_whole_archives(monkeypatch, data, tmp_path):
    fetched = []

    class Fake:
        download_url_prefix = "https://example.org"
        zips_md5 = dict.fromkeys(TINY, "0")
        utils = None

        @staticmethod
        def download_url(url, root, filename, md5):
            fetched.append(filename)
            (Path(root) / filename).write_bytes(
                (data / filename).read_bytes()[: 10 if torn else None]
            )
            if torn:
                raise RuntimeError("File not found or corrupted.")

    Fake.Omniglot = Fake.utils = Fake
    monkeypatch.setattr(omniglot_data, "torchvision_datasets", lambda: Fake)
    torn = True
    refused(None, "corrupted", "--data FOLDER")
    torn = False
    assert load(None).data_sha256 == load(data).data_sha256
    assert load(None).data_sha256
    assert len(fetched) == 3  # one torn, then each once
    left = {path.name for path in (tmp_path / "cache" / "omniglot").iterdir()} - {".lock"}
    assert left == {"images_background.zip", "images_evaluation.zip"}


def refused(data, *offenders):
    with pytest.raises(UserError) as error:
        load(data)
    message = str(error.value)
    assert all(offender in message for offender in offenders), message
    assert message.endswith(".")
    assert ". " not in message


NAMES = tuple(f"images_{'background' if i < 964 else 'evaluation'}/{i:04}" for i in range(1623))


@pytest.mark.parametrize(
    ("rule", "sizes"),
    [
        ("random_1100", [1100, 100, 423]),
        ("random_1200", [1200, 0, 423]),
        ("reptile", [1200, 0, 423]),
        ("alphabets", [964, 0, 659]),
    ],
)
def test_splits_have_the_published_sizes_and_share_nothing(rule, sizes):
    splits = split_classes(rule, 1, NAMES)
    assert [len(splits[s]) for s in ("train", "validation", "test")] == sizes
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(1623))


# Characters of each alphabet: a fact of the data set.
THIRTY = {
    "Alphabet_of_the_Magi": 20,
    "Anglo-Saxon_Futhorc": 29,
    "Arcadian": 26,
    "Armenian": 41,
    "Asomtavruli_(Georgian)": 40,
    "Balinese": 24,
    "Bengali": 46,
    "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14,
    "Braille": 26,
    "Burmese_(Myanmar)": 34,
    "Cyrillic": 33,
    "Early_Aramaic": 22,
    "Futurama": 26,
    "Grantha": 43,
    "Greek": 24,
    "Gujarati": 48,
    "Hebrew": 22,
    "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16,
    "Japanese_(hiragana)": 52,
    "Japanese_(katakana)": 47,
    "Korean": 40,
    "Latin": 26,
    "Malay_(Jawi_-_Arabic)": 40,
    "Mkhedruli_(Georgian)": 41,
    "N_Ko": 33,
    "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14,
    "Sanskrit": 42,
    "Syriac_(Estrangelo)": 23,
    "Tagalog": 17,
    "Tifinagh": 55,
}
TWENTY = {
    "Angelic": 20, "Atemayar_Qelisayer": 26, "Atlantean": 26, "Aurek-Besh": 26, "Avesta": 26,
    "Ge_ez": 26, "Glagolitic": 45, "Gurmukhi": 45, "Kannada": 41, "Keble": 26, "Malayalam": 47,
    "Manipuri": 40, "Mongolian": 30, "Old_Church_Slavonic_(Cyrillic)": 45, "Oriya": 46,
    "Sylheti": 28, "Syriac_(Serto)": 23, "Tengwar": 25, "Tibetan": 42, "ULOG": 26,
}  # fmt: skip


def test_reptiles_split_is_that_of_its_code():
    """One list of all characters, sorted by alphabet, shuffled with seed 0 and cut after 1200."""
    both = (("background", THIRTY), ("evaluation", TWENTY))
    names = tuple(
        f"images_{part}/{alphabet}/character{i:02}"
        for part, alphabets in both
        for alphabet, count in sorted(alphabets.items())
        for i in range(1, count + 1)
    )
    characters = [
        f"{alphabet}/character{i:02}"
        for alphabet, count in sorted((THIRTY | TWENTY).items())
        for i in range(1, count + 1)
    ]
    random.seed(0)
    random.shuffle(characters)
    splits = split_classes("reptile", 1, names)
    found = {s: [names[i].split("/", 1)[1] for i in splits[s]] for s in splits}
    assert found["train"] == characters[:1200]
    assert found["test"] == characters[1200:]
    # As drawn once by hand, should the library's shuffle ever change.
    assert found["train"][0] == "Japanese_(hiragana)/character47"
    assert found["train"][-1] == "Grantha/character18"
    assert found["test"][0] == "Malayalam/character17"
    assert found["test"][-1] == "Japanese_(hiragana)/character15"


def test_a_split_for_every_seed():
    task = Omniglot(split_by_seed=True, split_seed=3)
    assert task.for_seed(4) == Omniglot(split_seed=7)
    assert Omniglot().for_seed(4) == Omniglot()
    assert "split_by_seed" not in Omniglot().identity()
    with pytest.raises(UserError, match="the split 'reptile' is one split; leave it out"):
        validated(Omniglot, {"split": "reptile", "split_by_seed": True}, "task")


def test_split_seed_names_the_shuffle():
    one, again, two = (split_classes("random_1100", seed, NAMES)["test"] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert set(one.tolist()) != set(two.tolist())
    assert not np.array_equal(np.sort(one), np.arange(1200, 1623))


def test_absent_validation_is_said_with_the_mend(data):
    with pytest.raises(UserError, match=r"no validation classes; set split = 'random_1100'"):
        load(data).check(EpisodeShape(ways=2, shots=1, query_shots=1), "validation")


def test_identity_of_the_draws_leaves_out_pixels():
    assert Omniglot().data_identity() == Omniglot(ink=0, resize="nearest").data_identity()
    assert Omniglot().data_identity() != Omniglot(split_seed=2).data_identity()
    assert Omniglot().identity() != Omniglot(ink=0).identity()


@pytest.mark.parametrize(
    ("values", "offender"),
    [
        ({"split": "random"}, "split"),
        ({"ink": 2}, "ink"),
        ({"resize": "bicubic"}, "resize"),
        ({"split_seed": 1.5}, "split_seed"),
        ({"rotate_tests": True}, "did you mean 'rotate_test'"),
    ],
)
def test_bad_parameters_are_refused_in_one_sentence(values, offender):
    with pytest.raises(UserError) as error:
        validated(Omniglot, values, "task")
    assert offender in str(error.value)
    assert str(error.value).endswith(".")


@pytest.mark.skipif(not importlib.util.find_spec("torchvision"), reason="torchvision is missing")
def test_torchvision_datasets_can_be_imported():
    # In a process of its own: an import cannot be taken back.
    code = (
        "from suite.tasks.torchvision_import import torchvision_datasets as t;"
        "assert t() is t(); print(t().Omniglot.zips_md5['images_background'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "68d2efa1b9178cc56df9314c21c6e718", done.stderr


@pytest.mark.skipif(
    not REAL.is_dir(), reason="set FEWSHOT_SUITE_OMNIGLOT to a folder with Omniglot"
)
def test_the_real_data_set(monkeypatch):
    monkeypatch.setattr(omniglot_data, "PARTS", REAL_PARTS)
    sampler = Omniglot(resize="nearest").load(REAL, CPU)
    assert len(sampler.data.names) == 1623
    assert sampler.data.images.shape == (32460, 1, 28, 28)
    assert 0.05 < (sampler.data.images > 127).float().mean() < 0.25
