"""Captions that one side has and the other has not: refused or told, by side, where a target is asked with them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secmi_exp.data.dataset import Dataset
from secmi_exp.data.digits import Digits
from secmi_exp.data.image_folder import ImageFolder
from secmi_exp.data.images import ImageSet
from secmi_exp.data.split import Split
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import RunWarning, collect_warnings
from secmi_exp.split_checks.condition_check import CONDITIONS, check_condition
from tests.support.captioned import image_files, imagefolder
from tests.support.runs import run_here
from tests.support.splits import halves, image_set
from tests.support.tiny_pipelines import SIDE, save_stable_diffusion

FOLDER: dict[str, Any] = {
    "name": "own", "source": "", "licence": "", "path": None, "members": None, "holdout": None, "image_size": 8,
    "channels": 3, "crop": None, "horizontal_flip": False, "on_error": "stop", "caption_column": "text",
    "caption": "first", "seed": 0,
}  # fmt: skip


def captioned(members: int, holdouts: int, a_side: int = 40) -> tuple[Split, ImageSet]:
    """Members and hold-outs, of which so many have a caption."""
    has = np.concatenate([np.arange(a_side) < members, np.arange(a_side) < holdouts])
    images = image_set(2 * a_side, is_member=np.arange(2 * a_side) < a_side)
    images = ImageSet(**{**images.__dict__, "captions": ["a cat" if each else None for each in has]})
    return halves(images), images


def told(members: int, holdouts: int, dataset: Dataset | None = None) -> list[RunWarning]:
    with collect_warnings() as warnings:
        check_condition(
            CONDITIONS["captions"],
            *captioned(members, holdouts),
            dataset or ImageFolder(**FOLDER | {"path": Path("list.csv")}),
        )
    return warnings


def folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("members", "holdouts", "lost"), [(0, 40, "members"), (36, 0, "hold-outs"), (0, 20, "members")]
)
def test_captions_that_one_side_has_lost_altogether_are_refused(members: int, holdouts: int, lost: str) -> None:
    with pytest.raises(UserError, match=rf"have a caption, and none of the 40 {lost} has one, .* in list\.csv"):
        told(members, holdouts)


@pytest.mark.parametrize(("members", "holdouts"), [(40, 40), (0, 0)])
def test_as_many_captions_on_both_sides_are_nothing_to_tell(members: int, holdouts: int) -> None:
    assert told(members, holdouts) == []


def test_shares_that_differ_are_grave_and_counted_by_side() -> None:
    (warning,) = told(20, 40)
    assert (warning.code, warning.side, warning.count, warning.grave) == (
        "captions_differ_by_side",
        "members",
        20,
        True,
    )
    assert "20 of 40 members and 40 of 40 hold-outs have a caption" in warning.sentence
    assert [warning.code for warning in told(0, 12)] == ["captions_differ_by_side"]


def test_captions_that_are_missing_by_chance_are_told_by_side() -> None:
    warnings = told(38, 39)
    assert [(each.code, each.side, each.count, each.grave) for each in warnings] == [
        ("captions_missing", "members", 2, False),
        ("captions_missing", "holdouts", 1, False),
    ]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["metadata.json"], "metadata.json"),
        (["a/captions.tsv", "a/1.png"], "a/captions.tsv"),
        (["Metadata.jsonl", "all_captions.json"], "Metadata.jsonl"),
        (["labels.csv", "captions.tsv"], "captions.tsv"),
        (["metadata.jsonl", "caption.png", "README.txt"], None),
    ],
)
def test_files_that_may_hold_the_lost_captions_are_named(tmp_path: Path, names: list[str], found: str | None) -> None:
    place = folder(tmp_path / "A", *names)
    dataset = ImageFolder(**FOLDER | {"members": tmp_path, "holdout": place})
    sentence = f"if the captions of the hold-outs are in {place / found}" if found else f"none were found in {place}"
    with pytest.raises(UserError, match=sentence):
        told(40, 0, dataset)


def test_datasets_without_folders_are_advised_too() -> None:
    fields = {name: FOLDER[name] for name in Dataset.__dataclass_fields__ if name in FOLDER}
    with pytest.raises(UserError, match=r"add the captions of the members, or set target\.prompt to none"):
        told(0, 40, Digits(**fields))


def sides(root: Path, members: Sequence[str], holdouts: Sequence[str]) -> list[str]:
    """Two folders of crops of the same photographs with captions; returns the overrides that name them."""
    for number, (side, captions) in enumerate({"A": members, "B": holdouts}.items()):
        names = [f"{row:02d}.png" for row in range(len(captions))]
        image_files(root / side, names, seed=number)
        imagefolder(root / side, [{"file_name": n, "text": t} for n, t in zip(names, captions, strict=True)])
    return [f"dataset.members={root}/A", f"dataset.holdout={root}/B"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One pipeline, and one store, for all."""
    made = tmp_path_factory.mktemp("captions")
    save_stable_diffusion(made / "model")
    return made


