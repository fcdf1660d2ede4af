"""The target that a sweep's jobs share: each gets it as it was loaded, whatever the job before has done to its own."""

import logging
import pickle
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from torch import Tensor

from secmi_exp.diffusion.noise_predictor import NoisePredictor
from secmi_exp.engine import kept_target
from secmi_exp.engine.kept_target import forget_target, load_kept, tensors_of
from secmi_exp.pipeline import jobs_follow
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.loading.model_folder import ModelFolder
from secmi_exp.targets.pixel.predictor import PixelPredictor
from secmi_exp.testing import SmallPredictor, cpu_runtime, random_images
from tests.support.commands import CONF, SMOKE, Command
from tests.support.diffusers_folders import network, pipeline
from tests.support.query_attacks import attack

STATES = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    forget_target()
    yield
    forget_target()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline in pixel space, as small as can be: one test compiles its network."""
    block = network(block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))
    return pipeline(tmp_path_factory.mktemp("pipeline"), block)


@dataclass
class Loading:
    """Loads a target, and knows how often it has."""

    folder: Path
    loaded: list[weakref.ref[NoisePredictor]] = field(default_factory=list)

    def __call__(self) -> NoisePredictor:
        predictor = PixelPredictor(self.folder)
        self.loaded.append(weakref.ref(predictor))
        return predictor


def prediction(predictor: NoisePredictor) -> Tensor:
    with torch.inference_mode():
        return predictor.predict_noise(STATES, 7)


def cast(predictor: NoisePredictor) -> None:
    predictor.to(torch.bfloat16)


def used(predictor: NoisePredictor) -> None:
    """What queries do to it, on CUDA and with gradients too."""
    predictor.to(memory_format=torch.channels_last)
    predictor.network.compile(backend="eager")
    predictor.record_queries = print
    for weight in predictor.network.parameters():
        weight.requires_grad_()
    predictor.predict_noise(STATES, 7).sum().backward()


def altered(predictor: NoisePredictor) -> None:
    """What an attack of one's own might do."""
    predictor.train()
    predictor.network.register_forward_hook(lambda module, given, output: None)
    predictor.path = None  # type: ignore[assignment]
    for weight in predictor.network.parameters():
        weight.data = torch.zeros_like(weight)


@pytest.mark.parametrize("use", [cast, used, altered])
def test_the_next_job_gets_what_loading_gives(folder: Path, use: Callable[[NoisePredictor], None]) -> None:
    load = Loading(folder)
    use(load_kept(load, "a"))
    again = load_kept(load, "a")
    assert len(load.loaded) == 1
    fresh = PixelPredictor(folder)
    assert torch.equal(prediction(again), prediction(fresh))
    assert (again.queries, again.record_queries, again.network.training) == (2, None, False)
    assert again.network._compiled_call_impl is None
    for ours, theirs in zip(tensors_of(again), tensors_of(fresh), strict=True):
        assert (ours.dtype, ours.stride(), ours.requires_grad, ours.grad) == (
            theirs.dtype,
            theirs.stride(),
            theirs.requires_grad,
            None,
        )


def test_two_of_one_job_are_independent_and_share_the_memory_of_their_weights(folder: Path) -> None:
    load = Loading(folder)
    one, other = load_kept(load, "a"), load_kept(load, "a")
    assert {tensor.data_ptr() for tensor in tensors_of(one)} == {tensor.data_ptr() for tensor in tensors_of(other)}
    before = prediction(other)
    cast(one)
    assert torch.equal(prediction(other), before)
    assert len(load.loaded) == 1


@pytest.mark.parametrize("through", ["data", "no_grad"])
def test_weights_that_an_attack_has_written_into_are_loaded_again(folder: Path, through: str) -> None:
    load = Loading(folder)
    weight = next(load_kept(load, "a").network.parameters())
    if through == "data":
        weight.data[0] += 1
    else:
        with torch.no_grad():
            weight[0] += 1
    assert torch.equal(prediction(load_kept(load, "a")), prediction(PixelPredictor(folder)))
    assert len(load.loaded) == 2


@pytest.mark.parametrize("what", ["another key", "other settings"])
def test_another_target_is_loaded_once_the_kept_one_is_freed(folder: Path, what: str) -> None:
    load = Loading(folder)
    load_kept(load, "a")
    (kept,) = load.loaded

    def other() -> NoisePredictor:
        assert kept() is None
        return PixelPredictor(folder)

    load_kept(other, "b" if what == "another key" else "a")
    assert len(load.loaded) == 1


def test_a_network_that_is_loaded_for_something_else_frees_the_kept_target(folder: Path) -> None:
    load = Loading(folder)
    load_kept(load, "a")
    ModelFolder(folder / "unet", "diffusers").load("UNet2DModel")
    assert load.loaded[0]() is None
    assert kept_target._kept is None


def test_networks_whose_code_is_not_known_are_not_kept() -> None:
    assert load_kept(SmallPredictor, "a") is not load_kept(SmallPredictor, "a")
    assert kept_target._kept is None


def test_its_size_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        load_kept(Loading(folder), "a")
    assert "in memory for whoever needs them next" in caplog.text


def test_ranks_get_the_loading_by_its_name(folder: Path) -> None:
    target = PreparedTarget(folder, "a", partial(PixelPredictor, folder)).kept()
    assert target.kept() is target
    load = target.load
    assert isinstance(pickle.loads(pickle.dumps(load))(), PixelPredictor)  # noqa: S301
    assert torch.equal(prediction(pickle.loads(pickle.dumps(load))()), prediction(load()))  # noqa: S301
    assert kept_target._kept


def test_the_parts_of_an_attack_share_what_the_first_has_loaded(folder: Path, tmp_path: Path) -> None:
    load = Loading(folder)
    images = random_images(2, (3, 8, 8))
    cdi = attack("+attack=cdi", "attack.parts.losses.t=[0,100]", "attack.parts.secmi.t_sec=10")
    cdi.measure(PreparedTarget(folder, "a", load), images, Store(tmp_path), cpu_runtime())
    assert len(load.loaded) == 1


@pytest.mark.parametrize(
    ("arguments", "follow"),
    [([], False), (["hydra.mode=MULTIRUN"], True), (["hydra.mode=MULTIRUN", "hydra/launcher=workstation"], False)],
)
def test_a_target_is_kept_where_jobs_follow_in_the_same_process(arguments: list[str], follow: bool) -> None:
    assert not jobs_follow()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", arguments, return_hydra_config=True)
    try:
        HydraConfig.instance().set_config(config)
        assert jobs_follow() is follow
    finally:
        HydraConfig.instance().cfg = None


@pytest.mark.slow
def test_a_sweep_loads_its_target_once_and_gives_the_results_of_single_runs(secmi: Command) -> None:
    arguments = ["+attack=pia", "logger=none", *SMOKE, "trainer.progress_bar=false"]
    sweep = secmi("-m", "attack.t=10,20,30", *arguments)
    assert sweep.returncode == 0, sweep.stderr
    logs = [log.read_text() for log in sorted(sweep.folder.glob("*/secmi_exp.log"))]
    assert [log.count("Keeping the target's weights") for log in logs] == [1, 0, 0]
    assert [log.count("that were loaded before") for log in logs] == [0, 1, 1]
    single = secmi("attack.t=30", *arguments, "store.verify=always")
    assert "Keeping" not in single.stderr
