"""From an image file's own size and mode to the pixels that models see, as the authors' transforms do it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from secmi_exp.data.image_formats import TRANSPOSITIONS, exif_orientation, with_8_bits
from secmi_exp.data.images import Pixels
from secmi_exp.deferred import Deferred
from secmi_exp.files.strict_json import Json

center_crop = Deferred("torchvision.transforms.functional:center_crop")

MOST_PIXELS = 2**26
"""Largest number of pixels of an intermediate image, unless its file has more."""


@dataclass(frozen=True)
class Preprocessing:
    """Colour conversion, centre crop, bilinear resize with antialiasing, in this order unless ``crop`` has another."""

    image_size: int | tuple[int, int]
    """Size of the result, in pixels: one number for both sides, or height and width."""
    channels: int
    """1: gray (ITU-R 601 luma); 3: RGB."""
    crop: int | Literal["square", "after_resize"] | None
    """Side of a square centre crop in pixels; ``square``: the largest that fits; None: all of it, whatever its shape.

    Where height and width differ, ``square`` is the largest centre crop of the outcome's proportions. What is cropped
    to other proportions than the outcome's is squeezed.
    ``after_resize``: the image is resized first so that it just covers the outcome, as the authors do for text-to-image
    models (torchvision's Resize and CenterCrop, where the outcome is square).
    """
    exif: Literal["apply", "ignore"] = "ignore"
    """Whether an image is turned upright as its EXIF orientation says."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the outcome."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the outcome."""
        return self.channels, *self.size

    @property
    def config(self) -> dict[str, Json]:
        """The settings that decide the pixels, for the store's keys, without those that change nothing."""
        height, width = self.size
        config: dict[str, Json] = {
            "image_size": height if height == width else [height, width],
            "channels": self.channels,
            "crop": self.crop,
        }
        return config | ({"exif": self.exif} if self.exif == "apply" else {})

    def __call__(self, image: Image.Image) -> Pixels:
        """One image as [C, H, W]; decodes it.

        Raises:
            ValueError: for pixels that 8 bits can't hold; see `with_8_bits`.
        """
        orientation = exif_orientation(image) if self.exif == "apply" else 1
        image = with_8_bits(image, "L" if self.channels == 1 else "RGB")
        if orientation in TRANSPOSITIONS:
            image = image.transpose(TRANSPOSITIONS[orientation])
        height, width = self.size
        if self.crop == "after_resize":
            image = covering(image, height, width)
        elif self.crop == "square":
            image = centre(image, *largest_within(image, height, width))
        elif self.crop is not None:
            image = centre(image, self.crop, self.crop)
        if image.size != (width, height):
            image = resized(image, height, width)
        pixels = np.asarray(image)
        return pixels[None] if self.channels == 1 else pixels.transpose(2, 0, 1)


def centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """Crop the centre; a smaller image gets a black frame."""
    if image.size == (width, height):
        return image
    cropped: Image.Image = center_crop(image, [height, width])
    return cropped


def largest_within(image: Image.Image, height: int, width: int) -> tuple[int, int]:
    """Height and width of the largest part of an image with the proportions of height to width, rounded down."""
    factor = min(image.height * width, image.width * height)  # of 1 / (height · width)
    return max(1, factor // width), max(1, factor // height)


def covering(image: Image.Image, height: int, width: int) -> Image.Image:
    """The centre of an image that was resized, its proportions kept, so that it just covers height and width.

    Of a banner that would become larger than `MOST_PIXELS`, only the centre is resized; its values may differ by the
    rounding of the part's edges.
    """
    if image.width * height >= image.height * width:
        full_width, full_height = int(height * image.width / image.height), height
    else:
        full_width, full_height = width, int(width * image.height / image.width)
    if full_width * full_height <= MOST_PIXELS:
        return centre(image.resize((full_width, full_height), Image.Resampling.BILINEAR), height, width)
    left, top = round((full_width - width) / 2), round((full_height - height) / 2)
    across, down = image.width / full_width, image.height / full_height
    right, bottom = min((left + width) * across, image.width), min((top + height) * down, image.height)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=(left * across, top * down, right, bottom))


def resized(image: Image.Image, height: int, width: int) -> Image.Image:
    """An image in another size, its proportions not kept.

    Pillow resizes rows first; columns are first where that would make the image larger than it is and than
    `MOST_PIXELS`, as one of one column and millions of rows.
    """
    if width * image.height > max(MOST_PIXELS, image.width * image.height):
        image = image.resize((image.width, height), Image.Resampling.BILINEAR)
    return image.resize((width, height), Image.Resampling.BILINEAR)
