"""Images that are no squares: from the command line to the end of a run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secmi_exp.configuration.components import component
from secmi_exp.errors import UserError
from secmi_exp.testing import compose_config
from tests.support.published import crops
from tests.support.runs import run_here


def test_a_run_on_images_that_are_no_squares(tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    (tmp_path / "images").mkdir()
    for number, pixels in enumerate(crops(40, 20, 30)):
        Image.fromarray(pixels).save(tmp_path / f"images/{number:02d}.png")
    folder = run_here(
        tmp_path, "+attack=stat", "attack.t_sec=20", "attack.t_max=20", "dataset=image_folder",
        f"dataset.path={tmp_path}/images", "dataset.image_size=[8,16]", "dataset.channels=1", "target=ddpm_small",
        "target.max_steps=2", "split.members=null", "split.holdouts=null", "split.attack_train=0.5",
    )  # fmt: skip
    results = json.loads((folder / "results.json").read_text())
    assert results["dataset_facts"] == {
        "images": 40, "image_size": [8, 16], "crop": "square", "exif": "ignore", "exif_chosen": False,
        "exif_orientations": 0,
    }  # fmt: skip
    network = UNet2DModel.load_config(Path(results["target_folder"]) / "unet")
    assert list(network["sample_size"]) == [8, 16]
    (stored,) = tmp_path.glob("store/images/*/pixels.npy")
    assert np.load(stored).shape == (40, 1, 8, 16)
    assert (folder / "exposed.png").is_file()


@pytest.mark.parametrize("size", ["0", "[8,8,8]", "large"])
def test_a_size_that_is_none_is_told(size: str) -> None:

    config = compose_config("dataset=digits", f"dataset.image_size={size}")
    with pytest.raises(UserError, match=r"dataset.image_size=.* a whole number of pixels above 0 is needed"):
        component(config, "dataset")
