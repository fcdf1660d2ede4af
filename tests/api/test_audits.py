"""Audits from Python are the command's runs, to the bit, whatever the target and the images are given as."""

import io
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from _pytest.mark import ParameterSet
from datasets import Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from diffusers import DDPMPipeline
from PIL import Image, ImageOps

import secmi_exp
from secmi_exp import AuditResult, NoiseFunction, UserError
from secmi_exp.__main__ import main
from secmi_exp.api import audits
from secmi_exp.api.given_images import Images, Located, locate
from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.image_folder import find_samples
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.evaluation.comparison import compare as paired_comparison
from secmi_exp.reporting.results_file import read_results
from secmi_exp.store import Store
from secmi_exp.targets.given import GivenTarget, hand_over
from secmi_exp.testing import MemorizingPredictor, cpu_runtime, no_logger, random_images
from tests.support.python_api import N, gray, quick, tiny_pipeline, without_figures

MEMBERS, HOLDOUTS = gray(1), gray(2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def pipeline() -> DDPMPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def audited(root: Path, pipeline: DDPMPipeline) -> AuditResult:
    """A pipeline object, and arrays."""
    return secmi_exp.audit(pipeline, members=MEMBERS, holdouts=HOLDOUTS, t_sec=20, **quick(root))


@pytest.fixture
def restored_log() -> Iterator[None]:
    """The command sets up the log of the whole process."""
    log = logging.getLogger()
    before, level = log.handlers[:], log.level
    yield
    log.handlers[:] = before
    log.setLevel(level)


def save_folders(root: Path) -> None:
    for name, pixels in (("A", MEMBERS), ("B", HOLDOUTS)):
        (root / name).mkdir()
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(root / name / f"{number:02}.png")


@pytest.mark.usefixtures("restored_log")
def test_the_command_on_folders_gives_the_same_bits(
    audited: AuditResult,
    pipeline: DDPMPipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_folders(tmp_path)
    pipeline.save_pretrained(tmp_path / "model")
    arguments = [
        "+attack=stat", "attack.t_sec=20", "attack.t_max=20", "target=pipeline", f"target.path={tmp_path}/model",
        "dataset=image_folder", f"dataset.members={tmp_path}/A", f"dataset.holdout={tmp_path}/B",
        "dataset.image_size=8", "dataset.channels=1", "split.attack_train=0.5", "evaluation.bootstrap_rounds=50",
        "evaluation.blind=false", "logger=none", "trainer=cpu", f"paths.output={tmp_path}/outputs",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["secmi_exp", *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with without_figures():
        main()
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    theirs, ours = read_results(folder / "results.json"), audited.results
    assert theirs.metrics == ours.metrics
    assert theirs.ci95 == ours.ci95
    assert theirs.threshold == ours.threshold
    assert theirs.queries_spent == ours.queries_spent == 2 * N * 3  # each has a store of its own
    scores = pd.read_parquet(folder / "scores.parquet").drop(columns="id").rename(columns={"score_stat": "score"})
    pd.testing.assert_frame_equal(scores, audited.scores[scores.columns], check_exact=True)
    assert {each.name for each in folder.iterdir()} == {each.name for each in audited.folder.iterdir()}
    assert secmi_exp.load(folder).interval == audited.interval


def test_t_errors_are_the_runs_and_ask_for_no_membership(
    audited: AuditResult, pipeline: DDPMPipeline, tmp_path: Path
) -> None:
    images = np.concatenate([MEMBERS, HOLDOUTS])
    errors = secmi_exp.t_errors(pipeline, images, t_sec=20, trainer="cpu", paths={"output": tmp_path})  # computed anew
    np.testing.assert_array_equal(errors, audited.scores.t_error)


def test_a_result_has_what_its_folder_has(audited: AuditResult, tmp_path: Path) -> None:
    assert list(audited.scores.columns[:4]) == ["id", "score", "is_member", "part"]
    assert audited.scores.id[1] == "members/000001"
    low, high = audited.interval
    assert low < audited.auc < high
    judged = audited.scores[audited.scores.part == "evaluation"]
    assert audited.roc().auc == audited.auc == audited.metrics["auc"].value
    assert len(judged) == len(audited.scores) // 2
    assert audited.plot()._repr_png_().startswith(b"\x89PNG")
    assert audited.report(tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert f"AUC {audited.auc:.3f}" in repr(audited)
    html = audited._repr_html_()
    assert f"{audited.metrics['auc']}</td>" in html
    assert "1% FPR needs at least 100 hold-outs" in html
    assert "Mann-Whitney" in html
    assert "Walking 24 trajectories" in (audited.folder / "secmi_exp.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def by_pia(root: Path, pipeline: DDPMPipeline) -> AuditResult:
    settings = quick(root, **{"attack.t": 20})
    del settings["attack.t_max"]
    with without_figures():
        return secmi_exp.audit(pipeline, members=MEMBERS, holdouts=HOLDOUTS, attack="pia", **settings)


def test_results_are_compared_as_a_sweep_compares_its_jobs(audited: AuditResult, by_pia: AuditResult) -> None:
    compared = secmi_exp.compare([audited, by_pia])
    judged = [each.scores[each.scores.part == "evaluation"] for each in (audited, by_pia)]
    scores = {"stat": judged[0].score.to_numpy("d"), "pia": judged[1].score.to_numpy("d")}
    expected = paired_comparison(scores, judged[0].is_member.to_numpy(), rounds=50, seed=0)
    (pair,) = compared.pairs.to_dict("records")
    assert pair["p_value"] == expected.p_values[0, 1]
    assert abs(pair["auc_difference"]) == abs(expected.differences["auc"][0, 1])
    assert set(compared.table.attack) == {"stat", "pia"}
    assert "DeLong" in compared._repr_html_()


def test_results_are_compared_by_their_folders_too(audited: AuditResult, by_pia: AuditResult) -> None:
    compared = secmi_exp.compare([str(audited.folder), by_pia.folder])
    assert compared.pairs.equals(secmi_exp.compare([audited, by_pia]).pairs)


def test_scores_that_are_gone_are_told_in_a_sentence(audited: AuditResult, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(audited.folder, tmp_path / "copied"))
    (copied / "scores.parquet").unlink()
    with pytest.raises(UserError, match=r"scores\.parquet can't be read \(No such file or directory\)\."):
        secmi_exp.load(copied).scores  # noqa: B018


def test_what_is_no_list_of_results_is_refused(audited: AuditResult) -> None:
    for given in (str(audited.folder), audited.folder, audited, 3, None):
        with pytest.raises(UserError, match=r"compare takes a list of results, .* write compare\(\[one, another\]\)"):
            secmi_exp.compare(given)  # type: ignore[arg-type]
    for given in (3, None, audited):
        with pytest.raises(UserError, match="load takes the folder of a run"):
            secmi_exp.load(given)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="load takes the folder of a run, and 3 is no path"):
        secmi_exp.compare([audited, 3])  # type: ignore[list-item]
    with pytest.raises(UserError, match="There is no directory RUN"):
        secmi_exp.compare(["RUN", "RUN10"])


def test_results_that_cant_be_compared_are_refused(audited: AuditResult, root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two different results, and 1 of 2 are"):
        secmi_exp.compare([audited, audited])
    copied = Path(shutil.copytree(audited.folder, tmp_path / "copy"))
    with pytest.raises(UserError, match="2 of 2 results can't be compared") as refused:
        secmi_exp.compare([audited, secmi_exp.load(copied)])
    assert f"the first of them {audited.place}: they must" in str(refused.value)
    edited = json.loads((copied / "results.json").read_text())
    edited["provenance"]["attacked"] = "0" * 64
    (copied / "results.json").write_text(json.dumps(edited))
    with pytest.raises(UserError, match="have scored other images of the same names"):
        secmi_exp.compare([audited, secmi_exp.load(copied)])


def test_what_is_no_single_run_is_not_loaded(audited: AuditResult, by_pia: AuditResult, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds 2 runs .* name one of them"):
        secmi_exp.load(audited.folder.parent)
    with pytest.raises(UserError, match="There is no run in"):
        secmi_exp.load(tmp_path)
    (tmp_path / ".hydra").mkdir()
    with pytest.raises(UserError, match=r"has no results\. It has no results\.json"):
        secmi_exp.load(tmp_path)


FORMS: dict[str, Images] = {
    "uint8": MEMBERS,
    "with channels": MEMBERS[..., None],
    "tensor": torch.from_numpy(MEMBERS[:, None]),
    "tensor without channels": torch.from_numpy(MEMBERS),
    "floats": torch.from_numpy(MEMBERS[:, None] / 255.0),
    "PIL": [Image.fromarray(each) for each in MEMBERS],
    "dataset": Dataset.from_dict(
        {"image": [Image.fromarray(each) for each in MEMBERS], "text": ["a"] * N},
        features=Features({"image": ImageFeature(), "text": Value("string")}),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_in_any_form_are_kept_without_loss(form: str, root: Path) -> None:
    store = Store(root / "forms")
    located = locate(FORMS[form], "members", lambda: store)
    assert located.shapes == {(1, 8, 8)}
    samples = find_samples(Path(located.path), CaptionChoice("text", "first", 0))
    np.testing.assert_array_equal([np.asarray(samples.open(row)) for row in range(N)], MEMBERS)
    assert (samples.captions is not None) == (form == "dataset")
    assert locate(FORMS[form], "members", lambda: store) == located
    assert not list((store.root / "work").iterdir())


def opened(located: Located, row: int) -> Image.Image:
    return find_samples(Path(located.path), CaptionChoice("text", "first", 0)).open(row)


@pytest.mark.parametrize(
    ("orientation", "upright", "shape"), [(6, True, (3, 6, 4)), (6, False, (3, 4, 6)), (3, True, (3, 4, 6))]
)
@pytest.mark.parametrize("form", ["PIL", "dataset"])
def test_images_that_will_be_turned_upright_have_the_shape_that_they_are_read_in(
    root: Path, form: str, orientation: int, upright: bool, shape: tuple[int, int, int]
) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8))
    picture.getexif()[274] = orientation
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=picture.getexif())
    cells = {"image": [{"bytes": file.getvalue(), "path": None}]}
    images = [picture] if form == "PIL" else Dataset.from_dict(cells, features=Features({"image": ImageFeature()}))
    located = locate(images, "members", lambda: Store(root / "turned"), upright=upright)
    assert located.shapes == {shape}
    channels, height, width = shape
    pixels = Preprocessing((height, width), channels, None, "apply" if upright else "ignore")(opened(located, 0))
    expected = Image.open(file) if form == "dataset" else picture
    expected = ImageOps.exif_transpose(expected) if upright else expected
    np.testing.assert_array_equal(pixels, np.moveaxis(np.asarray(expected), -1, 0))  # nothing was squeezed


@pytest.mark.parametrize("settings", [{"dataset": {"exif": "apply"}}, {"dataset.exif": "apply"}])
def test_the_size_of_images_follows_the_choice_to_turn_them(
    root: Path, pipeline: DDPMPipeline, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image.fromarray(np.zeros((4, 6, 3), dtype=np.uint8))
    picture.getexif()[274] = 6
    monkeypatch.setattr(audits, "measured_t_errors", lambda arguments: arguments)
    arguments = list(secmi_exp.t_errors(pipeline, [picture], **settings | {"paths.output": str(root / "sizes")}))
    assert "dataset.image_size=[6,4]" in arguments


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tensors_of_half_precision_are_kept_rounded(root: Path, dtype: torch.dtype) -> None:
    store, pixels = Store(root / "half"), torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=dtype).reshape(1, 1, 2, 2)
    located = locate(pixels, "members", lambda: store)
    assert np.asarray(opened(located, 0)).tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize("form", ["PIL", "dataset"])
def test_what_a_kill_left_in_the_workspace_is_replaced(root: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(root / f"killed {form}")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("secmi_exp.store.write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            locate(FORMS[form], "members", lambda: store)
    located = locate(FORMS[form], "members", lambda: store)
    np.testing.assert_array_equal([np.asarray(opened(located, row)) for row in range(N)], MEMBERS)


def test_pictures_of_other_modes_keep_their_pixels_and_their_orientation(root: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    turned = Image.fromarray(pixels)
    turned.getexif()[274] = 6
    modes = [Image.fromarray(pixels).convert(mode) for mode in ("CMYK", "P", "RGBA", "1")]
    located = locate([*modes, turned], "members", lambda: Store(root / "modes"))
    samples = find_samples(Path(located.path), CaptionChoice("text", "first", 0))
    for row, given in enumerate([*modes, turned]):
        opened = samples.open(row)
        assert opened.mode == given.mode
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(given))
    assert opened.getexif()[274] == 6


@pytest.mark.parametrize("mode", ["YCbCr", "HSV"])
def test_pictures_of_other_colour_spaces_are_kept_as_rgb(root: Path, mode: str) -> None:
    given = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)).convert(mode)
    located = locate([given], "members", lambda: Store(root / mode))
    opened = find_samples(Path(located.path), CaptionChoice("text", "first", 0)).open(0)
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(given.convert("RGB")))


WRONG = {
    "is of type int": 3,
    r"members\[0\] is of type ndarray: a list must hold PIL images": [MEMBERS[0]],
    "has no images": MEMBERS[:0],
    r"array of the shape \[12, 1, 8, 8\]": MEMBERS[:, None],
    "numbers from 0 to 255: .* give": MEMBERS / 1.0,
    "of the type int64": MEMBERS.astype(np.int64),
    "several datasets .train, test.: give one of them": DatasetDict(),
    "has the columns text, and none with images": Dataset.from_dict({"text": ["a"]}),
    r"members\[0\] can't be used .* mode RGBa": [Image.new("RGBa", (4, 4))],
}


@pytest.mark.parametrize("sentence", WRONG)
def test_what_holds_no_images_is_refused_with_what_would_do(sentence: str, root: Path) -> None:
    given = WRONG[sentence]
    if isinstance(given, DatasetDict):
        given.update({"train": None, "test": None})
    with pytest.raises(UserError, match=sentence):
        locate(given, "members", lambda: Store(root / "wrong"))


def small(**settings: object) -> dict[str, object]:
    return {"members": MEMBERS, "holdouts": HOLDOUTS, **settings}


def slow(*values: object) -> ParameterSet:
    """A mistake that is tried as well."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("model", "settings", "sentence"),
    [
        ("x", {}, "There are no images: give members and holdouts"),
        slow("x", {"members": MEMBERS}, "holdouts are missing"),
        ("x", {"members": MEMBERS, "holdout": HOLDOUTS}, r"holdouts are missing \(holdout= must be called holdouts=\)"),
        (
            "x",
            {"member": MEMBERS, "hold_outs": HOLDOUTS},
            r"no images \(member= .* members=, hold_outs= .* holdouts=\)",
        ),
        ("x.pt", small(), "There is no file x.pt: set target.path"),
        (print, small(), "give secmi_exp.NoiseFunction"),
        slow(3, small(), "The target is of type int"),
        slow("x", {"dataset": {"image_size": 8}}, "There are no images: give members and holdouts"),
        slow("x", small(key="a"), "key=a has no use here"),
        ("x", small(sed=1), "There is no key 'sed' at the top level .did you mean seed"),
        slow("x", small(seed="a"), "seed='?a'? can't be used"),
        slow("x", small(attack="stats"), "There is no attack 'stats': choose one of"),
        slow("x", small(**{"attack.k": object()}), "attack.k is given as object"),
        slow("x", small(holdouts=gray(2).repeat(2, 1)), "must be named, as the images have several sizes"),
    ],
)
def test_a_mistake_is_an_exception_with_the_commands_sentence(
    model: object, settings: dict[str, object], sentence: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=sentence):
        secmi_exp.audit(model, paths={"output": root}, **settings)  # type: ignore[arg-type]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["ddpm_small", "latent_ddpm"])
def test_targets_that_would_be_trained_have_no_t_errors(name: str, root: Path) -> None:
    with pytest.raises(UserError, match=f"target={name} is trained on members"):
        secmi_exp.t_errors(name, MEMBERS, paths={"output": root})


def test_a_target_that_was_trained_before_has_t_errors_by_its_name_and_path(
    audited: AuditResult, pipeline: DDPMPipeline, tmp_path: Path
) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    where: dict[str, Any] = {"target.path": tmp_path / "model", "trainer": "cpu", "paths": {"output": tmp_path}}
    errors = secmi_exp.t_errors("ddpm_small", MEMBERS, t_sec=20, **where)
    np.testing.assert_allclose(errors, audited.scores.t_error[:N], rtol=1e-3)


def test_a_predictor_in_memory_is_attacked_and_left_as_it_was(tmp_path: Path) -> None:
    model, settings = MemorizingPredictor(MEMBERS[:, None]), quick(tmp_path)
    with without_figures():
        result = secmi_exp.audit(model, members=MEMBERS, holdouts=HOLDOUTS, t_sec=20, **settings)
    assert result.auc == 1.0
    assert model.queries == 0
    assert model.learnt.dtype == torch.float32
    assert not (tmp_path / "store").exists()  # nothing is kept under a key that nobody knows
    secmi_exp.t_errors(model, MEMBERS, t_sec=20, key="mine", trainer="cpu", paths={"output": tmp_path})
    assert len(list((tmp_path / "store/t_errors").iterdir())) == 10  # up to attack.t_max


def test_the_key_of_a_predictor_is_its_name_and_its_weights(tmp_path: Path) -> None:
    model, store = MemorizingPredictor(MEMBERS[:, None]), Store(tmp_path)

    def key_of(name: str) -> str:
        with hand_over(model, name):
            return GivenTarget("given", name).prepare(random_images(), store, cpu_runtime(), no_logger).digest

    first = key_of("mine")
    assert key_of("mine") == first != key_of("other")
    with torch.no_grad():
        model.learnt[0] += 0.1
    assert key_of("mine") != first
    with pytest.raises(UserError, match=r"target\.key=mine is an object that a Python program"):
        GivenTarget("given", "mine").timesteps  # noqa: B018
    with hand_over(model, "mine"), pytest.raises(UserError, match=r"can't be queried on trainer\.devices=2"):
        GivenTarget("given", "mine").prepare(random_images(), store, cpu_runtime(devices=2), no_logger)


def test_a_function_has_the_t_errors_of_its_pipeline(audited: AuditResult, pipeline: DDPMPipeline, root: Path) -> None:
    function = NoiseFunction(lambda x_t, t: pipeline.unet(x_t, t).sample, pipeline.scheduler.alphas_cumprod)
    ours = secmi_exp.t_errors(function, MEMBERS, t_sec=20, trainer="cpu", paths={"output": root})
    np.testing.assert_allclose(ours, audited.scores.t_error[:N], rtol=1e-3)
    wrong = NoiseFunction(pipeline.unet, pipeline.scheduler.alphas_cumprod)
    with pytest.raises(UserError, match=r"the noise in states \[12, 1, 8, 8\] as a tensor .* a UNet2DOutput"):
        secmi_exp.t_errors(wrong, MEMBERS, t_sec=20, trainer="cpu", paths={"output": root})


@pytest.mark.parametrize("alphas", [[], [0.5], [0.5, 0.6], [1.1, 0.5], [0.5, 0.0], [0.5, float("nan")]])
def test_a_function_needs_its_schedule(alphas: list[float]) -> None:
    with pytest.raises(UserError, match=f"alphas_cumprod has {len(alphas)} values"):
        NoiseFunction(lambda x_t, t: x_t, alphas)
