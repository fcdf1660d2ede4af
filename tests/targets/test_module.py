"""A network of one's own is attacked as its settings say, and whatever is wrong with it is said in a sentence."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from secmi_exp.diffusion.path import alphas_cumprod_from_betas, ddpm_noise_to_signal
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.module import OwnModule
from secmi_exp.targets.own_network.predictor import OwnNetwork
from secmi_exp.testing import configured, cpu_runtime, image_folders, prepare, run

DDPM = "target.path={kind: ddpm, num_train_timesteps: 1000, beta_schedule: linear, beta_start: 0.0001, beta_end: 0.02}"
FLOW = "target.path={kind: flow, num_train_timesteps: 500}"
EDM = "target.path={kind: edm, sigma_min: 0.002, sigma_max: 80, sigma_data: 0.5}"
SHAPE = (1, 8, 8)
NO_FACTORY = "no network"


class Network(nn.Module):
    """A convolution times something of the time, which it keeps as it was given."""

    def __init__(self, channels: int = 1, outputs: int = 1):
        super().__init__()
        self.convolution = nn.Conv2d(channels, outputs, 3, padding=1)
        self.given = torch.empty(0)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.given = t
        output: Tensor = self.convolution(x) * (1 + torch.cos(t / 100).reshape(-1, 1, 1, 1))
        return output


class OtherArguments(Network):
    """The same, with other arguments and a tuple as its output."""

    def forward(self, noise_level: Tensor, sample: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return super().forward(sample, noise_level), None


class Failing(Network):
    """One whose forward fails."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        raise ValueError("there is no such width")


