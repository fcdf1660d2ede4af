"""Small valid files of every kind that people give, how each is read, and what can be wrong with any of them."""

import io
import json
import os
import shutil
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console

from secmi_exp.attacks.scores_file import ScoresFile
from secmi_exp.data.images import Images
from secmi_exp.data.split import Indices
from secmi_exp.errors import UserError
from secmi_exp.report import write_report
from secmi_exp.store.__main__ import collect_garbage, list_entries, show_entry, verify_entries
from secmi_exp.store.inventory import Inventory
from tests.support.captioned import coco, encoded, image_files, laion, loaded, pictures, table
from tests.support.page_runs import swept
from tests.support.splits import PARTS, image_set

N = 6
NAMES = [f"{i}.png" for i in range(N)]
TEXTS = [f"picture {i}" for i in range(N)]
ROWS = [
    {"path": name, "text": text, "is_member": i % 2 == 0}
    for i, (name, text) in enumerate(zip(NAMES, TEXTS, strict=True))
]


@dataclass(frozen=True)
class Kind:
    """A file of others' that is read."""

    name: str
    make: Callable[[Path], Path]
    """Writes a valid one and what belongs to it into an empty folder; returns the file."""
    read: Callable[[Path, Path], object]
    """Reads it, by the folder and the file."""


def read_images(path: Path, root: Path, on_error: str = "skip", **fields: Any) -> int:
    """As a run would; how many could be read."""
    images = loaded(root.parent / f"{root.name}-store", path=path, on_error=on_error, **fields)
    for text in (*images.ids, *filter(None, images.captions or ()), *images.unreadable.values()):
        text.encode("utf-8")
    return int(images.readable.sum())


def of_folder(root: Path, file: Path) -> int:
    return read_images(root, root)


def of_file(root: Path, file: Path) -> int:
    return read_images(file, root)


def as_split(root: Path, file: Path) -> int:
    """By the setting that its suffix is for."""
    paths = {"path": file} if file.suffix in (".npz", ".yaml") else {"members": file, "holdouts": root / "others.csv"}
    given: dict[str, Any] = {"path": None, "members": None, "holdouts": None} | PARTS | paths
    split = Indices(**given).split(image_set(100))
    return len(split.attacked)


def as_scores(root: Path, file: Path) -> float:
    pixels = Images.from_pixels(np.zeros((N, 1, 1, 1), np.uint8))
    images = Images(pixels.pixels, pixels.digests, pixels.rows, ids=NAMES)
    attack = ScoresFile(
        name="scores", path=file, id_column="id", score_column="score", member_column="is_member", scorers={}
    )
    attack.stated_membership(images)
    return float(attack.measure_images(images).numbers["score"].sum())


def image_kind(suffix: str) -> Kind:
    def make(root: Path) -> Path:
        image_files(root, ["good0.png", "good1.png"])
        file = root / f"x.{suffix}"
        Image.fromarray(pictures(1, 3)[0]).save(file)
        return file

    return Kind(suffix, make, of_folder)


def list_kind(suffix: str) -> Kind:
    def make(root: Path) -> Path:
        image_files(root, NAMES)
        return write_table(root / f"list.{suffix}", ROWS)

    return Kind(f"list.{suffix}", make, of_file)


def scores_kind(suffix: str) -> Kind:
    def make(root: Path) -> Path:
        rows = [{"id": name, "score": i / 7, "is_member": i % 2} for i, name in enumerate(NAMES)]
        return write_table(root / f"scores.{suffix}", rows)

    return Kind(f"scores.{suffix}", make, as_scores)


def metadata_kind(suffix: str) -> Kind:
    def make(root: Path) -> Path:
        image_files(root, NAMES)
        rows = [{"file_name": row["path"], "text": row["text"]} for row in ROWS]
        write_table(root / f"metadata.{suffix}", rows)
        return root / f"metadata.{suffix}"

    return Kind(f"metadata.{suffix}", make, of_folder)


def write_table(file: Path, rows: Sequence[dict[str, object]]) -> Path:
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        comma = "," if file.suffix == ".csv" else "\t"
        lines = [comma.join(map(str, cells)) for cells in (list(rows[0]), *(row.values() for row in rows))]
        file.write_text("\n".join(lines) + "\n")
    return file


