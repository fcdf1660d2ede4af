"""COCO's captions in their published layout: annotations/captions_PART.json, and the images beside it in PART/."""

import json
import re
from pathlib import Path

from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.file_lists import refuse_repeated
from secmi_exp.data.samples import ImageFiles
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.regular import is_folder, read_regular

CAPTIONS = "annotations/captions_*.json"


def caption_files(folder: Path) -> list[Path]:
    """The caption files in a folder with COCO's layout; empty for any other folder."""
    return sorted(folder.glob(CAPTIONS))


def read_coco(path: Path, choice: CaptionChoice) -> ImageFiles:
    """The images that a caption file lists, by ascending id: torchvision's order, which the authors' splits count in.

    Several captions of an image are in the order of the file, as pycocotools gives them.

    Args:
        path: a caption file, or the folder that ``annotations`` is in.
        choice: of one of an image's captions.

    Raises:
        UserError: for a folder with several caption files, for a file of another form, or without images beside it.
    """
    file = the_only(path) if is_folder(path) else path.absolute()
    part = re.fullmatch(r"captions_(.+)\.json", file.name)
    if part is None:
        raise UserError(
            f"{file} is not named captions_PART.json, so there's no telling which folder holds its images: name it as "
            "COCO does."
        )
    folder = file.parent.parent / part[1]
    names, captions = read_captions(file)
    if not is_folder(folder):
        raise UserError(f"The images of {file} are not in {folder}: put them there, as COCO unpacks.")
    names = {image: f"{part[1]}/{name}" for image, name in sorted(names.items())}
    ids = list(names.values())
    refuse_repeated(ids, file)
    cells = (captions.get(image) for image in names)
    return ImageFiles([f"{folder.parent}/{name}" for name in ids], ids, captions=choice.choose(cells, ids, file))


def the_only(folder: Path) -> Path:
    """The folder's caption file.

    Raises:
        UserError: where it has several.
    """
    file, *more = caption_files(folder)
    if more:
        names = ", ".join(str(found.relative_to(folder)) for found in (file, *more))
        raise UserError(f"{folder} has several caption files ({names}): give one of them as the path.")
    return file.absolute()


def read_captions(file: Path) -> tuple[dict[int, str], dict[int, list[object]]]:
    """Image id → file name, and image id → captions in the file's order.

    Raises:
        UserError: where that is not what the file holds.
    """
    try:
        content = json.loads(read_regular(file).decode("utf-8-sig"))
        names = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
        captions: dict[int, list[object]] = {}
        for annotation in content["annotations"]:
            captions.setdefault(int(annotation["image_id"]), []).append(annotation["caption"])
    except OSError as error:
        raise UserError(f"The caption file {file} can't be read: {error.strerror}.") from error
    except RecursionError as error:
        raise UserError(f"The caption file {file} can't be read: it is nested too deeply.") from error
    except (ValueError, OverflowError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is no caption file as COCO has them ({type(error).__name__}: {first_line(error)}): it needs "
            "images with id and file_name, and annotations with image_id and caption."
        ) from error
    return names, captions
