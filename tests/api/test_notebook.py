"""The notebook of examples/: its cells in this process with a small target; slow: by Jupyter's kernel as it is."""

import ast
import json
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from secmi_exp import progress
from secmi_exp.progress import WorkProgress
from tests.support.commands import REPOSITORY
from tests.support.python_api import without_figures
from tests.support.runs import few_sampling_steps

NOTEBOOK = REPOSITORY / "examples/audit.ipynb"
SMALL = """
network = {"block_out_channels": [8, 16]}
steps = {"max_steps": 4, "warmup_steps": 1, "checkpoint_every": 4, "sample_every": 4}
training = {"target": {"batch_size": 8, **steps, "network": network}, "split": {"members": 20, "holdouts": 20}}
settings = {"trainer": "cpu", "evaluation": {"bootstrap_rounds": 50, "blind": False}}
"""


def cells() -> list[Any]:
    """The cells with code."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_it_runs_on_a_small_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    values = []
    with without_figures(), few_sampling_steps():
        for cell in cells():
            source = SMALL if "parameters" in cell["metadata"].get("tags", []) else "".join(cell["source"])
            body = ast.parse(source).body
            last = body.pop() if isinstance(body[-1], ast.Expr) else None
            exec(compile(ast.Module(body, []), "cell", "exec"), names)
            if isinstance(last, ast.Expr):
                values.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
    audited, figure, _, compared, own, same, difference, loaded = values
    assert audited.results.target == "ddpm_small"
    assert figure._repr_png_()
    assert set(compared.table.attack) == {"stat", "pia", "loss"}
    assert own.results.target == "pipeline"
    assert same is True
    assert difference < 1e-3
    assert loaded is True


def test_it_was_executed_whole_and_shows_no_path_of_the_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert "/site-packages/" not in text
    assert all(cell["execution_count"] == number for number, cell in enumerate(cells(), 1))
    outputs = [output for cell in cells() for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    assert sum("AuditResult: stat on ddpm_small, digits" in str(output) for output in outputs) == 1


@pytest.mark.slow
def test_jupyter_runs_it_on_the_target_of_the_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = str([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])
    assert "Training target: 1400 of 1400 steps" in shown
    assert "'text/plain': 'True'" in shown


class Handle:
    """What `IPython.display` gives to replace an output by; keeps what was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, bar: Any, display_id: bool) -> "Handle":
        assert display_id
        self.update(bar)
        return self

    def update(self, bar: Any) -> None:
        self.shown.append(bar._repr_html_())


def test_a_notebook_shows_a_bar_that_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handle = Handle()
    monkeypatch.setattr(progress, "display", handle)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    with WorkProgress("Training <target>", 4, "steps", 1) as work:
        work.advance(2, 1)
        work.show("loss 0.5")
    assert handle.shown == [
        f'<progress value="{done}" max="4"></progress> Training &lt;target&gt;: {done} of 4 steps, 0 s{more}'
        for done, more in ((1, ""), (2, ", 0 s left"), (2, ", 0 s left, loss 0.5"), (2, ", loss 0.5"))
    ]
    assert capsys.readouterr() == ("", "")
    with WorkProgress("Training target", 4, "steps", shown=False):
        pass
    assert len(handle.shown) == 4
