"""Surrogate hold-outs, from the setting to the answer in results.json."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from secmi_exp import collection
from secmi_exp.configuration.components import Components
from secmi_exp.data.augmented import Augmented
from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.digits import digit_pixels
from secmi_exp.data.image_folder import find_samples
from secmi_exp.errors import UserError
from secmi_exp.reporting.page.owner import render_owner_page
from secmi_exp.reporting.run_folders import find_runs
from secmi_exp.store import Store
from secmi_exp.surrogates import load_images
from secmi_exp.testing import compose_config, configured
from tests.reporting.test_page import Read
from tests.support.runs import run_here
from tests.targets.test_module import DDPM, Network, state

N = 40
CHOICE = CaptionChoice("text", "first", 0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A: a collection, C: references like it, D: other references, digits in white on black."""
    root = tmp_path_factory.mktemp("images")
    pixels = digit_pixels()
    for name, images in (("A", pixels[:N]), ("C", pixels[N : 2 * N]), ("D", 255 - pixels[2 * N : 3 * N])):
        (root / name).mkdir()
        for number, each in enumerate(images):
            Image.fromarray(each).save(root / name / f"{number:02d}.png")
    return root


def overrides(folders: Path, holdout: str, references: str | None, attack: Sequence[str]) -> list[str]:
    return [
        *attack, "target=memorizing", "dataset=image_folder", "dataset.image_size=8", "dataset.channels=1",
        f"dataset.members={folders}/A", f"dataset.holdout={holdout}", "dataset.steps=3",
        *([f"dataset.references={folders}/{references}"] if references else []),
    ]  # fmt: skip


