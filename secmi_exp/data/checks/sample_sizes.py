"""Whether a split has enough images for what an attack does with them: fitting, calibrating a threshold, telling."""

from math import comb

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.scorers.scorer import LearnedScorer
from secmi_exp.data.split import Part, Split, SplitRule
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import warn

SIGNIFICANT = 0.05
"""The p-value that the most telling scores must be able to reach."""


def check_sizes(attack: Attack, split: Split, rule: SplitRule) -> None:
    """Refuse an attack that has nothing to be fitted on, and sides that no scores could tell apart; warn of small ones.

    Raises:
        UserError: before anything is computed, saying how many images would do.
    """
    n_member = int(split.is_member.sum())
    n_holdout = len(split.is_member) - n_member
    per_side = min(n_member, n_holdout)
    if not split.of_part(Part.FIT).any():
        refuse_unfitted(attack, per_side, rule)
        warn_of_no_attack_train_part(per_side, rule)
    if n_member == n_holdout == 1:
        raise UserError(
            "One member and one hold-out say nothing about a leak, whatever their scores: by guessing, each outscores "
            "the other half of the time. Give at least 3 of each, or 19 hold-outs for one member with "
            "split.all_holdouts=true."
        )
    warn_of_members_left_out(split)
    judged = split.of_part(Part.EVALUATION)
    warn_of_untellable(int((judged & split.is_member).sum()), int((judged & ~split.is_member).sum()))


def learned_scorers(attack: Attack) -> list[str]:
    """Names of the scorers that are fitted on the attack-train part."""
    return [name for name, scorer in attack.scorers.items() if isinstance(scorer, LearnedScorer)]


def refuse_unfitted(attack: Attack, per_side: int, rule: SplitRule) -> None:
    """Refuse scorers that have no images to be fitted on.

    Raises:
        UserError: with the number of images that would do.
    """
    learned = learned_scorers(attack)
    if not learned:
        return
    instead = "or choose an attack that fits nothing, such as +attack=stat"
    fits = f"attack={attack.name} fits {' and '.join(learned)} on the attack-train part"
    if rule.least_a_side is None:
        raise UserError(
            f"{fits}, and split.attack_train=0 leaves none: set it above 0 (the paper's is 0.2), {instead}."
        )
    raise UserError(
        f"{fits}, and {per_side} images a side are too few for one: with split.attack_train={rule.attack_train} and "
        f"split.calibration={rule.calibration} {rule.least_a_side} would do, with 0.5 and 0.5 three; {instead}."
    )


def warn_of_members_left_out(split: Split) -> None:
    """Say that members get no score for want of hold-outs, where it is stated who is one; others were asked for."""
    attacked = int(split.is_member.sum())
    left_out = len(split.members) - attacked
    if split.drawn or split.by_coins or not left_out:
        return
    warn(
        "members_not_attacked",
        f"{left_out:,} of {len(split.members):,} members are not attacked and get no score, since as many members as "
        f"hold-outs are, {attacked:,}: give as many hold-outs as there are members whose scores you need.",
        side="members",
        count=left_out,
    )


def warn_of_no_attack_train_part(per_side: int, rule: SplitRule) -> None:
    """Say that no threshold is calibrated, unless that was asked for."""
    if rule.least_a_side is None:
        return
    warn(
        "no_attack_train_part",
        f"With only {per_side} images a side none are set aside to calibrate a threshold (with split.attack_train="
        f"{rule.attack_train} that takes {rule.least_a_side}): all are judged, and accuracy, precision, recall and the "
        "bound on ε are not given.",
        count=per_side,
    )


def warn_of_untellable(n_member: int, n_holdout: int) -> None:
    """Say so where the most telling scores, all members above all hold-outs, would not be significant.

    Of C(m + h, m) equally likely orders of m members and h hold-outs one is that: Mann–Whitney's smallest p-value.
    """
    orders = comb(n_member + n_holdout, min(n_member, n_holdout, 3))  # from 3 a side on there are at least 20
    if 1 / orders <= SIGNIFICANT:
        return
    warn(
        "too_few_to_tell",
        f"{n_member} members and {n_holdout} hold-outs are judged: even scores that separate them have p = "
        f"{1 / orders:.2f} by chance, so that no outcome is evidence at the 5% level. Give at least 3 of "
        "each.",
        grave=True,
    )
