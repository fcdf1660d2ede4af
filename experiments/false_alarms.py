"""False alarms of surrogate hold-outs: how often a collection that was not in the training set is said to be used.

python -m experiments.false_alarms [--dataset digits|mnist5k] [--size 50] [--repeats 100]
    [--holdouts 256] [--samples 600] [OVERRIDE …]

Collections are drawn from the images that a target was trained on, and from images that it was not; references from
other images that it was not trained on: of all classes, or of classes 5 to 9 where the collection is of classes 0 to 4
("other classes"), so that they are not alike. Images, their augmented versions and the target's samples are queried
once. The target and the attack are those of `python -m secmi_exp dataset=… +attack=stat`; overrides are added to it.
Prints a table and keeps it in experiments/results/.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.kept import table
from secmi_exp.attacks.scorers.scorer import Scorer
from secmi_exp.attacks.signals.samples import Sampling
from secmi_exp.configuration.preparation import prepare
from secmi_exp.data.augmented import enlarged
from secmi_exp.data.images import Images
from secmi_exp.evaluation.delong import auc_interval
from secmi_exp.evaluation.excess import MOST_BLIND, Contrast, Kind, Verdict, answer
from secmi_exp.evaluation.proportions import clopper_pearson
from secmi_exp.reporting.table_files import write_csv
from secmi_exp.split_checks.blind_views import View, of_collections, seen_features
from secmi_exp.testing import compose_config, no_logger

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

STEPS = 50
"""DDIM steps for each sample of the target."""


@dataclass(frozen=True)
class Pool:
    """Images that collections and references are drawn from, n together."""

    scores: Mapping[str, Floats]
    """``real`` and ``augmented``: [n], ``generated``: [samples]."""
    features: NDArray[np.float32]
    """What a classifier without the model sees, [n, F]."""
    is_member: NDArray[np.bool_]
    classes: Rows
    """[n]."""

    def contrast(self, rows: Rows, kind: Kind, others: Rows) -> Contrast:
        """Scores of images by the attack, and of their surrogates: ``others`` are the references, or the samples."""
        match kind:
            case "augmented":
                scores, numbers = self.scores["augmented"][rows], rows
            case "generated":
                scores, numbers = self.scores["generated"][others], others + len(self.is_member)
            case "references":
                scores, numbers = self.scores["real"][others], others
        first = np.repeat([True, False], [len(rows), len(numbers)])
        return Contrast(np.concatenate([self.scores["real"][rows], scores]), first, np.concatenate([rows, numbers]))

    def blind(self, rows: Rows, references: Rows) -> Contrast:
        """The baseline's scores of a collection and references."""
        both, first = np.concatenate([rows, references]), np.repeat([True, False], [len(rows), len(references)])
        made = of_collections(*[Images.from_pixels(np.zeros((1, 1, 1, 1), np.uint8))] * 2)
        view = View(made.kind, made.version, {}, lambda: self.features[both], made.classifier)
        return Contrast(view.scores(first, seed=0), first, both)


def make_pool(overrides: list[str], holdouts: int, samples: int) -> Pool:
    """Query the target with images, augmented images and its own samples; what the store has is reused."""
    prepared = prepare(compose_config("+attack=stat", "logger=none", *overrides))
    parts, store = prepared.parts, prepared.store
    images = parts.dataset.load(store, progress_bar=False)
    split, attack = parts.split.split(images), parts.attack
    assert attack is not None
    assert images.labels is not None
    target = parts.target.prepare(images.select(split.members), store, parts.runtime, no_logger)
    random = np.random.default_rng(0)
    rows = np.concatenate([split.members, np.sort(random.permutation(split.holdouts)[:holdouts])])
    pixels = images.pixels[rows]
    random = np.random.default_rng(1)
    augmented = np.stack([np.asarray(enlarged(Image.fromarray(each[0]), random))[None] for each in pixels])
    sampling = Sampling(samples, STEPS, 0, "experiment")
    drawn = sampling.draw(target, Images.from_pixels(pixels), store, parts.runtime).pixels[slice(0, samples)]
    scores = {}
    scorer = attack.scorers[attack.name]
    assert isinstance(scorer, Scorer)
    for name, each in {"real": pixels, "augmented": augmented, "generated": np.asarray(drawn)}.items():
        measured = attack.measure(target, Images.from_pixels(np.ascontiguousarray(each)), store, parts.runtime)
        scores[name] = np.asarray(scorer.score(measured), np.float64)
    classes = np.array([images.labels.numbers[row] for row in rows])
    features = seen_features(Images.from_pixels(pixels))
    return Pool(scores, features, np.arange(len(rows)) < len(split.members), classes)


@dataclass(frozen=True)
class Trial:
    """What one drawn collection was told."""

    verdict: Verdict
    uncontrolled: bool
    """Whether the attack's AUC against the surrogates alone would have been taken for a sign of use."""


def trials(pool: Pool, size: int, repeats: int, seed: int = 0) -> dict[tuple[Kind, str, str], list[Trial]]:
    """(Kind of surrogates, collection, references) → trials."""
    random = np.random.default_rng(seed)
    found: dict[tuple[Kind, str, str], list[Trial]] = {}
    for _ in range(repeats):
        for used in ("not used", "used"):
            for alike in ("alike", "other classes"):
                may = np.ones(len(pool.classes), bool) if alike == "alike" else pool.classes < 5
                collection = random.choice(np.flatnonzero(may & (pool.is_member == (used == "used"))), size, False)
                left = ~pool.is_member & (may if alike == "alike" else ~may)
                left[collection] = False
                references = random.choice(np.flatnonzero(left), size, False)
                samples = random.choice(len(pool.scores["generated"]), size, False)
                blind = pool.blind(collection, references)
                for kind in MOST_BLIND:
                    others = references if kind == "references" else samples
                    contrast = pool.contrast(collection, kind, others)
                    control = None if kind == "references" else pool.contrast(references, kind, others)
                    verdict = answer(kind, contrast, control, blind).verdict
                    alone = auc_interval(contrast.scores, contrast.first, confidence=0.9)[0] > 0.5
                    found.setdefault((kind, used, alike), []).append(Trial(verdict, alone))
    return found


def share(count: int, of: int) -> str:
    """A share with its exact 95% interval."""
    if not of:
        return "none answered"
    low, high = clopper_pearson(count, of)
    return f"{count / of:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits", choices=["digits", "mnist5k"])
    parser.add_argument("--size", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--holdouts", type=int, default=256, help="images that the target was not trained on")
    parser.add_argument("--samples", type=int, default=600, help="that the target generates")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    pool = make_pool([f"dataset={given.dataset}", *given.overrides], given.holdouts, given.samples)
    rows = []
    for (kind, used, alike), told in trials(pool, given.size, given.repeats).items():
        verdicts = [each.verdict for each in told]
        answered = len(told) - verdicts.count(Verdict.CANNOT_TELL)
        rows.append(
            {
                "surrogates": kind,
                "collection": used,
                "references": alike,
                "collections": len(told),
                "answered": answered,
                "said_to_be_used": share(verdicts.count(Verdict.USED), answered),
                "by_auc_alone": share(sum(each.uncontrolled for each in told), len(told)),
            }
        )
    rows.sort(key=lambda row: (str(row["collection"]), str(row["surrogates"]), str(row["references"])))
    write_csv(Path(table(f"false_alarms_{given.dataset}")), rows)
    print("| " + " | ".join(name.replace("_", " ") for name in rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")


if __name__ == "__main__":
    main()
