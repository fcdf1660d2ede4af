"""Where a run's numbers come from: what results.json tells of it, and entries of the store in the wrong place."""

import importlib.metadata
import json
import subprocess
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from secmi_exp.reporting import provenance
from secmi_exp.store import check
from secmi_exp.store.__main__ import main
from tests.support.runs import run_here

FAST = [
    "+attack=cdi", "attack.parts.losses.t=[0,500]", "target.max_steps=3", "split.members=40", "split.holdouts=40",
]  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """Two runs in one store, which share nothing but the images."""

    root: Path
    folder: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def results(self) -> dict[str, Any]:
        return read(self.folder)


def read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    root = tmp_path_factory.mktemp("provenance")
    run_here(root, *FAST, "seed=1")
    return Ran(root, run_here(root, *FAST))


def test_results_name_the_entries_that_they_rest_on(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    told = ran.results["provenance"]
    assert told["store"] == str(ran.store)
    kinds = [(entry["key"].split("/")[0], entry.get("of")) for entry in told["entries"]]
    assert Counter(kinds) == {
        ("images", None): 1, ("target", None): 1, **{("t_errors", f"t={t}"): 1 for t in range(10, 101, 10)},
        **{("values", name): 1 for name in ("pia", "pian", "sima")}, ("values", "loss"): 2,
        ("scores", "cdi"): 1, **{kind: 1 for kind in kinds if kind[0] == "blind"},
    }  # fmt: skip
    assert ("blind", "pixels") in kinds
    of = {kind[0]: entry["key"] for kind, entry in zip(kinds, told["entries"], strict=True)}
    assert len({entry["key"] for entry in told["entries"]}) == len(kinds)
    assert all((ran.store / key / "entry.json").is_file() for key in of.values())
    assert ran.results["target_folder"] == str(ran.store / told["target"])
    assert of["target"] == told["target"]

    def shown(key: str) -> str:
        main(["show", key, "--store", str(ran.store)])
        return capsys.readouterr().out

    scores = shown(of["scores"])  # hop by hop down to the images
    assert told["measured"] in scores
    assert f"target: {told['target']}\n" in scores
    assert f"images: {told['attacked']}, by its content" in scores
    target = shown(told["target"])
    assert "max_steps: 3\n" in target
    assert f"members: {told['members']}, by its content" in target
    assert of["scores"] in target.partition("computed from it:")[2]


def test_results_tell_the_resolved_settings_of_the_attack(ran: Ran) -> None:
    settings = ran.results["attack_settings"]
    assert (settings["class"], settings["name"]) == ("secmi_exp.attacks.cdi.CDI", "cdi")
    assert (settings["parts"]["secmi"]["t_sec"], settings["parts"]["sima"]["t"]) == (30, 30)
    assert settings["parts"]["losses"]["t"] == [0, 500]
    assert settings["scorers"]["cdi"]["class"].endswith(".FeatureClassifier")
    with_infinity = OmegaConf.create({"attack": {"scorers": {"distance": {"p": float("inf")}}}})
    assert provenance.attack_settings(with_infinity) == {"scorers": {"distance": {"p": "inf"}}}


def test_entries_in_each_others_place_are_computed_again_whatever_their_kind(
    ran: Ran, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = set()
    for kind in [path for path in ran.store.iterdir() if path.name not in ("work", "locks")]:
        entries = sorted(kind.iterdir())
        for number, entry in enumerate(entries):
            entry.rename(kind / f"{number}")
        for number, entry in enumerate(entries):
            (kind / f"{(number + 1) % len(entries)}").rename(entry)
        kinds |= {kind.name} if len(entries) > 1 else set()
    assert kinds == {"target", "t_errors", "states", "values", "scores", "blind"}
    again = run_here(ran.root, *FAST)
    results = read(again)
    assert results["metrics"] == ran.results["metrics"]
    assert results["split"] == ran.results["split"]
    assert results["provenance"] == ran.results["provenance"]
    one, other = (pq.read_table(folder / "scores.parquet") for folder in (ran.folder, again))
    for name in ("secmi/t_error", "losses/loss", "score_cdi"):
        np.testing.assert_array_equal(one[name].to_numpy(), other[name].to_numpy())
    damaged = {line.split("'s ")[1].split()[0] for line in caplog.messages if "instead): computing it again" in line}
    assert damaged == kinds
    for entry in results["provenance"]["entries"]:
        check(ran.store / entry["key"])


def repository(folder: Path) -> Path:
    """A package that git tracks."""
    package = folder / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
    return package


def test_the_revision_is_that_of_the_repository_that_tracks_the_package(tmp_path: Path) -> None:
    package = repository(tmp_path)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert provenance._of_work_tree(package) == (commit.stdout.strip(), False)
    (tmp_path / "notes.txt").touch()
    assert provenance._of_work_tree(package) == (commit.stdout.strip(), False)
    (package / "attack.py").touch()
    assert provenance._of_work_tree(package) == (commit.stdout.strip(), True)
    installed = tmp_path / "site-packages/secmi_exp"  # in somebody's repository, which is not ours
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    assert provenance._of_work_tree(installed) is None


@pytest.mark.parametrize(
    ("told", "revision"),
    [
        ('{"url": "https://example.org", "vcs_info": {"vcs": "git", "commit_id": "abc"}}', "abc"),
        ('{"url": "file:///here", "dir_info": {"editable": true}}', None),
        ("[]", None),
        ("no json", None),
        (None, None),
    ],
)
def test_the_revision_of_an_installation_is_what_pip_has_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None, revision: str | None
) -> None:
    class Installed:
        def locate_file(self, name: str) -> Path:
            return tmp_path / name

        def read_text(self, name: str) -> str | None:
            return told

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed())
    assert provenance._of_installation(tmp_path / "secmi_exp") == revision
    assert provenance._of_installation(tmp_path / "elsewhere/secmi_exp") is None


def test_without_git_or_pip_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "distribution", unknown)
    assert provenance.code_state.__wrapped__() == {"version": "0.1.0", "revision": None, "modified": None}
