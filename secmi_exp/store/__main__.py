"""`python -m secmi_exp.store ls | show KEY | verify | gc`: what the store has, where it is from, and clearing it up."""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from secmi_exp.configuration.paths import expand_home, from_environment
from secmi_exp.errors import UserError
from secmi_exp.formatting import as_size, counted
from secmi_exp.reporting.terminal import terminal
from secmi_exp.store import Store
from secmi_exp.store.inventory import Inventory, Stored
from secmi_exp.store.key import Key, digest_of
from secmi_exp.store.manifest import Damaged, check
from secmi_exp.store.remembered_digests import RememberedDigests

DEFAULT = from_environment("SECMI_STORE", "outputs/store")
"""The store's folder in conf/paths/default.yaml."""

UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def list_entries(store: Inventory, kind: str | None, console: Console) -> None:
    """A line an entry; the last line sums."""
    entries = [entry for entry in store.entries if kind in (None, entry.kind)]
    kinds = sorted({entry.kind for entry in store.entries})
    if kind and not entries:
        raise UserError(f"There is no entry of the kind {kind} in {store.root}: its kinds are {', '.join(kinds)}.")
    table = Table("kind", "key", box=None, pad_edge=False)
    for title in ("size", "last used", "took"):
        table.add_column(title, justify="right", no_wrap=True)
    for entry in entries:
        took = f"{entry.manifest.seconds:.1f} s" if entry.manifest else "damaged"
        table.add_row(entry.kind, entry.digest, as_size(entry.size), as_age(entry.last_used), took)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    console.print(table, crop=False, overflow="ignore")
    leftovers = list(store.leftovers)
    unfinished = f"; {len(leftovers)} unfinished, {total(leftovers)}" if leftovers else ""
    say(console, f"{entry_count(entries)}, {total(entries)}{unfinished}.")


def show_entry(store: Inventory, wanted: str, console: Console) -> None:
    """All that is known of an entry: its key in full, what that rests on, its files, and what was computed from it."""
    entry = store.find(wanted)
    if entry.manifest is None:
        raise UserError(f"The entry {entry} is damaged: it is computed again when it is needed.")
    key, files = entry.manifest.key, entry.manifest.files
    say(console, f"{entry}")
    say(console, f"folder: {entry.path}")
    say(console, f"last used: {as_age(entry.last_used)} ago; took {entry.manifest.seconds:.1f} s")
    for line in described(key, entry.manifest.made_from, store):
        say(console, line)
    say(console, "files:")
    for name, file in files.items():
        say(console, f"  {name}: {as_size(file.bytes)}, sha256 {file.sha256}")
    users = store.computed_from(entry)
    say(console, "computed from it:" + ("" if users else " nothing in this store"))
    for user in users:
        say(console, f"  {user}")
    say(console, f"{counted(len(files), 'file')}, {as_size(entry.size)}.")


def described(key: Key, made_from: Mapping[str, Key], store: Inventory) -> Iterator[str]:
    """The lines of a key; of inputs that are no entries, what these rest on in turn."""
    yield f"version: {key.version}"
    yield from (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in key.config.items())
    yield "inputs:" if key.inputs else "inputs: none"
    for name, given in key.inputs.items():
        digest = digest_of(given)
        if place := store.of_digest(digest):
            yield f"  {name}: {place}"
        elif digest in made_from:
            yield f"  {name}: {made_from[digest].kind}/{digest}, which is no entry of this store:"
            yield from (f"    {line}" for line in described(made_from[digest], made_from, store))
        else:
            yield f"  {name}: {digest}, by its content; no entry of this store"


def verify_entries(store: Inventory, console: Console) -> bool:
    """Read every entry whole; whether all are what their manifests say."""
    damaged = 0
    for entry in store.entries:
        try:
            manifest = check(entry.path)
            if manifest.key.kind != entry.kind:
                raise Damaged(f"it holds {manifest.key} instead")
        except Damaged as damage:
            damaged += 1
            say(console, f"{entry} is damaged: {damage}.")
    found = f"{damaged} of them damaged, which are computed again when they are needed" if damaged else "all whole"
    say(console, f"{entry_count(store.entries)}, {total(store.entries)}, {found}.")
    return not damaged


