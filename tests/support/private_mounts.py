"""Programs that see file systems of their own, such as a small or a read-only one, where Linux lets its users mount."""

import subprocess
import sys
from functools import cache

import pytest

from tests.support.commands import REPOSITORY


@cache
def may_mount() -> bool:
    """Whether a namespace with mounts of its own can be had here."""
    try:
        return not subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=40k", "none", "/mnt"],
            capture_output=True,
            check=False,
        ).returncode
    except FileNotFoundError:
        return False


def run_mounted(mounts: str, program: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a Python program after a shell's mounts; skips the test where nothing can be mounted.

    Args:
        mounts: a shell's commands.
        program: after them.
        arguments: in sys.argv.
        timeout: in seconds.
    """
    if not may_mount():
        pytest.skip("nothing can be mounted here")
    shell = f'set -e; {mounts}; exec "$0" "$@"'
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", shell, sys.executable, "-c", program, *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def small(folder: object, size: str) -> str:
    """Commands that mount a file system of a size there."""
    return f"mount -t tmpfs -o size={size} none {folder}"


def read_only(folder: object) -> str:
    """Commands that make a folder one that nobody can write to."""
    return f"mount --bind {folder} {folder}; mount -o remount,ro,bind {folder}"
