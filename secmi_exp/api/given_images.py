"""Images as Python programs have them: a folder, PIL's, arrays, tensors, or a `datasets.Dataset`."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from numpy.typing import NDArray
from PIL import Image

from secmi_exp.api.kept import keep
from secmi_exp.data.image_formats import exif_orientation, open_image
from secmi_exp.errors import UserError, first_line
from secmi_exp.store import Store

KIND = "given_images"
"""Kind of the store's entries."""
ROWS = 100
"""Images in a row group: what is in memory at once as files."""
PNG_MODES = ("1", "L", "LA", "P", "I;16", "RGB", "RGBA")
"""Modes of PIL that PNG holds as they are; others are written as TIFF, without their EXIF orientation."""
COLOUR_SPACES = ("YCbCr", "HSV")
"""Modes that are converted to RGB, as decoding would: Pillow before 13 can't read YCbCr back, and TIFF has no HSV."""

SIDEWAYS = (5, 6, 7, 8)
"""EXIF's orientations whose images have another height and width when they are upright."""
FLOATS_OF_NUMPY = (torch.float16, torch.float32, torch.float64)
"""Floating-point types of torch that numpy has too: bfloat16 isn't one."""


class SavesToDisk(Protocol):
    """A `datasets.Dataset`."""

    def save_to_disk(self, dataset_path: str) -> None:
        """Write it to a folder."""


Images: TypeAlias = str | PathLike[str] | Sequence[Image.Image] | NDArray[Any] | torch.Tensor | SavesToDisk
"""What an argument of images may be: see `locate`."""

Shape = tuple[int, int, int]
"""Channels, height, width."""


OpenStore = Callable[[], Store]


@dataclass(frozen=True)
class Located:
    """Images at a path that ``dataset=image_folder`` reads."""

    path: str
    shapes: frozenset[Shape] | None
    """The shapes that they have; None for a path, which isn't looked into."""


def locate(images: Images, name: str, store: OpenStore, *, upright: bool = False) -> Located:
    """Find the path of images; those in memory are written to the store first, without loss.

    Args:
        images: a path (a folder, or any other layout that ``dataset=image_folder`` reads); a list of PIL images; uint8
            of numpy [n, H, W, C] or [n, H, W], with 1 or 3 channels; a tensor [n, C, H, W] or [n, H, W]; or a
            `datasets.Dataset` with a column of images, whose columns of captions and labels count as those of files do.
            Arrays and tensors may hold floating-point numbers from 0 (black) to 1 (white), which are rounded to 8 bits.
        name: of the argument, for messages.
        store: opens where they are kept; called for those in memory alone.
        upright: whether they will be turned as their EXIF orientation says, which some of the shapes depend on.

    Raises:
        UserError: for anything else, and for no images at all.
    """
    if isinstance(images, str | PathLike):
        return Located(fspath(images), None)
    if isinstance(images, datasets.Dataset):
        return _located_dataset(images, name, store, upright=upright)
    if isinstance(images, Mapping):
        splits = ", ".join(map(str, images)) or "none"
        raise UserError(f"{name} is several datasets ({splits}): give one of them, such as {name}=dataset['train'].")
    if isinstance(images, torch.Tensor):
        return _located_pictures(*_of_array(_channels_last(images, name), name), name, store)
    if isinstance(images, np.ndarray):
        return _located_pictures(*_of_array(images, name), name, store)
    if isinstance(images, Sequence):
        for number, each in enumerate(images):
            if not isinstance(each, Image.Image):
                raise UserError(
                    f"{name}[{number}] is of type {type(each).__name__}: a list must hold PIL images; give arrays as "
                    "one uint8 array [n, H, W, C]."
                )
        pictures, shapes = [each for each in images if isinstance(each, Image.Image)], set()
        for number, each in enumerate(pictures):
            with _explained(each, f"{name}[{number}]"):
                shapes.add(shape_of(each, upright=upright and each.mode in PNG_MODES + COLOUR_SPACES))
        return _located_pictures(pictures, frozenset(shapes), name, store)
    raise UserError(
        f"{name} is of type {type(images).__name__}: give a folder, a list of PIL images, a numpy array of uint8 [n, "
        "H, W, C], a tensor [n, C, H, W], or a datasets.Dataset."
    )


def channels_of(picture: Image.Image) -> int:
    """1 for gray, 3 for colour."""
    return 1 if Image.getmodebase(picture.mode) == "L" else 3


def shape_of(picture: Image.Image, *, upright: bool) -> Shape:
    """The shape that an image has when it is read, turned as its EXIF orientation says where it shall be upright."""
    turned = upright and exif_orientation(picture) in SIDEWAYS
    height, width = (picture.width, picture.height) if turned else (picture.height, picture.width)
    return channels_of(picture), height, width


def common_shape(located: Iterable[Located]) -> Shape | None:
    """The one shape of all images in memory; None where all lie at paths.

    Raises:
        UserError: where they have several, or only some of the images are known.
    """
    known = [each.shapes for each in located]
    if all(shapes is None for shapes in known):
        return None
    shapes = sorted(set().union(*(each or () for each in known)))
    if len(shapes) == 1 and None not in known:
        return shapes[0]
    if len(shapes) == 1:
        seen = "a folder's images may have any size"
    else:
        seen = " and ".join(f"{width}×{height} pixels in {channels} channels" for channels, height, width in shapes[:2])
        seen = f"the images have several sizes or channels ({seen} among them)"
    raise UserError(
        f"The size that the model takes must be named, as {seen}: add dataset={{'image_size': 64, 'channels': 3}} with "
        "its numbers."
    )


