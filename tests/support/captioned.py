"""Captioned images in the layouts in which people keep them, with real photographs for pixels."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from secmi_exp.data.image_folder import ImageFolder
from secmi_exp.data.images import ImageSet
from secmi_exp.store import Store
from tests.support.published import Pixels, crops

SIZE = 24
"""Of the images, which most tests load as they are."""


def loaded(root: Path, **fields: object) -> ImageSet:
    """What a run would load, from a store below the root."""
    defaults: dict[str, object] = {
        "name": "own", "source": "", "licence": "", "path": None, "members": None, "holdout": None, "image_size": SIZE,
        "channels": 3, "crop": None, "horizontal_flip": False, "on_error": "stop", "caption_column": "text",
        "caption": "first", "seed": 0,
    }  # fmt: skip
    dataset = ImageFolder(**(defaults | fields))  # type: ignore[arg-type]
    return dataset.load(Store(root / "store"), progress_bar=False)


def pictures(n: int, seed: int = 0) -> Pixels:
    return crops(n, SIZE, SIZE, seed)


def encoded(pixels: Pixels, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def pixels_of(images: ImageSet) -> Pixels:
    """[N, H, W, C], as PIL has them."""
    return np.moveaxis(np.asarray(images.pixels), 1, -1)


def image_files(folder: Path, names: Sequence[str], seed: int = 0) -> Pixels:
    """Image files of these names; returns what they decode to."""
    decoded = []
    for name, pixels in zip(names, pictures(len(names), seed), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
        decoded.append(np.asarray(Image.open(folder / name)))
    return np.stack(decoded)


def imagefolder(folder: Path, rows: Sequence[dict[str, object]], kind: str = "jsonl") -> None:
    """A metadata file, as the documentation of datasets has it."""
    if kind == "jsonl":
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "csv":
        datasets.Dataset.from_list(list(rows)).to_csv(folder / "metadata.csv")
    else:
        datasets.Dataset.from_list(list(rows)).to_parquet(folder / "metadata.parquet")


def coco(root: Path, captions: dict[int, list[str]], part: str = "val2017", seed: int = 0) -> Pixels:
    """COCO's layout: images listed in the order of the dictionary, annotations shuffled among each other."""
    names = {image: f"{image:012d}.jpg" for image in captions}
    decoded = image_files(root / part, list(names.values()), seed)
    rounds = range(max(map(len, captions.values())))
    content = {
        "info": {"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017},
        "licenses": [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}],
        "images": [
            {"license": 4, "file_name": name, "height": SIZE, "width": SIZE, "id": image, "flickr_url": "http://flickr"}
            for image, name in names.items()
        ],
        "annotations": [
            {"image_id": image, "id": 1000 * (9 - turn) + image, "caption": texts[turn]}
            for turn in rounds
            for image, texts in captions.items()
            if turn < len(texts)
        ],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / f"annotations/captions_{part}.json").write_text(json.dumps(content))
    return decoded


def laion(folder: Path, captions: dict[str, str], seed: int = 0) -> Pixels:
    """The authors' list beside the images."""
    decoded = image_files(folder, [f"images/{name}.jpg" for name in captions], seed)
    np.save(folder / "captions.npy", np.array(list(captions.items())))
    return decoded


def table(
    images: Sequence[bytes | None], paths: Sequence[str | None] | None = None, **columns: object
) -> datasets.Dataset:
    """A dataset as the hub has them; None: an empty cell."""
    pairs = zip(images, paths or [None] * len(images), strict=True)
    cells = [{"bytes": image, "path": path} if image else None for image, path in pairs]
    return datasets.Dataset.from_dict({"image": cells, **columns}).cast_column("image", datasets.Image())
