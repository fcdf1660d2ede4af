"""Numbers that are not finite are told by where they arise, whether they were just computed or lay in the store."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import torch
from torch import Tensor

from secmi_exp.attacks.finite_values import (
    refuse_non_finite_scores,
    refuse_non_finite_values,
    rows_not_finite,
)
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.pia import normalized
from secmi_exp.attacks.scorers.column import Column
from secmi_exp.attacks.scorers.nn import ErrorMapClassifier
from secmi_exp.attacks.scorers.scorer import Fitting
from secmi_exp.attacks.scores_file import ScoresFile
from secmi_exp.attacks.signals.image_features import coarse_view, low_level
from secmi_exp.attacks.signals.samples import Sampling
from secmi_exp.attacks.signals.trajectories import Trajectories
from secmi_exp.attacks.tvd import HistogramRatio
from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import collect_warnings
from secmi_exp.store import Key, Store
from secmi_exp.targets.interface import InputArrays, Inputs, PreparedTarget
from secmi_exp.targets.pixel.secmi_checkpoint import SecMICheckpoint
from secmi_exp.testing import SmallPredictor, cpu_runtime, prepare
from tests.support.authors_network import FLAGS, change, random_weights, save_checkpoint
from tests.support.diffusers_folders import change_weights, pipeline, refusal, target
from tests.support.hostile_files import is_empty
from tests.support.query_attacks import IMAGES, N, attack

NAN, INF = float("nan"), float("inf")


class Overflowing(SmallPredictor):
    """Predicts what no float32 holds from a timestep on, for images whose first pixel is bright."""

    def __init__(self, after: int, factor: float = 1e39):
        super().__init__()
        self.after, self.factor = after, factor

    def evaluate(self, x: Tensor, time: float, condition: Any) -> Tensor:
        eps = super().evaluate(x, time, condition)
        bright = x[:, :1, :1, :1] > 0
        return torch.where(bright, eps * self.factor, eps) if time >= self.after else eps


def overflowing(after: int) -> PreparedTarget:
    return PreparedTarget(Path(), f"overflowing {after}", partial(Overflowing, after))


def measure(root: Path, after: int, *overrides: str, precision: str = "32") -> Measurements:
    """As a run does it."""
    asking, store, runtime = attack(*overrides), Store(root), cpu_runtime(query_precision=precision)
    measured = asking.measure(overflowing(after), IMAGES, store, runtime)
    refuse_non_finite_values(f"attack={asking.name}", measured, IMAGES, overflowing(after), store, runtime)
    return measured


STAT = ["+attack=stat", "attack.t_sec=30", "attack.t_max=60"]
CDI = ["+attack=cdi", "attack.parts.losses.t=[0,100,200]", "attack.parts.secmi.t_sec=50", "attack.parts.secmi.t_max=50"]


@pytest.mark.parametrize(
    ("overrides", "after", "values", "when"),
    [
        (STAT, 20, "t_error", "from timestep 20 on"),
        (["+attack=loss", "attack.t=[10,200]", "attack.noises=1"], 100, "loss, loss_200", "queried up to timestep 200"),
        (["+attack=pia"], 100, "proximal_error", "queried up to timestep 200"),
        (CDI, 100, "losses/loss, losses/loss_100, losses/loss_200 and 2 more", "queried up to timestep 200"),
    ],
)
def test_predictions_that_overflow_are_told_with_images_and_timestep(
    tmp_path: Path, overrides: list[str], after: int, values: str, when: str
) -> None:
    for _ in range(2):  # computed, and found in the store
        with pytest.raises(UserError) as refused:
            measure(tmp_path, after, *overrides)
        message = str(refused.value)
        assert message.startswith(f"The values {values}")
        assert when in message
        assert f"of {N} images" in message
        assert "the target's weights are finite, and its predictions are not" in message
        assert "query_precision" not in message


def test_precision_is_blamed_where_it_is_low(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"overflow in bfloat16; try trainer.query_precision=32"):
        measure(tmp_path, 0, *STAT, precision="bf16")


def test_later_timesteps_than_the_attacks_own_are_a_warning(tmp_path: Path) -> None:
    with collect_warnings() as warnings:
        assert np.isfinite(measure(tmp_path, 50, *STAT).numbers["t_error"]).all()
    (warning,) = warnings
    assert warning.code == "t_errors_not_finite"
    assert "from timestep 50 on" in warning.sentence
    assert not warning.grave
    assert 0 < (warning.count or 0) <= N


def test_error_maps_beyond_float16_are_told_as_such() -> None:
    maps = np.ones((N, 1, 2, 2), np.float16)
    maps[3] = INF
    signals = Trajectories([10], np.ones((N, 1), np.float32), {}, [2], [{}], 0, Key("t_errors", 1, {}), {})
    measured = Measurements({"t_error": np.ones(N), "error_map": maps}, 2, 0, "", trajectory=signals)
    with pytest.raises(UserError, match=rf"values error_map of attack=nn .* for 1 of {N} images: they exceed float16"):
        refuse_non_finite_values("attack=nn", measured, IMAGES, None, None, cpu_runtime())  # type: ignore[arg-type]


def test_latents_that_are_not_finite_are_the_encoders(tmp_path: Path) -> None:
    class Latents:
        key = "latents"

        def arrays(self) -> InputArrays:
            x_0 = np.zeros((N, 1, 2, 2), np.float32)
            x_0[1] = NAN
            return InputArrays(x_0)

        def texts(self) -> dict[str, Any]:
            return {}

        def facts(self) -> dict[str, Any]:
            return {}

    def inputs(*given: object) -> Inputs:
        return Latents()

    latent = PreparedTarget(Path(), "latent", SmallPredictor, inputs=inputs)
    measured = Measurements({"loss": np.full(N, NAN)}, 1, 0, "")
    with pytest.raises(UserError, match=rf"encoders make .* is not finite: latents of 1 of {N} images"):
        refuse_non_finite_values("attack=loss", measured, IMAGES, latent, Store(tmp_path), cpu_runtime())


def test_samples_that_are_not_finite_are_refused_with_the_step(tmp_path: Path) -> None:
    for precision, blamed in (("32", "weights are finite"), ("bf16", "overflow in bfloat16")):
        with pytest.raises(UserError, match=rf"samples are not finite for \d+ of .* at timestep 149 on: .*{blamed}"):
            Sampling(5, 4, 0, "attack").draw(
                sampled(), IMAGES, Store(tmp_path), cpu_runtime(query_precision=precision, query_batch_size=5)
            )


class OverflowingBelow(SmallPredictor):
    """Predicts what no float32 holds below timestep 200."""

    def evaluate(self, x: Tensor, time: float, condition: Any) -> Tensor:
        return super().evaluate(x, time, condition) * (1e39 if time < 200 else 1)


def sampled() -> PreparedTarget:
    return PreparedTarget(Path(), "overflowing below", OverflowingBelow)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_weights_that_are_not_finite_are_named_with_their_file(tmp_path: Path, value: float) -> None:
    folder = pipeline(tmp_path / "theirs")

    def spoil(weights: dict[str, Tensor]) -> None:
        weights["conv_in.bias"][2:4] = value
        weights["conv_out.weight"][0, 0] = value

    change_weights(folder, spoil)
    message = refusal(folder, tmp_path / "store", 3, 8, 8)
    assert "unet/diffusion_pytorch_model.safetensors holds 11 weights that are NaN or infinite, in 2 of " in message


def test_a_checkpoint_of_the_authors_whose_weights_are_not_finite_is_not_converted(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, FLAGS, ema_model=random_weights(FLAGS, 0), net_model=random_weights(FLAGS, 1))
    change(path, "head.bias", torch.full((32,), NAN))
    with pytest.raises(UserError, match=r"ckpt.pt holds 32 weights that are NaN or infinite, in 1 of .* conv_in.bias"):
        prepare(SecMICheckpoint("theirs", path, "ema"), tmp_path / "store", 3, 8, 8)
    assert is_empty(tmp_path / "store")
    prepare(SecMICheckpoint("theirs", path, "net"), tmp_path / "store", 3, 8, 8)


def test_weights_explain_values_that_lay_in_the_store(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "theirs")
    change_weights(folder, lambda weights: weights["conv_in.bias"].fill_(NAN))
    prepared = prepare(target(folder), tmp_path / "store", 3, 8, 8)
    measured = Measurements({"loss": np.full(2, NAN)}, 1, 0, "")
    images = Images.from_pixels(np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(UserError, match="holds 8 weights that are NaN or infinite"):
        refuse_non_finite_values("attack=loss", measured, images, prepared, Store(tmp_path / "store"), cpu_runtime())


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ([0.5, INF, 1.0], "for 1 of the 3 attacked images, the first of them b in row 1 of .*scores.parquet .inf.:"),
        ([0.5, NAN, NAN], "for 2 of the 3 attacked images, the first of them b in row 1 of .*scores.parquet .NaN.:"),
        ([NAN, 1.0, 2.0], "for 1 of the 3 attacked images, the first of them a in row 0 of .*scores.parquet .NaN.:"),
    ],
)
def test_scores_from_a_file_are_finite_for_every_attacked_image(tmp_path: Path, cells: list[float], told: str) -> None:
    images = named("a", "b", "c")
    path = tmp_path / "scores.parquet"
    pa.parquet.write_table(pa.table({"id": ["a", "b", "c", "d"], "score": [*cells, NAN]}), path)
    with pytest.raises(UserError, match=f"scores.parquet has no finite score {told}"):
        scores_file(path).measure_images(images)


def test_an_empty_score_is_told_with_its_row(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"id": ["a", "b"], "score": [0.5, None]}), tmp_path / "scores.parquet")
    with pytest.raises(UserError, match=r"The column score is empty in row 1 of .*scores.parquet"):
        scores_file(tmp_path / "scores.parquet").measure_images(named("a", "b"))


def test_scores_of_images_that_are_not_attacked_may_be_anything(tmp_path: Path) -> None:
    pa.csv.write_csv(pa.table({"id": ["a", "b", "c"], "score": [0.5, 1.0, NAN]}), tmp_path / "scores.csv")
    assert scores_file(tmp_path / "scores.csv").measure_images(named("a", "b")).numbers["score"].tolist() == [0.5, 1.0]


def named(*ids: str) -> Any:
    class Named:
        names = ids
        digest = "named"

        def __len__(self) -> int:
            return len(ids)

    return Named()


def scores_file(path: Path) -> ScoresFile:
    return ScoresFile(
        name="scores", path=path, id_column="id", score_column="score", member_column="is_member",
        scorers={"scores": Column("score", "more")},
    )  # fmt: skip


def test_a_classifier_of_maps_that_diverges_is_told(tmp_path: Path) -> None:
    recipe = ErrorMapClassifier(
        network="resnet18", epochs=1, min_steps=3, batch_size=4, lr=1e30, momentum=0.9, weight_decay=0.0,
        checkpoint_every=2, seed=0,
    )  # fmt: skip
    maps = np.random.default_rng(0).random((8, 1, 4, 4)).astype(np.float16)
    rows = np.arange(8)
    with pytest.raises(UserError, match=r"training diverged by step \d of 3.* lower the learning rate"):
        recipe.fit_and_score(
            Measurements({"error_map": maps}, 0, 0, ""),
            Fitting(rows, rows % 2 == 0, tmp_path, cpu_runtime(), lambda: None),
        )


def test_a_local_gan_that_has_diverged_is_told_from_the_store_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secmi_exp.attacks.logan.discriminator_outputs", lambda *_: np.full(N, NAN))
    logan = attack("+attack=logan", "attack.samples=5", "attack.steps=2", "attack.training_steps=1")
    for _ in range(2):
        with pytest.raises(UserError, match=rf"local GAN gives {N} of {N} images .*lower attack.lr"):
            logan.measure(PreparedTarget(Path(), "small", SmallPredictor), IMAGES, Store(tmp_path), cpu_runtime())


def test_a_scorer_that_has_not_converged_is_named() -> None:
    scores = np.arange(5.0)
    scores[1] = NAN
    with pytest.raises(UserError, match=r"scorer nn gives 1 of 5 images a score that is not finite, .*scorers.nn\."):
        refuse_non_finite_scores({"stat": np.arange(5.0), "nn": scores})


def test_a_histogram_with_endless_pseudo_counts_is_told(tmp_path: Path) -> None:
    measured = Measurements({"discriminator": np.linspace(-1, 1, 8)}, 0, 0, "")
    rows = np.arange(8)
    fitting = Fitting(rows, rows % 2 == 0, tmp_path, cpu_runtime(), lambda: None)
    with np.errstate(invalid="ignore"):
        scores = HistogramRatio("discriminator", 4, INF).fit_and_score(measured, fitting)
    with pytest.raises(UserError, match="The scorer tvd gives 8 of 8"):
        refuse_non_finite_scores({"tvd": scores})


def test_scores_that_are_all_equal_are_a_grave_warning() -> None:
    with collect_warnings() as warnings:
        refuse_non_finite_scores({"stat": np.full(9, -0.0), "nn": np.arange(9.0)})
    (warning,) = warnings
    assert (warning.code, warning.count, warning.grave) == ("scores_all_equal", 9, True)
    assert "The scorer stat gives all 9 images the same score, 0, so that its AUC is 0.5" in warning.sentence


def test_noise_that_is_zero_everywhere_is_normalised_to_itself() -> None:
    assert torch.equal(normalized(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert torch.equal(normalized(torch.zeros(2, 3).double()), torch.zeros(2, 3).double())


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
@pytest.mark.parametrize("features", [coarse_view, low_level])
def test_features_of_the_smallest_images_are_finite(features: Callable[[Any], Any], shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 1, *shape), dtype=np.uint8)
    with np.errstate(all="raise"):
        assert np.isfinite(features(images)).all()


def test_rows_are_looked_at_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secmi_exp.attacks.finite_values.CHECKED_AT_ONCE", 6)
    values = np.zeros((7, 2, 2))
    values[4, 1, 0] = -INF
    assert rows_not_finite(values).tolist() == [row == 4 for row in range(7)]
    assert rows_not_finite(np.zeros((0, 3))).tolist() == []


def test_a_key_with_an_endless_setting_is_told_apart_and_read_back() -> None:
    key = Key("values", 1, {"p": INF, "q": [NAN, 2.0]})
    assert key.description["config"] == {"p": "inf", "q": ["nan", 2.0]}
    assert Key(**key.description).digest == key.digest  # type: ignore[arg-type]
    assert Key("values", 1, {"p": 2.0}).digest != key.digest
