"""Whether a split can be trusted: that its membership is the target's, and that the images alone don't give it away."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secmi_exp.attacks.attack import TargetFree
from secmi_exp.data.images import Images
from secmi_exp.data.split import Split
from secmi_exp.errors import UserError
from secmi_exp.evaluation.delong import auc_interval
from secmi_exp.evaluation.roc import Roc
from secmi_exp.run_warnings import warn
from secmi_exp.store import Json, Key, Store
from secmi_exp.targets.interface import PreparedTarget


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
    if stated is not None and (stated != split.is_member).any():
        first = int(np.flatnonzero(stated != split.is_member)[0])
        raise UserError(
            f"The file's scores and the split disagree on {int((stated != split.is_member).sum())} of {len(stated)} "
            f"images, the first of them {images.names[first]}, by the file a "
            f"{'member' if stated[first] else 'hold-out'}: choose the split that the scores were made on."
        )


def check_split(images: Images, is_member: NDArray[np.bool_], seed: int, store: Store) -> dict[str, Json]:
    """The AUC of a classifier that sees the images alone, cross-fitted; warns where it tells members from hold-outs.

    Attacks then measure that difference too, and not only a leak. The warning takes a one-sided confidence of 99.5%, so
    that one of two hundred sound splits is warned of.

    Args:
        images: that are attacked, n.
        is_member: [n].
        seed: of the folds.
        store: where its scores are kept.
    """
    from secmi_exp.attacks import blind

    config: dict[str, Json] = {"seed": seed, "is_member": np.packbits(is_member).tolist()}
    key = Key("blind", blind.VERSION, config, {"images": images.digest}, files=("scores.npy",))

    def build(workspace: Path) -> None:
        np.save(workspace / "scores.npy", blind.cross_fitted_scores(images, is_member, seed))

    scores = np.load(store.obtain(key, build).path / "scores.npy")
    low, high = auc_interval(scores, is_member)
    auc = Roc.of(scores, is_member).auc
    at_fault = auc_interval(scores, is_member, confidence=0.99)[0] > 0.5
    if at_fault:
        warn(
            "split_at_fault",
            "The split is at fault: a classifier that never sees the target tells members from hold-outs by the images "
            f"alone (AUC {auc:.3f} [{low:.3f}, {high:.3f}]), so that what an attack finds may be that difference.",
            grave=True,
        )
    return {"auc": auc, "ci95": [low, high], "split_at_fault": at_fault}
