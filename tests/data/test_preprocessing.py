"""Preprocessing: pixel for pixel what the authors' transforms give, and outcomes of two sides."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from secmi_exp.data.dataset import read_image_size
from secmi_exp.data.preprocessing import Preprocessing
from tests.support.image_files import COLOUR
from tests.support.published import crops


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


def edges_reached(crop: int | str | None, size: tuple[int, int], image: tuple[int, int]) -> list[int]:
    """Whether the outcome reaches the first column and the first row of an image, which are white."""
    height, width = image
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, 0] = pixels[0] = 255
    preprocessing = Preprocessing(size, 1, crop)  # type: ignore[arg-type]
    outcome = preprocessing(Image.fromarray(pixels))
    assert outcome.shape == preprocessing.shape == (1, *size)
    return [int(outcome[0, -1, 0] > 0), int(outcome[0, 0, -1] > 0)]


@pytest.mark.parametrize(
    ("crop", "image", "reached"),
    [
        (None, (40, 40), [1, 1]),
        ("square", (20, 40), [1, 1]),  # of the outcome's proportions: all of it
        ("square", (40, 40), [1, 0]),  # rows are lost, no column is
        ("square", (20, 80), [0, 1]),
        ("after_resize", (40, 40), [1, 0]),
        ("after_resize", (20, 80), [0, 1]),
        (20, (40, 40), [0, 0]),
    ],
)
def test_crops_to_two_sides(crop: int | str | None, image: tuple[int, int], reached: list[int]) -> None:
    assert edges_reached(crop, (8, 16), image) == reached


@pytest.mark.parametrize("size", [(90, 61), (61, 90), (64, 32), (47, 48), (9, 30)])
def test_a_resize_to_two_sides_is_torchvisions(size: tuple[int, int]) -> None:
    image = Image.fromarray(crops(1, *size)[0])
    expected = np.asarray(Resize([16, 32])(image)).transpose(2, 0, 1)
    assert (Preprocessing((16, 32), 3, None)(image) == expected).all()


def test_the_outcome_decides_the_key_and_equal_sides_are_one_number() -> None:
    assert Preprocessing(16, 3, "square").config == {"image_size": 16, "channels": 3, "crop": "square"}
    assert Preprocessing((16, 32), 3, None).config == {"image_size": [16, 32], "channels": 3, "crop": None}
    assert Preprocessing(16, 3, None, "apply").config["exif"] == "apply"
    assert read_image_size([16, 16]) == read_image_size(16) == 16
    assert read_image_size([16, 32]) == (16, 32)


@pytest.mark.parametrize("value", [0, -1, 16.5, "16", True, [16], [16, 32, 3], [16, 0], None])
def test_a_size_is_one_whole_number_or_two(value: object) -> None:
    with pytest.raises(ValueError, match="a whole number of pixels above 0 is needed"):
        read_image_size(value)


def test_an_upright_image_is_cropped_after_it_was_turned() -> None:
    image = Image.fromarray(np.concatenate([COLOUR, COLOUR[::-1]]))  # of 16 rows and 8 columns
    image.getexif()[0x0112] = 6
    turned = Preprocessing((8, 16), 3, "square", "apply")(image)
    assert (turned == np.rot90(np.asarray(image), -1).transpose(2, 0, 1)).all()
