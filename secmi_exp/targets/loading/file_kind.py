"""Recognizes files and folders that can't be attacked as they are, to advise what to do with them."""

import tarfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.files.regular import is_folder, is_regular
from secmi_exp.targets.loading.settings_files import unreadable

read_pickled = Deferred("secmi_exp.targets.loading.weights:read_pickled")

SUFFIXES = {
    ".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle", ".tar", ".gz", ".tgz", ".zip", ".npz", ".npy",
    ".gguf", ".h5", ".hdf5", ".onnx", ".msgpack", ".json", ".yaml", ".yml", ".txt",
}  # fmt: skip
"""Suffixes of files; a path with one of them is no repository of the hub."""

ORIGINAL_UNET = "model.diffusion_model."
"""Prefix of the weights of Stable Diffusion's U-Net in the layout of its own code."""


ADM_LAYERS = {"time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.0.in_layers.0.weight", "out.2.weight"}
"""Some names of weights in the layout of guided-diffusion."""

PERSISTENT = b"torch_utils.persistence"
"""Module whose function NVlabs' pickles call, to execute the source of their classes."""
MOST_START = 2**20
"""Upper bound of the bytes in which that name is looked for."""


@dataclass(frozen=True)
class FileKind:
    """The kind of a file, and what to do with it."""

    what: str
    advice: str


MOST_BYTES = 64 * 2**20
"""Upper bound of a text that a library reads whole, such as a tokenizer's vocabulary."""

ARCHIVE = "unpack it, and set target.path to the model's folder in it"
SAVE = (
    "load it with the code that made it, save the network by diffusers' save_pretrained, and set target.path to its "
    "folder"
)
SINGLE_FILE = FileKind(
    "Stable Diffusion in one file",
    "set target=stable_diffusion, and target.path to this file",
)
ADAPTER = FileKind(
    "a low-rank adapter without the network that it belongs to",
    "set target=stable_diffusion, target.path to the pipeline that it was trained on, and target.lora to its "
    ".safetensors",
)
EDM = FileKind(
    "a pickle of NVlabs' code, such as EDM's, which holds source code beside the weights",
    "load it with their repository, write its ema.state_dict() by safetensors' save_file, and set target=module "
    "target.weights=FILE with a network of the same layers",
)
LUCIDRAINS = FileKind(
    "a checkpoint of lucidrains' denoising-diffusion-pytorch",
    "set target=module target.weights=FILE target.entry=ema target.prefix=ema_model.model.",
)
ADM = FileKind(
    "a checkpoint of guided-diffusion", "set target=adm_checkpoint, and target.flags to the flags of its training"
)
AUTHORS = FileKind("a checkpoint of the authors' pytorch-ddpm code", "set target=secmi_checkpoint")
NETWORK = FileKind(
    "the weights of a network without its description",
    "put it into a folder as diffusion_pytorch_model.safetensors with the config.json of its network, and set "
    "target.path to the folder",
)

MAGIC = {
    b"GGUF": FileKind("a quantized model in GGUF", "use the weights that it was made from, as a diffusers folder"),
    b"\x89HDF\r\n\x1a\n": FileKind(
        "an HDF5 file, as Keras writes it", "convert the network to diffusers' layout first"
    ),
    b"\x93NUMPY": FileKind("a NumPy array", "set target.path to the model itself"),
    b"\x1f\x8b": FileKind("a compressed archive", ARCHIVE),
}
"""First bytes of a file → its kind."""


def file_kind(path: Path) -> FileKind | None:
    """Return the kind of a file; None for an unknown one.

    Raises:
        UserError: for a Git-LFS pointer, and for weights that are damaged or could execute code.
    """
    kind = foreign_kind(path)
    if kind is None and zipfile.is_zipfile(path):
        return _saved_by_torch(path)
    if kind is None and _start(path).startswith(b"\x80"):
        if path.suffix in (".pkl", ".pickle") and PERSISTENT in _start(path, MOST_START):
            return EDM
        return FileKind("a Python pickle, such as torch.save writes", SAVE)
    return kind


