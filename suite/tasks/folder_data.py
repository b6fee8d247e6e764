"""Decoding of a folder's images into the cache, which is done once."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import PIL
from PIL import Image

from suite.core.errors import UserError
from suite.tasks import cache, folder_lists
from suite.tasks.folder_lists import Labels

Resize = Literal["lanczos", "bicubic", "bilinear", "nearest"]

CODE = 1  # increase it with any change below that may change a pixel
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")  # by content: names are often wrong
MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"}


class ImageFormat(NamedTuple):
    """Processing of a picture; see the task's fields."""

    size: int
    channels: int
    resize: Resize
    jpeg: bool


def read_folder(root: Path, look: ImageFormat) -> cache.CachedArrays:
    """Return all images below the ``root`` of a data set.

    Returns:
        ``images`` (M, C, size, size) uint8, class after class; ``names`` (n,) sorted, as
        ``"train/n01532829"``; ``counts`` (n,) images of each class; ``shared`` (pairs, 2) paths of
        pictures that are the same to the bit in two splits.

    Raises:
        UserError: if the data are missing, invalid or contradictory; see
            `folder_lists.class_files`.
    """
    classes = folder_lists.class_files(root)
    key = {
        "code": CODE,
        "files": fingerprint(root, classes),
        "look": look._asdict(),
        "pillow": PIL.__version__,
    }
    return cache.cached("folder", key, lambda: decode_folder(root, classes, look))


def fingerprint(root: Path, classes: Labels) -> str:
    """Return a hash of every file's class, path, size and time, and of one file's bytes per class.

    Hashing all bytes would take minutes for originals of many gigabytes. A file that replaces
    another with exactly the same size and time in nanoseconds is not noticed, but this makes no
    record wrong, because ``data_sha256`` is the hash of the pixels that were used. The bytes of one
    file per class detect copies of other data whose times were all set to the same value.
    """
    digest = hashlib.sha256()
    for name, files in sorted(classes.items()):
        digest.update(json.dumps([name, files]).encode())
        path = root / files[0].path
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise _unreadable(path, error) from error
    return digest.hexdigest()


def decode_folder(root: Path, classes: Labels, look: ImageFormat) -> cache.CachedArrays:
    """Decode every image into one array; record pictures that are in two splits."""
    names = sorted(classes)
    counts = np.array([len(classes[name]) for name in names])
    images = np.empty((counts.sum(), look.channels, look.size, look.size), np.uint8)
    parts = np.split(images, np.cumsum(counts)[:-1])  # views, one per class

    def fill(name: str, part: np.ndarray) -> None:
        for place, file in zip(part, classes[name], strict=True):
            place[:] = picture(root / file.path, look)

    Image.init()  # not safe in threads; the rest of PIL is
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", UserWarning)  # on metadata and transparency, not used here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        list(pool.map(fill, names, parts))  # raises the first error in order of name
    pairs = _shared(classes, dict(zip(names, parts, strict=True)))
    shared = np.array(pairs, dtype=np.str_).reshape(-1, 2)
    return {"images": images, "names": np.array(names), "counts": counts, "shared": shared}


def picture(path: Path, look: ImageFormat) -> np.ndarray:
    """Return one image, (C, size, size) uint8.

    Colours are converted first, since PIL resizes palettes and single bits by nearest neighbour
    only. Transparency is dropped and EXIF orientation left, as in every few-shot loader we know.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            mode = image.mode
            flat = image.convert("RGB" if look.channels == 3 else "L") if mode in MODES else None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = Image.MAX_IMAGE_PIXELS
        raise UserError(f"{str(path)!r} has more than {limit} pixels; shrink it.") from error
    except Exception as error:  # a damaged image can raise almost any error
        raise _unreadable(path, error) from error
    if flat is None:
        raise UserError(f"{str(path)!r} has more than 8 bits a channel ({mode}); convert it to 8.")
    small = flat.resize((look.size, look.size), Image.Resampling[look.resize.upper()])
    if look.jpeg:
        file = io.BytesIO()
        small.save(file, "JPEG")
        small = Image.open(file)
    return np.asarray(small).reshape(look.size, look.size, look.channels).transpose(2, 0, 1)


def _shared(classes: Labels, pictures: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """Return the paths of each picture that is also in an earlier class of another split."""
    first: dict[bytes, tuple[str, str]] = {}
    pairs = []
    for name, files in sorted(classes.items()):
        split = name.partition("/")[0]
        for file, pixels in zip(files, pictures[name], strict=True):
            digest = hashlib.blake2b(pixels, digest_size=16).digest()
            other, path = first.setdefault(digest, (split, file.path))
            if other != split:
                pairs.append((path, file.path))
    return pairs


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None)  # system errors have it; PIL's errors do not
    if reason:
        return UserError(f"{str(path)!r} cannot be read: {reason}.")
    return UserError(
        f"{str(path)!r} is not a readable image (known are {', '.join(FORMATS)}); "
        "get it again, or take it out of the data."
    )
