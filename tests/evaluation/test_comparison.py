"""Attacks compared on the same samples, and one metric over several runs."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from secmi_exp.errors import UserError
from secmi_exp.evaluation.bootstrap import resampled_metrics
from secmi_exp.evaluation.comparison import compare
from secmi_exp.evaluation.delong import paired_test
from secmi_exp.evaluation.multiple_testing import holm
from secmi_exp.evaluation.repeated_runs import repeated_runs
from tests.support.normal_scores import normal_scores


def three_attacks() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two that see much the same, and one that sees little."""
    rng = np.random.default_rng(0)
    scored = normal_scores(rng, 300, 300, 1.0)
    stat, nn = (scored.scores + rng.normal(scale=scale, size=600) for scale in (0.5, 0.3))
    return {"stat": stat, "nn": nn, "pia": scored.scores + rng.normal(scale=3.0, size=600)}, scored.is_member


def test_matrices_hold_differences_paired_p_values_and_holms_correction() -> None:
    scores, is_member = three_attacks()
    found = compare(scores, is_member, rounds=200, seed=0)
    aucs = {name: roc_auc_score(is_member, each) for name, each in scores.items()}
    assert found.names == ("stat", "nn", "pia")
    for row, first in enumerate(found.names):
        for column, second in enumerate(found.names):
            assert found.differences["auc"][row, column] == pytest.approx(aucs[first] - aucs[second])
            expected = paired_test(scores[first], scores[second], is_member).p_value
            assert found.p_values[row, column] == pytest.approx(expected)
    raw = found.p_values[np.triu_indices(3, 1)]
    np.testing.assert_allclose(found.p_adjusted[np.triu_indices(3, 1)], holm(raw))
    np.testing.assert_array_equal(found.p_adjusted, found.p_adjusted.T)
    assert found.p_adjusted[0, 2] < 0.001


def test_intervals_of_differences_share_their_resamples() -> None:
    scores, is_member = three_attacks()
    found = compare(scores, is_member, rounds=2000, seed=0)
    delong = paired_test(scores["stat"], scores["pia"], is_member).interval
    np.testing.assert_allclose(found.ci95["auc"][0, 2], delong, atol=0.006)
    for name, each in found.ci95.items():
        np.testing.assert_allclose(each[..., 0], -each[..., 1].T, atol=1e-12)
        assert (each[..., 0] <= found.differences[name]).all()
        assert (found.differences[name] <= each[..., 1]).all()
    same = compare({"a": scores["nn"], "b": np.exp(scores["nn"])}, is_member, rounds=50, seed=0)
    assert all((each == 0.0).all() for each in same.ci95.values())
    assert (same.p_values == 1.0).all()


def test_low_rates_are_compared_where_the_holdouts_resolve_them() -> None:
    scores, is_member = three_attacks()
    assert list(compare(scores, is_member, rounds=20, seed=0).values) == ["auc", "asr", "tpr_at_1pct_fpr"]
    found = compare(scores, is_member, rounds=20, seed=0, max_fprs=[0.1])
    assert list(found.differences) == list(found.ci95) == ["auc", "asr", "tpr_at_10pct_fpr"]


def test_a_score_set_is_resampled_alike_alone_and_among_others() -> None:
    scores, is_member = three_attacks()
    together = resampled_metrics(list(scores.values()), is_member, max_fprs={"low": 0.01}, rounds=30, seed=4)
    alone = resampled_metrics([scores["nn"]], is_member, max_fprs={"low": 0.01}, rounds=30, seed=4)
    for name, values in alone.items():
        np.testing.assert_array_equal(values[:, 0], together[name][:, 1])


@pytest.mark.parametrize(
    ("names", "samples", "message"),
    [(["nn"], 600, "at least two attacks, and there is 1"), (["nn", "stat"], 500, "nn has 600 scores for 500")],
)
def test_what_cannot_be_compared_is_refused(names: list[str], samples: int, message: str) -> None:
    scores, is_member = three_attacks()
    with pytest.raises(UserError, match=message):
        compare({name: scores[name] for name in names}, is_member[:samples], rounds=10, seed=0)


def test_runs_are_summed_up_by_students_interval() -> None:
    values = [0.81, 0.86, 0.79, 0.84, 0.83]
    found = repeated_runs(values)
    assert (found.runs, found.mean) == (5, pytest.approx(np.mean(values)))
    assert found.deviation == pytest.approx(stats.tstd(values))
    assert found.ci95 == pytest.approx(stats.t.interval(0.95, 4, np.mean(values), stats.sem(values)))
    alone = repeated_runs([0.8])
    assert (alone.mean, alone.deviation, alone.ci95) == (0.8, None, None)
    with pytest.raises(UserError, match="at least one finite value"):
        repeated_runs([])


def test_interval_over_three_runs_covers_at_its_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    summaries = [repeated_runs(values) for values in rng.normal(0.8, 0.02, (2000, 3))]
    covered = [each.ci95 is not None and each.ci95[0] <= 0.8 <= each.ci95[1] for each in summaries]
    assert 0.935 <= np.mean(covered) <= 0.965
