"""The parts of a text-to-image pipeline of diffusers, and which files of it are kept, or fetched from the hub."""

from collections.abc import Collection

from secmi_exp.targets.loading.training_folder import NETWORK_CONFIGS, PIPELINE_CONFIG, WeightsChoice, choose_network
from secmi_exp.targets.loading.weight_files import Library, network_files, with_variant

SCHEDULER_CONFIG = "scheduler/scheduler_config.json"

TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
NETWORKS = {"vae": ("AutoencoderKL",), "unet": ("UNet2DConditionModel",)}
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

WEIGHTED = (*NETWORKS, "text_encoder", "text_encoder_2")
"""Parts that have weights."""


def kept_files(kind: str) -> tuple[str, ...]:
    """Those that a pipeline of this class must have which is kept in the store; weights may be of any format.

    >>> kept_files("StableDiffusionPipeline")[2:5]
    ('vae/config.json', 'vae/*model*', 'unet/config.json')
    """
    weighty = [part for part in KINDS[kind] if part in NETWORKS or part.startswith("text_encoder")]
    parts = [f"{part}/{file}" for part in weighty for file in ("config.json", "*model*")]
    return PIPELINE_CONFIG, SCHEDULER_CONFIG, *parts, *(f"{part}/*" for part in KINDS[kind] if part not in weighty)


def library_of(part: str) -> Library:
    """That a part is of."""
    return "diffusers" if part in NETWORKS else "transformers"


def pipeline_files(names: Collection[str], weights: WeightsChoice, variant: str | None, where: str) -> list[str]:
    """The files that are read of a pipeline, among the names of a whole repository.

    Args:
        names: of all of its files.
        weights: see `TextToImageFolder.of`.
        variant: see `TextToImageFolder.of`.
        where: the repository, for messages.

    Raises:
        UserError: where it isn't clear which weights are meant, or those that were chosen aren't there.
    """
    described = (PIPELINE_CONFIG, SCHEDULER_CONFIG, *NETWORK_CONFIGS)
    read = [name for name in names if name in described or name.startswith(("tokenizer/", "tokenizer_2/"))]
    unet = choose_network(names, weights, where).folder
    for part in WEIGHTED:
        folder = unet if part == "unet" else part
        own = [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]
        chosen = variant if part == "unet" else with_variant(own, library_of(part), variant)
        read += network_files(names, folder, library_of(part), chosen, where) if folder else []
    return sorted(set(read))
