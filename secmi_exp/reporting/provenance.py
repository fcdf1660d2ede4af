"""Where a run's numbers come from: keys of the store, the attack's settings, and the code's revision.

`python -m secmi_exp.store show KEY` shows what decided a key, and the keys that it was computed from.
"""

import hashlib
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from secmi_exp import __version__
from secmi_exp.data.split import Split
from secmi_exp.files.strict_json import Json, as_strict_json
from secmi_exp.run_state import AttackOutcome, Run
from secmi_exp.store import Input, Key
from secmi_exp.targets.interface import PreparedTarget

PACKAGE = Path(__file__).parents[1]


def provenance(run: Run, target: PreparedTarget | None, attacked: AttackOutcome | None) -> dict[str, Json]:
    """Return the field of results.json. Keys are given as ``KIND/DIGEST``, contents by their SHA-256."""
    return {
        "code": run.code,
        "store": str(run.store.root),
        "members": run.images.select(run.split.members).digest,
        "attacked": run.images.select(run.split.attacked).digest,
        "split": split_digest(run.split),
        "target": key_path(target.key) if target else None,
        "measured": key_path(attacked.measured.key) if attacked else None,
        "entries": [
            {"key": key_path(key), **({"of": key.label} if key.label else {})} for key in run.store.used.values()
        ],
    }


def key_path(given: Input) -> str:
    """Return a key as ``KIND/DIGEST``, which is also its folder in the store."""
    return f"{given.kind}/{given.digest}" if isinstance(given, Key) else given


def split_digest(split: Split) -> str:
    """Return the SHA-256 of the rows of members, hold-outs and attacked images, and of the parts of the latter."""
    rows = {name: getattr(split, name).tolist() for name in ("members", "holdouts", "attacked", "is_member", "part")}
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def attack_settings(config: DictConfig) -> Json:
    """Return the configuration's group attack, resolved; Hydra's ``_target_`` is named ``class``.

    >>> attack_settings(OmegaConf.create({"seed": 1, "attack": {"_target_": "my.Attack", "t": "${seed}"}}))
    {'class': 'my.Attack', 't': 1}
    """
    return as_strict_json(_plain(OmegaConf.to_container(config.attack, resolve=True)), str)


def _plain(node: Any) -> Json:
    if isinstance(node, dict):
        named = {"class" if name == "_target_" else str(name): _plain(value) for name, value in node.items()}
        return {name: value for name, value in named.items() if not name.startswith("_")}
    return [_plain(each) for each in node] if isinstance(node, list) else node


@cache
def code_state() -> Mapping[str, Json]:
    """Return version and revision of this package at the first call, and whether it is modified since that revision.

    The revision is that of the git repository that the package lies in or was installed from; None if unknown.
    """
    revision, modified = _of_work_tree(PACKAGE) or (_of_installation(PACKAGE), None)
    return {"version": __version__, "revision": revision, "modified": modified}


def _of_work_tree(package: Path) -> tuple[str, bool | None] | None:
    """Return the commit, and whether package or conf differ from it; None if git doesn't track the package."""
    if git(package, "ls-files", "--error-unmatch", "__init__.py") is None:  # such as below another's site-packages
        return None
    revision = git(package, "rev-parse", "HEAD")
    conf = package.parent / "conf"
    status = git(package, "status", "--porcelain", "--", ".", *([str(conf)] if conf.is_dir() else []))
    return (revision, None if status is None else bool(status)) if revision else None


def git(folder: Path, *arguments: str) -> str | None:
    """Return what a git command prints in a folder, without changing the repository; None if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        finished = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip()


def _of_installation(package: Path) -> str | None:
    """Return the commit that pip installed the package from; None if not from a repository."""
    try:
        installed = importlib.metadata.distribution("secmi-exp")
        if Path(str(installed.locate_file(package.name))).resolve() != package.resolve():
            return None
        commit = json.loads(installed.read_text("direct_url.json") or "{}")["vcs_info"]["commit_id"]
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError, KeyError, TypeError):
        return None
    return str(commit)
