"""A text-to-image pipeline of diffusers on disk, of any family: its tokenizers and text encoders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from importlib.util import find_spec
from typing import Any

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.targets.loading.file_kind import refuse_strange_files
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.latent_folder import SCHEDULER_CONFIG, LatentFolder, has_weights, library_of
from secmi_exp.targets.loading.libraries import network_class
from secmi_exp.targets.loading.model_file_schemas import T5Encoder, TextEncoder, Tokenizer
from secmi_exp.targets.loading.settings_files import read_json, unreadable
from secmi_exp.targets.loading.training_folder import NETWORK_CONFIGS, PIPELINE_CONFIG, WeightsChoice, choose_network
from secmi_exp.targets.loading.weight_files import network_files, with_variant
from secmi_exp.torch_on_use import Tensor, torch

make_scheduler = Deferred("secmi_exp.targets.loading.schedulers:make_scheduler")

T5 = ("T5EncoderModel",)
CLIP_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
SPIECE = "spiece.model"
"""Vocabulary of T5's tokenizers, which needs another library where it hasn't been converted."""
T5_TOKENIZERS = ("T5TokenizerFast", "T5Tokenizer")


class TextToImageFolder(LatentFolder):
    """Places and descriptions of the parts of a pipeline with text encoders."""

    @property
    @abstractmethod
    def embeddings(self) -> tuple[str, ...]:
        """Names of the embeddings of a prompt that the denoiser takes."""

    def text_encoder(self, part: str) -> Any:
        """Load a text encoder; see `ModelFolder.load`."""
        return self.model(part).load(self.parts[part][0])

    @property
    def text_parts(self) -> list[str]:
        """Names of tokenizers and text encoders."""
        return [part for part in self.parts if part.startswith(("tokenizer", "text_encoder"))]

    @property
    def t5_tokens(self) -> int:
        """Number of tokens of a text that the pipeline gives to T5, which itself sets no limit."""
        return 512

    @property
    def longest_tokenizer(self) -> str:
        """Tokenizer of the text encoder that takes the most tokens."""
        return next((part for part in self.text_parts if self.parts[part] == T5_TOKENIZERS), "tokenizer")

    @property
    def embedding_settings(self) -> Mapping[str, Json]:
        """What decides the embeddings besides the files of `text_parts` and the pipeline's class, for keys."""
        return {}

    @property
    def clip_encoders(self) -> list[TextEncoder]:
        """Descriptions of the text encoders that are CLIP's, in the order of `text_parts`."""
        names = [part for part in self.text_parts if has_weights(part) and self.parts[part] != T5]
        return [self.description(part, TextEncoder) for part in names]

    def tokenizer(self, part: str = "tokenizer") -> Any:
        """Read a tokenizer; its limit is its text encoder's where it names none or a higher one; T5's is `t5_tokens`.

        Raises:
            UserError: where it can't be read, or makes other tokens of a text than its text encoder takes.
        """
        folder = self.path / part
        refuse_strange_files(folder)
        if not (folder / "tokenizer.json").exists() and (folder / SPIECE).exists() and not find_spec("sentencepiece"):
            raise UserError(f"The tokenizer in {folder} is a {SPIECE} alone: pip install sentencepiece protobuf.")
        described = folder / "tokenizer_config.json"
        own = checked(Tokenizer, read_json(described), described).model_max_length if described.is_file() else None
        encoder_part = part.replace("tokenizer", "text_encoder")
        encoder: TextEncoder | T5Encoder
        if self.parts[encoder_part] == T5:
            encoder, limit = self.description(encoder_part, T5Encoder), self.t5_tokens
        else:
            encoder = self.description(encoder_part, TextEncoder)
            limit = int(min(own or encoder.max_position_embeddings, encoder.max_position_embeddings))
        try:
            kind = network_class("transformers", self.parts[part][0])
            tokenizer = kind.from_pretrained(folder, local_files_only=True, model_max_length=limit)
            tokens = tokenizer("a text", padding="max_length", max_length=limit, truncation=True)["input_ids"]
            highest = max(*tokens, *tokenizer.get_vocab().values())
        except Exception as error:  # whatever the tokenizer's files make it raise
            raise unreadable(folder, error) from error
        if len(tokens) != limit or highest >= encoder.vocab_size:
            raise UserError(
                f"The tokenizer in {folder} makes {len(tokens)} tokens up to number {highest} of a text, and its text "
                f"encoder takes {limit} up to number {encoder.vocab_size - 1}: put the tokenizer of its training there."
            )
        return tokenizer

    def pipeline(self, **networks: Any) -> Any:
        """Make the pipeline with what `embed` needs, and with the given networks, sampled by DDIM where it can be.

        Raises:
            UserError: for a tokenizer or text encoder that can't be read.
        """
        parts: dict[str, Any] = dict.fromkeys((self.denoiser, self.coder)) | networks
        for part in self.text_parts:
            parts[part] = self.text_encoder(part) if has_weights(part) else self.tokenizer(part)
        return network_class("diffusers", self.kind)(**parts, **self.pipeline_options())

    def pipeline_options(self) -> dict[str, Any]:
        """Return the pipeline's arguments besides networks and tokenizers."""
        file = self.path / SCHEDULER_CONFIG
        return {"scheduler": make_scheduler(read_json(file), file)}

    def refuse_other_texts(self, taken: int, given: int, of: str = "token") -> None:
        """Compare the size of the embeddings that the denoiser takes with the text encoders'.

        Args:
            taken: numbers that the denoiser takes.
            given: numbers that the text encoders give.
            of: what the numbers stand for.

        Raises:
            UserError: with both sizes.
        """
        if taken != given:
            raise UserError(
                f"The {self.denoiser} in {self.path} takes {taken} numbers of each {of}, and the text encoders give "
                f"{given}: put the networks of one training there."
            )

    @abstractmethod
    def embed(
        self, pipeline: Any, prompts: list[str], device: torch.device | str = "cpu", *, negative: bool = False
    ) -> dict[str, Tensor]:
        """Encode prompts, with the text encoders in whatever precision they are.

        Args:
            pipeline: see `pipeline`.
            prompts: [B].
            device: of the text encoders.
            negative: whether those of the empty prompt are wanted too, under the same names after ``negative_``.

        Returns:
            What the denoiser takes, see `embeddings`: name → [B, …].
        """

    def refuse_unusable_parts(self) -> None:
        """See `LatentFolder.refuse_unusable_parts`; reads the tokenizers too.

        Raises:
            UserError: see there, and `tokenizer`.
        """
        super().refuse_unusable_parts()
        for part in self.text_parts:
            if not has_weights(part):
                self.tokenizer(part)

    def refuse_unusable_descriptions(self) -> None:
        """Refuse descriptions, tokenizers and a schedule with which nothing can be computed, whatever the weights are.

        Raises:
            UserError: see `LatentFolder.refuse_unusable_parts` and `tokenizer`.
        """
        _ = self.diffusion_path
        for part, (kind, *_) in self.parts.items():
            if has_weights(part):
                self.model(part).refuse_unusable_description(kind)
            else:
                self.tokenizer(part)


