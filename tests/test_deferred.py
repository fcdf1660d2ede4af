"""Functions that are imported when they are called: what they name is there, and stays named in other processes."""

import ast
import pickle
import sys
from pathlib import Path

import pytest

from secmi_exp.deferred import Deferred, DeferredModule
from tests.support.commands import REPOSITORY


def deferred_names() -> list[str]:
    """Every literal that is given to `Deferred` in the package, as FILE: NAME."""
    found = []
    for file in sorted((REPOSITORY / "secmi_exp").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "Deferred(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Deferred":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), (
                    f"{file}, line {node.lineno}: a literal, so that this test sees it"
                )
                found.append(f"{file.relative_to(REPOSITORY)}: {argument.value!s}")
    return found


@pytest.mark.parametrize("named", deferred_names())
def test_what_the_package_defers_is_there(named: str) -> None:
    deferred = Deferred(named.rpartition(" ")[2])
    assert deferred.imported is not None


def test_nothing_is_imported_before_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "put_off.py").write_text("def double(x, *, plus=0):\n    return 2 * x + plus\n")
    monkeypatch.syspath_prepend(tmp_path)
    double = Deferred("put_off:double")
    assert "put_off" not in sys.modules
    assert double(3, plus=1) == 7
    assert "put_off" in sys.modules


def test_a_module_is_imported_with_its_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "put_off_module.py").write_text("two = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = DeferredModule("put_off_module")
    assert "put_off_module" not in sys.modules
    assert module.two == 2
    with pytest.raises(AttributeError, match="three"):
        _ = module.three


def test_it_is_pickled_as_its_name() -> None:
    mean = Deferred("statistics:mean")
    again = pickle.loads(pickle.dumps(mean))  # noqa: S301
    assert again == mean
    assert again([1, 2, 3]) == 2


@pytest.mark.parametrize(
    ("name", "error", "missing"),
    [
        ("no_such_module:mean", ModuleNotFoundError, "no_such_module"),
        ("statistics:no_such_function", AttributeError, "no_such_function"),
    ],
)
def test_an_error_names_what_is_missing(name: str, error: type[Exception], missing: str) -> None:
    with pytest.raises(error, match=missing):
        Deferred(name)()
