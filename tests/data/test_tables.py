"""Tables that people give: read by rule, whoever wrote them, and refused by row where they break one."""

import codecs
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secmi_exp.attacks.scores_file import ScoresFile
from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.image_folder import find_samples
from secmi_exp.data.images import Images
from secmi_exp.data.index_files import read_list
from secmi_exp.data.tables import read_table, read_text
from secmi_exp.errors import UserError

BOM = codecs.BOM_UTF8
FIRST = CaptionChoice("text", "first", 0)


def write_csv(file: Path, *rows: Sequence[str], delimiter: str = ",") -> Path:
    file.write_text("".join(delimiter.join(row) + "\n" for row in rows), encoding="utf-8")
    return file


def scores_of(file: Path, names: Sequence[str]) -> tuple[list[float], list[bool] | None]:
    """What an attack with such a file gives to images of these ids."""
    images = Images.from_pixels(np.zeros((len(names), 1, 1, 1), np.uint8))
    images = Images(images.pixels, images.digests, images.rows, ids=names)
    attack = ScoresFile(
        name="scores", path=file, id_column="id", score_column="score", member_column="is_member", scorers={}
    )
    stated = attack.stated_membership(images)
    return attack.measure_images(images).numbers["score"].tolist(), None if stated is None else stated.tolist()


