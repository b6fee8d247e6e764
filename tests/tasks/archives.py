"""A tiny set with the layout of Omniglot's archives."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from PIL import Image

TINY = {"images_background": 3, "images_evaluation": 2}
BACKGROUND, EVALUATION = TINY


def png(seed, side=105):
    pixels = np.random.default_rng(seed).random((side, side)) < 0.9
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def members(part):
    """Names and contents of a tiny archive, each drawing another picture."""
    first = 0 if part == BACKGROUND else 1000
    return {
        f"{part}/Tiny_{part[7]}/character{c + 1:02}/{c + 1:04}_{d + 1:02}.png": png(
            first + 20 * c + d
        )
        for c in range(TINY[part])
        for d in range(20)
    }


FILES = {part: members(part) for part in TINY}


def pack(folder, part, files=None, compression=zipfile.ZIP_STORED):
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{part}.zip", "w", compression) as archive:
        for name, content in (FILES[part] if files is None else files).items():
            archive.writestr(name, content)
