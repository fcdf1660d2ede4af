"""Splits: disjoint, seeded, balanced where an attack is judged, as files list them, and refused where they can't be."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secmi_exp.data.images import ImageSet
from secmi_exp.data.split import Indices, Part, Split
from secmi_exp.errors import UserError
from tests.support.splits import PARTS, halves, halves_rule, image_set


def indices(n: int | ImageSet, **paths: Path | None) -> Split:
    images = image_set(n) if isinstance(n, int) else n
    settings: dict[str, Any] = {"path": None, "members": None, "holdouts": None} | PARTS | paths
    return Indices(**settings).split(images)


@given(n=st.integers(60, 500), ratio=st.floats(0.3, 0.7), seed=st.integers(0, 100))
def test_sides_are_disjoint_and_the_attacked_samples_are_balanced(n: int, ratio: float, seed: int) -> None:
    split = halves(n, ratio=ratio, seed=seed)
    assert len(np.union1d(split.members, split.holdouts)) == len(split.members) + len(split.holdouts) == n
    assert split.is_member.sum() == (~split.is_member).sum() == min(len(split.members), len(split.holdouts))
    assert np.isin(split.attacked[split.is_member], split.members).all()
    assert np.isin(split.attacked[~split.is_member], split.holdouts).all()
    for part in Part:
        chosen = split.is_member[split.of_part(part)]
        assert chosen.sum() * 2 == len(chosen) > 0


def test_a_fifth_of_each_side_is_for_the_attack_to_learn_from() -> None:
    split = halves(1000)
    assert split.of_part(Part.FIT, Part.CALIBRATION).sum() == 200
    assert split.of_part(Part.CALIBRATION).sum() == 50
    assert split.of_part(Part.EVALUATION).sum() == 800


def test_order_of_the_attacked_samples_tells_nothing_of_membership() -> None:
    assert (np.diff(halves(1000).attacked) > 0).all()


def test_seed_decides_the_split() -> None:
    assert (halves(100, seed=1).members == halves(100, seed=1).members).all()
    assert (halves(100, seed=1).members != halves(100, seed=2).members).any()


def test_halves_leave_out_what_could_not_be_read() -> None:
    split = halves(image_set(100, unreadable=[3, 50]))
    assert len(split.members) + len(split.holdouts) == 98
    assert not np.isin([3, 50], [*split.members, *split.holdouts]).any()


def test_halves_keep_to_the_membership_that_the_dataset_states() -> None:
    is_member = np.arange(100) % 3 == 0
    split = halves(image_set(100, unreadable=[0], is_member=is_member), holdouts=40)
    assert split.members.tolist() == list(range(3, 100, 3))
    assert len(split.holdouts) == 40
    assert not is_member[split.holdouts].any()
    assert not split.drawn
    assert halves(100).drawn


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": 0}, "empty side, 0 members"),
        ({"members": -5}, "empty side, -5 members"),
        ({"members": 100}, "empty side, 100 members and 0 hold-outs"),
        ({"members": 80, "holdouts": 30}, "80 members and 30 hold-outs, but the dataset has 100 samples"),
    ],
)
def test_impossible_splits_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        halves(100, **settings)


def test_a_side_that_cannot_be_read_is_named_with_its_first_image_and_why(tmp_path: Path) -> None:
    broken, stated = range(60), np.arange(100) < 60
    with pytest.raises(UserError, match=r"^None of the 60 members that the dataset states can be read.* is 0 \(\?\)"):
        halves(image_set(100, broken, stated))
    with pytest.raises(UserError, match=r"^None of the 60 hold-outs that the dataset states can be read"):
        halves(image_set(100, broken, ~stated))
    with pytest.raises(UserError, match=r"^None of the 100 images of the dataset can be read"):
        halves(image_set(100, range(100)))
    np.savez(tmp_path / "split.npz", mia_train_idxs=np.arange(50), mia_eval_idxs=np.arange(50, 100), ratio=0.5)
    with pytest.raises(UserError, match=r"^None of the 50 members that the split lists can be read"):
        indices(image_set(100, broken), path=tmp_path / "split.npz")


def test_a_side_that_the_dataset_states_nothing_of_is_named() -> None:
    with pytest.raises(UserError, match="states 0 members and 100 hold-outs: both sides need some"):
        halves(image_set(100, is_member=np.zeros(100, dtype=bool)))


def test_more_than_the_stated_sides_have_is_refused() -> None:
    stated = image_set(100, is_member=np.arange(100) < 60)
    with pytest.raises(UserError, match="70 members and 40 hold-outs, but the dataset has 60 and 40"):
        halves(stated, members=70)


def test_a_run_saves_its_split_in_the_authors_format_and_reads_it_back(tmp_path: Path) -> None:
    split = halves(1000, ratio=0.3)
    split.save(tmp_path / "split.npz")
    with np.load(tmp_path / "split.npz") as saved:
        assert set(saved) == {"mia_train_idxs", "mia_eval_idxs", "ratio"}
        assert saved["ratio"] == pytest.approx(0.3)
    again = indices(1000, path=tmp_path / "split.npz")
    assert (again.members == split.members).all()
    assert (again.holdouts == split.holdouts).all()
    assert not again.drawn


@pytest.mark.parametrize("layout", ["train: [{}]\ntest: [{}]\n", "test: [{1}]\ntrain:\n- {2}\n"])
def test_the_authors_coco_split_is_read(tmp_path: Path, layout: str) -> None:
    members, holdouts = range(99, 9, -2), range(0, 90, 2)
    lists = [", ".join(map(str, members)), ", ".join(map(str, holdouts)), "\n- ".join(map(str, members))]
    (tmp_path / "coco_split.yaml").write_text(layout.format(*lists))
    split = indices(100, path=tmp_path / "coco_split.yaml")
    assert split.members.tolist() == list(members)[::-1]
    assert split.holdouts.tolist() == list(holdouts)
    assert not split.drawn


@pytest.mark.parametrize("header", ["", "row\n"])
def test_lists_in_csv_and_npy(tmp_path: Path, header: str) -> None:
    (tmp_path / "members.csv").write_text(header + "\n".join(str(row) for row in range(40)) + "\n")
    np.save(tmp_path / "holdouts.npy", np.arange(90, 50, -1))
    split = indices(100, members=tmp_path / "members.csv", holdouts=tmp_path / "holdouts.npy")
    assert split.members.tolist() == list(range(40))
    assert split.holdouts.tolist() == list(range(51, 91))


def test_listed_rows_that_could_not_be_read_are_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "split.npz", mia_train_idxs=np.arange(50), mia_eval_idxs=np.arange(50, 100), ratio=0.5)
    split = indices(image_set(100, unreadable=[7, 60, 61]), path=tmp_path / "split.npz")
    assert 7 not in split.members
    assert (len(split.members), len(split.holdouts)) == (49, 48)


@pytest.mark.parametrize(
    ("members", "holdouts", "sentence"),
    [
        (range(60), range(50, 100), "10 rows both as members and as hold-outs, the first of them 50"),
        (range(50), range(60, 120), "row 100 among its hold-outs, but the dataset has 100 samples, rows 0 … 99"),
        (range(-1, 50), range(60, 100), "row -1 among its members"),
        ([*range(50), 4], range(60, 100), "row 4 2 times among its members"),
        ([], range(60, 100), "list no members"),
        ([0.5], range(60, 100), "array of float64"),
    ],
)
def test_listed_splits_that_contradict_themselves_or_the_dataset_are_refused(
    tmp_path: Path, members: Sequence[float], holdouts: Sequence[int], sentence: str
) -> None:
    rows = np.array(members) if len(members) else np.array([], dtype=np.int64)
    np.savez(tmp_path / "split.npz", mia_train_idxs=rows, mia_eval_idxs=np.array(holdouts), ratio=0.5)
    with pytest.raises(UserError, match=sentence):
        indices(100, path=tmp_path / "split.npz")


class Malicious:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("name", ["split.npz", "members.npy"])
def test_pickles_in_split_files_are_refused(tmp_path: Path, name: str) -> None:
    executed = tmp_path / "executed"
    evil = np.array([Malicious(executed)], dtype=object)
    if name == "split.npz":
        np.savez(tmp_path / name, mia_train_idxs=evil, mia_eval_idxs=evil)
        paths = {"path": tmp_path / name}
    else:
        (tmp_path / name).write_bytes(pickle.dumps(evil))
        paths = {"members": tmp_path / name, "holdouts": tmp_path / name}
    with pytest.raises(UserError, match=f"{name} can't be read"):
        indices(100, **paths)
    assert not executed.exists()


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        ({}, "here: none of them"),
        ({"path": "a.npz", "members": "b.npy"}, "here: split.path=a.npz, split.members=b.npy"),
        ({"path": "missing.npz"}, "missing.npz can't be read as .npz: .*No such file"),
        ({"path": "other.npz"}, "holds rows where mia_train_idxs and mia_eval_idxs are needed"),
        ({"path": "text.npz"}, "text.npz can't be read as .npz"),
        ({"path": "missing.yaml"}, "missing.yaml can't be read as YAML: .*No such file"),
        ({"path": "broken.yaml"}, "broken.yaml can't be read as YAML"),
        ({"path": "other.yaml"}, "holds train, val where train and test are needed"),
        ({"path": "list.yaml"}, "holds no keys where train and test are needed"),
        ({"path": "names.yaml"}, "lists '000139.jpg' where a row number is needed"),
        ({"path": "empty.yaml"}, "list no members"),
        ({"path": "evil.yaml"}, "evil.yaml can't be read as YAML"),
        ({"members": "words.csv", "holdouts": "words.csv"}, "Line 2 of words.csv is 'one', where one row"),
    ],
)
def test_files_that_hold_no_split_are_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: dict[str, str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("other.npz", rows=np.arange(3))
    Path("text.npz").write_text("hello")
    Path("words.csv").write_text("row\none\ntwo\n")
    Path("broken.yaml").write_text("train: [0, 1\ntest: 2]: ]")
    Path("other.yaml").write_text("train: [0]\nval: [1]")
    Path("list.yaml").write_text("[0, 1]")
    Path("names.yaml").write_text("train: [0]\ntest: [000139.jpg]")
    Path("empty.yaml").write_text("train: []\ntest: [1]")
    Path("evil.yaml").write_text("train: [0]\ntest: !!python/object/apply:os.mkdir [executed]")
    with pytest.raises(UserError, match=sentence):
        indices(100, **{name: Path(path) for name, path in paths.items()})
    assert not Path("executed").exists()


@given(attack_train=st.floats(0.1, 0.9), calibration=st.floats(0.1, 0.9))
def test_sides_too_small_for_an_attack_train_part_are_judged_whole(attack_train: float, calibration: float) -> None:
    shares = {"attack_train": attack_train, "calibration": calibration}
    rule = halves_rule(**shares)
    enough = rule.least_a_side
    assert enough is not None
    assert set(halves(2 * enough, **shares).part) == set(Part)
    assert set(halves(2 * enough - 2, **shares).part) == {Part.EVALUATION}
    assert set(halves(6, attack_train=0.5, calibration=0.5).part) == set(Part)


def test_no_attack_train_part_where_none_is_wanted() -> None:
    assert set(halves(100, attack_train=0.0).part) == {Part.EVALUATION}
    assert halves_rule(attack_train=0.0).least_a_side is None


def test_rows_that_the_datasets_own_column_contradicts_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "split.npz", mia_train_idxs=np.arange(50), mia_eval_idxs=np.arange(50, 100), ratio=0.5)
    stated = np.arange(100) < 50
    assert len(indices(image_set(100, is_member=stated), path=tmp_path / "split.npz").members) == 50
    stated[[7, 60, 61]] ^= True
    with pytest.raises(
        UserError, match=r"the split and the dataset disagree on 3 of 100 images, the first of them 7 \("
    ):
        indices(image_set(100, is_member=stated), path=tmp_path / "split.npz")


def in_order(per_side: int) -> list[str]:
    """Parts of a side in random order, as splits had them before copies were kept together."""
    n_train = round(0.2 * per_side)
    n_calibration = round(0.25 * n_train)
    counts = {"calibration": n_calibration, "attack_train": n_train - n_calibration, "evaluation": per_side - n_train}
    return [part for part, count in counts.items() for _ in range(count)]


@given(n=st.integers(26, 300), seed=st.integers(0, 5))
def test_without_copies_parts_are_given_in_random_order(n: int, seed: int) -> None:
    split = halves(n, seed=seed)
    drawn = np.random.default_rng(seed).permutation(n)
    per_side = min(len(split.members), len(split.holdouts))
    sides = drawn[:per_side], drawn[len(split.members) :][:per_side]
    part = {row: part for side in sides for row, part in zip(side, in_order(per_side), strict=True)}
    assert split.part.tolist() == [part[row] for row in split.attacked]


@given(pairs=st.integers(0, 20), seed=st.integers(0, 5))
def test_copies_of_an_image_stay_in_one_part(pairs: int, seed: int) -> None:
    numbers = np.arange(80) // np.where(np.arange(80) % 40 < 2 * pairs, 2, 1) + 100 * (np.arange(80) % 40 >= 2 * pairs)
    pixels = numbers.astype(np.uint8).reshape(80, 1, 1, 1)
    images = image_set(80, pixels=pixels, is_member=np.arange(80) < 40)
    split = halves(images, seed=seed, attack_train=0.5)
    for is_member in (True, False):
        side = split.is_member == is_member
        parts, content = split.part[side], images.content[split.attacked[side]]
        assert np.bincount(np.bincount(content))[1:].tolist() == [40 - 2 * pairs, pairs][: 1 + (pairs > 0)]
        assert sorted(parts.tolist()) == sorted(["calibration"] * 5 + ["attack_train"] * 15 + ["evaluation"] * 20)
        spread = [number for number in content if len(set(parts[content == number])) > 1]
        assert len(set(spread)) <= 1  # the last pair may find one place in each of two parts


def test_all_holdouts_are_judged_where_it_says_so_and_the_rest_of_the_split_stays() -> None:
    plain, more = halves(100, members=20), halves(100, members=20, all_holdouts=True)
    assert (plain.is_member.sum(), (~plain.is_member).sum()) == (20, 20)
    assert (more.is_member.sum(), (~more.is_member).sum()) == (20, 80)
    part = dict(zip(more.attacked.tolist(), more.part.tolist(), strict=True))
    assert [part[row] for row in plain.attacked.tolist()] == plain.part.tolist()
    beyond = set(more.attacked.tolist()) - set(plain.attacked.tolist())
    assert {part[row] for row in beyond} == {Part.EVALUATION}


def test_parts_are_drawn_anew_with_the_same_members_and_holdouts() -> None:
    one, other = (halves(100, attack_train_seed=seed) for seed in (0, 1))
    for name in ("members", "holdouts", "attacked", "is_member"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert not np.array_equal(one.part, other.part)
    for part in Part:
        assert one.of_part(part).sum() == other.of_part(part).sum() == halves(100).of_part(part).sum()
