"""Construction of the glyphs: render, merge look-alikes, split by script, distort.

Two characters look alike if their renderings, cropped to the ink and fitted to one box, are nearly
the same picture in most faces. Position and size do not distinguish characters, because episodes
move and scale them at random. All decisions use integers, so they are the same everywhere.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import PIL
from fontTools.ttLib import TTFont
from PIL import Image, ImageFont, ImageOps, features
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from suite.core.streams import Stream, uniform
from suite.tasks.base import Split
from suite.tasks.cache import CachedArrays, cached

CODE = 1  # increase it with any change below that may change a pixel

FACES = tuple(
    f"DejaVu{family}{style}"
    for family, slant in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
    for style in ("", "-Bold", f"-{slant}", f"-Bold{slant}")
)
SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("LATIN", "COMMON"),  # COMMON: digits, punctuation, signs
    "validation": ("GREEK",),
    "test": ("CYRILLIC", "ARMENIAN", "GEORGIAN"),
}
SCRIPTS = tuple(script for scripts in SPLITS.values() for script in scripts)

SIDE = 28
POINTS = 96  # font size of the renderings
BOX = 20  # the longer side of an undistorted drawing
FINER = 4  # drawings are distorted at this multiple of their size, then averaged
DRAWN_ALIKE = 0.01  # two faces draw a character alike: one drawing
LOOK_ALIKE = 0.025  # two characters look alike: one class
CASE_ALIKE = 0.17  # ... if they are two cases of one letter, which may differ only in size (C c)
TOO_NEAR = 0.06  # ... so near that they must not be in two splits
MOST = len(FACES) // 2 + 1
MIN_DRAWINGS = 10  # with 5 shots there are 5 queries left, as in MAML's tests

ROTATION, SCALE, SHEAR, SHIFT = 12.0, (0.85, 1.1), 0.15, 1.5  # degrees; factor; slope; pixels


def read_glyphs(distortion: float) -> CachedArrays:
    """Return the glyphs from the cache, or make them, which takes some seconds.

    Returns:
        ``images`` (M, 28, 28) uint8 with ink 255; ``counts`` (n,) drawings of each class;
        ``names`` (n,) as ``"GREEK/U+03A9"``; ``split`` (n,) index into `SPLITS`.
    """
    fonts = [Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf" for face in FACES]
    key = {
        "code": CODE,
        "fonts": [hashlib.sha256(font.read_bytes()).hexdigest() for font in fonts],
        "freetype": features.version("freetype2"),
        "pillow": PIL.__version__,
        "unicode": unicodedata.unidata_version,
        "distortion": distortion,
    }
    return cached("glyphs", key, lambda: make_glyphs(fonts, distortion))


def make_glyphs(fonts: Sequence[Path], distortion: float) -> CachedArrays:
    """Render every character that all ``fonts`` have and make classes of them."""
    characters = sorted(
        (c for c in map(chr, _common(fonts)) if unicodedata.category(c)[0] not in "MZC"),
        key=lambda c: (SCRIPTS.index(script(c)), c),
    )
    faces = [
        ImageFont.truetype(str(font), POINTS, layout_engine=ImageFont.Layout.BASIC)
        for font in fonts
    ]
    inks, kept, fitted = [], [], []
    for character in characters:
        ink = [_render(face, character) for face in faces]
        if all(image.getbbox() for image in ink):
            boxes = np.stack([_fit(image) for image in ink])
            distinct = _distinct(boxes)
            if len(distinct) >= MIN_DRAWINGS:
                inks.append([(face, ink[face]) for face in distinct])
                fitted.append(boxes)
                kept.append(character)
    split = np.array([_split(character) for character in kept])
    chosen = _classes(np.stack(fitted), split, np.array([c.lower() for c in kept]))
    images = [
        _draw(ink, ord(kept[i]) * len(FACES) + face, distortion)
        for i in chosen
        for face, ink in inks[i]
    ]
    return {
        "images": np.stack(images),
        "counts": np.array([len(inks[i]) for i in chosen]),
        "names": np.array([f"{script(kept[i])}/U+{ord(kept[i]):04X}" for i in chosen]),
        "split": split[chosen],
    }


def script(character: str) -> str:
    """Return the script of a character, one of `SCRIPTS`.

    A compatibility character (superscript, ligature, unit) has the script of its equivalent.
    """
    name = unicodedata.name(unicodedata.normalize("NFKD", character)[0], "")
    return next((script for script in SCRIPTS if script in name.split()), "COMMON")


def _split(character: str) -> int:
    return next(i for i, scripts in enumerate(SPLITS.values()) if script(character) in scripts)


def _common(fonts: Sequence[Path]) -> set[int]:
    """Return the code points that every font draws."""
    points = []
    for font in fonts:
        with TTFont(font, lazy=True) as file:
            points.append(set(file.getBestCmap()))
    return set.intersection(*points)


def _render(face: ImageFont.FreeTypeFont, character: str) -> Image.Image:
    """Return the image of a character, cropped to its ink; an empty image if it has no ink."""
    mask = face.getmask(character, "L")
    image = (
        Image.frombytes("L", mask.size, bytes(mask)) if all(mask.size) else Image.new("L", (1, 1))
    )
    return image.crop(image.getbbox() or (0, 0, 1, 1))


def _fit(image: Image.Image) -> np.ndarray:
    """Return the picture in the middle of a box, (BOX * BOX,) uint8 below 128."""
    scale = BOX / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    box = Image.new("L", (BOX, BOX))
    small = image.resize((width, height), Image.Resampling.BOX)
    box.paste(small, ((BOX - width) // 2, (BOX - height) // 2))
    # With seven bits per pixel, inner products of whole pictures stay exact in float32.
    return np.asarray(box).reshape(-1) >> 1


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return |a - b|^2 / (|a|^2 + |b|^2) between all pictures of two lists, in [0, 1]."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    power = np.square(a).sum(1)[:, None] + np.square(b).sum(1)
    return 1 - 2 * (a @ b.T) / power


def _distinct(boxes: np.ndarray) -> list[int]:
    """Return the faces whose drawings repeat no earlier one; ``boxes`` is (faces, BOX * BOX)."""
    alike = _distances(boxes, boxes) < DRAWN_ALIKE
    distinct: list[int] = []
    for face in range(len(boxes)):
        if not alike[face, distinct].any():
            distinct.append(face)
    return distinct


def _classes(fitted: np.ndarray, split: np.ndarray, letter: np.ndarray) -> np.ndarray:
    """Choose the characters that represent classes.

    Args:
        fitted: pictures (characters, faces, BOX * BOX), training scripts first.
        split: index (characters,) of each character's split, never decreasing.
        letter: each character in lower case, (characters,).

    Returns:
        Indices of the chosen characters: the first of each set of look-alikes, if no character of
        an earlier split is too near.
    """
    n = len(fitted)
    alike, near = np.zeros((n, n), np.uint8), np.zeros((n, n), np.uint8)
    limit = np.where(letter[:, None] == letter, CASE_ALIKE, LOOK_ALIKE)
    for face in range(fitted.shape[1]):
        distance = _distances(fitted[:, face], fitted[:, face])
        alike += distance < limit
        near += distance < TOO_NEAR
    _, label = connected_components(coo_array(alike >= MOST), directed=False)
    _, first = np.unique(label, return_index=True)  # the first is from the earliest split
    earlier = split[None, :] < split[first][:, None]
    return np.sort(first[~((near[first] >= MOST) & earlier).any(1)])


def _draw(ink: Image.Image, row: int, distortion: float) -> np.ndarray:
    """Return the ink, fitted and distorted, as (SIDE, SIDE) uint8; ``row`` names the drawing."""
    words = Stream("glyphs", "distortion").rows(row, 1, 5)[0]
    unit = [float(u) * distortion for u in uniform(words, -1, 1)]
    angle, shear = math.radians(ROTATION * unit[0]), SHEAR * unit[1]
    middle, half = sum(SCALE) / 2, (SCALE[1] - SCALE[0]) / 2
    scale = (middle + half * unit[2]) * FINER * BOX / max(ink.size)
    cos, sin = math.cos(angle), math.sin(angle)
    # The map from each pixel of the drawing to its source undoes shift, rotation, shear and scale.
    a, b = (cos + shear * sin) / scale, (sin - shear * cos) / scale
    d, e = -sin / scale, cos / scale
    x = FINER * (SIDE / 2 + SHIFT * unit[3])
    y = FINER * (SIDE / 2 + SHIFT * unit[4])
    # An empty frame keeps the outermost ink: PIL drops pixels that need values beyond the edge.
    framed = ImageOps.expand(ink, border=2)
    matrix = (a, b, framed.width / 2 - a * x - b * y, d, e, framed.height / 2 - d * x - e * y)
    size = (SIDE * FINER, SIDE * FINER)
    big = framed.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(big.reduce(FINER))
