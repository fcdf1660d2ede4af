"""Whether a split can be trusted: its membership is the target's, isn't swapped, and nothing else gives it away."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secmi_exp.attacks.attack import Attack, TargetFree
from secmi_exp.attacks.scores_file import ScoresFile
from secmi_exp.data.checks.blind_views import Sizes, View, views
from secmi_exp.data.images import Images, ImageSet, Rows
from secmi_exp.data.membership import Statement, refuse_contradiction
from secmi_exp.data.split import Split
from secmi_exp.errors import UserError
from secmi_exp.evaluation.delong import auc_interval
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Scored
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import warn
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget

MOST_A_SIDE = 50_000
"""Images of a side that classifiers are fitted on and judged on, at most: a random choice of them bounds memory and
time, and the AUC's 95% interval is ±0.004 at most."""

FALSE_ALARMS = 0.005
"""Share of sound splits that are said to be at fault, at most."""


def refuse_drawn_membership(split: Split, target: PreparedTarget, members: Images) -> None:
    """Refuse to attack a target with a membership that was drawn at random after its training.

    Raises:
        UserError: saying how to state the membership.
    """
    if split.drawn and target.trained_on != members.digest:
        raise UserError(
            "The target was trained elsewhere, and not on the members that this split has drawn at random: state which "
            "images it saw, by dataset=image_folder with dataset.members and dataset.holdout, or by split=indices "
            "split.path=… (a run's split.npz, or a split file of the authors')."
        )


def refuse_other_membership(attack: TargetFree, images: Images, split: Split) -> None:
    """Refuse scores from elsewhere whose file has other members than the split.

    Raises:
        UserError: naming the first image that they disagree on.
    """
    stated = attack.stated_membership(images)
    if stated is not None:
        refuse_contradiction(
            Statement("the file's scores", stated),
            Statement("the split", split.is_member),
            images.names,
            "choose the split that the scores were made on",
        )


def trained_rows(split: Split, images: ImageSet, target: PreparedTarget | None) -> Rows:
    """Rows that the target saw, as far as it is known: all stated members, or those drawn of them to train it on.

    Warns where a target of ours was trained on other images than the stated members.

    Args:
        split: of the images.
        images: all of them.
        target: None where an attack asks none, and where it was trained is not known.
    """
    stated = split.members if images.is_member is None else np.flatnonzero(images.is_member & images.readable)
    if target is None or target.trained_on is None:
        return stated
    if target.trained_on == images.select(split.members).digest:
        return split.members
    if target.trained_on != images.select(stated).digest:
        warn(
            "trained_on_other_images",
            f"The target's own record says that it was trained on other images than the {len(stated)} stated members: "
            "the figures hold only if those are among them.",
            side="members",
        )
    return stated


def uncheckable(images: ImageSet, is_member: NDArray[np.bool_]) -> str | None:
    """Why `check_split` can't be made, as the rest of a sentence; None where it can.

    Args:
        images: of the split.
        is_member: of those that are attacked, [n].
    """
    if not images.has_pixels:
        return "the scores come without images"
    if min(is_member.sum(), (~is_member).sum()) < 2:
        return "a classifier of the sides needs two images on each"
    return None


