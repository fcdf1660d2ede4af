"""Settings of Python's types are what Hydra reads of the overrides that they are written as."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import secmi_exp
from secmi_exp.api.settings import literal, overrides
from secmi_exp.errors import UserError
from tests.support.commands import REPOSITORY

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
NAMES = st.from_regex(r"[a-z]{1,5}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=40)
@given(VALUES)
def test_a_value_is_read_as_it_was_given(value: object) -> None:
    if isinstance(value, dict) and {"null", "true", "false", "inf", "nan"} & value.keys():
        return
    read = OverridesParser.create().parse_override(f"a={literal(value, 'a')}").value()
    assert OmegaConf.to_container(OmegaConf.create({"a": read}), resolve=True) == {"a": value}


def test_numbers_of_numpy_and_paths_are_settings_and_objects_are_none() -> None:
    given = {
        "a": np.int64(3),
        "b": np.float32(0.5),
        "c": Path("x y"),
        "experiment": ["faces", "smoke"],
        "quality": None,
    }
    assert list(overrides(given)) == ["a=3", "b=0.5", 'c="x y"', "experiment=[faces,smoke]", "quality=null"]
    assert list(overrides({"attack": "nn", "trainer": {"devices": 2}})) == ["+attack=nn", "trainer.devices=2"]
    with pytest.raises(UserError, match="a is given as set"):
        list(overrides({"a": {1}}))


def test_importing_the_package_imports_nothing_heavy_and_shows_its_names() -> None:
    script = "import sys, secmi_exp; print({'torch', 'numpy', 'pandas', 'hydra'} & sys.modules.keys(), dir(secmi_exp))"
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert shown.startswith("set()")
    assert "'audit'" in shown


def test_the_types_are_those_of_all_names() -> None:
    stub = Path(secmi_exp.__file__ or "").with_name("__init__.pyi").read_text(encoding="utf-8")
    for name, place in secmi_exp.API.items():
        module, _, attribute = place.partition(":")
        assert f"from {module} import {attribute} as {name}\n" in stub
        assert getattr(secmi_exp, name).__name__ == attribute
    with pytest.raises(AttributeError, match="no attribute 'audits'"):
        secmi_exp.audits  # type: ignore[attr-defined]  # noqa: B018