def collect_garbage(store: Inventory, older_than: float, dry_run: bool, console: Console) -> None:
    """Remove entries, and what is left of builds, that nobody has used for so many seconds."""
    old = [each for each in (*store.entries, *store.leftovers) if time.time() - each.last_used > older_than]
    locks = None if dry_run else Store(store.root)
    removed = []
    for each in old:
        line = f"{each} ({as_size(each.size)}, last used {as_age(each.last_used)} ago)"
        if locks and not locks.remove_unless_locked(each, each.path):
            say(console, f"In use: {line}.")
            continue
        removed.append(each)
        say(console, f"{'Would remove' if dry_run else 'Removed'} {line}.")
    say(console, f"{len(removed)} {'to be removed' if dry_run else 'removed'}, {total(removed)}.")
    if stale := RememberedDigests(store.root).remove_stale(dry_run=dry_run):
        of = "1 remembered digest of a file" if stale == 1 else f"{stale} remembered digests of files"
        say(console, f"{'Would remove' if dry_run else 'Removed'} {of} that no longer exist or have changed.")


def say(console: Console, line: str) -> None:
    """Print a line whole, whatever the terminal's width."""
    console.print(line, soft_wrap=True)


def entry_count(entries: Sequence[Stored]) -> str:
    """A number of entries in words."""
    return counted(len(entries), "entry", "entries")


def total(entries: Sequence[Stored]) -> str:
    """The size of all."""
    return as_size(sum(entry.size for entry in entries))


def as_age(since: float) -> str:
    """How long ago a time was, in the largest unit that it fills."""
    seconds = max(time.time() - since, 0)
    unit = next(name for name in ("w", "d", "h", "min", "s") if seconds >= UNITS[name] or name == "s")
    return f"{int(seconds / UNITS[unit])} {unit}"


def duration(given: str) -> float:
    """Seconds.

    >>> duration("30d"), duration("12h")
    (2592000.0, 43200.0)

    Raises:
        UserError: for what is no duration.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)", given)
    if not found:
        raise UserError(f"--older-than={given} is no duration: give a number and a unit, such as 30d, 12h or 2w.")
    return float(found[1]) * UNITS[found[2]]


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = argparse.ArgumentParser(
        prog="python -m secmi_exp.store", description="Look into the store of results, and clear it up."
    )
    commands = top.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--store", metavar="DIR", type=Path, default=Path(DEFAULT), help="its folder (%(default)s)")
    listing = commands.add_parser("ls", parents=[shared], help="list the entries, the last used first")
    listing.add_argument("--kind", help="such as target: of this kind only")
    showing = commands.add_parser(
        "show", parents=[shared], help="what decided an entry, what that rests on, and what was computed from it"
    )
    showing.add_argument("key", metavar="KEY", help="digest or its beginning, KIND/DIGEST, or the entry's folder")
    commands.add_parser("verify", parents=[shared], help="read all entries whole; exit status 1 if one is damaged")
    collecting = commands.add_parser("gc", parents=[shared], help="remove what nobody has used for long")
    collecting.add_argument("--older-than", metavar="AGE", required=True, help="since its last use, such as 30d or 12h")
    collecting.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out a command. A mistake ends with one sentence and exit status 1."""
    given = parser().parse_args(arguments)
    console = terminal()
    try:
        store = Inventory.from_folder(Path(expand_home(str(given.store))))
        match given.command:
            case "ls":
                list_entries(store, given.kind, console)
            case "show":
                show_entry(store, given.key, console)
            case "verify":
                sys.exit(0 if verify_entries(store, console) else 1)
            case "gc":
                collect_garbage(store, duration(given.older_than), given.dry_run, console)
    except UserError as error:
        sys.stderr.write(f"secmi_exp.store: {error}\n")
        sys.exit(1)
    except BrokenPipeError:  # whoever reads the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