def check_split(
    images: Images,
    is_member: NDArray[np.bool_],
    seed: int,
    store: Store,
    texts: Mapping[str, Sequence[str]],
    sizes: Sizes | None,
) -> dict[str, Json]:
    """The AUC of classifiers that never see the target, cross-fitted; warns where they tell members from hold-outs.

    Attacks then measure that difference too, and not only a leak. A classifier looks at each kind of what a query
    depends on, and a split is at fault where one of them finds a difference at a one-sided confidence of 99.5%,
    adjusted for their number (Bonferroni), so that one of two hundred sound splits is warned of. The AUC over all kinds
    is that of the sum of their log-odds. Of a side with more images than `MOST_A_SIDE` so many are looked at.

    Args:
        images: attacked images, n.
        is_member: [n], two or more on each side.
        seed: of the folds, and of which images are looked at.
        store: store of the classifiers' scores.
        texts: kind → what a query depends on besides the pixels, [n]; see `Inputs.texts`.
        sizes: original widths and heights, [n, 2]; None where they are not known.
    """
    rows = rows_looked_at(is_member, seed)
    if len(rows) < len(images):
        images, is_member = replace(images, rows=images.rows[rows]), is_member[rows]
        texts = {kind: [each[row] for row in rows] for kind, each in texts.items()}
        sizes = None if sizes is None else sizes[rows]
    found = views(images, texts, sizes)
    confidence = 1 - 2 * FALSE_ALARMS / len(found)
    together = np.zeros(len(images))
    by: dict[str, Json] = {}
    telling: list[str] = []
    for view in found:
        scores = kept_scores(view, is_member, seed, store)
        together += scores
        at_fault = auc_interval(scores, is_member, confidence=confidence)[0] > 0.5
        by[view.kind] = {**auc_facts(scores, is_member), "at_fault": at_fault}
        if at_fault:
            low, high = auc_interval(scores, is_member)
            name, auc = view.kind.replace("_", " "), Roc.from_scores(scores, is_member).auc
            telling.append(f"the {name} alone (AUC {auc:.3f} [{low:.3f}, {high:.3f}])")
    if telling:
        warn(
            "split_at_fault",
            "The split is at fault: a classifier that never sees the target tells members from hold-outs by "
            f"{' and by '.join(telling)}, so that what an attack finds may be that difference.",
            grave=True,
        )
    facts = auc_facts(together, is_member)
    return {**facts, "images": len(images), "split_at_fault": bool(telling), "by": by}


def check_order(attack: Attack, judged: Scored) -> None:
    """Warn where hold-outs score higher than members, which a low AUC and a gate's limit would take for privacy.

    One of two hundred targets that leak nothing is warned of (one-sided confidence of 99.5%, as of `check_split`).

    Args:
        attack: that was made.
        judged: scores of its own scorer.
    """
    if auc_interval(judged.scores, judged.is_member, confidence=1 - 2 * FALSE_ALARMS)[1] >= 0.5:
        return
    auc = Roc.from_scores(judged.scores, judged.is_member).auc
    low, high = auc_interval(judged.scores, judged.is_member)
    advice = "Check which of the images the target was trained on."
    if isinstance(attack, ScoresFile):
        advice = (
            f"Check what the columns {attack.member_column} and {attack.score_column} mean: where the score is one "
            "that members have less of, such as a loss, attack.scorers.scores.members_have=less says so; a low AUC is "
            "no reason for it."
        )
    warn(
        "holdouts_score_higher",
        f"Hold-outs score higher than members (AUC {auc:.3f} [{low:.3f}, {high:.3f}]), so that a low AUC "
        "doesn't mean that nothing leaks: the sides may be swapped or differ in more than membership, or the scores "
        f"mean the opposite. {advice}",
        grave=True,
    )


def rows_looked_at(is_member: NDArray[np.bool_], seed: int) -> Rows:
    """Positions of all images, or of as many of a side as are looked at, in their order."""
    random, rows = np.random.default_rng(seed), [np.flatnonzero(is_member == side) for side in (True, False)]
    chosen = [each if len(each) <= MOST_A_SIDE else random.choice(each, MOST_A_SIDE, replace=False) for each in rows]
    return np.sort(np.concatenate(chosen))


def kept_scores(view: View, is_member: NDArray[np.bool_], seed: int, store: Store) -> NDArray[np.float64]:
    """`View.scores`, read from the store if they were computed before. [n]"""

    def build(workspace: Path) -> None:
        np.save(workspace / "scores.npy", view.scores(is_member, seed))

    scores: NDArray[np.float64] = np.load(store.get_or_build(view.key(is_member, seed), build).path / "scores.npy")
    return scores


def auc_facts(scores: NDArray[np.float64], is_member: NDArray[np.bool_]) -> dict[str, Json]:
    """The AUC, and its 95% interval."""
    return {"auc": Roc.from_scores(scores, is_member).auc, "ci95": list(auc_interval(scores, is_member))}
