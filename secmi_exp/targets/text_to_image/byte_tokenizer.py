"""A CLIP tokenizer that needs no training: each byte of a text is a token."""

import json
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"


def byte_characters() -> list[str]:
    """Return the printable characters that represent the 256 bytes in vocabularies of byte-level tokenizers.

    Source: Radford et al., GPT-2 (2019); bytes that can't be printed are moved to the code points from 256 on.

    >>> byte_characters()[ord("a")], byte_characters()[ord(" ")], len(set(byte_characters()))
    ('a', 'Ġ', 256)
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    moved = iter(range(256, 512))
    return [chr(byte if byte in printable else next(moved)) for byte in range(256)]


def vocabulary() -> list[str]:
    """List all tokens, in the order of their numbers.

    >>> len(vocabulary())
    514
    """
    characters = byte_characters()
    return [*characters, *(f"{character}{WORD_END}" for character in characters), START, END]


def save_byte_tokenizer(folder: Path, length: int) -> int:
    """Write a tokenizer as transformers' `CLIPTokenizer` reads it; return the size of its vocabulary.

    Args:
        folder: folder to create.
        length: upper bound of a text's tokens, including its two ends.
    """
    tokens = vocabulary()
    files = {
        "vocab.json": json.dumps({token: number for number, token in enumerate(tokens)}, ensure_ascii=False),
        "merges.txt": "#version: 0.2\n",
        "tokenizer_config.json": json.dumps(
            {
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": length,
                "bos_token": START,
                "eos_token": END,
                "pad_token": END,
                "unk_token": END,
            }
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return len(tokens)
