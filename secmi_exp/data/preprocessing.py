"""From an image file's own size and mode to the pixels that models see, as the authors' transforms do it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from secmi_exp.data.images import Pixels


@dataclass(frozen=True)
class Preprocessing:
    """Colour conversion, centre crop, bilinear resize with antialiasing, in this order unless ``crop`` has another.

    Transparency and EXIF orientation are ignored, as torchvision's readers do.
    """

    image_size: int
    """Height and width of the outcome, in pixels."""
    channels: int
    """1: gray (ITU-R 601 luma); 3: RGB."""
    crop: int | Literal["square", "after_resize"] | None
    """Side of the centre crop in pixels; ``square``: the largest that fits; None: all of it, whatever its shape.

    ``after_resize``: the shorter side is resized to ``image_size`` first, as the authors do for text-to-image models
    (torchvision's Resize and CenterCrop).
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the outcome."""
        return self.channels, self.image_size, self.image_size

    def __call__(self, image: Image.Image) -> Pixels:
        """One image as [C, H, W]; decodes it."""
        if image.mode.startswith("I"):  # 16 bits of gray, which convert() would clip
            image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
        mode = "L" if self.channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        if self.crop == "after_resize":
            from torchvision.transforms.functional import center_crop, resize

            image = center_crop(resize(image, [self.image_size]), [self.image_size, self.image_size])
        elif self.crop is not None:
            side = min(image.size) if self.crop == "square" else self.crop
            if image.size != (side, side):
                from torchvision.transforms.functional import center_crop

                image = center_crop(image, [side, side])
        size = (self.image_size, self.image_size)
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        return pixels[None] if self.channels == 1 else pixels.transpose(2, 0, 1)
