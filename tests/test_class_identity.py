"""Classes of one name don't share results, and an edited class computes anew."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from secmi_exp.attacks import pia
from secmi_exp.attacks.pia import PIA
from secmi_exp.attacks.scorers import feature_classifier
from secmi_exp.defenses import cutout
from secmi_exp.defenses.cutout import Cutout
from secmi_exp.errors import UserError
from secmi_exp.store import class_identity as identities
from secmi_exp.store.class_identity import class_identity, outside_classes
from secmi_exp.targets.library_settings import optimizer_class
from secmi_exp.testing import cpu_runtime
from tests.support.defended import MEMBERS, recipe
from tests.support.query_attacks import measured
from tests.support.runs import run_here

FORMULA = "self.t), self.t) - eps, self.p)"


def copy_of(module: object, folder: Path, name: str, *change: str) -> Path:
    """A module's file under another name, in a folder that is on the path, with some of its text replaced."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")  # type: ignore[attr-defined]
    if change:
        assert source.count(change[0]) == 1
        source = source.replace(change[0], change[1])
    file = folder / f"{name}.py"
    file.write_text(source, encoding="utf-8")
    importlib.invalidate_caches()
    return file


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules can be imported."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_copied_attack_with_another_formula_shares_no_values_with_the_original(elsewhere: Path) -> None:
    file = copy_of(pia, elsewhere, "my_pia", FORMULA, FORMULA + " * 2")
    store, theirs = elsewhere / "store", ["+attack=pia", "attack._target_=my_pia.PIA"]
    changed = measured(store, *theirs)
    original = measured(store, "+attack=pia")
    assert original.queries_spent == changed.queries_spent
    np.testing.assert_allclose(changed.numbers["proximal_error"], 2 * original.numbers["proximal_error"])
    assert measured(store, *theirs).queries_spent == 0

    file.write_text(file.read_text(encoding="utf-8").replace(FORMULA + " * 2", FORMULA + " * 30"), encoding="utf-8")
    assert measured(store, *theirs).queries_spent == 0  # this process has the code as it was
    importlib.reload(sys.modules["my_pia"])
    edited = measured(store, *theirs)
    np.testing.assert_allclose(edited.numbers["proximal_error"], 30 * original.numbers["proximal_error"])


def test_a_copy_within_the_package_shares_no_name_with_the_original(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = copy_of(pia, elsewhere, "mypia", FORMULA, FORMULA + " * 2")
    name = "secmi_exp.attacks.mypia"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    assert class_identity(module.PIA).startswith(f"{name}.PIA ")


def test_every_versioned_module_is_there() -> None:
    for name in identities.VERSIONED:
        importlib.import_module(name)


def test_an_edited_base_of_ones_own_counts_too(elsewhere: Path) -> None:
    copy_of(pia, elsewhere, "base_pia")
    (elsewhere / "derived_pia.py").write_text("from base_pia import PIA\n\n\nclass Mine(PIA): ...\n")
    importlib.invalidate_caches()
    before = class_identity(importlib.import_module("derived_pia").Mine)
    copy_of(pia, elsewhere, "base_pia", FORMULA, FORMULA + " * 2")
    importlib.reload(sys.modules["base_pia"])
    after = class_identity(importlib.reload(sys.modules["derived_pia"]).Mine)
    assert before.startswith("derived_pia.Mine ")
    assert before != after


def test_a_copied_scorer_shares_no_scores_with_the_original(elsewhere: Path) -> None:
    scores = "scores: Scores = model.decision_function(features)"
    copy_of(feature_classifier, elsewhere, "my_classifier", scores, scores.replace("= m", "= -m"))
    arguments = ["+attack=blind", "evaluation.bootstrap_rounds=20", "evaluation.blind=false"]
    theirs = [*arguments, "attack.scorers.blind._target_=my_classifier.FeatureClassifier"]
    aucs = [auc(run_here(elsewhere / "outputs", *each)) for each in (theirs, arguments)]
    assert aucs[0] == pytest.approx(1 - aucs[1])


def auc(folder: Path) -> float:
    value: float = json.loads((folder / "results.json").read_text())["metrics"]["auc"]
    return value


def test_a_copied_defense_trains_a_target_of_its_own(elsewhere: Path) -> None:
    copy_of(cutout, elsewhere, "my_cutout")
    keys = [
        recipe("defense=cutout", *more).key(MEMBERS, cpu_runtime())
        for more in ((), ("defense._target_=my_cutout.Cutout",))
    ]
    assert keys[0].digest != keys[1].digest
    (elsewhere / "my_none.py").write_text(
        "from secmi_exp.defenses.defense import Undefended\n\n\nclass Undefended(Undefended): ...\n"
    )
    importlib.invalidate_caches()
    undefended = [
        recipe(*more).key(MEMBERS, cpu_runtime()).digest for more in ((), ("defense._target_=my_none.Undefended",))
    ]
    assert undefended[0] != undefended[1]


def test_an_optimizer_from_elsewhere_is_named_with_its_source(elsewhere: Path) -> None:
    (elsewhere / "my_optimizer.py").write_text("import torch\n\n\nclass Slow(torch.optim.SGD): ...\n")
    importlib.invalidate_caches()
    key = recipe("target.optimizer._target_=my_optimizer.Slow").key(MEMBERS, cpu_runtime())
    assert str(key.config["optimizer_class"]).startswith("my_optimizer.Slow ")
    assert optimizer_class({"_target_": "torch.optim.Adam", "lr": 1.0}) == {}
    with pytest.raises(UserError, match=r"optimizer\._target_=my_optimizer\.Slwo names no class"):
        optimizer_class({"_target_": "my_optimizer.Slwo"})


def test_keys_of_this_packages_classes_are_what_they_were(tmp_path: Path) -> None:
    assert class_identity(PIA) == "PIA"
    assert outside_classes(defense=Cutout("cutout", 0.5)) == {}
    assert measured(tmp_path, "+attack=pia").key.digest == "50ea3794d885ffd8b849351eee9dea7b"
    assert recipe("defense=cutout").key(MEMBERS, cpu_runtime()).digest == "c7370d9fac6b5108c5a0fc65e3f48a8d"


def test_a_package_whose_name_begins_like_this_one_is_another() -> None:
    stranger = type("PIA", (), {"__module__": "secmi_experiments.pia"})
    assert not identities.is_versioned(stranger)


def test_a_class_that_no_file_defines_is_refused() -> None:
    with pytest.raises(UserError, match=r"No file defines nowhere\.PIA, .* put it into a module\."):
        class_identity(type("PIA", (PIA,), {"__module__": "nowhere"}))
