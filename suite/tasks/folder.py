"""Images of the user's own: mini-ImageNet, CIFAR-FS, or any folder of classes with splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator, Field

from suite.core import registry
from suite.core.errors import UserError
from suite.tasks import folder_data, folder_lists
from suite.tasks.images import ImageData, ImageSampler, ImageTask


def _below(folder: str) -> str:
    return folder_lists.safe(folder) if folder else folder


#: Title and papers of the data sets that are known by the names of their folders.
DATA_SETS = {"mini-imagenet": ("mini-ImageNet", ("vinyals2016", "ravi2017"))}


@registry.task("folder")
class ImageFolder(ImageTask):
    """Classes of images from a folder, with its splits in folders or lists (see `folder_lists`).

    Fields
        folder: sub-folder of the data folder, such as ``"mini-imagenet"``; empty for the data
            folder itself. Its name decides which published numbers the results are compared with.
        size: height and width in pixels, 84 for mini-ImageNet and 32 for CIFAR-FS; images are
            resized to it directly, without regard to their aspect ratio.
        channels: number of channels, 3 for colour and 1 for grey.
        resize: filter of PIL. MAML asks for ``"lanczos"`` (proc_images.py:24); Reptile uses PIL's
            default, which was ``"nearest"`` and is ``"bicubic"`` from Pillow 7 on.
        jpeg: whether the resized image is stored as JPEG again, at PIL's default quality, and read
            back, as MAML's mini-ImageNet was (proc_images.py:23-26).
        shared_images: whether two splits may contain pictures that are bit-identical after all
            this. CIFAR-100 has exact duplicates under two labels, such as baby and girl (Barz and
            Denzler 2020), and the published CIFAR-FS has them in meta-test and meta-train.
        rotations, rotate_test: see `ImageTask`.
    """

    reads_data = True

    folder: Annotated[str, AfterValidator(_below)] = ""
    size: int = Field(84, ge=1, le=512)
    channels: Literal[1, 3] = 3
    resize: folder_data.Resize = "lanczos"
    jpeg: bool = False
    shared_images: Literal["refuse", "allow"] = "refuse"

    @property
    def data(self) -> tuple[str, tuple[str, ...]]:
        """The data set that a folder of this name holds, if it is a known one."""
        return DATA_SETS.get(self.folder, ("", ()))

    @property
    def brought(self) -> str:
        """The images."""
        return f"the images of {self.folder or 'a folder'}"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels first."""
        return (self.channels, self.size, self.size)

    def data_identity(self) -> dict[str, Any]:
        """Return the identity without the images' folder and the fields that only change pixels."""
        drawn = ("name", "rotations", "rotate_test")
        return {key: value for key, value in self.identity().items() if key in drawn}

    def load(self, data: Path | None, device: torch.device) -> ImageSampler:
        """Read the images below ``data``; the first call decodes them (minutes for 60,000)."""
        if data is None:
            raise UserError(f"the task {self.name} reads your own images; pass --data FOLDER.")
        root = data / self.folder
        if not folder_lists.is_dir(root):
            raise UserError(
                f"{str(root)!r} is not a folder; pass --data FOLDER, or correct the task's folder."
            )
        look = folder_data.ImageFormat(self.size, self.channels, self.resize, self.jpeg)
        arrays = folder_data.read_folder(root, look)
        shared = arrays["shared"].tolist()
        if shared and self.shared_images == "refuse":
            one, two = (str(root / path) for path in shared[0])
            raise UserError(
                f"{one!r} and {two!r} are the same picture in two splits ({len(shared)} such "
                "in all); take them out, or set shared_images = 'allow'."
            )
        names = tuple(arrays["names"].tolist())
        splits = {
            split: np.strings.startswith(arrays["names"], f"{split}/").nonzero()[0]
            for split in folder_lists.SPLITS
        }
        images = torch.from_numpy(arrays["images"])
        hint = "add a val folder or list, or ask for another split"
        return ImageSampler(self, ImageData(images, arrays["counts"], names, splits, hint), device)
