"""Arguments that Hydra can't read, or would merge, leave out or take for another type, end in one sentence."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig

from secmi_exp.configuration.arguments import checked_arguments, quoted
from secmi_exp.configuration.command_errors import explain, refuse_merged_choices
from secmi_exp.configuration.components import Components
from secmi_exp.data.image_folder import ImageFolder
from secmi_exp.data.split import Indices
from secmi_exp.errors import UserError
from secmi_exp.pipeline import run
from secmi_exp.targets.pixel.diffusers_folder import DiffusersFolder
from secmi_exp.targets.text_to_image.stable_diffusion import StableDiffusion
from secmi_exp.testing import compose_config, configured
from tests.support.commands import CONF, SMOKE
from tests.support.runs import run_here


def told(*arguments: str) -> str:
    """The sentence before or while Hydra composes."""
    try:
        checked = [argument for argument in checked_arguments(arguments, CONF) if not argument.startswith("-")]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            compose("config", checked)
    except Exception as error:
        sentence = explain(error, list(arguments), CONF)
        assert sentence is not None
        return sentence
    raise AssertionError("composed without a word")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["+attack=[pia,pian]"],
            "attack=[pia,pian] merges 2 choices of attack into one: sweep over them instead, by `-m +attack=pia,pian`.",
        ),
        (["+attack=[blind,stat]", "--cfg", "job"], "by `-m +attack=blind,stat`"),
        (["defense=[hflip,cutout]"], "by `-m defense=hflip,cutout`"),
        (["scale=[laptop,paper]"], "merges 2 choices of scale"),
        (["hydra/launcher=[basic,workstation]"], "merges 2 choices of hydra/launcher"),
        (["-m", "+attack=[pia,pian],stat"], "by `-m +attack=pia,pian`"),
        (["+attack@attack.parts.x=[pia,pian]"], "merges 2 choices of attack"),
        (["target=[ddpm]"], "target=[ddpm] is a list: write target=ddpm."),
        (
            ["+attack=stat", "+attack=pia"],
            "attack is chosen 2 times, by +attack=stat and +attack=pia: keep one, or sweep over them by "
            "`-m +attack=stat,pia`.",
        ),
        (["-m", "+attack=stat,nn", "+attack=pia"], "`-m +attack=stat,nn,pia`"),
        (["+attack=[]"], "attack=[] names no attack"),
        (["target=null"], "target=null names no target: choose one of adm_checkpoint, ddpm, "),
        (["+attack=3"], "+attack=3 names no attack: choose one of blind, "),
        (["dataset=true"], "dataset=true names no dataset: choose one of captioned, "),
        (["++attack=null"], "++attack=null names no attack"),
        (["quality=null"], "~quality to leave out"),
        (["-m", "split=halves,nan"], "split=halves,nan names no split: choose one of halves, indices."),
        (["split={ratio: 0.2}"], "names no split"),
        (["++attack=stat"], "+attack=…"),
        (["~target"], "target can't be left out: choose one of adm_checkpoint, ddpm, "),
        (["~dataset"], "dataset can't be left out"),
        (["~trainer"], "trainer can't be left out: choose one of auto, cpu."),
        (["~paths"], "paths can't be left out"),
        (["~attack"], "No attack is chosen that could be left out."),
        (["split=halves,indices"], "write `-m split=halves,indices`"),
        (["nn"], "'nn' is no setting: give each as KEY=VALUE"),
        (["tärget.path=x"], "a key is made of letters"),
        (["attack.t_sec=rnge(1,2)"], "can't be read (Unknown function 'rnge')"),
    ],
)
def test_a_group_is_set_to_one_of_its_choices(arguments: list[str], sentence: str) -> None:
    assert sentence in told(*arguments)


def test_presets_may_apply_in_turn() -> None:
    arguments = ["experiment=[faces,smoke]", "~attack", "++target={max_steps: 7}"]
    assert checked_arguments(arguments, CONF) == arguments
    config = compose_config(*arguments)
    assert (config.dataset.name, config.split.members, config.target.max_steps) == ("lfw", 64, 7)
    assert "attack" not in config


@pytest.fixture
def started_by_hydra() -> Iterator[None]:
    """Leaves no trace of the configuration that a test has set."""
    yield
    HydraConfig.instance().cfg = None
    GlobalHydra.instance().clear()


def start(*arguments: str) -> DictConfig:
    """The configuration of a job as Hydra starts it."""
    config = compose("config", checked_arguments(arguments, CONF), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


@pytest.mark.parametrize("preset", ["/attack: [pia, pian]", "override /defense: [hflip, cutout]"])
def test_a_preset_that_merges_choices_is_refused(started_by_hydra: None, tmp_path: Path, preset: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/both.yaml").write_text(f"# @package _global_\ndefaults:\n  - {preset}\n")
    (tmp_path / "experiment/inner.yaml").write_text("# @package _global_\ndefaults: [both]\n")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = start(f"hydra.searchpath=[file://{tmp_path}]", "experiment=inner")
        with pytest.raises(UserError, match="merges 2 choices of"):
            refuse_merged_choices(config, CONF)


def test_what_a_choice_is_built_from_is_not_merging(started_by_hydra: None) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = start("+attack=cdi", "target=finetuned_lora", "scale=paper", "++quality.x=1")  # quality has no choice
        refuse_merged_choices(config, CONF)


NAMES = ["lr=0.1", "a,b", "run (1)", "it's", 'say "x"', "a#b", "[old]", "модель", "日本", "${", "${x}", "a\\", "x&y;z"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("[old]", "${x}")])
def test_an_argument_that_cannot_be_read_is_told_in_the_form_that_can(name: str) -> None:
    argument = f"target.path=/data/{name}/model.pt"
    if name == "a\\":
        argument = f"target.path={name}"  # Hydra reads it as it stands
        assert checked_arguments([argument], CONF) == [argument]
        return
    sentence = told("target=diffusers", argument)
    _, _, form = sentence.rpartition("quote it: ")
    (given_again,) = shlex.split(form.removesuffix("."))
    config = compose_config("target=diffusers", *checked_arguments([given_again], CONF))
    assert config.target.path == argument.removeprefix("target.path=")


@given(st.text(min_size=1).filter(str.isprintable))
def test_the_quoted_form_gives_any_value(value: str) -> None:
    form = quoted(f"target.path={value}")
    assert form is not None
    (argument,) = shlex.split(form)
    read = OverridesParser.create().parse_override(argument)
    assert read.key_or_group == "target.path"
    assert DictConfig({"value": read.value()}).value == value


def refused(*arguments: str) -> str:
    """The sentence of a value that its group refuses, in a job of Hydra's."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = start(*arguments)
    with pytest.raises(UserError) as raised:
        Components.from_config(config)
    return str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["target=diffusers", "target.path=2024"],
            """target.path=2024 is read as a number, and text is wanted: quote it: 'target.path="2024"'.""",
        ),
        (["target=secmi_checkpoint", "target.path=nan"], """quote it: 'target.path="nan"'."""),
        (["target.path=2024.10"], """quote it: 'target.path="2024.10"'."""),
        (["dataset=image_folder", "dataset.path=[old]"], """is read as a list, and text is wanted"""),
        (["+attack=scores", "attack.path=true"], """is read as true or false, and text is wanted"""),
        (["dataset=image_folder", "dataset.path=[old]"], """quote it: 'dataset.path="[old]"'."""),
        (["group=7"], """quote it: 'group="7"'."""),
        (["tags=[7]"], "tags.0=7 is read as a number, and text is wanted: put it in quotes"),
        (["dataset=image_folder", "dataset.path=${x}"], """is part of a name, quote it: 'dataset.path="\\${x}"'."""),
        (["++attack.x=3"], "attack names no component"),
        (["~target.batch_size"], "target.batch_size has been left out"),
        (["~split.ratio"], "split.ratio has been left out"),
    ],
)  # fmt: skip
def test_names_that_hydra_takes_for_something_else_are_told_in_quotes(
    started_by_hydra: None, arguments: list[str], sentence: str
) -> None:
    assert sentence in refused(*arguments)


