"""Which code stands behind each version in the store's keys, and what it was when the version was recorded.

`python -m tests.versions` records it as it is, in versions.json.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("versions.json")

COMPUTING = ("attacks", "data", "defenses", "diffusion", "quality", "targets")
"""Subpackages whose modules count, with the single ones below."""
ALONE = ("engine/optimization", "random_streams")
PLUMBING = {
    "secmi_exp.attacks.attack",
    "secmi_exp.attacks.finite_values",
    "secmi_exp.attacks.measurements",
    "secmi_exp.attacks.scorers.scorer",
    "secmi_exp.data.checks.condition_check",
    "secmi_exp.data.checks.sample_sizes",
    "secmi_exp.data.checks.split_check",
    "secmi_exp.data.membership",
    "secmi_exp.targets.dry_run",
    "secmi_exp.targets.interface",
    "secmi_exp.targets.library_settings",
    "secmi_exp.targets.loading.file_kind",
    "secmi_exp.targets.loading.hub",
}
"""Modules that compute no value: interfaces, and refusals."""


def named_in(group: str) -> list[str]:
    """The package's modules whose classes the files of a configuration group name."""
    found = set()
    for file in (ROOT / "conf" / group).glob("*.yaml"):
        found |= set(re.findall(r"^_target_: (secmi_exp\.\S+)\.\w+$", file.read_text(encoding="utf-8"), re.MULTILINE))
    return sorted(found - {"secmi_exp.defenses.defense"})


NAMED_IN_CONFIGURATIONS = {
    "secmi_exp.targets.loading.latent_folder": [
        f"secmi_exp.targets.families.{file.stem}"
        for file in sorted((ROOT / "secmi_exp/targets/families").glob("[!_]*.py"))
    ],
    "secmi_exp.targets.pixel.ddpm": named_in("defense"),
    "secmi_exp.data.dataset": named_in("dataset"),
}
"""Module of a version → modules that compute its values and that it doesn't import itself."""


@dataclass(frozen=True)
class Version:
    """A number in keys that stands for code."""

    name: str
    """Such as ``secmi_exp.attacks.signals.trajectories.VERSION`` or ``secmi_exp.attacks.pia.PIA.version``."""
    module: str
    """That holds it."""
    number: int


Recorded = dict[str, dict[str, int | dict[str, str]]]


def path_of(module: str) -> Path:
    """A module's file, whether it exists or not."""
    return ROOT / f"{module.replace('.', '/')}.py"


@cache
def tree_of(module: str) -> ast.Module:
    """What a module's file says."""
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


@cache
def computing_modules() -> list[str]:
    """Names of all that may stand behind a version."""
    package = ROOT / "secmi_exp"
    files = [file for part in COMPUTING for file in (package / part).rglob("*.py") if file.stem != "__init__"]
    files += [package / f"{name}.py" for name in ALONE]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}
    return sorted(names - PLUMBING - functions_as_attacks())


def functions_as_attacks() -> set[str]:
    """Modules of functions that `FunctionAttack` calls: their source itself stands in the keys."""
    files = [file.read_text(encoding="utf-8") for file in (ROOT / "conf/attack").glob("*.yaml")]
    return {found for text in files for found in re.findall(r"^function: (secmi_exp\.\S+)\.\w+$", text, re.MULTILINE)}


def versions() -> list[Version]:
    """All ``VERSION = …`` of modules and ``version: ClassVar[int] = …`` of classes."""
    found = []
    for module in computing_modules():
        for node in tree_of(module).body:
            found += list(_versions_in(node, module, module))
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    found += list(_versions_in(inner, f"{module}.{node.name}", module))
    return found


def _versions_in(node: ast.stmt, place: str, module: str) -> Iterator[Version]:
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    value = getattr(node, "value", None)
    if (
        isinstance(target, ast.Name)
        and target.id.lower().endswith("version")
        and isinstance(value, ast.Constant)
        and isinstance(value.value, int)
    ):
        yield Version(f"{place}.{target.id}", module, value.value)


def behind(module: str) -> list[str]:
    """Modules that compute the values of a version in this module: it, and what it imports, and what those import."""
    waiting = [module, *NAMED_IN_CONFIGURATIONS.get(module, [])]
    known, found = set(computing_modules()), set(waiting)
    while waiting:
        new = (imported(waiting.pop()) & known) - found
        found |= new
        waiting += new
    return sorted(found)


@cache
def imported(module: str) -> frozenset[str]:
    """Modules of this package that a module imports, at once or by `Deferred`."""
    visitor = _Imports()
    visitor.visit(tree_of(module))
    return frozenset(visitor.names)


class _Imports(ast.NodeVisitor):
    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.names |= {str(node.module), *(f"{node.module}.{each.name}" for each in node.names)}

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id == "Deferred" and isinstance(node.args[0], ast.Constant):
            self.names.add(str(node.args[0].value).partition(":")[0])
        self.generic_visit(node)


def code_digest(source: str) -> str:
    """SHA-256 of what a module computes: comments, formatting, docstrings and the numbers of versions don't count."""
    return hashlib.sha256(json.dumps(plain(_Bare().visit(ast.parse(source)))).encode()).hexdigest()


def plain(node: object) -> object:
    """A syntax tree as lists, the same in all versions of Python: without fields that are empty, as new ones are."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, []) or name == "value"]
        return [type(node).__name__, *([name, plain(value)] for name, value in fields)]
    return [plain(each) for each in node] if isinstance(node, list) else repr(node)


class _Bare(ast.NodeTransformer):
    """Takes out strings that stand as statements, which document, and versions."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        documents = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.Pass() if documents else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        return ast.Pass() if any(_versions_in(node, "", "")) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return ast.Pass() if any(_versions_in(node, "", "")) else self.generic_visit(node)


def recorded_now() -> Recorded:
    """Each version, and the code behind it."""
    digests = {module: code_digest(path_of(module).read_text(encoding="utf-8")) for module in computing_modules()}
    return {
        each.name: {"version": each.number, "modules": {name: digests[name] for name in behind(each.module)}}
        for each in versions()
    }


def complaints(recorded: Recorded, now: Recorded) -> list[str]:
    """A sentence for each version whose code isn't what was recorded."""
    found = []
    for name in sorted({*recorded, *now}):
        before, after = recorded.get(name), now.get(name)
        if before == after:
            continue
        if before is None or after is None or before["version"] != after["version"]:
            found.append(f"{name} is new, gone or another number: run `python -m tests.versions`.")
            continue
        modules = dict(before["modules"]), dict(after["modules"])  # type: ignore[arg-type]
        changed = sorted({*modules[0], *modules[1]} - {m for m, d in modules[0].items() if modules[1].get(m) == d})
        files = ", ".join(f"{each.replace('.', '/')}.py" for each in changed)
        found.append(
            f"The code behind {name} changed ({files}): raise it if its values change, then run "
            "`python -m tests.versions`."
        )
    return found


if __name__ == "__main__":
    RECORD.write_text(json.dumps(recorded_now(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
