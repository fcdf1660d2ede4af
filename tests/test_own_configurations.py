"""Configurations of one's own, added by --config-dir, get the same checks and hints as the built-in ones."""

from pathlib import Path

import pytest

from tests.support.commands import Command, Refused

CASES = {
    "+attack=mien": "There is no attack 'mien': choose one of",
    "attack=mine": "attack is added rather than overridden: write +attack=…, with one of",
    "+attack=[mine,stat]": "attack=[mine,stat] merges 2 choices of attack into one",
    "+attack=mine attack.tt=3": "There is no key 'tt' in attack (did you mean t?)",
    "+attack=mine attack.t.x=3": "attack.t holds a value, so attack.t.x can't be set",
    "+attack=mine attack.t=a": "attack.t='a' can't be used",
    "+attack=mine +note.text=a": "There is no key 'note' at the top level",
    "+lens=wide +attack=mine attack.tt=3": "There is no key 'tt' in attack",
    "+lens=wide lens.zooom=3": "There is no key 'zooom' in lens (did you mean zoom?)",
    "+lens=3": "+lens=3 names no lens: choose one of wide",
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "it's mine, really"
    (folder / "attack").mkdir(parents=True)
    (folder / "attack/mine.yaml").write_text("defaults: [loss, _self_]\nname: mine\nt: 10\n")
    (folder / "lens").mkdir()
    (folder / "lens/wide.yaml").write_text("zoom: 1\n")
    return folder


@pytest.mark.parametrize(("arguments", "sentence"), CASES.items())
def test_a_mistake_in_them_is_explained(arguments: str, sentence: str, own: Path, refused: Refused) -> None:
    told = refused("--config-dir", str(own), *arguments.split()).splitlines()[-1]
    assert told.startswith(f"secmi_exp: {sentence}")
    if sentence.endswith("one of"):
        assert " mine," in told


def test_a_group_of_ones_own_may_be_added(own: Path, secmi: Command) -> None:
    finished = secmi("--config-dir", str(own), "+lens=wide", "+attack=mine", "attack.t=a")
    assert "attack.t='a'" in finished.stderr
