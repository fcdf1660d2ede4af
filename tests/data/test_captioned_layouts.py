"""Each layout of captioned images: its ids, pixels and captions, and its own ways to be wrong."""

import json
import pickle
import re
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secmi_exp.data import decoding_processes
from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.image_folder import find_samples
from secmi_exp.data.parquet_images import ParquetImages
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import collect_warnings
from tests.support.captioned import (
    coco,
    encoded,
    image_files,
    imagefolder,
    laion,
    loaded,
    pictures,
    pixels_of,
    table,
)

FIRST = CaptionChoice("text", "first", 0)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_may_have_captions(tmp_path: Path, suffix: str) -> None:
    decoded = image_files(tmp_path, ["a.png", "b.png", "c.png"])
    columns = {"path": ["c.png", "a.png", "b.png"], "text": ["a cup,\nfrom above", "  a face ", "  "]}
    rows = datasets.Dataset.from_dict(columns)
    rows.to_csv(tmp_path / "list.csv") if suffix == ".csv" else rows.to_parquet(tmp_path / "list.parquet")
    images = loaded(tmp_path, path=tmp_path / f"list{suffix}")
    assert images.captions == ["a cup,\nfrom above", "a face", None]
    assert (pixels_of(images) == decoded[[2, 0, 1]]).all()
    assert loaded(tmp_path, path=tmp_path / f"list{suffix}", caption_column="caption").captions is None


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_an_imagefolder_has_captions_of_the_images_that_its_metadata_lists(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "images"
    decoded = image_files(folder, ["a.jpg", "b.png", "deep/c.webp"])
    imagefolder(folder, [{"file_name": "deep/c.webp", "text": "a cup"}, {"file_name": "a.jpg", "text": "a face"}], kind)
    images = loaded(tmp_path, path=folder)
    assert list(images.ids) == ["a.jpg", "b.png", "deep/c.webp"]
    assert images.captions == ["a face", None, "a cup"]
    assert (pixels_of(images) == decoded).all()


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_an_imagefolder_is_read_as_datasets_reads_it(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "images"
    names = ["a.jpg", "b.png", "c.png"]
    image_files(folder, names)
    imagefolder(folder, [{"file_name": name, "text": f"this is “{name}”, 1"} for name in names], kind)
    theirs = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    ours = loaded(tmp_path, path=folder)
    assert ours.captions == list(theirs["text"])
    assert (pixels_of(ours) == np.stack([np.asarray(image) for image in theirs["image"]])).all()


@pytest.mark.parametrize("given", ["coco", "coco/annotations/captions_val2017.json"])
def test_coco_is_in_the_order_of_image_ids_with_captions_in_the_order_of_the_file(tmp_path: Path, given: str) -> None:
    decoded = coco(tmp_path / "coco", {632: ["b1", "b2"], 139: ["a1", "a2", "a3"], 5001: []})
    images = loaded(tmp_path, path=tmp_path / given)
    assert list(images.ids) == ["val2017/000000000139.jpg", "val2017/000000000632.jpg", "val2017/000000005001.jpg"]
    assert images.captions == ["a1", "b1", None]
    assert (pixels_of(images) == decoded[[1, 0, 2]]).all()


def test_a_caption_file_is_found_from_within_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coco(tmp_path, {1: ["a"]})
    monkeypatch.chdir(tmp_path / "annotations")
    assert find_samples(Path("captions_val2017.json"), FIRST).captions == ["a"]


def test_coco_with_several_caption_files_is_ambiguous(tmp_path: Path) -> None:
    for part, caption in (("train2017", "t"), ("val2017", "v")):
        coco(tmp_path / "coco", {1: [caption]}, part)
    with pytest.raises(UserError, match=r"captions_train2017.json, annotations/captions_val2017.json\): give one of"):
        find_samples(tmp_path / "coco", FIRST)
    assert find_samples(tmp_path / "coco/annotations/captions_val2017.json", FIRST).captions == ["v"]


@pytest.mark.parametrize("layout", ["coco", "laion", "metadata", "list"])
def test_a_listed_image_that_is_not_there_is_left_out_and_counted_or_stops_the_run(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "images"
    if layout == "coco":
        coco(root, {1: ["a"], 2: ["b"], 3: ["c"]})
        gone = root / "val2017/000000000002.jpg"
    elif layout == "laion":
        laion(root, {"1": "a", "2": "b", "3": "c"})
        gone = root / "images/2.jpg"
    else:
        names = ["1.png", "2.png", "3.png"]
        image_files(root, names)
        gone = root / "2.png"
        if layout == "metadata":
            imagefolder(root, [{"file_name": name, "text": text} for name, text in zip(names, "abc", strict=True)])
        else:
            (root / "list.csv").write_text("path,text\n1.png,a\n2.png,b\n3.png,c\n")
    path = root / "list.csv" if layout == "list" else root
    gone.unlink()
    sentence = rf"{re.escape(str(gone))} can't be read \(there is no such file\): .* dataset\.on_error=skip"
    with pytest.raises(UserError, match=sentence):
        loaded(tmp_path, path=path)
    with collect_warnings() as warnings:
        images = loaded(tmp_path, path=path, on_error="skip")
    assert list(images.unreadable) == [1]
    assert images.captions == ["a", "b", "c"]
    assert [(warning.code, warning.count) for warning in warnings] == [("images_unreadable", 1)]
    image_files(gone.parent, [gone.name])
    assert not loaded(tmp_path, path=path).unreadable  # put there later, it is read


def test_a_caption_file_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    coco(tmp_path, {1: ["a"]})
    file = tmp_path / "annotations/captions_val2017.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert find_samples(tmp_path, FIRST).captions == ["a"]


def test_the_authors_laion_list_is_read_in_its_order(tmp_path: Path) -> None:
    decoded = laion(tmp_path / "laion", {"00017": "a cup", "00003": " ", "b": "a face"})
    (tmp_path / "laion/images/unlisted.jpg").write_text("of no interest")
    images = loaded(tmp_path, path=tmp_path / "laion")
    assert list(images.ids) == ["images/00017.jpg", "images/00003.jpg", "images/b.jpg"]
    assert images.captions == ["a cup", None, "a face"]
    assert (pixels_of(images) == decoded).all()


def test_a_dataset_saved_to_disk_is_read(tmp_path: Path) -> None:
    pixels = pictures(5)
    saved = table([encoded(image) for image in pixels], text=["a", None, " c ", "", "e"]).select([4, 2, 0, 1])
    saved.save_to_disk(tmp_path / "saved")
    images = loaded(tmp_path, path=tmp_path / "saved")
    assert list(images.ids) == ["000000", "000001", "000002", "000003"]
    assert images.captions == ["e", "c", "a", None]
    assert (pixels_of(images) == pixels[[4, 2, 0, 1]]).all()


def test_images_in_tables_are_known_by_their_path_where_each_has_its_own(tmp_path: Path) -> None:
    contents = [encoded(image) for image in pictures(3)]
    for i, (paths, ids) in enumerate(
        [
            (["b.png", "a.png", "c.png"], ["b.png", "a.png", "c.png"]),
            (["b.png", "b.png", "c.png"], ["000000", "000001", "000002"]),
            (["b.png", None, "c.png"], ["000000", "000001", "000002"]),
        ]
    ):
        made = table(contents, paths)  # type: ignore[arg-type]
        made.save_to_disk(tmp_path / f"saved{i}")
        made.to_parquet(tmp_path / f"{i}.parquet")
        assert list(find_samples(tmp_path / f"saved{i}", FIRST).ids()) == ids
        assert list(find_samples(tmp_path / f"{i}.parquet", FIRST).ids()) == ids


def test_a_folder_of_several_datasets_names_them(tmp_path: Path) -> None:
    part = table([encoded(image) for image in pictures(4)], text=list("abcd"))
    datasets.DatasetDict({"train": part.select([0, 1]), "test": part.select([2, 3])}).save_to_disk(tmp_path / "pokemon")
    sides = [re.escape(str(tmp_path / "pokemon" / name)) for name in ("train", "test")]
    with pytest.raises(UserError, match=f"give {sides[0]} and {sides[1]} as dataset.members and dataset.holdout"):
        loaded(tmp_path, path=tmp_path / "pokemon")
    images = loaded(tmp_path, members=tmp_path / "pokemon/train", holdout=tmp_path / "pokemon/test")
    assert images.captions == list("abcd")


@pytest.mark.parametrize("given", ["hub", "hub/data", "hub/data/train-00000-of-00002-a09b74b3ef9c3b56.parquet"])
def test_parquet_files_of_a_split_belong_together(tmp_path: Path, given: str) -> None:
    pixels = pictures(7)
    whole = table([encoded(image, "JPEG") for image in pixels], text=[f"no. {i}" for i in range(7)])
    (tmp_path / "hub/data").mkdir(parents=True)
    (tmp_path / "hub/README.md").write_text("# Pokémon")
    for number, (rows, tail) in enumerate([(range(4), "a09b74b3ef9c3b56"), (range(4, 7), "566cc9b19d7203f8")]):
        whole.select(rows).to_parquet(tmp_path / f"hub/data/train-{number:05d}-of-00002-{tail}.parquet", batch_size=2)
    images = loaded(tmp_path, path=tmp_path / given)
    assert list(images.ids) == [f"00000{row}" for row in range(7)]
    assert images.captions == [f"no. {row}" for row in range(7)]
    assert (pixels_of(images) == np.stack([np.asarray(image) for image in whole["image"]])).all()


def test_a_later_file_of_a_split_stands_for_itself(tmp_path: Path) -> None:
    for number in range(2):
        part = table([encoded(image) for image in pictures(2)], text=[f"{number}a", f"{number}b"])
        part.to_parquet(tmp_path / f"train-{number:05d}-of-00002.parquet")
    assert find_samples(tmp_path / "train-00001-of-00002.parquet", FIRST).captions == ["1a", "1b"]


def test_a_folder_with_several_splits_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    part = table([encoded(image) for image in pictures(2)], text=["a", "b"])
    for name in ("test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"):
        part.to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match=r"several splits: .*test-00000-of-00001\.parquet or .*train-00000-of-00002"):
        find_samples(tmp_path, FIRST)
    assert len(find_samples(tmp_path / "test-00000-of-00001.parquet", FIRST).ids()) == 2
    assert len(find_samples(tmp_path / "train-00000-of-00002.parquet", FIRST).ids()) == 4
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match=r"Of the 2 files of .* there are 1"):
        find_samples(tmp_path / "train-00000-of-00002.parquet", FIRST)


@pytest.mark.slow
def test_several_processes_decode_a_parquet_table_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = pictures(50)
    table([encoded(image) for image in pixels]).to_parquet(tmp_path / "table.parquet", batch_size=7)
    monkeypatch.setattr(decoding_processes, "BATCH", 8)
    monkeypatch.setattr(decoding_processes, "SAMPLES_A_WORKER", 1)
    monkeypatch.setattr(decoding_processes, "usable_processors", lambda: 2)
    monkeypatch.setattr(decoding_processes, "START_METHOD", "spawn")
    assert (pixels_of(loaded(tmp_path, path=tmp_path / "table.parquet")) == pixels).all()


def test_tables_travel_to_other_processes_without_their_content(tmp_path: Path) -> None:
    made = table([encoded(image) for image in pictures(20)])
    made.to_parquet(tmp_path / "table.parquet", batch_size=10)
    made.save_to_disk(tmp_path / "saved")
    for name in ("table.parquet", "saved"):
        samples = find_samples(tmp_path / name, FIRST)
        before = np.asarray(samples.open(13))
        pickled = pickle.dumps(samples)
        assert len(pickled) < 2000
        assert (np.asarray(pickle.loads(pickled).open(13)) == before).all()  # noqa: S301  (our own)


def test_a_row_group_is_read_once_for_rows_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table([encoded(image) for image in pictures(20)]).to_parquet(tmp_path / "table.parquet", batch_size=10)
    samples = find_samples(tmp_path / "table.parquet", FIRST)
    assert isinstance(samples, ParquetImages)
    read, groups = pq.ParquetFile.read_row_group, []

    def counted(self: pq.ParquetFile, group: int, *arguments: object, **settings: object) -> pa.Table:
        groups.append(group)
        return read(self, group, *arguments, **settings)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    for row in range(20):
        samples.open(row)
    assert groups == [0, 1]


@pytest.mark.parametrize("form", ["parquet", "saved"])
def test_a_broken_image_in_a_table_is_named_or_left_out(
    tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    contents: list[bytes | None] = [encoded(image) for image in pictures(6)]
    contents[2] = b"no image"
    contents[3] = None
    made = table(contents, text=list("abcdef"))
    path = tmp_path / ("table.parquet" if form == "parquet" else "table")
    made.to_parquet(path) if form == "parquet" else made.save_to_disk(path)
    named = rf"The image in row 2 of {re.escape(str(path))} can't be read \(cannot identify"
    with pytest.raises(UserError, match=named):
        loaded(tmp_path, path=path)
    images = loaded(tmp_path, path=path, on_error="skip")
    assert list(images.unreadable) == [2, 3]
    assert "empty" in images.unreadable[3]
    assert "2 of 6 images can't be read and are left out" in caplog.text
    assert images.captions == list("abcdef")


def test_a_changed_table_is_decoded_again_and_a_moved_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    pixels = pictures(6)
    for form in ("parquet", "saved"):
        caplog.clear()
        (tmp_path / form / "first").mkdir(parents=True)
        made = table([encoded(image) for image in pixels[:3]])
        path = tmp_path / form / "first/data.parquet"
        made.to_parquet(path) if form == "parquet" else made.save_to_disk(path)
        loaded(tmp_path, path=path)
        moved = path.parent.rename(tmp_path / form / "moved") / path.name
        assert (pixels_of(loaded(tmp_path, path=moved)) == pixels[:3]).all()
        assert caplog.text.count("Decoding") == 1
        path.parent.mkdir()
        made = table([encoded(image) for image in pixels[3:]])
        made.to_parquet(path) if form == "parquet" else made.save_to_disk(path)
        assert (pixels_of(loaded(tmp_path, path=path)) == pixels[3:]).all()


def test_sides_may_differ_in_layout(tmp_path: Path) -> None:
    members = laion(tmp_path / "laion", {"b": "a cup", "a": "a face"}, seed=1)
    holdouts = coco(tmp_path / "coco", {2: ["x"], 1: ["y"], 3: ["z"]}, seed=2)
    images = loaded(tmp_path, members=tmp_path / "laion", holdout=tmp_path / "coco")
    assert list(images.ids[:3]) == ["members/images/b.jpg", "members/images/a.jpg", "holdout/val2017/000000000001.jpg"]
    assert images.captions == ["a cup", "a face", "y", "x", "z"]
    assert images.is_member is not None
    assert images.is_member.tolist() == [True, True, False, False, False]
    assert (pixels_of(images) == np.concatenate([members, holdouts[[1, 0, 2]]])).all()


def test_a_side_without_captions_has_none_of_them(tmp_path: Path) -> None:
    image_files(tmp_path / "plain", ["a.png", "b.png"])
    laion(tmp_path / "laion", {"c": "a cup"})
    assert loaded(tmp_path, members=tmp_path / "plain", holdout=tmp_path / "laion").captions == [None, None, "a cup"]
    assert loaded(tmp_path, members=tmp_path / "plain", holdout=tmp_path / "plain").captions is None


def test_a_broken_image_of_a_side_is_named_where_it_lies(tmp_path: Path) -> None:
    image_files(tmp_path / "plain", ["a.png", "b.png"])
    table([encoded(pictures(1)[0]), b"?"]).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(UserError, match=r"The image in row 1 of .*table.parquet can't be read"):
        loaded(tmp_path, members=tmp_path / "plain", holdout=tmp_path / "table.parquet")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("gone", r"gone/gone.png can't be read \(there is no such file\)"),
        ("both", "both metadata.csv and metadata.jsonl"),
        ("nameless", "has the columns path, text, and none named file_name"),
        ("garbled", "Line 2 of .*metadata.jsonl can't be read as JSON"),
        ("unbraced", r"Line 1 of .*metadata.jsonl is \['a.png'\], where an object is needed"),
        ("twice", r"a.png stands in line 1 of .*metadata.jsonl and in line 2 of"),
        ("instances.json", "is not named captions_PART.json"),
        ("captions_missing.json", "caption file .*captions_missing.json can't be read: No such file"),
        ("captions_garbled.json", "is no caption file as COCO has them .*KeyError: 'images'"),
        ("lost/annotations/captions_val2017.json", "The images of .*captions_val2017.json are not in .*lost/val2017"),
        ("flat", r"captions.npy holds <U1 with shape \(2,\)"),
        ("pickled", "captions.npy can't be read as an array of text"),
        ("cut", "The dataset .*cut can't be read"),
        ("imageless", "has the columns text, and none with images"),
        ("damaged.parquet", "damaged.parquet can't be read"),
        ("uneven", r"uneven/1\.parquet has no column text like that of the first file"),
        ("mixed", r"mixed/1\.parquet has no column image like that of the first file"),
        ("numbers.parquet", "The caption of 000000 in .* is 7, which is no text"),
    ],
)
def test_mistakes_in_layouts_are_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("gone", "both", "nameless", "garbled", "unbraced", "twice"):
        image_files(Path(name), ["a.png"])
    imagefolder(Path("gone"), [{"file_name": "gone.png", "text": "a"}])
    imagefolder(Path("both"), [{"file_name": "a.png", "text": "a"}])
    imagefolder(Path("both"), [{"file_name": "a.png", "text": "a"}], "csv")
    imagefolder(Path("nameless"), [{"path": "a.png", "text": "a"}], "csv")
    Path("garbled/metadata.jsonl").write_text('{"file_name": "a.png"}\n{"file_na')
    Path("unbraced/metadata.jsonl").write_text('["a.png"]\n')
    imagefolder(Path("twice"), [{"file_name": "a.png", "text": "a"}, {"file_name": "./a.png", "text": "b"}])
    Path("instances.json").write_text("{}")
    Path("captions_garbled.json").write_text("{}")
    coco(Path("lost"), {1: ["a"]})
    Path("lost/val2017").rename("lost/elsewhere")
    for name in ("flat", "pickled"):
        Path(name).mkdir()
    np.save("flat/captions.npy", np.array(["a", "b"]))
    np.save("pickled/captions.npy", np.array([["a", "b"]], dtype=object))
    picture = encoded(pictures(1)[0])
    table([picture]).save_to_disk("cut")
    next(Path("cut").glob("*.arrow")).unlink()
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk("imageless")
    Path("damaged.parquet").write_bytes(b"PAR1")
    table([picture], text=[7]).to_parquet("numbers.parquet")
    for name in ("uneven", "mixed"):
        Path(name).mkdir()
        table([picture], text=["a"]).to_parquet(f"{name}/0.parquet")
    table([picture]).to_parquet("uneven/1.parquet")
    datasets.Dataset.from_dict({"image": [picture], "text": ["a"]}).to_parquet("mixed/1.parquet")
    with pytest.raises(UserError, match=sentence):
        loaded(tmp_path, path=Path(path))


def test_a_plain_folder_with_tables_of_something_else_stays_one(tmp_path: Path) -> None:
    decoded = image_files(tmp_path / "images", ["a.png", "b.png"])
    pq.write_table(pa.table({"score": [1.0]}), tmp_path / "images/scores.parquet")
    (tmp_path / "images/notes.json").write_text(json.dumps({}))
    images = loaded(tmp_path, path=tmp_path / "images")
    assert images.captions is None
    assert (pixels_of(images) == decoded).all()
