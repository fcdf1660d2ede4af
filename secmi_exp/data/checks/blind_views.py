"""Everything that a query depends on besides the target: pixels, prompts and original sizes, each with a classifier.

Source: Das, Zhang and Tramèr, "Blind Baselines Beat Membership Inference Attacks for Foundation Models" (2024), whose
classifiers look at metadata and at words as well.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secmi_exp.attacks import blind
from secmi_exp.attacks.scorers.feature_classifier import classifier, sklearn_seed
from secmi_exp.attacks.signals.image_features import coarse_view, low_level
from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Key
from secmi_exp.store.listed import listed

HashingVectorizer = Deferred("sklearn.feature_extraction.text:HashingVectorizer")
LogisticRegression = Deferred("sklearn.linear_model:LogisticRegression")
StratifiedKFold = Deferred("sklearn.model_selection:StratifiedKFold")
cross_val_predict = Deferred("sklearn.model_selection:cross_val_predict")
make_pipeline = Deferred("sklearn.pipeline:make_pipeline")
make_union = Deferred("sklearn.pipeline:make_union")
FunctionTransformer = Deferred("sklearn.preprocessing:FunctionTransformer")
OneHotEncoder = Deferred("sklearn.preprocessing:OneHotEncoder")
StandardScaler = Deferred("sklearn.preprocessing:StandardScaler")

VERSION = 1
"""Version of the classifiers of texts and sizes; raised when the same ones would get other scores."""

FOLDS = 5
C = 1.0
"""Inverse strength of their penalty, scikit-learn's own: their features are scaled to at most about 1."""
LETTERS = (1, 4)
"""Lengths of the runs of characters that texts are taken apart into."""
N_GRAMS = 2**14
"""Places that runs of characters are hashed to."""

Sizes = NDArray[np.int32]


@dataclass(frozen=True)
class View:
    """One kind of input that a classifier without the target sees, such as pixels or prompts."""

    kind: str
    """Its name in results.json."""
    version: int
    inputs: Mapping[str, str]
    """Digests of what is seen, for the store's key."""
    features: Callable[[], Any]
    """Returns the classifier's input for n images."""
    classifier: Callable[[int], Any]
    """Gives an unfitted one, from a seed."""

    def key(self, is_member: NDArray[np.bool_], seed: int) -> Key:
        """The store's key of `scores`."""
        config: dict[str, Json] = {"seed": seed, "is_member": listed(np.packbits(is_member))}
        return Key("blind", self.version, config, self.inputs, files=("scores.npy",), label=self.kind)

    def scores(self, is_member: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
        """Log-odds of membership by a classifier fitted on four fifths of the images, this one not among them. [n]

        Log-odds of all folds are ranked together; that the folds' classifiers differ only blurs them. All kinds have
        the same folds.

        Args:
            is_member: their labels, [n].
            seed: of the folds.
        """
        n_folds = min(FOLDS, int(min(is_member.sum(), (~is_member).sum())))
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=sklearn_seed(seed))
        scores: NDArray[np.float64] = cross_val_predict(
            self.classifier(seed), self.features(), is_member, cv=folds, method="decision_function"
        )
        return scores


def views(images: Images, texts: Mapping[str, Sequence[str]], sizes: Sizes | None) -> list[View]:
    """The pixels, and of the rest what is not the same for all images.

    Args:
        images: n of them.
        texts: kind → what a query depends on besides, such as prompts, [n]; see `Inputs.texts`.
        sizes: original widths and heights, [n, 2]; None where they are not known.
    """
    found = [of_pixels(images)]
    found += [of_texts(kind, each) for kind, each in texts.items() if len(set(each)) > 1]
    if sizes is not None and (sizes != sizes[0]).any():
        found.append(of_sizes(sizes))
    return found


def of_collections(first: Images, second: Images) -> View:
    """The pixels of two sets of images, and in 8×8 means what they show; membership is that of the first set."""
    make = partial(classifier, "linear", blind.C)
    inputs = {"first": first.digest, "second": second.digest}
    return View("collections", blind.VERSION, inputs, lambda: seen_features(first, second), make)


def seen_features(*sets: Images) -> NDArray[np.float32]:
    """Features of images that no model gave, one set after the other: `low_level` and `coarse_view`. [n, F]."""
    return np.concatenate([np.concatenate([low_level(each), coarse_view(each)], axis=1) for each in sets])


def of_pixels(images: Images) -> View:
    """See `low_level`."""
    make = partial(classifier, "linear", blind.C)
    return View("pixels", blind.VERSION, {"images": images.digest}, partial(low_level, images), make)


def of_texts(kind: str, texts: Sequence[str]) -> View:
    """Runs of characters, and lengths in characters and words: what is written about, and the style of it."""
    digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
    return View(kind, VERSION, {kind: digest}, partial(list, texts), text_classifier)


def of_sizes(sizes: Sizes) -> View:
    """Width, height and aspect ratio before the image was resized: how it came about, and what resizing did to it."""
    digest = hashlib.sha256(repr(sizes.shape).encode() + np.ascontiguousarray(sizes).data).hexdigest()
    return View("original_sizes", VERSION, {"original_sizes": digest}, lambda: sizes, size_classifier)


def text_classifier(seed: int) -> Any:
    """An unfitted classifier of texts."""
    n_grams = HashingVectorizer(
        analyzer="char", ngram_range=LETTERS, n_features=N_GRAMS, lowercase=False, alternate_sign=False
    )
    lengths = make_pipeline(FunctionTransformer(text_lengths), StandardScaler())
    return make_pipeline(make_union(n_grams, lengths), logistic_regression(seed))


def text_lengths(texts: Sequence[str]) -> NDArray[np.float64]:
    """Logarithms of the numbers of characters and of words, [n, 2]."""
    return np.log1p([[len(text), len(text.split())] for text in texts])


def size_classifier(seed: int) -> Any:
    """An unfitted classifier of sizes: by how large they are, and by each width and height that occurs."""
    scaled = make_pipeline(FunctionTransformer(log_sizes), StandardScaler())
    union = make_union(scaled, OneHotEncoder(handle_unknown="ignore"))
    return make_pipeline(union, logistic_regression(seed))


def logistic_regression(seed: int) -> Any:
    """An unfitted one, on features that are scaled."""
    return LogisticRegression(C=C, max_iter=1000, random_state=sklearn_seed(seed))


def log_sizes(sizes: Sizes) -> NDArray[np.float64]:
    """Logarithms of width, height and their ratio. [n, 3]."""
    width, height = np.log(np.maximum(sizes, 1)).T
    return np.stack([width, height, width - height], axis=1)