class Smaller(Network):
    """One whose output has another size."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(x, t)[..., ::2]


def raising() -> nn.Module:
    """Fails."""
    raise RuntimeError("no weights in this house")


def number() -> int:
    """Makes no network."""
    return 3


def state() -> dict[str, Tensor]:
    """Weights, the same each time."""
    return {"convolution.weight": torch.linspace(-1, 1, 9).reshape(1, 1, 3, 3), "convolution.bias": torch.ones(1)}


def chosen(folder: Path, *overrides: str, content: object = None, factory: str = "Network") -> OwnModule:
    """The target, with weights in a file of torch.save."""
    torch.save(state() if content is None else content, folder / "weights.pt")
    given = [f"target.factory={__name__}.{factory}", f"target.weights={folder}/weights.pt", *overrides]
    if not any(each.startswith("target.path=") for each in given):
        given.append(DDPM)
    if not any(each.startswith("target.prediction=") for each in given):
        given.append("target.prediction=epsilon")
    made: OwnModule = configured("target", "target=module", *given)
    return made


def loaded(target: OwnModule, folder: Path) -> OwnNetwork:
    """The noise predictor."""
    made = prepare(target, folder / "store", *SHAPE).load()
    assert isinstance(made, OwnNetwork)
    return made


@torch.no_grad()
def test_the_noise_is_what_the_network_predicts(tmp_path: Path) -> None:
    network, x_t = Network(), torch.randn(2, *SHAPE)
    network.load_state_dict(state())
    expected = network(x_t, torch.tensor([50, 50]))
    save_file(state(), tmp_path / "weights.safetensors")
    by_name = ("target.call={sample: x_t, noise_level: t}",)
    for target in (
        chosen(tmp_path),
        chosen(tmp_path, f"target.weights={tmp_path}/weights.safetensors"),
        chosen(tmp_path, *by_name, factory="OtherArguments"),
        chosen(tmp_path, "target.call=[t, x_t]", factory="OtherArguments"),
    ):
        predictor = loaded(target, tmp_path)
        torch.testing.assert_close(predictor.predict_noise(x_t, 50), expected)
    alphas = alphas_cumprod_from_betas(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    assert predictor.path.alphas[50] == pytest.approx(alphas[50].sqrt().item(), rel=1e-6)
    pixels = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    unit = loaded(chosen(tmp_path, "target.input_range=[0,1]"), tmp_path)
    assert unit.encode(pixels).flatten().tolist() == [0.0, 1.0]


VELOCITY = (FLOW, "target.prediction=velocity", "target.time_axis=native")
FORMS: Mapping[str, tuple[tuple[str, ...], Tensor]] = {
    "int": ((), torch.tensor([50, 50])),
    "column": (("target.time_shape=column",), torch.tensor([[50], [50]])),
    "float": (("target.time=float",), torch.tensor([50.0, 50.0])),
    "scalar": (("target.time=scaled", "target.time_shape=scalar"), torch.tensor(0.05)),
    "flow": ((*VELOCITY, "target.time=float"), torch.tensor([50.0, 50.0])),
    "flow, scaled": ((*VELOCITY, "target.time=scaled"), torch.tensor([0.1, 0.1])),
}


@torch.no_grad()
@pytest.mark.parametrize(("overrides", "expected"), FORMS.values(), ids=list(FORMS))
def test_the_time_has_the_form_that_is_chosen(overrides: tuple[str, ...], expected: Tensor, tmp_path: Path) -> None:
    predictor = loaded(chosen(tmp_path, *overrides), tmp_path)
    predictor.predict_noise(torch.zeros(2, *SHAPE), 50)
    given = predictor.inner.given
    assert isinstance(given, Tensor)
    torch.testing.assert_close(given, expected)


@torch.no_grad()
def test_flow_and_edm_stand_at_the_paper_s_noise_to_signal_ratio(tmp_path: Path) -> None:
    ratio, x_t = ddpm_noise_to_signal()[100], torch.randn(2, *SHAPE)
    flow = loaded(chosen(tmp_path, FLOW, "target.prediction=velocity", "target.time=float"), tmp_path)
    sigma = ratio / (1 + ratio)
    torch.testing.assert_close(flow.predict_noise(x_t, 100), x_t + (1 - sigma) * flow.inner(x_t, flow.inner.given))
    assert flow.inner.given.tolist() == pytest.approx([500 * sigma] * 2)
    edm = loaded(chosen(tmp_path, EDM, "target.prediction=edm", "target.time=float"), tmp_path)
    edm.predict_noise(x_t, 100)
    assert edm.inner.given.tolist() == pytest.approx([math.log(ratio) / 4] * 2)
    denoiser = loaded(chosen(tmp_path, EDM, "target.prediction=sample", "target.time=float"), tmp_path)
    expected = (x_t - denoiser.inner(x_t, torch.tensor([ratio]))) / ratio
    torch.testing.assert_close(denoiser.predict_noise(x_t, 100), expected)
    assert denoiser.inner.given.tolist() == pytest.approx([ratio] * 2)


def test_the_averaged_weights_of_a_lucidrains_checkpoint_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    averaged = {f"ema_model.model.{name}": tensor for name, tensor in state().items()}
    online = {f"online_model.model.{name}": tensor + 1 for name, tensor in state().items()}
    counters = {"initted": torch.tensor(True), "step": torch.tensor(7), "ema_model.betas": torch.ones(5)}
    last = {"model": {"model.convolution.bias": torch.zeros(1)}, "opt": {"state": {}, "param_groups": []}}
    content = {"step": 7, **last, "ema": {**averaged, **online, **counters}, "scaler": None, "version": "2.2.5"}
    target = chosen(tmp_path, "target.entry=ema", "target.prefix=ema_model.model.", content=content)
    with caplog.at_level("INFO"):
        target.dry_run(SHAPE, Store(tmp_path / "store"), cpu_runtime())
    assert "which executes the code of that module" in caplog.text
    assert "5 keys of" in caplog.text
    torch.testing.assert_close(dict(loaded(target, tmp_path).inner.state_dict()), state())


NESTED = {"step": 3, "ema": {"convolution.weight": torch.ones(1, 1, 3, 3)}}
MISTAKES: Mapping[str, tuple[str, list[str], object, str]] = {
    "no module": ("x", ["target.factory=nowhere.Net"], None, "nowhere.Net can't be imported .*nowhere"),
    "no attribute": ("Nothing", [], None, "Nothing can't be imported .*Nothing"),
    "no name": ("x", ["target.factory=net"], None, r"target\.factory='net'"),
    "not callable": ("NO_FACTORY", [], None, "is of type str"),
    "raises": ("raising", [], None, "raising fails with no arguments .*no weights in this house"),
    "arguments": ("Network", ["target.kwargs={depth: 3}"], None, r"target\.kwargs=\{'depth': 3\}.*depth"),
    "no network": ("number", [], None, "returns an object of type int"),
    "no file": ("Network", ["target.weights=nowhere.pt"], None, "nowhere.pt is no file"),
    "no state dict": ("Network", [], [1, 2], "holds an object of type list"),
    "not the entry": (
        "Network",
        [],
        NESTED,
        "'step' in it is no tensor but of type int: set target.entry to one of ema",
    ),
    "no entry": (
        "Network",
        ["target.entry=net"],
        NESTED,
        "no state dict at target.entry=net; its entries are step, em",
    ),
    "missing": (
        "Network",
        ["target.entry=ema"],
        NESTED,
        r"1 of \d+ tensors is missing \(convolution.bias\)",
    ),
    "unexpected": ("Network", [], {**state(), "a": torch.ones(1)}, r"1 is superfluous \(a\); set target.prefix"),
    "shape": (
        "Network",
        ["target.kwargs={outputs: 2}"],
        None,
        r"2 are of .* shape .*\[1, 1, 3, 3\] in place of \[2, 1",
    ),
    "prefix": ("Network", ["target.prefix=net."], None, "No key .* begins with target.prefix=net.; they are conv"),
    "not finite": ("Network", [], {**state(), "convolution.bias": torch.tensor([math.nan])}, "1 weights that are NaN"),
    "forward": ("Failing", [], None, r"fails when .* \[2, 1, 8, 8\] and t = \[999, 999\] \(there is no such width\)"),
    "wrong names": ("Network", ["target.call={a: x_t, t: t}"], None, "unexpected keyword argument 'a'"),
    "output": ("Smaller", [], None, r"returns a prediction \[2, 1, 8, 4\]"),
    "call": ("Network", ["target.call=[t, t]"], None, "must have x_t and t, each once"),
    "prediction": (
        "Network",
        ["target.prediction=velocity"],
        None,
        "no meaning with target.path.kind=ddpm: choose one",
    ),
    "whole": ("Network", [FLOW, "target.prediction=velocity"], None, "target.time=int can't be used with"),
    "scaled": ("Network", [EDM, "target.prediction=edm", "target.time=scaled"], None, "target.time=scaled can't be"),
    "no noise": (
        "Network",
        [FLOW, "target.prediction=sample", "target.time=float", "target.time_axis=native"],
        None,
        "at its timestep 0 there is no noise",
    ),
    "sigma": (
        "Network",
        ["target.path={kind: edm, sigma_min: 2, sigma_max: 1}", "target.prediction=edm", "target.time=float"],
        None,
        "sigma_max=1 can't be used: it must be above 2",
    ),
    "kind": ("Network", ["target.path={kind: vp}"], None, r"target\.path.*kind.*'ddpm', 'flow', 'edm'"),
    "a field": (
        "Network",
        ["target.path={kind: flow, num_train_timesteps: 9, beta_end: 1}"],
        None,
        r"target\.path\.beta_end=1 can't be used",
    ),
}


@pytest.mark.parametrize(("factory", "overrides", "content", "sentence"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_explained_before_anything_is_computed(
    factory: str, overrides: list[str], content: object, sentence: str, tmp_path: Path
) -> None:
    def tried() -> None:
        target = chosen(tmp_path, *overrides, content=content, factory=factory)
        assert target.timesteps
        target.dry_run(SHAPE, Store(tmp_path / "store"), cpu_runtime())

    with pytest.raises(UserError, match=sentence):
        tried()
    assert not [each for each in (tmp_path / "store").rglob("*") if each.is_file()]


def test_the_key_is_that_of_code_weights_and_settings(tmp_path: Path) -> None:
    def digest(*overrides: str, content: object = None, factory: str = "Network") -> str:
        target = chosen(tmp_path, *overrides, content=content, factory=factory)
        return prepare(target, tmp_path / "store", *SHAPE).digest

    changed = {**state(), "convolution.bias": torch.zeros(1)}
    prefixed = {f"net.{name}": each for name, each in state().items()}
    found = [
        digest(),
        digest(content=changed),
        digest(factory="Failing"),
        digest("target.kwargs={channels: 1}"),
        digest("target.prefix=net.", content=prefixed),
        digest("target.time=float"),
        digest("target.input_range=[0,1]"),
        digest(DDPM.replace("0.02", "0.01")),
        digest(FLOW, "target.prediction=velocity", "target.time=float"),
    ]
    assert len(set(found)) == len(found)
    assert digest() == found[0]


def test_a_network_that_fails_stops_a_run_before_anything_is_stored(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "weights.pt")
    images = [*image_folders(tmp_path), "dataset.channels=1", "+attack=stat", "attack.t_sec=20"]
    given = ["target=module", f"target.weights={tmp_path}/weights.pt", DDPM, "target.prediction=epsilon"]
    with pytest.raises(UserError, match="no such width"):
        run(tmp_path, *images, *given, f"target.factory={__name__}.Failing")
    assert not list((tmp_path / "store").glob("*/*"))