def split_kind(name: str) -> Kind:
    def make(root: Path) -> Path:
        file = root / name
        (root / "others.csv").write_text("\n".join(map(str, range(50, 90))))
        if file.suffix == ".npz":
            np.savez(file, mia_train_idxs=np.arange(40), mia_eval_idxs=np.arange(50, 90), ratio=0.5)
        elif file.suffix == ".npy":
            np.save(file, np.arange(40))
        elif file.suffix == ".yaml":
            file.write_text(f"train: {list(range(40))}\ntest: {list(range(50, 90))}\n")
        else:
            file.write_text("row\n" + "\n".join(map(str, range(40))))
        return file

    return Kind(f"split {name}", make, as_split)


def make_coco(root: Path) -> Path:
    coco(root, {i: [text, "again"] for i, text in enumerate(TEXTS)})
    return root / "annotations/captions_val2017.json"


def make_laion(root: Path) -> Path:
    laion(root, dict(zip(map(str, range(N)), TEXTS, strict=True)))
    return root / "captions.npy"


def make_sidecar(root: Path) -> Path:
    image_files(root, NAMES)
    for name, text in zip(NAMES, TEXTS, strict=True):
        (root / name).with_suffix(".txt").write_text(text)
    return root / "0.txt"


def make_parquet(root: Path) -> Path:
    table([encoded(pixels) for pixels in pictures(N)], text=TEXTS).to_parquet(root / "images.parquet")
    return root / "images.parquet"


def saved_kind(name: str) -> Kind:
    def make(root: Path) -> Path:
        table([encoded(pixels) for pixels in pictures(N)], text=TEXTS).save_to_disk(root)
        return next(root.glob(name))

    return Kind(f"saved {name}", make, of_folder)


def read_page(root: Path, file: Path) -> None:
    """The report page of a stranger's run."""
    write_report([root], root.parent / f"{root.name}.html")


def run_kind(name: str) -> Kind:
    def make(root: Path) -> Path:
        job = swept(root, 1, each=20).folder / "0"
        (job / "secmi_exp.log").write_text("10:00:00  Trained.\n")
        return job / name

    return Kind(f"run {name}", make, read_page)


def read_store(root: Path, file: Path) -> None:
    """All commands of `python -m secmi_exp.store`."""
    console = Console(file=io.StringIO())
    list_entries(Inventory.from_folder(root), None, console)
    verify_entries(Inventory.from_folder(root), console)
    for entry in Inventory.from_folder(root).entries:
        with suppress(UserError):
            show_entry(Inventory.from_folder(root), entry.digest, console)
    collect_garbage(Inventory.from_folder(root), 0.0, False, console)


def store_kind(name: str) -> Kind:
    def make(root: Path) -> Path:
        image_files(root.parent / "images", NAMES)
        loaded(root.parent, path=root.parent / "images")
        shutil.copytree(root.parent / "store", root, dirs_exist_ok=True)
        return next(root.glob(f"images/*/{name}"))

    return Kind(f"store {name}", make, read_store)


KINDS = [
    *map(image_kind, ("png", "jpg", "gif", "webp", "tiff", "bmp")),
    *map(list_kind, ("csv", "tsv", "jsonl", "parquet")),
    *map(metadata_kind, ("csv", "jsonl", "parquet")),
    *map(scores_kind, ("csv", "jsonl", "parquet")),
    *map(split_kind, ("rows.npz", "rows.npy", "rows.csv", "rows.yaml")),
    Kind("coco", make_coco, of_folder),
    Kind("laion", make_laion, of_folder),
    Kind("sidecar", make_sidecar, of_folder),
    Kind("parquet", make_parquet, of_folder),
    *map(saved_kind, ("*.arrow", "state.json", "dataset_info.json")),
    *map(run_kind, ("results.json", "scores.parquet", "config.yaml", "exposed.png", ".hydra/overrides.yaml")),
    *map(store_kind, ("entry.json", "sizes.npy")),
]

Damage = Callable[[Path], None]


def rewritten(change: Callable[[bytes], bytes]) -> Damage:
    def damage(file: Path) -> None:
        file.write_bytes(change(file.read_bytes()))

    return damage