def named(encoded: Iterable[Tensor | None]) -> dict[str, Tensor]:
    """Name the embeddings that ``encode_prompt`` of diffusers' pipelines with pooled texts gives."""
    pairs = zip(("text", "negative_text", "pooled", "negative_pooled"), encoded, strict=False)
    return {name: embedding for name, embedding in pairs if embedding is not None}


NETWORK_PARTS = ("unet", "transformer", "vae", "vqvae", "text_encoder", "text_encoder_2", "text_encoder_3")
"""Folders of networks in the pipelines of all families."""


def kept_files(parts: Iterable[str]) -> tuple[str, ...]:
    """List the files that a pipeline with these parts must have in the store; weights may be of any format.

    >>> kept_files(["vae", "tokenizer"])[2:]
    ('vae/config.json', 'vae/*model*', 'tokenizer/*')
    """
    networks = [f"{part}/{file}" for part in parts if has_weights(part) for file in ("config.json", "*model*")]
    tokenizers = [f"{part}/*" for part in parts if not has_weights(part)]
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
    read = [name for name in names if name in described or name.startswith("tokenizer")]
    unet = choose_network(names, weights, where).folder
    for part in sorted({name.partition("/")[0] for name in names} & {*NETWORK_PARTS}):
        folder = unet if part == "unet" else part
        own = [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]
        chosen = variant if part in ("unet", "transformer") else with_variant(own, library_of(part), variant)
        read += network_files(names, folder, library_of(part), chosen, where) if folder else []
    return sorted(set(read))
