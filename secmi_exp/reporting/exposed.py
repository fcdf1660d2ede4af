"""What a run tells a data owner: of each image that was judged, and of all members together."""

import numpy as np

from secmi_exp.data.split import Part, Split
from secmi_exp.evaluation.exposure import collection_p_value, conformal_p_values, leave_one_out_p_values, percentiles
from secmi_exp.evaluation.multiple_testing import benjamini_hochberg
from secmi_exp.evaluation.scored import Floats, Scored
from secmi_exp.store import Json


def collection_facts(evaluated: Scored) -> dict[str, Json]:
    """One answer for all members together: a p-value of "they score no higher than hold-outs"."""
    members, holdouts = evaluated.scores[evaluated.is_member], evaluated.scores[~evaluated.is_member]
    varied = min(len(members), len(holdouts)) > 1 and np.ptp(evaluated.scores) > 0
    return {
        "n": len(members),
        "n_reference": len(holdouts),
        "p_mann_whitney": collection_p_value(members, holdouts),
        "p_welch": collection_p_value(members, holdouts, test="welch") if varied else None,
    }


def exposure_columns(split: Split, scores: Floats) -> dict[str, Floats]:
    """Of each image of the evaluation part, against its hold-outs: percentile, p-value and, of members, q-value."""
    judged = split.of_part(Part.EVALUATION)
    members, holdouts = (np.flatnonzero(judged & side) for side in (split.is_member, ~split.is_member))
    reference = scores[holdouts]
    columns = {name: np.full(len(scores), np.nan) for name in ("percentile", "p_value", "q_value")}
    columns["percentile"][judged] = percentiles(scores[judged], reference)
    columns["p_value"][holdouts] = leave_one_out_p_values(reference)
    columns["p_value"][members] = conformal_p_values(scores[members], reference)
    columns["q_value"][members] = benjamini_hochberg(columns["p_value"][members])
    return columns
