"""Adapters in files: the weights that diffusers' own loaders make with them, or one sentence and an empty store."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from secmi_exp.errors import UserError
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.loading.model_folder import ModelFolder
from secmi_exp.targets.text_to_image.lora_file import LoRAFile
from secmi_exp.targets.text_to_image.lora_fusion import pairs_of
from secmi_exp.targets.text_to_image.unet_training import copy_parts
from tests.support.hostile_files import is_empty
from tests.support.one_file_checkpoints import of_unet, save_pipeline
from tests.support.text_to_image import prepared, walked

RANK, SCALE = 2, 0.7
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
MODULES = (ATTENTION, ATTENTION.replace("to_q", "to_out.0"), "down_blocks.0.attentions.0.proj_in",
           "down_blocks.0.resnets.0.conv1", "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj")  # fmt: skip
"""Of the U-Net: linear layers, and convolutions of 1×1 and 3×3."""
TEXT_MODULES = ("encoder.layers.1.self_attn.v_proj", "encoder.layers.0.mlp.fc1")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("base") / "sd", "1.x")


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("base") / "xl", "XL")


def named(network: nn.Module) -> dict[str, Tensor]:
    """Its parameters, by the names of newer versions of transformers."""
    return {name.removeprefix("text_model."): each.detach() for name, each in network.named_parameters()}


def pairs(network: nn.Module, modules: Iterable[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Random matrices, down and up, for these modules."""
    torch.manual_seed(0)
    found = {}
    for name in modules:
        weight = named(network)[f"{name}.weight"]
        ones = [1] * (weight.dim() - 2)
        found[name] = torch.randn(RANK, *weight.shape[1:]), torch.randn(weight.shape[0], RANK, *ones)
    return found


def in_kohyas_layout(
    prefix: str, matrices: dict[str, tuple[Tensor, Tensor]], alpha: Callable[[int], float] = lambda number: 1.0
) -> dict[str, Tensor]:
    file: dict[str, Tensor] = {}
    for number, (name, (down, up)) in enumerate(matrices.items()):
        place = prefix + name.replace(".", "_")
        file |= {f"{place}.lora_down.weight": down, f"{place}.lora_up.weight": up}
        file[f"{place}.alpha"] = torch.tensor(alpha(number))
    return file


