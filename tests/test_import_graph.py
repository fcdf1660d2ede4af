"""The package's imports form layers: no circle, nothing hidden in functions, and each part knows only what it may."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "secmi_exp"

IN_FUNCTIONS: dict[str, str] = {}
"""Module → why it imports inside of functions."""


@cache
def modules() -> dict[str, Path]:
    """Name → file, of all modules and packages."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = ("secmi_exp", *file.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def imported_names(node: ast.AST) -> Iterator[str]:
    """Full names of what a statement imports, or of what is given to `Deferred`."""
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "relative import"
        yield from (f"{node.module}.{each.name}" for each in node.names)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Deferred":
        (argument,) = node.args
        assert isinstance(argument, ast.Constant)
        yield str(argument.value).replace(":", ".")


def module_of(name: str) -> str | None:
    """The module of this package that a full name lies in, or None."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


@cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of this package that a module imports, wherever in it."""
    names = (name for node in ast.walk(tree(module)) for name in imported_names(node))
    return frozenset(each for name in names if (each := module_of(name)) and each != module)


def reached_from(part: str) -> set[str]:
    """Modules that those of a subpackage import, directly or not, without its own."""
    waiting = [module for module in modules() if module == part or module.startswith(f"{part}.")]
    reached = set(waiting)
    while waiting:
        new = imports_of(waiting.pop()) - reached
        reached |= new
        waiting += new
    return {module for module in reached if module != part and not module.startswith(f"{part}.")}


def test_no_module_imports_itself_through_others() -> None:
    graph = {module: imports_of(module) for module in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_diffusion_imports_nothing_of_ours_but_what_puts_torch_off() -> None:
    assert reached_from("secmi_exp.diffusion") <= {"secmi_exp", "secmi_exp.torch_on_use", "secmi_exp.deferred"}


@pytest.mark.parametrize("part", ["attacks", "targets", "data", "store", "engine"])
def test_evaluation_knows_only_scores_and_labels(part: str) -> None:
    assert not {each for each in reached_from("secmi_exp.evaluation") if each.split(".")[1:2] == [part]}


@pytest.mark.parametrize("part", ["attacks", "targets", "split_checks"])
def test_data_knows_nothing_of_what_it_is_for(part: str) -> None:
    assert not {each for each in reached_from("secmi_exp.data") if each.split(".")[1:2] == [part]}


def test_only_entry_points_import_the_pipeline() -> None:
    assert {module for module in modules() if "secmi_exp.pipeline" in imports_of(module)} == {
        "secmi_exp.__main__",
        "secmi_exp.api.job",
        "secmi_exp.testing",
    }


def test_imports_stand_at_the_top_of_modules() -> None:
    hidden = {
        module
        for module in modules()
        for function in ast.walk(tree(module))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(function))
    }
    assert hidden == set(IN_FUNCTIONS)


def test_types_are_imported_like_everything_else() -> None:
    assert [module for module in modules() if "TYPE_CHECKING" in modules()[module].read_text(encoding="utf-8")] == []
