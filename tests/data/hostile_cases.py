"""Files that somebody has made to hang, to crash or to fill the memory of whoever reads them, each with its reading.

A case writes its files into an empty folder, and returns what reads them.
"""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy

from tests.data.foreign_files import NAMES, as_scores, as_split, read_images
from tests.support.captioned import encoded, image_files, pictures

Reading = Callable[[], object]
Case = Callable[[Path], Reading]

CAPTIONED: dict[str, Any] = {"image_size": 512, "crop": "after_resize"}


def png(width: int, height: int, rows: bytes, *, depth: int = 8, before: bytes = b"") -> bytes:
    """A gray PNG file of a header that says so, whatever its rows are."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    data = zlib.compress(rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def compressed_zeros(mib: int) -> bytes:
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(mib)) + packer.flush()


def text_bomb() -> bytes:
    data = b"Comment\0\0" + compressed_zeros(300)
    return struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))


def tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A little-endian TIFF file of one directory: entries of tag, type, count and value."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", following) + bytes(64)


def gif(frames: int) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(3) + b"\xff" * 3 + frame * frames + b";"


def picture(content: Callable[[], bytes], name: str = "x.png", **fields: Any) -> Case:
    def case(root: Path) -> Reading:
        (root / name).write_bytes(content())
        image_files(root, ["good.png"])
        return lambda: read_images(root, root, **fields)

    return case


def bare(shape: tuple[int, ...], descr: object = "<i8", data: bytes = b"") -> bytes:
    """An array's header, and something behind it."""
    file = io.BytesIO()
    npy.write_array_header_2_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def raw(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def rows(content: Callable[[], bytes], name: str = "rows.npy") -> Case:
    def case(root: Path) -> Reading:
        (root / name).write_bytes(content())
        (root / "others.csv").write_text("\n".join(map(str, range(50, 90))))
        return lambda: as_split(root, root / name)

    return case


def archive(members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return file.getvalue()


def both(content: bytes) -> bytes:
    return archive({"mia_train_idxs.npy": content, "mia_eval_idxs.npy": content})


def encrypted() -> bytes:
    content = bytearray(both(bare((1,), data=bytes(8))))
    for start in (content.find(b"PK\x03\x04") + 6, content.find(b"PK\x01\x02") + 8):
        content[start] |= 1
    return bytes(content)


def endless_header() -> bytes:
    """Of four gigabytes, of which the archive has the first part."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("mia_train_idxs.npy", "w") as member:
        member.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1))
        for _ in range(300):
            member.write(bytes(2**20))
    with zipfile.ZipFile(file, "a") as opened:
        opened.writestr("mia_eval_idxs.npy", bare((0,)))
    return file.getvalue()


def split_yaml(text: str) -> Case:
    return rows(lambda: text.encode(), "rows.yaml")


def bomb(item: str, levels: int = 12) -> str:
    """Nested aliases that stand for ten to the power of the levels."""
    lines = [f"a0: &a0 [{item}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"train: *a{levels - 1}", "test: [*a1]"])


def merge_bomb(levels: int = 12) -> str:
    lines = ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, levels))]
    return "\n".join([*lines, f"train: *a{levels - 1}", "test: [1]"])


def listing(name: str, content: str | bytes, **fields: Any) -> Case:
    """A list of images, or what takes its place."""

    def case(root: Path) -> Reading:
        image_files(root, NAMES)
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return lambda: read_images(root / name, root, **fields)

    return case


def in_folder(name: str, content: str | bytes) -> Case:
    """A file beside images, of which the folder is read."""

    def case(root: Path) -> Reading:
        listing(name, content)(root)
        return lambda: read_images(root, root)

    return case


def laion_list(content: bytes, rows: int) -> Case:
    """The authors' list, of texts of two characters."""
    return in_folder("captions.npy", bare((rows, 2), f"<U{len(content) // 8 // rows}", content))


def scores(name: str, content: str) -> Case:
    def case(root: Path) -> Reading:
        (root / name).write_text(content)
        return lambda: as_scores(root, root / name)

    return case


def parquet(name: str, make: Callable[[], pa.Table], read: Callable[[Path, Path], object]) -> Case:
    def case(root: Path) -> Reading:
        image_files(root, NAMES)
        pq.write_table(make(), root / name)
        return lambda: read(root, root / name)

    return case


def images_of(root: Path, file: Path) -> int:
    return read_images(file, root)


def cells(column: pa.Array, **others: object) -> pa.Table:
    return pa.table({"image": column, **others})


def good_cells() -> pa.Array:
    return pa.array([{"bytes": encoded(pixels), "path": None} for pixels in pictures(3)])


def broken_text(n: int) -> pa.Array:
    """Strings of bytes that are no UTF-8."""
    return pa.Array.from_buffers(
        pa.string(), n, [None, pa.py_buffer(np.arange(n + 1, dtype=np.int32)), pa.py_buffer(b"\xe9" * n)]
    )


def repeated(column: pa.Array, n: int) -> pa.Array:
    """A dictionary of one value, n times, which Parquet keeps in a few bytes."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), column)


def coco_file(text: str) -> Case:
    def case(root: Path) -> Reading:
        listing("annotations/captions_val2017.json", text)(root)
        (root / "val2017").mkdir()
        return lambda: read_images(root, root)

    return case


def latin_names(root: Path) -> Reading:
    image_files(root, NAMES)
    for number, name in enumerate(NAMES):
        (root / name).rename(os.fsdecode(os.fsencode(root / f"{number}") + b"-\xe9t\xe9.png"))
    return lambda: read_images(root, root)


def latin_captions(root: Path) -> Reading:
    latin_names(root)
    for file in sorted(root.glob("*.png")):
        file.with_suffix(".txt").write_bytes(b"\xe0 la carte")
    return lambda: read_images(root, root)


def latin_folder(root: Path) -> Reading:
    folder = Path(os.fsdecode(os.fsencode(root) + b"/\xe9t\xe9"))
    image_files(folder, NAMES)
    pq.write_table(cells(good_cells()), root / "images.parquet")
    (root / "images.parquet").rename(folder / "images.parquet")
    return lambda: (read_images(folder, root), read_images(folder / "images.parquet", root))


def metadata_of_surrogates(root: Path) -> Reading:
    image_files(root, NAMES)
    rows = [*({"file_name": name, "text": "half \ud83d a pair"} for name in NAMES), {"file_name": "\udc80\ud83d.png"}]
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return lambda: read_images(root, root, caption="random")


def links_back(root: Path) -> Reading:
    image_files(root, [f"{folder}/{name}" for folder in ("a", "a/b", "c") for name in NAMES[:2]])
    for place, goal in (("latest", "."), ("a/up", ".."), ("a/b/c", "../../c"), ("c/a", "../a"), ("c/self", "self")):
        (root / place).symlink_to(goal)
    return lambda: read_images(root, root)


def many_links(root: Path) -> Reading:
    """Folders that link to each other, so that there is no end to their paths."""
    image_files(root, [f"{n}/{n}.png" for n in range(12)])
    for here in range(12):
        for there in range(12):
            (root / f"{here}/to{there}").symlink_to(f"../{there}")
    return lambda: read_images(root, root)


def long_path(kind: str) -> Case:
    name = ("x" * 200 + "/") * 30 if kind == "deep" else "x" * 5000
    return lambda root: lambda: read_images(root / f"{name}.{'png' if kind == 'deep' else 'csv'}", root)


LONG = "y" * 300 + ".png"
DEEP = "[" * 20_000

CASES: dict[str, Case] = {
    "a banner for a text-to-image model": picture(lambda: png(1, 4000, bytes(8000)), **CAPTIONED),
    "the same lying": picture(lambda: png(4000, 1, bytes(4001)), **CAPTIONED),
    "a column of forty million pixels": picture(lambda: png(1, 40_000_000, b"")),
    "a column of a million pixels": picture(lambda: png(1, 2**20, bytes(2**21)), image_size=512),
    "the same, cropped": picture(lambda: png(1, 2**20, bytes(2**21)), **CAPTIONED),
    "a header of a billion rows and columns": picture(lambda: png(10**9, 10**9, b"")),
    "a header of no columns": picture(lambda: png(0, 10**9, b"")),
    "400 million pixels": picture(lambda: png(20_000, 20_000, b"")),
    "a comment that unpacks to gigabytes": picture(lambda: png(8, 8, bytes(72), before=text_bomb())),
    "rows that unpack to gigabytes": picture(lambda: png(8, 8, bytes(2**28))),
    "100,000 frames": picture(lambda: gif(100_000), "x.gif"),
    "a TIFF of a billion tags": picture(
        lambda: tiff((256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 2**30, 8), (273, 4, 2**31, 8), (279, 4, 2**31, 64)),
        "x.tiff",
    ),
    "a TIFF whose directory follows itself": picture(
        lambda: tiff((256, 4, 1, 8), (257, 4, 1, 8), (273, 4, 1, 80), (279, 4, 1, 64), (262, 3, 1, 1), following=8),
        "x.tiff",
    ),
    "a TIFF of strips beyond its end": picture(
        lambda: tiff((256, 4, 1, 2**31 - 1), (257, 4, 1, 2), (273, 4, 1, 2**31), (279, 4, 1, 2**31)), "x.tiff"
    ),
    "links that lead back": links_back,
    "folders that link to each other": many_links,
    "an array of numbers that are no characters": laion_list(b"\xff" * 32, 2),
    "an array of halves of characters": laion_list(b"\x3d\xd8\0\0" * 8, 1),
    "names in Latin-1": latin_names,
    "captions in Latin-1": latin_captions,
    "a folder's name in Latin-1": latin_folder,
    "halves of characters in metadata": metadata_of_surrogates,
    "an over-long name": long_path("flat"),
    "an over-long path": long_path("deep"),
    "an array of ten trillion rows": rows(lambda: bare((10**13,))),
    "an array of fewer rows than none": rows(lambda: bare((-1,))),
    "an array of 10**30 rows": rows(lambda: bare((10**30,))),
    "an array of more rows than there are": rows(lambda: bare((90,), data=bytes(80))),
    "an array of nothing, often": rows(lambda: bare((50,), "<U0")),
    "an array of objects": rows(lambda: bare((3,), "|O", b"cos\nsystem\n(S'true'\ntR.")),
    "an array of records": rows(lambda: bare((3,), [("row", "<i8")], bytes(24))),
    "an array of rows as large as can be": rows(lambda: bare((2,), "<u8", b"\xff" * 16)),
    "a header of deep brackets": rows(lambda: raw(b"(" * 9000 + b")" * 9000)),
    "a header of many signs": rows(lambda: raw(b"-" * 9999 + b"1")),
    "a header that is no dictionary": rows(lambda: raw(b"{1, 2}")),
    "a header of an unknown type": rows(
        lambda: raw(b"{'descr': ('<i8', (9999999999,)), 'fortran_order': 0, 'shape': ()}")
    ),
    "version 9 of the format": rows(lambda: b"\x93NUMPY\x09\x00" + bytes(100)),
    "members that are no arrays": rows(lambda: both(b"hello"), "rows.npz"),
    "empty members": rows(lambda: both(b""), "rows.npz"),
    "members of ten trillion rows": rows(lambda: both(bare((10**13,))), "rows.npz"),
    "members without the suffix": rows(lambda: archive({"mia_train_idxs": b"", "mia_eval_idxs": b""}), "rows.npz"),
    "an encrypted member": rows(encrypted, "rows.npz"),
    "a member whose header unpacks to gigabytes": rows(endless_header, "rows.npz"),
    "an archive of many members": rows(lambda: archive({f"{n}.npy": b"" for n in range(20_000)}), "rows.npz"),
    "YAML that stands for a trillion rows": split_yaml(bomb("1")),
    "YAML that stands for a trillion keys": split_yaml(merge_bomb()),
    "YAML that contains itself": split_yaml("train: &a [*a]\ntest: [1]"),
    "deep YAML": split_yaml("train: " + DEEP[:3000]),
    "deep YAML of mappings": split_yaml("\n".join(" " * n + "a:" for n in range(2000))),
    "YAML of an endless number": split_yaml(f"train: [{'9' * 100_000}]\ntest: [1]"),
    "YAML of an endless number to base 60": split_yaml(f"train: [1{':59' * 300_000}]\ntest: [1]"),
    "YAML of an endless binary number": split_yaml(f"train: [0b{'1' * 100_000}]\ntest: [1]"),
    "YAML of a row of twenty digits": split_yaml(f"train: [{10**20}]\ntest: [1]"),
    "YAML of the least row": split_yaml(f"train: [{-(2**63)}]\ntest: [1]"),
    "YAML of infinity": split_yaml("train: [.inf, .nan]\ntest: [1]"),
    "YAML of a day that isn't": split_yaml("train: [2001-99-99]\ntest: [1]"),
    "YAML whose keys are lists": split_yaml("? [a, b]\n: 1\n? {a: b}\n: 2"),
    "YAML of two documents": split_yaml("train: [1]\n---\ntest: [1]"),
    "a list of a row of twenty digits": rows(lambda: b"row\n" + b"1" + b"0" * 20, "rows.csv"),
    "a list of NUL": rows(lambda: bytes(100), "rows.csv"),
    "a path with NUL": listing("list.csv", "path\n0.png\na\0b.png\n"),
    "a path to a device": listing("list.csv", "path\n0.png\n/dev/zero\n"),
    "a path to a folder": listing("list.csv", "path\n0.png\n.\n/\n"),
    "a path too long for any file": listing("list.csv", f"path\n0.png\n{'z' * 5000}\n{LONG}\n"),
    "a caption of ten megabytes": listing("list.csv", f"path,text\n0.png,{'a' * 10**7}\n"),
    "two columns of paths": listing("list.csv", "path,path\n0.png,1.png\n"),
    "two columns of membership": listing("list.tsv", "path\tis_member\tis_member\n0.png\t1\t0\n"),
    "a field twice": listing("list.jsonl", '{"path": "0.png", "path": "1.png"}\n'),
    "paths that are half a character": listing("list.jsonl", '{"path": "\\ud83d.png"}\n{"path": "\\udcff.png"}\n'),
    "paths of every type": listing("list.jsonl", '{"path": [["a"]]}\n{"path": {}}\n{"path": 1e999}\n'),
    "deep JSON in a list": listing("list.jsonl", f'{{"path": {DEEP}\n'),
    "a caption that is a deep list": listing("list.jsonl", f'{{"path": "0.png", "text": {"[" * 500 + "]" * 500}}}\n'),
    "membership of every type": listing("list.jsonl", '{"path": "0.png", "is_member": [true]}\n'),
    "metadata that is listed in itself": in_folder("metadata.csv", "file_name\nmetadata.csv\n../../../../etc/passwd\n"),
    "metadata of names with NUL": in_folder("metadata.jsonl", '{"file_name": "a\\u0000b.png", "text": "x"}\n'),
    "a dataset that names no table": in_folder("state.json", '{"_data_files": [{"filename": "/dev/zero"}]}'),
    "a name that is a number": listing("list.jsonl", '{"path": ' + "9" * 4000 + "}\n"),
    "a COCO id beyond all numbers": coco_file('{"images": [{"id": 1e999, "file_name": "a"}], "annotations": []}'),
    "a COCO id that is no number": coco_file('{"images": [{"id": NaN, "file_name": "a"}], "annotations": []}'),
    "a COCO id of other types": coco_file('{"images": [{"id": [1], "file_name": {}}], "annotations": []}'),
    "a COCO name of another type": coco_file('{"images": [{"id": 1, "file_name": {"a": []}}], "annotations": []}'),
    "a COCO name of half a character": coco_file(
        '{"images": [{"id": 1, "file_name": "\\ud83d"}], "annotations": [{"image_id": 1, "caption": "\\udfff x"}]}'
    ),
    "COCO of another shape": coco_file('{"images": {"id": 1}, "annotations": 5}'),
    "deep COCO": coco_file('{"images": ' + DEEP),
    "scores in lists": scores("s.jsonl", "".join(f'{{"id": "{name}", "score": [1, 2]}}\n' for name in NAMES)),
    "scores of 400 digits": scores("s.jsonl", "".join(f'{{"id": "{n}", "score": {10**400}}}\n' for n in NAMES)),
    "scores beyond all numbers": scores("s.jsonl", "".join(f'{{"id": "{n}", "score": 1e999}}\n' for n in NAMES)),
    "scores of NUL": scores("s.csv", "id,score\n" + "".join(f"{name},\0\n" for name in NAMES)),
    "a column of lists for scores": parquet(
        "s.parquet", lambda: pa.table({"id": NAMES, "score": [[1.0]] * len(NAMES)}), as_scores
    ),
    "ids that are no UTF-8": parquet(
        "s.parquet", lambda: pa.table({"id": broken_text(6), "score": np.arange(6.0)}), as_scores
    ),
    "paths that are no UTF-8": parquet("l.parquet", lambda: pa.table({"path": broken_text(6)}), images_of),
    "two columns of paths in Parquet": parquet(
        "l.parquet", lambda: pa.Table.from_arrays([pa.array(NAMES)] * 2, ["path", "path"]), images_of
    ),
    "paths in nested lists": parquet("l.parquet", lambda: pa.table({"path": [[[name]] for name in NAMES]}), images_of),
    "twenty million paths in a few bytes": parquet(
        "l.parquet", lambda: pa.table({"path": repeated(pa.array(["0.png"]), 2 * 10**7)}), images_of
    ),
    "images without bytes": parquet(
        "i.parquet",
        lambda: cells(pa.array([{"bytes": None, "path": None}, None, {"bytes": b"", "path": "a\0b"}, None])),
        images_of,
    ),
    "images whose bytes are numbers": parquet(
        "i.parquet", lambda: cells(pa.array([{"bytes": 5, "path": 7}])), images_of
    ),
    "images whose paths lead away": parquet(
        "i.parquet",
        lambda: cells(pa.array([{"bytes": None, "path": "/dev/zero"}, {"bytes": None, "path": "../" * 2000}])),
        images_of,
    ),
    "captions that are no UTF-8": parquet("i.parquet", lambda: cells(good_cells(), text=broken_text(3)), images_of),
    "captions in structs": parquet("i.parquet", lambda: cells(good_cells(), text=[{"a": [1]}] * 3), images_of),
    "two columns of images": parquet(
        "i.parquet", lambda: pa.Table.from_arrays([good_cells()] * 2, ["image", "image"]), images_of
    ),
}

LARGE = (
    "a column of a million pixels",
    "the same, cropped",
    "a comment that unpacks to gigabytes",
    "rows that unpack to gigabytes",
    "a member whose header unpacks to gigabytes",
    "YAML of an endless number to base 60",
    "an archive of many members",
    "twenty million paths in a few bytes",
)
"""Those that take a second or more to make or to read."""