def save(tensors: dict[str, Tensor], file: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file


def adapted(pipeline: Path, file: Path) -> StableDiffusionFolder:
    folder = StableDiffusionFolder.from_path(pipeline)
    return StableDiffusionFolder(folder.path, folder.kind, folder.chosen, lora=LoRAFile.at(file, SCALE, folder.parts))


def difference(ours: nn.Module, theirs: nn.Module) -> float:
    found = {
        name.replace(".base_layer.", "."): each for name, each in theirs.state_dict().items() if "lora_" not in name
    }
    state = ours.state_dict()
    assert found.keys() == state.keys()
    return max(float((state[name] - each).abs().max()) for name, each in found.items())


def unet_of_diffusers(kind: Any, pipeline: Path, file: Path) -> Any:
    """The U-Net with the adapter, by diffusers' own loaders."""
    unet = kind.from_pretrained(pipeline, local_files_only=True).unet
    state, alphas, metadata = kind.lora_state_dict(file, unet_config=unet.config, return_lora_metadata=True)
    kind.load_lora_into_unet(state, alphas, unet, metadata=metadata)
    unet.fuse_lora(lora_scale=SCALE)
    return unet


def added(matrices: tuple[Tensor, Tensor], alpha: float = 1.0) -> Tensor:
    down, up = matrices
    return SCALE * alpha / RANK * torch.einsum("or,r...->o...", up.flatten(1), down)


def assert_added(after: nn.Module, before: nn.Module, matrices: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Matrices, whose alpha is 1, are added to these weights, and nothing to others."""
    changed, weights = named(after), named(before)
    for name, weight in weights.items():
        module = name.removesuffix(".weight")
        expected = weight + added(matrices[module]) if module in matrices and name.endswith(".weight") else weight
        torch.testing.assert_close(changed[name], expected)


def test_a_file_of_diffusers_changes_the_weights_as_diffusers_and_peft_do(tmp_path: Path, pipeline: Path) -> None:
    unet = StableDiffusionFolder.from_path(pipeline).load_denoiser()
    unet.add_adapter(
        LoraConfig(
            r=4, lora_alpha=6, alpha_pattern={"to_k": 3}, target_modules=["to_q", "to_k", "conv1"],
            init_lora_weights=False,
        )
    )  # fmt: skip
    text_encoder = StableDiffusionFolder.from_path(pipeline).text_encoder("text_encoder")
    settings = LoraConfig(r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "fc2"], init_lora_weights=False)
    inject_adapter_in_model(settings, text_encoder)
    text = {
        name.replace(".default.", "."): each for name, each in text_encoder.state_dict().items() if ".lora_" in name
    }
    StableDiffusionPipeline.save_lora_weights(
        tmp_path, convert_state_dict_to_diffusers(get_peft_model_state_dict(unet)), text,
        unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
        text_encoder_lora_adapter_metadata=settings.to_dict(),
    )  # fmt: skip
    for module in text_encoder.modules():
        if isinstance(module, BaseTunerLayer):
            module.scale_layer(SCALE)  # type: ignore[attr-defined]
            module.merge()
    file = tmp_path / "pytorch_lora_weights.safetensors"
    ours = adapted(pipeline, file)
    assert difference(ours.load_denoiser(), unet_of_diffusers(StableDiffusionPipeline, pipeline, file)) < 1e-6
    assert difference(ours.text_encoder("text_encoder"), text_encoder) < 1e-6
    base = StableDiffusionFolder.from_path(pipeline)
    assert difference(ours.load_denoiser(), base.load_denoiser()) > 0.1
    assert difference(base.text_encoder("text_encoder"), text_encoder) > 0.1


def test_a_file_of_kohyas_scripts_changes_the_weights_as_diffusers_does(tmp_path: Path, pipeline: Path) -> None:
    base = StableDiffusionFolder.from_path(pipeline)
    text = pairs(base.text_encoder("text_encoder"), TEXT_MODULES)
    tensors = in_kohyas_layout("lora_unet_", pairs(base.load_denoiser(), MODULES))
    tensors |= in_kohyas_layout("lora_te_text_model_", text)
    file = save(tensors, tmp_path / "lora.safetensors")
    ours = adapted(pipeline, file)
    assert difference(ours.load_denoiser(), unet_of_diffusers(StableDiffusionPipeline, pipeline, file)) < 1e-6
    assert_added(ours.text_encoder("text_encoder"), base.text_encoder("text_encoder"), text)
    copy_parts(ours, tmp_path / "copy")  # as a training does that starts there
    copied = ModelFolder(tmp_path / "copy/text_encoder", "transformers").load("CLIPTextModel")
    assert difference(copied, ours.text_encoder("text_encoder")) == 0


def test_kohyas_names_of_sdxl_are_those_of_the_original_code(tmp_path: Path, xl: Path) -> None:
    base = StableDiffusionFolder.from_path(xl)
    names = (*MODULES, MODULES[0].replace("down_blocks.0", "up_blocks.1"))
    original = [name.removesuffix(".weight") for name in of_unet({f"{name}.weight": torch.zeros(1) for name in names})]
    matrices, second = pairs(base.load_denoiser(), names), pairs(base.text_encoder("text_encoder_2"), TEXT_MODULES)
    tensors = in_kohyas_layout("lora_unet_", dict(zip(original, matrices.values(), strict=True)))
    file = save(tensors | in_kohyas_layout("lora_te2_text_model_", second), tmp_path / "lora.safetensors")
    ours = adapted(xl, file)
    assert_added(ours.load_denoiser(), base.load_denoiser(), matrices)
    assert difference(ours.load_denoiser(), unet_of_diffusers(StableDiffusionXLPipeline, xl, file)) < 1e-6
    assert_added(ours.text_encoder("text_encoder_2"), base.text_encoder("text_encoder_2"), second)
    assert difference(ours.text_encoder("text_encoder"), base.text_encoder("text_encoder")) == 0


def test_each_module_has_its_own_alpha(tmp_path: Path, pipeline: Path) -> None:
    base = StableDiffusionFolder.from_path(pipeline)
    matrices = pairs(base.load_denoiser(), MODULES)
    file = save(in_kohyas_layout("lora_unet_", matrices, lambda number: 1.0 + number), tmp_path / "lora.safetensors")
    before, after = named(base.load_denoiser()), named(adapted(pipeline, file).load_denoiser())
    for number, (name, pair) in enumerate(matrices.items()):
        torch.testing.assert_close(after[f"{name}.weight"], before[f"{name}.weight"] + added(pair, 1.0 + number))


def digests_of(folder: StableDiffusionFolder) -> dict[str, str]:
    parts = {"noise": ("unet", "scheduler"), "posteriors": ("vae",), "embeddings": tuple(folder.text_parts)}
    return {kind: folder.key(kind, *names).digest for kind, names in parts.items()}


def test_keys_change_with_what_the_adapter_changes(tmp_path: Path, pipeline: Path) -> None:
    base = StableDiffusionFolder.from_path(pipeline)
    unet = in_kohyas_layout("lora_unet_", pairs(base.load_denoiser(), MODULES[:1]))
    text = in_kohyas_layout("lora_te_text_model_", pairs(base.text_encoder("text_encoder"), TEXT_MODULES[:1]))
    of_unet_alone = save(unet, tmp_path / "unet.safetensors")
    both = save(unet | text, tmp_path / "both.safetensors")

    def digests(**settings: Any) -> dict[str, str]:
        return digests_of(prepared(pipeline, tmp_path / "store", **settings).inputs.args[0])  # type: ignore[attr-defined]

    def changed(**settings: Any) -> set[str]:
        return {kind for kind, digest in digests(**settings).items() if digest != plain[kind]}

    plain = digests_of(base)
    assert changed() == set()
    assert changed(lora=of_unet_alone) == {"noise"}
    assert changed(lora=both) == {"noise", "embeddings"}
    assert digests(lora=both) != digests(lora=both, lora_scale=0.5)


def renamed(old: str, new: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed("lora_unet_", "lora_transformer_"),
         r"15 of 15 tensors in .* are for none .* the first lora_transformer_d"
         r".*begin with unet\., text_encoder\., lora_unet_, lora_te_"),
        (renamed("lora_unet_", "lora_te2_"), "15 of 15 tensors in .* are for none of the pipeline's networks"),
        (renamed("down_blocks_0", "down_blocks_7"),
         r"4 of 5 pairs of matrices in .* don't fit the pipeline's unet, the "
         r"first for down_blocks\.7\..*the weight is not there"),
        (lambda tensors: tensors | {f"lora_unet_{ATTENTION.replace('.', '_')}.lora_up.weight": torch.ones(7, RANK)},
         r"1 of 5 pairs .*to_q.weight \(matrices \[2, 8\] and \[7, 2\]; the weight is \[8, 8\] there\)"),
        (lambda tensors: dict(list(tensors.items())[1:]),
         "no single number with a pair of matrices|can't map the names"),
        (lambda tensors: tensors | {"lora_unet_conv_in.dora_scale": torch.ones(1)},
         r"1 of 16 tensors in .* are no matrices or alphas of a plain LoRA \(lora_unet_conv_in.dora_scale\)"),
        (lambda tensors: {"conv_in.hada_w1_a": torch.ones(1)}, r"1 of 1 tensors .* \(conv_in.hada_w1_a\)"),
        (lambda tensors: {name: tensor / 0 for name, tensor in tensors.items()}, "that are NaN or infinite"),
    ],
)  # fmt: skip
def test_an_adapter_that_does_not_fit_is_refused(
    tmp_path: Path, pipeline: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str
) -> None:
    tensors = in_kohyas_layout("lora_unet_", pairs(StableDiffusionFolder.from_path(pipeline).load_denoiser(), MODULES))
    file = save(change(tensors), tmp_path / "lora.safetensors")
    with pytest.raises(UserError) as refused:
        walked(pipeline, tmp_path / "store", lora=file)
    (sentence,) = str(refused.value).splitlines()
    assert re.search(message, sentence)
    assert is_empty(tmp_path / "store")


def test_other_files_and_settings_are_refused(tmp_path: Path, pipeline: Path) -> None:
    def refusal(**settings: Any) -> str:
        with pytest.raises(UserError) as refused:
            prepared(pipeline, tmp_path / "store", **settings)
        return str(refused.value)

    (tmp_path / "lora.bin").write_bytes(b"x")
    (tmp_path / "cut.safetensors").write_bytes(b"\x90\0\0\0\0\0\0\0{")
    assert "There is no file" in refusal(lora=tmp_path / "nowhere.safetensors")
    assert "doesn't end in .safetensors" in refusal(lora=tmp_path / "lora.bin")
    assert "cut.safetensors can't be read" in refusal(lora=tmp_path / "cut.safetensors")
    assert "target.lora_scale=0.5 scales an adapter: add target.lora=FILE" in refusal(lora_scale=0.5)


def test_metadata_are_read_as_numbers_alone(tmp_path: Path, pipeline: Path) -> None:
    unet = StableDiffusionFolder.from_path(pipeline).load_denoiser()
    down, up = pairs(unet, [ATTENTION])[ATTENTION]
    tensors = {f"unet.{ATTENTION}.lora_A.weight": down, f"unet.{ATTENTION}.lora_B.weight": up}
    file = tmp_path / "lora.safetensors"

    def factor(settings: str) -> float:
        save_file(tensors, file, metadata={"lora_adapter_metadata": settings})
        (pair,) = pairs_of(unet, "unet", LoRAFile.at(file, SCALE, ["unet"]), 1).values()
        return pair.factor

    assert factor("{}") == 1
    assert factor('{"unet.megatron_core": "antigravity", "unet.lora_alpha": 4, "text_encoder.lora_alpha": 9}') == 2
    assert factor('{"unet.lora_alpha": 4, "unet.alpha_pattern": {"attn1.to_q": 1}}') == 0.5
    for settings in ('{"unet.lora_alpha": "many"}', '{"unet.alpha_pattern": {"(a+)+": 1}}', "[]", "{"):
        with pytest.raises(UserError):
            factor(settings)