def _located_dataset(dataset: Any, name: str, store: OpenStore, *, upright: bool) -> Located:
    """A dataset of the library's, as it saves it; its images' headers are read for their sizes."""
    columns = [each for each, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    if not columns:
        raise UserError(f"{name} has the columns {', '.join(dataset.column_names)}, and none with images.")
    if not len(dataset):
        raise UserError(f"{name} has no images.")
    column = "image" if "image" in columns else columns[0]
    path = keep(store(), KIND, "dataset", lambda folder: dataset.save_to_disk(str(folder)), decisive="**/*.arrow")
    cells = dataset.with_format(None).select_columns([column]).cast_column(column, datasets.Image(decode=False))
    shapes = (_shape_in(row[column], upright=upright) for row in cells)
    return Located(str(path), frozenset(shape for shape in shapes if shape))


def _shape_in(cell: Mapping[str, Any] | None, *, upright: bool) -> Shape | None:
    """The shape of an image in a table's cell; None where it can't be read, which the run itself reports."""
    content, path = (cell or {}).get("bytes"), (cell or {}).get("path")
    try:
        with open_image(io.BytesIO(content) if content else str(path)) as image:
            return shape_of(image, upright=upright)
    except (OSError, ValueError):
        return None


def _channels_last(images: torch.Tensor, name: str) -> NDArray[Any]:
    """A tensor [n, C, H, W] or [n, H, W] as an array [n, H, W, C] or [n, H, W]."""
    if images.is_floating_point() and images.dtype not in FLOATS_OF_NUMPY:
        images = images.float()
    array: NDArray[Any] = images.detach().cpu().numpy()
    if array.ndim == 4 and array.shape[1] not in (1, 3):
        raise UserError(
            f"{name} is a tensor of the shape {list(array.shape)}: [n, C, H, W] is needed, with 1 or 3 channels."
        )
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def _of_array(array: NDArray[Any], name: str) -> tuple[Iterable[Image.Image], frozenset[Shape]]:
    """The images of an array [n, H, W, C] or [n, H, W], and their shape."""
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)):
        raise UserError(
            f"{name} is an array of the shape {list(array.shape)}: [n, H, W, C] is needed, with 1 or 3 channels, or "
            "[n, H, W]."
        )
    if array.dtype.kind == "f" and array.size:
        low, high = float(array.min()), float(array.max())
        if not 0 <= low <= high <= 1:
            raise UserError(
                f"{name} holds numbers from {low:g} to {high:g}: floating-point pixels are read as 0 (black) to 1 "
                "(white); of [-1, 1], give (x + 1) / 2."
            )
    elif array.dtype != np.uint8:
        raise UserError(f"{name} is of the type {array.dtype}: pixels are uint8, or floating-point from 0 to 1.")
    shape = (array.shape[3] if array.ndim == 4 else 1, *array.shape[1:3])
    return _Pictures(array), frozenset({shape} if len(array) else ())


@dataclass(frozen=True)
class _Pictures:
    """The images of an array, made one at a time."""

    array: NDArray[Any]

    def __iter__(self) -> Iterator[Image.Image]:
        for pixels in self.array:
            whole = pixels if pixels.dtype == np.uint8 else np.rint(pixels * 255.0).astype(np.uint8)
            yield Image.fromarray(
                np.ascontiguousarray(whole[..., 0] if whole.shape[-1] == 1 and whole.ndim == 3 else whole)
            )


def _located_pictures(
    pictures: Iterable[Image.Image], shapes: frozenset[Shape], name: str, store: OpenStore
) -> Located:
    """Images of PIL, kept as the files of a Parquet table; their ids are their numbers."""
    if not shapes:
        raise UserError(f"{name} has no images.")
    path = keep(store(), KIND, "images.parquet", lambda file: _write_table(pictures, name, file))
    return Located(str(path), shapes)


def _write_table(pictures: Iterable[Image.Image], name: str, file: Path) -> None:
    """Write images without loss, as the library datasets has them in Parquet files."""
    schema = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()})})
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        cells: list[dict[str, bytes | None]] = []
        for number, picture in enumerate(pictures):
            cells.append({"bytes": _file_of(picture, f"{name}[{number}]"), "path": None})
            if len(cells) == ROWS:
                writer.write_table(pa.table({"image": cells}, schema))
                cells = []
        if cells:
            writer.write_table(pa.table({"image": cells}, schema))


def _file_of(picture: Image.Image, name: str) -> bytes:
    """The bytes of an image file that has the same pixels, with the EXIF orientation where there is one."""
    file = io.BytesIO()
    with _explained(picture, name):
        exif = picture.getexif()
        if picture.mode in COLOUR_SPACES:
            picture = picture.convert("RGB")
        if picture.mode in PNG_MODES:
            picture.save(file, "PNG", compress_level=1, **({"exif": exif} if exif else {}))
        else:
            picture.save(file, "TIFF")
    return file.getvalue()


@contextmanager
def _explained(picture: Image.Image, name: str) -> Iterator[None]:
    """Refuse a picture that Pillow can't read or write, in a sentence that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{name} can't be used ({first_line(error)}): it has the mode {picture.mode}; convert it to RGB or L."
        ) from error
