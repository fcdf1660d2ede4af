"""No value of any setting ends in a traceback, hangs, or is taken for another: see `tests.hostile_values`."""

from pathlib import Path

import pytest

from tests.hostile_values import COMPOSITIONS, Case, Outcome, attempted, cases, sample, tells

FEW, MANY = 6, 600


def complaint_about(case: Case, outcome: Outcome) -> str | None:
    """What is wrong with the outcome of a case; None where nothing is."""
    if outcome.kind in ("traceback", "hang"):
        return f"{case}: {outcome.kind} {outcome.told}"
    if outcome.kind == "refused" and not tells(outcome.told, case):
        return f"{case} isn't named: {outcome.told}"
    return f"{case}: {len(outcome.told)} characters" if len(outcome.told) > 2000 or "\n" in outcome.told else None


def complaints(chosen: list[Case], output: Path) -> list[str]:
    return [told for case in chosen if (told := complaint_about(case, attempted(case.arguments, output)))]


def test_hostile_values_are_refused_in_a_sentence_that_names_the_setting(tmp_path: Path) -> None:
    quick = [case for case in sample(MANY, seed=1) if case.composition == "nn"]
    assert complaints(quick[:FEW], tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 2 + MANY // 100))
def test_hundreds_of_hostile_values_are_refused_in_a_sentence(tmp_path: Path, seed: int) -> None:
    assert complaints(sample(100, seed), tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_the_command_lines_that_hostile_values_are_put_into_are_in_order(tmp_path: Path, composition: str) -> None:
    assert attempted(COMPOSITIONS[composition], tmp_path) == Outcome("accepted")


def test_there_are_thousands_of_cases_for_hundreds_of_keys() -> None:
    assert len({case.key for case in cases()}) > 250
    assert len(cases()) > 5000


def refused(output: Path, *arguments: str) -> str:
    outcome = attempted(arguments, output)
    assert outcome.kind == "refused", outcome
    return outcome.told


COLUMN = "secmi_exp.attacks.scorers.column.Column"
MAPS = "{_target_:secmi_exp.attacks.scorers.map_distance.MapDistance,p:2}"
NETWORK = ["experiment=smoke", "trainer=cpu"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        # of the issue
        (["target.network.norm_eps=[]"], ["target.network.norm_eps=[]", "a number is wanted"]),
        (["target.network.freq_shift=null"], ["diffusers refuses target.network.freq_shift=null", "NoneType"]),
        (["target.network.layers_per_block=0"], ["diffusers refuses target.network.layers_per_block=0"]),
        (["target.network.dropout=nan"], ["target.network.dropout=nan", "finite number"]),
        (["target.network.downsample_padding=-inf"], ["target.network.downsample_padding=-inf", "finite number"]),
        (["+attack=stat", "attack.scorers.stat.value=nope"], ["attack.scorers.stat.value='nope'", "t_error"]),
        (["seed=18446744073709551616"], ["seed=18446744073709551616"]),
        (["paths.store=null"], ["paths.store is empty"]),
        # of the same kinds
        (["target.network.layers_per_block=1000000"], ["layers_per_block=1000000", "at most 100"]),
        (["target.network.layers_per_block=true"], ["layers_per_block=true", "a number is wanted"]),
        (["target.network.norm_eps=-1"], ["norm_eps=-1", "from 0 on"]),
        (["target.network.block_out_channels=[1048576,1048576]"], ["target.network", "GiB of weights"]),
        (["+target.network.bogus=1"], ["target.network.bogus=1", "no setting of this name"]),
        (["target.network.in_channels=3"], ["set dataset.channels"]),
        (["target.network.add_attention=[]"], ["add_attention=[]", "true or false"]),
        (["target.network.sample_size="], ["sample_size=''", "a number is wanted"]),
        (["target.network.freq_shift=0.5"], ["freq_shift=0.5", "a whole number"]),
        (["trainer.devices=100000"], ["trainer.devices=100000", "less than or equal to 64"]),
        (["logger=wandb", "logger.timeout_s=true"], ["logger.timeout_s=true", "valid number"]),
        (["logger=wandb", "logger.timeout_s=inf"], ["logger.timeout_s=inf"]),
        (["+logger.project=x"], ["logger.project='x'", "nothing reads"]),
        (["target.optimizer.lr=null"], ["torch refuses target.optimizer.lr=null"]),
        (["+target.optimizer.betas=[0.9]"], ["torch refuses target.optimizer.betas=[0.9]"]),
        (["target.optimizer._target_=torch.nn.Linear"], ["torch.nn.Linear is no optimizer"]),
        (["target.schedule.num_train_timesteps=1000000000"], ["num_train_timesteps=1000000000", "less than or equal"]),
        (["target.schedule.beta_end=0.999"], ["brings ᾱ to 0"]),
        (["target.max_steps=true"], ["target.max_steps=true", "a number is wanted"]),
        (["seed=-18446744073709551616"], ["seed=-18446744073709551616", "greater than or equal to 0"]),
        (["target.gradient_clip=inf"], ["target.gradient_clip=inf", "finite number"]),
        (["paths.store="], ["paths.store is empty"]),
        (["paths.data=[1]"], ["paths.data=[1]"]),
        (["dataset._target_=builtins.dict"], ["dataset._target_='builtins.dict' makes no dataset"]),
        (["+attack=quantile", f"attack.scorers.quantile._target_={COLUMN}"], ["attack.scorers.quantile.value"]),
        (["+attack=pia", f"++attack.scorers.m={MAPS}"], ["attack.scorers.m reads error_map", "proximal_error"]),
        (["evaluation.bootstrap_rounds=1000000000000"], ["bootstrap_rounds=1000000000000"]),
        (["dataset.name=" + "x" * 20000], ["dataset.name='xxx", "20000 characters"]),
        (["scale.t_secs=${nowhere}"], ["nowhere", "scale.t_secs"]),
    ],
)  # fmt: skip
def test_what_only_a_later_stage_would_fail_at_is_told_before_the_first(
    tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    sentence = refused(tmp_path, *NETWORK, *arguments)
    assert all(part in sentence for part in parts), sentence


def test_the_norm_of_infinity_is_a_number(tmp_path: Path) -> None:
    assert attempted([*NETWORK, "+attack=sima", "attack.t=10", "attack.p=inf"], tmp_path) == Outcome("accepted")
