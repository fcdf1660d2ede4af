"""The parts of text-to-image pipelines, and the files of them that the store keeps or the hub is asked for."""

from collections.abc import Collection

from secmi_exp.targets.loading.latent_folder import NETWORKS, SCHEDULER_CONFIG, has_weights, library_of
from secmi_exp.targets.loading.training_folder import NETWORK_CONFIGS, PIPELINE_CONFIG, WeightsChoice, choose_network
from secmi_exp.targets.loading.weight_files import network_files, with_variant

TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "StableDiffusionPipeline": {**NETWORKS, "tokenizer": TOKENIZERS, "text_encoder": ("CLIPTextModel",)},
    "StableDiffusionXLPipeline": {
        **NETWORKS,
        "tokenizer": TOKENIZERS,
        "tokenizer_2": TOKENIZERS,
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
    },
}
"""Pipeline → part → the classes that it may have."""


def kept_files(kind: str) -> tuple[str, ...]:
    """List the files that a pipeline of this class must have in the store; weights may be of any format.

    >>> kept_files("StableDiffusionPipeline")[2:5]
    ('vae/config.json', 'vae/*model*', 'unet/config.json')
    """
    networks = [f"{part}/{file}" for part in KINDS[kind] if has_weights(part) for file in ("config.json", "*model*")]
    tokenizers = [f"{part}/*" for part in KINDS[kind] if not has_weights(part)]
    return PIPELINE_CONFIG, SCHEDULER_CONFIG, *networks, *tokenizers


def pipeline_files(names: Collection[str], weights: WeightsChoice, variant: str | None, where: str) -> list[str]:
    """Select the files that are read of a pipeline, among those of a whole repository.

    Args:
        names: names of all of its files.
        weights: see `TextToImageFolder.from_path`.
        variant: see `TextToImageFolder.from_path`.
        where: the repository, for messages.

    Raises:
        UserError: where it isn't clear which weights are meant, or those that were chosen aren't there.
    """
    described = (PIPELINE_CONFIG, SCHEDULER_CONFIG, *NETWORK_CONFIGS)
    read = [name for name in names if name in described or name.startswith(("tokenizer/", "tokenizer_2/"))]
    unet = choose_network(names, weights, where).folder
    for part in (*NETWORKS, "text_encoder", "text_encoder_2"):
        folder = unet if part == "unet" else part
        own = [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]
        chosen = variant if part == "unet" else with_variant(own, library_of(part), variant)
        read += network_files(names, folder, library_of(part), chosen, where) if folder else []
    return sorted(set(read))
