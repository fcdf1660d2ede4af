"""Types read from the source of components' classes are those of the imported classes."""

import re
import typing
from dataclasses import dataclass, is_dataclass
from itertools import zip_longest
from pathlib import Path
from pkgutil import resolve_name

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from secmi_exp.configuration.general import General
from secmi_exp.configuration.source_types import GROUPS, annotations_of, refuse_wrong_types
from secmi_exp.configuration.user_path import EXPANDED
from secmi_exp.errors import UserError
from tests.support.commands import CONF

CHOICES = {group: sorted(file.stem for file in (CONF / group).glob("*.yaml")) for group in GROUPS}
TOGETHER = [
    {group: choice for group, choice in zip(CHOICES, each, strict=True) if choice}
    for each in zip_longest(*CHOICES.values())
]
"""Every choice of every group, with the next ones of the other groups: a composition for each would take longer."""


@pytest.mark.parametrize("chosen", TOGETHER, ids=lambda chosen: " ".join(chosen.values()))
def test_they_are_those_of_the_class_and_accept_its_configuration(chosen: dict[str, str]) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"{'+' if group == 'attack' else ''}{group}={it}" for group, it in chosen.items()])
    refuse_wrong_types(config)
    for group in chosen:
        target = OmegaConf.to_container(config[group])["_target_"]  # type: ignore[index, call-overload]
        found = dict(annotations_of(target))
        hints = typing.get_type_hints(resolve_name(target), include_extras=True)
        assert found
        assert {name: repr(hints[name]) for name in found} == {name: repr(each) for name, each in found.items()}


@dataclass
class ScorePath:
    """A component that forgets it."""

    path: list[Path] | None


def unexpanded(hint: object) -> bool:
    """Whether a type has a path in it whose home directory isn't expanded."""
    if is_dataclass(hint):
        return any(map(unexpanded, typing.get_type_hints(hint, include_extras=True).values()))
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Annotated:
        return EXPANDED not in parts[1:] and unexpanded(parts[0])
    if typing.get_origin(hint) is type:  # a class is no value
        return False
    return hint is Path or any(map(unexpanded, parts))


def test_the_home_directory_is_expanded_in_every_setting_that_is_a_path() -> None:
    files = [CONF / group / f"{choice}.yaml" for group, choices in CHOICES.items() for choice in choices]
    named = {each for file in files for each in re.findall(r"^_target_: (\S+)", file.read_text(), re.MULTILINE)}
    kinds = [resolve_name(each) for each in sorted(named - {"???"})]
    assert unexpanded(ScorePath)
    assert [each for each in (General, *kinds) if unexpanded(each)] == []


@pytest.mark.parametrize("override", ["target.max_steps=1.5", "target.name=3", "dataset.channels=2", "seed=true"])
def test_a_value_of_another_type_is_refused(override: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [override])
    with pytest.raises(UserError, match=f"^{override.split('=')[0]}="):
        refuse_wrong_types(config)


def test_classes_from_elsewhere_are_left_to_themselves() -> None:
    assert dict(annotations_of("tests.conftest.Command")) == {}
    assert dict(annotations_of("secmi_exp.data.digits.NoSuchClass")) == {}
    assert dict(annotations_of("secmi_exp.no_such_module.Digits")) == {}
