"""Runs with a defense: what results.json tells of it, and targets that it can't act on."""

import json
from pathlib import Path

import pytest

from secmi_exp.errors import UserError
from tests.support.runs import run_here


def test_what_privacy_cost_and_what_the_attack_refutes_stand_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defense = ["defense=dp_sgd", "defense.noise_multiplier=4", "defense.microbatch_size=16"]
    folder = run_here(tmp_path, "+attack=stat", "target.max_steps=2", *defense)
    results = json.loads((folder / "results.json").read_text())
    assert results["defense"] == "dp_sgd"
    assert results["privacy"]["epsilon"] > 0
    assert results["privacy"]["delta"] == results["epsilon_lower_bound"]["delta"]
    bound = results["epsilon_lower_bound"]
    assert bound["epsilon"] <= results["privacy"]["epsilon"]
    assert bound["membership"] == "random_half"
    guessed = bound["abstaining"]["guessed_members"] + bound["abstaining"]["guessed_holdouts"]
    assert bound["abstaining"]["correct"] <= guessed <= bound["abstaining"]["samples"]
    assert bound["abstaining"]["samples"] == results["n_member"] + results["n_holdout"]
    printed = capsys.readouterr().out
    assert f"{bound['abstaining']['correct']} of the {guessed} most confident guesses about " in printed
    assert "Lower bound on the training's privacy parameter ε, by stat: " in printed
    assert "near to the fair coins that the theorems ask for" in printed


def test_a_target_that_is_no_ddpm_of_ours_has_no_training_to_defend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="defense=l2 acts on the training of a DDPM, and target=latent_ddpm has none"):
        run_here(tmp_path, "+attack=stat", "defense=l2", "target=latent_ddpm", base=["trainer=cpu"])
    with pytest.raises(UserError, match=r"defense\.noise_multiplier=-2"):
        run_here(tmp_path, "+attack=stat", "defense=dp_sgd", "defense.noise_multiplier=-2")