def judged(
    folders: Path,
    output: Path,
    holdout: str,
    references: str | None,
    attack: Sequence[str] = ("+attack=stat", "attack.t_sec=100", "attack.t_max=100"),
) -> tuple[Path, dict[str, Any]]:
    base = ["trainer=cpu", "evaluation.bootstrap_rounds=20"]
    folder = run_here(output, *overrides(folders, holdout, references, attack), base=base)
    return folder, json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def augmented(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return judged(folders, tmp_path_factory.mktemp("augmented"), "augmented", "C")


def test_a_collection_that_was_learnt_by_heart_is_found_by_augmented_hold_outs(
    augmented: tuple[Path, dict[str, Any]],
) -> None:
    _, results = augmented
    told = results["surrogates"]
    assert (told["kind"], told["verdict"]) == ("augmented", "sign of use")
    assert told["excess"]["ci90"][0] > 0
    assert told["excess"]["p_value"] < 0.05
    (warning,) = [each for each in results["warnings"] if each["code"] == "surrogate_holdouts"]
    assert warning["grave"]
    assert "Was the collection used? Sign of use: the attack's AUC lies" in warning["sentence"]


def test_the_answer_goes_by_all_images_and_says_so_where_auc_goes_by_fewer(
    augmented: tuple[Path, dict[str, Any]],
) -> None:
    folder, results = augmented
    told = results["surrogates"]
    assert (told["images"], told["references"], results["n_member"]) == (N, N, 32)
    pairs = told["excess"]["value"] * N * N
    assert pairs == pytest.approx(round(pairs), abs=1e-6)
    (warning,) = [each for each in results["warnings"] if each["code"] == "surrogate_holdouts"]
    assert "goes by all 40 attacked images and by 40 references, AUC by the evaluation part." in warning["sentence"]
    page = Read(render_owner_page(find_runs([folder])))
    assert "40 given, of which 40 are judged; from" in page.words("compared")
    assert "Reference images40, all of them judged; from" in page.words("compared")
    assert "what was made of these in the same way" in page.words("compared")
    assert "from augmented" not in page.words("compared")
    assert "Of 100 pairs of the two, a classifier that never sees the model picks" in page.words("doubts")
    assert "Source, time and processing of the comparison images" not in page.words("doubts")
    assert warning["sentence"] in page.words("warnings")
    assert "split_at_fault" in {each["code"] for each in results["warnings"]}
    assert "at fault" not in page.words("warnings")  # the answer has allowed for it


def test_the_page_of_a_run_without_references_names_what_is_missing(folders: Path, tmp_path: Path) -> None:
    folder, _ = judged(folders, tmp_path, "augmented", None)
    page = Read(render_owner_page(find_runs([folder])))
    assert "Reference imagesnone were given" in page.words("compared")
    assert "There are no reference images" in page.words("doubts")


def test_of_surrogates_the_share_and_the_number_of_images_are_not_told(
    augmented: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = augmented
    collection.main([str(folder)])
    told = capsys.readouterr().out
    assert (
        "neither the share that was used nor the number of images that are needed can be estimated: The hold-outs"
        in told
    )
    assert not (folder / "power.png").exists()


@pytest.mark.parametrize("holdout", ["generated", "references"])
def test_other_surrogates_are_judged_too(folders: Path, tmp_path: Path, holdout: str) -> None:
    _, results = judged(folders, tmp_path, holdout, "C")
    told = results["surrogates"]
    assert told["verdict"] in ("sign of use", "can't tell")
    assert (told["excess"] is None) == (told["verdict"] == "can't tell") == (told["blind"]["ci95"][1] > told["limit"])


@pytest.mark.parametrize(("references", "why"), [(None, "give images that are"), ("D", "may tell the collection")])
def test_without_references_or_with_strange_ones_one_cannot_tell(
    folders: Path, tmp_path: Path, references: str | None, why: str
) -> None:
    _, results = judged(folders, tmp_path, "augmented", references)
    told = results["surrogates"]
    assert (told["verdict"], told["excess"]) == ("can't tell", None)
    assert why in told["why"]


def test_an_attack_that_learns_is_refused(folders: Path, tmp_path: Path) -> None:
    learns = ("+attack=cdi",)
    with pytest.raises(UserError, match="attack=cdi is fitted to tell members from hold-outs"):
        judged(folders, tmp_path, "augmented", "C", learns)


@pytest.mark.parametrize(
    ("holdout", "references", "sentence"),
    [
        ("references", None, "dataset.holdout=references needs dataset.references"),
        ("B", "C", "dataset.references=.*/C is for surrogate hold-outs"),
    ],
)
def test_references_without_use_and_use_without_references(
    folders: Path, holdout: str, references: str | None, sentence: str
) -> None:
    dataset = configured("dataset", *overrides(folders, holdout, references, ["+attack=stat"]))
    with pytest.raises(UserError, match=sentence):
        dataset.samples()


def test_a_target_that_the_run_trains_generates_no_hold_outs(folders: Path, tmp_path: Path) -> None:
    given = ["target=ddpm_small", *overrides(folders, "generated", "C", ["+attack=stat"])]
    given.remove("target=memorizing")
    with pytest.raises(UserError, match="asks for samples of a target that was trained before"):
        run_here(tmp_path, *given, base=["trainer=cpu"])


def test_a_network_of_ones_own_generates_hold_outs(folders: Path, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "weights.pt")
    given = ["target=module", *overrides(folders, "generated", None, ["+attack=stat"])]
    given.remove("target=memorizing")
    given += [f"target.factory={Network.__module__}.Network", f"target.weights={tmp_path}/weights.pt", DDPM]
    config = compose_config("trainer=cpu", f"paths.output={tmp_path}", *given, "target.prediction=epsilon")
    images = load_images(Components.from_config(config), Store(tmp_path / "store"))
    assert sum(name.startswith("members/") for name in images.ids) == len(images.ids) - N == N


def test_augmented_images_are_parts_enlarged_and_each_its_own(folders: Path) -> None:
    images = find_samples(folders / "A", CHOICE)
    made = Augmented(images, seed=0)
    assert list(made.ids())[:2] == ["augmented/00.png", "augmented/01.png"]
    first, again, other = (np.asarray(each.open(0)) for each in (made, Augmented(images, 0), Augmented(images, 1)))
    assert first.shape == (8, 8)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.asarray(images.open(0)))
    assert made.fingerprint("changed") != Augmented(images, 1).fingerprint("changed")


def test_a_folder_called_as_a_kind_is_given_by_its_path() -> None:
    given = ["dataset=image_folder", "dataset.members=A"]
    assert configured("dataset", *given, "dataset.holdout=./augmented").surrogates is None
    assert compose_config(*given).dataset.references is None
