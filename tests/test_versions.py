"""Code that computes stored values doesn't change behind a version that stays the same."""

import json
from collections import Counter
from copy import deepcopy
from functools import cache

from tests import versions as recording
from tests.versions import (
    RECORD,
    Recorded,
    behind,
    code_digest,
    complaints,
    computing_modules,
    path_of,
    versions,
)  # fmt: skip

NOT_STORED = {
    "secmi_exp.attacks.scorers.column",
    "secmi_exp.attacks.gan_leaks",
    "secmi_exp.attacks.scorers.map_distance",
    "secmi_exp.data.canaries",
    "secmi_exp.data.copies",
    "secmi_exp.data.index_files",
    "secmi_exp.data.split",
    "secmi_exp.targets.pipeline",
    "secmi_exp.targets.pixel.diffusers_folder",
    "secmi_exp.targets.text_to_image.stable_diffusion",
}
"""Modules behind no version: what they give is computed by every run, or decided by keys of others."""


recorded_now = cache(recording.recorded_now)


def recorded() -> Recorded:
    content: Recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    return content


def test_no_code_has_changed_behind_a_version_that_stayed_the_same() -> None:
    found = complaints(recorded(), recorded_now())
    assert not found, "\n".join(found)


def test_every_module_that_computes_stands_behind_a_version() -> None:
    covered = {module for each in versions() for module in behind(each.module)}
    assert set(computing_modules()) - covered == NOT_STORED


def test_a_changed_formula_is_told_with_its_file_and_the_version_to_raise() -> None:
    now = recorded_now()
    changed, pia = deepcopy(now), "secmi_exp.attacks.pia.PIA.version"
    modules = changed[pia]["modules"]
    assert isinstance(modules, dict)
    modules["secmi_exp.attacks.signals.query_batch"] = "other"
    (sentence,) = complaints(now, changed)
    assert sentence.startswith(f"The code behind {pia} changed (secmi_exp/attacks/signals/query_batch.py): raise it")
    changed[pia]["version"] = 99
    (sentence,) = complaints(now, changed)
    assert "run `python -m tests.versions`" in sentence


def test_only_what_computes_counts() -> None:
    source = path_of("secmi_exp.attacks.pia").read_text(encoding="utf-8")
    same = source.replace("PIA and PIAN: the", "Other words: the").replace(
        "version: ClassVar[int] = 1", "version: ClassVar[int] = 2"
    )
    assert same != source
    assert code_digest(f"# A comment.\n{same}") == code_digest(source)
    assert code_digest(source.replace("- eps, self.p", "+ eps, self.p")) != code_digest(source)
    assert code_digest("a = None") != code_digest("a = 0") != code_digest("a = 0.0")


def test_classes_with_a_version_have_names_of_their_own() -> None:
    classes = Counter(each.name.split(".")[-2] for each in versions() if each.name.endswith(".version"))
    assert set(classes.values()) == {1}
