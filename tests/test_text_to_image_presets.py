"""The presets for text-to-image targets, run from data in their genuine layouts and a tiny pipeline."""

import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pytest

from secmi_exp import progress
from tests.support.captioned import coco, encoded, laion, pictures, table
from tests.support.runs import run_here
from tests.support.tiny_pipelines import SIDE, save_blip, save_stable_diffusion

N = 12
SHORT = [
    f"dataset.image_size={SIDE}", "split.attack_train=0.4", "evaluation.bootstrap_rounds=50",
    "target.training.max_steps=2", "target.training.samples=1", "target.training.batch_size=4",
]  # fmt: skip


def pokemon(root: Path) -> None:
    """A dataset with two splits, saved to disk, as the authors' archive has it."""
    splits = {
        name: table([encoded(image) for image in pictures(N, seed)], text=[f"a drawing of no. {i}" for i in range(N)])
        for name, seed in (("train", 1), ("test", 2))
    }
    datasets.DatasetDict(splits).save_to_disk(root / "pokemon")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    pokemon(root)
    (root / "coco2017val").mkdir()
    coco(root / "coco2017val", {number: [f"photograph {number}", "another"] for number in range(1, 2 * N + 1)}, seed=3)
    laion(root / "laion-2.5k", {f"{number:05d}": f"art, {number}" for number in range(N)}, seed=4)
    save_stable_diffusion(root / "model")
    return root


def outcome(root: Path, data: Path, experiment: str, *overrides: str) -> dict[str, Any]:
    folder = run_here(
        root, f"experiment={experiment}", f"paths.data={data}", f"target.path={data}/model", *overrides,
        base=["trainer.accelerator=cpu", "trainer.progress_bar=false"],
    )  # fmt: skip
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


@pytest.mark.parametrize("experiment", ["ldm_pokemon", pytest.param("ldm_coco", marks=pytest.mark.slow)])
def test_the_finetuned_targets_of_the_paper(data: Path, tmp_path: Path, experiment: str) -> None:
    content = outcome(tmp_path, data, experiment, *SHORT)
    assert content["split"]["members"] == content["split"]["holdouts"] == N
    assert (content["t_sec"], content["k"], content["queries_per_sample"]) == (150, 10, 16)
    assert content["prompts"]["source"] == "caption"
    assert content["prompts"]["missing"] == 0
    assert content["metrics"]["auc"] is not None


@pytest.mark.parametrize("experiment", ["sd14_laion", pytest.param("sd15_laion", marks=pytest.mark.slow)])
def test_released_stable_diffusion(data: Path, tmp_path: Path, experiment: str) -> None:
    content = outcome(tmp_path, data, experiment, *SHORT[:3], f"split.members={N}", f"split.holdouts={N}")
    assert content["target_folder"] == f"{data}/model"
    assert (content["t_sec"], content["queries_per_sample"]) == (150, 16)
    assert content["prompts"]["distinct"] == 2 * N


@pytest.mark.slow
def test_every_prompt_source_attacks_the_same_target(data: Path, tmp_path: Path) -> None:
    blip = save_blip(tmp_path / "blip")
    found = {}
    for prompt in ("caption", "none", "fixed", "blip"):
        given = ["target.fixed_prompt=a drawing", f"target.blip={blip}", f"target.prompt={prompt}"]
        found[prompt] = outcome(tmp_path, data, "ldm_pokemon", *SHORT, *given)
    assert len({content["target_folder"] for content in found.values()}) == 1
    assert {prompt: content["prompts"]["source"] for prompt, content in found.items()} == {name: name for name in found}
    assert found["caption"]["prompts"]["distinct"] == N
    assert all(content["queries_spent"] == 16 * 2 * N for content in found.values())


@pytest.mark.slow
def test_every_stage_says_in_the_log_how_far_it_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "")  # no terminal, whatever the tests run in
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    given = [f"target.blip={save_blip(tmp_path / 'blip')}", "target.prompt=blip", "trainer.progress_bar=true"]
    with caplog.at_level(logging.INFO):
        outcome(tmp_path, data, "ldm_pokemon", *SHORT, *given)
    stages = {line.partition(":")[0] for line in caplog.messages if line.endswith(" left.")}
    assert stages == {
        "Decoding images", "Encoding images", "Encoding prompts", "Training target", "Sampling", "Captioning",
        "Predicting",
    }  # fmt: skip


@pytest.mark.slow
def test_latent_digits(tmp_path: Path) -> None:
    folder = run_here(
        tmp_path, "experiment=latent_digits", "target.training.max_steps=2", "target.autoencoder_training.max_steps=2",
        "evaluation.bootstrap_rounds=50", "split.members=20", "split.holdouts=20", "attack=nn",
        "attack.scorers.nn.network=small", "attack.scorers.nn.small.steps=[2]",
        base=["trainer.accelerator=cpu", "trainer.progress_bar=false"],
    )  # fmt: skip
    content = json.loads((folder / "results.json").read_text())
    assert (content["target"], content["attack"]) == ("latent_ddpm", "nn")
    assert content["prompts"] == {"source": "caption", "distinct": 10, "missing": 0, "truncated": 0}
    assert (folder / "samples.png").is_file()
