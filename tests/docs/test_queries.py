"""The number of queries that an attack's file states is the number that is counted."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from docs.hooks.reference import read_attacks
from secmi_exp.testing import compose_config
from tests.support.query_attacks import measured

FEWER = {
    "loss": ["attack.t=100", "attack.noises=2"],
    "pfami": ["attack.timesteps=[0,50]"],
    "gsa": ["attack.timesteps=2"],
    "stat": ["attack.t_sec=20", "attack.t_max=40", "attack.k=5"],
}
STATED = {each.file.name: each.file.facts["Queries an image"] for each in read_attacks()}


@pytest.mark.parametrize("name", ["gsa", "loss", "pfami", "pia", "pian", "sima", "stat"])
def test_the_stated_queries_are_those_that_are_made(tmp_path: Path, name: str) -> None:
    overrides = [f"+attack={name}", *FEWER.get(name, [])]
    settings: Any = OmegaConf.to_container(compose_config(*overrides).attack, resolve=True)
    formula = STATED[name].split("`")[1]
    stated = eval(formula, {"__builtins__": {"len": len, "max": max}}, settings)
    assert measured(tmp_path, *overrides).queries_per_sample == stated
