"""Decoding to small images."""

from pathlib import Path

from secmi_exp.data.decoding import decode, load
from secmi_exp.data.images import ImageSet
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.data.samples import ArraySamples, ImageFiles

SMALL = Preprocessing(image_size=8, channels=3, crop=None)


def decoded(samples: ArraySamples | ImageFiles, workspace: Path) -> ImageSet:
    (workspace / "scratch").mkdir(parents=True, exist_ok=True)
    decode(samples, SMALL, workspace, skip_unreadable=True, progress_bar=False)
    return load(workspace, samples.is_member, samples.captions)