def ran(root: Path, *overrides: str, target: str = "stable_diffusion") -> dict[str, Any]:
    base = ["trainer.accelerator=cpu", "trainer.progress_bar=false", "evaluation.bootstrap_rounds=20", "+attack=stat"]
    given = ["dataset=captioned", f"dataset.image_size={SIDE}", "attack.t_sec=20", f"target={target}", *overrides]
    results: dict[str, Any] = json.loads((run_here(root, *given, base=base) / "results.json").read_text())
    return results


TELLING = [f"a photo of a {each}" for each in ("cat", "dog", "horse") * 10]


def test_a_metadata_file_of_another_name_is_refused_and_named(root: Path, tmp_path: Path) -> None:
    given = [*sides(tmp_path, TELLING, TELLING), f"target.path={root}/model"]
    (tmp_path / "A/metadata.jsonl").rename(tmp_path / "A/metadata.json")
    sentence = (
        "30 of 30 hold-outs have a caption, and none of the 30 members has one, .* "
        f"if the captions of the members are in {tmp_path}/A/metadata.json, which isn't read"
    )
    with pytest.raises(UserError, match=sentence):
        ran(root, *given)
    unasked = ran(root, *given, "target.prompt=none")
    assert unasked["split"]["captions"] == {
        "members": {"found": 0, "missing": 30}, "holdouts": {"found": 30, "missing": 0},
    }  # fmt: skip
    assert list(unasked["split"]["blind"]["by"]) == ["pixels"]
    codes = {warning["code"] for warning in unasked["warnings"]}
    assert codes.isdisjoint({"captions_differ_by_side", "captions_missing"})


@pytest.mark.slow
def test_two_styles_of_captions_put_the_split_at_fault(root: Path, tmp_path: Path) -> None:
    other = [text.removeprefix("a photo of a ") + ", fluffy, 4k" for text in TELLING]
    results = ran(root, *sides(tmp_path, TELLING, other), f"target.path={root}/model")
    blind = results["split"]["blind"]
    assert {kind: facts["at_fault"] for kind, facts in blind["by"].items()} == {"pixels": False, "prompts": True}
    assert blind["split_at_fault"]
    (warning,) = (each for each in results["warnings"] if each["code"] == "split_at_fault")
    assert warning["grave"]
    assert "by the prompts alone" in warning["sentence"]


@pytest.mark.slow
def test_pixel_targets_are_not_concerned_by_captions(root: Path, tmp_path: Path) -> None:
    given = sides(tmp_path, TELLING, TELLING)
    (tmp_path / "B/metadata.jsonl").unlink()
    small = ["target.max_steps=1", "target.warmup_steps=1", "target.network.block_out_channels=[8,16]"]
    results = ran(root, *given, *small, target="ddpm_small")
    assert list(results["split"]["blind"]["by"]) == ["pixels"]
    assert results["split"]["captions"]["holdouts"] == {"found": 0, "missing": 30}
    assert not [each for each in results["warnings"] if "caption" in each["sentence"]]
