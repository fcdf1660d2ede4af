"""Drawn collections of members are found, those of hold-outs at the nominal rate."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest

from experiments.collection_inference import infer, main


@pytest.mark.slow
def test_members_are_found_and_hold_outs_at_their_rate() -> None:
    random = np.random.default_rng(0)
    found = infer(random.normal(0.8, 1, 400), random.normal(0, 1, 5000), size=100, repeats=300)
    assert (found.members < 0.01).mean() > 0.95
    assert kstest(found.holdouts, "uniform").pvalue > 0.01
    assert (found.holdouts < 0.05).mean() < 0.1


def test_a_run_whose_figures_are_no_measure_of_a_leak_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grave = {"code": "split_at_fault", "sentence": "The split is at fault.", "grave": True}
    results = {"attack": "cdi", "dataset": "digits", "target": "ddpm_small", "warnings": [grave]}
    (tmp_path / "results.json").write_text(json.dumps(results))
    monkeypatch.setattr(sys, "argv", ["collection_inference", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "are no measure of a leak: The split is at fault." in capsys.readouterr().err