def test_a_store_called_by_a_number_is_told_in_quotes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"paths.store=2024 is read as a number"):
        run_here(tmp_path, "paths.store=2024")


def test_a_tilde_is_a_home_directory_wherever_a_path_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("SECMI_STORE", "~/store")
    arguments = ["dataset=image_folder", "dataset.members=~/a (1)", "dataset.holdout=~/b=c", "split=indices"]
    arguments += [
        "split.path='~/split.npz'",
        "target=diffusers",
        "target.path=~root/x",
        "paths.output=~/out",
        "group=~",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", checked_arguments(arguments, CONF), return_hydra_config=True)
    assert config.hydra.run.dir.startswith("/home/ada/out/runs/")
    parts = Components.from_config(config)
    images, split, target, paths = parts.dataset, parts.split, parts.target, parts.general.paths
    assert isinstance(images, ImageFolder)
    assert isinstance(split, Indices)
    assert isinstance(target, DiffusersFolder)
    assert (images.members, images.holdout) == (Path("/home/ada/a (1)"), Path("/home/ada/b=c"))
    assert (split.path, target.path) == (Path("/home/ada/split.npz"), str(Path("~root/x").expanduser()))
    assert (paths.runs, paths.store) == (Path("/home/ada/out/runs"), Path("/home/ada/store"))
    assert parts.general.group == "~"  # which is no path


def test_a_tilde_is_expanded_in_each_path_of_a_pipeline_and_in_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    given = {"path": "~/model.ckpt", "lora": "~/lora", "config": "~/config", "blip": "~/blip"}
    paths = [f"target.{name}='{value}'" for name, value in given.items()]
    target = configured("target", "target=stable_diffusion", *paths, "target.fixed_prompt='~/ in front'")
    assert isinstance(target, StableDiffusion)
    assert (target.path, target.lora) == ("/home/ada/model.ckpt", Path("/home/ada/lora"))
    assert (target.config, target.blip) == ("/home/ada/config", "/home/ada/blip")
    assert target.fixed_prompt == "~/ in front"
    assert configured("target", "target=adm_checkpoint", "target.path='./~x'").path == Path("~x")  # a file of that name


def test_every_seed_may_be_as_large_as_generators_accept() -> None:
    largest = 2**63 - 1
    drawn = configured("split", f"split.attack_train_seed={largest}", f"seed={largest}")
    assert (drawn.attack_train_seed, drawn.seed) == (largest, largest)
    assert configured("canaries", "canaries=noise", f"canaries.image_seed={largest}").image_seed == largest
    with pytest.raises(UserError, match=r"split\.attack_train_seed=9223372036854775808 can't be used: numbers here"):
        configured("split", f"split.attack_train_seed={largest + 1}")


def test_a_run_finds_what_lies_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "config", checked_arguments(["logger=none", "paths.output=~/out", "split.members=0", *SMOKE], CONF)
        )
    with pytest.raises(UserError, match="empty side"):
        run(config, tmp_path)
    assert (tmp_path / "out/store/images").is_dir()