def foreign_kind(path: Path) -> FileKind | None:
    """Return the kind of a file that isn't torch.save's; None for one that may be, and for an unknown one.

    Raises:
        UserError: for a Git-LFS pointer, and for a safetensors file that is damaged.
    """
    refuse_pointer(path)
    start = _start(path)
    for magic, kind in MAGIC.items():
        if start.startswith(magic):
            return kind
    if start[8:10] in (b'{"', b"{ ", b"{}"):
        return _weights(_safetensors_names(path))
    if zipfile.is_zipfile(path):
        return _zip(path)
    if start.lstrip().startswith((b"{", b"[")):
        return FileKind("a JSON file", "set target.path to the model itself")
    if tarfile.is_tarfile(path):
        return FileKind("an archive", ARCHIVE)
    return None


def refuse_file(path: Path, setting: str = "target.path") -> None:
    """Refuse a file where a model's folder is needed.

    Args:
        path: given by the user.
        setting: setting that it comes from.

    Raises:
        UserError: naming the file's kind and what can be done.
    """
    if path.is_file():
        kind = file_kind(path) or FileKind("a file of an unknown kind", f"set {setting} to a model's folder")
        raise UserError(f"{setting}={path} is no folder but {kind.what}: {kind.advice}.")


def refuse_strange_folder(path: Path) -> None:
    """Refuse a folder of a training that doesn't hold the network's description.

    Raises:
        UserError: for a state of accelerate's, a low-rank adapter, and a folder of a single file with weights.
    """
    if not path.is_dir():
        raise UserError(f"There is no folder {path}: set target.path to a model's folder.")
    names = {file.name for file in path.iterdir()}
    if "pytorch_lora_weights.safetensors" in names or "adapter_model.safetensors" in names:
        raise UserError(f"{path} holds {ADAPTER.what}: {ADAPTER.advice}.")
    if any(name.startswith("random_states_") for name in names):
        raise UserError(
            f"{path} is a state of accelerate's, which describes no network: load it with the training script, save "
            "the network by its save_pretrained, and set target.path to that folder."
        )
    single = sorted(name for name in names if Path(name).suffix in (".safetensors", ".ckpt", ".pt", ".pth"))
    if single and "config.json" not in names:
        refuse_file(path / single[0])


def refuse_strange_files(folder: Path) -> None:
    """Refuse files that a library which reads a whole folder would fail at, or wait for.

    Raises:
        UserError: for pointers of Git LFS, pipes, devices and files that are very large.
    """
    for file in folder.glob("*"):
        refuse_pointer(file)
        if not is_folder(file) and not is_regular(file):
            raise UserError(f"{file} is neither a file nor a folder: remove it, or put the file of the model there.")
        if is_regular(file) and file.suffix in (".json", ".txt", ".jinja") and file.stat().st_size > MOST_BYTES:
            raise UserError(
                f"{file} has {file.stat().st_size:,} bytes, and {MOST_BYTES:,} at most are read: is it the right file?"
            )


def _start(path: Path, count: int = 16) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _zip(path: Path) -> FileKind | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise unreadable(path, error) from error
    if any(name.endswith("data.pkl") for name in names):
        return None
    if names and all(name.endswith(".npy") for name in names):
        arrays = ", ".join(Path(name).stem for name in names[:4])
        return FileKind(f"a file of NumPy arrays ({arrays})", "set target.path to the model itself")
    return FileKind("a zip archive", ARCHIVE)


def _saved_by_torch(path: Path) -> FileKind:
    content = read_pickled(path)
    if not isinstance(content, dict):
        return FileKind(f"a {type(content).__name__} by torch.save", SAVE)
    if "ema_model" in content or "net_model" in content:
        return AUTHORS
    if {"step", "model", "ema", "scaler"} <= content.keys():
        return LUCIDRAINS
    if content.keys() >= ADM_LAYERS:
        return ADM
    state = content.get("state_dict")
    names = [str(name) for name in (state if isinstance(state, dict) else content)]
    kind = _weights(names)
    return kind if kind in (SINGLE_FILE, ADAPTER) else FileKind("a file of torch.save", SAVE)


def _safetensors_names(path: Path) -> list[str]:
    """Return the names of the tensors.

    Raises:
        UserError: for a file that is cut off.
    """
    try:
        with safe_open(path, framework="numpy") as content:
            return list(content.keys())
    except Exception as error:  # safetensors names no single exception for a broken file
        raise UserError(f"{path} is a safetensors file that is cut off or damaged: fetch it again.") from error


def _weights(names: Collection[str]) -> FileKind:
    if any(name.startswith(ORIGINAL_UNET) for name in names):
        return SINGLE_FILE
    if any(part in name for name in names for part in ("lora_A", "lora_B", "lora_up", "lora_down", ".lora.")):
        return ADAPTER
    return NETWORK
