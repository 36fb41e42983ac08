"""Which code a seed was run with: trees of the product and of the simulator, as git names them."""

import subprocess
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).parents[2]
PRODUCT: Final = "raftlog"
SIMULATOR: Final = ("chaos/sim", "chaos/check")
TREE_CHARACTERS: Final = 12


class UnknownCode(Exception):
    """Nobody could run these seeds again: the code is not what a commit holds."""


class Code(msgspec.Struct, frozen=True):
    """What a run depends on besides its seed."""

    commit: str
    product: str
    """The tree of the package; commits that change only tests or documents share it."""
    simulator: str
    """The trees of the simulator and of its invariants, joined."""


def code_of_commit() -> Code:
    """Return what is checked out here.

    Raises:
        UnknownCode: Product or simulator differ from the commit.
    """
    changed = _git("status", "--porcelain", "--", PRODUCT, *SIMULATOR)
    if changed:
        raise UnknownCode(f"not committed yet:\n{changed}")
    return Code(
        commit=_git("rev-parse", "HEAD")[:TREE_CHARACTERS],
        product=_tree(PRODUCT),
        simulator="+".join(_tree(path) for path in SIMULATOR),
    )


def told_commit() -> str:
    """Say which commit is checked out here, and whether product or suites differ from it."""
    try:
        commit = _git("rev-parse", "HEAD")[:TREE_CHARACTERS]
        changed = _git("status", "--porcelain", "--", PRODUCT, "chaos")
    except (UnknownCode, OSError):
        return "no known commit"
    return f"{commit} with changes" if changed else commit


def _tree(path: str) -> str:
    return _git("rev-parse", f"HEAD:{path}")[:TREE_CHARACTERS]


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UnknownCode(done.stderr.strip())
    return done.stdout.strip()
