"""Preprocessing: pixel for pixel what the authors' transforms give."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from secmi_exp.data.preprocessing import Preprocessing
from tests.data.published import crops


@pytest.mark.parametrize("size", [(90, 61), (61, 90), (64, 64), (32, 47), (32, 32), (20, 13), (9, 30), (333, 40)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_a_crop_after_the_resize_is_torchvisions(size: tuple[int, int], mode: str) -> None:
    image = Image.fromarray(crops(1, size[1], size[0])[0]).convert(mode)
    transform = Compose([Resize(32, interpolation=InterpolationMode.BILINEAR), CenterCrop(32)])
    expected = np.asarray(transform(image.convert("RGB"))).transpose(2, 0, 1)
    assert (Preprocessing(image_size=32, channels=3, crop="after_resize")(image) == expected).all()


def test_a_crop_after_the_resize_of_gray_images() -> None:
    image = Image.fromarray(crops(1, 50, 70)[0]).convert("L")
    expected = np.asarray(Compose([Resize(32), CenterCrop(32)])(image))
    assert (Preprocessing(image_size=32, channels=1, crop="after_resize")(image) == expected[None]).all()
