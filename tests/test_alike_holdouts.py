"""The study of hold-outs that look like members: its pictures are what it says, and the hash finds their versions."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.alike_holdouts import SETTINGS, contrast, write_pictures
from secmi_exp.data.near_duplicates import groups_of
from tests.support.splits import image_set

SIDE: int = SETTINGS["dataset.image_size"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder, 12, seed=0)
    return folder


def test_hold_outs_are_other_versions_of_the_used_pictures_and_other_pictures(pictures: Path) -> None:
    names = {part: sorted(path.name for path in (pictures / part).iterdir())
             for part in ("used", "unused", "holdouts/like", "holdouts/other")}  # fmt: skip
    assert names["used"] == names["holdouts/like"]
    assert len({*names["used"], *names["unused"], *names["holdouts/other"]}) == 36
    versions = [{name: (pictures / part / name).read_bytes() for name in names["used"]}
                for part in ("used", "holdouts/like")]  # fmt: skip
    assert all(versions[0][name] != versions[1][name] for name in names["used"])


def test_the_hash_finds_the_versions_of_a_picture_alone(pictures: Path) -> None:
    files = [
        path for part in ("used", "holdouts/like", "holdouts/other") for path in sorted((pictures / part).iterdir())
    ]
    resized = [Image.open(file).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for file in files]
    alike = groups_of(image_set(36, pixels=np.stack([np.asarray(each) for each in resized])[:, None]))
    assert alike.tolist() == [*range(12), *range(12), *range(24, 36)]


def test_contrasts_are_aucs_with_their_intervals() -> None:
    same, above = np.arange(40.0), np.arange(40.0) + 100
    assert contrast(same, same).startswith("0.500 [0.")
    assert contrast(same, same).endswith("p = 1")
    assert contrast(above, same).startswith("1.000 [0.9")
    assert contrast(same, above).startswith("0.000 [0.000, 0.0")
