"""Reading of Omniglot (Lake et al. 2015) from folders or archives; archives are not unpacked."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import socket
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import PIL
from filelock import FileLock
from PIL import Image

from suite.core.errors import UserError
from suite.tasks import cache
from suite.tasks.torchvision_import import torchvision_datasets

OmniglotResize = Literal["lanczos", "nearest"]

CODE = 1  # increase it with any change below that may change a pixel
PARTS = {"images_background": 964, "images_evaluation": 659}  # characters of each archive
DRAWINGS = 20
SOURCE_SIDE = 105
SIDE = 28
LAYOUTS = (".", "omniglot-py", "omniglot", "omniglot/omniglot-py")  # below the user's folder
LARGEST_FILE = 2**20  # bytes; a drawing has about 250
LARGEST_PART = 2**28
TIMEOUT_S = 30

_MEMBER = re.compile(r"(?P<part>[^/]+)/(?P<name>[^/]+/character\d+)/[^/]+\.png")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError)


def read_omniglot(data: Path | None, resize: OmniglotResize) -> cache.CachedArrays:
    """Return the drawings, 28x28, from the user's folder or, if ``data`` is None, the network.

    Returns:
        ``images`` (M, 28, 28) uint8 with ink 0 on 255, 20 of each class, class after class;
        ``names`` (n,) sorted, such as ``"images_background/Greek/character01"``.

    Raises:
        UserError: if the data are missing, invalid or not the whole of Omniglot.
    """
    sources = find_parts(download() if data is None else data)
    key = {
        "code": CODE,
        "sources": {part: _fingerprint(path) for part, path in sources.items()},
        "parts": PARTS,
        "resize": resize,
        "pillow": PIL.__version__,
    }
    return cache.cached("omniglot", key, lambda: decode_drawings(sources, resize))


def find_parts(data: Path) -> dict[str, Path]:
    """Return the archive or folder of each part under the user's folder ``data``."""
    if not data.is_dir():
        raise UserError(f"{str(data)!r} is not a folder; pass --data FOLDER.")
    for layout in LAYOUTS:
        sources = {
            part: path
            for part in PARTS
            for path in (data / layout / part, data / layout / f"{part}.zip")
            if path.exists()  # an archive is preferred; a folder may be incomplete
        }
        if len(sources) == len(PARTS):
            return sources
        if sources:
            missing = next(part for part in PARTS if part not in sources)
            where = str(data / layout)
            raise UserError(
                f"{missing}.zip (or a folder {missing}) is missing in {where!r}; add it."
            )
    archives = " and ".join(f"{part}.zip" for part in PARTS)
    raise UserError(f"no Omniglot in {str(data)!r}; put {archives} there.")


def decode_drawings(sources: Mapping[str, Path], resize: OmniglotResize) -> cache.CachedArrays:
    """Decode and resize every drawing of every part; check that none is missing."""
    drawings: dict[str, list[tuple[str, np.ndarray]]] = {}
    for part, path in sources.items():
        for member, content in _members(path):
            match = _MEMBER.fullmatch(member)
            if match is None or match["part"] != part:
                raise UserError(f"{str(path)!r} holds {member!r}, not {part}/ALPHABET/characterNN.")
            picture = _picture(content, f"{path}: {member}", resize)
            drawings.setdefault(f"{part}/{match['name']}", []).append((member, picture))
        characters = sum(name.startswith(f"{part}/") for name in drawings)
        if characters != PARTS[part]:
            raise UserError(
                f"{str(path)!r} holds {characters} characters, but Omniglot has {PARTS[part]}; "
                "get it again."
            )
    for name, pictures in drawings.items():
        if len(pictures) != DRAWINGS:
            raise UserError(
                f"{name} has {len(pictures)} drawings instead of {DRAWINGS}; get it again."
            )
    names = sorted(drawings)
    images = [picture for name in names for _, picture in sorted(drawings[name], key=_member_name)]
    return {"images": np.stack(images), "names": np.array(names)}


def _member_name(drawing: tuple[str, np.ndarray]) -> str:
    return drawing[0]


def _picture(content: bytes, where: str, resize: OmniglotResize) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            size = image.size
            # PIL resizes 1-bit images only by nearest neighbour, so convert to grey first.
            grey = image.convert("L") if size == (SOURCE_SIDE, SOURCE_SIDE) else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{where!r} is not a readable PNG image; get the data again.") from error
    if grey is None:
        raise UserError(
            f"{where!r} is {size[0]}x{size[1]}, not {SOURCE_SIDE}x{SOURCE_SIDE} pixels."
        )
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling[resize.upper()]))


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name (from the part's folder on) and content of each PNG in an archive or folder."""
    if path.is_dir():
        for file in sorted(path.rglob("*.png")):
            name = file.relative_to(path.parent).as_posix()
            if not _litter(name):
                if file.stat().st_size > LARGEST_FILE:
                    raise UserError(f"{str(file)!r} is too large for a drawing of Omniglot.")
                yield name, file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for info in _safe(archive, path):
                yield info.filename, archive.read(info)
    except _BROKEN as error:
        raise UserError(f"{str(path)!r} {_trouble(path)}; download it again.") from error


def _safe(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """Return the PNG members; refuse names that point outside the archive, and zip bombs."""
    chosen, total = [], 0
    for info in archive.infolist():
        name = info.filename
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name:
            raise UserError(f"{str(path)!r} holds the unsafe name {name!r}; get another archive.")
        if name.endswith(".png") and not _litter(name):
            total += info.file_size
            if info.file_size > LARGEST_FILE or total > LARGEST_PART:
                raise UserError(f"{str(path)!r}: {name!r} makes it too large to be Omniglot.")
            chosen.append(info)
    return chosen


def _litter(name: str) -> bool:
    """Return whether a name is of a file that desktop systems add to folders and archives."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _trouble(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(512).lstrip().lower()
    except OSError:
        return "cannot be read"
    if head.startswith(b"<"):
        return "is an HTML page, not a zip archive"
    return "is a damaged zip archive" if head.startswith(b"pk") else "is not a zip archive"


def _fingerprint(path: Path) -> str:
    """Return the hash of an archive's bytes, or of a folder's names and bytes."""
    digest = hashlib.sha256()
    if path.is_dir():
        for name, content in _members(path):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    else:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise UserError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def download() -> Path:
    """Return the cache folder with both archives, downloaded by torchvision (it checks MD5)."""
    home = cache.folder() / "omniglot"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".lock"):
            missing = [part for part in PARTS if not (home / f"{part}.zip").exists()]
            if missing:
                _fetch(missing, home)
    except Exception as error:  # torchvision, urllib and the system raise many kinds of errors
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"Omniglot cannot be downloaded ({reason[:120].rstrip('.')}); pass --data FOLDER with "
            f"{' and '.join(f'{part}.zip' for part in PARTS)}."
        ) from error
    return home


def _fetch(parts: list[str], home: Path) -> None:
    datasets = torchvision_datasets()
    omniglot, utils = datasets.Omniglot, datasets.utils
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)  # behind a firewall torchvision would wait forever
    partial = Path(tempfile.mkdtemp(prefix="download-", dir=home))
    try:
        for part in parts:
            name = f"{part}.zip"
            url = f"{omniglot.download_url_prefix}/{name}"
            utils.download_url(url, str(partial), name, omniglot.zips_md5[part])
            (partial / name).replace(home / name)  # only a complete file gets this name
    finally:
        socket.setdefaulttimeout(before)
        shutil.rmtree(partial, ignore_errors=True)
