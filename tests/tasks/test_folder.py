"""Image folders: every layout on tiny sets, what is refused, the cache, and the contract."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from suite.core import registry
from suite.core.component import validated
from suite.core.errors import UserError
from suite.tasks import folder_data, folder_lists
from suite.tasks.base import EpisodeShape
from suite.testing import CHECKS, contracts

CPU = torch.device("cpu")
ImageFolder = registry.tasks.get("folder")
LABELS = {
    "train": ("ant", "bee", "train"),
    "val": ("cat", "dog", "eel"),
    "test": ("fox", "gnu", "hen"),
}
EACH = 6
SIDE = 12
LOOK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape or (20, 16, 3), np.uint8)


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(
        file, kind, **options
    )
    return file.getvalue()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def swap(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


#: Label and content of each file of the small set.
PICTURES = {
    split: {
        label: {
            f"{label}{i}.png": encoded(noise(zlib.crc32(f"{label}{i}".encode())))
            for i in range(EACH)
        }
        for label in labels
    }
    for split, labels in LABELS.items()
}
FILES = [
    (split, label, name, content)
    for split, labels in PICTURES.items()
    for label, files in labels.items()
    for name, content in files.items()
]


def split_folders(root, val="val"):
    for split, label, name, content in FILES:
        put(root / (val if split == "val" else split) / label / name, content)


def flat(root, images="images", lists=""):
    """Ravi and Larochelle: one folder of images and lists of files."""
    for split in LABELS:
        rows = [f"{name},{label}" for s, label, name, _ in FILES if s == split]
        put(root / lists / f"{split}.csv", "\n".join(["filename,label", *rows]) + "\n")
    for _, _, name, content in FILES:
        put(root / images / name, content)


def class_folders(root, images="data", lists="splits/bertinetto"):
    """Bertinetto: class folders and lists of them."""
    for split, labels in LABELS.items():
        put(root / lists / f"{split}.txt", "\n".join(labels) + "\n")
    for _, label, name, content in FILES:
        put(root / images / label / name, content)


def backwards(root):
    flat(root, images="", lists="splits")
    for path in (root / "splits").iterdir():
        header, *rows = path.read_text().splitlines()
        path.write_text("\r\n".join([header, *reversed(rows)]), encoding="utf-8-sig")


def files_of_classes(root):
    class_folders(root, images="", lists="splits")
    for split in LABELS:
        rows = [f"{label}/{name}" for s, label, name, _ in reversed(FILES) if s == split]
        put(root / "splits" / f"{split}.txt", "\n".join(rows))


def labelled_files_in_class_folders(root):
    flat(root)
    for _, label, name, _ in FILES:
        put(root / "images" / label / name, b"")
        (root / "images" / name).replace(root / "images" / label / name)


def files_of_a_class_in_several_folders(root):
    flat(root)
    for i, (split, _, name, _) in enumerate(FILES):
        put(root / "images" / "ba"[i % 2] / name, b"")
        (root / "images" / name).replace(root / "images" / "ba"[i % 2] / name)
        swap(root / f"{split}.csv", f"\n{name}", f"\n{'ba'[i % 2]}/{name}")


def with_litter(root):
    split_folders(root, val="validation")
    put(root / "train" / "ant" / "Thumbs.db", b"x")
    put(root / "train" / "ant" / ".ant0.png", b"x")
    put(root / "train" / "notes.txt", b"x")
    put(root / "train" / ".git" / "x.png", b"x")
    put(root / "train.csv", "not looked at")


LAYOUTS = [
    split_folders,
    flat,
    class_folders,
    backwards,
    files_of_classes,
    labelled_files_in_class_folders,
    files_of_a_class_in_several_folders,
    with_litter,
]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("FEWSHOT_SUITE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    split_folders(tmp_path / "data")
    return tmp_path / "data"


def load(data, **fields):
    return ImageFolder(**{"size": SIDE, **fields}).load(data, CPU)


def picture(path, **fields):
    task = ImageFolder(**{"size": SIDE, **fields})
    look = folder_data.ImageFormat(task.size, task.channels, task.resize, task.jpeg)
    return folder_data.picture(path, look)


def refused(data, *offenders, **fields):
    with pytest.raises(UserError) as error:
        load(data, **fields)
    message = str(error.value)
    assert all(str(offender) in message for offender in offenders), message
    assert message.endswith(".")
    assert ". " not in message


# ------------------------------------------------------------------ layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_data(layout, tmp_path):
    layout(tmp_path / "one")
    split_folders(tmp_path / "two")
    one, two = load(tmp_path / "one"), load(tmp_path / "two")
    assert one.data_sha256 == two.data_sha256
    assert torch.equal(one.data.images, two.data.images)
    splits = {
        split: [one.data.names[i] for i in classes] for split, classes in one.data.splits.items()
    }
    assert splits == {
        split: [f"{split}/{label}" for label in LABELS[short]]
        for split, short in (("train", "train"), ("validation", "val"), ("test", "test"))
    }
    assert one.data.counts.tolist() == [EACH] * 9


def test_each_picture_is_that_of_its_file(root):
    data = load(root, resize="bicubic").data
    for split, label, name, content in FILES:
        place = data.names.index(f"{'validation' if split == 'val' else split}/{label}")
        drawn = data.images[data.offsets[place] + int(name[-5])]
        whole = Image.open(io.BytesIO(content))
        expected = np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        assert np.array_equal(drawn.permute(1, 2, 0).numpy(), expected)


def test_a_folder_of_several_sets(tmp_path):
    split_folders(tmp_path / "sets" / "one")
    flat(tmp_path / "sets" / "two")
    assert load(tmp_path / "sets", folder="one").data.images.shape == (54, 3, SIDE, SIDE)
    assert (
        load(tmp_path / "sets", folder="two").data_sha256 == load(tmp_path / "sets/one").data_sha256
    )
    refused(tmp_path / "sets", "three", "is not a folder", folder="three")
    refused(tmp_path / "sets", "has no splits", "train.csv", "splits/")


def test_nested_class_names_and_unequal_classes(tmp_path):
    class_folders(tmp_path)
    put(tmp_path / "data" / "bugs" / "ant" / "more.png", encoded(noise(7)))
    put(tmp_path / "splits/bertinetto/train.txt", "ant\nbugs/ant\n")
    data = load(tmp_path).data
    names = [data.names[i] for i in data.splits["train"]]
    assert names == ["train/ant", "train/bugs/ant"]
    assert data.counts[data.splits["train"]].tolist() == [EACH, 1]


def test_the_hash_tells_splits_and_pixels(root):
    before = load(root).data_sha256
    (root / "train" / "ant").rename(root / "test" / "ant")
    moved = load(root).data_sha256
    (root / "test" / "ant").rename(root / "train" / "ant")
    put(root / "train/ant/ant0.png", encoded(noise(1)))
    changed = load(root).data_sha256
    assert len({before, moved, changed}) == 3


def test_validation_may_be_absent(root):
    for path in sorted((root / "val").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (root / "val").rmdir()
    sampler = load(root)
    shape = EpisodeShape(ways=2, shots=1, query_shots=1)
    sampler.check(shape, "train")
    with pytest.raises(UserError, match=r"no validation classes; add a val folder or list"):
        sampler.check(shape, "validation")


def test_too_few_images_are_said(root):
    shape = EpisodeShape(ways=3, shots=5, query_shots=2)
    with pytest.raises(UserError, match=f"5 shots and 2 query shots.* has {EACH} "):
        load(root).check(shape, "test")


@pytest.mark.parametrize("check", CHECKS["task"], ids=lambda check: check.__name__)
def test_contract(check, root, monkeypatch):
    monkeypatch.setattr(contracts._Data, "folder", root)
    check("folder")


# ------------------------------------------------------------------- pixels


def test_filters_and_jpeg_differ_and_are_what_pil_does(tmp_path):
    put(tmp_path / "x.png", encoded(noise(3, 40, 30, 3)))
    whole = Image.open(tmp_path / "x.png")
    seen = set()
    for name in ("lanczos", "bicubic", "bilinear", "nearest"):
        small = whole.resize((SIDE, SIDE), Image.Resampling[name.upper()])
        again = Image.open(io.BytesIO(encoded(small, "JPEG")))
        for jpeg, expected in ((False, small), (True, again)):
            found = picture(tmp_path / "x.png", resize=name, jpeg=jpeg)
            assert np.array_equal(found.transpose(1, 2, 0), np.asarray(expected))
            assert found.dtype == np.uint8
            seen.add(found.tobytes())
    assert len(seen) == 8


def test_an_image_of_the_right_size_is_untouched_unless_stored_again(tmp_path):
    pixels = noise(4, SIDE, SIDE, 3)
    put(tmp_path / "x.png", encoded(pixels))
    assert np.array_equal(picture(tmp_path / "x.png").transpose(1, 2, 0), pixels)
    assert not np.array_equal(picture(tmp_path / "x.png", jpeg=True).transpose(1, 2, 0), pixels)


MODES = ["1", "L", "LA", "P", "RGB", "RGBA"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_colour_or_grey(mode, jpeg, channels, tmp_path):
    image = Image.fromarray(noise(5, 30, 30, 3)).convert(mode)
    put(tmp_path / "x.png", encoded(image))
    found = picture(tmp_path / "x.png", channels=channels, jpeg=jpeg)
    assert found.shape == (channels, SIDE, SIDE)
    flat_image = image.convert("RGB" if channels == 3 else "L")  # before the resize
    small = flat_image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    if jpeg:
        small = Image.open(io.BytesIO(encoded(small, "JPEG")))
    assert np.array_equal(found, np.asarray(small).reshape(SIDE, SIDE, -1).transpose(2, 0, 1))
    if mode in ("1", "L", "LA") and channels == 3 and not jpeg:
        assert (found == found[:1]).all()


def test_cmyk_transparency_and_wrong_suffixes(tmp_path):
    colour = Image.fromarray(noise(6, SIDE, SIDE, 3))
    put(tmp_path / "cmyk.jpg", encoded(colour.convert("CMYK"), "JPEG"))
    put(tmp_path / "lies.JPEG", encoded(colour))  # ILSVRC has a PNG called .JPEG
    clear = colour.convert("RGBA")
    clear.putalpha(0)
    put(tmp_path / "clear.webp", encoded(clear, "PNG"))
    assert picture(tmp_path / "cmyk.jpg").shape == (3, SIDE, SIDE)
    expected = np.asarray(colour).transpose(2, 0, 1)
    assert np.array_equal(picture(tmp_path / "lies.JPEG"), expected)
    assert np.array_equal(picture(tmp_path / "clear.webp"), expected)


@pytest.mark.parametrize("kind", folder_data.FORMATS)
def test_formats(kind, tmp_path):
    content = encoded(noise(8, 30, 20, 3), kind)
    put(tmp_path / f"x.{kind.lower()}", content)
    small = Image.open(io.BytesIO(content)).convert("RGB").resize((SIDE, SIDE), Image.LANCZOS)
    found = picture(tmp_path / f"x.{kind.lower()}")
    assert np.array_equal(found.transpose(1, 2, 0), np.asarray(small))


def test_orientation_is_left_alone(tmp_path):
    pixels = noise(9, SIDE, SIDE, 3)
    turned = Image.Exif()
    turned[0x0112] = 6
    put(tmp_path / "x.png", encoded(pixels, exif=turned))
    assert np.array_equal(picture(tmp_path / "x.png").transpose(1, 2, 0), pixels)


# -------------------------------------------------------------------- cache


def test_the_second_load_does_not_decode(root, monkeypatch):
    first = load(root)
    monkeypatch.setattr(folder_data, "picture", lambda *_: pytest.fail("decoded again"))
    again = load(root)
    assert again.data_sha256 == first.data_sha256
    assert torch.equal(again.data.images, first.data.images)


def same_time(path, content):
    before = path.stat()
    put(path, content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "time": lambda root: os.utime(root / "train/bee/bee3.png", ns=(1, 1)),
    "size": lambda root: same_time(root / "train/bee/bee3.png", encoded(noise(2)) + b"\0"),
    "name": lambda root: (root / "train/bee/bee3.png").rename(root / "train/bee/bee30.png"),
    "class": lambda root: (root / "train/bee/bee3.png").rename(root / "train/ant/bee3.png"),
    "gone": lambda root: (root / "train/bee/bee3.png").unlink(),
    "bytes of the first": lambda root: same_time(
        root / "train/bee/bee0.png",
        PICTURES["train"]["bee"]["bee0.png"][:-13] + b"\0" * 13,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(change, root):
    before = folder_data.fingerprint(root, folder_lists.class_files(root))
    assert folder_data.fingerprint(root, folder_lists.class_files(root)) == before
    CHANGES[change](root)
    assert folder_data.fingerprint(root, folder_lists.class_files(root)) != before


def test_another_label_alone_is_noticed(tmp_path):
    flat(tmp_path)
    before = folder_data.fingerprint(tmp_path, folder_lists.class_files(tmp_path))
    path = tmp_path / "train.csv"
    path.write_text(path.read_text().replace(",bee", ",bug"))
    assert folder_data.fingerprint(tmp_path, folder_lists.class_files(tmp_path)) != before


def test_a_changed_picture_and_another_look_are_decoded_anew(root):
    first = load(root).data.images
    put(root / "train/bee/bee3.png", encoded(noise(2)))
    assert (load(root).data.images != first).flatten(1).any(1).sum() == 1
    looks = [{"resize": "nearest"}, {"jpeg": True}, {"channels": 1}, {"size": 13}]
    assert len({load(root, **look).data_sha256 for look in [{}, *looks]}) == 5


def test_loads_without_a_cache_agree(root, monkeypatch, tmp_path):
    first = load(root).data_sha256
    put(tmp_path / "file", b"")
    monkeypatch.setenv("FEWSHOT_SUITE_CACHE", str(tmp_path / "file" / "cache"))
    assert load(root).data_sha256 == first


# ------------------------------------------------------------------ refused


def test_data_must_be_given(tmp_path):
    refused(None, "--data FOLDER")
    refused(tmp_path / "nowhere", "nowhere", "--data FOLDER")


FLAT = {
    "header": (lambda r: put(r / "train.csv", "label,filename\n"), "begins with 'label,filename'"),
    "no header": (lambda r: swap(r / "train.csv", "filename,label\n", ""), "begins with 'ant0.png"),
    "empty": (lambda r: put(r / "train.csv", ""), "begins with ''"),
    "no rows": (lambda r: put(r / "train.csv", "filename,label\n"), "lists no images"),
    "empty line": (lambda r: swap(r / "train.csv", "ant\nant3", "ant\n\nant3"), "line 5 is ''"),
    "last line empty": (lambda r: swap(r / "train.csv", "ant\n", "ant\n\n"), "line 3 is ''"),
    "no label": (lambda r: swap(r / "train.csv", "ant0.png,ant", "ant0.png,"), "'ant0.png,'"),
    "three": (lambda r: swap(r / "train.csv", "ant0.png", "1,ant0.png"), "'1,ant0.png,ant'"),
    "quote": (lambda r: swap(r / "train.csv", "ant0.png", '"ant0.png'), "is not CSV"),
    "bytes": (lambda r: put(r / "train.csv", b"filename,label\n\xff,a\n"), "not UTF-8"),
    "missing": (lambda r: (r / "images/bee1.png").unlink(), "'bee1.png' is missing"),
    "no images": (lambda r: (r / "images").rename(r / "pictures"), "'ant0.png' is missing"),
    "twice": (lambda r: swap(r / "train.csv", "ant0", "ant1"), "ant1.png' is listed twice"),
    "two splits": (lambda r: swap(r / "test.csv", "fox0", "ant1"), "train/ant and test/fox"),
    "class in two": (lambda r: swap(r / "val.csv", "g,cat", "g,ant"), "'ant' of"),
    "no test": (lambda r: (r / "test.csv").unlink(), "has no test.csv"),
    "no train": (lambda r: (r / "train.csv").unlink(), "has no train.csv"),
    "two lists": (lambda r: put(r / "train.txt", "ant"), "train.csv and train.txt for one split"),
    "two vals": (lambda r: put(r / "validation.csv", ""), "val.csv and validation.csv for one"),
    "no lists": (lambda r: [p.unlink() for p in r.glob("*.csv")], "has no splits"),
}


@pytest.mark.parametrize("case", FLAT)
def test_broken_lists_of_files_are_refused(case, tmp_path):
    flat(tmp_path)
    change, offender = FLAT[case]
    change(tmp_path)
    refused(tmp_path, offender, tmp_path)


UNSAFE = ["../x.png", "/etc/x.png", "a/../../x.png", "C:x.png", "..\\x.png", "./x.png", "a//x.png"]


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("column", ["filename", "label"])
def test_lists_cannot_lead_out_of_the_folder(name, column, tmp_path):
    flat(tmp_path / "set")
    put(tmp_path / "x.png", encoded(noise(1)))
    row = f"{name},ant" if column == "filename" else f"ant0.png,{name}"
    swap(tmp_path / "set/train.csv", "ant0.png,ant", row)
    refused(tmp_path / "set", "train.csv', line 2", repr(name))
    class_folders(tmp_path / "other")
    put(tmp_path / "other/splits/bertinetto/train.txt", name.removesuffix("x.png") + "\n")
    refused(tmp_path / "other", "train.txt', line 1")


LISTED = "splits/bertinetto"
CLASSES = {
    "no folder": (lambda r: swap(r / LISTED / "train.txt", "ant", "wasp"), "'wasp' is missing"),
    "no class": (lambda r: put(r / LISTED / "train.txt", "ant0.png\n"), "write CLASS/ant0.png"),
    "empty": (lambda r: put(r / LISTED / "test.txt", ""), "lists no images"),
    "empty line": (lambda r: swap(r / LISTED / "train.txt", "bee", ""), "line 2 is empty"),
    "repeated": (lambda r: swap(r / LISTED / "train.txt", "bee", "ant"), "listed twice, in train"),
    "class in two": (lambda r: swap(r / LISTED / "test.txt", "fox", "cat"), "validation and test"),
    "no file": (lambda r: swap(r / LISTED / "train.txt", "bee", "bee/9.png"), "'bee/9.png' is m"),
    "two sets": (lambda r: put(r / "splits/other/test.txt", "fox"), "both hold split lists"),
}


@pytest.mark.parametrize("case", CLASSES)
def test_broken_lists_of_classes_are_refused(case, tmp_path):
    class_folders(tmp_path)
    change, offender = CLASSES[case]
    change(tmp_path)
    refused(tmp_path, offender, tmp_path)


def test_class_folders_without_images_are_refused(tmp_path):
    class_folders(tmp_path / "lists")
    for path in (tmp_path / "lists/data/bee").iterdir():
        path.rename(path.with_suffix(".tif"))
    refused(tmp_path / "lists", "data/bee", "holds no images (.bmp .gif .jpeg")
    split_folders(tmp_path / "folders")
    (tmp_path / "folders/val/wasp").mkdir()
    refused(tmp_path / "folders", "val/wasp", "holds no images")
    split_folders(tmp_path / "one")
    put(tmp_path / "one/validation/wasp/x.png", encoded(noise(1)))
    refused(tmp_path / "one", "val and validation for one split")
    split_folders(tmp_path / "none")
    (tmp_path / "none/train").rename(tmp_path / "none/was")
    (tmp_path / "none/train").mkdir()
    refused(tmp_path / "none", "train", "has no class folders")
    put(tmp_path / "classes/ant/ant0.png", encoded(noise(1)))
    refused(tmp_path / "classes", "has no splits")


def test_a_class_in_two_split_folders_is_refused(root):
    put(root / "test/ant/other.png", encoded(noise(1)))
    refused(root, "'ant'", "train and test")


def test_loops_of_links_and_special_files_do_no_harm(root):
    before = load(root).data_sha256
    (root / "train/loop").symlink_to("loop")
    (root / "train/ant/loop.png").symlink_to("loop.png")
    (root / "train/ant/gone.png").symlink_to("nowhere.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "train/ant/pipe.png")
    assert load(root).data_sha256 == before
    (root / "train/up").symlink_to("../..")
    refused(root, "train/up", "holds no images")


def test_links_to_images_are_followed(root, tmp_path):
    before = load(root).data_sha256
    (root / "train").rename(tmp_path / "elsewhere")
    (root / "train").symlink_to(tmp_path / "elsewhere")
    assert load(root).data_sha256 == before


# -------------------------------------------------------------- broken images


def chunk(kind, content):
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def bomb(width, height, text=b""):
    """Return a PNG of that size and with that text: some bytes that claim gigabytes."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    words = chunk(b"zTXt", b"about\0\0" + zlib.compress(text))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + words + pixels