@pytest.mark.parametrize("header", [b"", b"row\r\n", b'"row"\n'])
def test_a_byte_order_mark_costs_no_row_of_a_list(tmp_path: Path, header: bytes) -> None:
    file = tmp_path / "members.csv"
    file.write_bytes(BOM + header + b"".join(b"%d\r\n" % row for row in range(30)))
    assert read_list(file, 100).tolist() == list(range(30))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_byte_order_mark_is_no_part_of_a_table(tmp_path: Path, suffix: str) -> None:
    file, rows = tmp_path / f"list{suffix}", [["path", "text"], ["a.png", "ä"], ["b.png", "β"]]
    if suffix == ".jsonl":
        text = "".join(json.dumps(dict(zip(rows[0], row, strict=True)), ensure_ascii=False) + "\n" for row in rows[1:])
    else:
        text = write_csv(file, *rows, delimiter="," if suffix == ".csv" else "\t").read_text(encoding="utf-8")
    file.write_bytes(BOM + text.encode())
    samples = find_samples(file, FIRST)
    assert list(samples.ids()) == ["a.png", "b.png"]
    assert samples.captions == ["ä", "β"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("1\n2.5\n", r"Line 2 of .*members.csv is '2.5', where one row"),
        ("1.0\n2\n", "Line 1 of .* is '1.0'"),
        ("row\n1\n\nx\n", "Line 4 of .* is 'x'"),
        ("1,2\n3\n", "Line 1 of .* is '1,2'"),
        ("1 2\n", "Line 1 of .* is '1 2'"),
        (f"{2**80}\n", "Line 1 of .* is '1208925819614629174706176'"),
    ],
)
def test_a_list_of_rows_holds_one_number_a_line(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "members.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        read_list(tmp_path / "members.csv", 100)


def test_membership_is_true_or_false_in_any_case_quoted_or_with_spaces(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    cells = ["true", "FALSE", "1", "0", " True ", '"false"', "' 1'", ' "0"']
    file.write_text("path, is_member \n" + "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells)))
    assert read_table(file).truths("is_member").tolist() == [True, False] * 4


@pytest.mark.parametrize("cell", ["2", "0.2", "0.9", "1.0", "0.0", "yes", "t", "-1", "None", ""])
def test_membership_that_is_anything_else_is_named_with_its_row(tmp_path: Path, cell: str) -> None:
    file = write_csv(tmp_path / "list.csv", ["path", "is_member"], ["a.png", "1"], ["b.png", "0"], ["c.png", cell])
    seen = repr(cell) if cell else "empty"
    with pytest.raises(UserError, match=rf"The column is_member is {seen} in line 4 of .*list.csv, where true, false"):
        find_samples(file, FIRST)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("cells", [[1.0, 0.0], [1, 2], [True, None]])
def test_typed_tables_state_membership_by_the_same_rule(
    tmp_path: Path, suffix: str, cells: list[float | int | None]
) -> None:
    good, bad = [tmp_path / f"{name}{suffix}" for name in ("good", "bad")]
    for file, values in ((good, [1, 0]), (bad, cells)):
        if suffix == ".parquet":
            pq.write_table(pa.table({"path": ["a", "b"], "is_member": values}), file)
        else:
            rows = ({"path": path, "is_member": value} for path, value in zip("ab", values, strict=True))
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_table(good).truths("is_member").tolist() == [True, False]
    with pytest.raises(UserError, match=r"The column is_member is .* in (row|line) [012] of .*bad"):
        read_table(bad).truths("is_member")


def test_ids_of_digits_stay_text(tmp_path: Path) -> None:
    names = ["000000", "000001", "1e3", "000010"]
    rows = [[name, str(-number), "1"] for number, name in enumerate(names)]
    file = write_csv(tmp_path / "scores.csv", ["id", "score", "is_member"], *rows[::-1])
    assert scores_of(file, names) == ([0.0, -1.0, -2.0, -3.0], [True] * 4)


@pytest.mark.parametrize("cell", ["high", "0,5", "1_000", ""])
def test_a_score_that_is_no_number_is_named_with_its_row(tmp_path: Path, cell: str) -> None:
    file = write_csv(tmp_path / "scores.csv", ["id", "score"], ["a", "1e-3"], ["b", f'"{cell}"'])
    with pytest.raises(UserError, match=r"The column score is .* in line 3 of .*scores.csv, where a number is needed"):
        scores_of(file, ["a", "b"])


def test_captions_and_paths_that_are_digits_or_dates_are_text(tmp_path: Path) -> None:
    rows = [["2024", "1234"], ["2024-01-02", "2024-01-02"], ["1.50", "true"], ["NA", "null"]]
    file = write_csv(tmp_path / "list.csv", ["path", "text"], *rows)
    samples = find_samples(file, FIRST)
    assert list(samples.ids()) == ["2024", "2024-01-02", "1.50", "NA"]
    assert samples.captions == ["1234", "2024-01-02", "true", "null"]


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "members.txt"])
def test_a_row_in_another_encoding_is_named_itself(tmp_path: Path, name: str) -> None:
    row = '{"path": "%s.png", "text": "café"}' if name == "list.jsonl" else "%s.png,café"
    lines = [(row % number).encode("latin-1" if number == 3 else "utf-8") for number in range(5)]
    header = b"" if name == "list.jsonl" else b"path,text\n"
    (tmp_path / name).write_bytes(header + b"\n".join(lines))
    place = "4" if name == "list.jsonl" else "5"
    with pytest.raises(UserError, match=rf"Line {place} of .*{name} isn't UTF-8 \(byte 0xe9\): save the file as UTF-8"):
        read_list(tmp_path / name, 100) if name == "members.txt" else find_samples(tmp_path / name, FIRST)


def test_utf_16_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\na.png\n", encoding="utf-16")
    with pytest.raises(UserError, match=r"Line 1 of .* isn't UTF-8"):
        read_text(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("path,path\na,b\n", "two columns named path"),
        ("path, path \na,b\n", "two columns named path"),
        (",path\n0,a\n", r"Column 1 of .* has no name: .*index=False"),
        ("path,text\na,b\nc,d,e\n", "Line 3 of .* has 3 cells where the first row names 2 columns"),
        ('path,text\na,"b\nb"\nc\n', "Line 4 of .* has 1 cells"),
        ("path;text\na;b\n", "is 'path;text', without a comma"),
        ('path,text\na,b\nb,"open\nc,d\n', "The row that starts in line 3 of .* can't be read"),
        ("", "is empty: its first row must name the columns"),
        ("path\n  \n", "The column path is '  ' in line 2"),
        ("path\na.png\n./a.png\n", r"names 1 images more than once, a\.png among them"),
    ],
)
def test_tables_that_break_a_rule_are_refused_by_row(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        find_samples(tmp_path / "list.csv", FIRST)


def test_a_field_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"path": "a"}\n{"path": "b", "text": "x", "text": "y"}\n')
    with pytest.raises(UserError, match=r"Line 2 of .* it names a field twice, among path, text, text"):
        read_table(tmp_path / "list.jsonl")


def test_a_parquet_list_gets_no_columns_from_the_names_of_its_folders(tmp_path: Path) -> None:
    (tmp_path / "is_member=1").mkdir()
    pq.write_table(pa.table({"path": ["a.png"]}), tmp_path / "is_member=1/list.parquet")
    assert read_table(tmp_path / "is_member=1/list.parquet").names == ["path"]


def test_another_kind_of_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "scores.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"scores.xlsx can't be read: .csv, .tsv, .jsonl, .parquet files can"):
        scores_of(tmp_path / "scores.xlsx", ["a"])