def truncated(share: float) -> Damage:
    return rewritten(lambda content: content[: int(share * len(content))])


def flipped(seed: int) -> Damage:
    """Some bytes, most of them at the beginning or at the end, where headers are."""

    def damage(file: Path) -> None:
        content, random = bytearray(file.read_bytes()), np.random.default_rng(seed)
        for _ in range(random.integers(1, 6)):
            place = int(len(content) * random.beta(0.4, 0.4))
            content[min(place, len(content) - 1)] = random.integers(256)
        file.write_bytes(content)

    return damage


def numbers_raised(seed: int) -> Damage:
    """Four or eight bytes at the beginning or at the end become the largest number there is, or a large one."""

    def damage(file: Path) -> None:
        content, random = bytearray(file.read_bytes()), np.random.default_rng(seed)
        large = random.choice(
            [b"\xff" * 8, struct.pack("<q", 2**40), b"\x7f\xff\xff\xff", struct.pack("<i", 2**31 - 1)]
        )
        place = int(random.integers(4, 64)) if seed % 2 else max(len(content) - int(random.integers(8, 64)), 0)
        content[place : place + len(large)] = large
        file.write_bytes(content)

    return damage


def text_replaced(old: bytes, new: bytes) -> Damage:
    return rewritten(lambda content: content.replace(old, new))


def content(new: bytes) -> Damage:
    return rewritten(lambda _: new)


def replaced_by(make: Callable[[Path], object]) -> Damage:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


def make_socket(file: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(file.parent)  # names of sockets have 107 bytes at most
    try:
        socket.socket(socket.AF_UNIX).bind(file.name)
    finally:
        os.fchdir(here)
        os.close(here)


def make_sparse(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(2**42)


DAMAGES: dict[str, Damage] = {
    "whole": lambda file: None,
    **{f"truncated {share}": truncated(share) for share in (0, 0.02, 0.2, 0.5, 0.8, 0.99)},
    **{f"flipped {seed}": flipped(seed) for seed in range(12)},
    **{f"numbers {seed}": numbers_raised(seed) for seed in range(8)},
    "a pipe": replaced_by(os.mkfifo),
    "a socket": replaced_by(make_socket),
    "a folder": replaced_by(Path.mkdir),
    "a link to a device": replaced_by(lambda file: file.symlink_to("/dev/zero")),
    "a link to itself": replaced_by(lambda file: file.symlink_to(file)),
    "a dangling link": replaced_by(lambda file: file.symlink_to("nowhere")),
    "sparse terabytes": replaced_by(make_sparse),
    "missing": Path.unlink,
    "zeros": content(bytes(1000)),
    "a megabyte of [": content(b"[" * 2**20),
    "a line of [": content(b"[" * 50_000 + b"]" * 50_000),
    "nested objects": content(b'{"path":' * 50_000),
    "a megabyte of digits": content(b"9" * 2**20),
    "Latin-1": content("path,text\né.png,à la carte\n".encode("latin-1")),
    "control characters": text_replaced(b"picture", b"\x1b[2J\x07\x00"),
    "surrogates": text_replaced(b"picture", b"\\ud83d"),
    "a JSON list": content(b"[1, 2, 3]"),
    "a JSON number": content(b"1e999"),
    "null": content(b"null\n"),
    "a picture": content(encoded(pictures(1)[0])),
    "another table": content(b"path,path\na.png,b.png\n"),
    "an empty zip": content(b"PK\x05\x06" + bytes(18)),
    "NUL in names": text_replaced(b".png", b"\x00png"),
}
"""What may have happened to a file, or lies in its place."""


def case_of(kind: Kind, damage: Damage, whole: Path, root: Path) -> Callable[[], object]:
    """A case: a file of the kind, damaged, as it is read.

    Args:
        kind: of the file.
        damage: done to it.
        whole: folder in which a valid one is, made the first time.
        root: folder to be made for the case.
    """
    made = whole / "made.txt"
    if not made.is_file():
        (whole / "files").mkdir(parents=True)
        made.write_text(str(kind.make(whole / "files").relative_to(whole / "files")))
    shutil.copytree(whole / "files", root)
    file = root / made.read_text()
    damage(file)
    return lambda: kind.read(root, file)