WHOLE = PICTURES["val"]["dog"]["dog4.png"]


UNREADABLE = "is not a readable image"
BROKEN = {
    "empty": (b"", UNREADABLE),
    "page": (b"<html>not found</html>", UNREADABLE),
    "cut": (WHOLE[: len(WHOLE) // 2], UNREADABLE),
    "cut jpeg": (encoded(noise(1), "JPEG")[:-200], UNREADABLE),
    "tiff": (encoded(noise(1), "TIFF"), UNREADABLE),
    "deep": (encoded(noise(1, 9, 9).astype(np.uint16)), "more than 8 bits a channel (I;16)"),
    "bomb": (bomb(12000, 10000), "has more than 89478485 pixels"),  # where PIL only warns
    "long text": (bomb(9, 9, bytes(2**21)), UNREADABLE),  # a ValueError of PIL's
    "large bomb": (bomb(30000, 30000), "has more than 89478485 pixels"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_images_are_named(root, case):
    content, offender = BROKEN[case]
    put(root / "val/dog/dog4.png", content)
    refused(root, root / "val/dog/dog4.png", offender)


def test_of_two_broken_images_always_the_first_is_named(root):
    for name in ("val/eel/eel0.png", "val/dog/dog1.png", "train/train/train5.png"):
        put(root / name, b"")
    for _ in range(5):
        refused(root, "train/train/train5.png")


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="nothing is unreadable to root"
)
def test_unreadable_files_and_folders_are_named(root):
    (root / "train/ant/ant3.png").chmod(0)
    refused(root, "ant3.png", "cannot be read")
    (root / "train/bee").chmod(0)
    refused(root, "train/bee", "cannot be read")
    (root / "train/bee").chmod(0o700)


def test_a_system_error_is_told_from_a_broken_image(root, monkeypatch):
    def fails(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Image, "open", fails)
    refused(root, "test/fox/fox0.png", "cannot be read: Input/output error")


# ------------------------------------------------------------- shared images


def test_a_picture_in_two_splits_is_refused_or_allowed(root, monkeypatch):
    # Not the same bytes, but the same pixels.
    same = encoded(noise(zlib.crc32(b"ant0")), compress_level=0)
    assert same != PICTURES["train"]["ant"]["ant0.png"]
    put(root / "test/gnu/other.png", same)
    refused(root, root / "test/gnu/other.png", root / "train/ant/ant0.png", "1 such")
    monkeypatch.setattr(folder_data, "picture", lambda *_: pytest.fail("decoded again"))
    allowed = load(root, shared_images="allow")
    assert allowed.data.counts.sum() == 55
    refused(root, "same picture")  # from the cache too


def test_copies_within_a_split_are_fine(root):
    put(root / "train/bee/copy.png", PICTURES["train"]["ant"]["ant0.png"])
    put(root / "train/ant/copy.png", PICTURES["train"]["ant"]["ant0.png"])
    assert load(root).data.counts.sum() == 56


# ------------------------------------------------------------------ identity


def test_the_draws_do_not_depend_on_pixels_or_place():
    task = ImageFolder()
    assert ImageFolder(rotations="episode").data_identity() != task.data_identity()
    others = {
        "folder": "x",
        "size": 32,
        "channels": 1,
        "resize": "nearest",
        "jpeg": True,
        "shared_images": "allow",
    }
    for key, value in others.items():
        other = ImageFolder(**{key: value})
        assert other.data_identity() == task.data_identity()
        assert other.identity() != task.identity()
    assert ImageFolder(size=32, channels=1).input_shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("values", "offender"),
    [
        ({"folder": "../other"}, "folder: '../other' is not a plain name"),
        ({"folder": "/etc"}, "folder"),
        ({"folder": "x/"}, "folder"),
        ({"size": 0}, "size"),
        ({"size": 513}, "size"),
        ({"channels": 4}, "channels"),
        ({"resize": "box"}, "resize"),
        ({"jpeg": 1}, "jpeg"),
        ({"shared": "allow"}, "did you mean 'shared_images'"),
    ],
)
def test_bad_parameters_are_refused_in_one_sentence(values, offender):
    with pytest.raises(UserError) as error:
        validated(ImageFolder, values, "task")
    assert offender in str(error.value)
    assert str(error.value).endswith(".")


# ----------------------------------------------------------------- hypothesis


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    base = tmp_path_factory.mktemp("sets")
    flat(base / "flat")
    class_folders(base / "classes")
    return base


LINES = st.sampled_from(
    [
        "", " ", ",", "filename,label", "ant0.png,ant", "ant0.png,fox", "fox", "ant",
        "ant/ant0.png", "../../x.png,ant", "..", "/", "/etc/passwd,x", "ant\x00", "a" * 5000,
        '"', '"a\nb",c', "é,é", "\ufeff", "\u2028", "ant0.png,ant\r", ".", "C:\\x.png,a", "nul",
    ]
)  # fmt: skip


@LOOK
@given(data=st.data())
def test_spoilt_lists(data, sets):
    which, lists = data.draw(st.sampled_from([("flat", "."), ("classes", LISTED)]))
    root = sets / which
    path = data.draw(st.sampled_from(sorted((root / lists).glob("t*.*"))))
    whole = path.read_bytes()
    lines = whole.decode().split("\n")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["remove", "insert", "replace", "text"])):
            case "remove":
                del lines[at : at + data.draw(st.integers(1, 9))]
                lines = lines or [""]
            case "insert":
                lines.insert(at, data.draw(LINES))
            case "replace":
                lines[at] = data.draw(LINES)
            case "text":
                lines[at] = data.draw(st.text(max_size=9))
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    path.write_bytes(content)
    try:
        classes = folder_lists.class_files(root)
    except UserError as error:
        assert str(root) in str(error)
        assert str(error).endswith(".")
    else:  # what is accepted is a part of the truth
        truth = {(label, name) for _, label, name, _ in FILES}
        for name, files in classes.items():
            label = name.partition("/")[2]
            for file in files:
                assert which == "flat" or (label, Path(file.path).name) in truth
                assert (root / file.path).is_file()
                assert ".." not in file.path
    finally:
        path.write_bytes(whole)


SAMPLES = {kind: encoded(noise(11, 9, 9, 3), kind) for kind in folder_data.FORMATS}


@LOOK
@given(data=st.data())
def test_spoilt_images(data, tmp_path_factory):
    content = bytearray(SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["change", "cut", "take", "put"])):
            case "change":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[max(at, 1) :]
            case "take":
                del content[at : at + data.draw(st.integers(1, 20))]
            case "put":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        content = content or bytearray(1)
    path = tmp_path_factory.getbasetemp() / "spoilt.png"
    path.write_bytes(content)
    try:
        found = picture(path, jpeg=data.draw(st.booleans()))
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert found.shape == (3, SIDE, SIDE)
